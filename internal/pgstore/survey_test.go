package pgstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
)

// records hides that a Store can be asked for all at once.
type records struct{ deliver.Records }

// TestSurvey compares what is asked at once with what is asked drain by drain.
func TestSurvey(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 14)
	for team := range 2 {
		b := auditdrain.Batch{TeamID: []string{"team", "team1"}[team]}
		for i := range 20 {
			b.Events = append(b.Events, auditdrain.Event{ID: fmt.Sprint(i), Body: make([]byte, 100+i)})
		}
		_, err := s.Append(t.Context(), []auditdrain.Batch{b})
		must(t, err)
	}
	var saved []auditdrain.Progress
	for i, id := range ids {
		at := auditdrain.DeliveryState{DrainID: id, Cursor: uint64(2 * min(i, 10)), Delivered: uint64(i)}
		if i%3 == 0 {
			at.FirstErrorAt, at.LastError = 5, "AccessDenied"
		}
		saved = append(saved, auditdrain.Progress{State: at})
	}
	_, err := s.SaveProgress(t.Context(), saved)
	must(t, err)
	removed, err := s.Retain(t.Context(), 0) // what all drains of team1 have: all
	must(t, err)
	if removed == 0 {
		t.Fatal("nothing was removed")
	}
	all := func(store deliver.Records, q auditdrain.DrainQuery) (all []auditdrain.Standing) {
		for st, err := range deliver.Standings(t.Context(), store, q) {
			must(t, err)
			all = append(all, st)
		}
		return all
	}
	for _, q := range []auditdrain.DrainQuery{{}, {TeamID: "team"}, {ID: ids[3]}, {ID: ids[3], TeamID: "team1"}, {ID: "none"}} {
		want, got := all(records{s}, q), all(s, q)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-one by one +at once):\n%s", q, diff)
		}
		if q == (auditdrain.DrainQuery{}) && (len(got) != len(ids) || got[0].Events == 0 || got[0].Oldest.Before(time.Unix(1, 0))) {
			t.Errorf("the test has nothing to compare: %+v", got)
		}
	}
}
