package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(rate int, cpu time.Duration) result {
	const events = 1000
	return result{
		events: events, elapsed: events * time.Second / time.Duration(rate),
		client: usage{cpu: events * cpu, peakRSS: 20 << 20}, null: usage{cpu: events * cpu / 2},
	}
}

// A machine may be slow in one round: ratios must not mix rounds.
func TestRatesChapter(t *testing.T) {
	s := rates{events: 1000, loads: []load{{100, 100}, {1, 100}}}
	var rounds []ratesRound
	for _, r := range [][3]int{{10_000, 5_000, 9_000}, {20_000, 4_000, 16_000}, {2_000, 800, 1_800}} {
		rounds = append(rounds, ratesRound{
			bare: at(r[0], 60*time.Microsecond), sdk: at(r[1], 200*time.Microsecond),
			service: map[int]result{100: at(r[2], 70*time.Microsecond), 1: at(r[2]/2, 90*time.Microsecond)},
		})
	}
	c := s.chapter(rounds)
	want := [][]string{
		{"bare loop of signed PUTs", "10,000", "2,000–20,000", "1.00", "2.50", "60", "30", "0", "20"},
		{"loop of the SDK's PutObject", "4,000", "800–5,000", "0.40", "1.00", "200", "100", "0", "20"},
		{"auditdrain, 100 drains", "9,000", "1,800–16,000", "0.90", "2.25", "70", "35", "0", "20"},
		{"auditdrain, 1 drain", "4,500", "900–8,000", "0.45", "1.13", "90", "45", "0", "20"},
	}
	if diff := cmp.Diff(want, c.parts[0].table.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	aims := []aim{
		{"100 drains, ratio to the bare loop", "≥ 0.85", "0.90", true},
		{"100 drains, ratio to the SDK's loop", "≥ 2.30", "2.25", false},
	}
	if diff := cmp.Diff(aims, c.aims, cmp.AllowUnexported(aim{})); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}
