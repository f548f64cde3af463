package pebblestore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

func benchStore(b *testing.B, opts Options) *Store {
	s, err := Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// benchEvents returns events of about 700 bytes with random IDs, which is the
// hard case for the index.
func benchEvents(n int) []auditdrain.Event {
	es := make([]auditdrain.Event, n)
	for i := range es {
		id := fmt.Sprintf("evt_%016x%08x", rand.Uint64(), rand.Uint32())
		body := fmt.Appendf(nil, `{"id":%q,"payload":{"x":"`, id)
		for len(body) < 700 {
			body = fmt.Appendf(body, "%x", rand.Uint64())
		}
		es[i] = auditdrain.Event{ID: id, Timestamp: 1_700_000_000_000, Body: append(body, `"}}`...)}
	}
	return es
}

// BenchmarkAppend appends batches of so many events, one or many callers at a
// time, without a Committer to group them. One op is one event.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("batch=%d/callers=%d", size, callers), func(b *testing.B) {
				s := benchStore(b, Options{})
				es := benchEvents(b.N)
				b.SetBytes(700)
				b.ReportAllocs()
				b.ResetTimer()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for {
							end := int(next.Add(int64(size)))
							begin := end - size
							if begin >= b.N {
								return
							}
							team := fmt.Sprintf("team_%d", begin/size%50)
							r, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: team, Events: es[begin:min(end, b.N)]}})
							if err != nil || len(r[0].Conflicts) > 0 {
								b.Error(r, err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkAppendStored appends to a store that holds a million events, most
// of them in sorted files. One op is one event.
func BenchmarkAppendStored(b *testing.B) {
	s := benchStore(b, Options{})
	const stored = 1_000_000
	for i := range stored / 10_000 {
		if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: fmt.Sprintf("team_%d", i%50), Events: benchEvents(10_000)}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			es := benchEvents(b.N)
			b.SetBytes(700)
			b.ReportAllocs()
			b.ResetTimer()
			for begin := 0; begin < b.N; begin += size {
				team := fmt.Sprintf("team_%d", begin%50)
				if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: team, Events: es[begin:min(begin+size, b.N)]}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead reads windows of so many events, from memory and from disk.
// One op is one event.
func BenchmarkRead(b *testing.B) {
	for _, from := range []struct {
		name string
		opts Options
	}{
		{"memory", Options{}},
		{"disk", Options{TailBytes: -1}},
	} {
		s := benchStore(b, from.opts)
		const stored = 50_000
		for range stored / 10_000 {
			if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: "team", Events: benchEvents(10_000)}}); err != nil {
				b.Fatal(err)
			}
		}
		for _, window := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("%s/window=%d", from.name, window), func(b *testing.B) {
				b.SetBytes(700)
				b.ReportAllocs()
				var after uint64
				for n := 0; n < b.N; {
					es, err := s.Read(b.Context(), "team", after, window, 64<<20)
					if err != nil {
						b.Fatal(err)
					}
					n += len(es)
					if after += uint64(len(es)); after >= stored {
						after = 0
					}
				}
			})
		}
	}
}

// BenchmarkRetain removes b.N delivered events of 50 teams while events are
// appended, one batch of ten every 5 ms, and reports how long those took
// without it and with it. Run it with -benchtime 5000000x. One op is one event.
func BenchmarkRetain(b *testing.B) {
	const teams, batch = 50, 1000
	s := benchStore(b, Options{})
	for i := range teams {
		id := fmt.Sprint("team_", i)
		if err := s.CreateTeam(b.Context(), auditdrain.Team{ID: id, Slug: id}, nil); err != nil {
			b.Fatal(err)
		}
		d := auditdrain.NewDrain(id, "d", auditdrain.Delivery{}, time.Now())
		d.ID = "drain_" + id
		if err := s.CreateDrain(b.Context(), d, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	appendTo := func(team int, n int) {
		if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: fmt.Sprint("team_", team), Events: benchEvents(n)}}); err != nil {
			b.Error(err)
		}
	}
	for n := 0; n < b.N; n += batch {
		appendTo(n/batch%teams, min(batch, b.N-n))
	}
	var progress []auditdrain.Progress
	for i := range teams {
		id := fmt.Sprint("team_", i)
		last, _, err := s.Last(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		progress = append(progress, auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: "drain_" + id, Cursor: last}})
	}
	if _, err := s.SaveProgress(b.Context(), progress); err != nil {
		b.Fatal(err)
	}
	// measure returns how long appends take until done is closed, sorted.
	measure := func(done <-chan struct{}) (took []time.Duration) {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for team := 0; ; team++ {
			es := benchEvents(10)
			begin := time.Now()
			if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: fmt.Sprint("team_", team%teams), Events: es}}); err != nil {
				b.Error(err)
			}
			took = append(took, time.Since(begin))
			select {
			case <-ticker.C:
			case <-done:
				slices.Sort(took)
				return took
			}
		}
	}
	quiet, stop := context.WithTimeout(b.Context(), 5*time.Second)
	defer stop()
	alone := measure(quiet.Done())

	b.ResetTimer()
	retained := make(chan struct{})
	go func() {
		defer close(retained)
		if n, err := s.Retain(b.Context(), 0); err != nil || n != b.N {
			b.Errorf("%d events removed, %v, want %d", n, err, b.N)
		}
	}()
	during := measure(retained)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "removed/s")
	for name, took := range map[string][]time.Duration{"alone": alone, "retain": during} {
		b.ReportMetric(took[len(took)/2].Seconds()*1000, name+"-p50-ms")
		b.ReportMetric(took[len(took)*99/100].Seconds()*1000, name+"-p99-ms")
		b.ReportMetric(took[len(took)-1].Seconds()*1000, name+"-max-ms")
	}
}

// BenchmarkSaveProgress saves the progress of 10,000 drains in one call. One op
// is one call.
func BenchmarkSaveProgress(b *testing.B) {
	s := benchStore(b, Options{})
	const drains = 10_000
	ids := benchDrains(b, s, 1000, drains)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		progress := make([]auditdrain.Progress, drains)
		for i, id := range ids {
			progress[i].State = auditdrain.DeliveryState{
				DrainID: id, Cursor: n % 100, Delivered: n, LastDeliveryAt: time.Now().UnixMilli(), Window: 16, SessionExpiresAt: 1_800_000_000_000,
			}
		}
		if gone, err := s.SaveProgress(b.Context(), progress); err != nil || len(gone) > 0 {
			b.Fatal(len(gone), err)
		}
	}
}

// benchDrains creates drains of so many teams that have events.
func benchDrains(b *testing.B, s *Store, teams, drains int) (ids []string) {
	for i := range teams {
		id := fmt.Sprint("team_", i)
		if err := s.CreateTeam(b.Context(), auditdrain.Team{ID: id, Slug: id, Name: "Customer " + id}, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Append(b.Context(), []auditdrain.Batch{{TeamID: id, Events: benchEvents(100)}}); err != nil {
			b.Fatal(err)
		}
	}
	var creating sync.WaitGroup
	for i := range drains {
		d := auditdrain.NewDrain(fmt.Sprint("team_", i%teams), fmt.Sprint("archive ", i),
			auditdrain.Delivery{Endpoint: fmt.Sprintf("s3://customer-%d-audit-logs/audit", i)}, time.Now())
		ids = append(ids, d.ID)
		creating.Go(func() {
			if err := s.CreateDrain(b.Context(), d, 1, nil); err != nil {
				b.Error(err)
			}
		})
	}
	creating.Wait()
	return ids
}

// BenchmarkFindDrains finds one page of 50 among 10,000 drains of as many teams,
// all with the same backlog. One op is one page.
func BenchmarkFindDrains(b *testing.B) {
	s := benchStore(b, Options{})
	benchDrains(b, s, 10_000, 10_000)
	for _, c := range []struct {
		name   string
		search auditdrain.DrainSearch
	}{
		{"all", auditdrain.DrainSearch{}},
		{"last page", auditdrain.DrainSearch{Offset: 9950}},
		{"errored", auditdrain.DrainSearch{Status: auditdrain.StatusErrored}},
		{"text in all", auditdrain.DrainSearch{Text: "Audit"}},
		{"text in one", auditdrain.DrainSearch{Text: "customer-7777"}},
		{"team", auditdrain.DrainSearch{TeamID: "team_7"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.search.Limit = 50
			b.ReportAllocs()
			for b.Loop() {
				if _, _, _, err := s.FindDrains(b.Context(), c.search); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSeal seals an empty hour of each of 10,000 drains, as many callers at a
// time as said, and notes that its manifest is written. One op is one drain's hour.
func BenchmarkSeal(b *testing.B) {
	const drains = 10_000
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := benchStore(b, Options{})
			ids := benchDrains(b, s, 1000, drains)
			begin := time.Now().UnixMilli()
			as := auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: auditdrain.Delivery{Endpoint: "s3://customer-audit-logs/audit", Integrity: true}}}
			seal := func(id string, req auditdrain.SealRequest) {
				if _, err := s.Seal(b.Context(), id, req); err != nil {
					b.Error(err)
				}
			}
			each := func(n int, f func(n int)) {
				var wg sync.WaitGroup
				var next atomic.Int64
				for range callers {
					wg.Go(func() {
						for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
							f(i)
						}
					})
				}
				wg.Wait()
			}
			each(drains, func(i int) { seal(ids[i], auditdrain.SealRequest{As: &as, At: begin}) })
			var sealing, writing time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += drains {
				hour := done/drains + 1
				n := min(drains, b.N-done)
				at := begin + int64(hour)*time.Hour.Milliseconds()
				start := time.Now()
				each(n, func(i int) { seal(ids[i], auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at}) })
				sealed := time.Now()
				each(n, func(i int) {
					if err := s.SealWritten(b.Context(), ids[i], uint64(hour), "head", at); err != nil {
						b.Error(err)
					}
				})
				sealing, writing = sealing+sealed.Sub(start), writing+time.Since(sealed)
			}
			b.ReportMetric(float64(sealing.Microseconds())/float64(b.N), "µs/seal")
			b.ReportMetric(float64(writing.Microseconds())/float64(b.N), "µs/written")
		})
	}
}
