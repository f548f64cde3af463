package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

// newDrain returns a drain of a new team with n events, uev_1 to uev_n, of
// which it has delivered some.
func (s *service) newDrain(n, delivered int) auditdrain.Drain {
	s.t.Helper()
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	s.send(1, n)
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: uint64(delivered), Delivered: uint64(delivered)})
	return d
}

// send accepts the events uev_from to uev_to.
func (s *service) send(from, to int) {
	s.t.Helper()
	for i := from; i <= to; i++ {
		must[auditdrain.EventsResult](s, "POST", "/v1/events?teamId=team_a", strings.Replace(goodEvent, "uev_1", "uev_"+strconv.Itoa(i), 1))
	}
}

// save is what delivery does.
func (s *service) save(state auditdrain.DeliveryState, attempts ...auditdrain.Attempt) {
	s.t.Helper()
	if _, err := s.store.SaveProgress(s.t.Context(), []auditdrain.Progress{{State: state, Attempts: attempts}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) metadata(id string) auditdrain.DrainMetadata {
	s.t.Helper()
	return *must[auditdrain.Drain](s, "GET", "/v1/drains/"+id+"?includeMetadata=true", "").Metadata
}

var whenever = cmpopts.IgnoreFields(auditdrain.Skip{}, "At")

func TestSkip(t *testing.T) {
	s := newService(t)
	d := s.newDrain(3, 1)
	path := "/v1/drains/" + d.ID + "/skips"
	if got := s.do(operatorToken, "GET", path, ""); got.status != 200 || strings.TrimSpace(got.body) != `{"skips":[]}` {
		t.Errorf("before any: %d %s", got.status, got.body)
	}
	for _, tt := range []struct {
		name, body string
		status     int
		says       []string
	}{
		{"no event", `{"reason":"x"}`, 400, []string{`"field":"eventId"`, "1 to 128"}},
		{"no reason", `{"eventId":"uev_2"}`, 400, []string{`"field":"reason"`, "1 to 512"}},
		{"long reason", `{"eventId":"uev_2","reason":"` + strings.Repeat("x", 513) + `"}`, 400, []string{`"field":"reason"`}},
		{"reason for a terminal", `{"eventId":"uev_2","reason":"\u001b[2J"}`, 400, []string{`"field":"reason"`}},
		{"misspelt", `{"event":"uev_2","reason":"x"}`, 400, []string{"eventId"}},
		{"unknown", `{"eventId":"uev_9","reason":"x"}`, 404, []string{"uev_9"}},
		{"delivered", `{"eventId":"uev_1","reason":"x"}`, 409, []string{"uev_1", "delivered already"}},
	} {
		got := s.do(operatorToken, "POST", path, tt.body)
		for _, want := range tt.says {
			if got.status != tt.status || !strings.Contains(got.body, want) {
				t.Errorf("%s: %d %s, want %d that says %s", tt.name, got.status, got.body, tt.status, want)
			}
		}
	}
	told := len(s.changed)

	want := auditdrain.Skip{From: 2, To: 2, EventID: "uev_2", Reason: "S3 refuses it", By: "tok_operator"}
	got := must[auditdrain.Skip](s, "POST", path, `{"eventId":"uev_2","reason":"S3 refuses it"}`)
	if diff := cmp.Diff(want, got, whenever); diff != "" || time.Since(time.UnixMilli(got.At)) > time.Hour {
		t.Errorf("at %d (-want +got):\n%s", got.At, diff)
	}
	if diff := cmp.Diff([]string{d.ID}, s.changed[told:]); diff != "" {
		t.Errorf("delivery was told of (-want +got):\n%s", diff)
	}
	again := must[auditdrain.Skip](s, "POST", path, `{"eventId":"uev_2","reason":"changed my mind"}`)
	if again != got {
		t.Errorf("a second time: %+v, want the record that is there", again)
	}
	must[auditdrain.Skip](s, "POST", path, `{"eventId":"uev_3","reason":"and this"}`)
	list := must[auditdrain.SkipList](s, "GET", path, "")
	if len(list.Skips) != 2 || list.Skips[0].EventID != "uev_3" || list.Skips[1] != got {
		t.Errorf("%+v, want both, the latest first", list.Skips)
	}
}

func TestResumeFromNow(t *testing.T) {
	s := newService(t)
	d := s.newDrain(3, 1)
	owner := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"x","role":"owner","teamId":"team_a"}`)
	path := "/v1/drains/" + d.ID
	const fromNow = `{"status":"enabled","resumeFrom":"now"}`

	if got := s.do(owner.Value, "PATCH", path, fromNow); got.status != 409 || !strings.Contains(got.body, "not paused") {
		t.Errorf("a drain that is not paused: %d %s, want 409", got.status, got.body)
	}
	if m := s.metadata(d.ID); m.BacklogEvents != 2 || m.Skipped != 0 {
		t.Errorf("a refused jump: %+v", m)
	}

	must[auditdrain.Drain](s, "PATCH", path, `{"status":"disabled"}`)
	// Whatever is wrong with the rest of the change, nothing is given up.
	if got := s.do(operatorToken, "PATCH", path, `{"name":"","status":"enabled","resumeFrom":"now"}`); got.status != 400 {
		t.Errorf("a bad name: %d %s, want 400", got.status, got.body)
	}
	if m := s.metadata(d.ID); m.BacklogEvents != 2 {
		t.Errorf("a refused change: %+v", m)
	}
	got := s.do(owner.Value, "PATCH", path, fromNow)
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	resumed := decode[auditdrain.Drain](t, got.body)
	want := auditdrain.Skip{From: 2, To: 3, Reason: "resumed from now", By: owner.ID}
	if resumed.GivenUp == nil || resumed.Status != auditdrain.StatusEnabled {
		t.Fatalf("%+v", resumed)
	}
	if diff := cmp.Diff(want, *resumed.GivenUp, whenever); diff != "" || resumed.GivenUp.Events() != 2 {
		t.Errorf("given up (-want +got):\n%s", diff)
	}
	if m := s.metadata(d.ID); m.BacklogEvents != 0 || m.Skipped != 2 || m.Delivered != 1 {
		t.Errorf("after it: %+v", m)
	}
	if list := must[auditdrain.SkipList](s, "GET", path+"/skips", ""); !cmp.Equal(list.Skips, []auditdrain.Skip{*resumed.GivenUp}) {
		t.Errorf("on record: %+v", list)
	}
	if d := must[auditdrain.Drain](s, "GET", path, ""); d.GivenUp != nil {
		t.Errorf("shown later: %+v", d.GivenUp)
	}

	// With nothing to give up, it is as any resuming.
	must[auditdrain.Drain](s, "PATCH", path, `{"status":"disabled"}`)
	if d := must[auditdrain.Drain](s, "PATCH", path, fromNow); d.GivenUp != nil || d.Status != auditdrain.StatusEnabled {
		t.Errorf("without a backlog: %+v", d)
	}
	s.send(4, 4)
	if m := s.metadata(d.ID); m.BacklogEvents != 1 {
		t.Errorf("what came after it: %+v", m)
	}
}

// A drain that must not be enabled gives nothing up.
func TestResumeFromNowOfUnsafeRole(t *testing.T) {
	s := newService(t)
	d := s.newDrain(1, 0)
	must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"status":"disabled"}`)
	s.api.RefuseUnsafeRoles = true
	s.roleCheck = auditdrain.RoleCheck{Unsafe: true, WithoutExternalID: auditdrain.RoleAccepted, Text: "add the condition"}
	if got := s.do(operatorToken, "PATCH", "/v1/drains/"+d.ID, `{"status":"enabled","resumeFrom":"now"}`); got.status != 400 {
		t.Errorf("%d %s, want 400", got.status, got.body)
	}
	if m := s.metadata(d.ID); m.BacklogEvents != 1 || m.Skipped != 0 {
		t.Errorf("%+v", m)
	}
}

func TestReplay(t *testing.T) {
	s := newService(t)
	begin := time.Now().UnixMilli()
	d := s.newDrain(4, 3)
	path := "/v1/drains/" + d.ID + "/replay"
	for _, method := range []string{"GET", "DELETE"} {
		if got := s.do(operatorToken, method, path, ""); got.status != 404 || !strings.Contains(got.body, d.ID) {
			t.Errorf("%s before any: %d %s, want 404", method, got.status, got.body)
		}
	}
	later := time.Now().Add(time.Hour).UnixMilli()
	for _, tt := range []struct {
		name, body string
		field      string
		says       string
	}{
		{"no from", `{}`, "from", "missing"},
		{"negative", `{"from":-1}`, "from", "until now"},
		{"from ahead", fmt.Sprintf(`{"from":%d}`, later), "from", "until now"},
		{"to ahead", fmt.Sprintf(`{"from":1,"to":%d}`, later), "to", "until now"},
		{"to negative", `{"from":1,"to":-5}`, "to", "leave it out"},
		{"nothing between", `{"from":5,"to":5}`, "to", "not after from"},
		{"backwards", `{"from":6,"to":5}`, "to", "not after from"},
		{"a date", `{"from":"2026-05-22T10:00:00Z"}`, "from", "whole number"},
		{"misspelt", `{"since":5}`, "since", "from, to"},
	} {
		got := s.do(operatorToken, "POST", path, tt.body)
		if got.status != 400 || !strings.Contains(got.body, `"field":"`+tt.field+`"`) || !strings.Contains(got.body, tt.says) {
			t.Errorf("%s: %d %s, want 400 that names %s and says %q", tt.name, got.status, got.body, tt.field, tt.says)
		}
	}
	if got := s.do(operatorToken, "GET", path, ""); got.status != 404 {
		t.Errorf("refused, and yet there: %s", got.body)
	}
	told := len(s.changed)

	// The fourth event is delivered anyway.
	begun := must[auditdrain.Replay](s, "POST", path, fmt.Sprintf(`{"from":%d}`, begin-1000))
	want := auditdrain.Replay{
		ReplayOrder: auditdrain.ReplayOrder{From: begin - 1000, FirstSeq: 1, LastSeq: 3, By: "tok_operator"},
		Status:      auditdrain.ReplayRunning, Events: 3, DrainStatus: auditdrain.StatusEnabled,
	}
	unknowable := cmpopts.IgnoreFields(auditdrain.ReplayOrder{}, "ID", "To", "CreatedAt")
	if diff := cmp.Diff(want, begun, unknowable); diff != "" {
		t.Errorf("begun (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(begun.ID, "rpl_") || begun.To != begun.CreatedAt+1 {
		t.Errorf("id %q, to %d, created %d", begun.ID, begun.To, begun.CreatedAt)
	}
	if got := s.do(operatorToken, "POST", path, `{"from":1}`); got.status != 409 || !strings.Contains(got.body, begun.ID) {
		t.Errorf("a second one: %d %s, want 409 that names %s", got.status, got.body, begun.ID)
	}

	progress := auditdrain.ReplayProgress{ID: begun.ID, Cursor: 2, Written: 1, Existed: 1}
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: 3, Replay: &progress, FirstErrorAt: 1})
	want.Done, want.Written, want.Existed, want.DrainStatus = 2, 1, 1, auditdrain.StatusErrored
	if diff := cmp.Diff(want, must[auditdrain.Replay](s, "GET", path, ""), unknowable); diff != "" {
		t.Errorf("on its way (-want +got):\n%s", diff)
	}
	want.Status, want.Cancelled = auditdrain.ReplayCancelled, true
	if diff := cmp.Diff(want, must[auditdrain.Replay](s, "DELETE", path, ""), unknowable); diff != "" {
		t.Errorf("cancelled (-want +got):\n%s", diff)
	}
	if got := s.do(operatorToken, "DELETE", path, ""); got.status != 409 || !strings.Contains(got.body, begun.ID) {
		t.Errorf("cancelled again: %d %s, want 409", got.status, got.body)
	}
	if diff := cmp.Diff([]string{d.ID, d.ID}, s.changed[told:]); diff != "" {
		t.Errorf("delivery was told of (-want +got):\n%s", diff)
	}

	// The next one begins at nothing, whatever is known of the one before. It
	// may be asked for while the drain is paused, and says so.
	must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"status":"disabled"}`)
	next := must[auditdrain.Replay](s, "POST", path, fmt.Sprintf(`{"from":1,"to":%d}`, begin-1000))
	if next.Events != 0 || next.Done != 0 || next.Written != 0 || next.Status != auditdrain.ReplayRunning || next.DrainStatus != auditdrain.StatusDisabled {
		t.Errorf("of a time without events: %+v", next)
	}
	progress = auditdrain.ReplayProgress{ID: next.ID, FinishedAt: 1700000000000}
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: 3, Replay: &progress})
	if got := must[auditdrain.Replay](s, "GET", path, ""); got.Status != auditdrain.ReplayFinished || got.FinishedAt != 1700000000000 {
		t.Errorf("finished: %+v", got)
	}
}

func TestAttempts(t *testing.T) {
	s := newService(t)
	d := s.newDrain(1, 0)
	path := "/v1/drains/" + d.ID + "/attempts"
	if got := s.do(operatorToken, "GET", path, ""); got.status != 200 || strings.TrimSpace(got.body) != `{"attempts":[]}` {
		t.Errorf("before any: %d %s", got.status, got.body)
	}
	written := auditdrain.Attempt{Number: 1, At: 1700000000004, EventID: "uev_1", Outcome: auditdrain.OutcomeWritten, Duration: 12, Operation: "PutObject"}
	existed := auditdrain.Attempt{Number: 2, At: 1700000000001, EventID: "uev_0", Outcome: auditdrain.OutcomeExisted, Replay: true}
	refused := auditdrain.Attempt{
		Number: 1, At: 1700000000003, EventID: "uev_1", Outcome: auditdrain.OutcomeFailed, Duration: 31, Class: "blocked",
		Operation: "PutObject", Status: 403, Code: "AccessDenied", RequestID: "REQ1", Error: "no",
	}
	failed := auditdrain.Attempt{Number: 2, At: 1700000000002, EventID: "uev_1", Outcome: auditdrain.OutcomeFailed, Class: "transient", Error: "timed out"}
	s.save(auditdrain.DeliveryState{DrainID: d.ID}, written, existed, refused, failed)
	for query, want := range map[string][]auditdrain.Attempt{
		"":                         {written, refused, failed, existed},
		"?limit=2":                 {written, refused},
		"?outcome=failed":          {refused, failed},
		"?outcome=failed&limit=1":  {refused},
		"?outcome=existed":         {existed},
		"?outcome=written&limit=9": {written},
	} {
		if diff := cmp.Diff(want, must[auditdrain.AttemptList](s, "GET", path+query, "").Attempts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for query, field := range map[string]string{
		"?outcome=lost": "outcome",
		"?outcome=":     "outcome",
		"?limit=0":      "limit",
		"?limit=1201":   "limit",
		"?limit=many":   "limit",
		"?limit=":       "limit",
		"?failed=true":  "failed",
	} {
		if got := s.do(operatorToken, "GET", path+query, ""); got.status != http.StatusBadRequest || !strings.Contains(got.body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s, want 400 that names %s", query, got.status, got.body, field)
		}
	}
}

func TestMetadata(t *testing.T) {
	s := newService(t)
	begin := time.Now().UnixMilli()
	d := s.newDrain(3, 0)
	state := auditdrain.DeliveryState{
		DrainID: d.ID, Cursor: 1,
		Delivered: 1, Failed: 4, Skipped: 2, LastDeliveryAt: 1700000000000,
		FirstErrorAt: 1700000000001, LastErrorAt: 1700000000002, LastErrorEvent: "uev_2", LastError: "S3 did not let us.",
		Diagnosis:     &auditdrain.Diagnosis{Summary: "S3 did not let us.", RequestID: "REQ1"},
		NextAttemptAt: 1700000000003, Window: 16, SessionExpiresAt: 1700000000004,
	}
	s.save(state)
	want := auditdrain.DrainMetadata{
		BacklogEvents: 2, Delivered: 1, Failed: 4, Skipped: 2, LastDeliveryAt: 1700000000000,
		LastErrorAt: 1700000000002, LastErrorEvent: "uev_2", LastErrorRequestID: "REQ1",
		NextAttemptAt: 1700000000003, Window: 16, SessionExpiresAt: 1700000000004,
	}
	events, err := s.store.Read(t.Context(), "team_a", 1, 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		want.BacklogBytes += uint64(len(e.Body))
	}
	want.OldestUndeliveredAt = events[0].AcceptedAt.UnixMilli()
	if want.OldestUndeliveredAt < begin {
		t.Errorf("accepted at %d, before it was sent", want.OldestUndeliveredAt)
	}
	if diff := cmp.Diff(want, s.metadata(d.ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list := must[auditdrain.DrainList](s, "GET", "/v1/drains?teamId=team_a&includeMetadata=true", "")
	if diff := cmp.Diff(&want, list.Drains[0].Metadata); diff != "" {
		t.Errorf("in the list (-want +got):\n%s", diff)
	}
	if d := list.Drains[0]; d.LastError != state.LastError || !cmp.Equal(d.Diagnosis, state.Diagnosis) {
		t.Errorf("last error %q, %+v", d.LastError, d.Diagnosis)
	}

	// Nothing is tried of a paused drain.
	must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"status":"disabled"}`)
	want.NextAttemptAt, want.Window, want.SessionExpiresAt = 0, 0, 0
	if diff := cmp.Diff(want, s.metadata(d.ID)); diff != "" {
		t.Errorf("paused (-want +got):\n%s", diff)
	}
}
