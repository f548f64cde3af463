package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

const noLimit = 1 << 30

func event(id string) auditdrain.Event {
	return auditdrain.Event{ID: id, Timestamp: 1_700_000_000_123, Body: []byte(`{"id":"` + id + `"}`)}
}

func other(id string) auditdrain.Event {
	return auditdrain.Event{ID: id, Timestamp: 1_700_000_000_123, Body: []byte(`{"id":"` + id + `","x":1}`)}
}

func events(ids ...string) []auditdrain.Event {
	var es []auditdrain.Event
	for _, id := range ids {
		es = append(es, event(id))
	}
	return es
}

func numbered(prefix string, n int) []auditdrain.Event {
	es := make([]auditdrain.Event, n)
	for i := range es {
		es[i] = event(fmt.Sprintf("%s%d", prefix, i))
	}
	return es
}

func batch(team string, es ...auditdrain.Event) auditdrain.Batch {
	return auditdrain.Batch{TeamID: team, Events: es}
}

func (f *fixture) append(batches ...auditdrain.Batch) []auditdrain.BatchResult {
	f.Helper()
	results, err := f.Append(f.ctx, batches)
	f.must(err)
	return results
}

func (f *fixture) wantResults(got []auditdrain.BatchResult, want ...auditdrain.BatchResult) {
	f.Helper()
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("results (-want +got):\n%s", d)
	}
}

func (f *fixture) read(team string, after uint64) []auditdrain.StoredEvent {
	f.Helper()
	es, err := f.Read(f.ctx, team, after, noLimit, noLimit)
	f.must(err)
	return es
}

// wantIDs checks that the team has these events, numbered from first.
func (f *fixture) wantIDs(team string, first uint64, ids ...string) {
	f.Helper()
	var got []string
	for i, e := range f.read(team, first-1) {
		got = append(got, e.ID)
		if e.Seq != first+uint64(i) {
			f.Errorf("event %s of %s has number %d, want %d", e.ID, team, e.Seq, first+uint64(i))
		}
	}
	if d := cmp.Diff(ids, got); d != "" {
		f.Errorf("events of %s (-want +got):\n%s", team, d)
	}
}

func (f *fixture) wantLast(team string, want uint64) {
	f.Helper()
	got, _, err := f.Last(f.ctx, team)
	f.must(err)
	if got != want {
		f.Errorf("last number of %s is %d, want %d", team, got, want)
	}
}

func testAppendRead(f *fixture) {
	f.wantIDs("a", 1)
	f.wantLast("a", 0)
	if results := f.append(); len(results) != 0 {
		f.Errorf("results for no batches: %v", results)
	}
	f.wantResults(f.append(batch("a")), auditdrain.BatchResult{})
	f.wantLast("a", 0)

	f.wantResults(f.append(batch("a", events("1", "2", "3")...)), auditdrain.BatchResult{Accepted: 3})
	f.wantResults(f.append(batch("a", events("4")...)), auditdrain.BatchResult{Accepted: 1})
	for range 2 {
		f.wantIDs("a", 1, "1", "2", "3", "4")
		f.wantIDs("a", 3, "3", "4")
		f.wantIDs("a", 5)
		f.wantIDs("a", 100)
		f.wantLast("a", 4)
		f.reopen()
	}
	f.wantResults(f.append(batch("a", events("5")...)), auditdrain.BatchResult{Accepted: 1})
	f.wantIDs("a", 4, "4", "5")

	got := f.read("a", 4)
	want := []auditdrain.StoredEvent{{Event: event("5"), Seq: 5, AcceptedAt: f.time, TotalBytes: 5 * uint64(len(event("5").Body))}}
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("event (-want +got):\n%s", d)
	}
}

func testReadLimits(f *fixture) {
	var es []auditdrain.Event
	for i := range 10 {
		es = append(es, auditdrain.Event{ID: fmt.Sprint(i), Body: bytes.Repeat([]byte{'x'}, 100)})
	}
	f.append(batch("a", es...))
	for _, c := range []struct {
		after               uint64
		maxEvents, maxBytes int
		first               uint64
		n                   int
	}{
		{0, 10, noLimit, 1, 10},
		{0, 3, noLimit, 1, 3},
		{7, 5, noLimit, 8, 3},
		{0, 0, noLimit, 0, 0},
		{0, 10, 1000, 1, 10},
		{0, 10, 999, 1, 9},
		{0, 10, 250, 1, 2},
		{0, 10, 100, 1, 1},
		{0, 10, 99, 1, 1}, // at least one
		{4, 10, 0, 5, 1},
		{10, 10, noLimit, 0, 0},
	} {
		got, err := f.Read(f.ctx, "a", c.after, c.maxEvents, c.maxBytes)
		f.must(err)
		if len(got) != c.n || c.n > 0 && got[0].Seq != c.first {
			f.Errorf("Read(%d, %d, %d): %d events %v, want %d from %d", c.after, c.maxEvents, c.maxBytes, len(got), got, c.n, c.first)
		}
	}
}

func testDuplicates(f *fixture) {
	f.append(batch("a", events("1", "2")...))
	f.wantResults(f.append(batch("a", events("1", "3", "2")...)), auditdrain.BatchResult{Accepted: 1, Duplicates: 2})
	f.wantResults(f.append(batch("a", events("1", "2", "3")...)), auditdrain.BatchResult{Duplicates: 3})
	f.wantResults(f.append(batch("a", events("4", "4", "4")...)), auditdrain.BatchResult{Accepted: 1, Duplicates: 2})
	f.wantResults(f.append(batch("a", events("5", "1")...), batch("a", events("6", "5")...)),
		auditdrain.BatchResult{Accepted: 1, Duplicates: 1},
		auditdrain.BatchResult{Accepted: 1, Duplicates: 1})
	f.reopen()
	f.wantResults(f.append(batch("a", events("1", "6")...)), auditdrain.BatchResult{Duplicates: 2})
	f.wantIDs("a", 1, "1", "2", "3", "4", "5", "6")
}

func testConflicts(f *fixture) {
	f.append(batch("a", events("1", "2")...))
	f.wantResults(f.append(batch("a", event("3"), other("1"), event("2"), other("2"))),
		auditdrain.BatchResult{Conflicts: []string{"1", "2"}})
	f.wantIDs("a", 1, "1", "2")
	f.reopen()
	f.wantResults(f.append(batch("a", other("2"))), auditdrain.BatchResult{Conflicts: []string{"2"}})
	// Nothing of the refused batch is known.
	f.wantResults(f.append(batch("a", other("3"))), auditdrain.BatchResult{Accepted: 1})
	f.wantLast("a", 3)
}

func testConflictsInOneCall(f *fixture) {
	f.wantResults(f.append(batch("a", event("1"), other("1"))), auditdrain.BatchResult{Conflicts: []string{"1"}})
	f.wantLast("a", 0)
	f.wantResults(f.append(
		batch("a", events("1", "2")...),
		batch("a", event("3"), other("2")), // refused, so 3 is free
		batch("b", event("9")),
		batch("a", other("3")),
		batch("a", event("3")), // other bytes than the one before
		batch("b", event("9"), event("8"))),
		auditdrain.BatchResult{Accepted: 2},
		auditdrain.BatchResult{Conflicts: []string{"2"}},
		auditdrain.BatchResult{Accepted: 1},
		auditdrain.BatchResult{Accepted: 1},
		auditdrain.BatchResult{Conflicts: []string{"3"}},
		auditdrain.BatchResult{Accepted: 1, Duplicates: 1})
	f.wantIDs("a", 1, "1", "2", "3")
	f.wantIDs("b", 1, "9", "8")
	if e := f.read("a", 2)[0]; !bytes.Equal(e.Body, other("3").Body) {
		f.Errorf("event 3 is %s, want the one that was accepted", e.Body)
	}
}

func testManyConflicts(f *fixture) {
	es := numbered("e", 5000)
	f.append(batch("a", es...))
	var want []string
	for i := range es {
		es[i] = other(es[i].ID)
		want = append(want, es[i].ID)
	}
	r := f.append(batch("a", es...))[0]
	if r.Accepted != 0 || r.Duplicates != 0 || !slices.Equal(r.Conflicts, want) {
		f.Errorf("accepted %d, duplicates %d, %d conflicts, want all %d named", r.Accepted, r.Duplicates, len(r.Conflicts), len(want))
	}
	f.wantLast("a", 5000)
}

func testTeamsApart(f *fixture) {
	// Names that a careless key encoding would mix up.
	teams := []string{"a", "a-", "a0", "ab", "A", "a_b", "b"}
	for i, team := range teams {
		f.wantResults(f.append(batch(team, events("1", "2")...)), auditdrain.BatchResult{Accepted: 2})
		f.wantResults(f.append(batch(team, numbered(team+"-", i)...)), auditdrain.BatchResult{Accepted: i})
	}
	for i, team := range teams {
		f.wantLast(team, uint64(2+i))
		if got := len(f.read(team, 0)); got != 2+i {
			f.Errorf("team %s has %d events, want %d", team, got, 2+i)
		}
	}
}

func testBytes(f *fixture) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want []auditdrain.Event
	var all []byte // bodies that share memory, as those of a request may
	for i := range 300 {
		n := rng.IntN(2000)
		if i%50 == 0 {
			n = auditdrain.MaxEventBytes
		}
		begin := len(all)
		for range n {
			all = append(all, byte(rng.Uint32()))
		}
		want = append(want, auditdrain.Event{
			ID:        fmt.Sprintf("%0*d", 1+i%128, i),
			Timestamp: rng.Int64N(1<<45) - 1<<44,
			Body:      all[begin:],
		})
	}
	f.append(batch("a", want...))
	for range 2 {
		got := f.read("a", 0)
		if len(got) != len(want) {
			f.Fatalf("%d events, want %d", len(got), len(want))
		}
		for i, w := range want {
			if g := got[i]; g.ID != w.ID || g.Timestamp != w.Timestamp || !bytes.Equal(g.Body, w.Body) {
				f.Errorf("event %d: got %s at %d (%d bytes), want %s at %d (%d bytes)", i, g.ID, g.Timestamp, len(g.Body), w.ID, w.Timestamp, len(w.Body))
			}
		}
		// Bodies share memory, maybe, but not so that appending to one changes
		// the next.
		_ = append(got[0].Body, "overflow"...)
		if !bytes.Equal(got[1].Body, want[1].Body) {
			f.Error("appending to one body changed the next")
		}
		f.reopen()
	}
}

func testAcceptedAt(f *fixture) {
	start := f.time
	f.time = start.Add(1234567 * time.Nanosecond) // 1 ms 234 µs 567 ns
	f.append(batch("a", event("1")), batch("b", event("1")))
	f.time = start.Add(-time.Hour) // the clock was set back
	f.append(batch("a", events("2", "3")...))
	f.reopen()
	f.append(batch("a", event("4")))
	f.append(batch("c", event("1"))) // another team has its own time
	f.time = start.Add(time.Second)
	f.append(batch("a", event("5")))
	want := []time.Time{
		start.Add(1234 * time.Microsecond), start.Add(1234 * time.Microsecond), start.Add(1234 * time.Microsecond),
		start.Add(1234 * time.Microsecond), start.Add(time.Second),
	}
	var got []time.Time
	for _, e := range f.read("a", 0) {
		got = append(got, e.AcceptedAt)
	}
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("times of acceptance (-want +got):\n%s", d)
	}
	if got := f.read("c", 0)[0].AcceptedAt; !got.Equal(start.Add(-time.Hour)) {
		f.Errorf("team c's event was accepted at %v", got)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Readers see each team's numbers without a gap at any time, and what has been
// acknowledged at once.
func testConcurrentAppends(f *fixture) {
	const writers, rounds = 8, 25
	teams := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				team, second := teams[(w+r)%len(teams)], teams[(w+r+1)%len(teams)]
				id := fmt.Sprintf("%d-%d-", w, r)
				results, err := f.Append(f.ctx, []auditdrain.Batch{
					batch(team, numbered(id, 1+r%5)...),
					batch(second, event(id+"x")),
				})
				if err != nil {
					f.Error(err)
					return
				}
				f.wantResults(results, auditdrain.BatchResult{Accepted: 1 + r%5}, auditdrain.BatchResult{Accepted: 1})
				if last, _, err := f.Last(f.ctx, team); err != nil || last < uint64(1+r%5) {
					f.Errorf("last number %d, %v after an acknowledgement", last, err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for _, team := range teams {
		readers.Go(func() {
			var after uint64
			for {
				stopped := isClosed(stop)
				es, err := f.Read(f.ctx, team, after, 50, noLimit)
				if err != nil {
					f.Error(err)
					return
				}
				for _, e := range es {
					if after++; e.Seq != after {
						f.Errorf("team %s: number %d after %d", team, e.Seq, after-1)
						return
					}
				}
				if stopped && len(es) == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	total := 0
	for _, team := range teams {
		seen := map[string]bool{}
		for _, e := range f.read(team, 0) {
			seen[e.ID] = true
		}
		f.wantLast(team, uint64(len(seen)))
		total += len(seen)
	}
	if want := writers * rounds / 5 * (1 + 2 + 3 + 4 + 5 + 5); total != want {
		f.Errorf("%d events, want %d", total, want)
	}
}

// However often and at once a batch is sent, it is stored once.
func testConcurrentResends(f *fixture) {
	const senders = 8
	for round := range 20 {
		es := numbered(fmt.Sprintf("r%d-", round), 10)
		var mu sync.Mutex
		accepted := 0
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				mine := slices.Clone(es)
				rand.New(rand.NewPCG(uint64(round), uint64(s))).Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				r, err := f.Append(f.ctx, []auditdrain.Batch{batch("a", mine...)})
				if err != nil {
					f.Error(err)
					return
				}
				// Acknowledged is acknowledged, also as a duplicate.
				last, _, err := f.Last(f.ctx, "a")
				if err != nil || last < uint64(10*(round+1)) {
					f.Errorf("last number is %d (%v) after an acknowledgement, want at least %d", last, err, 10*(round+1))
				}
				mu.Lock()
				defer mu.Unlock()
				accepted += r[0].Accepted
				if r[0].Accepted+r[0].Duplicates != len(es) {
					f.Errorf("result %+v", r[0])
				}
			})
		}
		wg.Wait()
		if accepted != len(es) {
			f.Fatalf("%d events accepted, want %d", accepted, len(es))
		}
	}
	f.wantLast("a", 200)
}

func testCancelled(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	if _, err := f.Append(ctx, []auditdrain.Batch{batch("a", event("1"))}); !errors.Is(err, context.Canceled) {
		f.Errorf("Append: %v", err)
	}
	if _, err := f.Read(ctx, "a", 0, 1, 1); !errors.Is(err, context.Canceled) {
		f.Errorf("Read: %v", err)
	}
	f.wantResults(f.append(batch("a", event("1"))), auditdrain.BatchResult{Accepted: 1})
}
