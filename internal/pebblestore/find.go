package pebblestore

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// drainSummary is what searches look at of a drain's record.
type drainSummary struct {
	text      string // name, ID and endpoint, in lower case
	createdAt int64
	disabled  bool
}

func summaryOf(d auditdrain.Drain) drainSummary {
	return drainSummary{
		text:      searchText(d.Name, d.ID, d.Delivery.Endpoint),
		createdAt: d.CreatedAt,
		disabled:  d.Status == auditdrain.StatusDisabled,
	}
}

// decodeSummary is summaryOf for a stored record, of which it decodes no more.
func decodeSummary(id string, record []byte) (drainSummary, error) {
	var d struct {
		Name      string
		CreatedAt int64
		Status    auditdrain.DrainStatus
		Delivery  struct{ Endpoint string }
	}
	err := json.Unmarshal(record, &d)
	return summaryOf(auditdrain.Drain{
		ID: id, Name: d.Name, CreatedAt: d.CreatedAt, Status: d.Status,
		Delivery: auditdrain.Delivery{Endpoint: d.Delivery.Endpoint},
	}), err
}

// teamText is what searches look at of a drain's team.
func teamText(t auditdrain.Team) string { return searchText(t.ID, t.Slug, t.Name) }

// searchText joins parts with what none of them contains.
func searchText(parts ...string) string { return strings.ToLower(strings.Join(parts, "\n")) }

// noteTeam notes what a team that was changed is now, for searches and for its
// drains' Instructions. engine.catalog must be held for writing.
func (e *engine) noteTeam(t auditdrain.Team) {
	if team := e.teamDrains[t.ID]; team != nil {
		team.take(t)
	}
}

// FindDrains returns one page of the drains that search selects: those that are
// errored first, then those enabled, then those disabled, and of these the ones
// with the largest backlog first, then the oldest. It also returns how many it
// selects on all pages, and how many drains of each status there are without
// search.Status. It looks in memory, and reads only the drains of the page.
func (s *Store) FindDrains(ctx context.Context, search auditdrain.DrainSearch) (found []auditdrain.Drain, matches int, counts auditdrain.DrainCounts, err error) {
	type result struct {
		found   []auditdrain.Drain
		matches int
		counts  auditdrain.DrainCounts
	}
	r, err := read(ctx, s, "find drains", func(e *engine) (r result, err error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		offset := min(max(search.Offset, 0), len(e.drains))
		upTo := firsts{most: offset + max(search.Limit, 1)}
		var counts [len(urgency)]int
		for m := range e.matches(search.TeamID, search.Text) {
			counts[m.rank]++
			if search.Status == "" || search.Status == urgency[m.rank] {
				r.matches++
				upTo.add(m)
			}
		}
		r.counts = auditdrain.DrainCounts{Errored: counts[0], Enabled: counts[1], Disabled: counts[2]}
		page := upTo.sorted()
		for _, m := range page[min(offset, len(page)):] {
			var d auditdrain.Drain
			if _, err := e.getJSON(drainKey(m.drain.teamID, m.drain.id), &d); err != nil {
				return r, err
			}
			r.found = append(r.found, d)
		}
		return r, nil
	})
	return r.found, r.matches, r.counts, err
}

// urgency is the order of the statuses in what is found.
var urgency = [...]auditdrain.DrainStatus{auditdrain.StatusErrored, auditdrain.StatusEnabled, auditdrain.StatusDisabled}

func (p *drainPos) rank() int {
	switch {
	case p.summary.disabled:
		return 2
	case p.errored.Load():
		return 0
	}
	return 1
}

// backlog returns how many events of its team's sequence the drain has yet to
// deliver.
func (p *drainPos) backlog(q *sequence) uint64 {
	cursor := p.cursor.Load() // first: it is never beyond the last event
	return q.durable.Load().seq - cursor
}

// match is a drain that was found, as it was then.
type match struct {
	drain   *drainPos
	rank    int // in urgency
	backlog uint64
}

// compare stops at the first difference: a search compares many.
func (m match) compare(o match) int {
	if m.rank != o.rank {
		return cmp.Compare(m.rank, o.rank)
	}
	if m.backlog != o.backlog {
		return cmp.Compare(o.backlog, m.backlog)
	}
	a, b := m.drain, o.drain
	if a.summary.createdAt != b.summary.createdAt {
		return cmp.Compare(a.summary.createdAt, b.summary.createdAt)
	}
	return strings.Compare(a.id, b.id)
}

// matches yields the drains that have text in them, of one team or of all, in
// no order. engine.catalog must be held.
func (e *engine) matches(teamID, text string) iter.Seq[match] {
	text = strings.ToLower(text)
	ofTeam := func(team *teamDrains, yield func(match) bool) bool {
		all := strings.Contains(team.text, text)
		for _, p := range team.drains {
			if !all && !strings.Contains(p.summary.text, text) {
				continue
			}
			if !yield(match{drain: p, rank: p.rank(), backlog: p.backlog(team.sequence)}) {
				return false
			}
		}
		return true
	}
	return func(yield func(match) bool) {
		if teamID != "" {
			if team := e.teamDrains[teamID]; team != nil {
				ofTeam(team, yield)
			}
			return
		}
		for _, team := range e.teamDrains {
			if !ofTeam(team, yield) {
				return
			}
		}
	}
}

// firsts keeps the first of all matches that it is given, so that not all of
// them have to be sorted for the first page.
type firsts struct {
	most int     // 1 or more
	kept []match // twice as many at most
	full bool    // and what does not come before kept[most-1] is not among the first
}

func (f *firsts) add(m match) {
	if f.full && m.compare(f.kept[f.most-1]) > 0 {
		return
	}
	if f.kept = append(f.kept, m); len(f.kept) == 2*f.most {
		f.sorted()
		f.full = true
	}
}

// sorted returns the first of what was given so far.
func (f *firsts) sorted() []match {
	slices.SortFunc(f.kept, match.compare)
	f.kept = f.kept[:min(f.most, len(f.kept))]
	return f.kept
}
