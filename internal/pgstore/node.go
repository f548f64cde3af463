package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/auditdrain/auditdrain"
)

const (
	// DefaultLease is the default of NodeOptions.
	DefaultLease = 15 * time.Second
	// MinLease is the shortest that is of any use: a node has to beat four times
	// in it, over a network.
	MinLease = time.Second

	// pollAtLeast and pollAtMost bound the pause between two looks at what has
	// become of the node's drains. Within them it is so long that the looks cost
	// a twentieth of a connection.
	pollAtLeast = 100 * time.Millisecond
	pollAtMost  = 500 * time.Millisecond
	pollShare   = 20
	// lookAtLeast is after how many beats a node reads which drains it owns,
	// whatever it knows.
	lookAtLeast = 4
)

// NodeOptions adjusts a Node. The zero value is right for production.
type NodeOptions struct {
	// Lease is how long it takes at most until others have taken over the drains
	// of a node that is dead: it bounds what an outage costs, and a node that the
	// database does not hear of for half of it has lost its drains.
	Lease time.Duration
}

// Deliverer delivers the drains of a node. See deliver.Deliverer.
type Deliverer interface {
	// Wake says that a team has new events.
	Wake(teamID string)
	// Changed says that a drain is to be delivered anew as Drains has it now, or,
	// if it has it no more, not at all. No write begins any more as it was.
	Changed(drainID string)
}

// Node is this process among those that share the drains of a database: what a
// Deliverer sees of it.
//
// It guarantees that a drain is saved by one node at a time. A node owns drains
// while its lease lasts, which it renews for all of them at once; each change of
// a drain's owner has the next epoch, and what is saved names owner and epoch: a
// node that has lost a drain, and does not know yet, saves nothing of it. Nor does
// it save to a server what it has read from the one before: after a failover, all
// drains begin anew where the database has them. So a cursor is where the owner
// has it. Two nodes may write the same events for as
// long as it takes the one to notice, which is harmless: they write the same.
//
// All methods are safe for concurrent use.
type Node struct {
	store *Store
	log   *slog.Logger
	id    string
	times leaseTimes

	mu      sync.Mutex
	held    map[string]*holding // by drain ID
	server  int64               // what all that is held was read from; see serverSQL
	until   time.Time           // the lease; zero if there is none
	renewed chan struct{}       // cap 1: until has changed
	recheck bool                // which drains it owns is to be read at the next turn
	duty    *duty
	metrics *nodeMetrics

	// What follows is Run's.
	own        *Store            // with a connection that nobody else uses: a lease waits for nothing
	beatAt     time.Time         // the last that went well
	last       overview          // as of then
	surplus    int               // drains too many, as of then
	lookedAt   time.Time         // when the list of own drains was last read
	unsure     bool              // it is not what the node holds, or may not be
	activities int64             // the number of the last that was seen
	told       map[string]uint64 // by team ID: the last event that the deliverer was told of
	failing    bool
}

// leaseTimes is what follows from a lease: a node beats every quarter of it, owns
// what it owns for five eighths of it after a beat, and others find out within
// one more quarter. The eighth that is left is for the work of taking over.
type leaseTimes struct {
	beat, term time.Duration
}

func timesOf(lease time.Duration) leaseTimes {
	return leaseTimes{beat: lease / 4, term: lease * 5 / 8}
}

// holding is a drain that the node owns, or has owned.
type holding struct {
	epoch   int64
	version int64 // that its delivery obeys, or has been told of
	phase   phase
}

// phase is what becomes of a holding. From losing and leaving there is no way
// back to holding: first its delivery has to end, so that nothing of it is saved
// in the name of a later epoch.
type phase int

const (
	holdingIt phase = iota // it is delivered
	leaving                // it is another node's turn; its delivery ends, and is saved
	left                   // that is done; it can be given away
	losing                 // it is another's already, or may be; its delivery ends
)

// Node returns the store's Node, which owns nothing until Run. There may be one.
func (s *Store) Node(opts NodeOptions) (*Node, error) {
	if opts.Lease == 0 {
		opts.Lease = DefaultLease
	}
	if opts.Lease < MinLease {
		return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "lease: %s is not allowed: use %s or more", opts.Lease, MinLease)
	}
	return &Node{
		store: s, log: s.opts.Logger, id: s.id, times: timesOf(opts.Lease),
		held: map[string]*holding{}, renewed: make(chan struct{}, 1), duty: newDuty(), metrics: newNodeMetrics(),
	}, nil
}

// connect opens the connection that is the node's own.
func (n *Node) connect(ctx context.Context) error {
	config := n.store.pool.Config()
	config.MaxConns = 1
	// What is lost when the database crashes is made again; see leases.go.
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	config.ConnConfig.Tracer = statements{n.store.metrics.statements.WithLabelValues("leases"), n.store.metrics.statements.WithLabelValues("news")}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open node: %w", err)
	}
	n.own = &Store{opts: n.store.opts, pool: pool, metrics: n.store.metrics}
	n.own.opts.CallTimeout = n.times.beat
	return nil
}

// ID names this process among all that there ever were.
func (n *Node) ID() string { return n.id }

// Run takes part in the work until ctx ends, and then gives all away at once:
// whoever delivers must have ended by then. What fails is repeated without end.
// It is called once.
func (n *Node) Run(ctx context.Context, d Deliverer) error {
	if err := n.connect(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer n.own.pool.Close()
	var watching sync.WaitGroup
	defer watching.Wait()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	watching.Go(func() { n.watch(watch, d) })
	for {
		began := time.Now()
		err := n.turn(ctx, d)
		if ctx.Err() != nil {
			return n.leave(ctx)
		}
		pause := min(max(pollShare*time.Since(began), pollAtLeast), pollAtMost)
		if err != nil {
			pause = pollAtMost
			n.unsure = true // it may be another server that answers next
			if !n.failing {
				n.log.Error("the database does not hear of this node; its drains go to others if that lasts", "node", n.id, "err", err)
			}
		} else if n.failing {
			n.log.Info("the database hears of this node again", "node", n.id)
		}
		n.failing = err != nil
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return n.leave(ctx)
		}
	}
}

// turn is one look at what there is to do.
func (n *Node) turn(ctx context.Context, d Deliverer) error {
	if time.Since(n.beatAt) >= n.times.beat {
		if err := n.beat(ctx, d); err != nil {
			return err
		}
	}
	news, err := n.poll(ctx)
	if err != nil {
		return err
	}
	if news.unowned || n.last.dead > 0 {
		if err := n.claim(ctx); err != nil {
			return err
		}
	}
	if err := n.giveAway(ctx); err != nil {
		return err
	}
	if n.unsure || news.activities != n.activities || n.mustRecheck() || time.Since(n.lookedAt) >= lookAtLeast*n.times.beat {
		if err := n.look(ctx, d); err != nil {
			return err
		}
		n.activities = news.activities
	}
	n.wake(d, news.behind)
	return nil
}

// watch ends the delivery of all drains when the lease has run out.
func (n *Node) watch(ctx context.Context, d Deliverer) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			n.expire(d, time.Now())
		case <-n.renewed:
			n.mu.Lock()
			timer.Reset(time.Until(n.until))
			n.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// expire has all drains go that are held, if the lease has run out.
func (n *Node) expire(d Deliverer, now time.Time) {
	n.mu.Lock()
	if now.Before(n.until) {
		n.mu.Unlock()
		return
	}
	n.duty.set(false)
	var lost []string
	for id, h := range n.held {
		if h.phase != losing {
			h.phase = losing
			lost = append(lost, id)
		}
	}
	n.mu.Unlock()
	if len(lost) > 0 {
		n.metrics.lost.Add(float64(len(lost)))
		n.log.Warn("the lease has run out: what this node delivers may be others' by now", "node", n.id, "drains", len(lost))
	}
	changed(d, lost)
}

func changed(d Deliverer, drains []string) {
	for _, id := range drains {
		d.Changed(id)
	}
}

// renew notes that the lease lasts as long after a beat that was sent at a time.
func (n *Node) renew(sent time.Time) {
	n.mu.Lock()
	n.until = sent.Add(n.times.term)
	n.mu.Unlock()
	select {
	case n.renewed <- struct{}{}:
	default:
	}
}

// Drains returns the drains that the node owns, of those that q selects by ID,
// ordered by creation. It is also how a Deliverer says that it has ended what it
// was told of by Changed: a drain that is no longer to be delivered is given away
// once it has been asked for.
func (n *Node) Drains(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	if q.ID != "" && !n.holds(q.ID) {
		return nil, ctx.Err()
	}
	type row struct {
		version int64
		drain   auditdrain.Drain
	}
	scan := func(r pgx.CollectableRow) (found row, err error) {
		var data []byte
		if err := r.Scan(&found.version, &data); err != nil {
			return found, err
		}
		return found, json.Unmarshal(data, &found.drain)
	}
	const sql = `SELECT r.version, r.data FROM delivery d JOIN drains r ON r.id = d.drain_id WHERE d.owner = $1 `
	var rows []row
	var err error
	if q.ID != "" {
		rows, err = list(ctx, n.store, "list own drains", scan, sql+`AND d.drain_id = $2`, n.id, name(q.ID))
	} else {
		rows, err = list(ctx, n.store, "list own drains", scan, sql+`ORDER BY r.created_at, r.id`, n.id)
	}
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var own []auditdrain.Drain
	for _, r := range rows {
		if h := n.held[r.drain.ID]; h != nil && h.phase == holdingIt {
			h.version = max(h.version, r.version)
			own = append(own, r.drain)
		}
	}
	return own, nil
}

// holds reports whether a drain is to be delivered. If not, its delivery has
// ended: whoever delivers asks after that.
func (n *Node) holds(drainID string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.held[drainID]
	if h == nil || h.phase == holdingIt {
		return h != nil
	}
	if h.phase == losing {
		delete(n.held, drainID)
		n.recheck = true
	} else {
		h.phase = left
	}
	return false
}

// mustRecheck reports whether the delivery of a drain has ended that the node had
// lost, so that it may have the drain back; or whether it was kept from sealing.
func (n *Node) mustRecheck() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.recheck
}

// Read is that of the Store.
func (n *Node) Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error) {
	return n.store.Read(ctx, teamID, after, maxEvents, maxBytes)
}

// DeliveryState is that of the Store.
func (n *Node) DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error) {
	return n.store.DeliveryState(ctx, drainID)
}

// Instructions is that of the Store.
func (n *Node) Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error) {
	return n.store.Instructions(ctx, drainID)
}

// SaveProgress is that of the Store, for the drains that the node owns. Others
// are left out, and returned with those that do not exist.
func (n *Node) SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error) {
	epochs := make(map[string]int64, len(progress))
	n.mu.Lock()
	own := slices.DeleteFunc(slices.Clone(progress), func(p auditdrain.Progress) bool {
		h := n.held[p.State.DrainID]
		if h == nil || h.phase == losing || h.phase == left {
			gone = append(gone, p.State.DrainID)
			return true
		}
		epochs[p.State.DrainID] = h.epoch
		return false
	})
	server := n.server
	n.mu.Unlock()
	refused := len(gone)
	unsaved, err := n.store.saveProgress(ctx, own, fence{owner: n.id, epochs: epochs, server: server})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	for _, u := range unsaved {
		gone = append(gone, u.drainID)
		if !u.exists {
			continue
		}
		refused++
		if h := n.held[u.drainID]; h != nil && h.epoch == epochs[u.drainID] {
			h.phase = losing // and is ended by the caller, who is told
		}
	}
	n.mu.Unlock()
	n.metrics.fenced.Add(float64(refused))
	return gone, nil
}

// Backlogs is that of the Store: of all drains, whoever owns them.
func (n *Node) Backlogs(ctx context.Context) (map[string]uint64, error) { return n.store.Backlogs(ctx) }

// AddTallies is that of the Store, for what this node has done. Backlogs of
// drains that have done nothing are their owners' to note.
func (n *Node) AddTallies(ctx context.Context, at time.Time, tallies []auditdrain.Tally) error {
	n.mu.Lock()
	own := slices.DeleteFunc(slices.Clone(tallies), func(t auditdrain.Tally) bool {
		return t.Delivered == 0 && t.Failed == 0 && n.held[t.DrainID] == nil
	})
	n.mu.Unlock()
	return n.store.AddTallies(ctx, at, own)
}

// leave gives all drains away, and the node is no more. It does so also if the
// caller's time is over.
func (n *Node) leave(ctx context.Context) error {
	n.mu.Lock()
	clear(n.held)
	n.until = time.Time{}
	n.duty.set(false)
	n.mu.Unlock()
	if err := n.sayGoodbye(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, context.Canceled) {
		n.log.Warn("drains could not be given away; others take them once the lease has run out", "node", n.id, "err", err)
	}
	return nil
}

// ids returns the drains that are held in a phase, sorted. mu is held.
func (n *Node) ids(p phase) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for id, h := range n.held {
			if h.phase == p && !yield(id) {
				return
			}
		}
	})
}
