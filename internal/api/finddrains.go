package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

var statuses = []auditdrain.DrainStatus{auditdrain.StatusErrored, auditdrain.StatusEnabled, auditdrain.StatusDisabled}

var searchParams = []param{
	{"limit", fmt.Sprintf("Only one page, of 1 to %d drains: those in trouble first, then those with the largest backlog. The answer then also has matches, how many there are on all pages, and counts, how many there are of each status, whatever status was asked for.", auditdrain.MaxPage)},
	{"offset", "With limit: how many drains come before the page; 0 without it."},
	{"search", "With limit: only those with this in their name, id or endpoint, or in their team's id, slug or name. Case does not matter."},
	{"status", fmt.Sprintf("With limit: only those with this status: one of %q.", statuses)},
}

// listParams are those of a list of drains.
var listParams = append([]param{projectParam, metadataParam}, searchParams...)

// isSearch reports whether a list of drains is asked for with what belongs to a
// search. Clients of the reference system ask for all of them.
func isSearch(c *call) bool {
	query := c.URL.Query()
	return slices.ContainsFunc(searchParams, func(p param) bool { return query.Has(p.name) })
}

func (s *Server) findDrains(c *call) (any, error) {
	if err := checkQuery(c, listParams); err != nil {
		return nil, err
	}
	search, problems := parseSearch(c.URL.Query())
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	search.TeamID = c.team.ID
	found, matches, counts, err := s.Finder.FindDrains(c.Context(), search)
	if err != nil {
		return nil, err
	}
	found, err = s.allShown(c, found)
	return auditdrain.DrainList{Drains: found, Matches: &matches, Counts: &counts}, err
}

func parseSearch(query url.Values) (search auditdrain.DrainSearch, problems []auditdrain.Problem) {
	bad := func(field, format string, args ...any) {
		problems = append(problems, auditdrain.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	var err error
	if text := query.Get("limit"); !query.Has("limit") {
		bad("limit", "missing: a search returns pages, of 1 to %d drains", auditdrain.MaxPage)
	} else if search.Limit, err = strconv.Atoi(text); err != nil || search.Limit < 1 || search.Limit > auditdrain.MaxPage {
		bad("limit", "%q is not allowed: use 1 to %d", text, auditdrain.MaxPage)
	}
	if text := query.Get("offset"); query.Has("offset") {
		if search.Offset, err = strconv.Atoi(text); err != nil || search.Offset < 0 {
			bad("offset", "%q is not allowed: use 0 or more", text)
		}
	}
	search.Text = query.Get("search")
	search.Status = auditdrain.DrainStatus(query.Get("status"))
	if query.Has("status") && !slices.Contains(statuses, search.Status) {
		bad("status", "%q is not allowed: use one of %q", string(search.Status), statuses)
	}
	return search, problems
}
