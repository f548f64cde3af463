package pebblestore

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commits prometheus.Histogram
	stalls  prometheus.Counter
	trimmed prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "auditdrain_store_commit_seconds",
			Help:    "How long it took to make one commit durable.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		stalls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_store_write_stalls_total",
			Help: "How often writes had to wait for compactions.",
		}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_store_trimmed_events_total",
			Help: "Events removed because they were delivered and old enough.",
		}),
	}
}

// Collectors returns the store's metrics, for one registry.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.commits, s.metrics.stalls, s.metrics.trimmed, lsmCollector{s}}
}

var (
	failedDesc    = prometheus.NewDesc("auditdrain_store_failed", "1 once the disk has refused a write.", nil, nil)
	diskBytesDesc = prometheus.NewDesc("auditdrain_store_disk_bytes", "Disk space taken by the data directory.", nil, nil)
	readAmpDesc   = prometheus.NewDesc("auditdrain_store_read_amplification", "Sorted runs that a lookup may have to go through.", nil, nil)
)

// lsmCollector asks Pebble when it is scraped.
type lsmCollector struct{ s *Store }

func (c lsmCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- failedDesc
	ch <- diskBytesDesc
	ch <- readAmpDesc
}

func (c lsmCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	type figures struct{ disk, readAmp float64 }
	m, err := do(context.Background(), c.s, func() (figures, error) {
		m := c.s.db.Metrics()
		return figures{float64(m.DiskSpaceUsage()), float64(m.ReadAmp())}, nil
	})
	if c.s.Err() != nil {
		gauge(failedDesc, 1)
	} else {
		gauge(failedDesc, 0)
	}
	if err == nil { // else it is closed or has failed, and there are no figures
		gauge(diskBytesDesc, m.disk)
		gauge(readAmpDesc, m.readAmp)
	}
}
