package pgstore

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics have the names of the embedded engine's where they tell the same, so
// that alerts and dashboards need not know which it is.
type metrics struct {
	commits  prometheus.Histogram
	trimmed  prometheus.Counter
	repeated prometheus.Counter
	// statements are counted by what they are for.
	statements *prometheus.CounterVec
}

func newMetrics() metrics {
	return metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "auditdrain_store_commit_seconds",
			Help:    "How long it took to make one group of events durable, with waiting for a connection.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_store_trimmed_events_total",
			Help: "Events removed because they were delivered and old enough.",
		}),
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "auditdrain_database_statements_total",
			Help: "Statements sent to the database: for leases on drains, for news of other nodes, or for the work itself.",
		}, []string{"for"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_database_repeated_transactions_total",
			Help: "How often a transaction was begun again: the database had broken it off for another one, or a connection was dead.",
		}),
	}
}

// Collectors returns the store's metrics, for one registry.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.commits, s.metrics.trimmed, s.metrics.repeated, s.metrics.statements, poolCollector{s}}
}

var (
	failedDesc = prometheus.NewDesc("auditdrain_store_failed", "1 from when a call could not reach the database until one has.", nil, nil)
	connsDesc  = prometheus.NewDesc("auditdrain_database_connections", "This process's connections to the database: idle, used, or being made.", []string{"state"}, nil)
	maxDesc    = prometheus.NewDesc("auditdrain_database_connections_max", "How many connections to the database this process may have.", nil, nil)
	waitsDesc  = prometheus.NewDesc("auditdrain_database_connection_waits_total", "How often a call had to wait for a connection.", nil, nil)
	waitedDesc = prometheus.NewDesc("auditdrain_database_connection_wait_seconds_total", "How long calls have waited for connections.", nil, nil)
)

// poolCollector looks at the pool when it is scraped. It makes no call.
type poolCollector struct{ s *Store }

func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{failedDesc, connsDesc, maxDesc, waitsDesc, waitedDesc} {
		ch <- d
	}
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	metric := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	failed := 0.0
	if c.s.down.Load() != 0 {
		failed = 1
	}
	metric(failedDesc, prometheus.GaugeValue, failed)
	st := c.s.pool.Stat()
	metric(connsDesc, prometheus.GaugeValue, float64(st.IdleConns()), "idle")
	metric(connsDesc, prometheus.GaugeValue, float64(st.AcquiredConns()), "used")
	metric(connsDesc, prometheus.GaugeValue, float64(st.ConstructingConns()), "new")
	metric(maxDesc, prometheus.GaugeValue, float64(st.MaxConns()))
	metric(waitsDesc, prometheus.CounterValue, float64(st.EmptyAcquireCount()))
	metric(waitedDesc, prometheus.CounterValue, st.EmptyAcquireWaitTime().Seconds())
}
