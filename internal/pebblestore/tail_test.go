package pebblestore

import (
	"fmt"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// Whatever comes, the tail keeps to its bound, holds the latest events, and
// nothing is left of teams of which it holds none.
func TestTailIsBounded(t *testing.T) {
	const most, teams = 100_000, 3000
	s := mustOpen(t, t.TempDir(), Options{TailBytes: most})
	defer s.Close()
	for round := range 3 {
		var batches []auditdrain.Batch
		for i := range teams {
			batches = append(batches, auditdrain.Batch{TeamID: fmt.Sprint("team_", i), Events: benchEvents(1 + i%3)})
			if len(batches) == 10 {
				if _, err := s.Append(t.Context(), batches); err != nil {
					t.Fatal(err)
				}
				batches = nil
			}
		}
		e := s.engine.Load()
		bytes, chunks := 0, 0
		for team, q := range e.seqs {
			for i, c := range q.tail {
				bytes += c.bytes
				chunks++
				if i > 0 && c.events[0].Seq != q.tail[i-1].events[len(q.tail[i-1].events)-1].Seq+1 {
					t.Fatalf("%s: events before %d are missing", team, c.events[0].Seq)
				}
			}
			if len(q.tail) == 0 && q.tail != nil {
				t.Fatalf("%s: %d places are left", team, cap(q.tail))
			}
		}
		if bytes != e.tails.bytes || chunks != len(e.tails.chunks) || bytes > most || bytes < most*9/10 {
			t.Errorf("round %d: %d bytes in %d chunks, counted as %d in %d, of at most %d", round, bytes, chunks, e.tails.bytes, len(e.tails.chunks), most)
		}
		if latest := e.seqs[fmt.Sprint("team_", teams-1)]; latest.tail == nil {
			t.Error("the latest events are not in memory")
		}
	}
	// What is larger than all of it leaves it empty.
	if _, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: "large", Events: benchEvents(200)}}); err != nil {
		t.Fatal(err)
	}
	if e := s.engine.Load(); e.tails.bytes != 0 || e.tails.chunks != nil || e.seqs["large"].tail != nil {
		t.Errorf("%d bytes in %d chunks are left", e.tails.bytes, len(e.tails.chunks))
	}
	if es, err := s.Read(t.Context(), "large", 0, 1000, 1<<20); err != nil || len(es) != 200 {
		t.Errorf("%d events read, %v, want 200", len(es), err)
	}
}

// Readers that keep up read from memory, the others from disk.
func TestReadsAreCounted(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{TailBytes: 30_000})
	defer s.Close()
	var after uint64
	for range 20 {
		if _, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: "a", Events: benchEvents(10)}}); err != nil {
			t.Fatal(err)
		}
		es, err := s.Read(t.Context(), "a", after, 100, 1<<20)
		if err != nil || len(es) != 10 {
			t.Fatalf("%d events, %v", len(es), err)
		}
		after += 10
	}
	if got := counted(t, s, "auditdrain_store_read_events_total"); got["memory"] != 200 || got["disk"] != 0 {
		t.Errorf("events read by one that keeps up: %v", got)
	}
	for after = 0; after < 200; after += 10 {
		if es, err := s.Read(t.Context(), "a", after, 10, 1<<20); err != nil || len(es) != 10 || es[0].Seq != after+1 {
			t.Fatalf("%d events, %v", len(es), err)
		}
	}
	if got := counted(t, s, "auditdrain_store_read_events_total"); got["disk"] < 150 || got["memory"]+got["disk"] != 400 {
		t.Errorf("events read by one that lags, and the other: %v", got)
	}
}
