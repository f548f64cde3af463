package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The aims are for the best of the largest batches, and for most callers of
// single events.
func TestIngestAims(t *testing.T) {
	s := recordIngest
	round := ingestRound{bare: at(10_000, time.Microsecond), service: make(map[ingestLoad]result)}
	for i, l := range s.loads {
		round.service[l] = at(20_000*(i+1), time.Microsecond)
	}
	round.service[s.loads[7]] = at(190_000, time.Microsecond) // faster than with more callers
	c := s.chapter([]ingestRound{round})
	want := []aim{
		{"durable events/s in batches of 1,000 (64 callers)", "≥ 120,000", "190,000", true},
		{"durable events/s, one a call, 256 callers", "≥ 30,000", "60,000", true},
	}
	if diff := cmp.Diff(want, c.aims, cmp.AllowUnexported(aim{})); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}
