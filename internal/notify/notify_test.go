package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

// wantHeard checks what the receiver has heard since the last time, in any
// order.
func wantHeard(t *testing.T, w *world, want ...string) {
	t.Helper()
	synctest.Wait()
	got := w.takeHeard()
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the receiver has heard (-want +got):\n%s", d)
	}
}

func TestErroredAndRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.addDrain("b")
		n, stop := w.run(time.Hour)
		defer stop()
		wantHeard(t, w)
		w.fail("a")
		n.Changed("a")
		wantHeard(t, w, "a errored") // without waiting for anything
		w.fail("b")                  // unseen, as if a call of Changed were lost
		time.Sleep(sweepEvery)
		wantHeard(t, w, "b errored")
		for range 3 {
			n.Changed("a")
			time.Sleep(time.Hour)
		}
		wantHeard(t, w)
		w.mend("a", "b")
		n.Changed("a")
		n.Changed("b")
		wantHeard(t, w, "a recovered", "b recovered")
		time.Sleep(time.Hour)
		wantHeard(t, w)
		if len(w.notified) != 0 {
			t.Errorf("the store keeps %v of drains without trouble", w.notified)
		}
	})
}

func TestNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.accept("a", 3)
		begin := time.Now()
		time.Sleep(time.Minute)
		w.change("a", func(s *auditdrain.DeliveryState) {
			s.FirstErrorAt, s.LastError = time.Now().UnixMilli(), "AWS STS did not let us …"
			s.Diagnosis = &auditdrain.Diagnosis{Summary: "AWS STS did not let us.", RequestID: "req-1", Causes: []auditdrain.Cause{
				{Who: auditdrain.ActorRoleAdmin, Fix: "Make this the statement."}, {Who: auditdrain.ActorOperator},
			}}
		})
		n, stop := w.run(0)
		defer stop()
		n.Changed("a")
		synctest.Wait()
		at := begin.Add(time.Minute).UnixMilli()
		want := []auditdrain.Notice{{
			Type: auditdrain.NoticeErrored, At: at, Since: at,
			Drain:     auditdrain.NoticeDrain{ID: "a", Name: "name of a", TeamID: "team_a", Endpoint: "s3://bucket/a"},
			Status:    auditdrain.StatusErrored,
			LastError: "AWS STS did not let us …",
			Diagnosis: &auditdrain.NoticeDiagnosis{
				Summary: "AWS STS did not let us.", Who: auditdrain.ActorRoleAdmin, Fix: "Make this the statement.", RequestID: "req-1",
			},
			BacklogEvents: 3, BacklogBytes: 3 * eventBytes, OldestUndelivered: 60,
		}}
		if d := cmp.Diff(want, w.heard); d != "" {
			t.Errorf("notices (-want +got):\n%s", d)
		}
	})
}

func TestDelayedAndCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("slow")
		w.addDrain("well")
		w.addDrain("off")
		w.disable("off")
		_, stop := w.run(15 * time.Minute)
		defer stop()
		w.accept("slow", 1)
		w.accept("off", 1) // on purpose
		time.Sleep(10 * time.Minute)
		w.accept("slow", 1)
		w.accept("well", 1)
		w.deliver("well", 1)
		time.Sleep(5*time.Minute - time.Second)
		wantHeard(t, w)
		time.Sleep(sweepEvery + time.Second)
		wantHeard(t, w, "slow delayed")
		w.deliver("slow", 1) // the oldest is 5:30 old then
		time.Sleep(time.Minute + 30*time.Second)
		wantHeard(t, w, "slow caught-up") // below half the threshold
		time.Sleep(8 * time.Minute)       // and again
		time.Sleep(sweepEvery)
		wantHeard(t, w, "slow delayed")
		time.Sleep(5 * time.Minute)
		w.accept("slow", 1)
		w.deliver("slow", 1)
		time.Sleep(sweepEvery)
		wantHeard(t, w, "slow caught-up")
	})
}

// A drain whose oldest event is always about as old as the threshold is told
// of once.
func TestDelayedHasHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("slow")
		_, stop := w.run(10 * time.Minute)
		defer stop()
		w.accept("slow", 1)
		for i := range 200 { // from the tenth minute on, the oldest is 9 to 11 minutes old
			time.Sleep(time.Minute)
			w.accept("slow", 1)
			if i > 9 && i%2 == 0 {
				w.deliver("slow", 2)
			}
		}
		wantHeard(t, w, "slow delayed")
	})
}

func TestNoDelayMeansNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("slow")
		w.accept("slow", 1)
		_, stop := w.run(0)
		time.Sleep(24 * time.Hour)
		stop()
		wantHeard(t, w)
	})
}

func TestDisabledAndDeletedDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.addDrain("b")
		w.fail("a", "b")
		n, stop := w.run(0)
		wantHeard(t, w, "a errored", "b errored")
		w.disable("a")
		w.remove("b")
		n.Changed("b")
		n.Changed("none")
		time.Sleep(sweepEvery)
		synctest.Wait()
		if len(w.heard) != 1 || w.heard[0].Type != auditdrain.NoticeRecovered || w.heard[0].Status != auditdrain.StatusDisabled {
			t.Errorf("heard %+v, want that the drain has recovered and is disabled", w.heard)
		}
		stop()
		if len(w.notified) != 0 {
			t.Errorf("the store keeps %v", w.notified)
		}
	})
}

// A drain that flaps 1,000 times is told of in turns, never twice the same;
// the last word is what is true.
func TestFlappingDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		n, stop := w.run(0)
		defer stop()
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) {
			time.Sleep(7 * time.Second)
			return 200, nil
		})
		for range 1000 {
			w.fail("a")
			n.Changed("a")
			time.Sleep(time.Second)
			w.mend("a")
			n.Changed("a")
			time.Sleep(time.Second)
		}
		w.fail("a")
		n.Changed("a")
		time.Sleep(time.Minute)
		ids := w.takeIDs()
		if sorted := slices.Sorted(slices.Values(ids)); len(slices.Compact(sorted)) != len(ids) {
			t.Errorf("something was told twice: %v", ids)
		}
		heard := w.takeHeard()
		for i, what := range heard {
			if want := []string{"a errored", "a recovered"}[i%2]; what != want {
				t.Fatalf("notice %d of %d is %q, want %q", i, len(heard), what, want)
			}
		}
		if len(heard) < 200 || len(heard)%2 != 1 {
			t.Errorf("%d notices in half an hour, the last one is not that the drain is errored", len(heard))
		}
	})
}

// While nobody listens, what comes and goes is told neither; what is still
// true afterwards is told soon, once.
func TestReceiverDownForAnHour(t *testing.T) {
	for name, answer := range map[string]func(context.Context, auditdrain.Notice) (int, error){
		"refuses connections": func(context.Context, auditdrain.Notice) (int, error) { return 0, refused{} },
		"answers 500":         func(context.Context, auditdrain.Notice) (int, error) { return 500, nil },
		"redirects":           func(context.Context, auditdrain.Notice) (int, error) { return 302, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var all, still []string
				for i := range 300 {
					id := fmt.Sprintf("d%03d", i)
					w.addDrain(id)
					all = append(all, id)
				}
				w.addDrain("old")
				w.fail("old")
				n, stop := w.run(0)
				defer stop()
				wantHeard(t, w, "old errored")
				w.setAnswer(answer)
				w.fail(all...)
				for _, id := range all {
					n.Changed(id)
				}
				w.mend("old")
				n.Changed("old")
				time.Sleep(30 * time.Minute)
				w.mend(all[:200]...)
				w.fail("old") // and that it had recovered was never told
				for _, id := range all[200:] {
					still = append(still, id+" errored")
				}
				time.Sleep(30 * time.Minute)
				wantHeard(t, w)
				if w.attempts < 15 || w.attempts > 60 {
					t.Errorf("%d attempts in an hour", w.attempts)
				}
				w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) { return 204, nil })
				time.Sleep(mostPause)
				wantHeard(t, w, still...)
				w.mend(all[200:]...)
				time.Sleep(sweepEvery)
				for i, id := range all[200:] {
					still[i] = id + " recovered"
				}
				wantHeard(t, w, still...)
			})
		})
	}
}

// A receiver that hears and whose answer is lost must not be left with what is
// not true any more.
func TestAnswersThatAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Bool
		lost.Store(true)
		w := newWorld(t)
		w.addDrain("a")
		n, stop := w.run(0)
		defer stop()
		answer := func(context.Context, auditdrain.Notice) (int, error) {
			if lost.Load() {
				return 200, errors.New("connection reset")
			}
			return 200, nil
		}
		w.setAnswer(answer)
		w.fail("a")
		n.Changed("a")
		time.Sleep(time.Minute)
		if ids := slices.Compact(w.takeIDs()); len(ids) != 1 || len(w.heard) < 3 {
			t.Errorf("repeats have the ids %v, want one", ids)
		}
		w.takeHeard()
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) { return 503, nil })
		time.Sleep(2 * mostPause) // that it is refused now does not undo that
		w.setAnswer(answer)
		w.mend("a") // though, as far as we know, it was never told
		time.Sleep(2 * mostPause)
		if heard := slices.Compact(w.takeHeard()); !slices.Equal(heard, []string{"a recovered"}) {
			t.Errorf("heard %v, want that it has recovered", heard)
		}
		w.takeIDs()
		w.fail("a") // as far as we know, it still is told as errored
		time.Sleep(time.Millisecond)
		lost.Store(false)
		time.Sleep(2 * mostPause)
		wantHeard(t, w, "a errored")
		w.mend("a")
		n.Changed("a")
		wantHeard(t, w, "a recovered")
		if ids := w.takeIDs(); len(ids) != 2 || len(w.notified) != 0 {
			t.Errorf("ids %v, the store keeps %v", ids, w.notified)
		}
	})
}

// A receiver that hangs holds up nothing but notices, and is called by few at
// once, then by one.
func TestReceiverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setAnswer(func(ctx context.Context, _ auditdrain.Notice) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		for i := range 100 {
			id := fmt.Sprint("d", i)
			w.addDrain(id)
			w.fail(id)
		}
		n, stop := w.run(0)
		begin := time.Now()
		for i := range 100 {
			n.Changed(fmt.Sprint("d", i))
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("Changed has blocked for %s", took)
		}
		synctest.Wait()
		w.mu.Lock()
		if w.underWay != mostAtOnce {
			t.Errorf("%d calls under way, want %d", w.underWay, mostAtOnce)
		}
		w.mu.Unlock()
		time.Sleep(webhook.Timeout)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.mu.Lock()
		if w.underWay > 1 || w.most != mostAtOnce {
			t.Errorf("%d calls under way after failures, at most %d", w.underWay, w.most)
		}
		w.mu.Unlock()
		begin = time.Now()
		stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("to stop it has taken %s", took)
		}
	})
}

func TestFailuresAreRepeatedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		failures := 3
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) {
			if failures--; failures >= 0 {
				return 503, nil
			}
			return 200, nil
		})
		n, stop := w.run(0)
		defer stop()
		time.Sleep(time.Second) // between sweeps
		w.fail("a")
		n.Changed("a")
		time.Sleep(7 * firstPause)
		wantHeard(t, w, "a errored")
	})
}

// What is confirmed while the service stops is not told again.
func TestStoppedDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.fail("a")
		stopped := make(chan struct{})
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) {
			<-stopped
			return 200, nil
		})
		_, stop := w.run(0)
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			close(stopped)
		}()
		stop()
		wantHeard(t, w, "a errored")
		_, stop = w.run(0)
		time.Sleep(time.Hour)
		stop()
		wantHeard(t, w)
	})
}

// A notice that the receiver never accepts does not hold up the others.
func TestOneNoticeThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setAnswer(func(_ context.Context, n auditdrain.Notice) (int, error) {
			if n.Drain.ID == "bad" {
				return 400, nil
			}
			return 200, nil
		})
		w.addDrain("bad")
		w.fail("bad")
		n, stop := w.run(0)
		defer stop()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if w.attempts < 200 || w.attempts > 1200 {
			t.Errorf("%d attempts in a day", w.attempts)
		}
		for i := range 50 {
			id := fmt.Sprint("d", i)
			w.addDrain(id)
			w.fail(id)
			n.Changed(id)
		}
		time.Sleep(2 * mostPause)
		synctest.Wait()
		if heard := w.takeHeard(); len(heard) != 50 {
			t.Errorf("%d of 50 others were told", len(heard))
		}
	})
}

func TestRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.accept("a", 1)
		_, stop := w.run(time.Minute)
		w.fail("a")
		time.Sleep(time.Hour)
		wantHeard(t, w, "a errored", "a delayed")
		stop()
		for range 3 {
			_, stop = w.run(time.Minute)
			time.Sleep(time.Hour)
			stop()
		}
		wantHeard(t, w)
		w.mend("a") // while nothing runs
		w.deliver("a", 1)
		_, stop = w.run(time.Minute)
		wantHeard(t, w, "a recovered", "a caught-up")
		stop()
		_, stop = w.run(time.Minute)
		time.Sleep(time.Hour)
		wantHeard(t, w)
		stop()
	})
}

// A process that is killed between a call and what it saves of it repeats the
// call with the same id, for each kind of notice.
func TestKilledAfterACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.accept("a", 2)
		kill := func(before func()) {
			t.Helper()
			w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) {
				w.mu.Lock()
				w.saveErr = errors.New("killed")
				w.mu.Unlock()
				return 200, nil
			})
			before()
			_, stop := w.run(time.Minute)
			synctest.Wait()
			stop()
			w.mu.Lock()
			w.saveErr = nil
			w.mu.Unlock()
			w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) { return 200, nil })
		}
		repeated := func() {
			t.Helper()
			_, stop := w.run(time.Minute)
			time.Sleep(10 * time.Second)
			stop()
			ids := w.takeIDs()
			if len(ids) != 2 || ids[0] != ids[1] {
				t.Errorf("ids %v, want the same twice", ids)
			}
			w.takeHeard()
		}
		kill(func() { w.fail("a") })
		repeated()
		kill(func() { w.mend("a") })
		repeated()
		kill(func() { time.Sleep(time.Hour) })
		w.deliver("a", 1) // its oldest event is another one then
		repeated()
		kill(func() { w.deliver("a", 1) })
		repeated()

		// What has changed in between is told, too.
		kill(func() { w.fail("a") })
		w.mend("a")
		_, stop := w.run(time.Minute)
		wantHeard(t, w, "a errored", "a recovered")
		w.fail("a")
		time.Sleep(sweepEvery)
		wantHeard(t, w, "a errored")
		stop()
		kill(func() { w.mend("a") })
		time.Sleep(time.Second)
		w.fail("a")
		_, stop = w.run(time.Minute)
		wantHeard(t, w, "a recovered", "a errored")
		stop()
	})
}

func TestStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.fail("a")
		w.saveErr = errors.New("the disk is gone")
		_, stop := w.run(0)
		defer stop()
		time.Sleep(time.Hour)
		wantHeard(t, w) // what cannot be remembered is not told
		w.mu.Lock()
		w.saveErr = nil
		w.mu.Unlock()
		time.Sleep(mostPause)
		wantHeard(t, w, "a errored")
	})
}

// What was told but could not be noted counts as perhaps told.
func TestStoreThatFailsAfterACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a")
		w.fail("a")
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) {
			w.mu.Lock()
			w.saveErr = errors.New("the disk is gone")
			w.mu.Unlock()
			return 200, nil
		})
		_, stop := w.run(0)
		defer stop()
		wantHeard(t, w, "a errored")
		w.setAnswer(func(context.Context, auditdrain.Notice) (int, error) { return 200, nil })
		w.mend("a")
		w.mu.Lock()
		w.saveErr = nil
		w.mu.Unlock()
		time.Sleep(sweepEvery)
		wantHeard(t, w, "a recovered")
	})
}
