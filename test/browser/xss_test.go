package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// attack is text that would do something if it were anything but text: as
// HTML, in an attribute, in a script, in a template. It has the field it went
// into at its end.
func attack(field string) string {
	return `'"><img src=x onerror=alert(1)><script>alert(2)</script>${7*7}` + field
}

// awssim gives ordinary request IDs; this one is on the way to us.
func hostile(w http.ResponseWriter) http.ResponseWriter { return hostileWriter{w} }

type hostileWriter struct{ http.ResponseWriter }

func (w hostileWriter) WriteHeader(status int) {
	w.Header().Set("X-Amz-Request-Id", attack("request"))
	w.Header().Set("X-Amzn-Requestid", attack("request"))
	w.Header().Set("X-Amz-Id-2", attack("extended"))
	w.Header().Set("X-Hostile", attack("header"))
	w.ResponseWriter.WriteHeader(status)
}

// Whatever a team, a platform, a browser or AWS puts into what we show, it is
// shown as text. The watch tells of dialogs, and of what the policy of the
// pages had to stop.
func TestScriptInjection(t *testing.T) {
	s := newService(t)
	s.aws.wrap(hostile)
	acme := s.newTeam("Acme")
	named, err := s.operator.CreateTeam(t.Context(), auditdrain.TeamInput{ID: "team_evil", Slug: "evil", Name: attack("team")})
	must(t, err)
	evil := team{s, named.ID, named.Name}
	token, err := s.operator.CreateToken(t.Context(), auditdrain.TokenInput{Name: attack("token"), Role: auditdrain.RoleOwner, TeamID: evil.id})
	must(t, err)
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		return awssim.Fault{Err: &awssim.Error{Status: 418, Code: attack("code"), Message: attack("message"), Detail: []awssim.Element{{Name: "Hint", Value: attack("body")}}}}
	})
	drain := evil.drain(attack("drain"), delivery("evil"))
	evil.sendLines(fmt.Appendf(nil, `{"id":"uev_evil","action":%q,"actor":{"id":%q,"type":"user","name":%q}}`+"\n", attack("action"), attack("actor"), attack("name")))

	b := s.newBrowser(t)
	b.watch.allow(http.StatusBadRequest, http.StatusNotFound, http.StatusForbidden)
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: attack("agent")})
	b.open(evil.portalLink(auditdrain.PortalLinkInput{UserName: attack("person")}))
	b.see(attack("team"), attack("person"))
	b.submit("button", "Continue")
	b.see(attack("person"), attack("drain"))
	b.open("/drains/" + drain.ID)
	b.see(attack("drain"), attack("message"))
	b.submit("button", "Test")
	b.see("The test failed.", attack("message"))
	b.click("DisclosureTriangle", "The complete answer of AWS")
	b.see(attack("code"), attack("request"), attack("extended"), attack("header"))
	b.click("DisclosureTriangle", "For support")
	b.see("<Hint>") // the body, which has its own escapes

	b.open("/activity")
	b.see(attack("person"), attack("drain"), "'\"><img src=x onerror=alert(1)")
	b.open("/settings")
	b.see(attack("team"), attack("token"))

	// What is in an address, and what was typed and refused.
	query := url.QueryEscape(attack("q"))
	for _, path := range []string{
		"/drains?q=" + query, "/drains?status=" + query, "/drains?page=" + query, "/drains?done=" + query,
		"/activity?before=" + query, "/drains/" + url.PathEscape(attack("id")), "/login?next=" + query,
		"/drains/" + drain.ID + "?span=" + query,
	} {
		b.open(path)
	}
	b.open("/drains?q=" + query)
	if got := eval[string](b, `document.querySelector("[name=q]").value`); got != attack("q") {
		t.Errorf("the search is %q, want what was typed", got)
	}

	operator := s.newBrowser(t)
	operator.watch.allow(http.StatusBadRequest, http.StatusNotFound)
	operator.logIn(operatorToken)
	for _, path := range []string{"/drains", "/activity", "/settings?team=" + evil.id} {
		operator.open(path)
		operator.see(attack("team"))
	}
	for _, path := range []string{"/drains?team=" + query, "/activity?team=" + query, "/settings?team=" + query} {
		operator.open(path)
	}
	_, _ = acme, token
	for _, b := range []*browser{b, operator} {
		if sent := b.watch.asked("/x"); sent != "" {
			t.Errorf("an image was asked for: %s", sent)
		}
	}
}

// asked is a request for a path, or "".
func (w *watch) asked(path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if strings.HasSuffix(r.url, path) {
			return r.url
		}
	}
	return ""
}
