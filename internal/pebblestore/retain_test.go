package pebblestore

import (
	"context"
	"fmt"
	"testing"
	"time"

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
	must(s.CreateTeam(ctx, auditdrain.Team{ID: "a", Slug: "a", Name: "A"}))
	drain := auditdrain.NewDrain("a", "d", auditdrain.Delivery{}, now)
	must(s.CreateDrain(ctx, drain, 0))
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
