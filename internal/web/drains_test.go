package web_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// drain makes a drain of a team.
func (s *site) drain(team, name string) auditdrain.Drain {
	s.Helper()
	d, err := s.operator.CreateDrain(s.Context(), team, auditdrain.DrainInput{
		Name: name, Schemas: auditdrain.AuditLogSchemas(),
		Delivery: &auditdrain.Delivery{
			Type: "s3", Endpoint: "s3://acme-audit/logs", Encoding: "json", Region: "eu-west-1",
			RoleARN: "arn:aws:iam::111122223333:role/audit-drain",
		},
	})
	s.must(err)
	return d
}

// drainNames are the names in a list of drains, in its order.
func (p page) drainNames() (names []string) {
	for _, m := range regexp.MustCompile(`<a href="/drains/drn_\w+"><bdi>([^<]*)</bdi>`).FindAllStringSubmatch(p.body, -1) {
		names = append(names, m[1])
	}
	return names
}

func (p page) wantDrains(t *testing.T, names ...string) {
	t.Helper()
	if diff := cmp.Diff(names, p.drainNames()); diff != "" {
		t.Errorf("%s lists other drains (-want +got):\n%s", p.path, diff)
	}
}

func (p page) wantNot(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(p.body, text) {
			t.Errorf("%s: there is %q in\n%s", p.path, text, p.body)
		}
	}
}

func TestNoDrains(t *testing.T) {
	s := newSite(t)
	owner := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	owner.get("/drains").want(t, 200, "Your audit log, in a bucket of yours", "What will be in the bucket", `href="/drains/new">Create your first drain`)
	viewer := s.logIn(s.token(auditdrain.RoleViewer, "team_1")).get("/drains")
	viewer.want(t, 200, "An owner of the team can create a drain.")
	viewer.wantNot(t, "/drains/new")
	operator := s.logIn(operatorToken)
	operator.get("/drains").want(t, 200, "No team has a drain yet.")
	operator.get("/drains?team=acme").want(t, 200, "This team has no drain yet.")
	s.drain("team_2", "Theirs")
	p := owner.get("/drains")
	p.want(t, 200, "Create your first drain")
	p.wantNot(t, "Theirs")
}

// The drains of a team are shown as they are, those in trouble first.
func TestDrainsOfATeam(t *testing.T) {
	s := newSite(t)
	s.drain("team_1", "Idle")
	paused, refused := s.drain("team_1", "Paused"), s.drain("team_1", "Refused <b>")
	s.drain("team_2", "Theirs")
	s.send("team_1", 3)
	_, err := s.store.UpdateDrain(t.Context(), "team_1", paused.ID, func(d *auditdrain.Drain) error {
		d.Status, d.DisabledAt = auditdrain.StatusDisabled, time.Now().Add(-50*time.Hour).UnixMilli()
		return nil
	}, nil)
	s.must(err)
	since := time.Now().Add(-3 * time.Hour).UnixMilli()
	s.save(auditdrain.DeliveryState{
		DrainID: refused.ID, Cursor: 1, Delivered: 1, LastDeliveryAt: since, FirstErrorAt: since, LastError: "the whole error",
		Diagnosis: &auditdrain.Diagnosis{Summary: "S3 refused it.", Causes: []auditdrain.Cause{{Text: "The bucket policy <denies> it."}, {Text: "Or else."}}},
	})
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	p := b.get("/drains")
	p.want(t, 200, "1 to 3 of 3", "s3://acme-audit/logs",
		`<span class="badge errored">In trouble</span> <span class="muted">for 3 hours</span><span class="cause">The bucket policy &lt;denies&gt; it.</span>`,
		`<span class="badge disabled">Paused</span> <span class="muted">for 2 days</span>`,
		fmt.Sprintf(`<td data-label="Backlog" class="number" id="backlog-%s">2</td>`, refused.ID),
		fmt.Sprintf(`<td data-label="Last delivery" id="last-%s">3 hours ago</td>`, refused.ID),
		`aria-label="0 delivered, 0 failed in 24 hours"`,
	)
	p.wantDrains(t, "Refused &lt;b&gt;", "Idle", "Paused")
	p.wantNot(t, "Or else.", "Acme", `name="team"`)
}

func TestOperatorFindsDrains(t *testing.T) {
	s := newSite(t)
	for i := range 9 {
		s.drain("team_1", fmt.Sprintf("Acme %d", i))
	}
	other := s.drain("team_2", "Other")
	s.trouble(other, "refused")
	b := s.logIn(operatorToken)
	p := b.get("/drains")
	p.want(t, 200, "1 to 10 of 10", `<a href="/drains" aria-current="true">All <span class="muted">10</span>`,
		`In trouble <span class="muted">1</span>`, `Delivering <span class="muted">9</span>`, `<a class="muted" href="/drains?team=team_2"><bdi>Other Inc.</bdi>`)
	if names := p.drainNames(); names[0] != "Other" {
		t.Errorf("%s is first, want the one in trouble", names[0])
	}
	b.get("/drains?status=errored").wantDrains(t, "Other")
	b.get("/drains?team=other").wantDrains(t, "Other")
	b.get("/drains?q=+acme+3+").wantDrains(t, "Acme 3")
	b.get("/drains?q=other+inc").wantDrains(t, "Other") // by its team's name
	p = b.get("/drains?q=acme+3&status=errored")
	p.want(t, 200, "No drain has “<bdi>acme 3</bdi>”", `value="acme 3"`, `name="status" value="errored"`, `Delivering <span class="muted">1</span>`)
	b.get("/drains?team=nobody").want(t, 404, `id="team-wrong"`, `value="nobody"`)
	b.get("/drains?status=odd").want(t, 400)
	b.get("/drains?q=%3Cscript%3E").wantNot(t, "<script>")
}

func TestDrainsArePaged(t *testing.T) {
	s := newSite(t)
	for i := range 6 {
		team := fmt.Sprintf("team_%d", i+10)
		_, err := s.operator.CreateTeam(t.Context(), auditdrain.TeamInput{ID: team, Slug: fmt.Sprint("t", i), Name: team})
		s.must(err)
		for j := range 10 {
			s.drain(team, fmt.Sprintf("Drain %d-%d", i, j))
		}
	}
	b := s.logIn(operatorToken)
	var names []string
	at := "/drains?q=drain"
	for range 3 {
		p := b.get(at)
		names = append(names, p.drainNames()...)
		_, rest, _ := strings.Cut(p.body, `<a class="button" href="/drains?page=`+fmt.Sprint(len(names)/25+1)+`&amp;q=drain" rel="next">`)
		if rest == "" && len(names) < 60 {
			t.Fatalf("%s does not lead on:\n%s", at, p.body)
		}
		at = fmt.Sprintf("/drains?page=%d&q=drain", len(names)/25+1)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) != 60 {
		t.Errorf("three pages list %d drains, want 60", len(names))
	}
	last := b.get("/drains?page=3&q=drain")
	last.want(t, 200, "51 to 60 of 60", `href="/drains?page=2&amp;q=drain" rel="prev"`)
	last.wantNot(t, `rel="next"`)
	if p := b.get("/drains?page=4&q=drain"); p.path != "/drains?q=drain" {
		t.Errorf("a page that there is not led to %s", p.path)
	}
	for _, odd := range []string{"0", "-1", "x", "99999999999999999999"} {
		b.get("/drains?page="+odd).want(t, 200, "1 to 25 of 60")
	}
}

// What was delivered in the last hour is counted whatever span is shown.
func TestLastHour(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	now := time.Now()
	for _, was := range []struct {
		ago time.Duration
		n   uint64
	}{{2 * time.Hour, 5000}, {40 * time.Minute, 1000}, {20 * time.Minute, 200}, {0, 34}} {
		s.must(s.store.AddTallies(t.Context(), now.Add(-was.ago), []auditdrain.Tally{{DrainID: d.ID, Delivered: was.n}}))
	}
	b := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	for _, span := range auditdrain.Spans {
		b.get("/drains/"+d.ID+"?span="+string(span)).want(t, 200, "Delivering: 1,234 events in the last hour, nothing waits.", `aria-current="true">`)
	}
	b.get("/drains/"+d.ID+"?span=24h").want(t, 200, "6.23 k delivered and 0 failed attempts in 24 hours", "<td>5,000</td>")
}

// A failure that differs from the one before by AWS's request ID only is not
// told twice.
func TestSameFailures(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	var attempts []auditdrain.Attempt
	for i, text := range []string{"other", "refused (request id R1)", "refused (request id R2)"} {
		attempts = append(attempts, auditdrain.Attempt{Number: uint64(i + 1), At: int64(i + 1), EventID: "evt-1", Outcome: auditdrain.OutcomeFailed, RequestID: fmt.Sprint("R", i), Error: text})
	}
	s.save(auditdrain.DeliveryState{DrainID: d.ID}, attempts...)
	p := s.logIn(s.token(auditdrain.RoleViewer, "team_1")).get("/drains/" + d.ID)
	p.want(t, 200, "refused (request id R2)", `<span class="muted">the same</span>`, ">other<")
	p.wantNot(t, "request id R1")
}

func TestSentences(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive")
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	at := "/drains/" + d.ID
	b.get(at).want(t, 200, "Delivering: no event in the last hour, nothing waits.", "There were none.")
	s.send("team_1", 3)
	now := time.Now()
	state := auditdrain.DeliveryState{
		DrainID: d.ID, Cursor: 1, Delivered: 1, Failed: 7, LastDeliveryAt: now.UnixMilli(), FirstErrorAt: now.Add(-time.Hour).UnixMilli(),
		LastError: "the line was cut", LastErrorAt: now.UnixMilli(), LastErrorEvent: "evt-2", NextAttemptAt: now.Add(5*time.Minute + 30*time.Second).UnixMilli(), Window: 64,
	}
	s.save(state, auditdrain.Attempt{Number: 7, At: now.UnixMilli(), EventID: "evt-2", Outcome: auditdrain.OutcomeFailed, Status: 503, Code: "SlowDown", RequestID: "REQ<1>", Error: "the line was cut"})
	b.get(at).want(t, 200, "In trouble since <time", ": the line was cut", "Next try in 5 minutes.", "2 events wait, the oldest since", "nothing is lost",
		"64 at most", "503 <code>SlowDown</code>", `<code id="request-7">REQ&lt;1&gt;</code>`, "<code>evt-2</code>")
	state.Diagnosis = &auditdrain.Diagnosis{
		Known: true, Summary: "S3 refused to encrypt.", Answer: "403 AccessDenied", RequestID: "REQ2",
		Causes: []auditdrain.Cause{
			{Text: "The key policy lacks the role.", Confirmed: true, Who: auditdrain.ActorKeyAdmin, Fix: "Add it.", Change: &auditdrain.Change{Where: "key policy", Statement: `{"Effect":"Allow"}`}},
			{Text: "The drain asks for another key.", Who: auditdrain.ActorTeamAdmin, Fix: "Change it.", Change: &auditdrain.Change{Where: "the drain", Field: "delivery.region", Value: "us-east-1"}},
		},
	}
	state.NextAttemptAt = now.Add(-time.Second).UnixMilli()
	s.save(state)
	b.get(at).want(t, 200, ": S3 refused to encrypt.", "Next try now.", "Cause: The key policy lacks the role.", "Who can do that: administrator of the KMS key.",
		`<span class="add">&#43; {&#34;Effect&#34;:&#34;Allow&#34;}`, "Or: The drain asks for another key.", `<span class="remove">- region: eu-west-1`, `<span class="add">&#43; region: us-east-1`,
		"AWS said: 403 AccessDenied (request ID <code>REQ2</code>)")
	operator := s.logIn(operatorToken)
	operator.get(at).want(t, 200, "Give up the event that is refused")
	given := state
	given.Cursor = 3 // as when the operator has given both up
	s.save(given)
	p := operator.get(at)
	p.want(t, 200, "Nothing waits: the next event will show whether this is mended.")
	p.wantNot(t, "Give up the event that is refused")
	s.send("team_1", 5)
	_, err := s.operator.UpdateDrain(t.Context(), "", d.ID, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)})
	s.must(err)
	p = b.get(at)
	p.want(t, 200, "Paused by the operator since", "2 events are kept, the oldest since")
	p.wantNot(t, "In trouble since")
	b.get(at+"?span=2h").want(t, 400, "That cannot be done")
}

// Whatever is in names, errors and answers is text, no ID is there twice, and
// no page is too large.
func TestPagesShowTextOnly(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	s := newSite(t)
	_, err := s.operator.CreateTeam(t.Context(), auditdrain.TeamInput{ID: "team_9", Slug: "evil", Name: evil})
	s.must(err)
	d := s.drain("team_9", evil)
	s.drain("team_9", evil+"2")
	_, err = s.operator.SendEvents(t.Context(), "team_9", []byte(`{"id":"evt-1","timestamp":1780000000000,"action":"user-created","actor":{"type":"user","id":"u","name":"<script>"},"payload":{}}`))
	s.must(err)
	now := time.Now().UnixMilli()
	attempts := make([]auditdrain.Attempt, 20)
	for i := range attempts {
		attempts[i] = auditdrain.Attempt{Number: uint64(i + 1), At: now, EventID: evil, Outcome: auditdrain.OutcomeFailed, Status: 403, Code: evil, RequestID: evil, Error: evil}
	}
	s.save(auditdrain.DeliveryState{
		DrainID: d.ID, FirstErrorAt: now, LastError: evil, LastErrorAt: now, LastErrorEvent: evil,
		Diagnosis: &auditdrain.Diagnosis{Summary: evil, Answer: evil, RequestID: evil, Causes: []auditdrain.Cause{{
			Text: evil, Who: auditdrain.ActorOperator, Fix: evil, Change: &auditdrain.Change{Where: evil, Statement: evil, Condition: evil, Field: evil, Value: evil},
		}}},
	}, attempts...)
	_, err = s.operator.StartReplay(t.Context(), "", d.ID, auditdrain.ReplayInput{From: 1})
	s.must(err)
	for _, b := range []*browser{s.logIn(operatorToken), s.logIn(s.token(auditdrain.RoleOwner, "team_9"))} {
		at := "/drains/" + d.ID
		pages := []page{
			b.get("/drains"), b.get("/drains?" + url.Values{"q": {evil}, "status": {"errored"}}.Encode()), b.get("/drains?" + url.Values{"team": {evil}}.Encode()),
			b.get(at), b.get(at + "?span=7d"), b.get(at + "/delete"), b.get(at + "/skip"), b.get(at + "/replay"), b.get(at + "/resume-from-now"), b.get(at + "/queries"),
			b.post(at+"/replay", url.Values{"from": {evil}, "to": {evil}}), b.post(at+"/delete", url.Values{"name": {evil + evil}}),
			b.post(at+"/skip", url.Values{"eventId": {evil}, "reason": {evil}}), b.post(at+"/test", nil), b.get("/drains/" + url.PathEscape(evil)),
		}
		for _, p := range pages {
			p.wantNot(t, "<script>alert", "<img")
			checkPage(t, p)
		}
		for _, feed := range []string{"/drains/live?id=" + d.ID, at + "/live"} {
			for id, html := range b.open(feed).first() {
				if strings.Contains(html, "<script>") || strings.Contains(html, "<img") {
					t.Errorf("%s: %s is %s", feed, id, html)
				}
			}
		}
	}
}
