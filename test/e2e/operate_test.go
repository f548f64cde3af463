package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

// scene is one team with one drain, and the service that it is told to.
type scene struct {
	*service
	aws    *cloud
	tm     *team
	drain  string // its ID
	data   string // the service's folder
	source *source
}

func newScene(t *testing.T, seed uint64) *scene {
	t.Helper()
	aws := newCloud(t)
	sc := &scene{aws: aws, tm: oneTeam(t, aws), data: t.TempDir()}
	sc.serve()
	sc.tm.setUp(t, sc.http, sc.api)
	sc.drain = sc.tm.drains[0].ID
	sc.source = newSource(newRand(seed, 1), sc.tm.team)
	return sc
}

// serve starts the service, which must not be running.
func (sc *scene) serve() { sc.service = serve(sc.aws.t, sc.aws.url, sc.data) }

// accept has the service accept n more events of the team.
func (sc *scene) accept(n int) []event {
	sc.t.Helper()
	var batch []event
	for range n {
		batch = append(batch, sc.source.event())
	}
	if a := sc.tm.post(sc.t, sc.url, plainly(batch...)); a.status != 200 || a.Accepted != n {
		sc.t.Fatal(a)
	}
	sc.tm.events = append(sc.tm.events, batch...)
	return batch
}

// get asks for the drain.
func (sc *scene) get() auditdrain.Drain {
	sc.t.Helper()
	d, err := sc.api.GetDrain(sc.t.Context(), sc.tm.team, sc.drain)
	if err != nil {
		sc.t.Fatal(err)
	}
	return d
}

// await waits until the drain is as ok says.
func (sc *scene) await(what string, ok func(auditdrain.Drain) bool) auditdrain.Drain {
	sc.t.Helper()
	var d auditdrain.Drain
	eventually(sc.t, what, func() bool { d = sc.get(); return ok(d) })
	return d
}

// awaitReplay waits until the drain's replay is as ok says.
func (sc *scene) awaitReplay(what string, ok func(auditdrain.Replay) bool) auditdrain.Replay {
	sc.t.Helper()
	var r auditdrain.Replay
	eventually(sc.t, what, func() bool {
		var err error
		if r, err = sc.api.GetReplay(sc.t.Context(), sc.tm.team, sc.drain); err != nil {
			sc.t.Fatal(err)
		}
		return ok(r)
	})
	return r
}

// delivered is a drain that has nothing left to deliver, as far as is saved.
func delivered(d auditdrain.Drain) bool { return d.Metadata.BacklogEvents == 0 }

// wantSkips compares what is on record with what was given up.
func (sc *scene) wantSkips(want ...auditdrain.Skip) {
	sc.t.Helper()
	skips, err := sc.api.ListSkips(sc.t.Context(), sc.tm.team, sc.drain)
	if diff := cmp.Diff(want, skips, cmpopts.IgnoreFields(auditdrain.Skip{}, "At")); err != nil || diff != "" {
		sc.t.Errorf("on record: %v (-want +got):\n%s", err, diff)
	}
}

// wantLines looks for lines in what a command has printed.
func wantLines(t *testing.T, printed string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(printed) {
			t.Errorf("no line %s in\n%s", line, printed)
		}
	}
}

// TestSkip has S3 refuse one event for its own sake. The drain parks with that
// event named, everything else waits, also over a restart, until the operator
// gives up this one.
func TestSkip(t *testing.T) {
	s := newScene(t, 11)
	s.accept(20)
	s.aws.awaitObjects(20)

	poison := s.source.event()
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" && r.Key == poison.key(s.tm.targets[0]) {
			return awssim.Fault{Err: &awssim.Error{Status: 400, Code: "InvalidRequest", Message: "We do not like it."}}
		}
		return awssim.Fault{}
	})
	if a := s.tm.post(t, s.url, plainly(poison)); a.status != 200 {
		t.Fatal(a)
	}
	refused := func(d auditdrain.Drain) bool {
		return d.Status == auditdrain.StatusErrored && d.Metadata.LastErrorEvent == poison.id
	}
	s.await("errored, with the event named", refused)
	s.accept(30)
	s.kill()
	s.serve()
	d := s.await("errored again, with the event named", func(d auditdrain.Drain) bool { return refused(d) && d.Metadata.Failed >= 2 })
	if m := d.Metadata; m.BacklogEvents != 31 || m.BacklogBytes == 0 || m.OldestUndeliveredAt == 0 || m.LastErrorRequestID == "" || m.NextAttemptAt == 0 || m.LastErrorAt == 0 {
		t.Errorf("metadata %+v", m)
	}
	if !strings.Contains(d.LastError, "We do not like it.") {
		t.Errorf("last error %q", d.LastError)
	}
	wantLines(t, s.operate("drain", "show", s.drain), `Event refused: +`+poison.id, `AWS request ID: +`+d.Metadata.LastErrorRequestID,
		`Backlog: +31 events, .*`, `AWS said: 400 InvalidRequest We do not like it\..*`)

	wantLines(t, s.operate("drain", "skip", s.drain, "--event", poison.id, "--reason", "S3 does not like it"), `\S+Z +tok_operator +1 +`+poison.id+` +S3 does not like it`)
	s.aws.awaitObjects(len(s.tm.events))
	d = s.await("no backlog", delivered)
	if m := d.Metadata; d.Status != auditdrain.StatusEnabled || m.Skipped != 1 || m.Delivered != uint64(len(s.tm.events)) || m.LastErrorEvent != "" {
		t.Errorf("after it: %s, %+v", d.Status, m)
	}
	s.kill()

	// It is on record for ever, and nothing tries the event again.
	s.serve()
	s.accept(1)
	s.aws.awaitObjects(len(s.tm.events))
	s.wantSkips(auditdrain.Skip{From: 21, To: 21, EventID: poison.id, Reason: "S3 does not like it", By: "tok_operator"})
	s.stop()
	checkObjects(t, s.aws, []*team{s.tm})
}

// TestReplay loses objects in the bucket and has them delivered again: what is
// missing is written, and what is there stays as it is.
func TestReplay(t *testing.T) {
	s := newScene(t, 12)
	first := s.accept(150)
	between := time.Now().UnixMilli() + 1
	eventually(t, "the next millisecond", func() bool { return time.Now().UnixMilli() >= between })
	second := s.accept(50)
	s.aws.awaitObjects(200)
	s.await("no backlog", delivered)

	before := s.aws.modified(s.tm.targets[0].bucket)
	s.aws.lose(s.tm.targets[0], first[10:30]...)
	s.aws.lose(s.tm.targets[0], second[:5]...)

	// Of the second batch only.
	r, err := s.api.StartReplay(t.Context(), s.tm.team, s.drain, auditdrain.ReplayInput{From: between})
	if err != nil || r.Events != 50 {
		t.Fatalf("%+v, %v, want 50 events", r, err)
	}
	r = s.awaitReplay("the end of the replay", func(r auditdrain.Replay) bool { return r.Status == auditdrain.ReplayFinished })
	if r.Done != 50 || r.Written != 5 || r.Existed != 45 || r.FinishedAt == 0 {
		t.Errorf("%+v, want 5 written of 50", r)
	}

	// Of all, and it may be repeated.
	for _, written := range []string{"20", "0"} {
		wantLines(t, s.operate("drain", "replay", s.drain, "--from", "1h", "--wait"), `Status: +finished`, `Events: +200`, `Done: +200`, `Written: +`+written)
	}
	if m := s.get().Metadata; m.Delivered != 200 || m.BacklogEvents != 0 {
		t.Errorf("a replay counts for itself: %+v", m)
	}
	checkObjects(t, s.aws, []*team{s.tm})
	if n := len(s.aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten", n)
	}
	written := slices.Concat(first[10:30], second[:5])
	for key, at := range s.aws.modified(s.tm.targets[0].bucket) {
		lost := slices.ContainsFunc(written, func(e event) bool { return e.key(s.tm.targets[0]) == key })
		if !lost && !at.Equal(before[key]) {
			t.Errorf("%s was there, and was written at %v", key, at)
		}
	}
	s.stop()
}

// TestReplayKilled kills the service in the middle of a replay, which goes on
// by itself after that, beside new events.
func TestReplayKilled(t *testing.T) {
	s := newScene(t, 13)
	s.accept(300)
	s.aws.awaitObjects(300)
	s.await("no backlog", delivered)
	s.aws.lose(s.tm.targets[0], s.tm.events...)

	var puts atomic.Int64
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		return awssim.Fault{Hang: r.Op == "PutObject" && puts.Add(1) > 100}
	})
	begun, err := s.api.StartReplay(t.Context(), s.tm.team, s.drain, auditdrain.ReplayInput{From: 1})
	if err != nil || begun.Events != 300 {
		t.Fatalf("%+v, %v, want 300 events", begun, err)
	}
	s.awaitReplay("a part of the replay", func(r auditdrain.Replay) bool { return r.Done > 0 })
	s.kill()

	s.aws.SetFault(nil)
	s.serve()
	s.accept(20)
	s.aws.awaitObjects(320)
	wantLines(t, s.operate("drain", "replay", s.drain, "--wait"), `Replay: +`+begun.ID, `Status: +finished`, `Done: +300`)
	s.stop()
	checkObjects(t, s.aws, []*team{s.tm})
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
	at := map[string]time.Time{}
	for _, o := range objects {
		at[o.Key] = o.Modified
	}
	return at
}

// TestResumeFromNow pauses a drain and has it go on from now: what it has not
// delivered is given up, on record, and can still be replayed.
func TestResumeFromNow(t *testing.T) {
	s := newScene(t, 14)
	s.accept(10)
	s.await("no backlog", delivered)
	s.operate("drain", "pause", s.drain)
	s.accept(30)
	if d := s.get(); d.Status != auditdrain.StatusDisabled || d.Metadata.BacklogEvents != 30 {
		t.Fatalf("paused: %s, %+v", d.Status, d.Metadata)
	}
	wantLines(t, s.operate("drain", "replay", s.drain, "--from", "1h"), `Status: +running, waits until the drain is resumed`)
	wantLines(t, s.operate("drain", "replay", s.drain, "--cancel"), `Status: +cancelled`)
	wantLines(t, s.operate("drain", "resume", s.drain, "--from", "now"), `30 events given up: .*`)
	s.accept(5)
	s.aws.awaitObjects(15)
	s.kill()
	s.serve()
	s.accept(5)
	s.aws.awaitObjects(20)
	d := s.await("no backlog", delivered)
	if m := d.Metadata; m.Skipped != 30 || m.Delivered != 20 {
		t.Errorf("metadata %+v, want 30 skipped and 20 delivered", m)
	}
	s.wantSkips(auditdrain.Skip{From: 11, To: 40, Reason: "resumed from now", By: "tok_operator"})
	all := s.tm.events
	s.tm.events = slices.Concat(all[:10], all[40:])
	checkObjects(t, s.aws, []*team{s.tm})

	wantLines(t, s.operate("drain", "replay", s.drain, "--from", "1h", "--wait"), `Written: +30`)
	s.stop()
	s.tm.events = all
	checkObjects(t, s.aws, []*team{s.tm})
}

// TestResumeFromNowAtOnce does so while writes are still under way.
func TestResumeFromNowAtOnce(t *testing.T) {
	s := newScene(t, 16)
	arrived := make(chan struct{}, 100)
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		arrived <- struct{}{}
		return awssim.Fault{Hang: true}
	})
	s.accept(5)
	<-arrived
	s.operate("drain", "pause", s.drain)
	wantLines(t, s.operate("drain", "resume", s.drain, "--from", "now"), `5 events given up: .*`)
	s.aws.SetFault(nil)
	s.accept(3)
	d := s.await("three delivered", func(d auditdrain.Drain) bool { return delivered(d) && d.Metadata.Delivered == 3 })
	if d.Metadata.Skipped != 5 {
		t.Errorf("metadata %+v, want 5 skipped", d.Metadata)
	}
	s.stop()
	s.tm.events = s.tm.events[5:]
	checkObjects(t, s.aws, []*team{s.tm})
}

// TestAttempts: what failed can be looked at after a restart, with AWS's
// request id, and beside it what went well since.
func TestAttempts(t *testing.T) {
	s := newScene(t, 15)
	var calls awssim.Calls
	s.aws.Observe(calls.Add)
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		return awssim.Fault{Err: awssim.SlowDown()}
	})
	e := s.accept(1)[0]
	attempts := func(outcome string) []auditdrain.Attempt {
		list, err := s.api.ListAttempts(t.Context(), s.tm.team, s.drain, outcome, 0)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	eventually(t, "failed attempts", func() bool { return len(attempts("")) >= 3 })
	s.kill() // the last one may not have been on its way to the disk yet
	s.aws.SetFault(nil)
	s.serve()
	s.aws.awaitObjects(1)
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
	shown := s.operate("drain", "attempts", s.drain, "--limit", "2")
	if lines := strings.Split(strings.TrimSpace(shown), "\n"); len(lines) != 3 || !strings.Contains(lines[1], " written ") || !strings.Contains(lines[2], failed[0].RequestID) {
		t.Errorf("shown:\n%s", shown)
	}
	s.stop()
	checkObjects(t, s.aws, []*team{s.tm})
}
