package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func skipOf(eventID string, at int64) auditdrain.Skip {
	return auditdrain.Skip{EventID: eventID, Reason: "because of " + eventID, By: "tok_1", At: at}
}

func (f *fixture) wantInstructions(drainID string, want auditdrain.Instructions) {
	f.Helper()
	got, err := f.Instructions(f.ctx, drainID)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("instructions of %s (-want +got):\n%s", drainID, d)
	}
}

func (f *fixture) wantSkips(drainID string, want ...auditdrain.Skip) {
	f.Helper()
	got, err := f.Skips(f.ctx, drainID)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("skips of %s (-want +got):\n%s", drainID, d)
	}
}

func testSkipEvent(f *fixture) {
	f.createTeams("a", "b")
	f.append(batch("a", events("1", "2", "3", "4", "5")...), batch("b", event("x")))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1, nil))
	f.wantInstructions("d1", auditdrain.Instructions{})
	f.wantSkips("d1")
	skip := func(drainID string, s auditdrain.Skip, seq uint64) auditdrain.Skip {
		f.Helper()
		got, err := f.SkipEvent(f.ctx, drainID, s, nil)
		f.must(err)
		s.From, s.To = seq, seq
		if d := cmp.Diff(s, got); d != "" {
			f.Errorf("skip (-want +got):\n%s", d)
		}
		return got
	}
	four := skip("d1", skipOf("4", 100), 4)
	two := skip("d1", skipOf("2", 200), 2)
	five := skip("d1", skipOf("5", 200), 5)
	skip("d2", skipOf("2", 300), 2)
	again := skipOf("4", 999)
	again.Reason = "another one"
	if got, err := f.SkipEvent(f.ctx, "d1", again, nil); err != nil || got != four {
		f.Errorf("skipped again: %+v, %v, want the first record", got, err)
	}
	for range 2 {
		f.wantInstructions("d1", auditdrain.Instructions{Skips: []auditdrain.Skip{two, four, five}})
		f.wantSkips("d1", five, two, four)
		f.wantCursor("d1", 0) // it is for delivery to move it
		f.reopen()
	}
	f.saveCursor("d1", 4)
	f.wantInstructions("d1", auditdrain.Instructions{Skips: []auditdrain.Skip{five}})
	f.wantSkips("d1", five, two, four)
	if got, err := f.SkipEvent(f.ctx, "d1", again, nil); err != nil || got != four {
		f.Errorf("skipped again behind the cursor: %+v, %v, want the first record", got, err)
	}
	_, err := f.SkipEvent(f.ctx, "d1", skipOf("3", 1), nil)
	f.wantCode(err, auditdrain.CodeConflict)
	for _, id := range []string{"6", "x", ""} {
		_, err = f.SkipEvent(f.ctx, "d1", skipOf(id, 1), nil)
		f.wantCode(err, auditdrain.CodeNotFound)
	}
	f.wantSkips("d1", five, two, four)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	_, err = f.SkipEvent(f.ctx, "d1", skipOf("5", 1), nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.Skips(f.ctx, "d1")
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.Instructions(f.ctx, "d1")
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil)) // the same ID again: nothing is left
	f.wantSkips("d1")
}

func testSkipBacklog(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", numbered("e", 10)...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.saveCursor("d1", 3)
	six, err := f.SkipEvent(f.ctx, "d1", skipOf("e5", 1), nil)
	f.must(err)
	got, err := f.SkipBacklog(f.ctx, "d1", auditdrain.Skip{Reason: "from now", By: "tok_1", At: 2}, nil)
	f.must(err)
	want := auditdrain.Skip{From: 4, To: 10, Reason: "from now", By: "tok_1", At: 2}
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("skip (-want +got):\n%s", d)
	}
	for range 2 {
		f.wantCursor("d1", 10)
		f.wantInstructions("d1", auditdrain.Instructions{})
		f.wantSkips("d1", want, six)
		if s, err := f.DeliveryState(f.ctx, "d1"); err != nil || s.Skipped != 7 {
			f.Errorf("%d events skipped (%v), want 7", s.Skipped, err)
		}
		none, err := f.SkipBacklog(f.ctx, "d1", auditdrain.Skip{Reason: "again", By: "tok_1", At: 3}, nil)
		f.must(err)
		if none != (auditdrain.Skip{}) {
			f.Errorf("nothing was to be skipped: %+v", none)
		}
		f.reopen()
	}
	if got, err := f.SkipEvent(f.ctx, "d1", skipOf("e7", 4), nil); err != nil || got != want {
		f.Errorf("an event of the skipped backlog: %+v, %v, want the record of the backlog", got, err)
	}

	// A backlog of one event that is skipped already.
	f.append(batch("a", event("last")))
	last, err := f.SkipEvent(f.ctx, "d1", skipOf("last", 5), nil)
	f.must(err)
	if got, err := f.SkipBacklog(f.ctx, "d1", auditdrain.Skip{Reason: "from now", By: "tok_1", At: 6}, nil); err != nil || got != last {
		f.Errorf("skip of a backlog that is skipped: %+v, %v, want %+v", got, err, last)
	}
	f.wantCursor("d1", 11)
	f.wantSkips("d1", last, want, six)

	// What delivery saves last of what was under way takes nothing back.
	late := auditdrain.DeliveryState{DrainID: "d1", Cursor: 5, Delivered: 2, Skipped: 0}
	_, err = f.SaveProgress(f.ctx, []auditdrain.Progress{{State: late}})
	f.must(err)
	late.Cursor, late.Skipped = 11, 8
	for range 2 {
		if got, err := f.DeliveryState(f.ctx, "d1"); err != nil || !cmp.Equal(late, got) {
			f.Errorf("%v, state (-want +got):\n%s", err, cmp.Diff(late, got))
		}
		f.reopen()
	}
	_, err = f.SkipBacklog(f.ctx, "none", auditdrain.Skip{}, nil)
	f.wantCode(err, auditdrain.CodeNotFound)
}

func testReplay(f *fixture) {
	f.createTeams("a", "empty")
	start := f.time
	for i := range 5 { // 2 events each minute: 1–2, 3–4, …, 9–10
		f.time = start.Add(time.Duration(i) * time.Minute)
		f.append(batch("a", numbered(fmt.Sprintf("%d-", i), 2)...))
	}
	at := func(minutes int) int64 { return start.Add(time.Duration(minutes) * time.Minute).UnixMilli() }
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("e1", "empty", 1), 1, nil))
	f.saveCursor("d1", 7)
	_, err := f.CancelReplay(f.ctx, "d1", nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	n := 0
	begin := func(drainID string, from, to int64, first, last uint64) auditdrain.ReplayOrder {
		f.Helper()
		n++
		order := auditdrain.ReplayOrder{ID: fmt.Sprint("rpl_", n), From: from, To: to, By: "tok_1", CreatedAt: int64(n)}
		got, err := f.StartReplay(f.ctx, drainID, order, nil)
		f.must(err)
		order.FirstSeq, order.LastSeq = first, last
		if d := cmp.Diff(order, got); d != "" {
			f.Errorf("replay (-want +got):\n%s", d)
		}
		return got
	}
	for _, c := range []struct {
		from, to    int64
		first, last uint64
	}{
		{at(0), at(1), 1, 2},
		{at(-9), at(9), 1, 7}, // the rest is still to be delivered
		{at(1), at(3), 3, 6},
		{at(1) + 1, at(3) + 1, 5, 7},
		{at(3), at(4), 7, 7},
		{at(4), at(9), 8, 7},
		{at(-9), at(0), 1, 0},
		{at(0) + 1, at(1), 3, 2},
	} {
		begin("d1", c.from, c.to, c.first, c.last)
		order, err := f.CancelReplay(f.ctx, "d1", nil)
		f.must(err)
		if !order.Cancelled {
			f.Errorf("cancelled: %+v", order)
		}
		f.wantInstructions("d1", auditdrain.Instructions{Replay: &order})
		_, err = f.CancelReplay(f.ctx, "d1", nil)
		f.wantCode(err, auditdrain.CodeConflict)
	}
	begin("e1", at(0), at(9), 1, 0)

	order := begin("d1", at(0), at(3), 1, 6)
	for range 2 {
		f.wantInstructions("d1", auditdrain.Instructions{Replay: &order})
		_, err = f.StartReplay(f.ctx, "d1", auditdrain.ReplayOrder{ID: "rpl_x", From: at(0), To: at(1)}, nil)
		f.wantCode(err, auditdrain.CodeConflict)
		f.reopen()
	}
	progress := func(id string, cursor uint64, finished int64) {
		f.Helper()
		f.save(auditdrain.Progress{State: auditdrain.DeliveryState{
			DrainID: "d1", Cursor: 7, Replay: &auditdrain.ReplayProgress{ID: id, Cursor: cursor, FinishedAt: finished},
		}})
	}
	progress("rpl_other", 6, 99) // of an earlier one
	progress(order.ID, 6, 0)     // all is written, but that is not yet the end
	f.reopen()
	_, err = f.StartReplay(f.ctx, "d1", auditdrain.ReplayOrder{ID: "rpl_x", From: at(0), To: at(1)}, nil)
	f.wantCode(err, auditdrain.CodeConflict)
	progress(order.ID, 6, 99)
	f.reopen()
	_, err = f.CancelReplay(f.ctx, "d1", nil)
	f.wantCode(err, auditdrain.CodeConflict)
	f.wantInstructions("d1", auditdrain.Instructions{Replay: &order})
	begin("d1", at(1), at(2), 3, 4)

	_, err = f.StartReplay(f.ctx, "none", order, nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.CancelReplay(f.ctx, "none", nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil)) // the same ID again: nothing is left
	f.wantInstructions("d1", auditdrain.Instructions{})
	begin("d1", at(0), at(9), 1, 0)
}

func testHiddenIPAddresses(f *fixture) {
	f.createTeams("a", "b")
	for _, d := range []auditdrain.Drain{drain("a1", "a", 1), drain("b1", "b", 1)} {
		f.must(f.CreateDrain(f.ctx, d, 0, nil))
	}
	set := func(hide bool) {
		f.Helper()
		_, err := f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error { t.HideIPAddresses = hide; return nil }, nil)
		f.must(err)
	}
	hidden, shown := auditdrain.Instructions{HideIPAddresses: true}, auditdrain.Instructions{}
	f.wantInstructions("a1", shown)
	set(true)
	f.must(f.CreateDrain(f.ctx, drain("a2", "a", 1), 0, nil))
	for range 2 {
		f.wantInstructions("a1", hidden)
		f.wantInstructions("a2", hidden)
		f.wantInstructions("b1", shown)
		f.reopen()
	}
	set(false)
	f.wantInstructions("a1", shown)
	// Of a team without drains.
	f.must(f.DeleteDrain(f.ctx, "", "a1", nil))
	f.must(f.DeleteDrain(f.ctx, "", "a2", nil))
	set(true)
	f.must(f.CreateDrain(f.ctx, drain("a3", "a", 1), 0, nil))
	f.wantInstructions("a3", hidden)
}
