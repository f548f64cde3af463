package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// over returns f of each round. Where a round has no figure, it is NaN.
func over[T any](rounds []T, f func(T) float64) []float64 {
	xs := make([]float64, len(rounds))
	for i, r := range rounds {
		xs[i] = f(r)
	}
	return xs
}

// median returns the middle of xs, and NaN if there is none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

// medianOf is the median of f of each round. A ratio is f of one round, so
// that rounds are never mixed.
func medianOf[T any](rounds []T, f func(T) float64) float64 { return median(over(rounds, f)) }

// percentile returns the smallest of xs that is not smaller than the share p
// of them. xs must be sorted.
func percentile(xs []time.Duration, p float64) time.Duration {
	if len(xs) == 0 {
		return 0
	}
	return xs[max(0, int(math.Ceil(p*float64(len(xs))))-1)]
}

// number formats x with so many digits after the point, and commas.
func number(x float64, digits int) string {
	if math.IsNaN(x) {
		return "–"
	}
	s := fmt.Sprintf("%.*f", digits, x)
	point := len(s)
	if digits > 0 {
		point -= digits + 1
	}
	for i := point - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// whole formats x as a whole number with commas.
func whole(x float64) string { return number(x, 0) }

// spread is the lowest and the highest of xs.
func spread(xs []float64, digits int) string {
	return number(slices.Min(xs), digits) + "–" + number(slices.Max(xs), digits)
}

// percent formats a share.
func percent(x float64) string { return number(100*x, 0) + " %" }

func mib(bytes float64) float64 { return bytes / (1 << 20) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
