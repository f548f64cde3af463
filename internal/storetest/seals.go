package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

// sealedDrain is drain with integrity, and how it delivers.
func sealedDrain(id, team string) (auditdrain.Drain, auditdrain.DeliversAs) {
	d := drain(id, team, 1)
	d.Delivery.Integrity = true
	return d, auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: d.Delivery}}
}

// seal seals at the time of the fixture, and returns the chain that is stored then.
func (f *fixture) seal(drainID string, req auditdrain.SealRequest) auditdrain.Chain {
	f.Helper()
	req.At = f.time.UnixMilli()
	got, err := f.Seal(f.ctx, drainID, req)
	f.must(err)
	f.wantChain(drainID, got)
	return got
}

func (f *fixture) wantChain(drainID string, want auditdrain.Chain) {
	f.Helper()
	got, err := f.Chain(f.ctx, drainID)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("chain of %s (-want +got):\n%s", drainID, d)
	}
}

func (f *fixture) wantSeals(drainID string, want ...auditdrain.Seal) {
	f.Helper()
	got, err := f.Seals(f.ctx, drainID)
	f.must(err)
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		f.Errorf("seals of %s (-want +got):\n%s", drainID, d)
	}
}

func (f *fixture) wantChains(want ...auditdrain.Chain) {
	f.Helper()
	got, err := f.Chains(f.ctx)
	f.must(err)
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		f.Errorf("chains (-want +got):\n%s", d)
	}
}

func testSeal(f *fixture) {
	f.createTeams("a")
	d1, as := sealedDrain("d1", "a")
	f.must(f.CreateDrain(f.ctx, d1, 0, nil))
	f.must(f.CreateDrain(f.ctx, drain("d0", "a", 2), 0, nil))
	f.append(batch("a", numbered("e", 10)...))
	f.saveCursor("d1", 4)

	// Without a chain.
	if got := f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour}); got.DrainID != "" {
		f.Errorf("a chain has begun by itself: %+v", got)
	}
	f.wantChains()
	f.wantSeals("d1")
	f.wantChain("none", auditdrain.Chain{})
	f.wantSeals("none")
	for name, err := range map[string]error{
		"written":  f.SealWritten(f.ctx, "d1", 1, "head", 1),
		"failed":   f.SealFailed(f.ctx, "d1", "refused", 1),
		"anchored": f.SealAnchored(f.ctx, "d1", 1),
	} {
		if err != nil {
			f.Errorf("%s without a chain: %v", name, err)
		}
	}
	f.wantChain("d1", auditdrain.Chain{})
	_, err := f.Seal(f.ctx, "none", auditdrain.SealRequest{As: &as})
	f.wantCode(err, auditdrain.CodeNotFound)

	// Two hours, one of them empty.
	noon := f.time.UnixMilli()
	chain := f.seal("d1", auditdrain.SealRequest{As: &as, KeyID: "key"})
	want := auditdrain.Chain{DrainID: "d1", TeamID: "a", KeyID: "key", As: as.Rendering, Sequence: 5, Since: noon}
	if d := cmp.Diff(want, chain); d != "" {
		f.Errorf("the beginning (-want +got):\n%s", d)
	}
	f.seal("d1", auditdrain.SealRequest{As: &as, KeyID: "key"})
	f.saveCursor("d1", 7)
	f.time = f.time.Add(2 * time.Hour)
	f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	f.time = f.time.Add(time.Hour)
	chain = f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	one := auditdrain.Seal{
		DrainID: "d1", TeamID: "a", Number: 1, Cause: auditdrain.SealLate, As: as.Rendering, KeyID: "key",
		Sequence: auditdrain.SeqRange{From: 5, To: 8}, Delivered: auditdrain.TimeRange{From: noon, To: noon + 2*3600_000},
		OpenSince: noon, // when event 8 was accepted
	}
	two := one
	two.Number, two.Cause = 2, auditdrain.SealHour
	two.Sequence, two.Delivered = auditdrain.SeqRange{From: 8, To: 8}, auditdrain.TimeRange{From: one.Delivered.To, To: one.Delivered.To + 3600_000}
	want.Sealed, want.Sequence, want.Since = 2, 8, two.Delivered.To
	if d := cmp.Diff(want, chain); d != "" {
		f.Errorf("after two seals (-want +got):\n%s", d)
	}
	d0, as0 := sealedDrain("d0", "a")
	chain0 := f.seal(d0.ID, auditdrain.SealRequest{As: &as0})
	for range 2 {
		f.wantSeals("d1", one, two)
		f.wantChain("d1", want)
		f.wantSeals("d0")
		f.wantChains(chain0, want)
		f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour}) // nothing to do
		f.wantChain("d1", want)
		f.reopen()
	}
}

func testSealWritten(f *fixture) {
	f.createTeams("a")
	d, as := sealedDrain("d1", "a")
	f.must(f.CreateDrain(f.ctx, d, 0, nil))
	f.seal("d1", auditdrain.SealRequest{As: &as})
	for range 3 {
		f.time = f.time.Add(time.Hour)
		f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	}
	seals, err := f.Seals(f.ctx, "d1")
	f.must(err)
	want, err := f.Chain(f.ctx, "d1")
	f.must(err)
	if len(seals) != 3 || want.Sealed != 3 {
		f.Fatalf("%d seals, chain %+v, want 3", len(seals), want)
	}
	f.must(f.SealFailed(f.ctx, "d1", "refused", 7))
	want.LastError, want.LastErrorAt = "refused", 7
	f.wantChain("d1", want)
	f.wantCode(f.SealWritten(f.ctx, "d1", 2, "two", 8), auditdrain.CodeConflict)
	f.wantChain("d1", want)
	f.must(f.SealWritten(f.ctx, "d1", 1, "one", 9))
	want = want.Wrote(seals[0], "one", 9)
	for range 2 {
		f.wantChain("d1", want)
		f.wantSeals("d1", seals[1:]...)
		f.must(f.SealWritten(f.ctx, "d1", 1, "again", 10))
		f.must(f.SealWritten(f.ctx, "d1", 0, "none", 10))
		f.reopen()
	}
	f.must(f.SealAnchored(f.ctx, "d1", 1))
	f.must(f.SealWritten(f.ctx, "d1", 2, "two", 11))
	f.must(f.SealWritten(f.ctx, "d1", 3, "three", 12))
	f.must(f.SealAnchored(f.ctx, "d1", 0))
	f.wantCode(f.SealWritten(f.ctx, "d1", 4, "four", 13), auditdrain.CodeConflict)
	want = want.Wrote(seals[2], "three", 12)
	want.Anchored = 1
	for range 2 {
		f.wantChain("d1", want)
		f.wantSeals("d1")
		f.reopen()
	}

	// The next one goes on from there, whoever has it written at once.
	f.time = f.time.Add(time.Hour)
	f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := f.SealWritten(f.ctx, "d1", 4, "four", 14); err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	f.wantSeals("d1")
	if c, err := f.Chain(f.ctx, "d1"); err != nil || c.Written != 4 || c.Head != "four" {
		f.Errorf("chain %+v, %v", c, err)
	}
}

// What a seal says is what the store knows of the drain, and of no other.
func testSealFacts(f *fixture) {
	f.createTeams("a", "b")
	act := func(team, target, action string) *auditdrain.Activity {
		return &auditdrain.Activity{TeamID: team, TargetID: target, Action: action, IPAddress: "192.0.2.1", UserAgent: "x"}
	}
	d, as := sealedDrain("d1", "a")
	f.must(f.CreateDrain(f.ctx, d, 0, act("a", "d1", auditdrain.ActionDrainCreated)))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 2), 0, act("a", "d2", auditdrain.ActionDrainCreated)))
	f.must(f.CreateDrain(f.ctx, drain("d3", "b", 3), 0, act("b", "d3", auditdrain.ActionDrainCreated)))
	f.append(batch("b", numbered("b", 50)...))
	f.append(batch("a", numbered("e", 6)...))
	f.time = f.time.Add(10 * time.Minute)
	f.append(batch("a", numbered("f", 6)...)) // 7 to 12
	if c := f.seal("d1", auditdrain.SealRequest{As: &as}); c.Activity != 0 || c.Sequence != 1 || c.EitherTo != 0 {
		f.Errorf("the beginning: %+v", c)
	}

	_, err := f.SkipEvent(f.ctx, "d1", skipOf("e1", 5), act("a", "d1", auditdrain.ActionEventSkipped))
	f.must(err)
	_, err = f.SkipEvent(f.ctx, "d1", skipOf("f3", 6), nil) // later
	f.must(err)
	_, err = f.SkipEvent(f.ctx, "d2", skipOf("e2", 5), nil) // another's
	f.must(err)
	f.must(f.Record(f.ctx, act("b", "d1", auditdrain.ActionDrainUpdated)))
	_, err = f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error {
		t.HideIPAddresses, t.HideIPAddressesChangedAt = true, 1
		return nil
	}, act("a", "a", auditdrain.ActionTeamUpdated))
	f.must(err)
	f.saveCursor("d1", 7)
	accepted := f.time.UnixMilli()
	f.time = f.time.Add(50 * time.Minute)
	as.HideIPAddresses = true
	chain := f.seal("d1", auditdrain.SealRequest{As: &as})
	if chain.EitherTo != 12 || chain.Activity != 6 || chain.Sequence != 8 {
		f.Errorf("sealed: %+v", chain)
	}
	seals, err := f.Seals(f.ctx, "d1")
	f.must(err)
	if len(seals) != 2 {
		f.Fatalf("seals %+v, want the hour and the change", seals)
	}
	told := []auditdrain.Activity{*act("a", "d1", auditdrain.ActionDrainCreated), *act("a", "d1", auditdrain.ActionEventSkipped), *act("a", "a", auditdrain.ActionTeamUpdated)}
	for i, number := range []uint64{1, 4, 6} {
		told[i].Number, told[i].IPAddress, told[i].UserAgent = number, "", ""
	}
	one := skipOf("e1", 5)
	one.From, one.To = 2, 2
	if d := cmp.Diff(told, seals[0].Changes); d != "" {
		f.Errorf("changes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]auditdrain.Skip{one}, seals[0].Skips); d != "" {
		f.Errorf("skips (-want +got):\n%s", d)
	}
	if got := seals[0].OpenSince; got != accepted {
		f.Errorf("open since %d, want %d, when event 8 was accepted", got, accepted)
	}
	if d := cmp.Diff([]auditdrain.SeqRange{{From: 8, To: 13}}, seals[1].Uncertain); d != "" {
		f.Errorf("events under way (-want +got):\n%s", d)
	}

	// One that begins after IP addresses were hidden, and maybe written before.
	f.reopen()
	_, as2 := sealedDrain("d2", "a")
	if c := f.seal("d2", auditdrain.SealRequest{As: &as2}); c.EitherTo != 12 {
		f.Errorf("either up to %d, want 12", c.EitherTo)
	}

	// The replay, and how far it has come.
	order, err := f.StartReplay(f.ctx, "d1", auditdrain.ReplayOrder{ID: "rpl_1", From: 0, To: f.time.UnixMilli()}, nil)
	f.must(err)
	as.Replay = &order
	f.seal("d1", auditdrain.SealRequest{As: &as})
	f.save(auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: "d1", Cursor: 7, Replay: &auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 3}}})
	chain = f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealReplay})
	if d := cmp.Diff(&auditdrain.ChainReplay{ID: "rpl_1", Next: 4, Last: 7, Since: f.time.UnixMilli()}, chain.Replay); d != "" {
		f.Errorf("replay (-want +got):\n%s", d)
	}

	// Of a chain that begins, only the latest activities matter.
	for range 100 {
		f.must(f.Record(f.ctx, act("b", "other", "whatever")))
	}
	_, as3 := sealedDrain("d3", "b")
	all, err := f.Activities(f.ctx, auditdrain.ActivityQuery{Limit: 1})
	f.must(err)
	if c := f.seal("d3", auditdrain.SealRequest{As: &as3}); c.Activity != all[0].Number || c.EitherTo != 0 {
		f.Errorf("the beginning is %+v, want activities up to %d", c, all[0].Number)
	}
}

func testSealDeleted(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", numbered("e", 4)...))
	d, as := sealedDrain("d1", "a")
	act := &auditdrain.Activity{TeamID: "a", TargetID: "d1", Action: auditdrain.ActionDrainDeleted}
	f.must(f.CreateDrain(f.ctx, d, 1, nil))
	f.seal("d1", auditdrain.SealRequest{As: &as})
	f.saveCursor("d1", 2)
	f.time = f.time.Add(time.Hour)
	f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	f.time = f.time.Add(time.Minute)
	f.saveCursor("d1", 3)
	f.must(f.DeleteDrain(f.ctx, "a", "d1", act))

	seals, err := f.Seals(f.ctx, "d1")
	f.must(err)
	if len(seals) != 2 {
		f.Fatalf("seals %+v, want two", seals)
	}
	last := seals[1]
	if last.Cause != auditdrain.SealDeleted || last.Sequence != (auditdrain.SeqRange{From: 3, To: 4}) || last.Delivered.To != f.time.UnixMilli() {
		f.Errorf("last seal %+v", last)
	}
	told := *act
	told.Number = 1
	if diff := cmp.Diff([]auditdrain.Activity{told}, last.Changes); diff != "" {
		f.Errorf("who deleted it (-want +got):\n%s", diff)
	}
	chain, err := f.Chain(f.ctx, "d1")
	f.must(err)
	for range 2 {
		f.wantDrains(auditdrain.DrainQuery{})
		f.wantChains(chain)
		f.wantSeals("d1", seals...)
		_, err = f.DeliveryState(f.ctx, "d1")
		f.wantCode(err, auditdrain.CodeNotFound)
		_, err = f.Seal(f.ctx, "d1", auditdrain.SealRequest{As: &as})
		f.wantCode(err, auditdrain.CodeNotFound)
		gone, err := f.SaveProgress(f.ctx, []auditdrain.Progress{{State: auditdrain.DeliveryState{DrainID: "d1", Cursor: 4}}})
		if f.must(err); !slices.Equal(gone, []string{"d1"}) {
			f.Errorf("gone %v", gone)
		}
		f.wantCode(f.CreateDrain(f.ctx, d, 0, nil), auditdrain.CodeConflict) // numbers would come twice
		f.reopen()
	}
	f.must(f.SealWritten(f.ctx, "d1", 1, "one", 1))
	f.wantChain("d1", chain.Wrote(seals[0], "one", 1))
	f.must(f.SealWritten(f.ctx, "d1", 2, "two", 1))
	for range 2 {
		f.wantChains()
		f.wantChain("d1", auditdrain.Chain{})
		f.wantSeals("d1")
		f.must(f.SealWritten(f.ctx, "d1", 2, "two", 1)) // by another process
		f.reopen()
	}
	f.must(f.CreateDrain(f.ctx, d, 0, nil))
	f.wantChain("d1", auditdrain.Chain{})

	// One whose integrity was switched off leaves nothing but what is unwritten.
	f.seal("d1", auditdrain.SealRequest{As: &as})
	off := as
	off.Delivery.Integrity = false
	f.seal("d1", auditdrain.SealRequest{As: &off})
	f.must(f.SealWritten(f.ctx, "d1", 1, "one", 1))
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	f.wantChains()
	f.reopen()
	f.wantChains()
}

// Events stay for manifests that are to be made from them.
func testRetainSeals(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", numbered("e", 10)...))
	d, as := sealedDrain("d1", "a")
	f.must(f.CreateDrain(f.ctx, d, 1, nil))
	f.saveCursor("d1", 2)
	f.seal("d1", auditdrain.SealRequest{As: &as})
	f.retain(0, 2)
	f.saveCursor("d1", 6)
	f.retain(0, 0) // not sealed
	hour := func() {
		f.Helper()
		f.time = f.time.Add(time.Hour)
		f.seal("d1", auditdrain.SealRequest{Cause: auditdrain.SealHour})
	}
	hour()
	f.retain(0, 0) // not written
	f.saveCursor("d1", 8)
	hour()
	f.reopen()
	f.retain(0, 0)
	f.must(f.SealWritten(f.ctx, "d1", 1, "one", 1))
	f.retain(0, 4)
	f.must(f.SealWritten(f.ctx, "d1", 2, "two", 1))
	f.retain(0, 2)

	// What a deleted drain may have written after its cursor, until that is told.
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	f.retain(0, 0)
	f.reopen()
	f.retain(0, 0)
	f.wantIDs("a", 9, "e8", "e9")
	f.must(f.SealWritten(f.ctx, "d1", 3, "three", 1))
	f.retain(0, 2)

	// A replay's; and of one that is off, nothing.
	f.append(batch("a", numbered("f", 4)...))
	f.must(f.CreateDrain(f.ctx, d, 1, nil))
	f.saveCursor("d1", 14)
	f.seal("d1", auditdrain.SealRequest{As: &as})
	order, err := f.StartReplay(f.ctx, "d1", auditdrain.ReplayOrder{ID: "rpl_1", To: f.time.UnixMilli() + 1}, nil)
	f.must(err)
	as.Replay = &order
	f.seal("d1", auditdrain.SealRequest{As: &as})
	f.save(auditdrain.Progress{State: auditdrain.DeliveryState{
		DrainID: "d1", Cursor: 14, Replay: &auditdrain.ReplayProgress{ID: "rpl_1", Cursor: 14, FinishedAt: 1},
	}})
	f.retain(0, 0)
	as.Delivery.Integrity = false
	f.seal("d1", auditdrain.SealRequest{As: &as})
	f.retain(0, 0)
	c, err := f.Chain(f.ctx, "d1")
	f.must(err)
	for c.Written++; c.Written <= c.Sealed; c.Written++ {
		f.must(f.SealWritten(f.ctx, "d1", c.Written, "head", 1))
	}
	f.retain(0, 4)

	// A replay that was cancelled since whoever delivers has read of it.
	as.Delivery.Integrity = true
	as.Replay = &auditdrain.ReplayOrder{ID: "rpl_2", FirstSeq: order.FirstSeq, LastSeq: order.LastSeq}
	if c := f.seal("d1", auditdrain.SealRequest{As: &as}); c.Replay != nil || c.State != auditdrain.ChainOpen {
		f.Errorf("chain %+v has a replay of events that are not kept", c)
	}
}

// All that can happen to a chain at once: no event is missing in its seals, none is
// in two, and what a seal needs is there.
func testSealsConcurrent(f *fixture) {
	f.createTeams("a")
	d, as := sealedDrain("d1", "a")
	f.must(f.CreateDrain(f.ctx, d, 0, nil))
	f.seal("d1", auditdrain.SealRequest{As: &as})
	var clock struct {
		sync.Mutex
		ms int64
	}
	clock.ms = f.time.UnixMilli()
	hour := func() int64 {
		clock.Lock()
		defer clock.Unlock()
		clock.ms += 3600_000
		return clock.ms
	}
	seal := func(req auditdrain.SealRequest) {
		req.At = hour()
		if _, err := f.Seal(f.ctx, "d1", req); err != nil {
			f.Error(err)
		}
	}
	const appends = 60
	stop := make(chan struct{})
	var delivered, wg, writers sync.WaitGroup
	delivered.Go(func() {
		for cursor := uint64(0); cursor < appends*5; {
			es, err := f.Read(f.ctx, "a", cursor, 7, noLimit)
			if err != nil || len(es) > 0 && es[0].Seq != cursor+1 {
				f.Errorf("read after %d: %v, %v", cursor, es, err)
				return
			}
			cursor += uint64(len(es))
			f.saveCursor("d1", cursor)
		}
	})
	for w := range 2 {
		writers.Go(func() {
			for n := range appends / 2 {
				if _, err := f.Append(f.ctx, []auditdrain.Batch{batch("a", numbered(fmt.Sprintf("%d-%d-", w, n), 5)...)}); err != nil {
					f.Error(err)
				}
			}
		})
	}
	until := func(do func()) {
		wg.Go(func() {
			for !isClosed(stop) {
				do()
			}
			do()
		})
	}
	until(func() { seal(auditdrain.SealRequest{Cause: auditdrain.SealHour}) })
	until(func() { seal(auditdrain.SealRequest{As: &as}) })
	until(func() {
		if _, err := f.Retain(f.ctx, 0); err != nil {
			f.Error(err)
		}
	})
	replays := 0
	until(func() {
		order := auditdrain.ReplayOrder{ID: fmt.Sprint("rpl_", replays), To: f.time.UnixMilli() + 1}
		if _, err := f.StartReplay(f.ctx, "d1", order, nil); err != nil {
			f.Error(err)
		}
		if _, err := f.CancelReplay(f.ctx, "d1", nil); err != nil {
			f.Error(err)
		}
		replays++
	})
	var all []auditdrain.Seal
	write := func() {
		seals, err := f.Seals(f.ctx, "d1")
		if err != nil {
			f.Error(err)
		}
		for _, s := range seals {
			if from := s.Needs(); from < s.Sequence.To {
				if es, err := f.Read(f.ctx, "a", from-1, 1, noLimit); err != nil || len(es) != 1 || es[0].Seq != from {
					f.Errorf("seal %d needs event %d: %v, %v", s.Number, from, es, err)
				}
			}
			if err := f.SealWritten(f.ctx, "d1", s.Number, fmt.Sprint("head ", s.Number), 1); err != nil {
				f.Error(err)
			}
			all = append(all, s)
		}
	}
	until(write)
	writers.Wait()
	delivered.Wait()
	close(stop)
	wg.Wait()
	seal(auditdrain.SealRequest{Cause: auditdrain.SealHour})
	write()
	next, since := uint64(1), all[0].Delivered.From
	for i, s := range all {
		if s.Number != uint64(i+1) || s.Sequence.From != next || s.Delivered.From != since {
			f.Fatalf("seal %d: number %d, %+v, %+v; want %d and %d", i+1, s.Number, s.Sequence, s.Delivered, next, since)
		}
		next, since = s.Sequence.To, s.Delivered.To
	}
	if next != appends*5+1 {
		f.Errorf("seals up to event %d, want %d", next-1, appends*5)
	}
	f.wantSeals("d1")
	n, err := f.Retain(f.ctx, 0)
	f.must(err)
	f.wantIDs("a", 1)
	f.Logf("%d seals, %d replays, %d events removed last", len(all), replays, n)
}
