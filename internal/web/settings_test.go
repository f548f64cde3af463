package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

var tokenRE = regexp.MustCompile(`ad_[A-Za-z0-9]{32}`)

func TestMakeAndRevokeToken(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/settings/tokens", url.Values{"name": {"Bea <script>"}, "role": {"viewer"}, "days": {"30"}})
	p.want(t, 200, "Bea &lt;script&gt;", "shown this once")
	value := tokenRE.FindString(p.body)
	viewer := s.logIn(value)
	viewer.get("/settings").want(t, 200, "Bea &lt;script&gt;")
	if p := b.get("/settings"); strings.Contains(p.body, value) {
		t.Error("the token is shown again")
	}
	tokens, err := s.operator.ListTokens(t.Context(), "team_1")
	s.must(err)
	for _, token := range tokens {
		if token.Role == auditdrain.RoleViewer {
			b.post("/settings/tokens/"+token.ID+"/revoke", nil).want(t, 200, "The token was revoked.")
		}
	}
	if p := viewer.get("/settings"); !strings.HasPrefix(p.path, "/login") {
		t.Errorf("the revoked token opened %s", p.path)
	}
}

func TestTokenProblemsAreAtTheirFields(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	for _, c := range []struct {
		field string
		form  url.Values
		want  string
	}{
		{"name", url.Values{"name": {"\x01"}, "role": {"viewer"}}, "1 to 128 bytes of printable text"},
		{"role", url.Values{"name": {"x"}, "role": {"king"}}, "use operator, owner, viewer or producer"},
		{"days", url.Values{"name": {"x"}, "role": {"viewer"}, "days": {"0"}}, "use 1 to 3650 days"},
		{"days", url.Values{"name": {"x"}, "role": {"viewer"}, "days": {"soon"}}, "use 1 to 3650 days"},
	} {
		p := b.post("/settings/tokens", c.form)
		p.want(t, 400, `id="token-`+c.field+`-wrong"`, c.want)
	}
	// What an owner may not do is refused by the API, whatever the form has.
	b.post("/settings/tokens", url.Values{"name": {"x"}, "role": {"producer"}}).want(t, 403, "an owner cannot make tokens")
}

func TestViewerSeesNoTokens(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	p := b.get("/settings")
	p.want(t, 200, "Acme")
	for _, not := range []string{"<h2 id=\"tokens-title\"", "Revoke", "Save"} {
		if strings.Contains(p.body, not) {
			t.Errorf("a viewer sees %q", not)
		}
	}
	b.post("/settings/tokens", url.Values{"name": {"x"}, "role": {"viewer"}}).want(t, 403)
	b.post("/settings", url.Values{"hideIpAddresses": {"yes"}}).want(t, 403)
}

func TestSettingsOfAnotherTeam(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	// The team of a team's member is their own, whatever is asked for.
	p := b.get("/settings?team=team_2")
	p.want(t, 200, "Acme")
	if strings.Contains(p.body, "Other Inc.") {
		t.Error("another team's settings are shown")
	}
	theirs, err := s.operator.CreateToken(t.Context(), auditdrain.TokenInput{Name: "theirs", Role: auditdrain.RoleViewer, TeamID: "team_2"})
	s.must(err)
	b.post("/settings/tokens/"+theirs.ID+"/revoke", url.Values{"team": {"team_2"}}).want(t, 404)
}

func TestHideIPAddresses(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	for _, hide := range []bool{true, false} {
		form := url.Values{}
		if hide {
			form.Set("hideIpAddresses", "yes")
		}
		b.post("/settings", form).want(t, 200, "The settings were saved.")
		team, err := s.operator.GetTeam(t.Context(), "team_1")
		s.must(err)
		if team.HideIPAddresses != hide {
			t.Errorf("hideIpAddresses is %t, want %t", team.HideIPAddresses, hide)
		}
	}
}

func TestAnchorURLIsShown(t *testing.T) {
	s := newSite(t)
	url := "https://anchors.acme.example/auditdrain"
	_, err := s.operator.UpdateTeam(t.Context(), "team_1", auditdrain.TeamPatch{AnchorURL: &url})
	s.must(err)
	s.logIn(s.token(auditdrain.RoleViewer, "team_1")).get("/settings").want(t, 200, "Manifests are anchored at", url)
}

func TestOperatorMakesPortalLink(t *testing.T) {
	s := newSite(t)
	b := s.logIn(operatorToken)
	b.get("/settings").want(t, 200, "Tokens of operators")
	b.post("/settings/portal-links", url.Values{"team": {"acme"}, "userName": {""}, "role": {"boss"}, "validMinutes": {"x"}}).
		want(t, 400, "use owner or viewer", "use 1 to 60")
	p := b.post("/settings/portal-links", url.Values{"team": {"acme"}, "userName": {"Bea"}, "role": {"owner"}, "validMinutes": {"5"}})
	p.want(t, 200, "Link for <bdi>Bea</bdi> was made")
	link := regexp.MustCompile(`/portal/ad_[A-Za-z0-9]{32}`).FindString(p.body)
	bea := s.browser()
	if p := bea.post(link, nil); p.path != "/drains" {
		t.Errorf("the link led to %s", p.path)
	}
}

func TestOperatorSeesSigningKeys(t *testing.T) {
	s := newSite(t)
	b := s.logIn(operatorToken)
	b.get("/settings").want(t, 200, "Signing keys", "There are none", s.url+"/.well-known/jwks.json")
	var ids []string
	for _, hours := range []int{0, 0, 24} {
		key, err := s.operator.CreateSigningKey(t.Context(), auditdrain.SigningKeyInput{ActiveAfterHours: &hours})
		s.must(err)
		ids = append(ids, key.ID)
	}
	p := b.get("/settings")
	p.want(t, 200, append(ids, "retired", "active", "next")...)
	b.get("/activity").want(t, 200, "made the signing key", ids[0])
	for _, other := range []page{b.get("/settings?team=acme"), s.logIn(s.token(auditdrain.RoleOwner, "team_1")).get("/settings")} {
		if strings.Contains(other.body, "Signing keys") {
			t.Errorf("%s shows signing keys", other.path)
		}
	}
}

func TestActivityTellsWhoDidWhat(t *testing.T) {
	s := newSite(t)
	ann := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	ann.post("/settings", url.Values{"hideIpAddresses": {"yes"}}).want(t, 200)
	p := ann.get("/activity")
	p.want(t, 200, "Ann", "changed the settings of the team", "hideIpAddresses", "logged in", "127.0.0.1", "in the pages")
	if strings.Contains(p.body, "team_2") {
		t.Error("another team's activity is shown")
	}
	other := s.logIn(s.token(auditdrain.RoleViewer, "team_2"))
	if p := other.get("/activity?team=team_1"); strings.Contains(p.body, "hideIpAddresses") {
		t.Error("team_2 sees what team_1 did")
	}
	operator := s.logIn(operatorToken)
	operator.get("/activity").want(t, 200, "team_1", "team_2", "created the team")
	operator.get("/activity?before=x").want(t, 400, "is not a number")
}

func TestActivityIsPaged(t *testing.T) {
	s := newSite(t)
	c, err := client.New(s.url, s.token(auditdrain.RoleOwner, "team_1"))
	s.must(err)
	hide := false
	for range 60 {
		hide = !hide
		_, err := c.UpdateTeam(t.Context(), "team_1", auditdrain.TeamPatch{HideIPAddresses: &hide})
		s.must(err)
	}
	b := s.logIn(operatorToken)
	p := b.get("/activity?team=team_1")
	older := regexp.MustCompile(`/activity\?before=\d+&amp;team=team_1`).FindString(p.body)
	if older == "" {
		t.Fatalf("there is no next page in %s", p.body)
	}
	b.get(strings.ReplaceAll(older, "&amp;", "&")).want(t, 200, "made the token", "Newest")
}
