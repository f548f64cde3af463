package pgstore

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

func mustOpen(t testing.TB, p place, opts Options) *Store {
	t.Helper()
	opts.Logger = discard()
	s, err := Open(t.Context(), p.url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingIsPassed has three nodes append to the same few teams, several
// teams at once and in any order, while readers on all of them follow. A reader
// that passes an event because it became visible late would never see it; here
// it sees a gap.
func TestNothingIsPassed(t *testing.T) {
	leaktest.Check(t)
	const writers, readers, rounds, teams = 24, 3, 40, 5
	p := newPlace(t)
	var nodes []*Store
	for range 3 {
		nodes = append(nodes, mustOpen(t, p, Options{MaxConns: 16}))
	}
	ctx := t.Context()
	var appended [teams]atomic.Uint64
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for r := range rounds {
				var batches []auditdrain.Batch
				for _, team := range rng.Perm(teams)[:1+rng.IntN(teams)] {
					b := auditdrain.Batch{TeamID: fmt.Sprint("team", team)}
					for i := range 1 + rng.IntN(3) {
						b.Events = append(b.Events, auditdrain.Event{ID: fmt.Sprintf("%d-%d-%d", w, r, i), Body: make([]byte, 1+rng.IntN(50))})
					}
					appended[team].Add(uint64(len(b.Events)))
					batches = append(batches, b)
				}
				if _, err := nodes[w%len(nodes)].Append(ctx, batches); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	for n := range readers * teams {
		reading.Go(func() {
			node, team := nodes[n%len(nodes)], n/readers
			var cursor, total uint64
			for last := false; ; {
				es, err := node.Read(ctx, fmt.Sprint("team", team), cursor, 64, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range es {
					total += uint64(len(e.Body))
					if cursor++; e.Seq != cursor || e.TotalBytes != total {
						t.Errorf("team %d: event %d with %d bytes so far comes after event %d, which makes %d", team, e.Seq, e.TotalBytes, cursor-1, total)
						return
					}
				}
				if last && len(es) == 0 {
					if want := appended[team].Load(); cursor != want {
						t.Errorf("team %d: a reader came to event %d of %d", team, cursor, want)
					}
					return
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}

// Append sends all that it has to say at once, so that a node that stops in the
// middle of it holds nothing up.
func TestAppendIsOneRoundTrip(t *testing.T) {
	p := newFaultyPlace(t).(*faultyPlace)
	s, err := p.Open(time.Now)
	must(t, err)
	batches := []auditdrain.Batch{
		{TeamID: "b", Events: []auditdrain.Event{{ID: "1", Body: []byte("x")}}},
		{TeamID: "a", Events: []auditdrain.Event{{ID: "1", Body: []byte("x")}}},
		{TeamID: "a", Events: []auditdrain.Event{{ID: "1", Body: []byte("x")}, {ID: "2", Body: []byte("x")}}},
	}
	const calls = 10
	for range 3 { // statements are prepared, the partition is made
		_, err = s.Append(t.Context(), batches)
		must(t, err)
	}
	before := p.proxy.turns.Load()
	for range calls {
		_, err = s.Append(t.Context(), batches)
		must(t, err)
	}
	if got := p.proxy.turns.Load() - before; got != calls {
		t.Errorf("%d calls took %d round trips", calls, got)
	}
}
