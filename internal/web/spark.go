package web

import (
	"fmt"
	"math"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// spark is a series as a small drawing without axes.
type spark struct {
	Text      string // what it shows, in words
	Delivered string // paths of bars
	Failed    string
}

// A sparkline has so many bars, each two wide, and is so high.
const (
	sparkBars   = 48
	sparkHeight = 22
)

// newSpark draws how much was delivered and how much has failed.
func newSpark(series auditdrain.Series) spark {
	var delivered, failed [sparkBars]float64
	var allDelivered, allFailed, most float64
	for i, p := range series.Points {
		bar := i * sparkBars / len(series.Points)
		delivered[bar] += float64(p.Delivered)
		failed[bar] += float64(p.Failed)
		allDelivered += float64(p.Delivered)
		allFailed += float64(p.Failed)
		most = max(most, delivered[bar], failed[bar])
	}
	return spark{
		Text:      fmt.Sprintf("%s delivered, %s failed in 24 hours", compact(allDelivered), compact(allFailed)),
		Delivered: sparkPath(delivered[:], most),
		Failed:    sparkPath(failed[:], most),
	}
}

// sparkPath is the path of bars. What is more than nothing can be seen.
func sparkPath(bars []float64, most float64) string {
	var b strings.Builder
	for i, n := range bars {
		if n > 0 {
			fmt.Fprintf(&b, "M%d %dv-%.0f", 2*i+1, sparkHeight, max(2, math.Ceil(n/most*sparkHeight)))
		}
	}
	return b.String()
}
