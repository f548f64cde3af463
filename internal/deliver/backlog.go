package deliver

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

// Sequences tells how many events each team has.
type Sequences interface {
	LastSeq(ctx context.Context, teamID string) (uint64, error)
}

// collectTimeout bounds how long a scrape may keep the store busy.
const collectTimeout = 5 * time.Second

// Backlog collects, when it is scraped, how the drains are doing: from the
// store, so that it is right whatever has become of the loops.
type Backlog struct {
	store     Store
	drains    Drains
	sequences Sequences

	count, events, oldest *prometheus.Desc
}

// NewBacklog returns the collector.
func NewBacklog(store Store, drains Drains, sequences Sequences) *Backlog {
	return &Backlog{
		store:     store,
		drains:    drains,
		sequences: sequences,
		count: prometheus.NewDesc("auditdrain_drains",
			"Drains by status: enabled, errored or disabled.", []string{"status"}, nil),
		events: prometheus.NewDesc("auditdrain_backlog_events",
			"Events that drains have still to deliver, by the drain's status.", []string{"status"}, nil),
		oldest: prometheus.NewDesc("auditdrain_oldest_undelivered_seconds",
			"Age of the oldest event that a drain has still to deliver, by the drain's status; 0 if there is none.", []string{"status"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (b *Backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- b.count
	ch <- b.events
	ch <- b.oldest
}

// Collect implements prometheus.Collector.
func (b *Backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	sums, err := b.sum(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(b.count, err)
		return
	}
	for status, s := range sums {
		ch <- prometheus.MustNewConstMetric(b.count, prometheus.GaugeValue, float64(s.drains), string(status))
		ch <- prometheus.MustNewConstMetric(b.events, prometheus.GaugeValue, float64(s.events), string(status))
		ch <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, s.oldest.Seconds(), string(status))
	}
}

type backlogSum struct {
	drains int
	events uint64
	oldest time.Duration
}

func (b *Backlog) sum(ctx context.Context) (map[auditdrain.DrainStatus]*backlogSum, error) {
	sums := map[auditdrain.DrainStatus]*backlogSum{
		auditdrain.StatusEnabled:  {},
		auditdrain.StatusErrored:  {},
		auditdrain.StatusDisabled: {},
	}
	drains, err := b.drains.Drains(ctx, auditdrain.DrainQuery{})
	if err != nil {
		return nil, err
	}
	for _, d := range drains {
		state, err := b.store.DeliveryState(ctx, d.ID)
		if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		s := sums[state.Status(d)]
		s.drains++
		last, err := b.sequences.LastSeq(ctx, d.TeamID)
		if err != nil {
			return nil, err
		}
		if last <= state.Cursor {
			continue
		}
		s.events += last - state.Cursor
		next, err := b.store.Read(ctx, d.TeamID, state.Cursor, 1, 1)
		if err != nil {
			return nil, err
		}
		if len(next) > 0 {
			s.oldest = max(s.oldest, time.Since(next[0].AcceptedAt))
		}
	}
	return sums, nil
}
