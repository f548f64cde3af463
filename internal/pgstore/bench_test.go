package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

func BenchmarkAppend(b *testing.B) {
	const teams, events, callers = 100, 100, 8
	s := mustOpen(b, newPlace(b), Options{})
	var n atomic.Int64
	body := make([]byte, 700)
	for i := range body {
		body[i] = byte('a' + i%26)
	}
	b.SetParallelism(max(callers/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := n.Add(1)
			batch := auditdrain.Batch{TeamID: fmt.Sprint("team", id%teams)}
			for i := range events {
				batch.Events = append(batch.Events, auditdrain.Event{ID: fmt.Sprintf("uev_%020d%d", id, i), Body: body})
			}
			r, err := s.Append(context.Background(), []auditdrain.Batch{batch})
			if err != nil || r[0].Accepted != events {
				b.Errorf("%+v, %v", r, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkRead(b *testing.B) {
	s := mustOpen(b, newPlace(b), Options{})
	const events = 10_000
	batch := auditdrain.Batch{TeamID: "a"}
	for i := range events {
		batch.Events = append(batch.Events, auditdrain.Event{ID: fmt.Sprint(i), Body: make([]byte, 700)})
	}
	_, err := s.Append(context.Background(), []auditdrain.Batch{batch})
	must(b, err)
	for _, window := range []int{1, 64} {
		b.Run(fmt.Sprint("events=", window), func(b *testing.B) {
			for i := range b.N {
				es, err := s.Read(context.Background(), "a", uint64(i*window%(events-window)), window, 1<<20)
				if err != nil || len(es) != window {
					b.Fatal(len(es), err)
				}
			}
			b.ReportMetric(float64(b.N*window)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// withDrains fills a store with drains of as many teams, each with a backlog of
// ten events, much faster than by its methods.
func withDrains(b *testing.B, n int) *Store {
	s := mustOpen(b, newPlace(b), Options{})
	err := s.do(context.Background(), "fill", func(ctx context.Context, c *pgx.Conn) error {
		batch := &pgx.Batch{}
		for _, sql := range []string{
			`INSERT INTO teams SELECT 'team' || i, 'team' || i, '{"id":"team' || i || '"}' FROM generate_series(1, $1::int) i`,
			`INSERT INTO drains SELECT 'drain' || i, 'team' || i, i, false, 'drain' || i, 1, '{"id":"drain' || i || '","teamId":"team' || i || '"}' FROM generate_series(1, $1::int) i`,
			`INSERT INTO delivery (drain_id, team_id, cursor) SELECT 'drain' || i, 'team' || i, 0 FROM generate_series(1, $1::int) i`,
			`INSERT INTO sequences (team_id, last_seq) SELECT 'team' || i, 10 FROM generate_series(1, $1::int) i`,
		} {
			batch.Queue(sql, n)
		}
		return pipeline(ctx, c, batch)
	})
	must(b, err)
	return s
}

func BenchmarkSaveProgress(b *testing.B) {
	const drains = 10_000
	s := withDrains(b, drains)
	for _, n := range []int{1, 100, drains} {
		b.Run(fmt.Sprint("drains=", n), func(b *testing.B) {
			progress := make([]auditdrain.Progress, n)
			for i := range progress {
				progress[i].State = auditdrain.DeliveryState{DrainID: fmt.Sprint("drain", 1+i*(drains/n)), Cursor: 5, Delivered: 5, LastDeliveryAt: 1_700_000_000_000}
			}
			for range b.N {
				if gone, err := s.SaveProgress(context.Background(), progress); err != nil || gone != nil {
					b.Fatal(gone, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/drain")
		})
	}
}

func BenchmarkFindDrains(b *testing.B) {
	s := withDrains(b, 10_000)
	for b.Loop() {
		if found, _, _, err := s.FindDrains(context.Background(), auditdrain.DrainSearch{Text: "drain", Limit: 50}); err != nil || len(found) != 50 {
			b.Fatal(len(found), err)
		}
	}
}

// Most teams of many have nothing to remove.
func BenchmarkRetainNothing(b *testing.B) {
	s := withDrains(b, 10_000)
	for b.Loop() {
		if _, err := s.Retain(context.Background(), 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSeal seals an hour of each of many drains in which nothing has happened.
func BenchmarkSeal(b *testing.B) {
	s := withDrains(b, benchDrains)
	as, err := json.Marshal(asNow("json").Rendering)
	must(b, err)
	sql(b, s, `UPDATE delivery SET cursor = 10`)
	sql(b, s, `
INSERT INTO chains (drain_id, team_id, sequence, activity, needs, data)
SELECT drain_id, team_id, 11, 0, 11, format('{"drainId":"%s","teamId":"%s","sequence":11,"since":%s,"as":%s}', drain_id, team_id, $1::bigint, $2::text) FROM delivery`,
		int64(at), string(as))
	sql(b, s, `VACUUM ANALYZE`)
	var n atomic.Int64
	statements := counted(b, s.metrics.statements.WithLabelValues("work"))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1) - 1
			req := auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + (1+i/benchDrains)*hour}
			if _, err := s.Seal(context.Background(), fmt.Sprint("drain", 1+i%benchDrains), req); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric((counted(b, s.metrics.statements.WithLabelValues("work"))-statements)/float64(b.N), "statements/op")
	seals, err := list(b.Context(), s, "count seals", pgx.RowTo[int], `SELECT count(*) FROM seals`)
	must(b, err)
	if seals[0] != b.N {
		b.Errorf("%d seals, want %d", seals[0], b.N)
	}
}
