// Package deliver carries each team's stored events to the destinations of
// the team's drains.
//
// It guarantees that a drain's cursor passes an event only after the
// destination has confirmed it, so that every event is delivered at least
// once, whatever fails or is killed in between; and that no failure makes it
// give an event up. What a person has to mend parks the drain, which probes
// its destination until it works again. Deliveries of one drain begin in the
// order of the team's sequence and may overtake each other within a window.
//
// A drain with work has one goroutine; a drain without has none.
package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

// Store is where events and delivery states are.
type Store interface {
	// Read returns durable events after a sequence number, in order.
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
	// SaveProgress may be lost in a crash, but never moves a cursor back.
	SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error)
}

// Drains is where drains are configured.
type Drains interface {
	Drains(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error)
}

// Destination is where one drain's events go. Put must be safe for concurrent
// use, and safe to repeat. What to do about its errors they say themselves
// (auditdrain.FailureClass); one that does not is Transient: it passes or is a
// bug, and in neither case may an event be given up.
type Destination interface {
	Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error)
	Close()
}

// OpenFunc returns the destination of a drain. It makes no call. unconditional
// says that the store has been found not to implement conditional writes.
type OpenFunc func(d auditdrain.Drain, unconditional bool) (Destination, error)

// Options are limits, with usable defaults.
type Options struct {
	// InFlight bounds the writes of all drains together that are under way,
	// besides one of each drain. Default 1024.
	InFlight int
	// Window bounds those of one drain. Default 64.
	Window int
	// Grace is how long writes under way may take to end when Run is told to
	// stop. Default 20 s.
	Grace time.Duration
	// Explain says in words why AWS refused a drain's delivery, and false if
	// it was not AWS. Without it, drains show the error as it is.
	Explain func(auditdrain.Drain, error) (auditdrain.Diagnosis, bool)
	Log     *slog.Logger
}

// Deliverer runs the loops of all drains.
type Deliverer struct {
	store   Store
	drains  Drains
	open    OpenFunc
	explain func(auditdrain.Drain, error) (auditdrain.Diagnosis, bool)
	log     *slog.Logger
	grace   time.Duration
	most    int // writes of one drain under way
	// slots has one place for each write under way, but for one of each drain:
	// however many drains hold them, a drain with work has a write under way.
	slots   chan struct{}
	metrics *metrics

	mu      sync.Mutex
	news    news
	newsNow chan struct{} // cap 1
}

// news is what Run has to look at.
type news struct {
	teams   map[string]bool // have new events
	changed map[string]bool // drain IDs: created, changed or deleted
	due     map[string]bool // drain IDs: parked long enough
	ended   []ended         // loops that have returned
}

func newNews() news {
	return news{teams: map[string]bool{}, changed: map[string]bool{}, due: map[string]bool{}}
}

// New returns a Deliverer. Nothing is delivered until Run.
func New(store Store, drains Drains, open OpenFunc, opts Options) *Deliverer {
	if opts.InFlight == 0 {
		opts.InFlight = 1024
	}
	if opts.Window == 0 {
		opts.Window = 64
	}
	if opts.Grace == 0 {
		opts.Grace = 20 * time.Second
	}
	if opts.Explain == nil {
		opts.Explain = func(auditdrain.Drain, error) (auditdrain.Diagnosis, bool) { return auditdrain.Diagnosis{}, false }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Deliverer{
		store:   store,
		drains:  drains,
		open:    open,
		explain: opts.Explain,
		log:     opts.Log,
		grace:   opts.Grace,
		most:    opts.Window,
		slots:   make(chan struct{}, opts.InFlight),
		metrics: newMetrics(),
		news:    newNews(),
		newsNow: make(chan struct{}, 1),
	}
}

// Wake says that a team has new durable events. It does not block.
func (d *Deliverer) Wake(teamID string) {
	d.tell(func(n *news) { n.teams[teamID] = true })
}

// Changed says that a drain was created, changed or deleted: its loop starts
// anew with the stored configuration, parked or not. It does not block.
func (d *Deliverer) Changed(drainID string) {
	d.tell(func(n *news) { n.changed[drainID] = true })
}

func (d *Deliverer) tell(note func(*news)) {
	d.mu.Lock()
	note(&d.news)
	d.mu.Unlock()
	select {
	case d.newsNow <- struct{}{}:
	default: // Run has been told already
	}
}

func (d *Deliverer) takeNews() news {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.news
	d.news = newNews()
	return n
}

// entry is what Run knows of one drain. Only Run's goroutine touches it.
type entry struct {
	drain  auditdrain.Drain
	dest   Destination
	wake   chan struct{}      // cap 1: the team has new events
	stop   context.CancelFunc // of the loop, or nil if there is none
	stale  bool               // start anew with the stored configuration when the loop has ended
	timer  *time.Timer        // of a parked drain, or nil
	parked int                // how many times in a row
}

// Run delivers until ctx ends. Then it starts no more writes, waits for those
// under way (at most the grace time), saves all cursors and returns nil. It
// fails only if the drains cannot be read at the start.
func (d *Deliverer) Run(ctx context.Context) error {
	all, err := d.drains.Drains(ctx, auditdrain.DrainQuery{})
	if err != nil {
		return fmt.Errorf("read drains: %w", err)
	}
	// Writes under way outlive ctx, which only stops new ones.
	putCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	r := &running{
		Deliverer: d,
		entries:   make(map[string]*entry, len(all)),
		byTeam:    make(map[string]map[string]*entry),
	}
	for _, drain := range all {
		r.add(drain)
	}
	for _, e := range r.entries {
		r.start(ctx, putCtx, e)
	}
	for {
		select {
		case <-d.newsNow:
			r.handle(ctx, putCtx, d.takeNews())
		case <-ctx.Done():
			defer time.AfterFunc(d.grace, abort).Stop()
			for _, e := range r.entries {
				if e.timer != nil {
					e.timer.Stop()
				}
			}
			r.loops.Wait()
			return nil
		}
	}
}

// running is the state of Run.
type running struct {
	*Deliverer
	entries map[string]*entry            // by drain ID
	byTeam  map[string]map[string]*entry // by team ID and drain ID
	loops   sync.WaitGroup
}

func (r *running) add(drain auditdrain.Drain) *entry {
	e := &entry{drain: drain, wake: make(chan struct{}, 1)}
	r.entries[drain.ID] = e
	if r.byTeam[drain.TeamID] == nil {
		r.byTeam[drain.TeamID] = make(map[string]*entry)
	}
	r.byTeam[drain.TeamID][drain.ID] = e
	return e
}

func (r *running) remove(e *entry) {
	r.close(e)
	delete(r.entries, e.drain.ID)
	delete(r.byTeam[e.drain.TeamID], e.drain.ID)
	if len(r.byTeam[e.drain.TeamID]) == 0 {
		delete(r.byTeam, e.drain.TeamID)
	}
}

func (r *running) close(e *entry) {
	if e.dest != nil {
		e.dest.Close()
		e.dest = nil
	}
}

func (r *running) handle(ctx, putCtx context.Context, n news) {
	for _, end := range n.ended {
		r.onEnd(ctx, putCtx, end)
	}
	for id := range n.changed {
		if e := r.entries[id]; e != nil && e.stop != nil {
			e.stale = true
			e.stop()
		} else {
			r.reload(ctx, putCtx, id)
		}
	}
	for teamID := range n.teams {
		for _, e := range r.byTeam[teamID] {
			if e.timer != nil {
				continue // parked: new events change nothing
			}
			select {
			case e.wake <- struct{}{}:
			default:
			}
			r.start(ctx, putCtx, e)
		}
	}
	for id := range n.due {
		if e := r.entries[id]; e != nil && e.timer != nil {
			e.timer = nil
			r.start(ctx, putCtx, e)
		}
	}
}

// reload takes over the stored configuration of a drain that has no loop.
func (r *running) reload(ctx, putCtx context.Context, id string) {
	found, err := r.drains.Drains(ctx, auditdrain.DrainQuery{ID: id})
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.log.Error("drain could not be read; will try again", "drain", id, "err", err)
		time.AfterFunc(time.Second, func() { r.Changed(id) })
		return
	}
	e := r.entries[id]
	if len(found) == 0 {
		if e != nil {
			r.remove(e)
		}
		return
	}
	if e == nil {
		e = r.add(found[0])
	}
	r.close(e)
	e.drain = found[0]
	e.parked = 0
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	r.start(ctx, putCtx, e)
}

// start starts the loop of a drain that is enabled and has none.
func (r *running) start(ctx, putCtx context.Context, e *entry) {
	if e.stop != nil || e.drain.Status == auditdrain.StatusDisabled || ctx.Err() != nil {
		return
	}
	loopCtx, stop := context.WithCancel(ctx)
	e.stop = stop
	l := &loop{Deliverer: r.Deliverer, drain: e.drain, dest: e.dest, wake: e.wake, probe: e.parked > 0}
	r.loops.Go(func() {
		end := l.run(loopCtx, putCtx)
		end.drainID, end.dest = l.drain.ID, l.dest
		r.tell(func(n *news) { n.ended = append(n.ended, end) })
	})
}

// ended is what a loop returns.
type ended struct {
	drainID   string
	dest      Destination // as the loop has left it
	parked    bool        // probe again later
	progress  bool        // something was delivered
	forgotten bool        // the drain is no longer in the store
}

func (r *running) onEnd(ctx, putCtx context.Context, end ended) {
	e := r.entries[end.drainID]
	e.stop()
	e.stop = nil
	e.dest = end.dest
	if end.progress {
		e.parked = 0
	}
	switch {
	case e.stale || end.forgotten:
		e.stale = false
		r.reload(ctx, putCtx, end.drainID)
	case end.parked:
		// A probe is to find out whether the destination works now: with a
		// session of its own, since the one that was refused may be the cause.
		r.close(e)
		delay := probeDelay(e.parked)
		e.parked++
		e.timer = time.AfterFunc(delay, func() {
			r.tell(func(n *news) { n.due[end.drainID] = true })
		})
	case len(e.wake) > 0: // woken after its last look
		r.start(ctx, putCtx, e)
	}
}
