package deliver

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// How much is read ahead at a time. A drain in trouble holds this for as
	// long as it lasts.
	readEvents = 256
	readBytes  = 1 << 20

	// A drain's window starts here and grows by one with every success, up to
	// its bound; it halves with every round of failures, down to one.
	firstWindow = 16

	// Backoff between repeats of what should pass by itself.
	backoffBase = 100 * time.Millisecond
	backoffMost = 30 * time.Second

	// Probes of a parked drain.
	probeFirst = 5 * time.Second
	probeMost  = 5 * time.Minute

	// troubleAfter is how many attempts in a row may fail in ways that should
	// pass before the drain is shown as errored all the same.
	troubleAfter = 5

	// saveEvery bounds how far the counters in the store lag.
	saveEvery = time.Second
)

// backoff is the pause before the nth repeat, from 1: full jitter, so that
// drains that failed together do not come back together.
func backoff(n int) time.Duration {
	most := backoffBase << min(n, 16)
	return rand.N(min(most, backoffMost)) + time.Millisecond
}

// probeDelay is the pause after n probes have failed, ±20 %.
func probeDelay(n int) time.Duration {
	d := min(probeFirst<<min(n, 16), probeMost)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// loop delivers one drain's backlog. It is used once.
type loop struct {
	*Deliverer
	drain auditdrain.Drain
	dest  Destination
	wake  chan struct{}
	probe bool // send one event first: the destination was broken

	state     auditdrain.DeliveryState
	savedAt   time.Time
	saved     uint64    // cursor as stored
	read      uint64    // last sequence number read
	exhausted bool      // nothing more to read until woken
	queue     []*flight // read and not under way, in order
	pending   []*flight // begun and not yet passed by the cursor, in order
	inFlight  int       // of those, under way now
	free      bool      // one of them holds no slot
	window    int
	failures  int // transient, in a row
	pause     *time.Timer
	progress  bool
	results   chan result
}

// flight is an event on its way.
type flight struct {
	ev        auditdrain.StoredEvent
	begun     bool // and so in pending
	confirmed bool
}

type result struct {
	f    *flight
	free bool
	put  auditdrain.PutResult
	err  error
}

// run delivers until there is nothing left, the destination needs mending, or
// ctx ends. It returns only when nothing is under way any more.
func (l *loop) run(ctx, putCtx context.Context) (end ended) {
	defer func() { end.progress = l.progress }()
	saveCtx := context.WithoutCancel(ctx) // what is confirmed is saved, whatever ends
	select {
	case <-l.wake: // we are about to look
	default:
	}
	var err error
	if l.state, err = l.store.DeliveryState(saveCtx, l.drain.ID); err != nil {
		if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
			return ended{forgotten: true}
		}
		l.log.Error("delivery state could not be read; will try again", "drain", l.drain.ID, "err", err)
		return ended{parked: true}
	}
	l.read, l.saved = l.state.Cursor, l.state.Cursor
	if l.dest == nil {
		if l.dest, err = l.open(l.drain, l.state.NoConditionalPut == l.drain.Delivery.Endpoint); err != nil {
			l.refused(err)
			return l.finish(saveCtx, true)
		}
	}
	l.results = make(chan result, l.most)
	l.window = min(firstWindow, l.most)
	if l.probe || l.state.FirstErrorAt != 0 {
		l.window = 1
	}

	stopping, parked := false, false
	done := ctx.Done()
	for {
		if !stopping && len(l.queue) == 0 && !l.exhausted && !l.full() {
			if err := l.readAhead(saveCtx); err != nil {
				l.log.Error("events could not be read; will try again", "drain", l.drain.ID, "err", err)
				stopping, parked = true, true
			}
		}
		// A nil channel is never chosen.
		var slot chan<- struct{}
		if !stopping && l.pause == nil && l.mayBegin() {
			if !l.free {
				l.free = true
				l.begin(putCtx, true)
				continue
			}
			slot = l.slots
		}
		var pause <-chan time.Time
		if !stopping && l.pause != nil {
			pause = l.pause.C
		}
		if l.inFlight == 0 && slot == nil && pause == nil {
			return l.finish(saveCtx, parked)
		}
		select {
		case slot <- struct{}{}:
			l.begin(putCtx, false)
		case r := <-l.results:
			if l.settle(r) {
				stopping, parked = true, true
			}
			l.advance(saveCtx)
		case <-pause:
			l.pause = nil
		case <-l.wake:
			l.exhausted = false
		case <-done:
			stopping, done = true, nil
		}
	}
}

// full reports whether so much has been begun since the cursor that the
// oldest must be confirmed before more is: it bounds what is repeated after a
// crash, and memory.
func (l *loop) full() bool { return len(l.pending) >= 4*l.most }

// mayBegin reports whether the next event in the queue may be sent.
func (l *loop) mayBegin() bool {
	return len(l.queue) > 0 && l.inFlight < l.window && (!l.full() || l.queue[0].begun)
}

func (l *loop) readAhead(ctx context.Context) error {
	events, err := l.store.Read(ctx, l.drain.TeamID, l.read, readEvents, readBytes)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		l.exhausted = true
		return nil
	}
	flights := make([]flight, len(events))
	for i, ev := range events {
		flights[i].ev = ev
		l.queue = append(l.queue, &flights[i])
	}
	l.read = events[len(events)-1].Seq
	return nil
}

// begin starts the write of the next event in the queue. It is the drain's
// free one, or the caller has taken a slot for it.
func (l *loop) begin(putCtx context.Context, free bool) {
	f := l.queue[0]
	l.queue = l.queue[1:]
	if !f.begun {
		f.begun = true
		l.pending = append(l.pending, f)
	}
	l.inFlight++
	go func() {
		put, err := l.dest.Put(putCtx, f.ev.Event)
		if !free {
			<-l.slots
		}
		l.results <- result{f, free, put, err} // never blocks: there is room for all
	}()
}

// settle takes a result in and reports whether a person has to mend
// something before it is worth going on.
func (l *loop) settle(r result) (blocked bool) {
	l.inFlight--
	if r.free {
		l.free = false
	}
	if r.err == nil {
		l.confirmed(r)
		return false
	}
	// Not delivered, so it is next again, before all that comes later.
	at, _ := slices.BinarySearchFunc(l.queue, r.f.ev.Seq, func(f *flight, seq uint64) int { return cmp.Compare(f.ev.Seq, seq) })
	l.queue = slices.Insert(l.queue, at, r.f)

	class := classOf(r.err)
	l.state.Failed++
	l.metrics.failed(class)
	if class == auditdrain.Blocked {
		l.refused(r.err)
		return true
	}
	if l.pause != nil {
		return false // one pause for all that failed together
	}
	l.failures++
	l.pause = time.NewTimer(backoff(l.failures))
	// Less is under way at a destination that throttles, fails or hangs, and
	// less of what all drains share is held by it.
	l.window = max(1, l.window/2)
	if l.failures >= troubleAfter {
		l.refused(r.err)
	}
	return false
}

func (l *loop) confirmed(r result) {
	now := time.Now()
	r.f.confirmed = true
	r.f.ev.Body = nil // it may have to wait for the cursor
	l.progress = true
	l.failures = 0
	l.window = min(l.window+1, l.most)
	l.state.Delivered++
	l.state.LastDeliveryAt = now.UnixMilli()
	l.metrics.delivered(r.put, now.Sub(r.f.ev.AcceptedAt))
	if endpoint := l.drain.Delivery.Endpoint; r.put.Unconditional && l.state.NoConditionalPut != endpoint {
		l.state.NoConditionalPut = endpoint
		l.savedAt = time.Time{}
		l.log.Warn("this store does not implement If-None-Match; objects are written without it", "drain", l.drain.ID, "endpoint", endpoint)
	}
	if l.state.FirstErrorAt != 0 {
		l.log.Info("drain has recovered", "drain", l.drain.ID, "team", l.drain.TeamID,
			"errored_for", now.Sub(time.UnixMilli(l.state.FirstErrorAt)).Round(time.Second))
		l.state.FirstErrorAt, l.state.LastError, l.state.Diagnosis = 0, "", nil
		l.savedAt = time.Time{} // people wait for this: save it now
	}
}

// refused notes why the drain is in trouble.
func (l *loop) refused(err error) {
	text := err.Error()
	l.state.Diagnosis = nil
	if diagnosis, ok := l.explain(l.drain, err); ok {
		text = diagnosis.String()
		l.state.Diagnosis = &diagnosis
	}
	l.state.LastError = clip(text)
	if l.state.FirstErrorAt == 0 {
		l.state.FirstErrorAt = time.Now().UnixMilli()
		l.savedAt = time.Time{}
		l.log.Warn("drain is errored; its backlog is kept", "drain", l.drain.ID, "team", l.drain.TeamID, "err", l.state.LastError)
	}
}

func classOf(err error) auditdrain.FailureClass {
	var e interface {
		Class() auditdrain.FailureClass
	}
	if errors.As(err, &e) {
		return e.Class()
	}
	return auditdrain.Transient
}

// clip bounds what a destination can make us store.
func clip(s string) string {
	const most = 4096
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// advance moves the cursor over all that is confirmed without a gap.
func (l *loop) advance(ctx context.Context) {
	n := 0
	for n < len(l.pending) && l.pending[n].confirmed {
		l.state.Cursor = l.pending[n].ev.Seq
		n++
	}
	l.pending = l.pending[n:]
	if len(l.results) == 0 { // else there is more to come at once
		l.save(ctx, false)
	}
}

// save stores the cursor, and the state if it is time or now is set. What
// could not be stored is stored next time: a cursor may lag.
func (l *loop) save(ctx context.Context, now bool) (forgotten bool) {
	if l.state.Cursor == l.saved && !now && time.Since(l.savedAt) < saveEvery {
		return false
	}
	gone, err := l.store.SaveProgress(ctx, []auditdrain.Progress{{State: l.state}})
	if err != nil {
		l.log.Error("delivery state could not be saved; deliveries may be repeated after a restart", "drain", l.drain.ID, "err", err)
		return false
	}
	l.saved, l.savedAt = l.state.Cursor, time.Now()
	return len(gone) > 0 // deleted; whoever did it has told us, or will
}

func (l *loop) finish(ctx context.Context, parked bool) ended {
	if l.pause != nil {
		l.pause.Stop()
	}
	changed := l.progress || parked
	forgotten := changed && l.save(ctx, true)
	return ended{parked: parked && !forgotten, forgotten: forgotten}
}
