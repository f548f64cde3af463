package pebblestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// drainPos is a drain's cursor, held in memory: it is written often and every
// trim needs it. Store.catalog guards which drains there are; a cursor is
// changed with catalog held for reading, and mu.
type drainPos struct {
	teamID string
	mu     sync.Mutex
	cursor uint64
}

func (p *drainPos) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cursor
}

func (s *Store) loadDrains() error {
	err := s.scan(drainPrefix, func(name string, _ []byte) error {
		team, id, _ := strings.Cut(name, "/")
		s.addDrain(id, &drainPos{teamID: team})
		return nil
	})
	if err != nil {
		return err
	}
	for id, p := range s.drains {
		v, err := s.get(key(cursorPrefix, id))
		if err != nil {
			return err
		}
		if len(v) != 8 {
			return fmt.Errorf("cursor of drain %s is damaged: %d bytes", id, len(v))
		}
		p.cursor = binary.BigEndian.Uint64(v)
	}
	return nil
}

func (s *Store) addDrain(id string, p *drainPos) {
	s.drains[id] = p
	s.teamDrains[p.teamID] = append(s.teamDrains[p.teamID], p)
}

func (s *Store) removeDrain(id string, p *drainPos) {
	delete(s.drains, id)
	rest := slices.DeleteFunc(s.teamDrains[p.teamID], func(o *drainPos) bool { return o == p })
	if s.teamDrains[p.teamID] = rest; len(rest) == 0 {
		delete(s.teamDrains, p.teamID)
	}
}

func noDrain(id string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no drain %q", id)
}

// drain returns the position of a drain of the team, or of any if teamID is
// empty. Store.catalog must be held.
func (s *Store) drain(teamID, id string) (*drainPos, error) {
	p := s.drains[id]
	if p == nil || teamID != "" && p.teamID != teamID {
		return nil, noDrain(id)
	}
	return p, nil
}

// CreateDrain stores a drain together with its cursor, which is before the
// first event that was accepted at startFrom (Unix ms) or later, or, if
// startFrom is 0, after all that have been confirmed so far. It is durable
// when CreateDrain returns nil. An unknown team is CodeNotFound; an ID that
// exists, or one drain too many, CodeConflict.
func (s *Store) CreateDrain(ctx context.Context, d auditdrain.Drain, startFrom int64) error {
	return s.run(ctx, "create drain", func() error {
		s.catalog.Lock()
		defer s.catalog.Unlock()
		if err := s.requireTeam(d.TeamID); err != nil {
			return err
		}
		if s.drains[d.ID] != nil {
			return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q exists already", d.ID)
		}
		if n := len(s.teamDrains[d.TeamID]); n >= auditdrain.MaxDrainsPerTeam {
			return auditdrain.Errorf(auditdrain.CodeConflict, "the team has %d drains, which is the limit: delete one first", n)
		}
		cursor, err := s.startCursor(d.TeamID, startFrom)
		if err != nil {
			return err
		}
		b := s.db.NewBatch()
		if err := setJSON(b, drainKey(d.TeamID, d.ID), d); err != nil {
			return err
		}
		if err := b.Set(key(cursorPrefix, d.ID), binary.BigEndian.AppendUint64(nil, cursor), nil); err != nil {
			return err
		}
		if err := s.commit(b); err != nil {
			return err
		}
		s.addDrain(d.ID, &drainPos{teamID: d.TeamID, cursor: cursor})
		return nil
	})
}

// startCursor returns the number of the last event that a drain does not get.
func (s *Store) startCursor(teamID string, startFrom int64) (uint64, error) {
	q, err := s.sequence(teamID)
	if err != nil {
		return 0, err
	}
	last := q.durable.Load()
	if startFrom == 0 || last == 0 {
		return last, nil
	}
	iter, err := s.eventIter(teamID, 1, last)
	if err != nil {
		return 0, err
	}
	defer iter.Close()
	if !iter.First() { // all trimmed
		return last, iter.Error()
	}
	first, err := currentEvent(iter)
	if err != nil {
		return 0, err
	}
	// Times of acceptance never decrease, so the first event that is late
	// enough can be searched for.
	n := sort.Search(int(last-first.seq+1), func(i int) bool {
		if err != nil || !iter.SeekGE(appendEventKey(nil, teamID, first.seq+uint64(i))) {
			return true
		}
		var r eventRecord
		r, err = currentEvent(iter)
		return r.acceptedAt >= startFrom*1000
	})
	if err == nil {
		err = iter.Error()
	}
	return first.seq + uint64(n) - 1, err
}

// Drains returns the drains that query selects, ordered by creation.
func (s *Store) Drains(ctx context.Context, query auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	return call(ctx, s, "list drains", func() ([]auditdrain.Drain, error) {
		s.catalog.RLock()
		defer s.catalog.RUnlock()
		var drains []auditdrain.Drain
		add := func(_ string, v []byte) error {
			var d auditdrain.Drain
			err := json.Unmarshal(v, &d)
			drains = append(drains, d)
			return err
		}
		var err error
		if query.ID != "" {
			p, notFound := s.drain(query.TeamID, query.ID)
			if notFound != nil {
				return nil, nil
			}
			var v []byte
			if v, err = s.get(drainKey(p.teamID, query.ID)); err == nil {
				err = add("", v)
			}
		} else if query.TeamID != "" {
			err = s.scan(string(drainKey(query.TeamID, "")), add)
		} else {
			err = s.scan(drainPrefix, add)
		}
		slices.SortFunc(drains, func(a, b auditdrain.Drain) int {
			return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		return drains, err
	})
}

// UpdateDrain changes a drain of the team, or of any team if teamID is empty,
// and returns it as it is then. It is durable when UpdateDrain returns nil.
// Updates take place one after the other. An error of update is returned as it
// is, and nothing is changed; update must not change the drain's ID or team,
// nor call the store. A drain that does not exist is CodeNotFound.
func (s *Store) UpdateDrain(ctx context.Context, teamID, id string, update func(*auditdrain.Drain) error) (auditdrain.Drain, error) {
	if err := ctx.Err(); err != nil {
		return auditdrain.Drain{}, err
	}
	// update may use what belongs to the caller: it must not run any more
	// once the caller has gone on.
	ctx = context.WithoutCancel(ctx)
	var refused error
	updated, err := call(ctx, s, "update drain", func() (d auditdrain.Drain, err error) {
		s.catalog.Lock()
		defer s.catalog.Unlock()
		p, err := s.drain(teamID, id)
		if err != nil {
			return d, err
		}
		k := drainKey(p.teamID, id)
		if _, err := s.getJSON(k, &d); err != nil {
			return d, err
		}
		if err := update(&d); err != nil {
			refused = err
			return auditdrain.Drain{}, nil
		}
		if d.ID != id || d.TeamID != p.teamID {
			return d, fmt.Errorf("drain %s of team %s cannot become drain %s of team %s", id, p.teamID, d.ID, d.TeamID)
		}
		b := s.db.NewBatch()
		if err := setJSON(b, k, d); err != nil {
			return d, err
		}
		return d, s.commit(b)
	})
	if err != nil {
		return auditdrain.Drain{}, err
	}
	return updated, refused
}

// DeleteDrain removes a drain of the team, or of any team if teamID is empty,
// with its cursor and delivery state. It is durable when DeleteDrain returns
// nil. A drain that does not exist is CodeNotFound.
func (s *Store) DeleteDrain(ctx context.Context, teamID, id string) error {
	return s.run(ctx, "delete drain", func() error {
		s.catalog.Lock()
		defer s.catalog.Unlock()
		p, err := s.drain(teamID, id)
		if err != nil {
			return err
		}
		s.removeDrain(id, p)
		return s.commitDelete(drainKey(p.teamID, id), key(cursorPrefix, id), key(statePrefix, id))
	})
}

// DeliveryState returns what was last saved of a drain's delivery, and its
// cursor. A drain that does not exist is CodeNotFound.
func (s *Store) DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error) {
	return call(ctx, s, "read delivery state", func() (auditdrain.DeliveryState, error) {
		s.catalog.RLock()
		defer s.catalog.RUnlock()
		state := auditdrain.DeliveryState{DrainID: drainID}
		p, err := s.drain("", drainID)
		if err != nil {
			return state, err
		}
		state.Cursor = p.get()
		_, err = s.getJSON(key(statePrefix, drainID), &state)
		return state, err
	})
}

// SaveCursor moves a drain's cursor forward to seq; to move it back does
// nothing. It does not wait for the disk: a crash may move the cursor back,
// never ahead. A drain that does not exist is CodeNotFound, a number that has
// not been given out an error.
func (s *Store) SaveCursor(ctx context.Context, drainID string, seq uint64) error {
	return s.run(ctx, "save cursor", func() error {
		s.catalog.RLock()
		defer s.catalog.RUnlock()
		p, err := s.drain("", drainID)
		if err != nil {
			return err
		}
		q, err := s.sequence(p.teamID)
		if err != nil {
			return err
		}
		if last := q.durable.Load(); seq > last {
			return fmt.Errorf("drain %s cannot have delivered event %d: the last one is %d", drainID, seq, last)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if seq <= p.cursor {
			return nil
		}
		if err := s.db.Set(key(cursorPrefix, drainID), binary.BigEndian.AppendUint64(nil, seq), pebble.NoSync); err != nil {
			return err
		}
		p.cursor = seq
		return nil
	})
}

// SaveDeliveryState stores all of state but the cursor. It does not wait for
// the disk. A drain that does not exist is CodeNotFound.
func (s *Store) SaveDeliveryState(ctx context.Context, state auditdrain.DeliveryState) error {
	return s.run(ctx, "save delivery state", func() error {
		s.catalog.RLock()
		defer s.catalog.RUnlock()
		if _, err := s.drain("", state.DrainID); err != nil {
			return err
		}
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		return s.db.Set(key(statePrefix, state.DrainID), data, pebble.NoSync)
	})
}
