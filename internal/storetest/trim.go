package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

func (f *fixture) trim(before time.Time, want int) {
	f.Helper()
	n, err := f.Trim(f.ctx, before)
	f.must(err)
	if n != want {
		f.Errorf("trimmed %d events, want %d", n, want)
	}
}

func testTrimAge(f *fixture) {
	f.createTeams("a", "b")
	start := f.time
	f.append(batch("a", events("1", "2")...), batch("b", event("1")))
	f.time = start.Add(time.Hour)
	f.append(batch("a", event("3")))
	f.trim(start, 0)
	f.trim(start.Add(time.Microsecond), 3)
	f.trim(start.Add(time.Microsecond), 0)
	for range 2 {
		f.wantIDs("a", 3, "3")
		if got := f.read("a", 0); len(got) != 1 || got[0].Seq != 3 {
			f.Errorf("after a trim: %v", got)
		}
		f.wantIDs("b", 2)
		f.wantLast("a", 3)
		f.wantLast("b", 1)
		f.reopen()
	}
	// Numbers go on, IDs are free again: for other bytes, too.
	f.wantResults(f.append(batch("b", other("1")), batch("a", other("1"), event("3"))),
		auditdrain.BatchResult{Accepted: 1}, auditdrain.BatchResult{Accepted: 1, Duplicates: 1})
	f.wantIDs("b", 2, "1")
	f.wantIDs("a", 3, "3", "1")

	// More than fits into one commit.
	for i := range 10 {
		f.append(batch("b", numbered(fmt.Sprintf("%d-", i), 1000)...))
	}
	f.trim(start.Add(2*time.Hour), 10_003)
	f.wantIDs("b", 1)
	f.wantIDs("a", 1)
	f.reopen()
	f.wantLast("b", 10_002)
	f.wantResults(f.append(batch("b", event("1-1"))), auditdrain.BatchResult{Accepted: 1})
	f.wantIDs("b", 10_003, "1-1")
}

func testTrimCursors(f *fixture) {
	f.createTeams("a", "b")
	f.append(batch("a", events("1", "2", "3", "4", "5")...), batch("b", events("1", "2")...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 1))
	disabled, err := f.UpdateDrain(f.ctx, "a", "d2", func(d *auditdrain.Drain) error { d.Status = auditdrain.StatusDisabled; return nil })
	f.must(err)
	late := f.time.Add(time.Hour)

	f.trim(late, 2) // b has no drains
	f.saveCursor("d1", 5)
	f.trim(late, 0) // the disabled one needs them all
	f.saveCursor("d2", 2)
	f.trim(late, 2)
	f.wantIDs("a", 3, "3", "4", "5")
	f.reopen()
	f.trim(late, 0)
	f.trim(f.time, 0) // not old enough
	f.must(f.DeleteDrain(f.ctx, "a", disabled.ID))
	f.trim(f.time, 0)
	f.trim(late, 3)
	f.wantIDs("a", 1)
	f.wantLast("a", 5)
	f.wantCursor("d1", 5)
}

// Events come, are delivered and trimmed at the same time; IDs come back.
func testTrimConcurrent(f *fixture) {
	f.createTeams("a")
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0))
	late := f.time.Add(time.Hour)
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
					f.Errorf("number %d after %d: an event was trimmed before it was read", e.Seq, cursor-1)
					return
				}
			}
			f.saveCursor("d1", cursor)
			if stopped && len(es) == 0 {
				return
			}
		}
	})
	trimmed := 0
	wg.Go(func() {
		for {
			n, err := f.Trim(f.ctx, late)
			if err != nil {
				f.Error(err)
				return
			}
			trimmed += n
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
				// The same few IDs, some still known, some trimmed.
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
	n, err := f.Trim(f.ctx, late)
	f.must(err)
	if trimmed+n != accepted {
		f.Errorf("%d events trimmed, want %d", trimmed+n, accepted)
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
