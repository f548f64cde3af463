package deliver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestTallies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addDrain("idle", "nobody")
		w.addEvents("t", 10)
		failed := map[string]bool{}
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			if !failed[e.ID] && (e.ID == "t-3" || e.ID == "t-7") {
				failed[e.ID] = true
				return auditdrain.PutResult{}, internal
			}
			return auditdrain.PutResult{}, sleep(ctx, 50*time.Millisecond)
		})
		d, stop := startDeliverer(t, w, Options{Window: 1})
		take := func() auditdrain.Tally {
			t.Helper()
			switch got := d.TakeTallies(); {
			case len(got) == 1 && got[0].DrainID == "d":
				return got[0]
			case len(got) > 0:
				t.Errorf("tallies %+v", got)
			}
			return auditdrain.Tally{}
		}
		time.Sleep(time.Hour)
		got := take()
		if got.Delivered != 10 || got.Failed != 2 || got.Latency == nil {
			t.Fatalf("%+v, want 10 delivered, 2 failed", got)
		}
		// The last one has waited for all others, and for two pauses.
		if p1, p100 := got.Latency.Quantile(0.1), got.Latency.Quantile(1); p1 < 50 || p1 > 60 || p100 < 500 || p100 > 2000 {
			t.Errorf("the first of 10 took %d ms, the last %d; want 50 and 500 or more", p1, p100)
		}
		if got := take(); got != (auditdrain.Tally{}) {
			t.Errorf("and again: %+v", got)
		}

		// What was done before a change is not lost, nor told apart.
		w.addEvents("t", 3)
		d.Wake("t")
		time.Sleep(time.Second)
		d.Changed("d")
		time.Sleep(time.Second)
		w.addEvents("t", 4)
		d.Wake("t")
		time.Sleep(time.Second)
		if got := take(); got.Delivered != 7 || got.Failed != 0 {
			t.Errorf("around a change: %+v, want 7 delivered", got)
		}

		// A replay's are not deliveries, nor have they taken so long.
		w.instruct("d", auditdrain.Instructions{Replay: &auditdrain.ReplayOrder{ID: "r", FirstSeq: 1, LastSeq: 17}})
		synctest.Wait()
		failed["t-3"] = false
		d.Changed("d")
		time.Sleep(time.Minute)
		if got := take(); got.Delivered != 0 || got.Failed != 1 || got.Latency != nil {
			t.Errorf("of a replay: %+v, want one failure", got)
		}

		// What was done until the end can be asked for after it.
		w.addEvents("t", 1)
		d.Wake("t")
		time.Sleep(time.Millisecond)
		stop()
		if got := take(); got.Delivered != 1 {
			t.Errorf("after Run: %+v, want 1 delivered", got)
		}
	})
}
