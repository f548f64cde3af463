package deliver

import (
	"context"
	"iter"
	"time"

	"github.com/auditdrain/auditdrain"
)

// Events tells how many events each team has, and shows them.
type Events interface {
	// Last returns the number of the last event, and the bytes of all.
	Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
}

// Lag is what a drain has still to deliver.
type Lag struct {
	Events uint64
	Bytes  uint64    // of their bodies
	Oldest time.Time // when the first of them was accepted; zero if there is none
}

// Undelivered returns which of a team's events are after a cursor. It reads
// one event, however many there are.
func Undelivered(ctx context.Context, store Events, teamID string, cursor uint64) (Lag, error) {
	last, total, err := store.Last(ctx, teamID)
	if err != nil || last <= cursor {
		return Lag{}, err
	}
	next, err := store.Read(ctx, teamID, cursor, 1, 1)
	if err != nil {
		return Lag{}, err
	}
	lag := Lag{Events: last - cursor}
	if len(next) > 0 && next[0].Seq <= last {
		lag.Oldest = next[0].AcceptedAt
		lag.Bytes = total - (next[0].TotalBytes - uint64(len(next[0].Body)))
	}
	return lag, nil
}

// Records is what a store knows of drains and their events.
type Records interface {
	Drains
	Events
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
}

// Standing is how a drain is doing, as a store has it.
type Standing struct {
	Drain auditdrain.Drain
	State auditdrain.DeliveryState
	Lag
}

// Status is what people are told of the drain in one word.
func (s Standing) Status() auditdrain.DrainStatus { return s.State.Status(s.Drain) }

// Age is how long the oldest undelivered event has been waiting at now.
func (s Standing) Age(now time.Time) time.Duration {
	if s.Oldest.IsZero() {
		return 0
	}
	return max(now.Sub(s.Oldest), 0)
}

// Standings goes through the drains that q selects, in the order of their
// creation. It ends with the first error.
func Standings(ctx context.Context, store Records, q auditdrain.DrainQuery) iter.Seq2[Standing, error] {
	return func(yield func(Standing, error) bool) {
		drains, err := store.Drains(ctx, q)
		if err != nil {
			yield(Standing{}, err)
			return
		}
		for _, d := range drains {
			s, err := standing(ctx, store, d)
			if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
				continue // deleted meanwhile
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func standing(ctx context.Context, store Records, d auditdrain.Drain) (Standing, error) {
	s := Standing{Drain: d}
	var err error
	if s.State, err = store.DeliveryState(ctx, d.ID); err != nil {
		return s, err
	}
	s.Lag, err = Undelivered(ctx, store, d.TeamID, s.State.Cursor)
	return s, err
}
