package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// An entry of the index of IDs may outlive its event: it has no effect then.
// Such entries cannot go as a range, since they are in the order of IDs. So
// they are left until they are a part of the team's entries that makes it
// worth going through all of them.

const (
	// sweepShare is how large that part is: one in so many.
	sweepShare = 5
	// How much is looked at, and removed, at a time: so little that an append
	// hardly has to wait.
	sweepLooks   = 4096
	sweepRemoves = 512
)

// worthSweeping decides by how many of a team's events are kept, and of how many
// that are gone the index may still have entries.
func worthSweeping(kept, gone uint64) bool {
	return gone > 0 && gone*(sweepShare-1) >= kept
}

// sweep removes from the index what it says of a team's events that are gone.
// It rests as long as it works.
func (s *Store) sweep(ctx context.Context, teamID string) error {
	var at sweepPos
	for {
		begin := time.Now()
		more, err := write(ctx, s, "sweep index", func(e *engine) (bool, error) { return e.sweepSome(teamID, &at) })
		if err != nil || !more {
			return err
		}
		select {
		case <-time.After(time.Since(begin)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sweepPos is how far a sweep has come.
type sweepPos struct {
	engine *engine // a new one begins anew
	before uint64  // entries of events with lower numbers go
	next   []byte  // key
}

// sweepSome makes a part of a sweep and reports whether there is more to do.
func (e *engine) sweepSome(teamID string, at *sweepPos) (more bool, err error) {
	// One at a time: two that have seen the same entry would remove it twice,
	// the second time maybe after the ID was used again.
	e.trimming.Lock()
	defer e.trimming.Unlock()
	q, err := e.sequence(teamID)
	if err != nil {
		return false, err
	}
	if at.engine != e {
		*at = sweepPos{engine: e, next: appendIndexKey(nil, teamID, "")}
		if at.before, err = e.firstKept(teamID, q); err != nil {
			return false, err
		}
	}
	b := e.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()

	reused := e.reusedIDs()
	next, err := e.stageSweep(b, teamID, *at)
	if err != nil {
		return false, err
	}
	e.appending.Lock()
	defer e.appending.Unlock()
	switch {
	case q.last.seq < at.before: // there are no others
		b.Reset()
		next = nil
		first := appendIndexKey(nil, teamID, "")
		err = b.DeleteRange(first, end(first), nil)
	case e.reused != reused: // maybe one of those that were looked at
		b.Reset()
		next, err = e.stageSweep(b, teamID, *at)
	}
	if err != nil {
		return false, err
	}
	at.next = next
	if next != nil {
		return true, e.db.Apply(b, pebble.NoSync)
	}
	r, err := e.retention(teamID)
	if err != nil {
		return false, err
	}
	swept := at.before - 1 - r.Swept
	r.Swept = at.before - 1
	if err := setJSON(b, retentionKey(teamID), r); err != nil {
		return false, err
	}
	if err := e.db.Apply(b, pebble.NoSync); err != nil {
		return false, err
	}
	e.metrics.swept.Add(float64(swept))
	return false, nil
}

func (e *engine) reusedIDs() uint64 {
	e.appending.Lock()
	defer e.appending.Unlock()
	return e.reused
}

// stageSweep puts into b the removal of some of a team's entries, from at, and
// returns the key to go on with, or nil if there are no more.
func (e *engine) stageSweep(b *pebble.Batch, teamID string, at sweepPos) (next []byte, err error) {
	iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: at.next, UpperBound: end(appendIndexKey(nil, teamID, ""))})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	removes := 0
	looks := 0
	for iter.First(); iter.Valid(); iter.Next() {
		if looks++; looks > sweepLooks || removes == sweepRemoves {
			return append(next, iter.Key()...), nil
		}
		v, err := iter.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if binary.BigEndian.Uint64(v) < at.before {
			removes++
			if err := b.Delete(iter.Key(), nil); err != nil {
				return nil, err
			}
		}
	}
	return nil, iter.Error()
}
