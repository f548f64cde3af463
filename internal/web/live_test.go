package web_test

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// stream is the updates of an open page.
type stream struct {
	*browser
	lines *bufio.Scanner
}

func (b *browser) open(path string) *stream {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", b.url+path, nil)
	b.must(err)
	resp, err := b.Do(r)
	b.must(err)
	b.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b.Fatalf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &stream{b, bufio.NewScanner(resp.Body)}
}

// part is what the line that was read has of a part.
func (s *stream) part() (id, html string) {
	s.Helper()
	data, ok := strings.CutPrefix(s.lines.Text(), "data: ")
	if !ok {
		return "", ""
	}
	var part struct{ ID, HTML string }
	s.must(json.Unmarshal([]byte(data), &part))
	return part.ID, part.HTML
}

// until returns the parts that come until one has the text, by the ID of their
// element.
func (s *stream) until(id, text string) map[string]string {
	s.Helper()
	parts := map[string]string{}
	for s.lines.Scan() {
		got, html := s.part()
		if got == "" {
			continue
		}
		if parts[got] = html; got == id && strings.Contains(html, text) {
			return parts
		}
	}
	s.Fatalf("the stream ended before %q came in %s: %v", text, id, parts)
	return nil
}

// first returns what is sent at first.
func (s *stream) first() map[string]string {
	s.Helper()
	parts := map[string]string{}
	for s.lines.Scan() && s.lines.Text() != ":" {
		if id, html := s.part(); id != "" {
			parts[id] = html
		}
	}
	return parts
}

// rest returns everything that still comes.
func (s *stream) rest() string {
	var b strings.Builder
	for s.lines.Scan() {
		b.WriteString(s.lines.Text() + "\n")
	}
	return b.String()
}

func ids(parts map[string]string) []string { return slices.Sorted(maps.Keys(parts)) }

// trouble puts a drain into trouble.
func (s *site) trouble(d auditdrain.Drain, text string) {
	s.Helper()
	s.save(auditdrain.DeliveryState{DrainID: d.ID, FirstErrorAt: d.CreatedAt, LastError: text, LastErrorAt: d.CreatedAt})
}

func TestListIsLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, other := s.drain("team_1", "Archive"), s.drain("team_1", "Other")
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	p := b.get("/drains")
	stream := b.open(liveAddress(t, p))
	want := []string{"others", "tabs"}
	for _, id := range []string{d.ID, other.ID} {
		want = append(want, "status-"+id, "backlog-"+id, "oldest-"+id, "last-"+id)
	}
	slices.Sort(want)
	first := stream.first()
	if diff := cmp.Diff(want, ids(first)); diff != "" {
		t.Errorf("what is sent at first (-want +got):\n%s", diff)
	}
	for id, html := range first { // it is what the page shows
		if id != "others" && !strings.Contains(p.body, html) {
			t.Errorf("%s is not in the page: %q", id, html)
		}
	}
	if parts := b.open("/drains/live").first(); parts["others"] != "" {
		t.Errorf("without trouble it is said that %q", parts["others"])
	}
	s.trouble(d, "AWS refused <b>")
	for _, id := range ids(stream.until("status-"+d.ID, "AWS refused &lt;b&gt;")) {
		if id != "tabs" && id != "status-"+d.ID {
			t.Errorf("%s was sent, and has not changed", id)
		}
	}
	// It comes to the list of those in trouble, which was empty when it was opened.
	b.open("/drains/live?status=errored").until("others", "1 other drain is in trouble by now")
}

func liveAddress(t *testing.T, p page) string {
	t.Helper()
	_, rest, ok := strings.Cut(p.body, `data-live="`)
	if !ok {
		t.Fatalf("%s is not live:\n%s", p.path, p.body)
	}
	address, _, _ := strings.Cut(rest, `"`)
	return strings.ReplaceAll(address, "&amp;", "&")
}

func TestDrainIsLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	stream := b.open(liveAddress(t, b.get("/drains/"+d.ID+"?span=24h")))
	want := []string{"account", "chart-backlog", "chart-latency", "chart-rate", "failures", "numbers", "progress", "replay", "sentence", "state", "toggle", "why"}
	if diff := cmp.Diff(want, ids(stream.first())); diff != "" {
		t.Errorf("what is sent at first (-want +got):\n%s", diff)
	}
	b.post("/drains/"+d.ID+"/pause", nil)
	for _, id := range ids(stream.until("sentence", "Paused by an owner of the team")) {
		if !slices.Contains([]string{"sentence", "state", "toggle", "progress"}, id) {
			t.Errorf("%s was sent, and has not changed", id)
		}
	}
	s.must(s.operator.DeleteDrain(t.Context(), "", d.ID))
	if rest := stream.rest(); !strings.HasSuffix(strings.TrimSpace(rest), "event: end\ndata: {}") {
		t.Errorf("the page of a drain that was deleted is told %q, want the end", rest)
	}
}

func TestLiveEndsWithTheSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	stream := b.open("/drains/live")
	stream.first()
	b.post("/logout", nil)
	if rest := stream.rest(); !strings.HasSuffix(strings.TrimSpace(rest), "event: end\ndata: {}") {
		t.Errorf("after the log-out came %q, want the end", rest)
	}
}

func TestLiveEndsWithTheService(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	stream := s.logIn(operatorToken).open("/drains/live")
	stream.first()
	s.pages.Stop()
	if rest := stream.rest(); strings.Contains(rest, "end") {
		t.Errorf("a service that stops has pages stop asking: %q", rest)
	}
}

// What is not one's own is not told by updates either.
func TestLiveOfAnotherTeam(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_2"))
	parts := b.open("/drains/live?" + url.Values{"id": {d.ID}, "team": {"team_1"}}.Encode()).first()
	if html := parts["status-"+d.ID]; html != `<span class="badge">Deleted</span>` || len(parts) != 3 || !strings.Contains(parts["tabs"], `All <span class="muted">0</span>`) {
		t.Errorf("another team is told %v", parts)
	}
	if rest := b.open("/drains/" + d.ID + "/live").rest(); rest != "event: end\ndata: {}\n\n" {
		t.Errorf("another team is told %q", rest)
	}
	if rest := s.browser().open("/drains/" + d.ID + "/live").rest(); rest != "event: end\ndata: {}\n\n" {
		t.Errorf("who is not logged in is told %q", rest)
	}
}
