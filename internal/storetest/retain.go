package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

func (f *fixture) retain(keep time.Duration, want int) {
	f.Helper()
	n, err := f.Retain(f.ctx, keep)
	f.must(err)
	if n != want {
		f.Errorf("removed %d events, want %d", n, want)
	}
}

// The time counts from when a call has found an event delivered, which without
// drains is when it was accepted.
func testRetainTime(f *fixture) {
	const keep = 32 * time.Hour
	f.createTeams("a", "b")
	start := f.time
	at := func(d time.Duration) { f.time = start.Add(d) }
	f.append(batch("a", events("1", "2")...), batch("b", event("1")))
	f.retain(keep, 0)
	at(10 * time.Hour)
	f.append(batch("a", event("3")))
	f.retain(keep, 0)
	at(5 * time.Hour) // the clock was set back
	f.append(batch("a", event("4")))
	f.retain(keep, 0)
	f.reopen() // what was found when is not forgotten
	at(keep - time.Second)
	f.retain(keep, 0)
	at(keep)
	f.retain(keep, 3)
	f.retain(keep, 0)
	for range 2 {
		f.wantIDs("a", 3, "3", "4")
		if got := f.read("a", 0); len(got) != 2 || got[0].Seq != 3 {
			f.Errorf("what is left: %v", got)
		}
		f.wantIDs("b", 2)
		f.wantLast("a", 4)
		f.wantLast("b", 1)
		f.reopen()
	}
	at(10*time.Hour + keep - time.Second)
	f.retain(keep, 0)
	at(11*time.Hour + keep) // a thirty-second part later at most
	f.retain(keep, 2)
	f.wantIDs("a", 1)

	// However often it is called, nothing stays much longer.
	begin := f.time
	f.append(batch("a", event("5")))
	for n := 0; f.time.Before(begin.Add(3 * keep)); n++ {
		f.time = f.time.Add(30 * time.Minute)
		f.append(batch("b", event(fmt.Sprint("b", n))))
		if _, err := f.Retain(f.ctx, keep); err != nil {
			f.Fatal(err)
		}
		if kept := len(f.read("a", 0)); kept == 0 && f.time.Before(begin.Add(keep)) {
			f.Fatalf("removed after %s", f.time.Sub(begin))
		}
		es := f.read("b", 1)
		if oldest := f.time.Sub(es[0].AcceptedAt); oldest > keep+time.Hour+30*time.Minute {
			f.Fatalf("an event is still there after %s", oldest)
		}
	}
	f.wantIDs("a", 1)
}

func testRetainCursors(f *fixture) {
	f.createTeams("a", "b")
	f.append(batch("a", events("1", "2", "3", "4", "5")...), batch("b", events("1", "2")...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1, nil))
	disabled, err := f.UpdateDrain(f.ctx, "a", "d2", func(d *auditdrain.Drain) error { d.Status = auditdrain.StatusDisabled; return nil }, nil)
	f.must(err)

	f.retain(0, 2) // b has no drains
	f.saveCursor("d1", 5)
	f.retain(0, 0) // the disabled one needs them all
	f.saveCursor("d2", 2)
	f.retain(time.Hour, 0) // not delivered for long enough
	f.retain(0, 2)
	f.wantIDs("a", 3, "3", "4", "5")
	f.reopen()
	f.retain(0, 0)
	f.must(f.DeleteDrain(f.ctx, "a", disabled.ID, nil))
	f.must(f.CreateDrain(f.ctx, drain("d3", "a", 1), 1, nil)) // begins with what is left
	f.wantCursor("d3", 2)
	f.retain(0, 0)
	f.saveCursor("d3", 4)
	f.retain(0, 2)
	f.must(f.DeleteDrain(f.ctx, "a", "d3", nil))
	f.retain(0, 1)
	f.wantIDs("a", 1)
	f.wantLast("a", 5)
	f.wantCursor("d1", 5)
}

// What a replay still has to read is kept.
func testRetainReplay(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", numbered("e", 10)...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1, nil))
	order := auditdrain.ReplayOrder{ID: "rpl_1", From: 0, To: f.time.Add(time.Hour).UnixMilli()}
	f.saveCursor("d1", 8)
	f.saveCursor("d2", 10)
	if got, err := f.StartReplay(f.ctx, "d1", order, nil); err != nil || got.LastSeq != 8 {
		f.Fatalf("replay %+v, %v", got, err)
	}
	f.saveCursor("d1", 10)
	f.retain(0, 0)
	state := auditdrain.DeliveryState{DrainID: "d1", Cursor: 10, Replay: &auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 3}}
	f.save(auditdrain.Progress{State: state})
	f.retain(0, 3)
	f.reopen()
	f.retain(0, 0)
	f.wantIDs("a", 4, "e3", "e4", "e5", "e6", "e7", "e8", "e9")
	_, err := f.CancelReplay(f.ctx, "d1", nil)
	f.must(err)
	f.reopen()
	f.retain(0, 7)

	f.append(batch("a", numbered("f", 4)...))
	f.saveCursor("d1", 14)
	f.saveCursor("d2", 14)
	order.ID = "rpl_2"
	if got, err := f.StartReplay(f.ctx, "d1", order, nil); err != nil || got.FirstSeq != 11 || got.LastSeq != 14 {
		f.Fatalf("replay of what is kept: %+v, %v", got, err)
	}
	f.retain(0, 0)
	state.Cursor, state.Replay.ID, state.Replay.Cursor = 14, "rpl_2", 14
	f.save(auditdrain.Progress{State: state})
	f.retain(0, 4) // it has read them all

	// One with nothing to deliver holds up nothing.
	state.Replay.FinishedAt = 1
	f.save(auditdrain.Progress{State: state})
	f.append(batch("a", numbered("g", 2)...))
	order.ID, order.To = "rpl_3", 1
	if got, err := f.StartReplay(f.ctx, "d1", order, nil); err != nil || got.LastSeq+1 != got.FirstSeq {
		f.Fatalf("replay of nothing: %+v, %v", got, err)
	}
	f.saveCursor("d1", 16)
	f.saveCursor("d2", 16)
	f.reopen()
	f.retain(0, 2)
}

// IDs of events that were removed are free at once, whatever the index still
// says, and those of the others never.
func testRemovedIDs(f *fixture) {
	f.createTeams("a", "b")
	f.append(batch("b", events("1", "2")...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0, nil))
	const n = 3000
	all := numbered("e", n)
	f.append(batch("a", all...))
	for _, c := range []struct {
		cursor uint64
		kept   bool // still in the index, maybe: too few to be worth cleaning up
	}{{10, true}, {n / 2, false}, {n/2 + 10, true}, {n - 1, false}, {n, false}} {
		f.saveCursor("d1", c.cursor)
		if _, err := f.Retain(f.ctx, 0); err != nil {
			f.Fatal(err)
		}
		if got := f.read("a", 0); uint64(len(got)) != n-c.cursor || len(got) > 0 && got[0].Seq != c.cursor+1 {
			f.Fatalf("%d events are left, want %d", len(got), n-c.cursor)
		}
		f.reopen()
		if _, err := f.SkipEvent(f.ctx, "d1", skipOf(all[c.cursor-1].ID, 1), nil); true {
			f.wantCode(err, auditdrain.CodeNotFound)
		}
		f.wantResults(f.append(batch("a", all[c.cursor:]...)), auditdrain.BatchResult{Duplicates: int(n - c.cursor)})
	}
	f.wantLast("a", n)
	f.wantResults(f.append(batch("b", events("1", "3")...)), auditdrain.BatchResult{Accepted: 2})

	// All are accepted again, half of them with other bytes, and known then.
	for i := range all[:n/2] {
		all[i] = other(all[i].ID)
	}
	f.wantResults(f.append(batch("a", all...)), auditdrain.BatchResult{Accepted: n})
	f.reopen()
	f.wantResults(f.append(batch("a", all...)), auditdrain.BatchResult{Duplicates: n})
	f.saveCursor("d1", 2*n)
	f.retain(0, n+2)
	f.wantResults(f.append(batch("a", all...)), auditdrain.BatchResult{Accepted: n})
}

// Events come, are delivered and removed at the same time; IDs come back.
func testRetainConcurrent(f *fixture) {
	f.createTeams("a")
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0, nil))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // delivers
		var cursor uint64
		for {
			stopped := isClosed(stop)
			es, err := f.Read(f.ctx, "a", cursor, 10, noLimit)
			if err != nil {
				f.Error(err)
				return
			}
			for _, e := range es {
				if cursor++; e.Seq != cursor {
					f.Errorf("number %d after %d: an event was removed before it was read", e.Seq, cursor-1)
					return
				}
			}
			f.saveCursor("d1", cursor)
			if stopped && len(es) == 0 {
				return
			}
		}
	})
	removed := 0
	wg.Go(func() {
		for {
			n, err := f.Retain(f.ctx, 0)
			if err != nil {
				f.Error(err)
				return
			}
			removed += n
			if isClosed(stop) {
				return
			}
		}
	})
	var writers sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for w := range 4 {
		writers.Go(func() {
			for r := range 50 {
				// The same few IDs, some still known, some removed.
				rs, err := f.Append(f.ctx, []auditdrain.Batch{batch("a", numbered(fmt.Sprintf("%d-", (w+r)%7), 5)...)})
				if err != nil {
					f.Error(err)
					return
				}
				if len(rs[0].Conflicts) > 0 {
					f.Errorf("conflicts %v", rs[0].Conflicts)
				}
				mu.Lock()
				accepted += rs[0].Accepted
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
	f.wantLast("a", uint64(accepted))
	n, err := f.Retain(f.ctx, 0)
	f.must(err)
	if removed+n != accepted {
		f.Errorf("%d events removed, want %d", removed+n, accepted)
	}
	f.wantIDs("a", 1)
	// Whatever the order was, no ID is left behind.
	for i := range 7 {
		f.wantResults(f.append(batch("a", numbered(fmt.Sprintf("%d-", i), 5)...)), auditdrain.BatchResult{Accepted: 5})
	}
}

func testClose(f *fixture) {
	f.must(f.Check(f.ctx))
	f.append(batch("a", event("1")))
	s := f.Store
	f.close()
	if err := s.Close(); err != nil {
		f.Errorf("second Close: %v", err)
	}
	f.wantCode(s.Check(f.ctx), auditdrain.CodeUnavailable)
	_, err := s.Append(f.ctx, []auditdrain.Batch{batch("a", event("2"))})
	f.wantCode(err, auditdrain.CodeUnavailable)
	_, err = s.Read(f.ctx, "a", 0, 1, 1)
	f.wantCode(err, auditdrain.CodeUnavailable)
	f.open()
	f.wantIDs("a", 1, "1")
}
