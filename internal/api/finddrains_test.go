package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestFindDrains(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	create := func(team, name string) string {
		body := strings.Replace(drainBody(goodDelivery), `"archive"`, fmt.Sprintf("%q", name), 1)
		return must[auditdrain.Drain](s, "POST", "/v1/drains?teamId="+team, body).ID
	}
	a1, a2, b1 := create("team_a", "First"), create("team_a", "Second"), create("team_b", "First of b")
	s.send(1, 2)
	s.save(auditdrain.DeliveryState{DrainID: a1, Cursor: 2})
	s.save(auditdrain.DeliveryState{DrainID: b1, FirstErrorAt: 7, LastError: "refused"})

	for _, tt := range []struct {
		query   string
		matches int
		counts  auditdrain.DrainCounts
		ids     []string
	}{
		{"limit=10", 3, auditdrain.DrainCounts{Errored: 1, Enabled: 2}, []string{b1, a2, a1}},
		{"limit=1&offset=1", 3, auditdrain.DrainCounts{Errored: 1, Enabled: 2}, []string{a2}},
		{"limit=10&offset=9", 3, auditdrain.DrainCounts{Errored: 1, Enabled: 2}, []string{}},
		{"limit=10&teamId=team_a", 2, auditdrain.DrainCounts{Enabled: 2}, []string{a2, a1}},
		{"limit=10&search=FIRST", 2, auditdrain.DrainCounts{Errored: 1, Enabled: 1}, []string{b1, a1}},
		{"limit=10&search=FIRST&status=enabled", 1, auditdrain.DrainCounts{Errored: 1, Enabled: 1}, []string{a1}},
		{"limit=200&status=disabled", 0, auditdrain.DrainCounts{Errored: 1, Enabled: 2}, []string{}},
	} {
		list := must[auditdrain.DrainList](s, "GET", "/v1/drains?includeMetadata=true&"+tt.query, "")
		ids := []string{}
		for _, d := range list.Drains {
			ids = append(ids, d.ID)
			if d.Metadata == nil || d.ExternalID == "" || (d.ID == b1) != (d.Status == auditdrain.StatusErrored) {
				t.Errorf("%s: drain is shown as %+v", tt.query, d)
			}
		}
		if diff := cmp.Diff(tt.ids, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.query, diff)
		}
		if list.Matches == nil || *list.Matches != tt.matches || list.Counts == nil || *list.Counts != tt.counts {
			t.Errorf("%s: matches %v, counts %+v, want %d and %+v", tt.query, list.Matches, list.Counts, tt.matches, tt.counts)
		}
	}

	// Who is bound to a team finds only that team's.
	got := decode[auditdrain.DrainList](t, s.do(s.token("team_a", auditdrain.RoleViewer), "GET", "/v1/drains?limit=10&search=first", "").body)
	if len(got.Drains) != 1 || got.Drains[0].ID != a1 || *got.Matches != 1 || *got.Counts != (auditdrain.DrainCounts{Enabled: 1}) {
		t.Errorf("a viewer of team_a finds %+v, %+v", got, got.Counts)
	}
	// Without limit all is as it was.
	if got := s.do(operatorToken, "GET", "/v1/drains", "").body; strings.Contains(got, "matches") || strings.Contains(got, "counts") {
		t.Errorf("a list has what belongs to a page: %s", got)
	}
}

func TestFindDrainsRefuses(t *testing.T) {
	s := newService(t)
	for _, tt := range []struct{ query, field, says string }{
		{"limit=0", "limit", "1 to 200"},
		{"limit=201", "limit", "1 to 200"},
		{"limit=", "limit", "1 to 200"},
		{"limit=ten", "limit", "ten"},
		{"limit=1&offset=-1", "offset", "0 or more"},
		{"limit=1&offset=x", "offset", "0 or more"},
		{"limit=1&status=broken", "status", "broken"},
		{"limit=1&status=", "status", "errored"},
		{"search=x", "limit", "missing"},
		{"status=errored", "limit", "missing"},
		{"offset=1", "limit", "missing"},
		{"limit=1&limit=2", "limit", "2 times"},
	} {
		got := s.do(operatorToken, "GET", "/v1/drains?"+tt.query, "")
		if got.status != 400 || !strings.Contains(got.body, `"field":"`+tt.field+`"`) || !strings.Contains(got.body, tt.says) {
			t.Errorf("%s: %d %s, want 400 that names %s and says %s", tt.query, got.status, got.body, tt.field, tt.says)
		}
	}
}
