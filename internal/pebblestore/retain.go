package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Retain removes the events that every drain of their team, enabled or not,
// has delivered at least keep ago, and at most about a thirty-second part of
// keep later than that; of a team without drains, those accepted so long ago.
// What a running replay has still to read stays, and what manifests are still to
// be made from, also those of deleted drains: it counts as not delivered. The time
// counts from the first call that finds an event delivered, so it is to be called
// often. It returns how many events it has removed, also with an error. Their IDs
// may be used again, their sequence numbers are not.
//
// However many they are, a team's events go in one write, without being read.
// What the index of IDs says of them is of no effect then, and is swept up
// from time to time. Appends and reads go on meanwhile.
//
// Retain does not wait for the disk: after a crash events may be back.
func (s *Store) Retain(ctx context.Context, keep time.Duration) (removed int, err error) {
	var teams []string
	err = s.run(ctx, "list teams with events", func(e *engine) error {
		return e.scan(sequencePrefix, func(teamID string, _ []byte) error {
			teams = append(teams, teamID)
			return nil
		})
	})
	if err != nil {
		return 0, err
	}
	for _, team := range teams {
		r, err := write(ctx, s, "remove events", func(e *engine) (retained, error) { return e.retain(team, keep) })
		removed += r.removed
		s.metrics.trimmed.Add(float64(r.removed))
		if err == nil && r.sweep {
			err = s.sweep(ctx, team)
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// retention is what is noted of a team from one Retain to the next.
type retention struct {
	// Delivered says since when events have been delivered, the oldest first.
	Delivered []mark `json:"delivered"`
	// Swept is up to which number the index has been swept.
	Swept uint64 `json:"swept"`
}

// mark says up to which number a team's events were delivered at a time.
type mark struct {
	At  int64  `json:"at"` // Unix microseconds
	Seq uint64 `json:"seq"`
}

// marksKept is into how many parts the time that events are kept is divided:
// how much longer they may stay, and about how much is noted of each team.
const marksKept = 32

// note notes that events are delivered up to a number, and returns up to which
// they had been keep ago.
func (r *retention) note(seq uint64, now time.Time, keep time.Duration) (delivered uint64, changed bool) {
	at := now.UnixMicro()
	n := len(r.Delivered)
	if n > 0 {
		at = max(at, r.Delivered[n-1].At) // the clock may go back
	}
	switch {
	case seq == 0, n > 0 && seq <= r.Delivered[n-1].Seq:
	case n > 1 && at-r.Delivered[n-2].At < keep.Microseconds()/marksKept:
		// Between two marks that stay there is at least that time.
		r.Delivered[n-1], changed = mark{At: at, Seq: seq}, true
	default:
		r.Delivered, changed = append(r.Delivered, mark{At: at, Seq: seq}), true
	}
	// The first mark is the one that counts: older ones are dropped.
	old := at - keep.Microseconds()
	for len(r.Delivered) > 1 && r.Delivered[1].At <= old {
		r.Delivered, changed = r.Delivered[1:], true
	}
	if len(r.Delivered) > 0 && r.Delivered[0].At <= old {
		delivered = r.Delivered[0].Seq
	}
	return delivered, changed
}

// due returns when note will return another number by itself.
func (r *retention) due(now time.Time, keep time.Duration) time.Time {
	for _, m := range r.Delivered {
		if due := time.UnixMicro(m.At).Add(keep); due.After(now) {
			return due
		}
	}
	return time.Unix(1<<40, 0) // never
}

func retentionKey(teamID string) []byte { return key(retentionPrefix, teamID) }

// retention reads what is noted of a team. engine.trimming must be held.
func (e *engine) retention(teamID string) (r retention, err error) {
	if _, err := e.getJSON(retentionKey(teamID), &r); err != nil {
		return r, fmt.Errorf("retention of team %s: %w", teamID, err)
	}
	return r, nil
}

// retained is what Retain has done about a team.
type retained struct {
	removed int
	sweep   bool // the index is worth sweeping
}

// rest says that there is nothing to do about a team until it has delivered
// more, or until a time. Most teams of many rest.
type rest struct {
	done  uint64
	keep  time.Duration
	until time.Time
}

// retain removes a team's events, as Retain.
func (e *engine) retain(teamID string, keep time.Duration) (did retained, err error) {
	e.trimming.Lock()
	defer e.trimming.Unlock()
	q, err := e.sequence(teamID)
	if err != nil {
		return did, err
	}
	e.catalog.RLock() // no drain or replay begins that needs what is removed
	defer e.catalog.RUnlock()
	done, now := e.doneBy(teamID, q), e.now()
	if q.rest.done == done && q.rest.keep == keep && now.Before(q.rest.until) {
		return did, nil
	}
	r, err := e.retention(teamID)
	if err != nil {
		return did, err
	}
	delivered, changed := r.note(done, now, keep)
	first, err := e.firstKept(teamID, q)
	if err != nil {
		return did, err
	}

	b := e.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	if changed {
		if err := setJSON(b, retentionKey(teamID), r); err != nil {
			return did, err
		}
	}
	end := max(first, min(delivered, done)+1)
	if first < end {
		if err := b.DeleteRange(appendEventKey(nil, teamID, first), appendEventKey(nil, teamID, end), nil); err != nil {
			return did, err
		}
	}
	if !b.Empty() {
		if err := e.db.Apply(b, pebble.NoSync); err != nil {
			return did, err
		}
	}
	q.trim(end - 1)
	did.removed = int(end - first)
	did.sweep = worthSweeping(q.durable.Load().seq-(end-1), end-1-r.Swept)
	q.rest = rest{done: done, keep: keep, until: r.due(now, keep)}
	return did, nil
}

// doneBy returns the number up to which nobody needs a team's events.
// engine.catalog must be held for reading.
func (e *engine) doneBy(teamID string, q *sequence) uint64 {
	done := q.durable.Load().seq
	e.saving.Lock()
	defer e.saving.Unlock()
	for _, p := range e.drainsOf(teamID) {
		done = min(done, p.done())
	}
	for _, first := range e.needed[teamID] {
		done = min(done, first-1)
	}
	return done
}

// firstKept returns the number of a team's first durable event that has not
// been removed, or, if there is none, of the next one.
func (e *engine) firstKept(teamID string, q *sequence) (uint64, error) {
	last := q.durable.Load().seq
	iter, err := e.eventIter(teamID, q.gone()+1, last)
	if err != nil {
		return 0, err
	}
	first := last + 1
	if iter.First() {
		k := iter.Key()
		first = binary.BigEndian.Uint64(k[len(k)-8:])
	}
	return first, errors.Join(iter.Error(), iter.Close())
}
