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

	"github.com/auditdrain/auditdrain"
)

// drainPos is how far a drain has come, held in memory: it is written often
// and every trim needs it. Store.catalog guards which drains there are, and,
// held for writing, how far they are; with catalog held for reading, saving
// does.
type drainPos struct {
	teamID string
	cursor uint64
	replay *replayPos // the one that is running, or nil
	save   uint64     // the last call of SaveProgress that had the drain
}

// replayPos is how far a replay has come.
type replayPos struct {
	id           string
	cursor, last uint64
}

// done returns the number up to which the drain needs no event any more.
func (p *drainPos) done() uint64 {
	if r := p.replay; r != nil && r.cursor < r.last {
		return min(p.cursor, r.cursor)
	}
	return p.cursor
}

// take notes what was saved.
func (p *drainPos) take(cursor uint64, replay *auditdrain.ReplayProgress) {
	p.cursor = max(p.cursor, cursor)
	if p.replay == nil || replay == nil || replay.ID != p.replay.id {
		return
	}
	p.replay.cursor = max(p.replay.cursor, replay.Cursor)
	if replay.FinishedAt != 0 {
		p.replay = nil
	}
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
		state, err := s.state(id)
		if err != nil {
			return err
		}
		order, err := s.replayOrder(id)
		if err != nil {
			return err
		}
		p.replay = running(order)
		p.take(state.Cursor, state.Replay)
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
		if err := b.Set(key(progressPrefix, d.ID), binary.BigEndian.AppendUint64(nil, cursor), nil); err != nil {
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
	last := q.durable.Load().seq
	if startFrom == 0 {
		return last, nil
	}
	return s.acceptedBefore(teamID, startFrom, last)
}

// acceptedBefore returns the number of the last event, of those up to last,
// that was accepted before a time (Unix ms) or has been trimmed.
func (s *Store) acceptedBefore(teamID string, ms int64, last uint64) (uint64, error) {
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
		return r.acceptedAt >= ms*1000
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
// with all that was kept of its delivery. It is durable when DeleteDrain
// returns nil. A drain that does not exist is CodeNotFound.
func (s *Store) DeleteDrain(ctx context.Context, teamID, id string) error {
	return s.run(ctx, "delete drain", func() error {
		s.catalog.Lock()
		defer s.catalog.Unlock()
		p, err := s.drain(teamID, id)
		if err != nil {
			return err
		}
		b := s.db.NewBatch()
		for _, k := range [][]byte{drainKey(p.teamID, id), key(progressPrefix, id), key(replayPrefix, id), key(notifiedPrefix, id)} {
			if err := b.Delete(k, nil); err != nil {
				return err
			}
		}
		for _, prefix := range []string{failurePrefix, samplePrefix, skipPrefix} {
			first := ofDrain(prefix, id)
			if err := b.DeleteRange(first, end(first), nil); err != nil {
				return err
			}
		}
		if err := s.commit(b); err != nil {
			return err
		}
		s.removeDrain(id, p)
		return nil
	})
}
