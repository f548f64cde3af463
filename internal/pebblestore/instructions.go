package pebblestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/auditdrain/auditdrain"
)

// Instructions returns the skips of a drain that end after its cursor, its last
// replay, running or not, and what its team wants hidden. A drain that does not
// exist is CodeNotFound.
func (s *Store) Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error) {
	return read(ctx, s, "read instructions", func(e *engine) (auditdrain.Instructions, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		var in auditdrain.Instructions
		p, err := e.drain("", drainID)
		if err != nil {
			return in, err
		}
		in.HideIPAddresses = e.teamDrains[p.teamID].hideIP
		state, err := e.state(drainID)
		if err != nil {
			return in, err
		}
		skips, err := e.skips(drainID)
		if err != nil {
			return in, err
		}
		for _, skip := range skips {
			if skip.To > state.Cursor {
				in.Skips = append(in.Skips, skip)
			}
		}
		in.Replay, err = e.replayOrder(drainID)
		return in, err
	})
}

// SkipEvent records that a drain gives up the event with the ID of skip, and
// returns that record. It is durable when SkipEvent returns nil. An event that
// is given up already stays so for the reason that was given first: that
// record is returned. An event that the team does not have (any more) is
// CodeNotFound, as is a drain; one that the cursor has passed is CodeConflict.
func (s *Store) SkipEvent(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error) {
	return write(ctx, s, "skip event", func(e *engine) (auditdrain.Skip, error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain("", drainID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		seq, err := e.find(p.teamID, skip.EventID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		skips, err := e.skips(drainID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		if i := slices.IndexFunc(skips, func(old auditdrain.Skip) bool { return old.Covers(seq) }); i >= 0 {
			return skips[i], nil
		}
		if seq <= p.cursor.Load() {
			return auditdrain.Skip{}, auditdrain.Errorf(auditdrain.CodeConflict, "event %q has been delivered already: it cannot be skipped", skip.EventID)
		}
		skip.From, skip.To = seq, seq
		b := e.db.NewBatch()
		if err := setJSON(b, skipKey(drainID, skip), skip); err != nil {
			return auditdrain.Skip{}, err
		}
		return skip, e.commitWith(b, act)
	})
}

// SkipBacklog gives up all durable events after a drain's cursor, and moves
// the cursor and the drain's count of skipped events accordingly. It returns
// the record of that, or a zero Skip if there was nothing to give up. It is
// durable when SkipBacklog returns nil. A drain that does not exist is
// CodeNotFound.
func (s *Store) SkipBacklog(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error) {
	return write(ctx, s, "skip backlog", func(e *engine) (auditdrain.Skip, error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain("", drainID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		q, err := e.sequence(p.teamID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		last := q.durable.Load().seq
		if last <= p.cursor.Load() {
			return auditdrain.Skip{}, nil
		}
		state, err := e.state(drainID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		skips, err := e.skips(drainID)
		if err != nil {
			return auditdrain.Skip{}, err
		}
		skip.From, skip.To = p.cursor.Load()+1, last
		// A backlog of one event may have been given up by its ID before.
		if i := slices.IndexFunc(skips, func(old auditdrain.Skip) bool { return old.From == skip.From && old.To == last }); i >= 0 {
			skip = skips[i]
		}
		state.Cursor = last
		state.Skipped += last - p.cursor.Load()
		b := e.db.NewBatch()
		if err := setJSON(b, skipKey(drainID, skip), skip); err != nil {
			return auditdrain.Skip{}, err
		}
		if err := setState(b, state); err != nil {
			return auditdrain.Skip{}, err
		}
		if err := e.commitWith(b, act); err != nil {
			return auditdrain.Skip{}, err
		}
		p.cursor.Store(last)
		return skip, nil
	})
}

// Skips returns all that a drain has given up, the latest first. A drain that
// does not exist is CodeNotFound.
func (s *Store) Skips(ctx context.Context, drainID string) ([]auditdrain.Skip, error) {
	return read(ctx, s, "list skips", func(e *engine) ([]auditdrain.Skip, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		if _, err := e.drain("", drainID); err != nil {
			return nil, err
		}
		skips, err := e.skips(drainID)
		slices.SortStableFunc(skips, func(a, b auditdrain.Skip) int {
			return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.From, a.From))
		})
		return skips, err
	})
}

func skipKey(drainID string, skip auditdrain.Skip) []byte {
	k := binary.BigEndian.AppendUint64(ofDrain(skipPrefix, drainID), skip.From)
	return binary.BigEndian.AppendUint64(k, skip.To)
}

// skips reads the skips of a drain, by From.
func (e *engine) skips(drainID string) ([]auditdrain.Skip, error) {
	var skips []auditdrain.Skip
	err := e.scan(string(ofDrain(skipPrefix, drainID)), func(_ string, v []byte) error {
		var skip auditdrain.Skip
		err := json.Unmarshal(v, &skip)
		skips = append(skips, skip)
		return err
	})
	return skips, err
}

// find returns the number of a durable event. engine.catalog must be held for
// writing, or Retain may remove the event meanwhile.
func (e *engine) find(teamID, eventID string) (uint64, error) {
	q, err := e.sequence(teamID)
	if err != nil {
		return 0, err
	}
	v, err := e.get(appendIndexKey(nil, teamID, eventID))
	if err != nil {
		return 0, err
	}
	first, err := e.firstKept(teamID, q)
	if err != nil {
		return 0, err
	}
	if v != nil {
		if seq := binary.BigEndian.Uint64(v); first <= seq && seq <= q.durable.Load().seq {
			return seq, nil
		}
	}
	return 0, auditdrain.Errorf(auditdrain.CodeNotFound, "the team has no event %q, or has it no more: delivered events are kept for the time of --retain", eventID)
}

// StartReplay stores the order to deliver again the events that were accepted
// in the time of order, are still kept and have been passed by the drain's
// cursor (the others are still to be delivered anyway), and returns it with
// their numbers. It is durable when StartReplay returns nil, and the events
// are kept until the replay has passed them, is finished or cancelled. A drain
// has one replay at a time: another one is CodeConflict. A drain that does not
// exist is CodeNotFound.
func (s *Store) StartReplay(ctx context.Context, drainID string, order auditdrain.ReplayOrder, act *auditdrain.Activity) (auditdrain.ReplayOrder, error) {
	return write(ctx, s, "start replay", func(e *engine) (auditdrain.ReplayOrder, error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain("", drainID)
		if err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		if p.replay != nil {
			return auditdrain.ReplayOrder{}, auditdrain.Errorf(auditdrain.CodeConflict, "replay %s of this drain is running: wait until it has finished, or cancel it", p.replay.id)
		}
		before, err := e.acceptedBefore(p.teamID, order.From, p.cursor.Load())
		if err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		last, err := e.acceptedBefore(p.teamID, order.To, p.cursor.Load())
		if err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		order.FirstSeq, order.LastSeq = before+1, max(before, last)
		order.Cancelled = false
		b := e.db.NewBatch()
		if err := setJSON(b, key(replayPrefix, drainID), order); err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		if err := e.commitWith(b, act); err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		p.replay = running(&order)
		return order, nil
	})
}

// CancelReplay ends a drain's replay where it is and returns its order. It is
// durable when CancelReplay returns nil. If there has never been one, or no
// such drain, it is CodeNotFound; if it is over, CodeConflict.
func (s *Store) CancelReplay(ctx context.Context, drainID string, act *auditdrain.Activity) (auditdrain.ReplayOrder, error) {
	return write(ctx, s, "cancel replay", func(e *engine) (auditdrain.ReplayOrder, error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain("", drainID)
		if err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		order, err := e.replayOrder(drainID)
		if err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		if order == nil {
			return auditdrain.ReplayOrder{}, auditdrain.Errorf(auditdrain.CodeNotFound, "drain %q has no replay", drainID)
		}
		if p.replay == nil {
			return auditdrain.ReplayOrder{}, auditdrain.Errorf(auditdrain.CodeConflict, "replay %s is over already", order.ID)
		}
		order.Cancelled = true
		b := e.db.NewBatch()
		if err := setJSON(b, key(replayPrefix, drainID), order); err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		if err := e.commitWith(b, act); err != nil {
			return auditdrain.ReplayOrder{}, err
		}
		p.replay = nil
		return *order, nil
	})
}

// replayOrder reads the last replay that was ordered of a drain, or nil.
func (e *engine) replayOrder(drainID string) (*auditdrain.ReplayOrder, error) {
	var order auditdrain.ReplayOrder
	found, err := e.getJSON(key(replayPrefix, drainID), &order)
	if err != nil {
		return nil, fmt.Errorf("replay of drain %s: %w", drainID, err)
	}
	if !found {
		return nil, nil
	}
	return &order, nil
}

// running returns where a replay begins that is not cancelled, or nil.
func running(order *auditdrain.ReplayOrder) *replayPos {
	if order == nil || order.Cancelled {
		return nil
	}
	return &replayPos{id: order.ID, cursor: order.FirstSeq - 1, last: order.LastSeq}
}
