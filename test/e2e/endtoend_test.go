package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

const (
	allTeams      = 50
	eventsPerTeam = 400
)

// team is one customer: where its events must go, and which ones.
type team struct {
	producer
	targets []target
	drains  []auditdrain.Drain // one for each target
	events  []event            // acknowledged
}

// newTarget is where the ith team wants its events: in its own account,
// bucket and role, most of them; the last ten share a bucket in one account,
// each with a role for its own prefix.
func newTarget(i int) target {
	g := target{
		account:  fmt.Sprintf("%012d", 100_000_000_000+i),
		role:     "vercel-drain-writer",
		bucket:   fmt.Sprintf("acme-audit-archive-%02d", i),
		prefix:   "audit-logs",
		region:   []string{"us-east-1", "eu-central-1", "ap-southeast-2"}[i%3],
		encoding: []string{"json", "ndjson"}[i%2],
	}
	key := "arn:aws:kms:" + g.region + ":" + g.account + ":key/5a7c0de0-9e1f-4d37-8a52-0f6b1c2d3e4f"
	switch i % 8 {
	case 1: // by default with a key of theirs; the drain need not say so
		g.encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: key}
	case 2:
		g.encryption, g.sse = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: key}, "aws:kms"
	case 3:
		g.encryption, g.sse = awssim.Encryption{Algorithm: "aws:kms:dsse", KMSKeyARN: key}, "aws:kms:dsse"
	case 4:
		g.sse = "AES256"
	case 5:
		g.acl = "bucket-owner-full-control"
	case 6:
		g.ownership, g.acl = awssim.ObjectWriter, "bucket-owner-read"
	case 7:
		g.bucket = fmt.Sprintf("acme.audit.%02d", i)
		g.role = "audit/drains/writer+" + fmt.Sprint(i)
	}
	if i >= allTeams-10 {
		g = target{account: "200000000000", role: fmt.Sprintf("drain-writer-%d", i), bucket: "shared-archive",
			prefix: fmt.Sprintf("teams/%d/audit logs+é", i), region: "us-east-1", encoding: g.encoding}
	} else if i%10 == 9 {
		g.prefix = ""
	}
	return g
}

func newTeams() []*team {
	var teams []*team
	for i := range allTeams {
		g := newTarget(i)
		tm := &team{producer: producer{team: fmt.Sprintf("team_%02d", i)}, targets: []target{g}}
		if i%5 == 0 && i < allTeams-10 { // a second drain, in the other encoding
			second := g
			second.bucket += "-copy"
			second.encoding = map[string]string{"json": "ndjson", "ndjson": "json"}[g.encoding]
			tm.targets = append(tm.targets, second)
		}
		teams = append(teams, tm)
	}
	return teams
}

func newClient(t *testing.T, hc *http.Client, url string) *client.Client {
	t.Helper()
	c, err := client.New(url, operatorToken, client.WithHTTPClient(hc))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// setUp creates the team, a token for its producer, and its drains.
func (tm *team) setUp(t *testing.T, hc *http.Client, api *client.Client) {
	t.Helper()
	slug := strings.ReplaceAll(tm.team, "_", "-")
	if _, err := api.CreateTeam(t.Context(), auditdrain.TeamInput{ID: tm.team, Slug: slug, Name: tm.team}); err != nil {
		t.Fatal(err)
	}
	token, err := api.CreateToken(t.Context(), auditdrain.TokenInput{Name: "producer", Role: auditdrain.RoleProducer, TeamID: tm.team})
	if err != nil {
		t.Fatal(err)
	}
	tm.http, tm.token = hc, token.Value
	for _, g := range tm.targets {
		d, err := api.CreateDrain(t.Context(), tm.team, auditdrain.DrainInput{
			Name: g.bucket, Schemas: auditdrain.AuditLogSchemas(), Delivery: g.delivery(),
		})
		if err != nil {
			t.Fatal(err)
		}
		tm.drains = append(tm.drains, d)
	}
}

// TestEndToEnd sends 20,000 events of 50 teams, in all shapes, with repeats,
// mistakes and conflicts in between, through the binary built with the race
// detector, and compares the objects with what was acknowledged. One team's
// role trusts another external ID until the middle of it.
func TestEndToEnd(t *testing.T) {
	seed := newSeed(t)
	aws := newCloud(t)
	teams := newTeams()
	broken := teams[allTeams-1]
	for _, tm := range teams {
		externalID := "vercel-team:" + tm.team
		if tm == broken {
			externalID = "vercel-team:team_other"
		}
		aws.addTargets(externalID, tm.targets...)
	}
	svc := start(t, racing(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken),
		"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--writer-role-arn", writerRole)
	url := svc.url()
	hc := newHTTPClient(t)
	api := newClient(t, hc, url)
	for _, tm := range teams {
		tm.setUp(t, hc, api)
	}

	sendAll(t, url, seed, teams)

	sent, objects := 0, 0
	for _, tm := range teams {
		sent += len(tm.events)
		objects += len(tm.events) * len(tm.targets)
	}
	if sent != allTeams*eventsPerTeam {
		t.Fatalf("%d events were acknowledged, want %d", sent, allTeams*eventsPerTeam)
	}
	aws.awaitObjects(objects - len(broken.events)) // of all but one, whom its own trouble holds up
	checkBroken(t, aws, api, broken)

	if !aws.UpdateRole(broken.targets[0].roleARN(), func(r *awssim.Role) { r.Trust = trust("vercel-team:" + broken.team) }) {
		t.Fatal("no role to mend")
	}
	name := "mended"
	if _, err := api.UpdateDrain(t.Context(), broken.team, broken.drains[0].ID, auditdrain.DrainPatch{Name: &name}); err != nil {
		t.Fatal(err)
	}
	aws.awaitObjects(objects)
	svc.stop()
	if log := svc.stderr.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "level=ERROR") {
		t.Error("the log has what it should not have")
	}
	checkObjects(t, aws, teams)
	checkOnce(t, aws)
	checkSessions(t, aws, teams)
}

// sendAll sends the events of all teams, several teams at a time.
func sendAll(t *testing.T, url string, seed uint64, teams []*team) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work := make(chan int)
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for i := range work {
				s := sender{team: teams[i], ctx: ctx, url: url, rng: newRand(seed, uint64(i))}
				s.source = newSource(s.rng, s.team.team)
				if err := s.run(); err != nil {
					t.Errorf("%s: %v", s.team.team, err)
					cancel()
				}
			}
		})
	}
	for i := range teams {
		work <- i
	}
	close(work)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// sender plays one team's producer.
type sender struct {
	*team
	ctx    context.Context
	url    string
	rng    *rand.Rand
	source *source
}

func (s *sender) run() error {
	for len(s.events) < eventsPerTeam {
		fresh := s.fresh(min(1+s.rng.IntN(60), eventsPerTeam-len(s.events)))
		var repeated []event // mixed with what was sent before, and with itself
		if n := len(s.events); n > 0 && s.rng.IntN(4) == 0 {
			repeated = append(repeated, s.events[s.rng.IntN(n)], s.events[s.rng.IntN(n)], fresh[0])
		}
		batch := append(append([]event(nil), repeated...), fresh...)
		if err := s.expect(encode(s.rng, batch...), len(fresh), len(repeated)); err != nil {
			return err
		}
		s.events = append(s.events, fresh...)
		if s.rng.IntN(4) == 0 {
			if err := s.expect(encode(s.rng, batch...), 0, len(batch)); err != nil {
				return fmt.Errorf("sent again: %w", err)
			}
		}
		if s.rng.IntN(6) == 0 {
			if err := s.mistake(); err != nil {
				return err
			}
		}
		if s.rng.IntN(10) == 0 {
			if err := s.conflict(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) fresh(n int) []event {
	events := make([]event, n)
	for i := range events {
		events[i] = s.source.event()
	}
	return events
}

func (s *sender) expect(r request, accepted, duplicates int) error {
	a, err := s.send(s.ctx, s.url, r)
	if err != nil {
		return err
	}
	if want := (auditdrain.EventsResult{Accepted: accepted, Duplicates: duplicates}); a.status != 200 || a.EventsResult != want {
		return fmt.Errorf("answer %v, want 200 %+v", a, want)
	}
	return nil
}

// mistakes are wrong in one place each, which the answer must name.
var mistakes = []struct{ field, from, to string }{
	{"id", `"id":"`, `"id":"a/../`},
	{"timestamp", `"timestamp":`, `"timestamp":0.`},
	{"timestamp", `"timestamp":`, `"timestamp":-`},
	{"actor.type", `"actor":{"type":"`, `"actor":{"type":"super`},
	{"actor.name", `"actor":{"type":"user","id":"usr_1","name":"x"`, `"actor":{"type":"user","id":"usr_1"`},
	{"action", `"action":"x"`, `"action":""`},
	{"teamId", `"teamId":"`, `"teamId":"not_`},
	{"schema", `"schema":"`, `"schema":"acme.`},
	{"payload", `"payload":{}`, `"payload":[]`},
}

// mistake sends a batch with one event that is not valid: nothing of it may
// ever be seen again.
func (s *sender) mistake() error {
	m := mistakes[s.rng.IntN(len(mistakes))]
	right := fmt.Sprintf(`{"schema":"vercel.audit_log.v1","id":%q,"teamId":%q,"timestamp":1700000000000,"action":"x","actor":{"type":"user","id":"usr_1","name":"x"},"payload":{}}`,
		s.source.newID(), s.team.team)
	wrong := strings.Replace(right, m.from, m.to, 1)
	if wrong == right {
		return fmt.Errorf("%q has no %q", right, m.from)
	}
	batch := s.fresh(1 + s.rng.IntN(20))
	at := s.rng.IntN(len(batch))
	batch[at].tokens = []string{wrong}
	a, err := s.send(s.ctx, s.url, encode(s.rng, batch...))
	switch {
	case err != nil:
		return err
	case a.status != 422 || len(a.Error.Details) != 1:
		return fmt.Errorf("answer to %s: %v, want 422 with one problem", wrong, a)
	case *a.Error.Details[0].Index != at || a.Error.Details[0].Field != m.field:
		return fmt.Errorf("answer to event %d %s: problem %+v, want it in %s", at, wrong, a.Error.Details[0], m.field)
	}
	return nil
}

// conflict sends an event that was acknowledged with other bytes, among new
// ones: nothing of it may ever be seen again.
func (s *sender) conflict() error {
	old := s.events[s.rng.IntN(len(s.events))]
	changed := s.source.eventAt(old.ms, old.id)
	if changed.body == old.body {
		return nil // as unlikely as it is
	}
	batch := append(s.fresh(1+s.rng.IntN(20)), changed)
	a, err := s.send(s.ctx, s.url, encode(s.rng, batch...))
	switch {
	case err != nil:
		return err
	case a.status != 409 || len(a.Error.IDs) != 1 || a.Error.IDs[0] != old.id:
		return fmt.Errorf("answer to a changed %s: %v %q, want 409 naming it", old.id, a, a.Error.IDs)
	}
	return nil
}

// checkBroken checks what a team is told whose role does not trust us.
func checkBroken(t *testing.T, aws *cloud, api *client.Client, tm *team) {
	t.Helper()
	d, err := api.GetDrain(t.Context(), tm.team, tm.drains[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	role := tm.targets[0].roleARN()
	message := fmt.Sprintf("User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: %s", role)
	if d.Status != auditdrain.StatusErrored || d.FirstErrorTimestamp == 0 || d.Metadata.BacklogEvents != eventsPerTeam {
		t.Errorf("status %q since %d with backlog %d, want errored with all %d", d.Status, d.FirstErrorTimestamp, d.Metadata.BacklogEvents, eventsPerTeam)
	}
	if !strings.Contains(d.LastError, "AccessDenied") || !strings.Contains(d.LastError, message) {
		t.Errorf("last error %q does not say what AWS answered", d.LastError)
	}

	before := len(aws.refusals())
	result, err := api.TestDrain(t.Context(), tm.team, tm.drains[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	var refusal awssim.Call
	for _, call := range aws.refusals() {
		if call.RoleARN != role {
			t.Errorf("%s was refused, too", call.RoleARN)
		}
		if a := result.AWS; a != nil && call.RequestID == a.RequestID {
			refusal = call
		}
	}
	a := result.AWS
	if result.Status != "error" || result.Error == "" || result.Endpoint != tm.targets[0].delivery().Endpoint || a == nil {
		t.Fatalf("test delivery: %+v, want an error with AWS's answer", result)
	}
	worded := func(s string) string { return s[:strings.LastIndex(s, "(request id ")] }
	if worded(result.Error) != worded(d.LastError) || d.Diagnosis == nil || d.Diagnosis.String() != d.LastError {
		t.Errorf("the test says\n%s\nthe drain's last error\n%s", result.Error, d.LastError)
	}
	if len(aws.refusals()) <= before || refusal.RequestID == "" {
		t.Errorf("request ID %q is of no call that AWS refused", a.RequestID)
	}
	if a.Service != "sts" || a.Operation != "AssumeRole" || a.HTTPStatus != 403 || a.Code != "AccessDenied" || !strings.HasPrefix(a.Message, message) {
		t.Errorf("AWS's answer: %+v", *a)
	}
	if a.RoleARN != role || a.CallerARN != "arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain" {
		t.Errorf("role %q, caller %q", a.RoleARN, a.CallerARN)
	}
	if since := time.Since(time.UnixMilli(a.Time)); since < 0 || since > patience {
		t.Errorf("AWS answered %s ago", since)
	}
	if !strings.HasPrefix(strings.TrimSpace(a.Body), "<ErrorResponse") || !strings.Contains(a.Body, a.RequestID) {
		t.Errorf("body %q is not STS's", a.Body)
	}
	if ids := http.Header(a.Headers).Values("x-amzn-RequestId"); len(ids) != 1 || ids[0] != a.RequestID {
		t.Errorf("headers %v have no request ID", a.Headers)
	}
}

var keyRE = regexp.MustCompile(`^audit-logs/schema=audit_log/version=v1/year=\d{4}/month=\d\d/day=\d\d/\d{8}T\d{6}\.\d{3}Z_[A-Za-z0-9_.-]+\.jsonl?$`)

// expected is what must be known of one object.
type expected struct {
	body, contentType, encryption, kmsKey, acl, writer string
}

// checkObjects compares the buckets with what was acknowledged: nothing is
// missing, nothing else is there, and all of it is as it should be.
func checkObjects(t *testing.T, aws *cloud, teams []*team) {
	t.Helper()
	want := map[string]map[string]expected{} // by bucket and key
	integrity := map[string]bool{}           // by bucket: also manifests are there
	for _, tm := range teams {
		for i, g := range tm.targets {
			if want[g.bucket] == nil {
				want[g.bucket] = map[string]expected{}
			}
			integrity[g.bucket] = integrity[g.bucket] || g.integrity
			x := tm.expectedOf(i)
			for _, e := range tm.events {
				x.body = e.object(g)
				want[g.bucket][e.key(g)] = x
			}
		}
	}
	checked, plain := 0, 0
	for bucket, keys := range want {
		objects, err := aws.Objects(bucket)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			body, err := o.Read()
			if err != nil {
				t.Fatal(err)
			}
			x, ok := keys[o.Key]
			if _, isPaper := paper(o.Key); isPaper && integrity[bucket] {
				continue
			}
			if !ok {
				t.Errorf("%s/%s is nobody's event: %s", bucket, o.Key, body)
				continue
			}
			got := expected{string(body), o.ContentType, o.Encryption, o.KMSKeyARN, o.ACL, o.Writer}
			if got != x {
				t.Errorf("%s/%s\n got %+v\nwant %+v", bucket, o.Key, got, x)
			}
			if keyRE.MatchString(o.Key) {
				plain++
			}
			delete(keys, o.Key)
			checked++
		}
		for key := range keys {
			t.Errorf("%s/%s is missing", bucket, key)
		}
	}
	// The pattern is written for one prefix, which most drains have.
	inPattern := 0
	for _, tm := range teams {
		for _, g := range tm.targets {
			if g.prefix == "audit-logs" {
				inPattern += len(tm.events)
			}
		}
	}
	if plain != inPattern {
		t.Errorf("%d keys match %s, want %d", plain, keyRE, inPattern)
	}
	t.Logf("%d objects in %d buckets", checked, len(want))
}

// expectedOf is what all objects of the team's ith drain have in common.
func (tm *team) expectedOf(i int) expected {
	g := tm.targets[i]
	role := g.role[strings.LastIndexByte(g.role, '/')+1:]
	x := expected{
		contentType: map[string]string{"json": "application/json", "ndjson": "application/x-ndjson"}[g.encoding],
		encryption:  "AES256",
		acl:         g.acl,
		writer:      "arn:aws:sts::" + g.account + ":assumed-role/" + role + "/auditdrain-" + tm.drains[i].ID,
	}
	if g.encryption.Algorithm != "" {
		x.encryption, x.kmsKey = g.encryption.Algorithm, g.encryption.KMSKeyARN
	}
	return x
}

// checkOnce checks that each object was written by the first call for it.
func checkOnce(t *testing.T, aws *cloud) {
	t.Helper()
	if n := len(aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten with other bytes", n)
	}
	for key, n := range aws.calls() {
		if n != 1 {
			t.Errorf("%d PUTs of %s, want 1", n, key)
		}
	}
}

// checkSessions checks that each drain has assumed its role once, and the
// writer role once for all.
func checkSessions(t *testing.T, aws *cloud, teams []*team) {
	t.Helper()
	want := map[string]int{writerRole: 1}
	for _, tm := range teams {
		want[tm.targets[0].roleARN()] = len(tm.drains)
	}
	if diff := cmp.Diff(want, aws.sessions()); diff != "" {
		t.Errorf("sessions by role (-want +got):\n%s", diff)
	}
}
