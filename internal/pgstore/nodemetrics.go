package pgstore

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// nodeMetrics is what can be seen of a node. What changes at a beat is as of the
// last one.
type nodeMetrics struct {
	fenced prometheus.Counter
	lost   prometheus.Counter

	mu   sync.Mutex
	sent time.Time // the last beat that went well
	last overview
}

func newNodeMetrics() *nodeMetrics {
	return &nodeMetrics{
		fenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_fenced_saves_total",
			Help: "Drains whose progress was not saved since they are another node's, or may be; what was not saved is delivered again, which is harmless.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "auditdrain_node_lost_drains_total",
			Help: "Drains that this node has lost without having given them away, or that were deleted.",
		}),
	}
}

func (m *nodeMetrics) beaten(sent time.Time, c overview) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent, m.last = sent, c
}

// Collectors returns the node's metrics, for one registry.
func (n *Node) Collectors() []prometheus.Collector {
	return []prometheus.Collector{n.metrics.fenced, n.metrics.lost, nodeCollector{n}}
}

var (
	ownedDesc  = prometheus.NewDesc("auditdrain_node_drains", "Drains that this node delivers.", nil, nil)
	beatDesc   = prometheus.NewDesc("auditdrain_node_beat_age_seconds", "How long ago this node's lease was last renewed.", nil, nil)
	dutyDesc   = prometheus.NewDesc("auditdrain_node_on_duty", "1 on the node that does what is done once for all: retention and notifications.", nil, nil)
	nodesDesc  = prometheus.NewDesc("auditdrain_nodes", "Nodes that share the database, as this one has last seen them: alive, or dead with drains that are to be taken over.", []string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("auditdrain_nodes_oldest_beat_seconds", "Age of the oldest last beat of the other nodes that are alive, as this one has last seen it.", nil, nil)
)

// nodeCollector looks at the node when it is scraped. It makes no call.
type nodeCollector struct{ n *Node }

func (c nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ownedDesc, beatDesc, dutyDesc, nodesDesc, oldestDesc} {
		ch <- d
	}
}

func (c nodeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n := c.n
	n.mu.Lock()
	owned := 0
	for _, h := range n.held {
		if h.phase == holdingIt {
			owned++
		}
	}
	n.mu.Unlock()
	gauge(ownedDesc, float64(owned))
	duty := 0.0
	if on, _ := n.duty.state(); on {
		duty = 1
	}
	gauge(dutyDesc, duty)

	n.metrics.mu.Lock()
	sent, last := n.metrics.sent, n.metrics.last
	n.metrics.mu.Unlock()
	if sent.IsZero() {
		return // nothing is known yet
	}
	gauge(beatDesc, time.Since(sent).Seconds())
	gauge(nodesDesc, float64(last.alive), "alive")
	gauge(nodesDesc, float64(last.dead), "dead")
	gauge(oldestDesc, last.oldest.Seconds())
}
