package deliver

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

// collectTimeout bounds how long a scrape may keep the store busy.
const collectTimeout = 5 * time.Second

// Backlog collects, when it is scraped, how the drains are doing: from the
// store, so that it is right whatever has become of the loops.
type Backlog struct {
	store      Records
	perDrain   bool
	collecting sync.Mutex // scrapes take turns: none may cost more than one
}

// NewBacklog returns the collector. perDrain adds series of each drain to
// those of each status, about ten.
func NewBacklog(store Records, perDrain bool) *Backlog {
	return &Backlog{store: store, perDrain: perDrain}
}

// describe describes a metric with the labels.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("auditdrain_"+name, help, labels, nil)
}

var (
	collectFailed  = describe("collect_failed", "1 if the figures of the drains could not be read from the store; they are missing then.")
	collectSeconds = describe("collect_seconds", "How long it took to read the figures of the drains from the store.")

	drainCount    = describe("drains", "Drains by status: enabled, errored or disabled.", "status")
	backlogEvents = describe("backlog_events", "Events that drains have still to deliver, by the drain's status.", "status")
	backlogBytes  = describe("backlog_bytes", "Bytes of the events that drains have still to deliver, by the drain's status.", "status")
	oldestSeconds = describe("oldest_undelivered_seconds",
		"Age of the oldest event that a drain has still to deliver, by the drain's status; 0 if there is none.", "status")
	skippedEvents  = describe("skipped_events", "Events that the drains there are have passed because they were given up, by the drain's status.", "status")
	erroredSeconds = describe("longest_errored_seconds", "How long the drain has been errored that has been so for longest; 0 if none is.")
)

// The series of each drain.
var (
	oneStatus      = describe("drain_status", "1 for the status that the drain has.", "team", "drain", "status")
	oneEvents      = describe("drain_backlog_events", "Events that the drain has still to deliver.", "team", "drain")
	oneBytes       = describe("drain_backlog_bytes", "Bytes of the events that the drain has still to deliver.", "team", "drain")
	oneOldest      = describe("drain_oldest_undelivered_seconds", "Age of the oldest event that the drain has still to deliver; 0 if there is none.", "team", "drain")
	oneDelivered   = describe("drain_delivered_total", "Events that the drain's destination has confirmed.", "team", "drain")
	oneFailed      = describe("drain_failures_total", "The drain's attempts that failed.", "team", "drain")
	oneSkipped     = describe("drain_skipped_total", "Events that the drain has passed because they were given up.", "team", "drain")
	oneWindow      = describe("drain_window", "Writes that the drain may have under way at once.", "team", "drain")
	oneSession     = describe("drain_session_expiry_timestamp_seconds", "When the drain's session ends; missing without a session.", "team", "drain")
	oneLastDeliver = describe("drain_last_delivery_timestamp_seconds", "When the drain's destination last confirmed an event; missing before the first.", "team", "drain")
)

// Describe implements prometheus.Collector.
func (b *Backlog) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{collectFailed, collectSeconds, drainCount, backlogEvents, backlogBytes, oldestSeconds, skippedEvents, erroredSeconds} {
		ch <- d
	}
	if b.perDrain {
		for _, d := range []*prometheus.Desc{oneStatus, oneEvents, oneBytes, oneOldest, oneDelivered, oneFailed, oneSkipped, oneWindow, oneSession, oneLastDeliver} {
			ch <- d
		}
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out: a
// store in trouble must not hide the metrics that tell why.
func (b *Backlog) Collect(ch chan<- prometheus.Metric) {
	b.collecting.Lock()
	defer b.collecting.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	begin := time.Now()
	standings, err := b.read(ctx)
	ch <- gauge(collectSeconds, time.Since(begin).Seconds())
	if err != nil {
		ch <- gauge(collectFailed, 1)
		return
	}
	ch <- gauge(collectFailed, 0)
	sums := sum(standings, begin)
	for status, s := range sums {
		ch <- gauge(drainCount, float64(s.drains), string(status))
		ch <- gauge(backlogEvents, float64(s.events), string(status))
		ch <- gauge(backlogBytes, float64(s.bytes), string(status))
		ch <- gauge(oldestSeconds, s.oldest.Seconds(), string(status))
		ch <- gauge(skippedEvents, float64(s.skipped), string(status))
	}
	ch <- gauge(erroredSeconds, sums[auditdrain.StatusErrored].errored.Seconds())
	if b.perDrain {
		for i := range standings {
			collectOne(ch, &standings[i], begin)
		}
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (b *Backlog) read(ctx context.Context) ([]auditdrain.Standing, error) {
	var all []auditdrain.Standing
	for s, err := range Standings(ctx, b.store, auditdrain.DrainQuery{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

type backlogSum struct {
	drains                 int
	events, bytes, skipped uint64
	oldest, errored        time.Duration // the longest
}

// sum has all statuses, so that no series comes and goes.
func sum(standings []auditdrain.Standing, now time.Time) map[auditdrain.DrainStatus]*backlogSum {
	sums := map[auditdrain.DrainStatus]*backlogSum{
		auditdrain.StatusEnabled:  {},
		auditdrain.StatusErrored:  {},
		auditdrain.StatusDisabled: {},
	}
	for _, st := range standings {
		s := sums[st.Status()]
		s.drains++
		s.events += st.Events
		s.bytes += st.Bytes
		s.skipped += st.State.Skipped
		s.oldest = max(s.oldest, st.Age(now))
		if st.Status() == auditdrain.StatusErrored {
			s.errored = max(s.errored, now.Sub(time.UnixMilli(st.State.FirstErrorAt)))
		}
	}
	return sums
}

func collectOne(ch chan<- prometheus.Metric, s *auditdrain.Standing, now time.Time) {
	add := func(d *prometheus.Desc, t prometheus.ValueType, value float64, more ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, value, append([]string{s.Drain.TeamID, s.Drain.ID}, more...)...)
	}
	add(oneStatus, prometheus.GaugeValue, 1, string(s.Status()))
	add(oneEvents, prometheus.GaugeValue, float64(s.Events))
	add(oneBytes, prometheus.GaugeValue, float64(s.Bytes))
	add(oneOldest, prometheus.GaugeValue, s.Age(now).Seconds())
	add(oneDelivered, prometheus.CounterValue, float64(s.State.Delivered))
	add(oneFailed, prometheus.CounterValue, float64(s.State.Failed))
	add(oneSkipped, prometheus.CounterValue, float64(s.State.Skipped))
	add(oneWindow, prometheus.GaugeValue, float64(s.State.Window))
	if at := s.State.SessionExpiresAt; at != 0 {
		add(oneSession, prometheus.GaugeValue, float64(at)/1000)
	}
	if at := s.State.LastDeliveryAt; at != 0 {
		add(oneLastDeliver, prometheus.GaugeValue, float64(at)/1000)
	}
}
