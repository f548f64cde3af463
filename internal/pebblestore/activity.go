package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// Record stores an activity that is about no change of what is stored. It is
// durable when Record returns nil.
//
// The other methods that take an *auditdrain.Activity make it durable together
// with their change: after a crash there are both or neither, and whoever sees
// the change can see the activity. The store sets its number, the next of all;
// nil, or one without an action, records nothing, as does a call that changes
// nothing. What it points to must not be changed once the method has been
// called, except by the method's update.
func (s *Store) Record(ctx context.Context, act *auditdrain.Activity) error {
	return s.run(ctx, "record activity", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		return e.commitWith(e.db.NewBatch(), act)
	})
}

// commitWith is commit for b together with who did it. engine.catalog must be
// held for writing.
func (e *engine) commitWith(b *pebble.Batch, act *auditdrain.Activity) error {
	if act == nil || act.Action == "" {
		return e.commit(b)
	}
	a := *act
	a.Number = e.activities + 1
	if err := setJSON(b, activityKey(a.Number), a); err != nil {
		return err
	}
	if a.TeamID != "" {
		if err := b.Set(teamActivityKey(a.TeamID, a.Number), nil, nil); err != nil {
			return err
		}
	}
	if err := e.commit(b); err != nil {
		return err
	}
	e.activities = a.Number
	select {
	case e.recorded <- struct{}{}:
	default: // who waits has not looked yet since the last one
	}
	return nil
}

// Recorded gets a value after an activity was recorded; one, if there were
// several meanwhile. It is for one who waits.
func (s *Store) Recorded() <-chan struct{} { return s.recorded }

// loadActivities finds the number of the last activity.
func (e *engine) loadActivities() error {
	iter, err := e.activityIter(activityPrefix, 0, 0)
	if err != nil {
		return err
	}
	defer iter.Close()
	if iter.Last() {
		e.activities, err = activityNumber(iter.Key())
	}
	return errors.Join(err, iter.Error())
}

// Activities returns the activities that q selects, the latest first.
func (s *Store) Activities(ctx context.Context, q auditdrain.ActivityQuery) ([]auditdrain.Activity, error) {
	return read(ctx, s, "list activities", func(e *engine) ([]auditdrain.Activity, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		prefix := activityPrefix
		if q.TeamID != "" {
			prefix = string(teamActivities(q.TeamID))
		}
		return e.latestActivities(prefix, 0, q.Before, q.Limit)
	})
}

// latestActivities returns the activities whose keys have prefix, with higher numbers
// than after, and lower ones than before unless that is 0: the latest first, limit at
// most.
func (e *engine) latestActivities(prefix string, after, before uint64, limit int) ([]auditdrain.Activity, error) {
	iter, err := e.activityIter(prefix, after, before)
	if err != nil {
		return nil, err
	}
	defer iter.Close()
	var list []auditdrain.Activity
	for iter.Last(); iter.Valid() && len(list) < limit; iter.Prev() {
		a, err := e.activity(iter.Key())
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, iter.Error()
}

// ActivitiesAfter returns the activities with higher numbers than after, in
// their order, limit at most.
func (s *Store) ActivitiesAfter(ctx context.Context, after uint64, limit int) ([]auditdrain.Activity, error) {
	return read(ctx, s, "read activities", func(e *engine) ([]auditdrain.Activity, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		var list []auditdrain.Activity
		for n := after + 1; n <= e.activities && len(list) < limit; n++ {
			a, err := e.activity(activityKey(n))
			if err != nil {
				return nil, err
			}
			list = append(list, a)
		}
		return list, nil
	})
}

// Forwarded returns the number of the last activity that has become an event.
func (s *Store) Forwarded(ctx context.Context) (uint64, error) {
	return read(ctx, s, "read what was forwarded", func(e *engine) (uint64, error) {
		v, err := e.get([]byte(forwardedKey))
		if v == nil || err != nil {
			return 0, err
		}
		if len(v) != 8 {
			return 0, fmt.Errorf("record %s is damaged: %d bytes", forwardedKey, len(v))
		}
		return binary.BigEndian.Uint64(v), nil
	})
}

// SaveForwarded notes that activities up to number have become events. It is
// durable when SaveForwarded returns nil.
func (s *Store) SaveForwarded(ctx context.Context, number uint64) error {
	return s.run(ctx, "save what was forwarded", func(e *engine) error {
		b := e.db.NewBatch()
		if err := b.Set([]byte(forwardedKey), binary.BigEndian.AppendUint64(nil, number), nil); err != nil {
			return err
		}
		return e.commit(b)
	})
}

func activityKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(activityPrefix), number)
}

func teamActivities(teamID string) []byte { return append(key(teamActivityPrefix, teamID), '/') }

func teamActivityKey(teamID string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(teamActivities(teamID), number)
}

// activityIter is over the keys with prefix and a number above after and below
// before, which is no bound if it is 0.
func (e *engine) activityIter(prefix string, after, before uint64) (*pebble.Iterator, error) {
	bounds := &pebble.IterOptions{
		LowerBound: binary.BigEndian.AppendUint64([]byte(prefix), after+1),
		UpperBound: end([]byte(prefix)),
	}
	if before != 0 {
		bounds.UpperBound = binary.BigEndian.AppendUint64([]byte(prefix), before)
	}
	return e.db.NewIter(bounds)
}

func activityNumber(key []byte) (uint64, error) {
	if len(key) < 8 {
		return 0, fmt.Errorf("key %q is damaged", key)
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

// activity reads the activity whose number key ends with.
func (e *engine) activity(key []byte) (a auditdrain.Activity, err error) {
	n, err := activityNumber(key)
	if err != nil {
		return a, err
	}
	found, err := e.getJSON(activityKey(n), &a)
	if err == nil && !found {
		err = errors.New("it is missing")
	}
	if err != nil {
		return a, fmt.Errorf("activity %d: %w", n, err)
	}
	return a, nil
}
