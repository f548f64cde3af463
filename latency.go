package auditdrain

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// latencyBuckets is how many bounds latencyBounds has.
const latencyBuckets = 118

// latencyBounds are the upper ends of the buckets of a LatencyHistogram, in
// milliseconds: each is at most a fifth more than the one before, or one more,
// up to a month.
var latencyBounds = func() (bounds [latencyBuckets]int64) {
	bounds[0] = 1
	for i, last := range bounds[:latencyBuckets-1] {
		bounds[i+1] = max(last+1, last*6/5)
	}
	return bounds
}()

// LatencyHistogram counts how long events took until they were confirmed. The
// zero value has none. It takes half a kilobyte in memory, and a few bytes
// where it is stored. It is not safe for concurrent use.
type LatencyHistogram struct {
	counts [latencyBuckets]uint32
}

// Add counts one event. It allocates nothing.
func (h *LatencyHistogram) Add(took time.Duration) {
	ms := took.Milliseconds()
	if time.Duration(ms)*time.Millisecond < took {
		ms++
	}
	i, _ := slices.BinarySearch(latencyBounds[:], ms)
	h.add(min(i, latencyBuckets-1), 1)
}

func (h *LatencyHistogram) add(i int, n uint64) {
	h.counts[i] = uint32(min(uint64(h.counts[i])+n, math.MaxUint32))
}

// Merge adds what o has counted.
func (h *LatencyHistogram) Merge(o *LatencyHistogram) {
	for i, n := range o.counts {
		h.add(i, uint64(n))
	}
}

// Quantile returns how many milliseconds a share q of the events took at most,
// rounded up by a fifth at most, and never to less than 1; 0 if nothing has
// been counted. What took more than a month counts as a month.
func (h *LatencyHistogram) Quantile(q float64) int64 {
	total := uint64(0)
	for _, n := range h.counts {
		total += uint64(n)
	}
	rank := max(uint64(math.Ceil(q*float64(total))), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += uint64(n); n > 0 && seen >= rank {
			return latencyBounds[i]
		}
	}
	return 0
}

// AppendBinary implements encoding.BinaryAppender: for each bucket that is not
// empty, how far it is from the one before, and its count.
func (h *LatencyHistogram) AppendBinary(b []byte) ([]byte, error) {
	last := 0
	for i, n := range h.counts {
		if n > 0 {
			b = binary.AppendUvarint(b, uint64(i-last))
			b = binary.AppendUvarint(b, uint64(n))
			last = i
		}
	}
	return b, nil
}

var errLatency = errors.New("latency histogram is damaged")

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (h *LatencyHistogram) UnmarshalBinary(b []byte) error {
	*h = LatencyHistogram{}
	for i := uint64(0); len(b) > 0; {
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return errLatency
		}
		count, m := binary.Uvarint(b[n:])
		if m <= 0 || step >= latencyBuckets || i+step >= latencyBuckets {
			return errLatency
		}
		i += step
		h.add(int(i), count)
		b = b[n+m:]
	}
	return nil
}
