// Package notify tells the operator by webhook when a drain becomes errored
// and when it recovers, and when its oldest undelivered event has been waiting
// for too long and when it has caught up.
//
// It guarantees that the receiver is told of each of these once, also across
// restarts, and that it ends up knowing what is true: what fails is repeated
// without end, always with the drain's state as of then. Trouble that ends
// before the receiver has heard of it is not told, nor is its end. Where the
// outcome of a call is not known (no answer, a crash), it is repeated with the
// same webhook-id.
//
// Calls are as the Standard Webhooks specification has them, so that its
// libraries verify them:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

const (
	// sweepEvery is how often all drains are looked at: no event tells that
	// time passes.
	sweepEvery = 30 * time.Second
	// lookTimeout bounds what the store may take for that, or for one drain.
	lookTimeout = 10 * time.Second
	// mostAtOnce bounds the calls under way.
	mostAtOnce = 4
	// Failures are repeated after up to firstPause, doubling up to mostPause.
	firstPause = time.Second
	mostPause  = 5 * time.Minute
)

// Store remembers what has been told.
type Store interface {
	// Notified returns it by drain ID.
	Notified(ctx context.Context) (map[string]auditdrain.Notified, error)
	// SaveNotified is durable when it returns nil.
	SaveNotified(ctx context.Context, drainID string, n auditdrain.Notified) error
}

// Config is what a Notifier is made of.
type Config struct {
	URL     string   // see auditdrain.CheckReceiverURL
	Secrets [][]byte // each signs; see ParseSecrets
	// Delay is how old a drain's oldest undelivered event may be before that
	// is told; 0: it never is.
	Delay     time.Duration
	Store     Store
	Drains    deliver.Records
	Transport http.RoundTripper // nil: one of our own
	Log       *slog.Logger
}

// Notifier tells one receiver.
type Notifier struct {
	Config
	client *webhook.Client

	mu         sync.Mutex
	changed    map[string]bool // drain IDs
	changedNow chan struct{}   // cap 1

	calls   *prometheus.CounterVec
	waiting prometheus.Gauge
}

// New returns a Notifier. Nothing is told until Run.
func New(cfg Config) *Notifier {
	n := &Notifier{
		Config:     cfg,
		client:     webhook.New(cfg.Transport),
		changed:    map[string]bool{},
		changedNow: make(chan struct{}, 1),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "auditdrain_notifications_total",
			Help: "Calls of the operator's webhook: sent or failed.",
		}, []string{"result"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "auditdrain_notifications_waiting",
			Help: "Drains of which the operator's webhook has still to be told something.",
		}),
	}
	n.calls.WithLabelValues("sent")
	n.calls.WithLabelValues("failed")
	return n
}

// Collectors returns the metrics of all notifications.
func (n *Notifier) Collectors() []prometheus.Collector {
	return []prometheus.Collector{n.calls, n.waiting}
}

// Changed says that a drain has become errored or has recovered. It does not
// block.
func (n *Notifier) Changed(drainID string) {
	n.mu.Lock()
	n.changed[drainID] = true
	n.mu.Unlock()
	select {
	case n.changedNow <- struct{}{}:
	default: // Run has been told already
	}
}

func (n *Notifier) takeChanged() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.changed
	n.changed = map[string]bool{}
	return taken
}

// Run tells the receiver until ctx ends, then waits for the calls under way,
// which end with it, and returns nil. It fails only if it cannot be read at
// the start what has been told before.
func (n *Notifier) Run(ctx context.Context) error {
	before, err := n.Store.Notified(ctx)
	if err != nil {
		return fmt.Errorf("read what was notified: %w", err)
	}
	r := &running{Notifier: n, known: map[string]known{}, busy: map[string]bool{}, done: make(chan told, mostAtOnce)}
	for id, marks := range before {
		r.known[id] = recall(marks)
	}
	defer n.client.CloseIdleConnections()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	resume := time.NewTimer(0)
	defer resume.Stop()
	r.sweep(ctx)
	for {
		r.begin(ctx)
		select {
		case <-n.changedNow:
			for id := range n.takeChanged() {
				r.queue.add(id)
			}
		case <-sweep.C:
			r.sweep(ctx)
		case t := <-r.done:
			r.end(ctx, t)
			resume.Reset(time.Until(r.notBefore))
		case <-resume.C: // begin again
		case <-ctx.Done():
			r.tellers.Wait()
			return nil
		}
	}
}

// running is the state of Run, which only its goroutine touches.
type running struct {
	*Notifier
	known   map[string]known // by drain ID
	queue   queue            // drains of which there may be something to tell
	busy    map[string]bool  // drain IDs of which something is being told
	tellers sync.WaitGroup
	done    chan told
	// A receiver that fails is called by one at a time, after a pause that
	// grows. It is one receiver for all drains, so its troubles are, too; and
	// drains take turns, so that a notice that it never accepts holds up no
	// other.
	failures  int // in a row
	notBefore time.Time
}

// told is what has come of telling of one drain.
type told struct {
	drainID string
	known   known
	gone    bool // the drain does not exist
	heard   bool // the receiver has confirmed something
	err     error
}

// begin starts to tell of the next drains, as far as that is allowed now.
func (r *running) begin(ctx context.Context) {
	most := mostAtOnce
	if r.failures > 0 {
		most = 1
	}
	for ctx.Err() == nil && len(r.busy) < most && !time.Now().Before(r.notBefore) {
		id, ok := r.queue.take(r.busy)
		if !ok {
			break
		}
		r.busy[id] = true
		k := r.known[id]
		r.tellers.Go(func() { r.done <- r.tell(ctx, id, k) })
	}
	r.waiting.Set(float64(len(r.queue.ids) + len(r.busy)))
}

func (r *running) end(ctx context.Context, t told) {
	delete(r.busy, t.drainID)
	if t.gone || t.known == (known{}) {
		delete(r.known, t.drainID)
	} else {
		r.known[t.drainID] = t.known
	}
	if t.heard {
		r.failures = 0
	}
	if t.err == nil || ctx.Err() != nil {
		return
	}
	pause := pauseAfter(r.failures)
	r.failures++
	r.notBefore = time.Now().Add(pause)
	r.queue.add(t.drainID)
	r.Log.Warn("the operator could not be notified; will try again", "drain", t.drainID, "in", pause.Round(time.Millisecond), "err", t.err)
}

// pauseAfter returns how long to wait after so many failures before the last
// one: anything up to a bound that grows.
func pauseAfter(failures int) time.Duration {
	return rand.N(min(firstPause<<min(failures, 20), mostPause))
}

// sweep looks at all drains.
func (r *running) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	there := map[string]bool{}
	now := time.Now()
	for s, err := range deliver.Standings(ctx, r.Drains, auditdrain.DrainQuery{}) {
		if err != nil {
			if ctx.Err() != context.Canceled {
				r.Log.Error("drains could not be looked at for notifications; will try again", "err", err)
			}
			return
		}
		there[s.Drain.ID] = true
		if r.anything(r.known[s.Drain.ID], s, now) {
			r.queue.add(s.Drain.ID)
		}
	}
	for id := range r.known {
		if !there[id] && !r.busy[id] {
			delete(r.known, id)
		}
	}
}

// queue is drain IDs in the order in which they came, each once.
type queue struct {
	ids []string
	has map[string]bool
}

func (q *queue) add(id string) {
	if q.has == nil {
		q.has = map[string]bool{}
	}
	if !q.has[id] {
		q.has[id] = true
		q.ids = append(q.ids, id)
	}
}

// take returns the first that is not among those, which stay.
func (q *queue) take(not map[string]bool) (string, bool) {
	for i, id := range q.ids {
		if !not[id] {
			delete(q.has, id)
			q.ids = append(q.ids[:i], q.ids[i+1:]...)
			return id, true
		}
	}
	return "", false
}
