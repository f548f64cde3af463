package pebblestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// SaveProgress replaces what is kept of the drains' deliveries, in one commit:
// cursors move forward or stay, states are replaced (but for the count of events
// that SkipBacklog has given up since they were read), and attempts join those
// of their drain, of which the last MaxFailures failures and MaxSamples others
// are kept. It does not wait for the disk: a crash may undo it, whole calls at
// a time and the last ones first, so that a cursor may lag, never lead. Only
// with failures among the attempts is it durable: they are rare, and looked
// for after a crash.
//
// Drains that do not exist (any more) are left out and returned. A cursor
// beyond the team's last event, or a drain that is named twice, is an error,
// and nothing is saved.
func (s *Store) SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error) {
	// Encoded here and not below, since what is left behind when ctx ends must
	// not look at what belongs to the caller.
	saves := make([]save, len(progress))
	for i, p := range progress {
		if saves[i], err = newSave(p); err != nil {
			return nil, fmt.Errorf("save progress of drain %s: %w", p.State.DrainID, err)
		}
	}
	// In the order of its keys a large commit takes half the time.
	slices.SortFunc(saves, func(a, b save) int { return cmp.Compare(a.drainID, b.drainID) })
	for i := 1; i < len(saves); i++ {
		if saves[i].drainID == saves[i-1].drainID {
			return nil, fmt.Errorf("save progress: drain %s is named twice", saves[i].drainID)
		}
	}
	return write(ctx, s, "save progress", func(e *engine) ([]string, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		e.saving.Lock()
		defer e.saving.Unlock()
		return e.saveAll(saves)
	})
}

// save is the progress of one drain, as it is stored.
type save struct {
	drainID  string
	cursor   uint64
	skipped  uint64
	errored  bool
	replay   *auditdrain.ReplayProgress
	state    []byte
	attempts []attempt
	failures bool // among the attempts
}

type attempt struct{ key, value []byte }

func newSave(p auditdrain.Progress) (save, error) {
	v := save{
		drainID: p.State.DrainID, cursor: p.State.Cursor, skipped: p.State.Skipped, errored: p.State.FirstErrorAt != 0,
		attempts: make([]attempt, len(p.Attempts)),
	}
	if r := p.State.Replay; r != nil {
		replay := *r
		v.replay = &replay
	}
	var err error
	if v.state, err = json.Marshal(p.State); err != nil {
		return v, err
	}
	for i, a := range p.Attempts {
		v.failures = v.failures || a.Outcome == auditdrain.OutcomeFailed
		v.attempts[i].key = attemptKey(v.drainID, a)
		if v.attempts[i].value, err = json.Marshal(a); err != nil {
			return v, err
		}
	}
	return v, nil
}

// attemptKey is the place of an attempt in its ring.
func attemptKey(drainID string, a auditdrain.Attempt) []byte {
	if a.Outcome == auditdrain.OutcomeFailed {
		return binary.BigEndian.AppendUint64(ofDrain(failurePrefix, drainID), a.Number%auditdrain.MaxFailures)
	}
	return binary.BigEndian.AppendUint64(ofDrain(samplePrefix, drainID), a.Number%auditdrain.MaxSamples)
}

// saveAll is SaveProgress with catalog held for reading, and saving.
func (e *engine) saveAll(saves []save) (gone []string, err error) {
	b := e.db.NewBatch()
	durable := pebble.NoSync
	for i := range saves {
		v := &saves[i]
		if v.failures {
			durable = pebble.Sync
		}
		p := e.drains[v.drainID]
		if p == nil {
			gone = append(gone, v.drainID)
			continue
		}
		if err := e.stageSave(b, p, v); err != nil {
			return nil, err
		}
	}
	if b.Empty() {
		return gone, b.Close()
	}
	if err := e.db.Apply(b, durable); err != nil {
		return nil, err
	}
	for i := range saves {
		if p := e.drains[saves[i].drainID]; p != nil {
			p.take(saves[i].cursor, saves[i].errored, saves[i].replay)
		}
	}
	return gone, b.Close()
}

func (e *engine) stageSave(b *pebble.Batch, p *drainPos, v *save) error {
	q, err := e.sequence(p.teamID)
	if err != nil {
		return err
	}
	if last := q.durable.Load().seq; v.cursor > last {
		return fmt.Errorf("drain %s cannot have delivered event %d: the last one is %d", v.drainID, v.cursor, last)
	}
	if v.cursor < p.cursor.Load() {
		if err := e.keepSkipped(v); err != nil {
			return err
		}
	}
	op := b.SetDeferred(len(progressPrefix)+len(v.drainID), 8+len(v.state))
	copy(op.Key[copy(op.Key, progressPrefix):], v.drainID)
	binary.BigEndian.PutUint64(op.Value, max(v.cursor, p.cursor.Load()))
	copy(op.Value[8:], v.state)
	if err := op.Finish(); err != nil {
		return err
	}
	for _, a := range v.attempts {
		if err := b.Set(a.key, a.value, nil); err != nil {
			return err
		}
	}
	return nil
}

// keepSkipped has v count the events that SkipBacklog has given up. It has
// moved the cursor past v's, so delivery, which was finishing what was under
// way when the drain was paused, does not know of them.
func (e *engine) keepSkipped(v *save) error {
	stored, err := e.state(v.drainID)
	if err != nil || stored.Skipped <= v.skipped {
		return err
	}
	var state auditdrain.DeliveryState
	if err := json.Unmarshal(v.state, &state); err != nil {
		return err
	}
	state.Skipped = stored.Skipped
	v.state, err = json.Marshal(state)
	return err
}

// DeliveryState returns what was last saved of a drain's delivery, and its
// cursor. A drain that does not exist is CodeNotFound.
func (s *Store) DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error) {
	return read(ctx, s, "read delivery state", func(e *engine) (auditdrain.DeliveryState, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		if _, err := e.drain("", drainID); err != nil {
			return auditdrain.DeliveryState{}, err
		}
		return e.state(drainID)
	})
}

// state reads the delivery state of a drain that exists.
func (e *engine) state(drainID string) (auditdrain.DeliveryState, error) {
	state := auditdrain.DeliveryState{DrainID: drainID}
	v, err := e.get(key(progressPrefix, drainID))
	if err != nil {
		return state, err
	}
	if len(v) < 8 {
		return state, fmt.Errorf("progress of drain %s is damaged: %d bytes", drainID, len(v))
	}
	state.Cursor = binary.BigEndian.Uint64(v)
	if len(v) > 8 {
		if err := json.Unmarshal(v[8:], &state); err != nil {
			return state, fmt.Errorf("progress of drain %s: %w", drainID, err)
		}
	}
	return state, nil
}

// setState puts a drain's delivery state into b.
func setState(b *pebble.Batch, state auditdrain.DeliveryState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return b.Set(key(progressPrefix, state.DrainID), append(binary.BigEndian.AppendUint64(nil, state.Cursor), data...), nil)
}

// Attempts returns what is kept of a drain's attempts, the latest first. A
// drain that does not exist is CodeNotFound.
func (s *Store) Attempts(ctx context.Context, drainID string) ([]auditdrain.Attempt, error) {
	return read(ctx, s, "list attempts", func(e *engine) ([]auditdrain.Attempt, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		if _, err := e.drain("", drainID); err != nil {
			return nil, err
		}
		var attempts []auditdrain.Attempt
		for _, prefix := range []string{failurePrefix, samplePrefix} {
			err := e.scan(string(ofDrain(prefix, drainID)), func(_ string, v []byte) error {
				var a auditdrain.Attempt
				err := json.Unmarshal(v, &a)
				attempts = append(attempts, a)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		slices.SortFunc(attempts, func(a, b auditdrain.Attempt) int {
			return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Number, a.Number), cmp.Compare(a.Outcome, b.Outcome))
		})
		return attempts, nil
	})
}
