package pebblestore

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// What is removed in one commit is bounded, so that no append waits long for
// it.
const (
	trimEvents = 2000
	trimBytes  = 8 << 20
)

// Trim removes the events that were accepted before the given time and are
// behind the cursor of every drain of their team, enabled or not, and of every
// replay that is running; events of a team without drains just by age. Their
// IDs may be used again then, their
// sequence numbers are not. It returns how many events it has removed, also
// with an error.
//
// Trim does not wait for the disk: after a crash events may be back, never
// without their IDs being known. Appends go on meanwhile.
func (s *Store) Trim(ctx context.Context, acceptedBefore time.Time) (removed int, err error) {
	return s.trimTeams(ctx, func(e *engine, teamID string) (int, error) {
		return e.trimSome(teamID, math.MaxUint64, acceptedBefore.UnixMicro())
	})
}

// trimTeams calls some for each team until it returns 0, and adds up.
func (s *Store) trimTeams(ctx context.Context, some func(e *engine, teamID string) (int, error)) (removed int, err error) {
	var teams []string
	err = s.run(ctx, "trim", func(e *engine) error {
		return e.scan(sequencePrefix, func(teamID string, _ []byte) error {
			teams = append(teams, teamID)
			return nil
		})
	})
	if err != nil {
		return 0, err
	}
	for _, team := range teams {
		for {
			// Calls of their own, so that Close need not wait for all.
			n, err := write(ctx, s, "trim", func(e *engine) (int, error) { return some(e, team) })
			if err != nil {
				return removed, err
			}
			if n == 0 {
				break
			}
			removed += n
			s.metrics.trimmed.Add(float64(n))
		}
	}
	return removed, nil
}

// trimSome removes some of a team's events, of those up to the number most
// that were accepted before a time, and returns how many; 0 means that there
// is nothing more to remove.
func (e *engine) trimSome(teamID string, most uint64, before int64) (int, error) {
	// One at a time: two that have seen the same event would remove its ID
	// twice, the second time maybe after it was used again.
	e.trimming.Lock()
	defer e.trimming.Unlock()

	limit, err := e.trimLimit(teamID)
	if err != nil || limit == 0 || most == 0 {
		return 0, err
	}
	b := e.db.NewBatch()
	n, last, err := e.stageTrim(b, teamID, min(limit, most), before)
	if err != nil || n == 0 {
		return 0, errors.Join(err, b.Close())
	}

	e.catalog.Lock() // a new drain or replay may need these events
	defer e.catalog.Unlock()
	if limit, err = e.trimLimitLocked(teamID); err != nil || last > limit {
		return 0, errors.Join(err, b.Close())
	}
	e.appending.Lock() // an append may have found an ID, and look for its event now
	defer e.appending.Unlock()
	if err := e.db.Apply(b, pebble.NoSync); err != nil {
		return 0, err
	}
	if q := e.known(teamID); q != nil {
		q.tailMu.Lock()
		q.trimmed = max(q.trimmed, last)
		q.tailMu.Unlock()
	}
	return n, b.Close()
}

// stageTrim puts the removal of the first events up to limit into b. It
// returns how many they are and the number of the last.
func (e *engine) stageTrim(b *pebble.Batch, teamID string, limit uint64, before int64) (n int, last uint64, err error) {
	iter, err := e.eventIter(teamID, 1, limit)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	var first uint64
	var k []byte
	bytes := 0
	for iter.First(); iter.Valid() && n < trimEvents && bytes < trimBytes; iter.Next() {
		r, err := currentEvent(iter)
		if err != nil {
			return 0, 0, err
		}
		if r.acceptedAt >= before {
			break
		}
		k = appendIndexKey(k[:0], teamID, string(r.id))
		if err := b.Delete(k, nil); err != nil {
			return 0, 0, err
		}
		if n == 0 {
			first = r.seq
		}
		last = r.seq
		bytes += len(r.id) + len(r.body)
		n++
	}
	if err := iter.Error(); err != nil || n == 0 {
		return 0, 0, err
	}
	return n, last, b.DeleteRange(appendEventKey(nil, teamID, first), appendEventKey(nil, teamID, last+1), nil)
}

func (e *engine) trimLimit(teamID string) (uint64, error) {
	e.catalog.RLock()
	defer e.catalog.RUnlock()
	e.saving.Lock()
	defer e.saving.Unlock()
	return e.trimLimitLocked(teamID)
}

// trimLimitLocked returns the number up to which nobody needs a team's events.
// engine.catalog must be held for writing, or for reading and saving with it.
func (e *engine) trimLimitLocked(teamID string) (uint64, error) {
	q, err := e.sequence(teamID)
	if err != nil {
		return 0, err
	}
	limit := q.durable.Load().seq
	for _, p := range e.teamDrains[teamID] {
		limit = min(limit, p.done())
	}
	return limit, nil
}
