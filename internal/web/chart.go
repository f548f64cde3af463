package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// The size of a chart, in which it is drawn whatever it shows. Around the plot
// there is room for the texts of the axes. Colours are the style sheet's.
const (
	chartWidth  = 400
	chartHeight = 180
	plotLeft    = 52
	plotRight   = chartWidth - 14
	plotTop     = 12
	plotBottom  = chartHeight - 24
)

// chart is a drawing of a series over time.
type chart struct {
	ID    string
	Title string
	Text  string // what it shows, in words
	Empty string // what it says instead, if there is nothing to show
	Key   []key
	X, Y  []tick

	// Paths.
	Bars, BadBars, Area, Line, Dashes string
	BarWidth                          float64
}

// key explains what is drawn in one way.
type key struct {
	Class string
	Text  string
}

// charts are the drawings of one drain and of one time, and their numbers.
type charts struct {
	Tabs   []tab
	Span   auditdrain.Span
	Charts []chart
	// Numbers are of the steps in which something was, the latest first.
	Numbers []auditdrain.Point
}

// spanTexts are what the spans are called.
var spanTexts = map[auditdrain.Span]string{
	auditdrain.SpanHour: "1 hour", auditdrain.SpanDay: "24 hours", auditdrain.SpanWeek: "7 days",
}

// StepText is what one step is called.
func (c charts) StepText() string {
	switch c.Span {
	case auditdrain.SpanDay:
		return "10 minutes"
	case auditdrain.SpanWeek:
		return "hour"
	}
	return "minute"
}

// newCharts draws a series as of now. The address is of the page that it is on.
func newCharts(address string, series auditdrain.Series, now time.Time) charts {
	c := charts{Span: series.Span, Charts: []chart{rateChart(series, now), latencyChart(series), backlogChart(series)}}
	for _, span := range auditdrain.Spans {
		c.Tabs = append(c.Tabs, tab{Text: spanTexts[span], Href: address + "?span=" + string(span), Current: span == series.Span})
	}
	for i := len(series.Points) - 1; i >= 0; i-- {
		if p := series.Points[i]; p.Delivered > 0 || p.Failed > 0 || p.Backlog > 0 {
			c.Numbers = append(c.Numbers, p)
		}
	}
	return c
}

// rateChart shows deliveries and failures per minute. Of the step that is under
// way, the minutes that have passed count.
func rateChart(series auditdrain.Series, now time.Time) chart {
	c := chart{
		ID: "rate", Title: "Deliveries and failures per minute", Empty: "Nothing was tried in this time.",
		Key: []key{{"key", "delivered"}, {"key bad", "failed attempts"}}, X: timeTicks(series),
	}
	delivered, failed := make([]float64, len(series.Points)), make([]float64, len(series.Points))
	var allDelivered, allFailed, most float64
	for i, p := range series.Points {
		minutes := max(1, min(float64(series.StepMs), float64(now.UnixMilli()-p.At))/60_000)
		delivered[i], failed[i] = float64(p.Delivered)/minutes, float64(p.Failed)/minutes
		most = max(most, delivered[i]+failed[i])
		allDelivered += float64(p.Delivered)
		allFailed += float64(p.Failed)
	}
	y := linear(most)
	c.Y = y.ticks(compact)
	if most == 0 {
		c.Text = c.Empty
		return c
	}
	c.Empty = ""
	c.Text = fmt.Sprintf("%s delivered and %s failed attempts in %s, at most %s in a minute.",
		compact(allDelivered), compact(allFailed), spanTexts[series.Span], compact(most))
	var bars, bad strings.Builder
	for i := range series.Points {
		x := plotLeft + (float64(i)+0.5)*stepWidth(series)
		good := bar(&bars, x, plotBottom, y.height(delivered[i]))
		bar(&bad, x, plotBottom-good, y.height(failed[i]))
	}
	c.Bars, c.BadBars, c.BarWidth = bars.String(), bad.String(), 0.8*stepWidth(series)
	return c
}

// bar adds a bar to a path, and returns its height: one failure among thousands
// of deliveries can be seen, too.
func bar(path *strings.Builder, x, bottom, height float64) float64 {
	if height == 0 {
		return 0
	}
	height = max(height, 1.5)
	fmt.Fprintf(path, "M%s %sv-%s", short(x), short(bottom), short(height))
	return height
}

// latencyChart shows how long events took from acceptance to S3's confirmation.
// There are gaps where nothing was delivered.
func latencyChart(series auditdrain.Series) chart {
	c := chart{
		ID: "latency", Title: "Latency from acceptance to S3", Empty: "Nothing was delivered in this time.",
		Key: []key{{"key line", "half of the events took at most (p50)"}, {"key dashes", "99 % took at most (p99)"}}, X: timeTicks(series),
	}
	var half, most []float64
	least, worst := 0.0, 0.0
	for _, p := range series.Points {
		half, most = append(half, float64(p.P50)), append(most, float64(p.P99))
		worst = max(worst, float64(p.P50), float64(p.P99))
		if p.P50 > 0 && (least == 0 || float64(p.P50) < least) {
			least = float64(p.P50)
		}
	}
	y := linear(worst)
	if least > 0 && worst/least > 20 {
		y = logarithmic(least, worst)
	}
	c.Y = y.ticks(duration)
	if worst == 0 {
		c.Text = c.Empty
		return c
	}
	c.Empty = ""
	c.Text = fmt.Sprintf("At worst, 1 %% of the events took %s or more.", duration(worst))
	c.Line, c.Dashes = line(series, y, half), line(series, y, most)
	return c
}

// backlogChart shows how many events were waiting.
func backlogChart(series auditdrain.Series) chart {
	c := chart{
		ID: "backlog", Title: "Backlog: events that wait", Empty: "Nothing was waiting in this time.",
		Key: []key{{"key line", "events"}}, X: timeTicks(series),
	}
	var waiting []float64
	most := 0.0
	for _, p := range series.Points {
		waiting = append(waiting, float64(p.Backlog))
		most = max(most, float64(p.Backlog))
	}
	y := linear(min(3*most, max(most, 3))) // ticks of whole events
	c.Y = y.ticks(compact)
	if most == 0 {
		c.Text = c.Empty
		return c
	}
	c.Empty = ""
	c.Text = fmt.Sprintf("At most %s events were waiting, at last %s.", compact(most), compact(waiting[len(waiting)-1]))
	c.Line, c.Area = steps(series, y, waiting)
	return c
}

// stepWidth is the width of one step.
func stepWidth(series auditdrain.Series) float64 {
	return (plotRight - plotLeft) / float64(max(1, len(series.Points)))
}

// line is the path through the middle of the steps, with a gap where there is
// no value.
func line(series auditdrain.Series, y scale, values []float64) string {
	var path strings.Builder
	drawing := false
	for i, v := range values {
		if v <= 0 {
			drawing = false
			continue
		}
		x := short(plotLeft + (float64(i)+0.5)*stepWidth(series))
		if drawing {
			fmt.Fprintf(&path, "L%s %s", x, short(plotBottom-y.height(v)))
		} else {
			fmt.Fprintf(&path, "M%s %sh0", x, short(plotBottom-y.height(v))) // a dot if it is alone
		}
		drawing = true
	}
	return path.String()
}

// steps is the path along the top of each step that has something, and the area
// below it.
func steps(series auditdrain.Series, y scale, values []float64) (line, area string) {
	var top, below strings.Builder
	for i, v := range values {
		x, bottom := short(plotLeft+float64(i)*stepWidth(series)), short(plotBottom)
		if v <= 0 {
			continue
		}
		height := short(plotBottom - max(y.height(v), 1))
		if i == 0 || values[i-1] <= 0 {
			fmt.Fprintf(&top, "M%s %s", x, height)
			fmt.Fprintf(&below, "M%s %s", x, bottom)
		}
		width := short(stepWidth(series))
		fmt.Fprintf(&top, "V%sh%s", height, width)
		fmt.Fprintf(&below, "V%sh%s", height, width)
		if i == len(values)-1 || values[i+1] <= 0 {
			fmt.Fprintf(&below, "V%sz", bottom)
		}
	}
	return top.String(), below.String()
}
