package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// operate runs a command of the command line against the service and returns
// what it printed.
func (s *service) operate(args ...string) string {
	s.t.Helper()
	p := run(s.t, environment(s.t, "", "AUDITDRAIN_URL="+s.url, "AUDITDRAIN_TOKEN="+operatorToken), args...)
	if code := p.code(); code != 0 {
		s.t.Fatalf("auditdrain %s: code %d, %s", strings.Join(args, " "), code, p.stderr.String())
	}
	return p.stdout.String()
}

// accept has the service accept n more events of the team.
func (tm *team) accept(t *testing.T, url string, src *source, n int) []event {
	t.Helper()
	var batch []event
	for range n {
		batch = append(batch, src.event())
	}
	if a := tm.post(t, url, plainly(batch...)); a.status != 200 || a.Accepted != n {
		t.Fatal(a)
	}
	tm.events = append(tm.events, batch...)
	return batch
}

// drain asks for the team's first drain.
func (tm *team) drain(s *service) auditdrain.Drain {
	s.t.Helper()
	d, err := s.api.GetDrain(s.t.Context(), tm.team, tm.drains[0].ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// has waits until everything about the drain is as ok says.
func (tm *team) has(s *service, what string, ok func(auditdrain.Drain) bool) auditdrain.Drain {
	s.t.Helper()
	var d auditdrain.Drain
	eventually(s.t, what, func() bool { d = tm.drain(s); return ok(d) })
	return d
}

// TestSkip has S3 refuse one event for its own sake. The drain parks with that
// event named, everything else waits, also over a restart, until the operator
// gives up this one.
func TestSkip(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)
	id := tm.drains[0].ID
	src := newSource(newRand(11, 1), tm.team)
	tm.accept(t, s.url, src, 20)
	aws.awaitObjects(20)

	poison := src.event()
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" && r.Key == poison.key(tm.targets[0]) {
			return awssim.Fault{Err: &awssim.Error{Status: 400, Code: "InvalidRequest", Message: "We do not like it."}}
		}
		return awssim.Fault{}
	})
	if a := tm.post(t, s.url, plainly(poison)); a.status != 200 {
		t.Fatal(a)
	}
	refused := func(d auditdrain.Drain) bool {
		return d.Status == auditdrain.StatusErrored && d.Metadata.LastErrorEvent == poison.id
	}
	tm.has(s, "errored, with the event named", refused)
	tm.accept(t, s.url, src, 30)
	s.kill()
	s = serve(t, aws.url, data)
	d := tm.has(s, "errored again, with the event named", func(d auditdrain.Drain) bool { return refused(d) && d.Metadata.Failed >= 2 })
	if m := d.Metadata; m.BacklogEvents != 31 || m.BacklogBytes == 0 || m.OldestUndeliveredAt == 0 || m.LastErrorRequestID == "" || m.NextAttemptAt == 0 || m.LastErrorAt == 0 {
		t.Errorf("metadata %+v", m)
	}
	if !strings.Contains(d.LastError, "We do not like it.") {
		t.Errorf("last error %q", d.LastError)
	}
	for _, want := range []string{`Event refused: +` + poison.id, `AWS request ID: +` + d.Metadata.LastErrorRequestID, `Backlog: +31 events, `, `We do not like it\.`} {
		if shown := s.operate("drain", "show", id); !regexp.MustCompile(`(?m)^.*` + want).MatchString(shown) {
			t.Errorf("no %s in\n%s", want, shown)
		}
	}

	if got := s.operate("drain", "skip", id, "--event", poison.id, "--reason", "S3 does not like it"); !strings.Contains(got, poison.id) {
		t.Errorf("skipped:\n%s", got)
	}
	aws.awaitObjects(len(tm.events))
	d = tm.has(s, "no backlog", func(d auditdrain.Drain) bool { return d.Metadata.BacklogEvents == 0 })
	if m := d.Metadata; d.Status != auditdrain.StatusEnabled || m.Skipped != 1 || m.Delivered != uint64(len(tm.events)) || m.LastErrorEvent != "" {
		t.Errorf("after it: %s, %+v", d.Status, m)
	}
	s.kill()

	// It is on record for ever, and nothing tries the event again.
	s = serve(t, aws.url, data)
	tm.accept(t, s.url, src, 1)
	aws.awaitObjects(len(tm.events))
	skips, err := s.api.ListSkips(t.Context(), tm.team, id)
	want := []auditdrain.Skip{{From: 21, To: 21, EventID: poison.id, Reason: "S3 does not like it", By: "tok_operator"}}
	if diff := cmp.Diff(want, undated(skips)); err != nil || diff != "" {
		t.Errorf("on record: %v (-want +got):\n%s", err, diff)
	}
	s.stop()
	checkObjects(t, aws, []*team{tm})
}

func undated(skips []auditdrain.Skip) []auditdrain.Skip {
	for i := range skips {
		skips[i].At = 0
	}
	return skips
}

// TestReplay loses objects in the bucket and has them delivered again: what is
// missing is written, and what is there stays as it is.
func TestReplay(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)
	id := tm.drains[0].ID
	src := newSource(newRand(12, 1), tm.team)
	first := tm.accept(t, s.url, src, 150)
	between := time.Now().UnixMilli() + 1
	eventually(t, "the next millisecond", func() bool { return time.Now().UnixMilli() >= between })
	second := tm.accept(t, s.url, src, 50)
	aws.awaitObjects(200)
	awaitNoBacklog(t, s.api, []*team{tm})

	before := aws.modified(tm.targets[0].bucket)
	aws.lose(tm.targets[0], first[10:30]...)
	aws.lose(tm.targets[0], second[:5]...)

	// Of the second batch only.
	r, err := s.api.StartReplay(t.Context(), tm.team, id, auditdrain.ReplayInput{From: between})
	if err != nil || r.Events != 50 {
		t.Fatalf("%+v, %v, want 50 events", r, err)
	}
	eventually(t, "the end of the replay", func() bool {
		r, err = s.api.GetReplay(t.Context(), tm.team, id)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status == auditdrain.ReplayFinished
	})
	if r.Done != 50 || r.Written != 5 || r.Existed != 45 || r.FinishedAt == 0 {
		t.Errorf("%+v, want 5 written of 50", r)
	}

	// Of all, and it may be repeated.
	for _, written := range []string{"20", "0"} {
		got := s.operate("drain", "replay", id, "--from", "1h", "--wait")
		for _, want := range []string{`Status: +finished`, `Events: +200`, `Done: +200`, `Written: +` + written} {
			if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(got) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
	}
	d := tm.drain(s)
	if m := d.Metadata; m.Delivered != 200 || m.BacklogEvents != 0 {
		t.Errorf("a replay counts for itself: %+v", m)
	}
	checkObjects(t, aws, []*team{tm})
	if n := len(aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten", n)
	}
	written := slices.Concat(first[10:30], second[:5])
	for key, at := range aws.modified(tm.targets[0].bucket) {
		lost := slices.ContainsFunc(written, func(e event) bool { return e.key(tm.targets[0]) == key })
		if !lost && !at.Equal(before[key]) {
			t.Errorf("%s was there, and was written at %v", key, at)
		}
	}
	s.stop()
}

// TestReplayKilled kills the service in the middle of a replay, which goes on
// by itself after that, beside new events.
func TestReplayKilled(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)
	id := tm.drains[0].ID
	src := newSource(newRand(13, 1), tm.team)
	tm.accept(t, s.url, src, 300)
	aws.awaitObjects(300)
	awaitNoBacklog(t, s.api, []*team{tm})
	aws.lose(tm.targets[0], tm.events...)

	var puts atomic.Int64
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		return awssim.Fault{Hang: r.Op == "PutObject" && puts.Add(1) > 100}
	})
	begun, err := s.api.StartReplay(t.Context(), tm.team, id, auditdrain.ReplayInput{From: 1})
	if err != nil || begun.Events != 300 {
		t.Fatalf("%+v, %v, want 300 events", begun, err)
	}
	eventually(t, "a part of the replay, saved", func() bool {
		r, err := s.api.GetReplay(t.Context(), tm.team, id)
		if err != nil {
			t.Fatal(err)
		}
		return r.Done > 0
	})
	s.kill()

	aws.SetFault(nil)
	s = serve(t, aws.url, data)
	tm.accept(t, s.url, src, 20)
	aws.awaitObjects(320)
	got := s.operate("drain", "replay", id, "--wait")
	if !strings.Contains(got, begun.ID) || !regexp.MustCompile(`(?m)^Done: +300$`).MatchString(got) {
		t.Errorf("in the end:\n%s", got)
	}
	s.stop()
	checkObjects(t, aws, []*team{tm})
}

// lose removes the objects of events from the bucket, as people do.
func (c *cloud) lose(g target, events ...event) {
	c.t.Helper()
	for _, e := range events {
		must(c.t, os.Remove(filepath.Join(c.dir, g.bucket, filepath.FromSlash(e.key(g)))))
	}
}

// modified is when each object of a bucket was written.
func (c *cloud) modified(bucket string) map[string]time.Time {
	c.t.Helper()
	objects, err := c.Objects(bucket)
	if err != nil {
		c.t.Fatal(err)
	}
	return maps.Collect(func(yield func(string, time.Time) bool) {
		for _, o := range objects {
			if !yield(o.Key, o.Modified) {
				return
			}
		}
	})
}

// TestResumeFromNow pauses a drain and has it go on from now: what it has not
// delivered is given up, on record, and can still be replayed.
func TestResumeFromNow(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)
	id := tm.drains[0].ID
	src := newSource(newRand(14, 1), tm.team)
	tm.accept(t, s.url, src, 10)
	awaitNoBacklog(t, s.api, []*team{tm})
	s.operate("drain", "pause", id)
	all := append(slices.Clone(tm.events), tm.accept(t, s.url, src, 30)...)
	tm.events = tm.events[:10]
	if d := tm.drain(s); d.Status != auditdrain.StatusDisabled || d.Metadata.BacklogEvents != 30 {
		t.Fatalf("paused: %s, %+v", d.Status, d.Metadata)
	}
	if got := s.operate("drain", "replay", id, "--from", "1h"); !strings.Contains(got, "running, waits until the drain is resumed") {
		t.Errorf("replay of a paused drain:\n%s", got)
	}
	s.operate("drain", "replay", id, "--cancel")
	if got := s.operate("drain", "resume", id, "--from", "now"); !strings.Contains(got, "30 events given up") {
		t.Errorf("resumed:\n%s", got)
	}
	all = append(all, tm.accept(t, s.url, src, 5)...)
	aws.awaitObjects(15)
	s.kill()
	s = serve(t, aws.url, data)
	all = append(all, tm.accept(t, s.url, src, 5)...)
	aws.awaitObjects(20)
	d := tm.has(s, "no backlog", func(d auditdrain.Drain) bool { return d.Metadata.BacklogEvents == 0 })
	if m := d.Metadata; m.Skipped != 30 || m.Delivered != 20 {
		t.Errorf("metadata %+v, want 30 skipped and 20 delivered", m)
	}
	skips, err := s.api.ListSkips(t.Context(), tm.team, id)
	want := []auditdrain.Skip{{From: 11, To: 40, Reason: "resumed from now", By: "tok_operator"}}
	if diff := cmp.Diff(want, undated(skips)); err != nil || diff != "" {
		t.Errorf("on record: %v (-want +got):\n%s", err, diff)
	}
	checkObjects(t, aws, []*team{tm})

	got := s.operate("drain", "replay", id, "--from", "1h", "--wait")
	if !regexp.MustCompile(`(?m)^Written: +30$`).MatchString(got) {
		t.Errorf("replayed:\n%s", got)
	}
	s.stop()
	tm.events = all
	checkObjects(t, aws, []*team{tm})
}

// TestAttempts: what failed can be looked at after a restart, with AWS's
// request id, and beside it what went well since.
func TestAttempts(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)
	id := tm.drains[0].ID
	var calls awssim.Calls
	aws.Observe(calls.Add)
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		return awssim.Fault{Err: awssim.SlowDown()}
	})
	e := tm.accept(t, s.url, newSource(newRand(15, 1), tm.team), 1)[0]
	attempts := func(outcome string) []auditdrain.Attempt {
		list, err := s.api.ListAttempts(t.Context(), tm.team, id, outcome, 0)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	eventually(t, "failed attempts", func() bool { return len(attempts("")) >= 2 })
	s.stop()
	aws.SetFault(nil)
	s = serve(t, aws.url, data)
	aws.awaitObjects(1)
	eventually(t, "a success that was kept", func() bool { return len(attempts(auditdrain.OutcomeWritten)) > 0 })

	failed := attempts(auditdrain.OutcomeFailed)
	for i, a := range failed {
		known := slices.ContainsFunc(calls.All("PutObject"), func(c awssim.Call) bool { return c.RequestID == a.RequestID && c.Status == 503 })
		if a.Number != uint64(len(failed)-i) || a.EventID != e.id || a.Class != "throttled" || a.Operation != "PutObject" || a.Status != 503 || a.Code != "SlowDown" || !known {
			t.Errorf("attempt %d: %+v (a call of AWS's: %v)", i, a, known)
		}
	}
	all := attempts("")
	if a := all[0]; len(failed) < 2 || len(all) != len(failed)+1 || a.Outcome != auditdrain.OutcomeWritten || a.EventID != e.id || a.Number != 1 || a.At < failed[0].At {
		t.Errorf("%d failures, and the latest attempt of %d is %+v", len(failed), len(all), a)
	}
	shown := s.operate("drain", "attempts", id, "--limit", "2")
	if lines := strings.Split(strings.TrimSpace(shown), "\n"); len(lines) != 3 || !strings.Contains(lines[1], " written ") || !strings.Contains(lines[2], failed[0].RequestID) {
		t.Errorf("shown:\n%s", shown)
	}
	s.stop()
	checkObjects(t, aws, []*team{tm})
}
