package deliver

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

type metrics struct {
	deliveries *prometheus.CounterVec
	failures
	latency prometheus.Histogram
	// Resolved once: a label look-up for every event would show in a profile.
	written, existed prometheus.Counter

	overdueNow atomic.Int64 // writes
	parkedNow  atomic.Int64 // drains
}

// failures count attempts to write that failed, by class.
type failures struct{ *prometheus.CounterVec }

func newFailures(name, help string) failures {
	f := failures{prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"class"})}
	for _, class := range []auditdrain.FailureClass{auditdrain.Transient, auditdrain.Throttled, auditdrain.Blocked} {
		f.WithLabelValues(class.String()) // there from the start, so that a rate sees the first one
	}
	return f
}

func (f failures) failed(class auditdrain.FailureClass) { f.WithLabelValues(class.String()).Inc() }

func newMetrics() *metrics {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "auditdrain_deliveries_total",
			Help: "Objects confirmed by destinations: written now, or existed before.",
		}, []string{"result"}),
		failures: newFailures("auditdrain_delivery_failures_total",
			"Attempts that failed, by class: transient, throttled, or blocked until somebody mends the destination."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "auditdrain_delivery_latency_seconds",
			Help: "From the acknowledgement of an event to the confirmation of its object.",
			// Fine enough for a p99 in milliseconds, wide enough for a day.
			Buckets: append(prometheus.ExponentialBuckets(0.0005, 1.5, 24), 10, 30, 60, 300, 1800, 3600, 6*3600, 24*3600),
		}),
	}
	m.written = m.deliveries.WithLabelValues("written")
	m.existed = m.deliveries.WithLabelValues("existed")
	return m
}

func (m *metrics) delivered(put auditdrain.PutResult, latency time.Duration) {
	if put.Existed {
		m.existed.Inc()
	} else {
		m.written.Inc()
	}
	m.latency.Observe(max(latency, 0).Seconds())
}

// Collectors returns the metrics of all deliveries.
func (d *Deliverer) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	return append([]prometheus.Collector{
		d.metrics.deliveries, d.metrics.failures, d.metrics.latency,
		gauge("auditdrain_delivery_in_flight", "Writes under way that hold a place; at the bound, drains wait for each other.",
			func() int64 { return int64(d.line.inUse()) }),
		gauge("auditdrain_delivery_overdue", "Writes under way for so long that they hold no place any more.", d.metrics.overdueNow.Load),
		gauge("auditdrain_delivery_waiting_drains", "Drains that wait for a place.", d.line.length.Load),
		gauge("auditdrain_delivery_parked_drains", "Drains whose destination somebody has to mend; they wait for their next probe.", d.metrics.parkedNow.Load),
	}, d.sealer.collectors()...)
}
