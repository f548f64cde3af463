package e2e

import (
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

// TestStopDuringDelivery stops the service while a PUT is under way: until it
// is through, events are refused and all else is answered; then the service
// ends with success, and nothing is written twice, before or after.
func TestStopDuringDelivery(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	s := serve(t, aws.url, data)
	tm.setUp(t, s.http, s.api)

	arrived, release := make(chan struct{}, 10), make(chan struct{})
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" {
			arrived <- struct{}{}
			<-release
		}
		return awssim.Fault{}
	})
	src := newSource(newRand(2, 1), tm.team)
	first, second := src.event(), src.event()
	if a := tm.post(t, s.url, plainly(first)); a.status != 200 {
		t.Fatal(a)
	}
	<-arrived
	s.signal(syscall.SIGTERM)
	eventually(t, "ingest is refused", func() bool {
		a := tm.post(t, s.url, plainly(second))
		if a.status == 200 {
			return false // the signal is still on its way
		}
		if seconds, err := strconv.Atoi(a.retryAfter); a.status != 503 || err != nil || seconds < 1 {
			t.Fatalf("answer %v with Retry-After %q, want 503 with one in seconds", a, a.retryAfter)
		}
		return true
	})
	if status, header, body := s.get("/readyz"); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("/readyz answers %d %q while it stops, want 503", status, body)
	}
	if status, _, _ := s.get("/healthz"); status != 200 {
		t.Errorf("/healthz answers %d while it stops, want 200", status)
	}
	select {
	case <-s.done:
		t.Fatal("the service did not wait for its PUT")
	default:
	}
	close(release)
	if code := s.code(); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	again := serve(t, aws.url, data)
	if a := tm.post(t, again.url, plainly(second)); a.status != 200 {
		t.Fatal(a)
	}
	aws.awaitObjects(2)
	again.stop()
	tm.events = []event{first, second}
	checkObjects(t, aws, []*team{tm})
	checkOnce(t, aws)
}

// TestStopWithHungS3 stops the service while S3 says nothing: it must not
// wait longer than it was told to, and what was acknowledged is delivered
// after the next start.
func TestStopWithHungS3(t *testing.T) {
	t.Parallel()
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	const timeout = 3 * time.Second
	s := serve(t, aws.url, data, "--shutdown-timeout", timeout.String())
	tm.setUp(t, s.http, s.api)
	arrived := make(chan struct{}, 1000)
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		arrived <- struct{}{}
		return awssim.Fault{Hang: true}
	})
	src := newSource(newRand(3, 1), tm.team)
	for range 40 {
		tm.events = append(tm.events, src.event())
	}
	if a := tm.post(t, s.url, plainly(tm.events...)); a.status != 200 {
		t.Fatal(a)
	}
	<-arrived
	begin := time.Now()
	s.stop()
	// The machine may be busy; that it ends at all is the point.
	if took := time.Since(begin); took > timeout+5*time.Second {
		t.Errorf("it took %s to stop, with --shutdown-timeout %s", took, timeout)
	}
	aws.SetFault(nil)
	again := serve(t, aws.url, data)
	aws.awaitObjects(len(tm.events))
	again.stop()
	checkObjects(t, aws, []*team{tm})
}

// TestSecondSignal: whoever sends a second signal wants the end at once.
func TestSecondSignal(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s := serve(t, aws.url, t.TempDir())
	tm.setUp(t, s.http, s.api)
	arrived := make(chan struct{}, 10)
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		arrived <- struct{}{}
		return awssim.Fault{Hang: true}
	})
	if a := tm.post(t, s.url, plainly(newSource(newRand(4, 1), tm.team).event())); a.status != 200 {
		t.Fatal(a)
	}
	<-arrived
	s.signal(syscall.SIGTERM)
	eventually(t, "it is stopping", func() bool {
		status, _, _ := s.get("/readyz")
		return status == http.StatusServiceUnavailable
	})
	s.signal(syscall.SIGTERM)
	if code := s.wait(10 * time.Second); code == 0 {
		t.Error("exit code 0 though a PUT was cut off")
	}
	if s, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want the signal", s)
	}
}

// TestCursorsAreKept: after a clean stop nothing that was delivered is tried
// again, of a drain whose backlog was done and of one in the middle of it.
func TestCursorsAreKept(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	data := t.TempDir()
	src := newSource(newRand(5, 1), tm.team)
	for round := range 3 {
		s := serve(t, aws.url, data)
		if round == 0 {
			tm.setUp(t, s.http, s.api)
		}
		var batch []event
		for range 300 {
			batch = append(batch, src.event())
		}
		if a := tm.post(t, s.url, plainly(batch...)); a.status != 200 || a.Accepted != len(batch) {
			t.Fatal(a)
		}
		tm.events = append(tm.events, batch...)
		if round == 1 {
			aws.awaitObjects(300 + 50) // stop it half-way
		} else {
			aws.awaitObjects(len(tm.events))
		}
		s.stop()
	}
	checkObjects(t, aws, []*team{tm})
	checkOnce(t, aws)
}
