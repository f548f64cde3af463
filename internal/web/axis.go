package web

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// tick is a place on an axis.
type tick struct {
	At   float64
	Text string
}

// scale places values on the height of a plot.
type scale struct {
	low, high   float64
	values      []float64 // of its ticks
	logarithmic bool
}

// linear is a scale from nothing to a round number from most on.
func linear(most float64) scale {
	if most <= 0 {
		return scale{high: 1, values: []float64{0}}
	}
	step := roundUp(most / 3)
	s := scale{}
	for n := 0.0; ; n++ {
		s.values = append(s.values, n*step)
		if s.high = n * step; s.high >= most {
			return s
		}
	}
}

// roundUp is the next of 1, 2 and 5 and their tens, hundreds, tenths and so on.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if v <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

// durations are ticks of a logarithmic scale of milliseconds.
var durations = []float64{1, 10, 100, 1e3, 10e3, 60e3, 600e3, 3600e3, 6 * 3600e3, 24 * 3600e3, 7 * 24 * 3600e3, 30 * 24 * 3600e3, 365 * 24 * 3600e3}

// logarithmic is a scale of milliseconds from at most least, which is more than
// nothing, to at least most.
func logarithmic(least, most float64) scale {
	s := scale{logarithmic: true}
	for i, v := range durations {
		if i+1 < len(durations) && durations[i+1] <= least {
			continue
		}
		s.values = append(s.values, v)
		if v >= most {
			break
		}
	}
	s.low, s.high = min(least, s.values[0]), max(most, s.values[len(s.values)-1])
	return s
}

// height is how high a value is above the bottom of the plot.
func (s scale) height(v float64) float64 {
	const plot = plotBottom - plotTop
	if s.logarithmic {
		return plot * math.Log(v/s.low) / math.Log(s.high/s.low)
	}
	return plot * v / s.high
}

// mostTicks keeps the texts of a vertical axis apart.
const mostTicks = 6

func (s scale) ticks(text func(float64) string) []tick {
	every := (len(s.values) + mostTicks - 1) / mostTicks
	var ticks []tick
	for i, v := range s.values {
		if i%every == 0 {
			ticks = append(ticks, tick{plotBottom - s.height(v), text(v)})
		}
	}
	return ticks
}

// timeTicks are the moments on the horizontal axis of a series, in UTC.
func timeTicks(series auditdrain.Series) []tick {
	every, format := 15*time.Minute, "15:04"
	switch series.Span {
	case auditdrain.SpanDay:
		every = 6 * time.Hour
	case auditdrain.SpanWeek:
		every, format = 24*time.Hour, "Mon 2"
	}
	var ticks []tick
	for i, p := range series.Points {
		x := plotLeft + float64(i)*stepWidth(series)
		// Those at the ends would be cut off.
		if at := time.UnixMilli(p.At).UTC(); at.Truncate(every).Equal(at) && x < plotRight-8 {
			ticks = append(ticks, tick{x, at.Format(format)})
		}
	}
	return ticks
}

// compact shows a number with three digits at most.
func compact(v float64) string {
	for _, unit := range []string{"", " k", " M", " G", " T", " P"} {
		if v < 999.5 {
			return digits(v) + unit
		}
		v /= 1000
	}
	return digits(v) + " E"
}

// duration shows milliseconds with three digits at most.
func duration(ms float64) string {
	for _, u := range []struct {
		next float64
		name string
	}{{1000, " ms"}, {60, " s"}, {60, " min"}, {48, " h"}} {
		if ms < u.next {
			return digits(ms) + u.name
		}
		if u.name == " h" {
			break
		}
		ms /= u.next
	}
	return digits(ms/24) + " d"
}

// digits shows up to three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		v = math.Round(v)
	case v >= 10:
		v = math.Round(v*10) / 10
	default:
		v = math.Round(v*100) / 100
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// short is a coordinate, to a tenth.
func short(v float64) string {
	text := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0")
}
