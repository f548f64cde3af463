package deliver

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// BenchmarkDeliver is what delivery itself costs: store and destinations
// answer at once.
func BenchmarkDeliver(b *testing.B) {
	for _, drains := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("drains=%d", drains), func(b *testing.B) {
			s := &instantStore{drains: drains, events: uint64(b.N/drains + 1)}
			d := New(s, s, func(auditdrain.Drain, bool) (Destination, error) { return s, nil }, Options{})
			ctx, cancel := context.WithCancel(b.Context())
			s.end = cancel
			b.ReportAllocs()
			b.ResetTimer()
			if err := d.Run(ctx); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(s.puts.Load())/float64(b.N), "puts/op")
		})
	}
}

// instantStore has the same events for many teams, of one drain each.
type instantStore struct {
	drains int
	events uint64 // of each
	puts   atomic.Int64
	end    func() // when all are written
}

func (s *instantStore) Drains(context.Context, auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	all := make([]auditdrain.Drain, s.drains)
	for i := range all {
		all[i] = auditdrain.Drain{ID: fmt.Sprint("d", i), TeamID: fmt.Sprint("t", i)}
	}
	return all, nil
}

func (s *instantStore) Read(_ context.Context, _ string, after uint64, maxEvents, _ int) ([]auditdrain.StoredEvent, error) {
	events := make([]auditdrain.StoredEvent, min(uint64(maxEvents), s.events-after))
	now := time.Now()
	for i := range events {
		events[i].Seq, events[i].AcceptedAt = after+uint64(i)+1, now
	}
	return events, nil
}

func (s *instantStore) DeliveryState(_ context.Context, id string) (auditdrain.DeliveryState, error) {
	return auditdrain.DeliveryState{DrainID: id}, nil
}

func (s *instantStore) Instructions(context.Context, string) (auditdrain.Instructions, error) {
	return auditdrain.Instructions{}, nil
}

func (s *instantStore) SaveProgress(context.Context, []auditdrain.Progress) ([]string, error) {
	return nil, nil
}

func (s *instantStore) PutDocument(context.Context, string, []byte, map[string]string) (auditdrain.PutResult, error) {
	return auditdrain.PutResult{}, nil
}

func (s *instantStore) Put(context.Context, auditdrain.Event) (auditdrain.PutResult, error) {
	if s.puts.Add(1) == int64(s.drains)*int64(s.events) {
		s.end()
	}
	return auditdrain.PutResult{}, nil
}

func (s *instantStore) Close() {}
