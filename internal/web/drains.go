package web

import (
	"context"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// drainsPerPage is how many drains one page lists.
const drainsPerPage = 25

// drainsPage is what the list of drains shows.
type drainsPage struct {
	Operator bool
	Owner    bool
	Search   drainSearch
	Tabs     []tab
	Drains   []drainRow
	First    int // of those on this page, from 1
	Last     int
	Matches  int
	All      int // drains of the team, or of all teams, that the search finds
	Previous string
	Next     string
	Live     string
	Problem  string // with the team that was asked for
}

// drainRow is one drain of the list.
type drainRow struct {
	auditdrain.Drain
	Now   time.Time
	Team  auditdrain.Team // for operators
	Spark spark
}

// tab leads to a part of what there is.
type tab struct {
	Text    string
	Href    string
	Current bool
	Count   int
}

// drainSearch is what the address of the list asks for.
type drainSearch struct {
	Team   string // ID or slug
	Text   string
	Status auditdrain.DrainStatus
	Page   int // from 1
}

func drainSearchOf(v *visit) drainSearch {
	search := drainSearch{Text: strings.TrimSpace(v.FormValue("q")), Status: auditdrain.DrainStatus(v.FormValue("status")), Page: 1}
	if v.operator() {
		search.Team = v.team()
	}
	if n, err := strconv.Atoi(v.FormValue("page")); err == nil && n > 0 && n < 1e6 {
		search.Page = n
	}
	return search
}

// query is the search as it is in an address.
func (s drainSearch) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"team": s.Team, "q": s.Text, "status": string(s.Status)} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if s.Page > 1 {
		query.Set("page", strconv.Itoa(s.Page))
	}
	return query
}

// href is the address of the list with this search.
func (s drainSearch) href() string {
	return (&url.URL{Path: "/drains", RawQuery: s.query().Encode()}).String()
}

// OfTeam is the address of the list of one team.
func (drainSearch) OfTeam(id string) string { return drainSearch{Team: id}.href() }

func (s drainSearch) page(n int) drainSearch {
	s.Page = n
	return s
}

// find asks for the page of drains.
func (s *Server) find(v *visit, search drainSearch) (auditdrain.DrainList, error) {
	team := search.Team
	if team == "" {
		team = v.team()
	}
	list, err := s.client.FindDrains(v.Context(), auditdrain.DrainSearch{
		TeamID: team, Text: search.Text, Status: search.Status,
		Offset: (search.Page - 1) * drainsPerPage, Limit: drainsPerPage,
	})
	if err == nil && (list.Matches == nil || list.Counts == nil) {
		list.Matches, list.Counts = new(int), &auditdrain.DrainCounts{}
	}
	return list, err
}

// drainList lists the drains of the team, or for operators of all.
func (s *Server) drainList(v *visit) (reply, error) {
	page := drainsPage{Operator: v.operator(), Owner: v.owner(), Search: drainSearchOf(v)}
	list, err := s.find(v, page.Search)
	switch {
	case page.Search.Team != "" && auditdrain.ErrorCode(err) == auditdrain.CodeNotFound:
		page.Problem = err.Error()
		page.Tabs = page.Search.tabs(auditdrain.DrainCounts{})
		return reply{page: "drains", title: "Drains", data: page, visit: v, status: auditdrain.CodeNotFound.Status()}, nil
	case err != nil:
		return reply{}, err
	case len(list.Drains) == 0 && page.Search.Page > 1: // there are fewer by now
		return redirect(page.Search.page(1).href()), nil
	}
	counts := *list.Counts
	page.All = counts.Errored + counts.Enabled + counts.Disabled
	page.Matches = *list.Matches
	page.Tabs = page.Search.tabs(counts)
	page.First = (page.Search.Page-1)*drainsPerPage + 1
	page.Last = page.First + len(list.Drains) - 1
	if page.Search.Page > 1 {
		page.Previous = page.Search.page(page.Search.Page - 1).href()
	}
	if page.Last < page.Matches {
		page.Next = page.Search.page(page.Search.Page + 1).href()
	}
	if page.Drains, err = s.rows(v, list.Drains); err != nil {
		return reply{}, err
	}
	page.Live = "/drains/live?" + page.liveQuery().Encode()
	return reply{page: "drains", title: "Drains", data: page, visit: v}, nil
}

// tabs are the statuses to choose from.
func (s drainSearch) tabs(counts auditdrain.DrainCounts) []tab {
	all := []struct {
		status auditdrain.DrainStatus
		text   string
		count  int
	}{
		{"", "All", counts.Errored + counts.Enabled + counts.Disabled},
		{auditdrain.StatusErrored, statusText(auditdrain.StatusErrored), counts.Errored},
		{auditdrain.StatusEnabled, statusText(auditdrain.StatusEnabled), counts.Enabled},
		{auditdrain.StatusDisabled, statusText(auditdrain.StatusDisabled), counts.Disabled},
	}
	var tabs []tab
	for _, t := range all {
		to := s.page(1)
		to.Status = t.status
		tabs = append(tabs, tab{Text: t.text, Href: to.href(), Current: t.status == s.Status, Count: t.count})
	}
	return tabs
}

// rows adds to drains what the list shows of each.
func (s *Server) rows(v *visit, drains []auditdrain.Drain) ([]drainRow, error) {
	teams := map[string]auditdrain.Team{}
	var rows []drainRow
	for _, d := range drains {
		row := drainRow{Drain: d, Now: v.now}
		if v.operator() {
			team, ok := teams[d.TeamID]
			if !ok {
				var err error
				if team, err = s.client.GetTeam(v.Context(), d.TeamID); err != nil {
					return nil, err
				}
				teams[d.TeamID] = team
			}
			row.Team = team
		}
		series, err := s.series(v.Context(), d, auditdrain.SpanDay)
		if err != nil {
			return nil, err
		}
		row.Spark = newSpark(series)
		rows = append(rows, row)
	}
	return rows, nil
}

// series is what a drain did over time, empty if it was deleted meanwhile.
func (s *Server) series(ctx context.Context, d auditdrain.Drain, span auditdrain.Span) (auditdrain.Series, error) {
	series, err := s.client.Series(ctx, d.TeamID, d.ID, span)
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
		return auditdrain.Series{Span: span}, nil
	}
	return series, err
}

// Cause is why a drain is in trouble, on one line.
func (r drainRow) Cause() string {
	if r.Status != auditdrain.StatusErrored {
		return ""
	}
	if r.Diagnosis != nil {
		for _, c := range r.Diagnosis.Causes {
			return c.Text
		}
		return r.Diagnosis.Summary
	}
	return r.LastError
}

// Since is for how long a drain has had its status, "" if that is not known.
func (r drainRow) Since() string {
	switch since := statusSince(r.Drain); {
	case since == 0:
		return ""
	default:
		return "for " + span(r.Now.Sub(time.UnixMilli(since)))
	}
}

// statusSince is when a drain came to be errored or disabled: Unix ms, or 0.
func statusSince(d auditdrain.Drain) int64 {
	switch d.Status {
	case auditdrain.StatusErrored:
		return d.FirstErrorTimestamp
	case auditdrain.StatusDisabled:
		return d.DisabledAt
	}
	return 0
}

// age is how long ago something was, "" if never.
func age(now time.Time, ms int64) string {
	if ms == 0 {
		return ""
	}
	return span(now.Sub(time.UnixMilli(ms)))
}

// liveQuery is the search and the drains that the page shows, in an address.
func (p drainsPage) liveQuery() url.Values {
	query := p.Search.query()
	for _, d := range p.Drains {
		query.Add("id", d.ID)
	}
	return query
}

// liveDrains keeps an open list up to date. Its rows stay where they are, so
// that nobody presses what has just come there; that others are in trouble by
// now is said above them.
func (s *Server) liveDrains(v *visit) (map[string]template.HTML, error) {
	search := drainSearchOf(v)
	list, err := s.find(v, search)
	if err != nil {
		return nil, err
	}
	ids := v.URL.Query()["id"]
	ids = ids[:min(len(ids), drainsPerPage)]
	found := map[string]auditdrain.Drain{}
	others := 0
	for _, d := range list.Drains {
		found[d.ID] = d
		if d.Status == auditdrain.StatusErrored && !slices.Contains(ids, d.ID) {
			others++
		}
	}
	parts := map[string]part{
		"tabs":   {"tabs", search.tabs(*list.Counts)},
		"others": {"others", othersInTrouble{others, search.href()}},
	}
	for _, id := range ids {
		d, ok := found[id]
		if !ok { // it has changed its place
			d, err = s.client.GetDrain(v.Context(), v.team(), id)
			if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
				parts["status-"+id] = part{"row-gone", nil}
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		row := drainRow{Drain: d, Now: v.now}
		for _, column := range []string{"status", "backlog", "oldest", "last"} {
			parts[column+"-"+id] = part{"row-" + column, row}
		}
	}
	return s.parts(parts)
}

// othersInTrouble is how many drains have come to be in trouble that an open
// list does not show, and the address that does.
type othersInTrouble struct {
	Count int
	Href  string
}
