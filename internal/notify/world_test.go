package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// world is a store and a receiver, in memory.
type world struct {
	t *testing.T

	mu       sync.Mutex
	drains   map[string]auditdrain.Drain
	states   map[string]auditdrain.DeliveryState
	accepted map[string][]time.Time // of each team's events
	notified map[string]auditdrain.Notified
	saveErr  error

	answer   func(ctx context.Context, n auditdrain.Notice) (status int, err error)
	attempts int
	heard    []auditdrain.Notice // those that were answered with 2xx
	ids      []string            // their webhook-id
	underWay int
	most     int // calls at once
}

func newWorld(t *testing.T) *world {
	return &world{
		t:        t,
		drains:   map[string]auditdrain.Drain{},
		states:   map[string]auditdrain.DeliveryState{},
		accepted: map[string][]time.Time{},
		notified: map[string]auditdrain.Notified{},
		answer:   func(context.Context, auditdrain.Notice) (int, error) { return 200, nil },
	}
}

// addDrain adds an enabled drain of a team of its own.
func (w *world) addDrain(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drains[id] = auditdrain.Drain{
		ID: id, TeamID: "team_" + id, Name: "name of " + id, Status: auditdrain.StatusEnabled,
		Delivery: auditdrain.Delivery{Endpoint: "s3://bucket/" + id},
	}
	w.states[id] = auditdrain.DeliveryState{DrainID: id}
}

func (w *world) remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.drains, id)
	delete(w.states, id)
	delete(w.notified, id)
}

func (w *world) accept(id string, events int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range events {
		w.accepted["team_"+id] = append(w.accepted["team_"+id], time.Now())
	}
}

// deliver moves a drain's cursor.
func (w *world) deliver(id string, events int) {
	w.change(id, func(s *auditdrain.DeliveryState) { s.Cursor += uint64(events) })
}

func (w *world) change(id string, f func(*auditdrain.DeliveryState)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.states[id]
	f(&s)
	w.states[id] = s
}

// disable pauses a drain.
func (w *world) disable(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.drains[id]
	d.Status = auditdrain.StatusDisabled
	w.drains[id] = d
}

// fail makes drains errored, and mend ends that.
func (w *world) fail(ids ...string) {
	for _, id := range ids {
		w.change(id, func(s *auditdrain.DeliveryState) { s.FirstErrorAt, s.LastError = time.Now().UnixMilli(), "refused" })
	}
}

func (w *world) mend(ids ...string) {
	for _, id := range ids {
		w.change(id, func(s *auditdrain.DeliveryState) { s.FirstErrorAt, s.LastError = 0, "" })
	}
}

func (w *world) setAnswer(f func(ctx context.Context, n auditdrain.Notice) (int, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func (w *world) Drains(_ context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []auditdrain.Drain
	for _, id := range slices.Sorted(maps.Keys(w.drains)) {
		if q.ID == "" || q.ID == id {
			found = append(found, w.drains[id])
		}
	}
	return found, nil
}

func (w *world) DeliveryState(_ context.Context, id string) (auditdrain.DeliveryState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.states[id]
	if !ok {
		return s, auditdrain.Errorf(auditdrain.CodeNotFound, "no drain %s", id)
	}
	return s, nil
}

// eventBytes is the length of each event's body.
const eventBytes = 700

func (w *world) Last(_ context.Context, team string) (seq, totalBytes uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq = uint64(len(w.accepted[team]))
	return seq, seq * eventBytes, nil
}

func (w *world) Read(_ context.Context, team string, after uint64, most, _ int) ([]auditdrain.StoredEvent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var events []auditdrain.StoredEvent
	for i, at := range w.accepted[team] {
		if seq := uint64(i + 1); seq > after && len(events) < most {
			e := auditdrain.Event{Body: make([]byte, eventBytes)}
			events = append(events, auditdrain.StoredEvent{Event: e, Seq: seq, AcceptedAt: at, TotalBytes: seq * eventBytes})
		}
	}
	return events, nil
}

func (w *world) Notified(context.Context) (map[string]auditdrain.Notified, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.notified), nil
}

func (w *world) SaveNotified(ctx context.Context, id string, n auditdrain.Notified) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(ctx.Err(), w.saveErr); err != nil {
		return err
	}
	if _, ok := w.drains[id]; !ok {
		return auditdrain.Errorf(auditdrain.CodeNotFound, "no drain %s", id)
	}
	if n == (auditdrain.Notified{}) {
		delete(w.notified, id)
	} else {
		w.notified[id] = n
	}
	return nil
}

// refused is an answer that never came because nobody listens.
type refused struct{}

func (refused) Error() string { return "connection refused" }

// RoundTrip is the receiver.
func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	var n auditdrain.Notice
	if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
		return nil, err
	}
	w.mu.Lock()
	answer := w.answer
	w.attempts++
	w.underWay++
	w.most = max(w.most, w.underWay)
	w.mu.Unlock()
	status, err := answer(req.Context(), n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay--
	if err != (refused{}) {
		httptrace.ContextClientTrace(req.Context()).WroteHeaders()
	}
	if status/100 == 2 {
		w.heard = append(w.heard, n)
		w.ids = append(w.ids, req.Header.Get("webhook-id"))
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(""))}, nil
}

// takeHeard returns what the receiver has heard since the last time, as "drain
// type".
func (w *world) takeHeard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var heard []string
	for _, n := range w.heard {
		heard = append(heard, n.Drain.ID+" "+strings.TrimPrefix(string(n.Type), "drain."))
	}
	w.heard = nil
	return heard
}

// takeIDs returns the ids of what the receiver has heard since the last time.
func (w *world) takeIDs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := w.ids
	w.ids = nil
	return ids
}

// run starts a Notifier on the world; stop ends it.
func (w *world) run(delay time.Duration) (n *Notifier, stop func()) {
	w.t.Helper()
	n = New(Config{
		URL: "https://hooks.example.com/auditdrain", Secrets: [][]byte{make([]byte, 24)}, Delay: delay,
		Store: w, Drains: w, Transport: w, Log: slog.New(slog.DiscardHandler),
	})
	return n, runNotifier(w.t, n)
}

func runNotifier(t *testing.T, n *Notifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
