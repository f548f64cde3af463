package deliver

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// How much is read ahead at a time, at most. While many drains have work,
	// readBudget is shared by them; each may read minReadBytes.
	readEvents   = 256
	readBytes    = 1 << 20
	readBudget   = 64 << 20
	minReadBytes = 16 << 10

	// replayTurn is which one of a drain's writes is for its replay, while it
	// has new events, too.
	replayTurn = 4

	// troubleAfter is how many attempts in a row may fail in ways that should
	// pass before the drain is shown as errored all the same.
	troubleAfter = 5

	// abortAfter is how long writes under way may take to end when their
	// drain is changed: whoever changed it waits.
	abortAfter = time.Second
)

// drain delivers the events of one drain as it was configured when it was
// made; after a change a new one takes its place.
//
// It has no goroutine of its own. Workers come to it when it has something to
// deliver, each carries one event at a time, and they leave when there is
// nothing more to do.
type drain struct {
	*Deliverer
	config auditdrain.Drain
	// ctx is of its writes, and ends with abort. It is kept here because the
	// workers that come belong to no drain.
	ctx   context.Context
	abort context.CancelFunc

	mu      sync.Mutex
	loaded  bool // what follows has been read from the store
	loading bool
	dest    Destination
	skips   []auditdrain.Skip
	hideIP  bool // as the team says
	live    lane
	replay  *lane // or nil
	state   auditdrain.DeliveryState
	turns   int // writes begun

	workers  int  // here now, holding a place each
	inLine   bool // for one more
	counted  bool // in line.wanted
	inFlight int  // writes under way
	overdue  int  // of those, without a place
	window   window

	stopped  bool          // for good
	closed   bool          // and nothing is under way any more
	idle     chan struct{} // closed when it is stopped and nothing is under way
	timer    *time.Timer   // until it goes on, or nil
	parked   bool          // what timer waits for is a probe
	probes   int           // that have failed, in a row
	failures int           // transient, in a row
	refused  int           // turns when it was last found to be in trouble

	unsaved    bool   // something is to be saved
	urgent     bool   // somebody waits for what is to be saved
	told       bool   // whether it is errored, as StatusChanged has been told
	replayTold string // the last replay of which it is told that it is over
	attempts   []auditdrain.Attempt
	lastSample time.Time
	tally      *auditdrain.Tally // since TakeTallies, or nil; see ownTally
}

func (d *Deliverer) newDrain(putCtx context.Context, config auditdrain.Drain) *drain {
	ctx, abort := context.WithCancel(putCtx)
	return &drain{
		Deliverer: d, config: config, ctx: ctx, abort: abort,
		live: lane{last: math.MaxUint64, more: true}, window: newWindow(d.most), idle: make(chan struct{}),
	}
}

// wake says that there may be new events.
func (d *drain) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.wake()
	d.recruit()
}

// recruit gets in line for one more worker if there is something to do for
// one. mu is held. The worker that comes does the same: so their number
// doubles until there are enough.
func (d *drain) recruit() {
	if d.inLine || d.stopped || d.timer != nil || d.inFlight >= d.window.size || d.loading || !d.loaded && d.workers > 0 {
		return
	}
	if !d.loaded || d.hasWork(&d.live) || d.replay != nil && d.hasWork(d.replay) {
		d.inLine = true
		d.count()
		d.line.join(d)
	}
}

func (d *drain) hasWork(l *lane) bool {
	return l.readable() || len(l.queue) > 0 && l.mayBegin(4*d.most)
}

// serve is a worker's stay: it carries events until there are no more, or
// others wait who have fewer workers. It returns whose turn it is then; if
// nobody's, the worker holds no place any more.
func (d *drain) serve() (next *drain) {
	d.arrive()
	for {
		f := d.next()
		if f == nil {
			break
		}
		put, err := d.put(f.ev.Event)
		if !d.settle(f, put, err) {
			d.leave(false)
			return nil // its place has been given to another
		}
		if d.line.crowded() && d.surplus() {
			break
		}
	}
	d.leave(true)
	return d.line.next()
}

// put writes an event as its team wants it.
func (d *drain) put(e auditdrain.Event) (auditdrain.PutResult, error) {
	if d.hideIP {
		e = e.WithoutIPAddress()
	}
	return d.dest.Put(d.ctx, e)
}

func (d *drain) arrive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inLine = false
	d.workers++
}

// leave is the end of a worker's stay. placed says that it holds a place.
func (d *drain) leave(placed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if placed {
		d.workers--
	}
	d.recruit()
	d.count()
	d.settleDown()
}

// count has the line know whether the drain wants workers. mu is held.
func (d *drain) count() {
	switch wants := d.workers > 0 || d.inLine; {
	case wants == d.counted:
	case wants:
		d.line.wanted.Add(1)
		d.counted = true
	default:
		d.line.wanted.Add(-1)
		d.counted = false
	}
}

// settleDown tells who waits that nothing is under way any more. mu is held.
func (d *drain) settleDown() {
	if d.stopped && d.workers == 0 && d.overdue == 0 && !d.inLine {
		select {
		case <-d.idle:
		default:
			close(d.idle)
		}
	}
}

// surplus reports whether the drain has more than its share of the workers.
func (d *drain) surplus() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.workers > d.line.share()
}

// next returns the next event to write, or nil if there is none for this
// worker. It reads from the store if need be.
func (d *drain) next() *flight {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.loaded && !d.load() {
		return nil
	}
	for !d.stopped && d.timer == nil && d.inFlight < d.window.size {
		f := d.take()
		if f == nil {
			if l := d.unreadLane(); l != nil && d.readAhead(l) {
				continue
			}
			return nil
		}
		if d.isSkipped(f) {
			f.skipped = true
			d.confirm(f)
			continue
		}
		if !d.openDest() {
			f.lane.putBack(f)
			return nil
		}
		d.inFlight++
		d.turns++
		f.turn, f.begunAt = d.turns, time.Now()
		f.underWay, f.overdue = true, false
		d.recruit()
		return f
	}
	return nil
}

// take returns the event whose turn it is, or nil.
func (d *drain) take() *flight {
	if d.replay != nil && d.turns%replayTurn == 0 {
		if f := d.replay.take(4 * d.most); f != nil {
			return f
		}
	}
	f := d.live.take(4 * d.most)
	if f == nil && d.replay != nil {
		f = d.replay.take(4 * d.most)
	}
	return f
}

func (d *drain) unreadLane() *lane {
	switch {
	case d.live.readable():
		return &d.live
	case d.replay != nil && d.replay.readable():
		return d.replay
	}
	return nil
}

// isSkipped reports whether f was given up. A replay tries even that.
func (d *drain) isSkipped(f *flight) bool {
	return f.lane == &d.live && slices.ContainsFunc(d.skips, func(s auditdrain.Skip) bool { return s.Covers(f.ev.Seq) })
}

// load reads what the store knows of the drain, once. mu is held, but not
// during the calls. It reports whether there is something to go on with.
func (d *drain) load() bool {
	d.loading = true
	d.mu.Unlock()
	state, err := d.store.DeliveryState(d.ctx, d.config.ID)
	var told auditdrain.Instructions
	if err == nil {
		told, err = d.store.Instructions(d.ctx, d.config.ID)
	}
	if err == nil {
		err = d.sealer.deliverAs(d.ctx, d.config, told)
	}
	d.mu.Lock()
	d.loading = false
	switch {
	case d.stopped:
		return false
	case auditdrain.ErrorCode(err) == auditdrain.CodeNotFound:
		d.stopped = true // deleted; whoever did it has told us, or will
		return false
	case err != nil:
		d.log.Error("delivery state could not be read; will try again", "drain", d.config.ID, "err", err)
		d.pause(backoff(1))
		return false
	}
	d.loaded = true
	d.state = state
	d.state.NextAttemptAt = 0 // we try at once
	d.skips, d.hideIP = told.Skips, told.HideIPAddresses
	d.live.cursor, d.live.read, d.live.saved = state.Cursor, state.Cursor, state.Cursor
	d.told = state.FirstErrorAt != 0
	if o := told.Replay; o != nil && !o.Cancelled {
		d.beginReplay(*o)
	}
	return true
}

// openDest opens the destination if that has not been done: ten thousand that
// nothing is written to would take much memory.
func (d *drain) openDest() bool {
	if d.dest != nil {
		return true
	}
	dest, err := d.open(d.config, d.state.NoConditionalPut == d.config.Delivery.Endpoint)
	if err != nil {
		d.park(err, nil)
		return false
	}
	d.dest = dest
	return true
}

func (d *drain) beginReplay(o auditdrain.ReplayOrder) {
	if d.state.Replay == nil || d.state.Replay.ID != o.ID {
		d.state.Replay = &auditdrain.ReplayProgress{ID: o.ID, Cursor: o.FirstSeq - 1}
	}
	if d.state.Replay.FinishedAt != 0 {
		return
	}
	l := newLane(d.state.Replay.Cursor, o.LastSeq)
	d.replay = &l
	d.moved() // there may be nothing in it
}

// readAhead reads a lane's next events. mu is held, but not during the read.
// It reports whether that went well.
func (d *drain) readAhead(l *lane) bool {
	l.reading = true
	after, wakes := l.read, l.wakes
	mostBytes := min(max(readBudget/int(max(d.line.wanted.Load(), 1)), minReadBytes), readBytes)
	d.mu.Unlock()
	events, err := d.store.Read(d.ctx, d.config.TeamID, after, readEvents, mostBytes)
	d.mu.Lock()
	l.reading = false
	if err != nil {
		if d.ctx.Err() == nil && d.timer == nil {
			d.log.Error("events could not be read; will try again", "drain", d.config.ID, "err", err)
			d.failures++
			d.pause(backoff(d.failures))
		}
		return false
	}
	if after != l.read {
		return true // trouble has made us forget what was read: read again
	}
	// Fewer than asked for can be because of their size.
	l.add(events, len(events) == 0 || len(events) < readEvents && bytesOf(events) < mostBytes/2, wakes)
	d.moved()
	return len(l.queue) > 0 || l.more
}

func bytesOf(events []auditdrain.StoredEvent) int {
	n := 0
	for i := range events {
		n += len(events[i].Body)
	}
	return n
}

// settle takes in what became of a write. It reports whether its worker still
// holds a place.
func (d *drain) settle(f *flight, put auditdrain.PutResult, err error) (placed bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	f.underWay = false
	if f.overdue {
		d.overdue--
		d.metrics.overdueNow.Add(-1)
	}
	if err == nil {
		d.delivered(f, put, now)
	} else {
		d.failed(f, err, now)
	}
	d.touch()
	return !f.overdue
}

func (d *drain) delivered(f *flight, put auditdrain.PutResult, now time.Time) {
	d.window.grow()
	if f.lane == d.replay {
		if put.Existed {
			d.state.Replay.Existed++
		} else {
			d.state.Replay.Written++
		}
	} else {
		d.state.LastDeliveryAt = now.UnixMilli()
		took := now.Sub(f.ev.AcceptedAt)
		d.metrics.delivered(put, took)
		d.tallyDelivered(took)
	}
	d.confirm(f)
	d.sampleSuccess(f, put, now)
	if endpoint := d.config.Delivery.Endpoint; put.Unconditional && d.state.NoConditionalPut != endpoint {
		d.state.NoConditionalPut = endpoint
		d.urgent = true
		d.log.Warn("this store does not implement If-None-Match; objects are written without it", "drain", d.config.ID, "endpoint", endpoint)
	}
	if f.turn <= d.refused {
		return // begun before the trouble, so it says nothing about its end
	}
	d.failures, d.probes = 0, 0
	if d.state.FirstErrorAt != 0 {
		d.log.Info("drain has recovered", "drain", d.config.ID, "team", d.config.TeamID,
			"errored_for", now.Sub(time.UnixMilli(d.state.FirstErrorAt)).Round(time.Second))
		d.state.FirstErrorAt, d.state.LastError, d.state.Diagnosis = 0, "", nil
		d.state.LastErrorAt, d.state.LastErrorEvent = 0, ""
		d.urgent = true
	}
}

func (d *drain) failed(f *flight, err error, now time.Time) {
	if d.ctx.Err() != nil {
		f.lane.putBack(f) // we have given it up ourselves
		return
	}
	class := classOf(err)
	d.state.Failed++
	d.tallyFailed()
	d.metrics.failed(class)
	d.keepFailure(f, err, class, now)
	f.lane.putBack(f)
	if class == auditdrain.Blocked {
		d.park(err, f)
		return
	}
	if d.timer != nil || f.turn <= d.refused {
		return // one pause for all that failed together
	}
	d.failures++
	if class == auditdrain.Throttled || d.window.size > 1 {
		d.window.cut()
	}
	if d.failures >= troubleAfter {
		d.trouble(err, f)
	}
	d.refused = d.turns
	d.pause(backoff(d.failures))
}

// pause lets nothing begin for a while.
func (d *drain) pause(delay time.Duration) {
	d.live.unread()
	if d.replay != nil {
		d.replay.unread()
	}
	d.state.NextAttemptAt = time.Now().Add(delay).UnixMilli()
	d.timer = time.AfterFunc(delay, d.goOn)
	d.touch()
}

// park pauses a drain whose destination, or whose access to it, a person has
// to mend, until the next probe. f is the event that was refused, or nil.
func (d *drain) park(err error, f *flight) {
	d.trouble(err, f)
	d.refused = d.turns
	if d.parked || d.stopped {
		return // all that failed together
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.parked = true
	d.metrics.parkedNow.Add(1)
	d.pause(probeDelay(d.probes))
	d.probes++
}

// goOn ends a pause.
func (d *drain) goOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	d.timer = nil
	d.state.NextAttemptAt = 0
	if d.parked {
		// A probe is to find out whether the destination works now: with one
		// write, and a session of its own, since the one that was refused may
		// be the cause.
		d.parked = false
		d.metrics.parkedNow.Add(-1)
		d.window.shut()
		if d.dest != nil {
			d.dest.Close()
		}
	}
	d.recruit()
}

// trouble notes why the drain does not deliver.
func (d *drain) trouble(err error, f *flight) {
	text := err.Error()
	d.state.Diagnosis = nil
	if diagnosis, ok := d.explain(d.config, err); ok {
		text = diagnosis.String()
		d.state.Diagnosis = &diagnosis
	}
	d.state.LastError = clip(text, 4096)
	d.state.LastErrorAt = time.Now().UnixMilli()
	d.state.LastErrorEvent = ""
	if answer, ok := answerOf(err); f != nil && (!ok || answer.Operation == "PutObject") {
		d.state.LastErrorEvent = f.ev.ID
	}
	if d.state.FirstErrorAt == 0 {
		d.state.FirstErrorAt = d.state.LastErrorAt
		d.urgent = true
		d.log.Warn("drain is errored; its backlog is kept", "drain", d.config.ID, "team", d.config.TeamID,
			"event", d.state.LastErrorEvent, slog.String("err", d.state.LastError))
	}
}

// confirm notes that f needs no more writing. Counts go with the cursor, so
// that no event is counted twice, whatever is repeated.
func (d *drain) confirm(f *flight) {
	delivered, skipped := f.lane.confirm(f)
	if !f.lane.ends() {
		d.state.Delivered += delivered
		d.state.Skipped += skipped
	}
	d.moved()
}

// moved takes over where the lanes' cursors are.
func (d *drain) moved() {
	d.state.Cursor = d.live.cursor
	for len(d.skips) > 0 && d.skips[0].To <= d.state.Cursor {
		d.skips = d.skips[1:]
	}
	d.urgent = d.urgent || d.live.lags() || d.replay != nil && d.replay.lags()
	if d.replay == nil {
		d.touch()
		return
	}
	d.state.Replay.Cursor = d.replay.cursor
	if d.replay.done() {
		d.state.Replay.FinishedAt = time.Now().UnixMilli()
		d.replay = nil
		d.urgent = true
		d.log.Info("replay has finished", "drain", d.config.ID, "replay", d.state.Replay.ID,
			"written", d.state.Replay.Written, "existed", d.state.Replay.Existed)
	}
	d.touch()
}

// stop lets nothing begin any more. idle is closed when nothing is under way.
func (d *drain) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.parked {
		d.parked = false
		d.metrics.parkedNow.Add(-1)
	}
	d.settleDown()
}

// close frees what the drain holds. Nothing may be under way.
func (d *drain) close() {
	d.abort()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.dest != nil {
		d.dest.Close()
		d.dest = nil
	}
}
