package auditdrain

import "time"

// Lag is what a drain has still to deliver.
type Lag struct {
	Events uint64
	Bytes  uint64    // of their bodies
	Oldest time.Time // when the first of them was accepted; zero if there is none
}

// Standing is how a drain is doing, as a store has it.
type Standing struct {
	Drain Drain
	State DeliveryState
	Lag
}

// Status is what people are told of the drain in one word.
func (s Standing) Status() DrainStatus { return s.State.Status(s.Drain) }

// Age is how long the oldest undelivered event has been waiting at now.
func (s Standing) Age(now time.Time) time.Duration {
	if s.Oldest.IsZero() {
		return 0
	}
	return max(now.Sub(s.Oldest), 0)
}
