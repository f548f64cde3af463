package web_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// send has a team's producer send n events, evt-1 to evt-n.
func (s *site) send(team string, n int) {
	s.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"id":"evt-%d","timestamp":%d,"action":"user-created","actor":{"type":"user","id":"u","name":"Ann"},"payload":{}}`+"\n",
			i+1, time.Date(2026, 5, 22, 10, 0, i, 0, time.UTC).UnixMilli())
	}
	_, err := s.operator.SendEvents(s.Context(), team, []byte(lines.String()))
	s.must(err)
}

// save is what delivery would have the store remember of a drain.
func (s *site) save(state auditdrain.DeliveryState, attempts ...auditdrain.Attempt) {
	s.Helper()
	_, err := s.store.SaveProgress(s.Context(), []auditdrain.Progress{{State: state, Attempts: attempts}})
	s.must(err)
}

// status is what REST says of a drain.
func (s *site) status(id string) auditdrain.DrainStatus {
	s.Helper()
	d, err := s.operator.GetDrain(s.Context(), "", id)
	s.must(err)
	return d.Status
}

func TestPauseAndResume(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	s.send("team_1", 3)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/drains/"+d.ID+"/pause", nil)
	p.want(t, 200, "The drain is paused.", "Paused by an owner of the team since", "3 events are kept, the oldest since", "Resume from now")
	if p.path != "/drains/"+d.ID+"?done=paused" || s.status(d.ID) != auditdrain.StatusDisabled {
		t.Errorf("pausing led to %s with status %s", p.path, s.status(d.ID))
	}
	b.post("/drains/"+d.ID+"/resume", nil).want(t, 200, "The drain is resumed.", "Delivering: no event in the last hour, 3 events wait, the oldest since")
	if got := s.status(d.ID); got != auditdrain.StatusEnabled {
		t.Errorf("status %s after resuming", got)
	}
}

func TestResumeFromNowIsConfirmed(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	s.send("team_1", 3)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	at := "/drains/" + d.ID
	b.get(at+"/resume-from-now").want(t, 200, "The drain is not paused.")
	b.post(at+"/pause", nil)
	b.get(at+"/resume-from-now").want(t, 200, "<strong>3 events</strong>", "Give up 3 events, for good")
	b.post(at+"/resume-from-now", nil).want(t, 400, `id="sure-wrong"`)
	if got := s.status(d.ID); got != auditdrain.StatusDisabled {
		t.Errorf("status %s before it was confirmed", got)
	}
	b.post(at+"/resume-from-now", url.Values{"sure": {"yes"}}).want(t, 200, "resumed from now", "nothing waits")
	skips, err := s.operator.ListSkips(t.Context(), "", d.ID)
	s.must(err)
	if len(skips) != 1 || skips[0].Events() != 3 {
		t.Errorf("skips %v, want one of 3 events", skips)
	}
}

func TestReplay(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	s.send("team_1", 4)
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: 4, Delivered: 4, LastDeliveryAt: time.Now().UnixMilli()})
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	at := "/drains/" + d.ID
	b.get(at+"/replay").want(t, 200, `type="datetime-local"`, `name="from"`)
	future := time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04")
	for _, c := range []struct{ from, to, field, want string }{
		{"", "", "from", "Say from when on"},
		{"yesterday", "", "from", "This is not a time"},
		{future, "", "from", "in the future"},
		{"2026-01-01T00:00", future, "to", "in the future"},
		{"2026-01-01T00:00", "soon", "to", "This is not a time"},
		{"2026-01-01T00:00", "2026-01-01T00:00:00", "to", "not after the beginning"},
	} {
		b.post(at+"/replay", url.Values{"from": {c.from}, "to": {c.to}}).want(t, 400, `id="`+c.field+`-wrong"`, c.want, `value="`+c.from+`"`)
	}
	b.post(at+"/replay", url.Values{"from": {"2026-01-01T00:00"}}).want(t, 200, "The replay has begun.", "Replay is running", "0 of 4 events", "Cancel the replay")
	b.post(at+"/replay", url.Values{"from": {"2026-01-01T00:00"}}).want(t, 400, `id="from-wrong"`, "is running: wait until it has finished")

	replay, err := s.operator.GetReplay(t.Context(), "", d.ID)
	s.must(err)
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: 4, Replay: &auditdrain.ReplayProgress{ID: replay.ID, Cursor: 3, Written: 1, Existed: 2}})
	b.get(at).want(t, 200, `<progress max="4" value="3"`, "3 of 4 events", "1 written, 2 there already")
	b.post(at+"/replay/cancel", nil).want(t, 200, "The replay was cancelled.", "Last replay: cancelled")
	b.post(at+"/replay/cancel", nil).want(t, 409, "That cannot be done now")
}

func TestDeleteNeedsTheName(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", `Archive "1" & <b>`)
	s.send("team_1", 2)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	at := "/drains/" + d.ID
	b.get(at+"/delete").want(t, 200, "Archive &#34;1&#34; &amp; &lt;b&gt;", "<strong>2 events</strong>", "s3://acme-audit/logs")
	b.post(at+"/delete", url.Values{"name": {"archive"}}).want(t, 400, `id="name-wrong"`, `value="archive"`)
	b.get(at).want(t, 200)
	p := b.post(at+"/delete", url.Values{"name": {d.Name}})
	p.want(t, 200, "The drain was deleted.")
	if p.path != "/drains?done=deleted" {
		t.Errorf("deleting led to %s", p.path)
	}
	b.get(at).want(t, 404, "Not found")
}

func TestOperatorGivesUpTheRefusedEvent(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	s.send("team_1", 2)
	s.save(auditdrain.DeliveryState{DrainID: d.ID, FirstErrorAt: time.Now().UnixMilli(), LastErrorAt: time.Now().UnixMilli(), LastError: "refused", LastErrorEvent: "evt-1"})
	at := "/drains/" + d.ID
	owner := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	if p := owner.get(at); strings.Contains(p.body, at+"/skip") {
		t.Error("an owner is offered to give up an event")
	}
	owner.post(at+"/skip", url.Values{"eventId": {"evt-1"}, "reason": {"x"}}).want(t, 403)
	b := s.logIn(operatorToken)
	b.get(at).want(t, 200, at+"/skip")
	b.get(at+"/skip").want(t, 200, `value="evt-1"`)
	b.post(at+"/skip", url.Values{"eventId": {"evt-1"}}).want(t, 400, `id="reason-wrong"`)
	b.post(at+"/skip", url.Values{"eventId": {"no event"}, "reason": {"x"}}).want(t, 400, `id="event-wrong"`, `value="no event"`)
	b.post(at+"/skip", url.Values{"eventId": {"evt-1"}, "reason": {"the bucket refuses it"}}).want(t, 200, "The event was given up, on record.")
	skips, err := s.operator.ListSkips(t.Context(), "", d.ID)
	s.must(err)
	if len(skips) != 1 || skips[0].EventID != "evt-1" || skips[0].Reason != "the bucket refuses it" {
		t.Errorf("skips %v", skips)
	}
}

// Every page and action of a drain, with what to send.
var drainRequests = []struct {
	method, path string
	form         url.Values
}{
	{"GET", "", nil},
	{"GET", "/queries", nil},
	{"GET", "/replay", nil},
	{"GET", "/resume-from-now", nil},
	{"GET", "/skip", nil},
	{"GET", "/delete", nil},
	{"POST", "/test", nil},
	{"POST", "/pause", nil},
	{"POST", "/resume", nil},
	{"POST", "/resume-from-now", url.Values{"sure": {"yes"}}},
	{"POST", "/replay", url.Values{"from": {"2026-01-01T00:00"}}},
	{"POST", "/replay/cancel", nil},
	{"POST", "/skip", url.Values{"eventId": {"evt-1"}, "reason": {"x"}}},
	{"POST", "/delete", url.Values{"name": {"Archive"}}},
}

func TestViewerLooksOnly(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	for _, r := range drainRequests {
		want := 403
		if r.path == "" || r.path == "/queries" {
			want = 200
		}
		if r.method == "POST" {
			b.post("/drains/"+d.ID+r.path, r.form).want(t, want)
		} else {
			b.get("/drains/"+d.ID+r.path).want(t, want)
		}
	}
	for _, path := range []string{"/drains", "/drains/" + d.ID} {
		if p := b.get(path); strings.Contains(p.body, `method="post" action="/drains`) || strings.Contains(p.body, "formaction") || strings.Contains(p.body, "/drains/new") || strings.Contains(p.body, "/edit") {
			t.Errorf("a viewer is offered to change something:\n%s", p.body)
		}
	}
	if got := s.status(d.ID); got != auditdrain.StatusEnabled {
		t.Errorf("status %s", got)
	}
}

func TestDrainOfAnotherTeamIsNotFound(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	for name, b := range map[string]*browser{
		"owner":  s.logIn(s.token(auditdrain.RoleOwner, "team_2")),
		"viewer": s.logIn(s.token(auditdrain.RoleViewer, "team_2")),
	} {
		t.Run(name, func(t *testing.T) {
			for _, id := range []string{d.ID, "drn_none", "<script>"} {
				for _, r := range drainRequests {
					want := 404
					var p page
					if r.method == "GET" {
						p = b.get("/drains/" + url.PathEscape(id) + r.path)
					} else {
						p = b.post("/drains/"+url.PathEscape(id)+r.path, r.form)
						if r.path == "/skip" || name == "viewer" && r.path != "/delete" {
							want = 403 // of the role, before anybody looks for the drain
						}
					}
					p.want(t, want)
					if strings.Contains(p.body, "Archive") || strings.Contains(p.body, "<script>") {
						t.Errorf("%s %s tells of it:\n%s", r.method, r.path, p.body)
					}
				}
			}
		})
	}
	if got := s.status(d.ID); got != auditdrain.StatusEnabled {
		t.Errorf("status %s", got)
	}
}

func TestSetupKit(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	at := "/drains/" + d.ID + "/queries"
	p := b.get(at)
	p.want(t, 200, "Athena", "DuckDB", "s3://acme-audit/logs", "vercel-team:team_1", "Terraform")
	for _, file := range []string{"athena.sql", "duckdb.sql", "trust-policy.json", "setup.sh"} {
		link := regexp.MustCompile(`href="([^"]*/` + file + `\?[^"]*)"`).FindStringSubmatch(p.body)
		if link == nil {
			t.Errorf("%s cannot be downloaded", file)
			continue
		}
		got := b.get(html.UnescapeString(link[1]))
		got.want(t, 200)
		if disposition := got.Header.Get("Content-Disposition"); disposition != `attachment; filename="`+file+`"` {
			t.Errorf("%s has disposition %s", file, disposition)
		}
	}
}
