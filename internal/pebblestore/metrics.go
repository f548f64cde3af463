package pebblestore

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commits  prometheus.Histogram
	stalls   prometheus.Counter
	trimmed  prometheus.Counter
	swept    prometheus.Counter
	reopened prometheus.Counter
	// How many events were read from where.
	reads                *prometheus.CounterVec
	readMemory, readDisk prometheus.Counter
}

func newMetrics() metrics {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auditdrain_store_read_events_total",
		Help: "Events read, by where they were: memory holds the latest ones, disk is for deliveries that lag.",
	}, []string{"from"})
	return metrics{
		reads:      reads,
		readMemory: reads.WithLabelValues("memory"),
		readDisk:   reads.WithLabelValues("disk"),
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
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_store_swept_events_total",
			Help: "Removed events whose IDs have been removed from the index, which is done later.",
		}),
		reopened: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_store_reopened_total",
			Help: "How often the store was opened anew after the disk had refused a write.",
		}),
	}
}

// Collectors returns the store's metrics, for one registry.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.commits, s.metrics.stalls, s.metrics.trimmed, s.metrics.swept, s.metrics.reopened, s.metrics.reads, diskCollector{s}}
}

var (
	failedDesc    = prometheus.NewDesc("auditdrain_store_failed", "1 from when the disk has refused a write until the store works again.", nil, nil)
	fullDesc      = prometheus.NewDesc("auditdrain_store_disk_full", "1 while writes wait for space on the disk.", nil, nil)
	lowDesc       = prometheus.NewDesc("auditdrain_store_disk_low", "1 while events are refused because less of the disk is free than --min-free-disk.", nil, nil)
	freeDesc      = prometheus.NewDesc("auditdrain_store_disk_free_bytes", "Free space on the disk of the data directory.", nil, nil)
	diskBytesDesc = prometheus.NewDesc("auditdrain_store_disk_bytes", "Disk space taken by the data directory.", nil, nil)
	readAmpDesc   = prometheus.NewDesc("auditdrain_store_read_amplification", "Sorted runs that a lookup may have to go through.", nil, nil)
)

// diskCollector looks at the disk, and asks Pebble, when it is scraped.
type diskCollector struct{ s *Store }

func (c diskCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{failedDesc, fullDesc, lowDesc, freeDesc, diskBytesDesc, readAmpDesc} {
		ch <- d
	}
}

func (c diskCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	state := func(d *prometheus.Desc, is bool) {
		v := 0.0
		if is {
			v = 1
		}
		gauge(d, v)
	}
	disk, space := c.s.engine.Load().disk, c.s.space.last.Load()
	state(failedDesc, disk.err() != nil)
	state(fullDesc, disk.isFull())
	state(lowDesc, space.low != nil)
	if space.known {
		gauge(freeDesc, float64(space.free))
	}

	type figures struct{ disk, readAmp float64 }
	m, err := do(context.Background(), c.s, false, func(e *engine) (figures, error) {
		m := e.db.Metrics()
		return figures{float64(m.DiskSpaceUsage()), float64(m.ReadAmp())}, nil
	})
	if err == nil { // else there are no figures: it is closed, or waits for the disk
		gauge(diskBytesDesc, m.disk)
		gauge(readAmpDesc, m.readAmp)
	}
}
