// Package ingest takes audit events in: it validates them without changing a
// byte that matters, and makes them durable in groups.
//
// It guarantees that an event whose batch was committed without an error is
// durable, that a batch is stored whole or not at all, and that a bad event
// refuses its batch before anything is stored.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

// Store is what ingest needs of a store.
type Store interface {
	// Append makes the batches durable in one commit and returns a result for
	// each. After an error the outcome is unknown for all of them.
	Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error)
}

// A group holds at most this much, so that no caller waits for a commit much
// longer than its own batch needs.
const (
	groupEvents = 20_000
	groupBytes  = 16 << 20
	// maxWaiting bounds the memory of batches that wait for a commit.
	maxWaiting = 256 << 20
)

// Committer makes batches durable: callers that wait at the same time share
// one commit of the store, and so one fsync.
type Committer struct {
	store Store
	wake  func(teamID string)
	log   *slog.Logger

	mu      sync.Mutex
	waiting []*waiter
	bytes   int  // of all that wait
	closed  bool // Run is ending or has ended
	signal  chan struct{}

	events                          *prometheus.CounterVec
	accepted, duplicates, conflicts prometheus.Counter // of events

	groups  prometheus.Histogram
	seconds prometheus.Histogram
}

type waiter struct {
	batch  auditdrain.Batch
	bytes  int
	done   chan struct{} // closed when result and err are set
	result auditdrain.BatchResult
	err    error
}

// NewCommitter returns a Committer that stores in store and calls wake for
// each team that has new events, after they are durable. wake must not block.
func NewCommitter(store Store, wake func(teamID string), log *slog.Logger) *Committer {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auditdrain_ingest_events_total",
		Help: "Events by what became of them: accepted, duplicate or conflict.",
	}, []string{"result"})
	return &Committer{
		store:      store,
		wake:       wake,
		log:        log,
		signal:     make(chan struct{}, 1),
		events:     events,
		accepted:   events.WithLabelValues("accepted"),
		duplicates: events.WithLabelValues("duplicate"),
		conflicts:  events.WithLabelValues("conflict"),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "auditdrain_ingest_commit_batches",
			Help:    "Batches that shared one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "auditdrain_ingest_commit_seconds",
			Help:    "Duration of a commit, with its fsync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
}

// Collectors returns the committer's metrics.
func (c *Committer) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.events, c.groups, c.seconds}
}

// Commit stores b and returns when it is durable. Events with the same ID and
// bytes as one stored before are duplicates and fine, so that Commit may be
// repeated after any error. The same ID with other bytes is a CodeConflict
// that names the IDs; nothing of b is stored then. After any other error, and
// when ctx ends first, the outcome is unknown. Safe for concurrent use.
func (c *Committer) Commit(ctx context.Context, b auditdrain.Batch) (auditdrain.EventsResult, error) {
	w := &waiter{batch: b, done: make(chan struct{})}
	for i := range b.Events {
		w.bytes += len(b.Events[i].Body)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return auditdrain.EventsResult{}, unavailable("the server is shutting down")
	}
	if c.bytes+w.bytes > maxWaiting {
		c.mu.Unlock()
		return auditdrain.EventsResult{}, unavailable("too many events wait to be stored")
	}
	c.waiting = append(c.waiting, w)
	c.bytes += w.bytes
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default: // Run has been told already
	}

	select {
	case <-w.done:
	case <-ctx.Done():
		return auditdrain.EventsResult{}, ctx.Err()
	}
	if w.err != nil {
		return auditdrain.EventsResult{}, w.err
	}
	if n := len(w.result.Conflicts); n > 0 {
		return auditdrain.EventsResult{}, &auditdrain.Error{
			Code:    auditdrain.CodeConflict,
			Message: "nothing was stored: events with these ids were accepted before, or are twice in this batch, with other content; an event is never changed, so give a new event a new id",
			IDs:     w.result.Conflicts,
		}
	}
	return auditdrain.EventsResult{Accepted: w.result.Accepted, Duplicates: w.result.Duplicates}, nil
}

// Run commits what waits until ctx ends; then it refuses what comes, commits
// what still waits, and returns nil.
func (c *Committer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if c.commitGroup(ctx) {
			continue
		}
		select {
		case <-c.signal:
		case <-ctx.Done():
		}
	}
	c.close()
	for c.commitGroup(ctx) {
	}
	return nil
}

// close makes Commit refuse all that comes from now on.
func (c *Committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// commitGroup commits one group and reports whether there was anything.
func (c *Committer) commitGroup(ctx context.Context) bool {
	group := c.take()
	if len(group) == 0 {
		return false
	}
	if !c.commit(ctx, group) {
		// What one batch meets must not be the others' trouble. To repeat a
		// batch whose outcome is unknown is harmless.
		for _, w := range group {
			c.commit(ctx, []*waiter{w})
		}
	}
	return true
}

// commit commits the group and tells all who wait. It does not, and returns
// false, if the batches of the group are worth trying one by one.
func (c *Committer) commit(ctx context.Context, group []*waiter) bool {
	batches := make([]auditdrain.Batch, len(group))
	for i, w := range group {
		batches[i] = w.batch
	}
	start := time.Now()
	// What has been taken is committed even if we are shutting down.
	results, err := c.store.Append(context.WithoutCancel(ctx), batches)
	c.seconds.Observe(time.Since(start).Seconds())
	c.groups.Observe(float64(len(group)))
	if err != nil {
		c.log.Error("events could not be stored; nothing was acknowledged", "batches", len(group), "err", err)
		if len(group) > 1 && auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
			return false
		}
		err = storeError(err)
	}
	woken := make(map[string]bool, 8)
	for i, w := range group {
		if err != nil {
			w.err = err
		} else {
			w.result = results[i]
			c.count(w)
			if w.result.Accepted > 0 && !woken[w.batch.TeamID] {
				woken[w.batch.TeamID] = true
				c.wake(w.batch.TeamID)
			}
		}
		close(w.done)
	}
	return true
}

// take removes the next group from those that wait.
func (c *Committer) take() []*waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, events, bytes := 0, 0, 0
	for _, w := range c.waiting {
		if n > 0 && (events+len(w.batch.Events) > groupEvents || bytes+w.bytes > groupBytes) {
			break
		}
		n++
		events += len(w.batch.Events)
		bytes += w.bytes
	}
	group := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n) // keeps no reference to what goes
	c.bytes -= bytes
	return group
}

func (c *Committer) count(w *waiter) {
	if len(w.result.Conflicts) > 0 {
		c.conflicts.Add(float64(len(w.batch.Events)))
		return
	}
	c.accepted.Add(float64(w.result.Accepted))
	c.duplicates.Add(float64(w.result.Duplicates))
}

// storeError is what a caller is told when the store failed: to come back.
func storeError(err error) error {
	var e *auditdrain.Error
	if errors.As(err, &e) {
		return err
	}
	return unavailable("events cannot be stored right now")
}

func unavailable(message string) error {
	return &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: message + "; nothing was acknowledged, try again", RetryAfter: time.Second}
}
