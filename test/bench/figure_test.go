package main

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var xs []time.Duration
	for i := range 200 {
		xs = append(xs, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.99: 198, 0.999: 200, 1: 200} {
		if got := percentile(xs, p); got != want {
			t.Errorf("percentile %v of 1 to 200 is %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing is %d", got)
	}
}

func TestNumber(t *testing.T) {
	for want, got := range map[string]string{
		"0": whole(0), "999": whole(999), "1,000": whole(1000), "-1,234,567": whole(-1234567), "-123": whole(-123),
		"1,234.50": number(1234.5, 2), "0.12": number(0.1249, 2), "–": number(math.NaN(), 1), "25 %": percent(0.25),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
