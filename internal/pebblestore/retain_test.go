package pebblestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/auditdrain/auditdrain"
)

func saveCursor(ctx context.Context, s *Store, drainID string, seq uint64) error {
	_, err := s.SaveProgress(ctx, []auditdrain.Progress{{State: auditdrain.DeliveryState{DrainID: drainID, Cursor: seq}}})
	return err
}

// TestRetainCountsFromDelivery has a drain that is paused for longer than
// events are kept.
func TestRetainCountsFromDelivery(t *testing.T) {
	const keep = 7 * 24 * time.Hour
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir, Options{Now: func() time.Time { return now }, Logger: discard()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.CreateTeam(ctx, auditdrain.Team{ID: "a", Slug: "a", Name: "A"}, nil))
	drain := auditdrain.NewDrain("a", "d", auditdrain.Delivery{}, now)
	must(s.CreateDrain(ctx, drain, 0, nil))
	batch := auditdrain.Batch{TeamID: "a"}
	for i := range 10 {
		batch.Events = append(batch.Events, auditdrain.Event{ID: fmt.Sprint(i), Body: []byte(fmt.Sprintf(`{"n":%d}`, i))})
	}
	_, err := s.Append(ctx, []auditdrain.Batch{batch})
	must(err)

	// retain calls Retain as often as serve does, or nearly, for a while.
	retain := func(d time.Duration) (removed int) {
		t.Helper()
		for end := now.Add(d); now.Before(end); now = now.Add(time.Hour) {
			n, err := s.Retain(ctx, keep)
			must(err)
			removed += n
		}
		return removed
	}
	if n := retain(30 * 24 * time.Hour); n != 0 {
		t.Errorf("%d undelivered events were removed", n)
	}
	must(saveCursor(ctx, s, drain.ID, 6))
	if n := retain(keep); n != 0 {
		t.Errorf("%d events were removed before they had been delivered for %s", n, keep)
	}
	must(s.Close())
	s = open() // what was delivered when is not forgotten
	if n := retain(keep/marksKept + 2*time.Hour); n != 6 {
		t.Errorf("%d events were removed when their time was over, want the 6 delivered", n)
	}
	must(saveCursor(ctx, s, drain.ID, 10))
	if n := retain(keep - time.Hour); n != 0 {
		t.Errorf("%d events were removed too early", n)
	}
	again, err := s.Append(ctx, []auditdrain.Batch{{TeamID: "a", Events: batch.Events[6:]}})
	must(err)
	if again[0].Duplicates != 4 {
		t.Errorf("events that are kept, sent again: %+v, want 4 duplicates", again[0])
	}
	if n := retain(keep/marksKept + 4*time.Hour); n != 4 {
		t.Errorf("%d events were removed at last, want 4", n)
	}
	must(s.Close())
}

func TestRetainNothing(t *testing.T) {
	s, err := Open(t.TempDir(), Options{Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: "a", Events: []auditdrain.Event{{ID: "1", Body: []byte("{}")}}}}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Retain(t.Context(), 0); err != nil || n != 1 {
		t.Errorf("removed %d (%v), want 1: the team has no drain and nothing is kept", n, err)
	}
}

// IDs are used again while the index is swept of what it says of the events
// that had them: the new events must stay known.
func TestIDsUsedAgainDuringSweep(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	defer s.Close()
	ctx := t.Context()
	if err := s.CreateTeam(ctx, auditdrain.Team{ID: "a", Slug: "a"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateDrain(ctx, auditdrain.Drain{ID: "d", TeamID: "a"}, 0, nil); err != nil {
		t.Fatal(err)
	}
	send := func(es ...auditdrain.Event) auditdrain.BatchResult {
		r, err := s.Append(ctx, []auditdrain.Batch{{TeamID: "a", Events: es}})
		if err != nil {
			t.Error(err)
			return auditdrain.BatchResult{}
		}
		return r[0]
	}
	es := benchEvents(6000)
	if r := send(es...); r.Accepted != len(es) {
		t.Fatalf("%+v", r)
	}
	send(benchEvents(1)...) // stays, or the index would go as a whole
	var removed atomic.Bool
	var wg sync.WaitGroup
	var again []auditdrain.Event // those that came again after they were removed
	if err := saveCursor(ctx, s, "d", uint64(len(es))); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for i := 0; !removed.Load(); i++ {
			e := es[i%len(es)]
			if r := send(e); r.Accepted == 1 {
				again = append(again, e)
			}
		}
	})
	if n, err := s.Retain(ctx, 0); err != nil || n != len(es) {
		t.Fatalf("%d removed, %v", n, err)
	}
	removed.Store(true)
	wg.Wait()
	if len(again) == 0 {
		t.Fatal("no ID was used again meanwhile")
	}
	if r := send(again...); r.Duplicates != len(again) {
		t.Errorf("%d events that were accepted during the sweep, sent again: %+v", len(again), r)
	}
	if r := send(es...); r.Duplicates != len(again) || r.Accepted != len(es)-len(again) {
		t.Errorf("all events, sent again: %+v, want %d duplicates", r, len(again))
	}
}
