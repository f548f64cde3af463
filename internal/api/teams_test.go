package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestFindTeams(t *testing.T) {
	s := newService(t)
	for _, id := range []string{"team_a", "team_b", "other"} {
		s.team(id)
	}
	for query, want := range map[string]struct {
		teams   int
		matches int // -1: not told
	}{
		"":                        {3, -1},
		"?search=TEAM_":           {2, -1},
		"?search=team_&limit=1":   {1, 2},
		"?search=nobody&limit=5":  {0, 0},
		"?limit=200":              {3, 3},
		"?search=team_b&limit=20": {1, 1},
	} {
		got := must[auditdrain.TeamList](s, "GET", "/v1/teams"+query, "")
		if matches := got.Matches; len(got.Teams) != want.teams || (matches == nil) != (want.matches < 0) || matches != nil && *matches != want.matches {
			t.Errorf("%q: %+v, want %+v", query, got, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?limit=x", "?limit=", "?q=team"} {
		if got := s.do(operatorToken, "GET", "/v1/teams"+query, ""); got.status != 400 {
			t.Errorf("%q: %d %s, want 400", query, got.status, got.body)
		}
	}
}

func TestTokens(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	made := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"ci","role":"producer","teamId":"team-a"}`)
	if made.TeamID != "team_a" || made.Role != auditdrain.RoleProducer {
		t.Errorf("made %+v, want a producer of team_a", made)
	}
	if rest := strings.TrimPrefix(made.Value, "ad_"); len(rest) < 32 || strings.Trim(rest, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		t.Errorf("value %q, want ad_ and at least 32 letters and digits", made.Value)
	}
	if got := s.do(operatorToken, "GET", "/v1/tokens?teamId=team_a", ""); strings.Contains(got.body, made.Value) || !strings.Contains(got.body, made.ID) {
		t.Errorf("the list must name tokens and never show a value: %s", got.body)
	}
	if got := s.do(made.Value, "POST", "/v1/events", goodEvent); got.status != 200 {
		t.Errorf("the new token does not work: %d %s", got.status, got.body)
	}
	if got := s.do(operatorToken, "DELETE", "/v1/tokens/"+made.ID, ""); got.status != 204 || got.body != "" {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	if got := s.do(made.Value, "POST", "/v1/events", goodEvent); got.status != 401 {
		t.Errorf("a revoked token still works: %d %s", got.status, got.body)
	}

	owner := s.token("team_a", auditdrain.RoleOwner)
	for _, tt := range []struct {
		token, body string
		status      int
		says        string
	}{
		{owner, `{"name":"x","role":"owner"}`, 200, "team_a"},
		{owner, `{"name":"x","role":"viewer","teamId":"team_a"}`, 200, "team_a"},
		{owner, `{"name":"x","role":"producer"}`, 403, "producer"},
		{owner, `{"name":"x","role":"operator"}`, 403, "operator"},
		{owner, `{"name":"x","role":"viewer","teamId":"team_b"}`, 403, "team_b"},
		{operatorToken, `{"name":"x","role":"viewer"}`, 400, "teamId"},
		{operatorToken, `{"name":"x","role":"king"}`, 400, "king"},
		{operatorToken, `{"name":"","role":"operator"}`, 400, "name"},
		{operatorToken, `{"name":"x","role":"operator","teamId":"team_a"}`, 400, "teamId"},
		{operatorToken, `{"name":"x","role":"viewer","teamId":"team_zzz"}`, 404, "team_zzz"},
		{operatorToken, `{"name":"x","role":"operator","expiresAt":1}`, 400, "expiresAt"},
		{operatorToken, `{"name":"x","role":"operator"}`, 200, "operator"},
	} {
		got := s.do(tt.token, "POST", "/v1/tokens", tt.body)
		if got.status != tt.status || !strings.Contains(got.body, tt.says) {
			t.Errorf("POST /v1/tokens %s: %d %s, want %d that says %q", tt.body, got.status, got.body, tt.status, tt.says)
		}
	}
}

func TestOwnersCannotSilenceProducers(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	owner := s.token("team_a", auditdrain.RoleOwner)
	producer := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"p","role":"producer","teamId":"team_a"}`)
	if got := s.do(owner, "DELETE", "/v1/tokens/"+producer.ID, ""); got.status != 403 {
		t.Errorf("an owner revokes the producer's token: %d %s, want 403", got.status, got.body)
	}
	if got := s.do(producer.Value, "POST", "/v1/events", goodEvent); got.status != 200 {
		t.Errorf("the producer: %d %s", got.status, got.body)
	}

	ends := time.Now().Add(time.Hour).UnixMilli()
	short := must[auditdrain.NewToken](s, "POST", "/v1/tokens", fmt.Sprintf(`{"name":"o","role":"owner","teamId":"team_a","expiresAt":%d}`, ends))
	for expires, status := range map[int64]int{0: 403, ends + 1: 403, ends: 200} {
		body := fmt.Sprintf(`{"name":"x","role":"owner","expiresAt":%d}`, expires)
		if got := s.do(short.Value, "POST", "/v1/tokens", body); got.status != status {
			t.Errorf("a token that ends at %d makes one that ends at %d: %d %s, want %d", ends, expires, got.status, got.body, status)
		}
	}
}

func TestPortalLinks(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	now := time.Now()
	link := must[auditdrain.NewPortalLink](s, "POST", "/v1/portal-links", `{"teamId":"team-a","role":"viewer","userName":"ann@acme.example","validMinutes":10}`)
	value, ok := strings.CutPrefix(link.URL, "https://audit.example.com/portal/")
	if !ok || len(value) < 32 {
		t.Fatalf("URL %q", link.URL)
	}
	stored, err := s.store.PortalLink(t.Context(), auditdrain.HashToken(value))
	if err != nil {
		t.Fatal(err)
	}
	link.Hash = auditdrain.HashToken(value)
	if stored != link.PortalLink {
		t.Errorf("stored %+v, answered %+v", stored, link.PortalLink)
	}
	if stored.TeamID != "team_a" || stored.Role != auditdrain.RoleViewer || stored.UserName != "ann@acme.example" {
		t.Errorf("stored %+v", stored)
	}
	if valid := time.UnixMilli(stored.ExpiresAt).Sub(now); valid < 9*time.Minute || valid > 11*time.Minute {
		t.Errorf("valid for %v", valid)
	}
	recorded := s.latest(1)[0]
	if want := fmt.Sprintf(`portal-link-created team_a ann@acme.example role:"">"viewer" expiresAt:"">"%d"`, stored.ExpiresAt); short(recorded) != want || recorded.TargetID != stored.ID {
		t.Errorf("recorded %+v, want %s", recorded, want)
	}
	least := must[auditdrain.NewPortalLink](s, "POST", "/v1/portal-links", `{"teamId":"team_a"}`)
	if least.Role != auditdrain.RoleOwner || least.UserName != "portal" || least.ExpiresAt-least.CreatedAt != 5*60*1000 {
		t.Errorf("defaults %+v", least)
	}
	for body, field := range map[string]string{
		`{}`:                                       "teamId",
		`{"teamId":"team_a","role":"operator"}`:    "role",
		`{"teamId":"team_a","role":"producer"}`:    "role",
		`{"teamId":"team_a","userName":"a\u0000"}`: "userName",
		`{"teamId":"team_a","validMinutes":61}`:    "validMinutes",
		`{"teamId":"team_a","validMinutes":-1}`:    "validMinutes",
		`{"teamId":"team_a","valid":1}`:            "valid",
	} {
		if got := s.do(operatorToken, "POST", "/v1/portal-links", body); got.status != 400 || !strings.Contains(got.body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s, want 400 that names %s", body, got.status, got.body, field)
		}
	}
}

// Delivery is told of what it has to leave out from now on.
func TestHideIPAddresses(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	want := []string{}
	for range 2 {
		want = append(want, must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery)).ID)
	}
	must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_b", drainBody(goodDelivery))
	s.changed = nil
	owner := s.token("team_a", auditdrain.RoleOwner)
	got := s.do(owner, "PATCH", "/v1/teams/team-a", `{"hideIpAddresses":true}`)
	if team := decode[auditdrain.Team](t, got.body); got.status != 200 || !team.HideIPAddresses || team.HideIPAddressesChangedAt == 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	slices.Sort(want)
	slices.Sort(s.changed)
	if !slices.Equal(want, s.changed) {
		t.Errorf("delivery was told of %v, want %v", s.changed, want)
	}
	if team := must[auditdrain.Team](s, "GET", "/v2/teams/team-a", ""); !team.HideIPAddresses {
		t.Errorf("it is not stored: %+v", team)
	}
	if got := s.do(owner, "PATCH", "/v1/teams/team_a", `{"slug":"x"}`); got.status != 400 || !strings.Contains(got.body, "slug") {
		t.Errorf("another field: %d %s", got.status, got.body)
	}
}

func TestAnchorURL(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	for _, tt := range []struct {
		token, url string
		status     int
		says       string
	}{
		{s.token("team_a", auditdrain.RoleOwner), "https://anchors.example.com/", 403, "anchorUrl: where a team's manifests are anchored is the operator's to change"},
		{operatorToken, "http://anchors.example.com/", 400, `anchorUrl: \"http://anchors.example.com/\" is not allowed: use https`},
		{operatorToken, "https://me:hunter2@anchors.example.com/", 400, "without user, password"},
		{operatorToken, "https://anchors.example.com/", 200, `"anchorUrl":"https://anchors.example.com/"`},
		{operatorToken, "", 200, `"slug"`},
	} {
		got := s.do(tt.token, "PATCH", "/v1/teams/team_a", `{"anchorUrl":"`+tt.url+`"}`)
		if got.status != tt.status || !strings.Contains(got.body, tt.says) || strings.Contains(got.body, "hunter2") {
			t.Errorf("%q: %d %s, want %d that says %q", tt.url, got.status, got.body, tt.status, tt.says)
		}
		if team := must[auditdrain.Team](s, "GET", "/v2/teams/team_a", ""); got.status == 200 && team.AnchorURL != tt.url {
			t.Errorf("it is not stored: %+v, want %q", team, tt.url)
		}
	}
}

// Nobody forges what was done to auditdrain itself.
func TestSystemTeamIsClosed(t *testing.T) {
	s := newService(t)
	if err := s.store.CreateTeam(t.Context(), auditdrain.Team{ID: auditdrain.SystemTeam, Slug: "auditdrain", Name: "auditdrain itself"}, nil); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{
		"/v1/events?teamId=_system":    goodEvent,
		"/v1/events?teamId=auditdrain": goodEvent,
		"/v1/tokens":                   `{"name":"x","role":"producer","teamId":"auditdrain"}`,
	} {
		if got := s.do(operatorToken, "POST", path, body); got.status != 403 {
			t.Errorf("POST %s %s: %d %s, want 403", path, body, got.status, got.body)
		}
	}
	if got := s.do(operatorToken, "POST", "/v1/teams", `{"id":"_system","slug":"x","name":"x"}`); got.status != 409 {
		t.Errorf("a team with its ID: %d %s, want 409", got.status, got.body)
	}
	for path, body := range map[string]string{
		"/v1/tokens":                `{"name":"x","role":"owner","teamId":"_system"}`,
		"/v1/drains?teamId=_system": drainBody(goodDelivery),
	} {
		if got := s.do(operatorToken, "POST", path, body); got.status != 200 {
			t.Errorf("POST %s %s: %d %s, want 200", path, body, got.status, got.body)
		}
	}
}
