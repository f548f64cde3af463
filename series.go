package auditdrain

import (
	"fmt"
	"time"
)

// Span is how far back a Series goes.
type Span string

// The spans. Each is kept by itself, in steps that suit a chart.
const (
	SpanHour Span = "1h"  // 60 steps of a minute
	SpanDay  Span = "24h" // 144 steps of 10 minutes
	SpanWeek Span = "7d"  // 168 steps of an hour
)

// Spans are all of them, the shortest first.
var Spans = []Span{SpanHour, SpanDay, SpanWeek}

// Steps returns how many steps s has, and how long each is. A span that does
// not exist has none.
func (s Span) Steps() (n int, step time.Duration) {
	switch s {
	case SpanHour:
		return 60, time.Minute
	case SpanDay:
		return 144, 10 * time.Minute
	case SpanWeek:
		return 168, time.Hour
	}
	return 0, 0
}

// Validate returns an *Error if s is not one of Spans.
func (s Span) Validate() error {
	if n, _ := s.Steps(); n > 0 {
		return nil
	}
	return FieldErrors([]Problem{{Field: "span", Message: fmt.Sprintf("%q is not allowed: use one of %q", string(s), Spans)}})
}

// Series is what a drain did over time: the answer of
// GET /v1/drains/{id}/series.
type Series struct {
	Span   Span  `json:"span"`
	StepMs int64 `json:"stepMs"`
	// Points has one for each step, the oldest first. The last one is of the
	// step that is under way.
	Points []Point `json:"points"`
}

// Point is what a drain did in one step.
type Point struct {
	At        int64  `json:"at"` // Unix ms, when it begins, a multiple of the step
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`  // attempts, not events
	Backlog   uint64 `json:"backlog"` // the last that was seen in it
	// P50 and P99 are of the milliseconds from an event's acceptance until it
	// was confirmed, rounded up by a fifth at most; 0 if none was delivered.
	P50 int64 `json:"p50Ms,omitempty"`
	P99 int64 `json:"p99Ms,omitempty"`
}

// NewSeries returns what a drain did in the span that ends now: there is a point
// for each of its steps. noted is what was done, by the beginning of the step in
// Unix ms; what is not of the span is left out. A step in which nothing was noted
// has the backlog of the one before: a backlog that is gone is noted.
func NewSeries(span Span, now time.Time, noted map[int64]Tally) Series {
	n, length := span.Steps()
	step := length.Milliseconds()
	first := (now.UnixMilli()/step - int64(n-1)) * step
	series := Series{Span: span, StepMs: step, Points: make([]Point, n)}
	backlog := uint64(0)
	for i := range series.Points {
		at := first + int64(i)*step
		t, ok := noted[at]
		if ok {
			backlog = t.Backlog
		}
		p := Point{At: at, Delivered: t.Delivered, Failed: t.Failed, Backlog: backlog}
		if t.Latency != nil {
			p.P50, p.P99 = t.Latency.Quantile(0.5), t.Latency.Quantile(0.99)
		}
		series.Points[i] = p
	}
	return series
}

// Tally is what a drain has done since it was last asked.
type Tally struct {
	DrainID   string
	Delivered uint64 // events that were confirmed, but for replays
	Failed    uint64 // attempts
	Backlog   uint64 // now
	// Latency is of those delivered; nil if there are none.
	Latency *LatencyHistogram
}

// Add has t also tell what o tells, which was later. They share no memory.
func (t *Tally) Add(o Tally) {
	t.Delivered += o.Delivered
	t.Failed += o.Failed
	t.Backlog = o.Backlog
	if o.Latency == nil {
		return
	}
	if t.Latency == nil {
		t.Latency = &LatencyHistogram{}
	}
	t.Latency.Merge(o.Latency)
}
