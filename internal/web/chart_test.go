package web

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// chartNow is within the last step of every series that is made here.
var chartNow = time.Date(2026, 5, 22, 10, 30, 30, 0, time.UTC)

// seriesOf returns a series whose points are made by of, from the step's index.
func seriesOf(span auditdrain.Span, of func(i int) auditdrain.Point) auditdrain.Series {
	n, step := span.Steps()
	series := auditdrain.Series{Span: span, StepMs: step.Milliseconds()}
	first := chartNow.Truncate(step).Add(-time.Duration(n-1) * step)
	for i := range n {
		p := of(i)
		p.At = first.Add(time.Duration(i) * step).UnixMilli()
		series.Points = append(series.Points, p)
	}
	return series
}

func nothing(int) auditdrain.Point { return auditdrain.Point{} }

// paths are everything that a chart draws.
func (c chart) paths() string {
	return strings.Join([]string{c.Bars, c.BadBars, c.Area, c.Line, c.Dashes}, " ")
}

var coordinateRE = regexp.MustCompile(`[-0-9.]+`)

// draw returns a chart as a page has it.
func draw(t *testing.T, c chart) string {
	t.Helper()
	s := &Server{}
	pages, err := parsePages(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.pages = pages
	html, err := s.fragment("chart", c)
	if err != nil {
		t.Fatal(err)
	}
	return string(html)
}

func TestChartsOfAnything(t *testing.T) {
	most := auditdrain.Point{Delivered: math.MaxUint64, Failed: math.MaxUint64, Backlog: math.MaxUint64, P50: 1, P99: math.MaxInt64}
	for name, of := range map[string]func(i int) auditdrain.Point{
		"nothing": nothing,
		"one event": func(i int) auditdrain.Point {
			return only(i == 7, auditdrain.Point{Delivered: 1, P50: 3, P99: 3, Backlog: 1})
		},
		"one failure":      func(i int) auditdrain.Point { return only(i == 0, auditdrain.Point{Failed: 1}) },
		"most that can be": func(int) auditdrain.Point { return most },
		"once the most":    func(i int) auditdrain.Point { return only(i == 3, most) },
		"rising": func(i int) auditdrain.Point {
			n := uint64(1) << (i % 60)
			return auditdrain.Point{Delivered: n, Failed: n / 3, Backlog: n, P50: int64(n), P99: int64(n) * 2}
		},
	} {
		for _, span := range auditdrain.Spans {
			for _, c := range newCharts("/drains/drn_1", seriesOf(span, of), chartNow).Charts {
				html := draw(t, c)
				if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
					t.Errorf("%s, %s, %s: %s", name, span, c.ID, html)
				}
				for _, number := range coordinateRE.FindAllString(c.paths(), -1) {
					if v, err := strconv.ParseFloat(number, 64); err != nil || v < -chartHeight || v > chartWidth {
						t.Errorf("%s, %s, %s: %s is outside of the chart", name, span, c.ID, number)
					}
				}
				for _, tick := range c.Y {
					if tick.At < plotTop-0.1 || tick.At > plotBottom+0.1 || len(tick.Text) > 8 {
						t.Errorf("%s, %s, %s: tick %v", name, span, c.ID, tick)
					}
				}
				if len(c.Y) > mostTicks || len(c.X) < 3 || len(c.X) > 7 {
					t.Errorf("%s, %s, %s: %d and %d ticks", name, span, c.ID, len(c.X), len(c.Y))
				}
				if c.Text == "" || (c.Empty == "") != (strings.TrimSpace(c.paths()) != "") {
					t.Errorf("%s, %s, %s: says %q and %q and draws %q", name, span, c.ID, c.Text, c.Empty, c.paths())
				}
				if len(html) > 12<<10 {
					t.Errorf("%s, %s, %s: %d bytes", name, span, c.ID, len(html))
				}
			}
		}
	}
}

func only(is bool, p auditdrain.Point) auditdrain.Point {
	if !is {
		return auditdrain.Point{}
	}
	return p
}

func TestEmptyChart(t *testing.T) {
	html := draw(t, rateChart(seriesOf(auditdrain.SpanHour, nothing), chartNow))
	for _, want := range []string{`role="img"`, `viewBox="0 0 400 180"`, "<title", "<desc", ">Nothing was tried in this time.</text>", ">10:00<", ">10:15<"} {
		if !strings.Contains(html, want) {
			t.Errorf("no %q in %s", want, html)
		}
	}
}

// Of the step that is under way, the time that has passed counts.
func TestRateIsPerMinute(t *testing.T) {
	c := rateChart(seriesOf(auditdrain.SpanWeek, func(i int) auditdrain.Point {
		return only(i == 167, auditdrain.Point{Delivered: 305}) // half an hour and half a minute
	}), chartNow)
	if want := "305 delivered and 0 failed attempts in 7 days, at most 10 in a minute."; c.Text != want {
		t.Errorf("the chart says %q, want %q", c.Text, want)
	}
}

// One failure among thousands of deliveries is not too small to be seen.
func TestOneFailureIsSeen(t *testing.T) {
	c := rateChart(seriesOf(auditdrain.SpanHour, func(i int) auditdrain.Point {
		p := auditdrain.Point{Delivered: 100_000}
		if i == 30 {
			p.Failed = 1
		}
		return p
	}), chartNow)
	if !strings.Contains(c.BadBars, "v-1.5") || strings.Count(c.BadBars, "M") != 1 {
		t.Errorf("failures are drawn as %q", c.BadBars)
	}
	if s := newSpark(seriesOf(auditdrain.SpanDay, func(i int) auditdrain.Point {
		return auditdrain.Point{Delivered: 1e6, Failed: uint64(i / 143)}
	})); !strings.Contains(s.Failed, "M95 22v-2") || s.Text != "144 M delivered, 1 failed in 24 hours" {
		t.Errorf("the sparkline is %+v", s)
	}
}

func TestLatencyHasGaps(t *testing.T) {
	c := latencyChart(seriesOf(auditdrain.SpanHour, func(i int) auditdrain.Point {
		return only(i < 2 || i == 10 || i > 57, auditdrain.Point{Delivered: 1, P50: 10, P99: 20})
	}))
	if got := strings.Count(c.Line, "M"); got != 3 {
		t.Errorf("the line has %d pieces, want 3: %s", got, c.Line)
	}
}

// What goes from milliseconds to minutes is drawn on a logarithmic scale.
func TestLatencyScale(t *testing.T) {
	for worst, want := range map[int64]bool{150: false, 90_000: true} {
		c := latencyChart(seriesOf(auditdrain.SpanHour, func(int) auditdrain.Point { return auditdrain.Point{Delivered: 1, P50: 12, P99: worst} }))
		if got := slices.ContainsFunc(c.Y, func(t tick) bool { return t.Text == "1 min" }); got != want {
			t.Errorf("12 to %d ms has the ticks %v", worst, c.Y)
		}
	}
}

func TestScales(t *testing.T) {
	texts := func(s scale, text func(float64) string) (all []string) {
		for _, tick := range s.ticks(text) {
			all = append(all, tick.Text)
		}
		return all
	}
	for most, want := range map[float64][]string{
		0:              {"0"},
		0.3:            {"0", "0.1", "0.2", "0.3"},
		1:              {"0", "0.5", "1"},
		7:              {"0", "5", "10"},
		1234:           {"0", "500", "1 k", "1.5 k"},
		math.MaxUint64: {"0", "10 E", "20 E"},
	} {
		if diff := cmp.Diff(want, texts(linear(most), compact)); diff != "" {
			t.Errorf("linear scale of %v (-want +got):\n%s", most, diff)
		}
	}
	for _, c := range []struct {
		least, most float64
		want        []string
	}{
		{1, 25, []string{"1 ms", "10 ms", "100 ms"}},
		{12, 4000, []string{"10 ms", "100 ms", "1 s", "10 s"}},
		{70, 3 * 3600e3, []string{"10 ms", "1 s", "1 min", "1 h"}},
	} {
		if diff := cmp.Diff(c.want, texts(logarithmic(c.least, c.most), duration)); diff != "" {
			t.Errorf("logarithmic scale from %v to %v (-want +got):\n%s", c.least, c.most, diff)
		}
	}
}

func TestDuration(t *testing.T) {
	for ms, want := range map[float64]string{0: "0 ms", 12: "12 ms", 999: "999 ms", 1500: "1.5 s", 60e3: "1 min", 90e3: "1.5 min", 2 * 3600e3: "2 h", 47 * 3600e3: "47 h", 48 * 3600e3: "2 d"} {
		if got := duration(ms); got != want {
			t.Errorf("%v ms is %q, want %q", ms, got, want)
		}
	}
}
