package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestLogIn(t *testing.T) {
	s := newSite(t)
	revoked, err := s.operator.CreateToken(t.Context(), auditdrain.TokenInput{Name: "old", Role: auditdrain.RoleOwner, TeamID: "team_1"})
	s.must(err)
	s.must(s.operator.DeleteToken(t.Context(), "", revoked.ID))
	for _, c := range []struct{ name, token, want string }{
		{"nothing", "", "Enter a token"},
		{"unknown", "ad_nobody", "not known, was revoked"},
		{"revoked", revoked.Value, "not known, was revoked"},
		{"producer", s.token(auditdrain.RoleProducer, "team_1"), "for sending events only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.browser()
			b.post("/login", url.Values{"token": {c.token}}).want(t, 401, c.want)
			if p := b.get("/"); !strings.HasPrefix(p.path, "/login?next=%2F") {
				t.Errorf("/ led to %s, want the log-in", p.path)
			}
		})
	}
}

func TestLogInLeadsBack(t *testing.T) {
	s := newSite(t)
	for next, want := range map[string]string{
		"/settings?team=team_1": "/settings?team=team_1",
		"":                      "/drains",
		"//evil.example":        "/drains",
		"/\\evil.example":       "/drains",
		"https://evil.example":  "/drains",
	} {
		b := s.browser()
		if p := b.post("/login", url.Values{"token": {operatorToken}, "next": {next}}); p.path != want {
			t.Errorf("next=%q led to %s, want %s", next, p.path, want)
		}
	}
}

func TestCookie(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := b.post("/login", url.Values{"token": {operatorToken}})
	cookies := p.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" {
		t.Fatalf("cookies %v, want one, HttpOnly and SameSite=Lax", cookies)
	}
	if left := time.Until(cookies[0].Expires); left <= 0 || left > auditdrain.SessionLasts {
		t.Errorf("the cookie lasts %s, want at most %s", left, auditdrain.SessionLasts)
	}
	if cookies[0].Value == operatorToken {
		t.Error("the cookie is the token")
	}
}

func TestLogOutEndsTheSession(t *testing.T) {
	s := newSite(t)
	b := s.logIn(operatorToken)
	at, err := url.Parse(s.url)
	s.must(err)
	cookies := b.Jar.Cookies(at)
	b.post("/logout", nil).want(t, 200, "Log in")
	thief := s.browser()
	thief.Jar.SetCookies(at, cookies)
	if p := thief.get("/"); !strings.HasPrefix(p.path, "/login") {
		t.Errorf("the old cookie opened %s", p.path)
	}
}

func TestRevokedTokenEndsItsSessions(t *testing.T) {
	s := newSite(t)
	token, err := s.operator.CreateToken(t.Context(), auditdrain.TokenInput{Name: "Ann", Role: auditdrain.RoleOwner, TeamID: "team_1"})
	s.must(err)
	b := s.logIn(token.Value)
	b.get("/login").want(t, 200, "Ann")
	s.must(s.operator.DeleteToken(t.Context(), "", token.ID))
	if p := b.get("/"); !strings.HasPrefix(p.path, "/login") {
		t.Errorf("the session of a revoked token opened %s", p.path)
	}
}

// portalLink puts a link into the store and returns its path.
func (s *site) portalLink(team string, role auditdrain.Role, valid time.Duration) string {
	s.Helper()
	value := auditdrain.NewTokenValue()
	now := time.Now()
	s.must(s.store.CreatePortalLink(s.Context(), auditdrain.PortalLink{
		ID: auditdrain.NewID("pl_"), TeamID: team, Role: role, UserName: "Bea <i>", CreatedAt: now.UnixMilli(),
		ExpiresAt: now.Add(valid).UnixMilli(), Hash: auditdrain.HashToken(value),
	}, nil))
	return "/portal/" + value
}

func TestPortalLinkWorksOnce(t *testing.T) {
	s := newSite(t)
	link := s.portalLink("team_1", auditdrain.RoleViewer, time.Minute)
	b := s.browser()
	for range 2 { // looking at it does not use it up
		b.get(link).want(t, 200, "Acme &lt;b&gt;Inc.", "Bea &lt;i&gt;", "team_1")
	}
	if p := b.post(link, nil); p.path != "/drains" {
		t.Fatalf("the link led to %s, want /drains", p.path)
	}
	other := s.browser()
	other.get(link).want(t, 404, "has been used or has expired")
	other.post(link, nil).want(t, 404, "has been used or has expired")
}

func TestExpiredPortalLink(t *testing.T) {
	s := newSite(t)
	link := s.portalLink("team_1", auditdrain.RoleOwner, -time.Second)
	b := s.browser()
	b.get(link).want(t, 404, "has been used or has expired")
	b.post(link, nil).want(t, 404, "has been used or has expired")
	b.get("/portal/nothing").want(t, 404, "has been used or has expired")
}

func TestCrossOriginFormsAreRefused(t *testing.T) {
	s := newSite(t)
	b := s.logIn(operatorToken)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		r, err := http.NewRequest("POST", s.url+"/logout", nil)
		s.must(err)
		r.Header.Set(name, value)
		b.do(r).want(t, 403, "sent from another site")
	}
	b.get("/login").want(t, 200, "Log out")
}

func TestHeaders(t *testing.T) {
	s := newSite(t)
	p := s.browser().get("/login")
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "same-origin",
		"Cache-Control":           "no-store",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
