package deliver

import (
	"context"
	"iter"

	"github.com/auditdrain/auditdrain"
)

// Events tells how many events each team has, and shows them.
type Events interface {
	// Last returns the number of the last event, and the bytes of all.
	Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
}

// Undelivered returns which of a team's events are after a cursor. It reads
// one event, however many there are.
func Undelivered(ctx context.Context, store Events, teamID string, cursor uint64) (auditdrain.Lag, error) {
	last, total, err := store.Last(ctx, teamID)
	if err != nil || last <= cursor {
		return auditdrain.Lag{}, err
	}
	next, err := store.Read(ctx, teamID, cursor, 1, 1)
	if err != nil {
		return auditdrain.Lag{}, err
	}
	lag := auditdrain.Lag{Events: last - cursor}
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

// Surveyor is a store that is asked how all drains are doing at once, since each
// call costs it a round trip.
type Surveyor interface {
	// Survey returns the drains that q selects, in the order of their creation.
	Survey(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Standing, error)
}

// Standings goes through the drains that q selects, in the order of their
// creation. It ends with the first error.
func Standings(ctx context.Context, store Records, q auditdrain.DrainQuery) iter.Seq2[auditdrain.Standing, error] {
	return func(yield func(auditdrain.Standing, error) bool) {
		if s, ok := store.(Surveyor); ok {
			all, err := s.Survey(ctx, q)
			for _, standing := range all {
				if !yield(standing, nil) {
					return
				}
			}
			if err != nil {
				yield(auditdrain.Standing{}, err)
			}
			return
		}
		drains, err := store.Drains(ctx, q)
		if err != nil {
			yield(auditdrain.Standing{}, err)
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

func standing(ctx context.Context, store Records, d auditdrain.Drain) (auditdrain.Standing, error) {
	s := auditdrain.Standing{Drain: d}
	var err error
	if s.State, err = store.DeliveryState(ctx, d.ID); err != nil {
		return s, err
	}
	s.Lag, err = Undelivered(ctx, store, d.TeamID, s.State.Cursor)
	return s, err
}
