package deliver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sealMetrics count manifests.
type sealMetrics struct {
	written prometheus.Counter
	givenUp prometheus.Counter
	failures
}

func newSealMetrics() *sealMetrics {
	return &sealMetrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_manifests_written_total",
			Help: "Manifests that were written, or found to be there.",
		}),
		givenUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_manifests_given_up_total",
			Help: "Manifests that could not be written to where their drains do not write any more.",
		}),
		failures: newFailures("auditdrain_manifest_failures_total",
			"Attempts to write a manifest that failed, by class, as auditdrain_delivery_failures_total."),
	}
}

func (s *sealer) collectors() []prometheus.Collector {
	if s == nil {
		return nil
	}
	return []prometheus.Collector{
		s.metrics.written, s.metrics.givenUp, s.metrics.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "auditdrain_manifests_waiting",
			Help: "Manifests that are sealed and not written yet.",
		}, func() float64 { waiting, _ := s.waits(time.Now()); return float64(waiting) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "auditdrain_manifests_behind_seconds",
			Help: "For how long manifests of one drain have been waiting, of the drain where it is longest; 0 if none waits. A restart begins anew.",
		}, func() float64 { _, behind := s.waits(time.Now()); return behind.Seconds() }),
	}
}

// waits returns how many manifests wait, and how long the oldest account has been
// behind.
func (s *sealer) waits(now time.Time) (waiting uint64, behind time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.waiting == 0 {
			continue
		}
		waiting += a.waiting
		behind = max(behind, now.Sub(a.behindSince))
	}
	return waiting, behind
}
