package deliver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// world is a store and destinations in memory. It fails the test when a
// cursor is saved that leads what destinations have confirmed.
type world struct {
	t *testing.T

	mu           sync.Mutex
	events       map[string][]auditdrain.StoredEvent // by team
	drains       map[string]auditdrain.Drain
	states       map[string]auditdrain.DeliveryState
	attempts     map[string][]auditdrain.Attempt
	instructions map[string]auditdrain.Instructions
	confirmed    map[string]map[uint64]int // drain ID, sequence number: how often
	inFlight     map[string]int
	mostAtOnce   map[string]int
	answer       func(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error)
	readErr      error
	saveErr      error
	stateErr     error
	openErr      error
	opened       []bool // unconditional
	closed       int
	books        *books // or nil
}

func newWorld(t *testing.T) *world {
	return &world{
		t:            t,
		events:       map[string][]auditdrain.StoredEvent{},
		drains:       map[string]auditdrain.Drain{},
		states:       map[string]auditdrain.DeliveryState{},
		attempts:     map[string][]auditdrain.Attempt{},
		instructions: map[string]auditdrain.Instructions{},
		confirmed:    map[string]map[uint64]int{},
		inFlight:     map[string]int{},
		mostAtOnce:   map[string]int{},
		answer: func(ctx context.Context, _ auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			return auditdrain.PutResult{}, sleep(ctx, 10*time.Millisecond)
		},
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) addDrain(id, team string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drains[id] = auditdrain.Drain{ID: id, TeamID: team, Status: auditdrain.StatusEnabled, Delivery: auditdrain.Delivery{Endpoint: "s3://bucket"}}
	w.states[id] = auditdrain.DeliveryState{DrainID: id}
	w.confirmed[id] = map[uint64]int{}
}

func (w *world) addEvents(team string, n int) {
	w.addEventsAs(team, n, func(*auditdrain.StoredEvent) {})
}

// addEventsAs adds events that are changed before anybody sees them.
func (w *world) addEventsAs(team string, n int, change func(*auditdrain.StoredEvent)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		seq := uint64(len(w.events[team]) + 1)
		e := auditdrain.StoredEvent{
			Event:      auditdrain.Event{ID: fmt.Sprintf("%s-%d", team, seq), Body: make([]byte, 10)},
			Seq:        seq,
			AcceptedAt: time.Now(),
			TotalBytes: seq * 10,
		}
		change(&e)
		w.events[team] = append(w.events[team], e)
	}
}

// acceptedAt is when the event was added.
func (w *world) acceptedAt(team, id string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[team][seqOf(w.t, team, id)-1].AcceptedAt
}

// seqOf is the number in an event's ID.
func seqOf(t *testing.T, team, id string) (seq uint64) {
	if _, err := fmt.Sscanf(id, team+"-%d", &seq); err != nil {
		t.Errorf("team %s has no event %s", team, id)
	}
	return seq
}

func (w *world) setAnswer(f func(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func (w *world) state(id string) auditdrain.DeliveryState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[id]
}

// count is how many events of the drain have been confirmed.
func (w *world) count(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.confirmed[id])
}

func (w *world) Read(_ context.Context, team string, after uint64, maxEvents, _ int) ([]auditdrain.StoredEvent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readErr != nil {
		return nil, w.readErr
	}
	all := w.events[team]
	from := min(int(after), len(all))
	return slices.Clone(all[from:min(from+maxEvents, len(all))]), nil
}

var errNoDrain = auditdrain.Errorf(auditdrain.CodeNotFound, "no such drain")

func (w *world) DeliveryState(_ context.Context, id string) (auditdrain.DeliveryState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state, ok := w.states[id]
	if !ok {
		return state, errNoDrain
	}
	if state.Replay != nil { // who asks may change it
		replay := *state.Replay
		state.Replay = &replay
	}
	return state, w.stateErr
}

func (w *world) Instructions(_ context.Context, id string) (auditdrain.Instructions, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.instructions[id], nil
}

func (w *world) SaveProgress(_ context.Context, progress []auditdrain.Progress) (gone []string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saveErr != nil {
		return nil, w.saveErr
	}
	named := map[string]bool{}
	for _, p := range progress {
		id := p.State.DrainID
		if named[id] {
			w.t.Errorf("drain %s is saved twice in one call", id)
		}
		named[id] = true
		old, ok := w.states[id]
		if !ok {
			gone = append(gone, id)
			continue
		}
		for s := old.Cursor + 1; s <= p.State.Cursor; s++ {
			if w.confirmed[id][s] == 0 && !w.givenUp(id, s) {
				w.t.Errorf("drain %s: cursor %d leads: event %d is not confirmed", id, p.State.Cursor, s)
			}
		}
		p.State.Cursor = max(p.State.Cursor, old.Cursor)
		w.states[id] = p.State
		w.attempts[id] = append(w.attempts[id], p.Attempts...)
	}
	return gone, nil
}

func (w *world) givenUp(id string, seq uint64) bool {
	return slices.ContainsFunc(w.instructions[id].Skips, func(s auditdrain.Skip) bool { return s.Covers(seq) })
}

func (w *world) Drains(_ context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []auditdrain.Drain
	for id, d := range w.drains {
		if q.ID == "" || q.ID == id {
			out = append(out, d)
		}
	}
	return out, nil
}

type destination struct {
	w     *world
	drain auditdrain.Drain
}

func (w *world) open(d auditdrain.Drain, unconditional bool) (Destination, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.openErr != nil {
		return nil, w.openErr
	}
	w.opened = append(w.opened, unconditional)
	return &destination{w, d}, nil
}

func (d *destination) Close() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.closed++
}

func (d *destination) PutDocument(_ context.Context, key string, body []byte, _ map[string]string) (auditdrain.PutResult, error) {
	return d.w.books.putDocument(d.drain.Delivery.Endpoint, key, body)
}

func (d *destination) Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error) {
	id := d.drain.ID
	d.w.mu.Lock()
	answer := d.w.answer
	d.w.inFlight[id]++
	d.w.mostAtOnce[id] = max(d.w.mostAtOnce[id], d.w.inFlight[id])
	d.w.mu.Unlock()

	result, err := answer(ctx, d.drain, e)

	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.inFlight[id]--
	if err == nil {
		d.w.confirmed[id][seqOf(d.w.t, d.drain.TeamID, e.ID)]++
		d.w.books.put(d.drain.Delivery, e, &result)
	}
	return result, err
}

// refusal is an error that says what to do about it.
type refusal struct {
	class auditdrain.FailureClass
	text  string
}

func (r refusal) Error() string                  { return r.text }
func (r refusal) Class() auditdrain.FailureClass { return r.class }

var (
	throttled = refusal{auditdrain.Throttled, "503 SlowDown"}
	internal  = refusal{auditdrain.Transient, "500 InternalError"}
	denied    = refusal{auditdrain.Blocked, "403 AccessDenied"}
	noBucket  = refusal{auditdrain.Blocked, "404 NoSuchBucket"}
	timedOut  = refusal{auditdrain.Transient, "timed out"}
)

// startDeliverer runs a Deliverer, and stops it when the test ends.
func startDeliverer(t *testing.T, w *world, opts Options) (d *Deliverer, stop func()) {
	d = New(w, w, w.open, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return d, stop
}

func (w *world) Last(_ context.Context, team string) (seq, totalBytes uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events[team] {
		seq, totalBytes = e.Seq, e.TotalBytes
	}
	return seq, totalBytes, nil
}
