package deliver

import (
	"context"
	"iter"
	"time"

	"github.com/auditdrain/auditdrain"
)

// Events tells how many events each team has, and shows them.
type Events interface {
	LastSeq(ctx context.Context, teamID string) (uint64, error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
}

// Undelivered returns how many of a team's events are behind a cursor, and
// when the oldest of them was accepted: the zero time if there is none.
func Undelivered(ctx context.Context, store Events, teamID string, cursor uint64) (events uint64, oldest time.Time, err error) {
	last, err := store.LastSeq(ctx, teamID)
	if err != nil || last <= cursor {
		return 0, time.Time{}, err
	}
	next, err := store.Read(ctx, teamID, cursor, 1, 1)
	if err != nil {
		return 0, time.Time{}, err
	}
	if len(next) > 0 {
		oldest = next[0].AcceptedAt
	}
	return last - cursor, oldest, nil
}

// Records is what a store knows of drains and their events.
type Records interface {
	Drains
	Events
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
}

// Standing is how a drain is doing, as a store has it.
type Standing struct {
	Drain  auditdrain.Drain
	State  auditdrain.DeliveryState
	Events uint64    // still to deliver
	Bytes  uint64    // of their bodies
	Oldest time.Time // when the first of them was accepted; zero if there is none
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
	s.Events, s.Oldest, err = Undelivered(ctx, store, d.TeamID, s.State.Cursor)
	return s, err
}
