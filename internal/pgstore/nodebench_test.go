package pgstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
)

const benchDrains = 10_000

// BenchmarkNode is what one of three nodes that share 10,000 drains asks the
// database all the time.
func BenchmarkNode(b *testing.B) {
	s := withDrains(b, benchDrains)
	n := benchNode(b, s)
	exec := func(sql string, args ...any) {
		b.Helper()
		must(b, s.exec(b.Context(), "bench", sql, args...))
	}
	exec(`UPDATE delivery SET epoch = 1, owner = CASE abs(hashtext(drain_id)) % 3 WHEN 0 THEN $1 WHEN 1 THEN 'second' ELSE 'third' END`, n.id)
	exec(`INSERT INTO nodes SELECT id, 0, ` + nowSQL + `, 1000000000 FROM unnest('{second,third}'::text[]) AS id`)
	must(b, n.connect(b.Context()))
	b.Cleanup(n.own.pool.Close)
	c := newCrew(b, n)
	must(b, n.beat(b.Context(), c))
	must(b, n.look(b.Context(), c))
	exec(`VACUUM ANALYZE`)
	b.Run("beat", func(b *testing.B) {
		for b.Loop() {
			must(b, n.beat(context.Background(), c))
		}
	})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			must(b, n.look(context.Background(), c))
		}
	})
	poll := func(b *testing.B) {
		for b.Loop() {
			_, err := n.poll(context.Background())
			must(b, err)
		}
	}
	b.Run("poll/all-behind", poll)
	exec(`UPDATE delivery SET cursor = 10`)
	exec(`VACUUM ANALYZE`)
	b.Run("poll/none-behind", poll)
}

func benchNode(b *testing.B, s *Store) *Node {
	b.Helper()
	n, err := s.Node(NodeOptions{})
	must(b, err)
	return n
}

// nowhere takes everything.
type nowhere struct{ written *atomic.Int64 }

func (w nowhere) Put(context.Context, auditdrain.Event) (auditdrain.PutResult, error) {
	w.written.Add(1)
	return auditdrain.PutResult{}, nil
}

func (w nowhere) PutDocument(context.Context, string, []byte, map[string]string) (auditdrain.PutResult, error) {
	return auditdrain.PutResult{}, nil
}

func (nowhere) Close() {}

// BenchmarkNodes has three nodes share 10,000 drains, each of a team of its own,
// while b.N events come in, one at a time, on each of them. It tells of what kind
// the statements are.
func BenchmarkNodes(b *testing.B) {
	s := withDrains(b, benchDrains)
	must(b, s.exec(b.Context(), "bench", `UPDATE delivery SET cursor = 10`))
	var written atomic.Int64
	var stores []*Store
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range 3 {
		store, err := Open(b.Context(), s.pool.Config().ConnString(), Options{Logger: discard()})
		must(b, err)
		b.Cleanup(func() { _ = store.Close() })
		n := benchNode(b, store)
		d := deliver.New(n, n, func(auditdrain.Drain, bool) (deliver.Destination, error) { return nowhere{&written}, nil }, deliver.Options{})
		running.Go(func() {
			delivering, stop := context.WithCancel(context.Background())
			var parts sync.WaitGroup
			parts.Go(func() { must(b, d.Run(delivering)) })
			parts.Go(func() { must(b, n.Run(ctx, d)) })
			<-ctx.Done()
			stop()
			parts.Wait()
		})
		stores = append(stores, store)
	}
	owned := func() (n int) {
		must(b, s.pool.QueryRow(b.Context(), `SELECT count(*) FROM delivery WHERE owner <> ''`).Scan(&n))
		return n
	}
	eventually(b, "all drains have an owner", func() bool { return owned() == benchDrains })
	count := func(purpose string) (n float64) {
		for _, s := range stores {
			var m dto.Metric
			must(b, s.metrics.statements.WithLabelValues(purpose).Write(&m))
			n += m.GetCounter().GetValue()
		}
		return n
	}
	before := map[string]float64{"leases": count("leases"), "news": count("news"), "work": count("work")}
	body := make([]byte, 700)
	written.Store(0)
	b.ResetTimer()
	var next atomic.Int64
	var sending sync.WaitGroup
	for i := range 24 {
		sending.Go(func() {
			for id := next.Add(1); id <= int64(b.N); id = next.Add(1) {
				batch := auditdrain.Batch{TeamID: fmt.Sprint("team", 1+rand.IntN(benchDrains)), Events: []auditdrain.Event{{ID: fmt.Sprint(id), Body: body}}}
				if _, err := stores[i%3].Append(b.Context(), []auditdrain.Batch{batch}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	eventually(b, "all is delivered", func() bool { return written.Load() >= int64(b.N) })
	seconds := b.Elapsed().Seconds()
	b.StopTimer()
	all := 0.0
	for purpose, n := range before {
		all += count(purpose) - n
	}
	for purpose, n := range before {
		b.ReportMetric(100*(count(purpose)-n)/all, purpose+"-%")
	}
	b.ReportMetric(float64(b.N)/seconds, "events/s")
	b.ReportMetric(all/float64(b.N), "statements/event")
	cancel()
}
