package deliver

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func (w *world) instruct(id string, in auditdrain.Instructions) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instructions[id] = in
}

// refusing answers the event with err, and all others with success.
func refusing(id string, err error) func(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.PutResult, error) {
	return func(_ context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
		if e.ID == id {
			return auditdrain.PutResult{}, err
		}
		return auditdrain.PutResult{}, nil
	}
}

func TestRefusedEventParksItsDrainUntilSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 100)
		w.setAnswer(refusing("t-50", denied))
		d, _ := startDeliverer(t, w, Options{})
		time.Sleep(time.Hour)
		if got := w.state("d"); got.Cursor != 49 || got.FirstErrorAt == 0 || got.LastErrorEvent != "t-50" || got.NextAttemptAt <= time.Now().UnixMilli() {
			t.Errorf("state %+v, want it errored at event t-50, with cursor 49 and a next attempt", got)
		}
		w.instruct("d", auditdrain.Instructions{Skips: []auditdrain.Skip{{From: 50, To: 50, EventID: "t-50"}}})
		d.Changed("d")
		time.Sleep(time.Second)
		if got := w.state("d"); got.Cursor != 100 || got.Delivered != 99 || got.Skipped != 1 || got.FirstErrorAt != 0 || got.NextAttemptAt != 0 {
			t.Errorf("after the skip: state %+v, want cursor 100, 99 events delivered, one skipped, no error", got)
		}
		if w.confirmed["d"][50] != 0 || w.count("d") != 99 {
			t.Errorf("%d events delivered, t-50 %d times; want 99 and 0", w.count("d"), w.confirmed["d"][50])
		}
	})
}

// TestRefusedEventDoesNotFlap: successes of writes that were begun before the
// refusal are not the end of the trouble.
func TestRefusedEventDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 10_000)
		w.setAnswer(func(ctx context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			if e.ID == "t-300" {
				return auditdrain.PutResult{}, denied
			}
			return auditdrain.PutResult{}, sleep(ctx, 100*time.Millisecond)
		})
		var mu sync.Mutex
		changes := 0
		startDeliverer(t, w, Options{StatusChanged: func(string) {
			mu.Lock()
			defer mu.Unlock()
			changes++
		}})
		time.Sleep(24 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		// Each probe may confirm one event before the refused one.
		if changes%2 != 1 || changes > 7 {
			t.Errorf("the status changed %d times in a day", changes)
		}
		if got := w.state("d"); got.Cursor != 299 || got.FirstErrorAt == 0 {
			t.Errorf("state %+v, want it errored, with cursor 299", got)
		}
	})
}

func TestReplayFillsGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 1000)
		var mu sync.Mutex
		there := map[string]bool{}
		puts := map[string]int{}
		w.setAnswer(func(_ context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			mu.Lock()
			defer mu.Unlock()
			puts[e.ID]++
			existed := there[e.ID]
			there[e.ID] = true
			return auditdrain.PutResult{Existed: existed}, nil
		})
		d, stop := startDeliverer(t, w, Options{})
		time.Sleep(time.Minute)
		mu.Lock()
		for i := 200; i < 210; i++ { // somebody removes objects
			delete(there, fmt.Sprintf("t-%d", i))
		}
		mu.Unlock()
		order := auditdrain.ReplayOrder{ID: "rpl_1", FirstSeq: 101, LastSeq: 700}
		w.instruct("d", auditdrain.Instructions{Replay: &order})
		d.Changed("d")
		w.addEvents("t", 50) // meanwhile
		d.Wake("t")
		time.Sleep(time.Minute)
		want := auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 700, Written: 10, Existed: 590}
		got := *w.state("d").Replay
		if got.FinishedAt == 0 {
			t.Error("the replay has not finished")
		}
		got.FinishedAt = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("replay (-want +got):\n%s", diff)
		}
		if got := w.state("d"); got.Cursor != 1050 || got.Delivered != 1050 {
			t.Errorf("state %+v, want cursor and delivered 1050: a replay changes neither", got)
		}
		for i := 1; i <= 1050; i++ {
			id, want := fmt.Sprintf("t-%d", i), 1
			if i >= 101 && i <= 700 {
				want = 2
			}
			if puts[id] != want {
				t.Errorf("event %d was written %d times, want %d", i, puts[id], want)
			}
		}

		stop() // a replay that has finished does not begin again
		synctest.Wait()
		clear(puts)
		d, _ = startDeliverer(t, w, Options{})
		time.Sleep(time.Minute)
		if len(puts) > 0 {
			t.Errorf("%d events were written again after a restart", len(puts))
		}
		// Nothing of it is kept any more.
		w.instruct("d", auditdrain.Instructions{Replay: &auditdrain.ReplayOrder{ID: "rpl_2", FirstSeq: 2000, LastSeq: 2100}})
		d.Changed("d")
		time.Sleep(time.Minute)
		if got := w.state("d").Replay; got.ID != "rpl_2" || got.FinishedAt == 0 {
			t.Errorf("a replay of nothing: %+v, want it finished", got)
		}
	})
}

func TestReplayGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 500)
		d, stop := startDeliverer(t, w, Options{Window: 4})
		time.Sleep(time.Minute)
		w.instruct("d", auditdrain.Instructions{Replay: &auditdrain.ReplayOrder{ID: "rpl_1", FirstSeq: 1, LastSeq: 500}})
		d.Changed("d")
		time.Sleep(600 * time.Millisecond) // of 1.25 s
		stop()
		begun := w.state("d").Replay
		if begun == nil || begun.Cursor == 0 || begun.FinishedAt != 0 {
			t.Fatalf("replay %+v, want it in the middle", begun)
		}
		startDeliverer(t, w, Options{Window: 4})
		time.Sleep(time.Minute)
		got := w.state("d").Replay
		if got.Cursor != 500 || got.FinishedAt == 0 || got.Written+got.Existed < 500 {
			t.Errorf("replay %+v, want all of it done", got)
		}
	})
}

func TestAttemptsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 3)
		w.setAnswer(refusing("t-2", denied))
		startDeliverer(t, w, Options{})
		time.Sleep(10 * time.Second) // one probe
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.attempts["d"] {
			w.attempts["d"][i].At = 0
		}
		refused := auditdrain.Attempt{EventID: "t-2", Outcome: auditdrain.OutcomeFailed, Class: "blocked", Error: denied.text}
		want := []auditdrain.Attempt{
			{Number: 1, EventID: "t-1", Outcome: auditdrain.OutcomeWritten, Operation: "PutObject"},
			refused, refused,
		}
		want[1].Number, want[2].Number = 1, 2
		if diff := cmp.Diff(want, w.attempts["d"]); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
	})
}

func TestWhatCannotBeSavedIsSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 10)
		w.setAnswer(refusing("t-5", denied))
		w.saveErr = fmt.Errorf("the disk is full")
		d, _ := startDeliverer(t, w, Options{})
		time.Sleep(time.Second)
		d.Changed("d") // from now on another saves for it
		time.Sleep(time.Minute)
		if got := w.state("d"); got.Cursor != 0 {
			t.Fatalf("cursor %d was saved, want none: this test shows nothing", got.Cursor)
		}
		w.mu.Lock()
		w.saveErr = nil
		w.mu.Unlock()
		time.Sleep(2 * saveEvery)
		if got := w.state("d"); got.Cursor != 4 || got.FirstErrorAt == 0 || len(w.attempts["d"]) < 3 {
			t.Errorf("state %+v and %d attempts, want cursor 4, errored, with all attempts", got, len(w.attempts["d"]))
		}
	})
}

// TestWhatTheStoreHasLostIsSavedAgain: a store that was opened anew has what a
// crash would have left, and nobody may have news for a drain that is done.
func TestWhatTheStoreHasLostIsSavedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d1", "a")
		w.addEvents("a", 100)
		d, stop := startDeliverer(t, w, Options{})
		defer stop()
		time.Sleep(time.Minute)
		saved := w.state("d1")
		if saved.Cursor != 100 {
			t.Fatalf("cursor %d, want 100", saved.Cursor)
		}
		w.mu.Lock()
		w.states["d1"] = auditdrain.DeliveryState{DrainID: "d1", Cursor: 60}
		w.mu.Unlock()
		d.SaveAgain()
		time.Sleep(time.Second)
		if got := w.state("d1"); got.Cursor != 100 || got.Delivered != saved.Delivered {
			t.Errorf("state %+v, want again %+v", got, saved)
		}
	})
}

// TestDrainsTakeTurns: with fewer places than drains, all go on at the same
// pace.
func TestDrainsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 50 {
			id := fmt.Sprintf("d%d", i)
			w.addDrain(id, id)
			w.addEvents(id, 400)
		}
		startDeliverer(t, w, Options{InFlight: 20})
		time.Sleep(5 * time.Second) // enough for 10,000 events of 20,000
		least, most := 1<<30, 0
		for id := range w.drains {
			n := w.count(id)
			least, most = min(least, n), max(most, n)
		}
		if least < 180 || most > 220 {
			t.Errorf("half way through, drains have had %d to %d events of 400, want about 200 each", least, most)
		}
	})
}

// TestPlacesAreUsed: one drain may have all that its window allows, and
// nothing is lost of the places when drains come and go.
func TestPlacesAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		d, _ := startDeliverer(t, w, Options{InFlight: 100, Window: 64})
		for range 20 {
			w.addEvents("t", 1000)
			d.Wake("t")
			time.Sleep(time.Minute)
			if d.line.inUse() != 0 || d.line.wanted.Load() != 0 || d.line.length.Load() != 0 {
				t.Fatalf("nothing to do, and %d places are taken, %d drains want one, %d wait", d.line.inUse(), d.line.wanted.Load(), d.line.length.Load())
			}
		}
		if got := w.mostAtOnce["d"]; got != 64 {
			t.Errorf("at most %d writes at once, want the window of 64", got)
		}
	})
}
