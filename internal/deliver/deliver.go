// Package deliver carries each team's stored events to the destinations of
// the team's drains.
//
// It guarantees that a drain's cursor passes an event only after the
// destination has confirmed it, or an operator has given it up, so that every
// event is delivered at least once, whatever fails or is killed in between;
// and that no failure makes it give an event up. What a person has to mend
// parks the drain, which probes its destination until it works again.
// Deliveries of one drain begin in the order of the team's sequence and may
// overtake each other within a window.
//
// Workers do the writing, one write at a time each. While there are fewer
// than Options.InFlight, a drain with work gets one at once; then drains wait
// in a line and take turns. A drain has as many workers as its window allows,
// and no more than its share while others wait. A write that takes long no
// longer counts (see overdueAfter): so a destination that hangs holds the
// writes of its own window, and keeps nobody else from a worker for more than
// a moment. A drain without work has no
// goroutine.
package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

// Store is where events and delivery states are.
type Store interface {
	// Read returns durable events after a sequence number, in order.
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
	Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error)
	// SaveProgress may be lost in a crash, but never moves a cursor back. It
	// returns the drains that do not exist.
	SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error)
}

// Drains is where drains are configured.
type Drains interface {
	Drains(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error)
}

// Destination is where one drain's events go. Put must be safe for concurrent
// use, and safe to repeat, as must PutDocument, which writes what is no event
// below the same prefix. What to do about their errors they say themselves
// (auditdrain.FailureClass); one that does not is Transient: it passes or is a
// bug, and in neither case may an event be given up. After Close, Put works
// as before, with a new session.
//
// A Destination may have a method SessionExpiry() time.Time, for people to
// see.
type Destination interface {
	Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error)
	PutDocument(ctx context.Context, key string, body []byte, metadata map[string]string) (auditdrain.PutResult, error)
	Close()
}

// OpenFunc returns the destination of a drain. It makes no call. unconditional
// says that the store has been found not to implement conditional writes.
type OpenFunc func(d auditdrain.Drain, unconditional bool) (Destination, error)

// Options are limits, with usable defaults.
type Options struct {
	// InFlight bounds the writes of all drains together that are under way,
	// besides those that are overdue. Default 1024.
	InFlight int
	// Window bounds those of one drain. Default 64.
	Window int
	// Grace is how long writes under way may take to end when Run is told to
	// stop. Default 20 s.
	Grace time.Duration
	// Explain says in words why AWS refused a drain's delivery, and false if
	// it was not AWS. Without it, drains show the error as it is.
	Explain func(auditdrain.Drain, error) (auditdrain.Diagnosis, bool)
	// StatusChanged is told of a drain that has become errored, or has
	// recovered, when the store says so, too. It must not block.
	StatusChanged func(drainID string)
	// Integrity has drains accounted for that ask for it. Without it none is.
	Integrity *Integrity
	Log       *slog.Logger
}

// Deliverer delivers the events of all drains.
type Deliverer struct {
	store         Store
	drains        Drains
	open          OpenFunc
	explain       func(auditdrain.Drain, error) (auditdrain.Diagnosis, bool)
	statusChanged func(string)
	log           *slog.Logger
	grace         time.Duration
	most          int // writes of one drain under way
	line          *line
	metrics       *metrics
	sealer        *sealer // nil without Integrity

	mu         sync.RWMutex
	byID       map[string]*drain
	byTeam     map[string][]*drain
	changed    map[string]bool // drain IDs: created, changed or deleted
	changedNow chan struct{}

	flushing  sync.Mutex // held during saveDirty, guards saved
	saved     bool       // the last time
	saving    sync.Mutex // guards dirty
	dirty     []*drain
	dirtyNow  chan struct{}
	urgentNow chan struct{}

	tallying sync.Mutex // guards tallied
	tallied  []*drain   // that have a tally
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
	if opts.StatusChanged == nil {
		opts.StatusChanged = func(string) {}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	d := &Deliverer{
		store:         store,
		drains:        drains,
		open:          open,
		explain:       opts.Explain,
		statusChanged: opts.StatusChanged,
		log:           opts.Log,
		grace:         opts.Grace,
		most:          opts.Window,
		line:          newLine(opts.InFlight),
		metrics:       newMetrics(),
		byID:          map[string]*drain{},
		byTeam:        map[string][]*drain{},
		changed:       map[string]bool{},
		changedNow:    make(chan struct{}, 1),
		dirtyNow:      make(chan struct{}, 1),
		urgentNow:     make(chan struct{}, 1),
		saved:         true,
	}
	if opts.Integrity != nil {
		d.sealer = newSealer(d, *opts.Integrity)
	}
	return d
}

// Wake says that a team has new durable events. It does not block.
func (d *Deliverer) Wake(teamID string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, dr := range d.byTeam[teamID] {
		dr.wake()
	}
}

// Changed says that a drain was created, changed or deleted, or that there
// are instructions for it: it is delivered anew with the stored configuration,
// parked or not. When Changed returns, no write begins any more as the drain
// was. It does not block.
func (d *Deliverer) Changed(drainID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dr := d.byID[drainID]; dr != nil {
		dr.stop()
	}
	d.changed[drainID] = true
	notify(d.changedNow)
}

func (d *Deliverer) takeChanged() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := d.changed
	d.changed = map[string]bool{}
	return changed
}

// Run delivers until ctx ends. Then it starts no more writes, waits for those
// under way (at most the grace time), saves all cursors and returns nil. It
// fails only if the drains, or their accounts, cannot be read at the start. It is
// called once.
func (d *Deliverer) Run(ctx context.Context) error {
	all, err := d.drains.Drains(ctx, auditdrain.DrainQuery{})
	if err != nil {
		return fmt.Errorf("read drains: %w", err)
	}
	if err := d.sealer.start(ctx, all); err != nil {
		return err
	}
	// Writes under way outlive ctx, which only stops new ones.
	putCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	var helpers sync.WaitGroup
	helpCtx, stopHelpers := context.WithCancel(putCtx)
	helpers.Go(func() { d.save(helpCtx) })
	helpers.Go(func() { d.watchOverdue(helpCtx) })
	if d.sealer != nil {
		helpers.Go(func() { d.sealer.run(ctx, helpCtx) })
	}

	for _, config := range all {
		d.add(putCtx, config)
	}
	var reloads sync.WaitGroup
	for ctx.Err() == nil {
		select {
		case <-d.changedNow:
			for id := range d.takeChanged() {
				reloads.Go(func() { d.reload(ctx, putCtx, id) })
			}
			// One after the other for each drain: the next that is told of
			// waits here. A reload takes a second at most.
			reloads.Wait()
		case <-ctx.Done():
		}
	}

	drains := d.snapshot()
	for _, dr := range drains {
		dr.stop()
	}
	grace := time.AfterFunc(d.grace, abort)
	d.line.close()
	grace.Stop()
	stopHelpers()
	helpers.Wait()
	d.saveDirty(context.WithoutCancel(ctx))
	for _, dr := range drains {
		dr.close()
	}
	return nil
}

// add begins to deliver a drain, unless it is disabled.
func (d *Deliverer) add(putCtx context.Context, config auditdrain.Drain) {
	if config.Status == auditdrain.StatusDisabled {
		return
	}
	dr := d.newDrain(putCtx, config)
	d.mu.Lock()
	d.byID[config.ID] = dr
	d.byTeam[config.TeamID] = append(d.byTeam[config.TeamID], dr)
	d.mu.Unlock()
	dr.wake() // there may be events from before
}

func (d *Deliverer) remove(dr *drain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byID, dr.config.ID)
	team := dr.config.TeamID
	d.byTeam[team] = slices.DeleteFunc(d.byTeam[team], func(o *drain) bool { return o == dr })
	if len(d.byTeam[team]) == 0 {
		delete(d.byTeam, team)
	}
}

func (d *Deliverer) snapshot() []*drain {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Collect(maps.Values(d.byID))
}

// reload ends the delivery of a drain as it was, and begins it as it is now.
func (d *Deliverer) reload(ctx, putCtx context.Context, id string) {
	d.mu.RLock()
	old := d.byID[id]
	d.mu.RUnlock()
	if old != nil {
		old.stop()
		late := time.AfterFunc(abortAfter, old.abort)
		select {
		case <-old.idle:
		case <-ctx.Done():
			late.Stop()
			return // its writes get the grace time
		}
		late.Stop()
		d.remove(old)
		old.close()
		d.saveDirty(putCtx)
	}
	found, err := d.drains.Drains(ctx, auditdrain.DrainQuery{ID: id})
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.log.Error("drain could not be read; will try again", "drain", id, "err", err)
		time.AfterFunc(time.Second, func() { d.Changed(id) })
		return
	}
	switch {
	case len(found) == 0:
		d.sealer.look(id) // what was sealed with its end is to be written
	case found[0].Status != auditdrain.StatusDisabled:
		d.add(putCtx, found[0])
	default:
		if err := d.sealer.paused(putCtx, found[0]); err != nil {
			d.log.Error("what a paused drain has written could not be sealed; will try again", "drain", id, "err", err)
			time.AfterFunc(time.Second, func() { d.Changed(id) })
		}
	}
}
