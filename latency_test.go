package auditdrain

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestLatencyBounds(t *testing.T) {
	month := 30 * 24 * time.Hour.Milliseconds()
	if last := latencyBounds[latencyBuckets-1]; last < month || latencyBounds[latencyBuckets-2] >= month {
		t.Errorf("the last bounds are %v, want a month between them", latencyBounds[latencyBuckets-3:])
	}
}

// Quantiles are compared with those of the sorted durations.
func TestLatencyQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 1000} {
		var parts [3]LatencyHistogram
		took := make([]time.Duration, n)
		for i := range took {
			took[i] = time.Duration(math.Exp(rng.Float64()*34) + 0.5) // a nanosecond to a week
			parts[rng.IntN(3)].Add(took[i])
		}
		slices.Sort(took)
		var h LatencyHistogram
		for i := range parts {
			h.Merge(&parts[i])
		}
		stored, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back LatencyHistogram
		if err := back.UnmarshalBinary(stored); err != nil || back != h {
			t.Errorf("stored and read, %v: %v, want %v", err, back, h)
		}
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			exact := took[max(int(math.Ceil(q*float64(n))), 1)-1]
			ms := int64(math.Ceil(float64(exact) / 1e6))
			if got := back.Quantile(q); got < ms || got > max(ms, ms*6/5) {
				t.Errorf("%g of %d: %d ms, want %d (%s), or a fifth more", q, n, got, ms, exact)
			}
		}
	}
}

func TestLatencyExtremes(t *testing.T) {
	var h LatencyHistogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
	for _, c := range []struct {
		took time.Duration
		want int64
	}{
		{-time.Second, 1}, {0, 1}, {1, 1}, {time.Millisecond, 1}, {time.Millisecond + 1, 2},
		{math.MaxInt64, latencyBounds[latencyBuckets-1]},
	} {
		var h LatencyHistogram
		h.Add(c.took)
		if got := h.Quantile(0.99); got != c.want {
			t.Errorf("%s: %d, want %d", c.took, got, c.want)
		}
	}
	h.add(3, math.MaxUint32)
	h.Merge(&h)
	if h.counts[3] != math.MaxUint32 {
		t.Errorf("a full bucket has %d after one more", h.counts[3])
	}
}

func FuzzLatencyHistogram(f *testing.F) {
	f.Add([]byte{3, 1, 2, 200, 1})
	f.Fuzz(func(t *testing.T, stored []byte) {
		var h, again LatencyHistogram
		if h.UnmarshalBinary(stored) != nil {
			return
		}
		b, err := h.AppendBinary(nil)
		if err != nil || again.UnmarshalBinary(b) != nil || again != h {
			t.Errorf("%x becomes %x, %v", stored, b, err)
		}
	})
}

func BenchmarkLatencyAdd(b *testing.B) {
	var h LatencyHistogram
	b.ReportAllocs()
	for took := time.Duration(0); b.Loop(); took += 7 * time.Microsecond {
		h.Add(took)
	}
}
