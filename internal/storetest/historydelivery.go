package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

// The operations on what is delivered, given up, delivered again and removed.

func (h *history) saveProgress() *operation {
	var progress []auditdrain.Progress
	for _, id := range slices.Sorted(maps.Keys(h.model.drains)) {
		if len(progress) == 0 || h.rng.IntN(2) == 0 {
			progress = append(progress, h.progressOf(h.model.drains[id]))
		}
	}
	return &operation{
		name: fmt.Sprintf("save progress of %d drains", len(progress)),
		apply: func(m *model) any {
			for _, p := range progress {
				m.drains[p.State.DrainID].save(p)
			}
			return []string(nil)
		},
		call: func() (any, error) { return h.store.SaveProgress(h.ctx, progress) },
	}
}

// progressOf makes up what a drain has to save.
func (h *history) progressOf(d *modelDrain) auditdrain.Progress {
	s := d.state()
	s.LastError = fmt.Sprint("error ", h.n)
	if last := h.model.log(d.TeamID).last(); last > s.Cursor {
		s.Cursor += uint64(h.rng.IntN(int(last-s.Cursor) + 1))
	}
	if h.rng.IntN(5) == 0 {
		s.Cursor = uint64(h.rng.IntN(int(s.Cursor) + 1)) // which has no effect
	}
	if o := d.running(); o != nil && h.rng.IntN(2) == 0 {
		at := d.replayed()
		if at < o.LastSeq {
			at += uint64(h.rng.IntN(int(o.LastSeq-at) + 1))
		}
		s.Replay = &auditdrain.ReplayProgress{ID: o.ID, Cursor: at}
		if at >= o.LastSeq {
			s.Replay.FinishedAt = h.now.UnixMilli()
		}
	}
	p := auditdrain.Progress{State: s}
	for range h.rng.IntN(3) {
		p.State.Failed++
		p.Attempts = append(p.Attempts, auditdrain.Attempt{Number: p.State.Failed, At: int64(h.n), Outcome: auditdrain.OutcomeFailed})
	}
	return p
}

func (h *history) skipEvent() *operation {
	id := pick(h.rng, h.model.drains)
	es := h.model.log(h.model.drains[id].TeamID).events
	skip := auditdrain.Skip{EventID: "none", Reason: fmt.Sprint("reason ", h.n), At: int64(h.n)}
	if len(es) > 0 {
		skip.EventID = es[h.rng.IntN(len(es))].ID
	}
	act := h.act(h.model.drains[id].TeamID)
	return &operation{
		name: fmt.Sprintf("skip %s of %s", skip.EventID, id),
		apply: func(m *model) any {
			d := m.drains[id]
			e, ok := m.log(d.TeamID).find(skip.EventID)
			if !ok {
				return auditdrain.CodeNotFound
			}
			for _, old := range slices.SortedFunc(slices.Values(d.skips), bySeq) {
				if old.Covers(e.Seq) {
					return old
				}
			}
			if e.Seq <= d.cursor() {
				return auditdrain.CodeConflict
			}
			skip := skip
			skip.From, skip.To = e.Seq, e.Seq
			d.skips = append(d.skips, skip)
			m.record(act)
			return skip
		},
		call: func() (any, error) { return h.store.SkipEvent(h.ctx, id, skip, act) },
	}
}

func bySeq(a, b auditdrain.Skip) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
}

func (h *history) skipBacklog() *operation {
	id := pick(h.rng, h.model.drains)
	skip := auditdrain.Skip{Reason: fmt.Sprint("reason ", h.n), At: int64(h.n)}
	act := h.act(h.model.drains[id].TeamID)
	return &operation{
		name: "skip backlog of " + id,
		apply: func(m *model) any {
			d := m.drains[id]
			last := m.log(d.TeamID).last()
			if last <= d.cursor() {
				return auditdrain.Skip{}
			}
			skip := skip
			skip.From, skip.To = d.cursor()+1, last
			now := d.latest()
			now.state.Cursor = last
			now.state.Skipped += skip.To - skip.From + 1
			d.saved = []savedProgress{now} // which is durable
			m.record(act)
			if i := slices.IndexFunc(d.skips, func(old auditdrain.Skip) bool { return old.From == skip.From && old.To == last }); i >= 0 {
				return d.skips[i]
			}
			d.skips = append(d.skips, skip)
			return skip
		},
		call: func() (any, error) { return h.store.SkipBacklog(h.ctx, id, skip, act) },
	}
}

func (h *history) startReplay() *operation {
	id := pick(h.rng, h.model.drains)
	from := h.now.UnixMilli() - h.rng.Int64N(100_000)
	order := auditdrain.ReplayOrder{ID: fmt.Sprint("rpl_", h.n), From: from, To: from + h.rng.Int64N(60_000)}
	act := h.act(h.model.drains[id].TeamID)
	return &operation{
		name: "replay of " + id,
		apply: func(m *model) any {
			d := m.drains[id]
			if d.running() != nil {
				return auditdrain.CodeConflict
			}
			l, order := m.log(d.TeamID), order
			before := l.before(order.From, d.cursor())
			order.FirstSeq, order.LastSeq = before+1, max(before, l.before(order.To, d.cursor()))
			d.order = &order
			m.record(act)
			return order
		},
		call: func() (any, error) { return h.store.StartReplay(h.ctx, id, order, act) },
	}
}

func (h *history) cancelReplay() *operation {
	id := pick(h.rng, h.model.drains)
	act := h.act(h.model.drains[id].TeamID)
	return &operation{
		name: "cancel replay of " + id,
		apply: func(m *model) any {
			d := m.drains[id]
			switch {
			case d.order == nil:
				return auditdrain.CodeNotFound
			case d.running() == nil:
				return auditdrain.CodeConflict
			}
			cancelled := *d.order
			cancelled.Cancelled = true
			d.order = &cancelled
			m.record(act)
			return cancelled
		},
		call: func() (any, error) { return h.store.CancelReplay(h.ctx, id, act) },
	}
}

// retain is the one whose answer the model does not know: how long exactly
// events stay is the store's choice, within bounds.
func (h *history) retain() *operation {
	var must map[string]uint64
	return &operation{
		name:  "retain",
		apply: func(m *model) any { must = m.retain(h.now); return nil },
		call: func() (any, error) {
			removed, err := h.store.Retain(h.ctx, keep)
			if err != nil {
				return nil, err
			}
			got := retained{removed: removed, first: map[string]uint64{}}
			for team, l := range h.model.logs {
				if got.first[team], err = h.firstLeft(l, team); err != nil {
					return nil, err
				}
			}
			return got, nil
		},
		settle: func(m *model, answer any) error {
			removed, got := 0, answer.(retained)
			for team, l := range m.logs {
				first := got.first[team]
				if first < l.first || first <= must[team] || first > l.most {
					return fmt.Errorf("events of %s begin with %d and began with %d; up to %d must go and up to %d may", team, first, l.first, must[team], l.most-1)
				}
				removed += int(first - l.first)
				l.first, l.most = first, first
			}
			if got.removed != removed {
				return fmt.Errorf("%d events removed, and %d told", removed, got.removed)
			}
			return nil
		},
	}
}

// retained is what Retain has removed, and the first event that each team has
// since.
type retained struct {
	removed int
	first   map[string]uint64
}

// progress is what the store has of a drain's progress.
func (h *history) progress(drainID string) savedProgress {
	h.Helper()
	state, err := h.store.DeliveryState(h.ctx, drainID)
	if err != nil {
		h.Fatal(err)
	}
	attempts, err := h.store.Attempts(h.ctx, drainID)
	if err != nil {
		h.Fatal(err)
	}
	return savedProgress{state, attempts}
}

func (h *history) diffDelivery(m *model, d *modelDrain, crashed bool) error {
	got, possible := h.progress(d.ID), d.saved
	if !crashed {
		possible = possible[len(possible)-1:]
	}
	same := func(p savedProgress) bool {
		return gocmp.Equal(p, got, gocmp.AllowUnexported(savedProgress{}), cmpopts.EquateEmpty())
	}
	if !slices.ContainsFunc(possible, same) {
		return fmt.Errorf("drain %s has %+v, want one of %+v", d.ID, got, possible)
	}
	skips, err := h.store.Skips(h.ctx, d.ID)
	if err != nil {
		return err
	}
	told, err := h.store.Instructions(h.ctx, d.ID)
	if err != nil {
		return err
	}
	want := slices.Clone(d.skips)
	slices.Reverse(want)
	if diff := gocmp.Diff(want, skips, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("skips of %s (-want +got):\n%s", d.ID, diff)
	}
	ahead := slices.DeleteFunc(want, func(s auditdrain.Skip) bool { return s.To <= got.state.Cursor })
	slices.SortFunc(ahead, bySeq)
	if diff := gocmp.Diff(auditdrain.Instructions{Skips: ahead, Replay: d.order}, told, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("instructions of %s (-want +got):\n%s", d.ID, diff)
	}

	// What the drain has yet to deliver must be there, and what it has yet to
	// deliver again.
	really := modelDrain{Drain: d.Drain, saved: []savedProgress{got}, order: d.order}
	last, cursor := m.log(d.TeamID).last(), really.done()
	es, err := h.store.Read(h.ctx, d.TeamID, cursor, 1, noLimit)
	if err != nil {
		return err
	}
	if cursor > last || cursor < last && (len(es) != 1 || es[0].Seq != cursor+1) {
		return fmt.Errorf("drain %s needs events after %d and gets %v, the last event is %d", d.ID, cursor, es, last)
	}
	return nil
}
