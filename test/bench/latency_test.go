package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDelays(t *testing.T) {
	d, err := delaysOf(
		[]posting{{"a", 1000, 2000}, {"b", 1500, 4000}, {"c", 2000, 3000}},
		[]write{{"warm", 1, 2}, {"c", 9000, 9100}, {"b", 3500, 3501}, {"a", 2500, 2510}})
	if err != nil {
		t.Fatal(err)
	}
	want := delays{
		rate:    3 / (3 * time.Microsecond).Seconds(),
		ack:     []time.Duration{0, 500, 6000}, // b was there before its acknowledgement
		sent:    []time.Duration{1510, 2001, 7100},
		servers: []time.Duration{1, 10, 100},
	}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(delays{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := delaysOf([]posting{{"a", 1, 2}}, []write{{"b", 1, 2}}); err == nil {
		t.Error("an event without an object is no error")
	}
}

func TestLatencyChapter(t *testing.T) {
	s := latency{load: load{drains: 100}, paces: []pace{{rate: 1000, batch: 1}, {share: 0.7, batch: 10}}}
	some := func(d time.Duration) []time.Duration { return []time.Duration{d / 2, d} }
	round := func(ack, bare time.Duration) latencyRound {
		of := func(d time.Duration) delays {
			return delays{rate: 1000, ack: some(d), sent: some(2 * d), servers: some(bare)}
		}
		return latencyRound{
			maximum: at(10_000, time.Microsecond),
			service: map[pace]delays{s.paces[0]: of(ack), s.paces[1]: of(2 * ack)},
			bare:    map[pace]delays{s.paces[0]: {servers: some(bare)}, s.paces[1]: {servers: some(bare)}},
		}
	}
	c := s.chapter([]latencyRound{round(10*time.Millisecond, 5*time.Millisecond), round(16*time.Millisecond, 2*time.Millisecond), round(20*time.Millisecond, 4*time.Millisecond)})
	want := [][]string{
		{"1,000 events/s", "1,000", "8.0", "16.0", "16.0", "20.0", "16.0", "32.0", "2.0", "4.0", "5.0"},
		{"70 % of the maximum", "1,000", "16.0", "32.0", "32.0", "40.0", "32.0", "64.0", "2.0", "4.0", "10.0"},
	}
	if diff := cmp.Diff(want, c.parts[0].table.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	aims := []aim{{"1,000 events/s, p99 over the server's own time", "≤ 15.0 ms", "16.0 ms", false}}
	if diff := cmp.Diff(aims, c.aims, cmp.AllowUnexported(aim{})); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}
