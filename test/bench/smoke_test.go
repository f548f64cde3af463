package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// Every section, with next to nothing to do, but the service itself.
func TestSections(t *testing.T) {
	dir := t.TempDir()
	service, err := buildService(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	small := load{drains: 4, batch: 10}
	for _, s := range []struct {
		letter  string
		rows    []int // of each table
		measure func(context.Context, *bench) (chapter, error)
	}{
		{"a", []int{4}, rates{events: 200, concurrency: 8, callers: 4, loads: []load{small, {drains: 20, batch: 3}}}.measure},
		{"b", []int{3}, ingest{teams: 3, concurrency: 8, bareEvents: 100, loads: []ingestLoad{{1, 1, 20}, {1, 8, 50}, {50, 4, 500}}}.measure},
		{"c", []int{2}, latency{maximum: rates{events: 200, concurrency: 8, callers: 4}, load: small, callers: 4,
			paces: []pace{{rate: 1000, batch: 1, lasts: 200 * time.Millisecond}, {share: 0.5, batch: 3, lasts: 100 * time.Millisecond}}}.measure},
		{"d", []int{len(stages) + 2, 3}, cost{rates{events: 2000, concurrency: 8, callers: 4, loads: []load{small}}, time.Second}.measure},
		{"e", []int{2, 2}, backlog{little: 1000, much: 5000, drains: 5, warm: 100, events: 600, bareEvents: 100, concurrency: 8,
			retention: retention{rate: 1000, batch: 5, callers: 4, lasts: 200 * time.Millisecond}}.measure},
		{"f", []int{5}, idle{drains: 20, lasts: 100 * time.Millisecond, after: 100 * time.Millisecond, bareEvents: 100, concurrency: 8}.measure},
		{"g", []int{4}, isolation{healthy: 10, sick: []sickness{{10, 12, sickHangs}, {12, 14, sickForbids}, {14, 16, sickBusy}, {16, 17, sickSlow}},
			backlog: 5, settle: 100 * time.Millisecond, batch: 4, events: 200, callers: 4, rate: 1000, lasts: 200 * time.Millisecond, bareEvents: 100, concurrency: 8}.measure},
		{"h", []int{4, len(kinds) + 3}, scale{rates{events: 300, concurrency: 8, callers: 4, loads: []load{small}}, []int{1, 2}, 2,
			many{drains: 20, nodes: 2, lease: 4 * time.Second, settle: 100 * time.Millisecond, lasts: 400 * time.Millisecond, busy: 10, rate: 500}}.measure},
		{"i", []int{4, 4}, integrity{rates{events: 400, concurrency: 8, callers: 4, loads: []load{small}}, 1}.measure},
	} {
		t.Run(s.letter, func(t *testing.T) {
			b := newBench(t)
			t.Parallel()
			b.auditdrain = service
			c, err := s.measure(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			var md strings.Builder
			if err := (document{rounds: b.rounds, chapters: []chapter{c}}).write(&md); err != nil {
				t.Fatal(err)
			}
			if len(c.parts) != len(s.rows) {
				t.Fatalf("%d tables, want %d", len(c.parts), len(s.rows))
			}
			for i, want := range s.rows {
				if got := len(c.parts[i].table.rows); got != want {
					t.Errorf("table %d has %d rows, want %d:\n%s", i, got, want, &md)
				}
			}
			left, err := os.ReadDir(b.dir)
			if err != nil || len(left) != len(b.folders) {
				t.Errorf("left behind, besides %d folders: %v, %v", len(b.folders), left, err)
			}
			if testing.Verbose() {
				t.Logf("%s", &md)
			}
		})
	}
}
