package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// logIn logs in with a token.
func (b *browser) logIn(token string) {
	b.t.Helper()
	b.open("/login")
	b.fill("Token", token)
	b.submit("button", "Log in")
	b.see("Log out")
}

// enter opens a portal link for an owner of the team.
func (b *browser) enter(tm team) {
	b.t.Helper()
	b.open(tm.portalLink(auditdrain.PortalLinkInput{UserName: "Ada Lovelace"}))
	b.submit("button", "Continue")
	b.see("Log out")
}

// owner is the browser of an owner of the team.
func (tm team) owner(t *testing.T) *browser {
	t.Helper()
	b := tm.svc.newBrowser(t)
	b.enter(tm)
	return b
}

// cookie is the session's.
func (b *browser) cookie() *network.Cookie {
	b.t.Helper()
	cookies := call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}}).Cookies
	if len(cookies) != 1 {
		b.t.Fatalf("%d cookies, want one", len(cookies))
	}
	return cookies[0]
}

func TestLogIn(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	revoked, producer, owner := acme.token(auditdrain.RoleOwner), acme.token(auditdrain.RoleProducer), acme.token(auditdrain.RoleOwner)
	must(t, s.operator.DeleteToken(t.Context(), acme.id, revoked.ID))
	soon := time.Now().Add(time.Second)
	expired, err := s.operator.CreateToken(t.Context(), auditdrain.TokenInput{Name: "short", Role: auditdrain.RoleOwner, TeamID: acme.id, ExpiresAt: soon.UnixMilli()})
	must(t, err)
	eventually(t, "the token has expired", func() bool { return time.Now().After(soon) })

	b := s.newBrowser(t)
	b.watch.allow(http.StatusUnauthorized)
	b.open("/drains")
	if got := b.path(); got != "/login?next=%2Fdrains" {
		t.Errorf("/drains has led to %s", got)
	}
	b.checkA11y()
	for _, test := range []struct{ token, want string }{
		{"ad_" + strings.Repeat("x", 32), "This token is not known, was revoked, or has expired."},
		{revoked.Value, "This token is not known, was revoked, or has expired."},
		{expired.Value, "This token is not known, was revoked, or has expired."},
		{producer.Value, "This token is for sending events only."},
	} {
		b.fill("Token", test.token)
		b.submit("button", "Log in")
		b.see(test.want)
		b.checkA11y()
		if b.value("Token") != "" {
			t.Error("a secret is sent back")
		}
	}
	b.fill("Token", " "+owner.Value+" ") // as it is copied
	b.submit("button", "Log in")
	b.see("Log out", owner.Name)
	if got := b.path(); got != "/drains" {
		t.Errorf("logging in has led to %s, want where the visit began", got)
	}
	c := b.cookie()
	lasts := time.Until(time.Unix(int64(c.Expires), 0))
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || lasts > auditdrain.SessionLasts || lasts < auditdrain.SessionLasts-time.Minute {
		t.Errorf("cookie %+v", c)
	}
	if seen := eval[string](b, `document.cookie`); seen != "" {
		t.Errorf("scripts see the cookie %q", seen)
	}

	b.submit("button", "Log out")
	b.see("Token")
	call(b, network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: b.url})
	b.open("/drains")
	b.see("Token") // it is the session that has ended, not the cookie
}

// A token that is revoked ends what was begun with it; so does time.
func TestSessionsEnd(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	token := acme.token(auditdrain.RoleOwner)
	b := s.newBrowser(t)
	b.logIn(token.Value)
	must(t, s.operator.DeleteToken(t.Context(), acme.id, token.ID))
	b.submit("link", "Drains")
	b.see("Token")

	b.logIn(acme.token(auditdrain.RoleOwner).Value)
	value := b.cookie().Value
	s.stop()
	s.expire(value)
	s.start()
	b.url = s.url
	b.open("/drains?q=x")
	b.see("Token")
	b.fill("Token", acme.token(auditdrain.RoleViewer).Value)
	b.submit("button", "Log in")
	if got := b.path(); got != "/drains?q=x" {
		t.Errorf("logging in has led to %s, want where the visit was", got)
	}
}

// expire has the session end that a cookie's value is of. The service must not
// run.
func (s *service) expire(cookie string) {
	s.t.Helper()
	store, err := pebblestore.Open(s.data, pebblestore.Options{})
	must(s.t, err)
	hash := auditdrain.HashToken(cookie)
	session, err := store.Session(s.t.Context(), hash)
	must(s.t, err)
	session.Hash, session.ExpiresAt = hash, time.Now().UnixMilli()
	must(s.t, store.DeleteSession(s.t.Context(), hash, nil), store.CreateSession(s.t.Context(), session, nil), store.Close())
}

func TestPortalLink(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	link := acme.portalLink(auditdrain.PortalLinkInput{UserName: "Ada Lovelace", Role: auditdrain.RoleViewer})
	b := s.newBrowser(t)
	b.open(link)
	b.see("Audit log drains of Acme", "Ada Lovelace", "viewer")
	b.checkA11y()
	b.open(link) // looking at it, as scanners of mail do, uses nothing up
	b.submit("button", "Continue")
	b.see("Log out", "Ada Lovelace", "viewer")
	if got := b.path(); got != "/drains" {
		t.Errorf("the link has led to %s, want /drains", got)
	}

	late := s.newBrowser(t)
	late.watch.allow(http.StatusNotFound)
	for _, gone := range []string{link, s.url + "/portal/nothing"} {
		late.open(gone)
		late.see("This link has been used or has expired.")
		late.checkA11y()
	}
	// Two people open the same link; one of them is in.
	link = acme.portalLink(auditdrain.PortalLinkInput{})
	late.open(link)
	other := s.newBrowser(t)
	other.open(link)
	other.submit("button", "Continue")
	other.see("Log out")
	late.submit("button", "Continue")
	late.see("This link has been used or has expired.")
}

// Other sites, and others on this machine, cannot have anything done.
func TestCrossOrigin(t *testing.T) {
	s := newService(t)
	b := s.newTeam("Acme").owner(t)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Prizes</title><link rel="icon" href="data:,">
			<form method="post" action="%s/logout"><button>Win</button></form>`, s.url)
	}))
	defer evil.Close()
	b.watch.allow(http.StatusForbidden)
	b.open(evil.URL) // a cookie is for all ports of a host
	b.submit("button", "Win")
	b.see("this form was sent from another site")
	b.checkA11y()
	b.open("/drains")
	b.see("Log out")

	framed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><iframe src="%s/login"></iframe>`, s.url)
	}))
	defer framed.Close()
	raw := newBrowser(t, framed.URL)
	raw.open("/")
	eventually(t, "the page is in no frame", func() bool { return strings.Contains(fmt.Sprint(raw.watch.troubles()), "frame-ancestors") })
}
