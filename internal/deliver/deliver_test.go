package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestEveryDrainGetsEveryEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("a1", "a")
		w.addDrain("a2", "a")
		w.addDrain("b1", "b")
		w.addEvents("a", 1000) // before the start
		d, stop := startDeliverer(t, w, Options{Window: 8})
		synctest.Wait()
		w.addEvents("b", 300)
		d.Wake("b")
		time.Sleep(time.Minute)
		for range 20 { // one at a time, as they come
			w.addEvents("a", 1)
			d.Wake("a")
			time.Sleep(time.Second)
		}
		stop()
		want := map[string]int{"a1": 1020, "a2": 1020, "b1": 300}
		for id, n := range want {
			if got := w.count(id); got != n {
				t.Errorf("drain %s: %d events delivered, want %d", id, got, n)
			}
			if got := w.state(id); got.Cursor != uint64(n) || got.Delivered != uint64(n) || got.FirstErrorAt != 0 {
				t.Errorf("drain %s: state %+v, want cursor and delivered %d", id, got, n)
			}
			if w.mostAtOnce[id] > 8 {
				t.Errorf("drain %s: %d writes at once, want at most 8", id, w.mostAtOnce[id])
			}
		}
		if w.mostAtOnce["a1"] < 8 {
			t.Errorf("the window was never used: at most %d writes at once", w.mostAtOnce["a1"])
		}
	})
}

func TestNewEventsDoNotWaitForSlowOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			if e.ID == "t-2" {
				return auditdrain.PutResult{}, sleep(ctx, 10*time.Second)
			}
			return auditdrain.PutResult{}, nil
		})
		d, _ := startDeliverer(t, w, Options{})
		for range 3 {
			w.addEvents("t", 1)
			d.Wake("t")
			synctest.Wait()
		}
		if got := w.count("d"); got != 2 {
			t.Errorf("%d events delivered while the second is slow, want 2: the first and the third", got)
		}
		time.Sleep(2 * saveEvery)
		if got := w.state("d").Cursor; got != 1 {
			t.Errorf("cursor %d, want 1: the second is not confirmed", got)
		}
		time.Sleep(11 * time.Second)
		if got := w.state("d").Cursor; got != 3 {
			t.Errorf("cursor %d at the end, want 3", got)
		}
	})
}

func TestTransientFailuresAreRepeated(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"transient", internal},
		{"throttled", throttled},
		{"wrapped", fmt.Errorf("wrapped: %w", timedOut)},
		{"without a class", errors.New("anything")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.addDrain("d", "t")
				w.addEvents("t", 200)
				tries := map[string]int{}
				var mu sync.Mutex
				w.setAnswer(func(_ context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
					mu.Lock()
					defer mu.Unlock()
					tries[e.ID]++
					if tries[e.ID] <= 2 {
						return auditdrain.PutResult{}, tt.err
					}
					return auditdrain.PutResult{}, nil
				})
				startDeliverer(t, w, Options{})
				time.Sleep(time.Hour)
				if got := w.count("d"); got != 200 {
					t.Errorf("%d events delivered, want 200", got)
				}
				if got := w.state("d"); got.Cursor != 200 || got.Failed != 400 || got.FirstErrorAt != 0 {
					t.Errorf("state %+v, want cursor 200, failed 400, no error", got)
				}
			})
		})
	}
}

func TestLongTroubleIsShownAndEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 3)
		w.setAnswer(func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{}, internal
		})
		startDeliverer(t, w, Options{})
		time.Sleep(10 * time.Minute)
		if got := w.state("d"); got.FirstErrorAt == 0 || got.LastError != internal.text {
			t.Errorf("after ten minutes of failures: state %+v, want it errored, with the answer", got)
		}
		w.setAnswer(func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{}, nil
		})
		time.Sleep(backoffMost + time.Second)
		if got := w.state("d"); got.Cursor != 3 || got.FirstErrorAt != 0 || got.LastError != "" {
			t.Errorf("after the mend: state %+v, want cursor 3 and no error", got)
		}
	})
}

func TestBlockedDrainIsParkedAndProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("sick", "t")
		w.addDrain("well", "t")
		w.addEvents("t", 500)
		var probes []time.Time
		mended := false
		var mu sync.Mutex
		w.setAnswer(func(_ context.Context, d auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			mu.Lock()
			defer mu.Unlock()
			if d.ID == "well" || mended {
				return auditdrain.PutResult{}, nil
			}
			probes = append(probes, time.Now())
			return auditdrain.PutResult{}, denied
		})
		seen := func() []time.Time {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(probes)
		}
		diagnosis := auditdrain.Diagnosis{Summary: "They said no.", Known: true, Causes: []auditdrain.Cause{{Text: "Because.", Fix: "Mend it."}}}
		var log strings.Builder
		d, _ := startDeliverer(t, w, Options{
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			Explain: func(d auditdrain.Drain, err error) (auditdrain.Diagnosis, bool) {
				return diagnosis, d.ID == "sick" && err == denied
			},
		})
		synctest.Wait()
		first := len(seen()) // the window that was under way when it was refused
		if first > firstWindow {
			t.Errorf("%d writes before the drain was parked, want at most %d", first, firstWindow)
		}
		// In one wording, wherever people look.
		if got := w.state("sick"); got.FirstErrorAt == 0 || got.LastError != diagnosis.String() || got.Diagnosis == nil || got.Diagnosis.Summary != diagnosis.Summary || got.Cursor != 0 {
			t.Errorf("state %+v, want it errored with the diagnosis", got)
		}
		if !strings.Contains(log.String(), diagnosis.String()) {
			t.Errorf("the log does not have the diagnosis: %s", log.String())
		}
		if got := w.count("well"); got != 500 {
			t.Errorf("the other drain got %d events, want 500", got)
		}
		for range 10 { // news do not hurry a parked drain
			w.addEvents("t", 1)
			d.Wake("t")
			synctest.Wait()
		}
		if n := len(seen()); n != first {
			t.Errorf("new events made a parked drain write %d times", n-first)
		}
		time.Sleep(24 * time.Hour)
		all := seen()
		gap := func(i int) time.Duration { return all[i].Sub(all[i-1]).Round(time.Second) }
		if g := gap(first); g < 4*time.Second || g > 6*time.Second {
			t.Errorf("the first probe came after %s, want 5 s ±20 %%", g)
		}
		for i := first; i < len(all); i++ {
			if g := gap(i); g > probeMost*6/5 {
				t.Errorf("probe %d came after %s, want at most %s ±20 %%", i-first, g, probeMost)
			}
		}
		if n := len(all) - first; n < 200 || n > 400 {
			t.Errorf("%d probes in a day, want about 290", n)
		}
		mu.Lock()
		mended = true
		mu.Unlock()
		time.Sleep(probeMost * 6 / 5)
		if got := w.state("sick"); got.Cursor != 510 || got.FirstErrorAt != 0 || got.LastError != "" || got.Diagnosis != nil {
			t.Errorf("one probe interval after the mend: state %+v, want cursor 510 and no error", got)
		}
	})
}

func TestHungDrainHoldsOnlyItsOwnWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("hung", "t")
		w.addDrain("well", "t")
		w.addEvents("t", 5000)
		w.setAnswer(func(ctx context.Context, d auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			if d.ID == "hung" {
				<-ctx.Done()
				return auditdrain.PutResult{}, ctx.Err()
			}
			return auditdrain.PutResult{}, sleep(ctx, 10*time.Millisecond)
		})
		_, stop := startDeliverer(t, w, Options{Grace: time.Second})
		time.Sleep(time.Minute)
		if got := w.count("well"); got != 5000 {
			t.Errorf("the healthy drain got %d events, want 5000", got)
		}
		stop()
	})
}

// TestSlowDrainsLeaveRoom has slow destinations that hold every slot.
func TestSlowDrainsLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 20 {
			w.addDrain(fmt.Sprintf("slow%d", i), "slow")
		}
		w.addDrain("well", "well")
		w.addEvents("slow", 10_000)
		w.setAnswer(func(ctx context.Context, d auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			if d.TeamID == "slow" {
				return auditdrain.PutResult{}, sleep(ctx, 15*time.Second)
			}
			return auditdrain.PutResult{}, sleep(ctx, 10*time.Millisecond)
		})
		d, _ := startDeliverer(t, w, Options{})
		time.Sleep(10*time.Minute + 7*time.Second)
		if got := int(d.metrics.overdueNow.Load()); got < d.line.places {
			t.Fatalf("%d writes are overdue, fewer than the %d places: this test shows nothing", got, d.line.places)
		}
		for i := range 20 {
			w.addEvents("well", 1)
			d.Wake("well")
			time.Sleep(time.Second)
			if got := w.count("well"); got != i+1 {
				t.Fatalf("event %d of a healthy drain was not delivered within a second", i+1)
			}
		}
	})
}

func TestFailingDrainHoldsLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 1000)
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			if err := sleep(ctx, 30*time.Second); err != nil {
				return auditdrain.PutResult{}, err
			}
			return auditdrain.PutResult{}, timedOut
		})
		d, stop := startDeliverer(t, w, Options{Grace: time.Second})
		time.Sleep(10*time.Minute + 15*time.Second)
		if n, overdue := d.line.inUse(), d.metrics.overdueNow.Load(); n+int(overdue) > 1 {
			t.Errorf("a destination that has hung for ten minutes holds %d places and has %d writes overdue, want at most one write in all", n, overdue)
		}
		w.setAnswer(func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{}, nil
		})
		time.Sleep(2 * time.Minute)
		if got := w.count("d"); got != 1000 {
			t.Errorf("%d events delivered after the mend, want 1000", got)
		}
		stop()
	})
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 1000)
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			if e.ID == "t-1" {
				return auditdrain.PutResult{}, nil // opens the window
			}
			return auditdrain.PutResult{}, sleep(ctx, 3*time.Second)
		})
		_, stop := startDeliverer(t, w, Options{Window: 10, Grace: 20 * time.Second})
		time.Sleep(time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("stopping took %s, want the 2 s that the writes under way needed", took)
		}
		if got := w.state("d"); got.Cursor != 11 || w.count("d") != 11 {
			t.Errorf("cursor %d, %d delivered, want 11 and 11", got.Cursor, w.count("d"))
		}
	})
}

func TestStopGivesUpHungWritesAfterTheGraceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 4)
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			if e.ID == "t-1" {
				return auditdrain.PutResult{}, nil
			}
			<-ctx.Done()
			return auditdrain.PutResult{}, ctx.Err()
		})
		_, stop := startDeliverer(t, w, Options{Grace: 5 * time.Second})
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("stopping took %s, want 5 s", took)
		}
		if got := w.state("d").Cursor; got != 1 {
			t.Errorf("cursor %d, want 1: what was confirmed is saved", got)
		}
	})
}

func TestChangesTakeEffectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 10)
		w.setAnswer(func(_ context.Context, d auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			if d.Name == "mended" {
				return auditdrain.PutResult{}, nil
			}
			return auditdrain.PutResult{}, noBucket
		})
		d, _ := startDeliverer(t, w, Options{})
		synctest.Wait()
		change := func(f func(*auditdrain.Drain)) {
			w.mu.Lock()
			drain := w.drains["d"]
			f(&drain)
			w.drains["d"] = drain
			w.mu.Unlock()
			d.Changed("d")
			synctest.Wait()
		}
		change(func(d *auditdrain.Drain) { d.Name = "mended" })
		if got := w.count("d"); got != 10 {
			t.Errorf("%d events delivered after the mend, want 10 without waiting for a probe", got)
		}
		change(func(d *auditdrain.Drain) { d.Status = auditdrain.StatusDisabled })
		w.addEvents("t", 5)
		d.Wake("t")
		time.Sleep(time.Hour)
		if got := w.count("d"); got != 10 {
			t.Errorf("%d events delivered, want 10: the drain is paused", got)
		}
		change(func(d *auditdrain.Drain) { d.Status = auditdrain.StatusEnabled })
		if got := w.count("d"); got != 15 {
			t.Errorf("%d events delivered after resuming, want 15", got)
		}

		w.addDrain("new", "t")
		w.mu.Lock()
		w.drains["new"] = auditdrain.Drain{ID: "new", TeamID: "t", Name: "mended"}
		w.mu.Unlock()
		d.Changed("new")
		synctest.Wait()
		if got := w.count("new"); got != 15 {
			t.Errorf("the new drain got %d events, want 15", got)
		}

		w.mu.Lock()
		delete(w.drains, "d")
		delete(w.states, "d")
		w.mu.Unlock()
		d.Changed("d")
		w.addEvents("t", 1)
		d.Wake("t")
		synctest.Wait()
		if got := w.count("d"); got != 15 {
			t.Errorf("a deleted drain got %d events more", got-15)
		}
		if w.closed == 0 {
			t.Error("the destination of a deleted drain was not closed")
		}
	})
}

func TestDrainDeletedWhileDelivering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 10_000)
		d, stop := startDeliverer(t, w, Options{})
		time.Sleep(50 * time.Millisecond)
		w.mu.Lock()
		delete(w.drains, "d")
		delete(w.states, "d")
		w.mu.Unlock()
		d.Changed("d")
		time.Sleep(time.Second)
		before := w.count("d")
		time.Sleep(time.Hour)
		if after := w.count("d"); after != before || after == 10_000 {
			t.Errorf("a deleted drain was delivered to: %d, then %d", before, after)
		}
		stop()
	})
}

func TestStoreWithoutConditionalWritesIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 1)
		w.setAnswer(func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{Unconditional: true}, nil
		})
		_, stop := startDeliverer(t, w, Options{})
		synctest.Wait()
		stop()
		if w.state("d").NoConditionalPut != "s3://bucket" {
			t.Error("the state does not say that the store has no conditional writes")
		}
		w.addEvents("t", 1)
		_, stop = startDeliverer(t, w, Options{})
		synctest.Wait()
		stop()
		want := []bool{false, true}
		if diff := cmp.Diff(want, w.opened); diff != "" {
			t.Errorf("destinations opened (-want +got):\n%s", diff)
		}
	})
}

func TestStoreThatCannotBeReadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 3)
		w.readErr = errors.New("disk is gone")
		startDeliverer(t, w, Options{})
		synctest.Wait()
		w.mu.Lock()
		w.readErr = nil
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if got := w.count("d"); got != 3 {
			t.Errorf("%d events delivered, want 3", got)
		}
	})
}

func TestDestinationThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.openErr = errors.New("no such region")
		d, _ := startDeliverer(t, w, Options{})
		time.Sleep(time.Minute)
		if got := w.state("d"); got.FirstErrorAt != 0 {
			t.Errorf("state %+v, want no error: nothing is to be delivered", got)
		}
		w.addEvents("t", 300)
		d.Wake("t")
		synctest.Wait()
		if got := w.state("d"); got.FirstErrorAt == 0 || got.LastError != w.openErr.Error() || got.LastErrorEvent != "" {
			t.Errorf("state %+v, want it errored for %q", got, w.openErr)
		}
		w.mu.Lock()
		w.openErr = nil
		w.mu.Unlock()
		time.Sleep(probeMost)
		if got := w.state("d"); got.Cursor != 300 || got.FirstErrorAt != 0 {
			t.Errorf("state %+v, want cursor 300 and no error", got)
		}
	})
}

func TestStateThatCannotBeReadIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 3)
		w.states["d"] = auditdrain.DeliveryState{DrainID: "d", Delivered: 7, Failed: 5}
		w.stateErr = errors.New("disk is gone")
		startDeliverer(t, w, Options{})
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.stateErr = nil
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if got := w.state("d"); got.Cursor != 3 || got.Delivered != 10 || got.Failed != 5 {
			t.Errorf("state %+v, want cursor 3, 10 delivered and 5 failed", got)
		}
	})
}

func TestIdleDrainsCostNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 10_000 {
			w.addDrain(fmt.Sprintf("d%d", i), fmt.Sprintf("t%d", i%1000))
		}
		before := runtime.NumGoroutine()
		startDeliverer(t, w, Options{})
		time.Sleep(2 * restFor) // workers that have found nothing rest a while
		if n := runtime.NumGoroutine() - before; n > 5 {
			t.Errorf("%d goroutines for 10,000 idle drains, want a few", n)
		}
	})
}

// TestAnyFailures mixes everything that can fail, stops and starts at random,
// and wants what a team wants: all of it, in the end.
func TestAnyFailures(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	failures := []error{
		nil, nil, nil, nil, nil, nil,
		internal, throttled, denied, noBucket,
		timedOut, errors.New("anything"),
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			mu.Lock()
			delay := time.Duration(rng.IntN(2000)) * time.Millisecond
			err := failures[rng.IntN(len(failures))]
			mu.Unlock()
			if sleepErr := sleep(ctx, delay); sleepErr != nil {
				return auditdrain.PutResult{}, sleepErr
			}
			return auditdrain.PutResult{}, err
		})
		for i := range 20 {
			w.addDrain(fmt.Sprintf("d%d", i), fmt.Sprintf("t%d", i%7))
		}
		for range 20 {
			d, stop := startDeliverer(t, w, Options{Window: 5, InFlight: 40, Grace: time.Second})
			for range 30 {
				mu.Lock()
				team, n := fmt.Sprintf("t%d", rng.IntN(7)), rng.IntN(10)
				mu.Unlock()
				w.addEvents(team, n)
				d.Wake(team)
				time.Sleep(time.Second)
			}
			stop()
		}
		w.setAnswer(func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{}, nil
		})
		startDeliverer(t, w, Options{})
		time.Sleep(2 * probeMost)
		for id, d := range w.drains {
			want := len(w.events[d.TeamID])
			if got := w.count(id); got != want || w.state(id).Cursor != uint64(want) {
				t.Errorf("drain %s: %d events delivered, cursor %d, want %d", id, got, w.state(id).Cursor, want)
			}
		}
	})
}
