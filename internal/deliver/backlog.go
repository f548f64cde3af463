package deliver

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

// Events tells how many events each team has, and shows them.
type Events interface {
	LastSeq(ctx context.Context, teamID string) (uint64, error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
}

// Undelivered returns how many of a team's events are behind a cursor, and
// when the oldest of them was accepted: the zero time if there is none.
func Undelivered(ctx context.Context, store Events, teamID string, cursor uint64) (events uint64, oldest time.Time, err error) {
	last, err := store.LastSeq(ctx, teamID)
	if err != nil || last <= cursor {
		return 0, time.Time{}, err
	}
	next, err := store.Read(ctx, teamID, cursor, 1, 1)
	if err != nil {
		return 0, time.Time{}, err
	}
	if len(next) > 0 {
		oldest = next[0].AcceptedAt
	}
	return last - cursor, oldest, nil
}

// collectTimeout bounds how long a scrape may keep the store busy.
const collectTimeout = 5 * time.Second

// Backlog collects, when it is scraped, how the drains are doing: from the
// store, so that it is right whatever has become of the loops.
type Backlog struct {
	store  Store
	drains Drains
	events Events

	count, size, oldest *prometheus.Desc
}

// NewBacklog returns the collector.
func NewBacklog(store Store, drains Drains, events Events) *Backlog {
	return &Backlog{
		store:  store,
		drains: drains,
		events: events,
		count: prometheus.NewDesc("auditdrain_drains",
			"Drains by status: enabled, errored or disabled.", []string{"status"}, nil),
		size: prometheus.NewDesc("auditdrain_backlog_events",
			"Events that drains have still to deliver, by the drain's status.", []string{"status"}, nil),
		oldest: prometheus.NewDesc("auditdrain_oldest_undelivered_seconds",
			"Age of the oldest event that a drain has still to deliver, by the drain's status; 0 if there is none.", []string{"status"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (b *Backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- b.count
	ch <- b.size
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
		ch <- prometheus.MustNewConstMetric(b.size, prometheus.GaugeValue, float64(s.events), string(status))
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
		events, oldest, err := Undelivered(ctx, b.events, d.TeamID, state.Cursor)
		if err != nil {
			return nil, err
		}
		s.events += events
		if !oldest.IsZero() {
			s.oldest = max(s.oldest, time.Since(oldest))
		}
	}
	return sums, nil
}
