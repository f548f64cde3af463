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
	"sync/atomic"

	"github.com/auditdrain/auditdrain"
)

// drainPos is how far a drain has come, and what FindDrains looks at, held in
// memory: it is written often, and every Retain and every search needs it.
// engine.catalog guards which drains there are, and, held for writing, all that
// is known of them; with catalog held for reading, saving guards what is
// written, and the cursor and errored can be read.
type drainPos struct {
	id, teamID string
	summary    drainSummary
	cursor     atomic.Uint64
	errored    atomic.Bool
	replay     *replayPos // the one that is running, or nil
}

// replayPos is how far a replay has come.
type replayPos struct {
	id           string
	cursor, last uint64
}

// done returns the number up to which the drain needs no event any more.
func (p *drainPos) done() uint64 {
	if r := p.replay; r != nil && r.cursor < r.last {
		return min(p.cursor.Load(), r.cursor)
	}
	return p.cursor.Load()
}

// take notes what was saved.
func (p *drainPos) take(cursor uint64, errored bool, replay *auditdrain.ReplayProgress) {
	p.cursor.Store(max(p.cursor.Load(), cursor))
	p.errored.Store(errored)
	if p.replay == nil || replay == nil || replay.ID != p.replay.id {
		return
	}
	p.replay.cursor = max(p.replay.cursor, replay.Cursor)
	if replay.FinishedAt != 0 {
		p.replay = nil
	}
}

func (e *engine) loadDrains() error {
	err := e.scan(drainPrefix, func(name string, v []byte) error {
		team, id, _ := strings.Cut(name, "/")
		summary, err := decodeSummary(id, v)
		if err != nil {
			return fmt.Errorf("drain %s: %w", id, err)
		}
		drains, err := e.teamOf(team)
		if err != nil {
			return err
		}
		e.addDrain(drains, &drainPos{id: id, teamID: team, summary: summary})
		return nil
	})
	if err != nil {
		return err
	}
	for id, p := range e.drains {
		state, err := e.state(id)
		if err != nil {
			return err
		}
		order, err := e.replayOrder(id)
		if err != nil {
			return err
		}
		p.replay = running(order)
		p.take(state.Cursor, state.FirstErrorAt != 0, state.Replay)
	}
	return nil
}

// teamDrains are the drains of a team that has some.
type teamDrains struct {
	text      string // see teamText
	hideIP    bool   // auditdrain.Team.HideIPAddresses
	ipChanged bool   // that ever was
	sequence  *sequence
	drains    []*drainPos
}

// take notes what the team is.
func (d *teamDrains) take(t auditdrain.Team) {
	d.text, d.hideIP, d.ipChanged = teamText(t), t.HideIPAddresses, t.HideIPAddressesChangedAt != 0
}

// teamOf returns what there is of a team's drains, for addDrain.
func (e *engine) teamOf(id string) (*teamDrains, error) {
	if team := e.teamDrains[id]; team != nil {
		return team, nil
	}
	var t auditdrain.Team
	if _, err := e.getJSON(key(teamPrefix, id), &t); err != nil {
		return nil, fmt.Errorf("team %s: %w", id, err)
	}
	q, err := e.sequence(id)
	if err != nil {
		return nil, err
	}
	team := &teamDrains{sequence: q}
	team.take(t)
	return team, nil
}

func (e *engine) addDrain(team *teamDrains, p *drainPos) {
	team.drains = append(team.drains, p)
	e.teamDrains[p.teamID] = team
	e.drains[p.id] = p
}

func (e *engine) removeDrain(p *drainPos) {
	delete(e.drains, p.id)
	team := e.teamDrains[p.teamID]
	team.drains = slices.DeleteFunc(team.drains, func(o *drainPos) bool { return o == p })
	if len(team.drains) == 0 {
		delete(e.teamDrains, p.teamID)
	}
}

// drainsOf returns a team's drains.
func (e *engine) drainsOf(teamID string) []*drainPos {
	if team := e.teamDrains[teamID]; team != nil {
		return team.drains
	}
	return nil
}

func noDrain(id string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no drain %q", id)
}

// drain returns the position of a drain of the team, or of any if teamID is
// empty. engine.catalog must be held.
func (e *engine) drain(teamID, id string) (*drainPos, error) {
	p := e.drains[id]
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
func (s *Store) CreateDrain(ctx context.Context, d auditdrain.Drain, startFrom int64, act *auditdrain.Activity) error {
	return s.run(ctx, "create drain", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		if err := e.requireTeam(d.TeamID); err != nil {
			return err
		}
		if e.drains[d.ID] != nil {
			return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q exists already", d.ID)
		}
		if v, err := e.get(key(chainPrefix, d.ID)); err != nil {
			return err
		} else if v != nil {
			return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q was deleted, and its last manifest is not written yet", d.ID)
		}
		if n := len(e.drainsOf(d.TeamID)); n >= auditdrain.MaxDrainsPerTeam {
			return auditdrain.Errorf(auditdrain.CodeConflict, "the team has %d drains, which is the limit: delete one first", n)
		}
		team, err := e.teamOf(d.TeamID)
		if err != nil {
			return err
		}
		cursor, err := e.startCursor(d.TeamID, startFrom)
		if err != nil {
			return err
		}
		b := e.db.NewBatch()
		if err := setJSON(b, drainKey(d.TeamID, d.ID), d); err != nil {
			return err
		}
		if err := b.Set(key(progressPrefix, d.ID), binary.BigEndian.AppendUint64(nil, cursor), nil); err != nil {
			return err
		}
		if err := e.commitWith(b, act); err != nil {
			return err
		}
		p := &drainPos{id: d.ID, teamID: d.TeamID, summary: summaryOf(d)}
		p.take(cursor, false, nil)
		e.addDrain(team, p)
		return nil
	})
}

// startCursor returns the number of the last event that a drain does not get.
func (e *engine) startCursor(teamID string, startFrom int64) (uint64, error) {
	q, err := e.sequence(teamID)
	if err != nil {
		return 0, err
	}
	last := q.durable.Load().seq
	if startFrom == 0 {
		return last, nil
	}
	return e.acceptedBefore(teamID, startFrom, last)
}

// acceptedBefore returns the number of the last event, of those up to last,
// that was accepted before a time (Unix ms) or has been removed.
func (e *engine) acceptedBefore(teamID string, ms int64, last uint64) (uint64, error) {
	iter, err := e.eventIter(teamID, 1, last)
	if err != nil {
		return 0, err
	}
	defer iter.Close()
	if !iter.First() { // all removed
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
	return read(ctx, s, "list drains", func(e *engine) ([]auditdrain.Drain, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		var drains []auditdrain.Drain
		add := func(_ string, v []byte) error {
			var d auditdrain.Drain
			err := json.Unmarshal(v, &d)
			drains = append(drains, d)
			return err
		}
		var err error
		if query.ID != "" {
			p, notFound := e.drain(query.TeamID, query.ID)
			if notFound != nil {
				return nil, nil
			}
			var v []byte
			if v, err = e.get(drainKey(p.teamID, query.ID)); err == nil {
				err = add("", v)
			}
		} else if query.TeamID != "" {
			err = e.scan(string(drainKey(query.TeamID, "")), add)
		} else {
			err = e.scan(drainPrefix, add)
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
// is, and nothing is changed; update may fill in what act points to, and must
// not change the drain's ID or team, nor call the store. A drain that does not
// exist is CodeNotFound.
func (s *Store) UpdateDrain(ctx context.Context, teamID, id string, update func(*auditdrain.Drain) error, act *auditdrain.Activity) (auditdrain.Drain, error) {
	return change(ctx, s, "update drain", update, func(e *engine, apply func(*auditdrain.Drain) error) (d auditdrain.Drain, err error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain(teamID, id)
		if err != nil {
			return d, err
		}
		k := drainKey(p.teamID, id)
		if _, err := e.getJSON(k, &d); err != nil {
			return d, err
		}
		if err := apply(&d); err != nil {
			return d, err
		}
		if d.ID != id || d.TeamID != p.teamID {
			return d, fmt.Errorf("drain %s of team %s cannot become drain %s of team %s", id, p.teamID, d.ID, d.TeamID)
		}
		b := e.db.NewBatch()
		if err := setJSON(b, k, d); err != nil {
			return d, err
		}
		if err := e.commitWith(b, act); err != nil {
			return d, err
		}
		p.summary = summaryOf(d)
		return d, nil
	})
}

// DeleteDrain removes a drain of the team, or of any team if teamID is empty,
// with all that was kept of its delivery. What its manifests do not account for yet
// is sealed in the same commit, and its chain stays until they are written. It is
// durable when DeleteDrain returns nil. A drain that does not exist is CodeNotFound.
func (s *Store) DeleteDrain(ctx context.Context, teamID, id string, act *auditdrain.Activity) error {
	return s.run(ctx, "delete drain", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		p, err := e.drain(teamID, id)
		if err != nil {
			return err
		}
		b := e.db.NewBatch()
		for _, k := range [][]byte{drainKey(p.teamID, id), key(progressPrefix, id), key(replayPrefix, id), key(notifiedPrefix, id)} {
			if err := b.Delete(k, nil); err != nil {
				return err
			}
		}
		for _, prefix := range []string{failurePrefix, samplePrefix, skipPrefix, seriesPrefix} {
			first := ofDrain(prefix, id)
			if err := b.DeleteRange(first, end(first), nil); err != nil {
				return err
			}
		}
		r, err := e.stageSeal(b, p, auditdrain.SealRequest{Cause: auditdrain.SealDeleted, At: e.now().UnixMilli()}, act)
		if err != nil {
			return err
		}
		if r.Chain.Ended() {
			if err := b.Delete(key(chainPrefix, id), nil); err != nil {
				return err
			}
		}
		if err := e.commitWith(b, act); err != nil {
			return err
		}
		e.removeDrain(p)
		if r.Chain.DrainID != "" {
			e.noteChain(r)
		}
		return nil
	})
}
