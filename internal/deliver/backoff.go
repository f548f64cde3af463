package deliver

import (
	"math/rand/v2"
	"time"
)

const (
	// Backoff between repeats of what should pass by itself.
	backoffBase = 100 * time.Millisecond
	backoffMost = 30 * time.Second

	// Probes of a parked drain.
	probeFirst = 5 * time.Second
	probeMost  = 5 * time.Minute
)

// backoff is the pause before the nth repeat, from 1: full jitter, so that
// drains that failed together do not come back together.
func backoff(n int) time.Duration {
	most := backoffBase << min(n, 16)
	return rand.N(min(most, backoffMost)) + time.Millisecond
}

// probeDelay is the pause after n probes have failed, ±20 %.
func probeDelay(n int) time.Duration {
	d := min(probeFirst<<min(n, 16), probeMost)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
