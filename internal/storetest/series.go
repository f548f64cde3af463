package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func (f *fixture) addTallies(at time.Time, tallies ...auditdrain.Tally) {
	f.Helper()
	f.must(f.AddTallies(f.ctx, at, tallies))
}

// took returns a tally of so many events, with these latencies in ms.
func took(drainID string, backlog uint64, ms ...int64) auditdrain.Tally {
	t := auditdrain.Tally{DrainID: drainID, Delivered: uint64(len(ms)), Backlog: backlog, Latency: &auditdrain.LatencyHistogram{}}
	for _, n := range ms {
		t.Latency.Add(time.Duration(n) * time.Millisecond)
	}
	return t
}

// wantSeries checks that a drain's series has a point for each step, and of
// those the ones that are not empty. want is by how many steps ago.
func (f *fixture) wantSeries(id string, span auditdrain.Span, now time.Time, want map[int]auditdrain.Point) {
	f.Helper()
	got, err := f.Series(f.ctx, id, span, now)
	f.must(err)
	n, step := span.Steps()
	points := make([]auditdrain.Point, n)
	for i := range points {
		ago := n - 1 - i
		points[i] = want[ago]
		points[i].At = now.Truncate(step).Add(-time.Duration(ago) * step).UnixMilli()
	}
	if d := cmp.Diff(auditdrain.Series{Span: span, StepMs: step.Milliseconds(), Points: points}, got); d != "" {
		f.Errorf("%s of %s (-want +got):\n%s", span, id, d)
	}
}

type points = map[int]auditdrain.Point

func testSeries(f *fixture) {
	f.createTeams("a")
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 2), 0, nil))
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, span := range auditdrain.Spans {
		f.wantSeries("d1", span, noon, nil)
	}
	f.addTallies(noon)                                                                              // of none
	f.addTallies(noon.Add(-61*time.Minute), took("d1", 9, 1000), took("none", 1, 1))                // 10:59
	f.addTallies(noon.Add(-60*time.Second), took("d1", 7, 5, 5, 5))                                 // 11:59:00
	f.addTallies(noon.Add(-1*time.Millisecond), took("d1", 6, 100), took("d2", 1, 8))               // 11:59:59.999
	f.addTallies(noon.Add(-30*time.Second), auditdrain.Tally{DrainID: "d1", Failed: 2, Backlog: 8}) // joins them
	f.addTallies(noon, auditdrain.Tally{DrainID: "d1", Failed: 1, Backlog: 0})                      // 12:00
	for range 2 {
		now := noon.Add(59 * time.Second)
		f.wantSeries("d1", auditdrain.SpanHour, now, points{
			1: {Delivered: 4, Failed: 2, Backlog: 8, P50: 5, P99: 105},
			0: {Failed: 1},
		})
		f.wantSeries("d1", auditdrain.SpanDay, now, points{
			7: {Delivered: 1, Backlog: 9, P50: 1111, P99: 1111}, 6: {Backlog: 9}, 5: {Backlog: 9}, 4: {Backlog: 9}, 3: {Backlog: 9}, 2: {Backlog: 9},
			1: {Delivered: 4, Failed: 2, Backlog: 8, P50: 5, P99: 105},
			0: {Failed: 1},
		})
		f.wantSeries("d1", auditdrain.SpanWeek, now, points{
			2: {Delivered: 1, Backlog: 9, P50: 1111, P99: 1111},
			1: {Delivered: 4, Failed: 2, Backlog: 8, P50: 5, P99: 105},
			0: {Failed: 1},
		})
		// Nobody has noted anything since: what is behind stays so.
		f.wantSeries("d2", auditdrain.SpanHour, noon.Add(2*time.Minute), points{
			3: {Delivered: 1, Backlog: 1, P50: 8, P99: 8}, 2: {Backlog: 1}, 1: {Backlog: 1}, 0: {Backlog: 1},
		})
		f.reopen()
	}
	if err := f.AddTallies(f.ctx, noon, []auditdrain.Tally{{DrainID: "d1"}, {DrainID: "d2"}, {DrainID: "d1"}}); err == nil {
		f.Error("a drain was named twice, without an error")
	}
	_, err := f.Series(f.ctx, "none", auditdrain.SpanHour, noon)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.Series(f.ctx, "d1", "2h", noon)
	f.wantCode(err, auditdrain.CodeBadRequest)
}

// testSeriesRings writes each minute of several days, with a pause, and looks
// at the end: what is older has gone. Then the clock goes back.
func testSeriesRings(f *fixture) {
	f.createTeams("a")
	f.must(f.CreateDrain(f.ctx, drain("d", "a", 1), 0, nil))
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const minutes = 60 * 27
	for m := range minutes {
		if m < minutes-10 || m >= minutes-5 {
			f.addTallies(begin.Add(time.Duration(m)*time.Minute), auditdrain.Tally{DrainID: "d", Delivered: 1})
		}
	}
	now := begin.Add((minutes - 1) * time.Minute)
	hour, day, week := points{}, points{}, points{}
	for i := range 60 {
		if i < 5 || i >= 10 {
			hour[i] = auditdrain.Point{Delivered: 1}
		}
	}
	for i := range 144 {
		day[i] = auditdrain.Point{Delivered: 10}
	}
	for i := range 27 {
		week[i] = auditdrain.Point{Delivered: 60}
	}
	day[0], week[0] = auditdrain.Point{Delivered: 5}, auditdrain.Point{Delivered: 55}
	for range 2 {
		f.wantSeries("d", auditdrain.SpanHour, now, hour)
		f.wantSeries("d", auditdrain.SpanDay, now, day)
		f.wantSeries("d", auditdrain.SpanWeek, now, week)
		f.wantSeries("d", auditdrain.SpanHour, now.Add(time.Hour), nil)
		f.wantSeries("d", auditdrain.SpanWeek, now.Add(168*time.Hour), nil)
		f.reopen()
	}

	// The clock goes back: what was noted for the future is not shown. What
	// happens in a minute that was there before joins it, unless that minute's
	// place has another by now. The pause has left five of the round before.
	one := auditdrain.Point{Delivered: 1}
	back := now.Add(-59 * time.Minute)
	f.addTallies(back, auditdrain.Tally{DrainID: "d", Delivered: 1})
	f.wantSeries("d", auditdrain.SpanHour, back, points{10: one, 9: one, 8: one, 7: one, 6: one, 0: {Delivered: 2}})
	back = now.Add(-60 * time.Minute)
	f.addTallies(back, auditdrain.Tally{DrainID: "d", Delivered: 1})
	f.wantSeries("d", auditdrain.SpanHour, back, points{9: one, 8: one, 7: one, 6: one, 5: one, 0: one})
	f.wantSeries("d", auditdrain.SpanWeek, now.Add(-28*time.Hour), nil)
}

func testSeriesGone(f *fixture) {
	f.createTeams("a")
	for _, id := range []string{"d", "d0"} {
		f.must(f.CreateDrain(f.ctx, drain(id, "a", 1), 0, nil))
	}
	f.addTallies(f.time, took("d", 1, 1), took("d0", 1, 1))
	f.must(f.DeleteDrain(f.ctx, "a", "d", nil))
	f.addTallies(f.time, took("d", 1, 1))
	_, err := f.Series(f.ctx, "d", auditdrain.SpanHour, f.time)
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.CreateDrain(f.ctx, drain("d", "a", 1), 0, nil)) // nothing is left of it
	for range 2 {
		for _, span := range auditdrain.Spans {
			f.wantSeries("d", span, f.time, nil)
			f.wantSeries("d0", span, f.time, points{0: {Delivered: 1, Backlog: 1, P50: 1, P99: 1}})
		}
		f.reopen()
	}
	// Many at once, more than fit into one commit, from several sides.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			many := []auditdrain.Tally{{DrainID: "d", Delivered: 1}, {DrainID: "d0", Delivered: 1}}
			for i := range 1200 {
				many = append(many, auditdrain.Tally{DrainID: fmt.Sprint("d", i+1)})
			}
			if err := f.AddTallies(f.ctx, f.time, many); err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	f.wantSeries("d", auditdrain.SpanHour, f.time, points{0: {Delivered: 4}})
	f.wantSeries("d0", auditdrain.SpanHour, f.time, points{0: {Delivered: 5, P50: 1, P99: 1}})
}

func testBacklogs(f *fixture) {
	f.createTeams("a", "b")
	want := func(want map[string]uint64) {
		f.Helper()
		got, err := f.Backlogs(f.ctx)
		f.must(err)
		if d := cmp.Diff(want, got); d != "" {
			f.Errorf("backlogs (-want +got):\n%s", d)
		}
	}
	want(map[string]uint64{})
	f.append(batch("a", numbered("a", 5)...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	f.must(f.CreateDrain(f.ctx, drain("d2", "a", 1), 0, nil))
	f.must(f.CreateDrain(f.ctx, drain("d3", "b", 1), 0, nil))
	want(map[string]uint64{"d1": 5})
	f.append(batch("a", numbered("b", 2)...))
	f.saveCursor("d1", 3)
	for range 2 {
		want(map[string]uint64{"d1": 4, "d2": 2})
		f.reopen()
	}
	_, err := f.SkipBacklog(f.ctx, "d1", auditdrain.Skip{}, nil)
	f.must(err)
	f.must(f.DeleteDrain(f.ctx, "a", "d2", nil))
	want(map[string]uint64{})
}
