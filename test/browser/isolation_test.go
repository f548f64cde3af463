package browser

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// routeRE finds the pages in the source: a new one is held to this test, too.
var routeRE = regexp.MustCompile(`"(GET|POST) (/[^" ]*)"`)

func routes(t *testing.T) [][2]string {
	t.Helper()
	files, err := filepath.Glob("../../internal/web/*.go")
	must(t, err)
	var found [][2]string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		must(t, err)
		for _, m := range routeRE.FindAllStringSubmatch(string(source), -1) {
			found = append(found, [2]string{m[1], m[2]})
		}
	}
	if len(found) < 12 {
		t.Fatalf("%d pages are found, want all of them", len(found))
	}
	return found
}

// Two teams never see each other, whatever address of the other's they know,
// and whatever they ask to be done there.
func TestTeamsAreApart(t *testing.T) {
	s := newService(t)
	acme, other := s.newTeam("Acme"), s.newTeam("Rival")
	drain := acme.drain("Secret archive", delivery("secret-archive"))
	token := acme.token(auditdrain.RoleViewer)
	acme.send("secret-event", 3)
	secrets := []string{"Secret archive", "secret-archive", "secret-event", token.Name, acme.name}

	b := other.owner(t)
	cookie := b.cookie()
	ask := func(method, path string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
		must(t, err)
		request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		client := &http.Client{Transport: s.http.Transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Do(request)
		must(t, err)
		defer answer.Body.Close()
		if answer.Header.Get("Content-Type") == "text/event-stream" && answer.StatusCode == http.StatusOK {
			return answer.StatusCode, firstEvent(t, answer.Body)
		}
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		return answer.StatusCode, answer.Header.Get("Location") + string(body)
	}
	reached := 0
	for _, route := range routes(t) {
		method, pattern := route[0], route[1]
		if pattern == "/logout" || strings.HasPrefix(pattern, "/portal/") || strings.HasPrefix(pattern, "/static/") {
			continue // of nobody's
		}
		path := strings.ReplaceAll(pattern, "{$}", "")
		if strings.HasPrefix(pattern, "/settings/tokens/") {
			path = strings.ReplaceAll(path, "{id}", token.ID)
		}
		path = regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, drain.ID)
		for _, query := range []string{"", "?team=" + acme.id, "?team=acme", "?drain=" + drain.ID + "&name=Secret+archive"} {
			status, body := ask(method, path+query)
			for _, secret := range secrets {
				if strings.Contains(body, secret) {
					t.Errorf("%s %s%s shows %q:\n%s", method, path, query, secret, body)
				}
			}
			if strings.Contains(path, drain.ID) || strings.Contains(path, token.ID) {
				if status != http.StatusNotFound && status != http.StatusForbidden {
					if ends := strings.HasSuffix(path, "/live"); !ends || !strings.Contains(body, "event: end") {
						t.Errorf("%s %s%s: %d, want 404 or 403", method, path, query, status)
					}
				}
				reached++
			}
		}
	}
	if reached < 20 {
		t.Errorf("%d requests were about the other's drain or token, want more", reached)
	}
	now, err := s.operator.GetDrain(t.Context(), acme.id, drain.ID)
	must(t, err)
	if now.Status != auditdrain.StatusEnabled || now.UpdatedAt != drain.UpdatedAt {
		t.Errorf("the drain was changed: %+v", now)
	}
	tokens, err := s.operator.ListTokens(t.Context(), acme.id)
	must(t, err)
	if len(tokens) != 1 {
		t.Errorf("tokens %+v, want the one that was made", tokens)
	}

	b.watch.allow(http.StatusNotFound, http.StatusForbidden)
	b.open("/drains/" + drain.ID)
	b.see("Not found")
	b.seeNot(secrets...)
	b.checkA11y()
}

// firstEvent is what a live feed begins with.
func firstEvent(t *testing.T, body io.Reader) string {
	t.Helper()
	buffer := make([]byte, 64<<10)
	n, err := body.Read(buffer)
	if err != io.EOF {
		must(t, err)
	}
	return string(buffer[:n])
}
