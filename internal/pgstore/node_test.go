package pgstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// crew stands for a Deliverer. It ends the delivery of what has changed at once,
// or, if it is slow, when it is told to; and delivers what the node has then.
type crew struct {
	t    testing.TB
	node *Node
	slow bool

	mu         sync.Mutex
	delivering map[string]bool
	ending     []string
	changes    map[string]int // by drain ID
	woken      map[string]int // by team ID
}

func (c *crew) Wake(teamID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken[teamID]++
}

func (c *crew) Changed(drainID string) {
	c.mu.Lock()
	c.changes[drainID]++
	c.ending = append(c.ending, drainID)
	slow := c.slow
	c.mu.Unlock()
	if !slow {
		c.end()
	}
}

// end ends the deliveries that are to end, and begins those that are to begin.
func (c *crew) end() {
	c.mu.Lock()
	ending := c.ending
	c.ending = nil
	c.mu.Unlock()
	for _, id := range ending {
		found, err := c.node.Drains(context.Background(), auditdrain.DrainQuery{ID: id})
		if err != nil {
			c.t.Error(err)
		}
		c.mu.Lock()
		delete(c.delivering, id)
		if len(found) > 0 {
			c.delivering[id] = true
		}
		c.mu.Unlock()
	}
}

func (c *crew) drains() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.delivering))
}

// takeChanges returns how often each drain has changed since the last time.
func (c *crew) takeChanges() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.changes
	c.changes = map[string]int{}
	return taken
}

// beat has the node do what it does at a beat, which is due now.
func (c *crew) beat() {
	c.t.Helper()
	c.node.beatAt = time.Time{}
	c.turn()
}

func (c *crew) turn() {
	c.t.Helper()
	if err := c.node.turn(c.t.Context(), c); err != nil {
		c.t.Fatal(err)
	}
}

// member returns a node on a store of its own, which only does what it is told
// to: Run is not called.
func member(t testing.TB, p place, lease time.Duration) *crew {
	t.Helper()
	s := mustOpen(t, p, Options{MaxConns: 4})
	n, err := s.Node(NodeOptions{Lease: lease})
	must(t, err)
	must(t, n.connect(t.Context()))
	t.Cleanup(n.own.pool.Close)
	return newCrew(t, n)
}

func newCrew(t testing.TB, n *Node) *crew {
	return &crew{t: t, node: n, delivering: map[string]bool{}, changes: map[string]int{}, woken: map[string]int{}}
}

// makeDrains makes so many drains of a team, and of more teams if it cannot have
// as many, and returns their IDs.
func makeDrains(t testing.TB, s *Store, team string, n int) []string {
	t.Helper()
	var ids []string
	for i := range n {
		if more := i / auditdrain.MaxDrainsPerTeam; i%auditdrain.MaxDrainsPerTeam == 0 {
			if more > 0 {
				team = fmt.Sprint(team, more)
			}
			must(t, s.CreateTeam(t.Context(), auditdrain.Team{ID: team, Slug: team, Name: team}, nil))
		}
		d := auditdrain.Drain{ID: fmt.Sprintf("%s-%03d", team, i), TeamID: team}
		must(t, s.CreateDrain(t.Context(), d, 0, act()))
		ids = append(ids, d.ID)
	}
	return ids
}

func act() *auditdrain.Activity { return &auditdrain.Activity{ID: "act", Action: "test.made"} }

func sql(t testing.TB, s *Store, sql string, args ...any) {
	t.Helper()
	must(t, s.exec(t.Context(), "test", sql, args...))
}

// silence has the database not have heard of a node for longer than its term.
func silence(t testing.TB, s *Store, c *crew) {
	t.Helper()
	sql(t, s, `UPDATE nodes SET beat = beat - term WHERE id = $1`, c.node.id)
}

type owner struct {
	Node  string
	Epoch int64
}

func owners(t testing.TB, s *Store) map[string]owner {
	t.Helper()
	all := map[string]owner{}
	rows, err := list(t.Context(), s, "test", func(r pgx.CollectableRow) (id string, err error) {
		var o owner
		err = r.Scan(&id, &o.Node, &o.Epoch)
		all[id] = o
		return id, err
	}, `SELECT drain_id, owner, epoch FROM delivery`)
	must(t, err)
	if len(rows) != len(all) {
		t.Fatal("a drain has two rows")
	}
	return all
}

// checkSpread fails unless each drain is delivered by one node, and each node has
// about as many as the others.
func checkSpread(t *testing.T, drains int, crews ...*crew) {
	t.Helper()
	share := (drains + len(crews) - 1) / len(crews)
	seen := map[string]int{}
	for i, c := range crews {
		own := c.drains()
		for _, id := range own {
			seen[id]++
		}
		if slack := max(1, share/slackShare); len(own) > share+slack {
			t.Errorf("node %d has %d of %d drains, want about %d", i, len(own), drains, share)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("drain %s is delivered by %d nodes", id, n)
		}
	}
	if len(seen) != drains {
		t.Errorf("%d of %d drains are delivered", len(seen), drains)
	}
}

// settle has nodes beat until all that are alive have seen that for two beats, and
// take what others have given away.
func settle(crews ...*crew) {
	for range 3 {
		for _, c := range crews {
			c.t.Helper()
			c.beat()
		}
	}
	for _, c := range crews {
		c.turn()
	}
}

// TestShare has nodes come and go: each time all have their share again after a
// few beats of each, and nothing moves once that is so.
func TestShare(t *testing.T) {
	const drains = 60
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	makeDrains(t, s, "team", drains)
	a, b, c := member(t, p, time.Hour), member(t, p, time.Hour), member(t, p, time.Hour)
	settle := func(crews ...*crew) {
		t.Helper()
		settle(crews...)
		checkSpread(t, drains, crews...)
	}
	a.beat()
	checkSpread(t, drains, a)
	settle(a, b)
	settle(a, b, c)
	before := owners(t, s)
	settle(a, b, c)
	if diff := cmp.Diff(before, owners(t, s)); diff != "" {
		t.Errorf("drains have moved without need (-before +after):\n%s", diff)
	}

	must(t, b.node.leave(t.Context()))
	b.delivering = nil
	a.turn() // no beat is due: what is nobody's is taken at once
	c.turn()
	settle(a, c)
	if n, err := list(t.Context(), s, "test", pgx.RowTo[string], `SELECT id FROM nodes`); err != nil || len(n) != 2 {
		t.Errorf("nodes %v, %v: want two", n, err)
	}
}

// TestShortLivedNode does not move drains: only one that stays for two beats of
// the others does.
func TestShortLivedNode(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	makeDrains(t, s, "team", 20)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	a.beat()
	for range 3 {
		b.beat()
		a.beat()
		must(t, b.node.leave(t.Context()))
		a.beat()
		if n := len(a.drains()); n != 20 {
			t.Fatalf("the node has %d drains of 20 after another one has come and gone", n)
		}
	}
	// Nor does one drain more than the share of 11.
	settle(a, b)
	checkSpread(t, 20, a, b)
	makeDrains(t, s, "other", 1)
	a.turn()
	b.turn()
	a.takeChanges()
	a.beat()
	a.beat()
	if changes := a.takeChanges(); len(changes) > 0 {
		t.Errorf("%v have moved for the sake of one drain", changes)
	}
}

// TestTakeover is of a node that the database has not heard of: others take its
// drains over, and when it comes back, not knowing of it, it saves nothing, and
// ends what it has lost.
func TestTakeover(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 4)
	_, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: "team", Events: []auditdrain.Event{{ID: "1", Body: []byte("1")}, {ID: "2", Body: []byte("2")}}}})
	must(t, err)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	a.beat()
	b.beat()
	b.beat()
	if n := len(b.drains()); n != 0 {
		t.Fatalf("the second node has %d drains that are the first one's", n)
	}

	silence(t, s, a)
	b.beat()
	if diff := cmp.Diff(ids, b.drains()); diff != "" {
		t.Fatalf("drains of the dead node (-want +taken over):\n%s", diff)
	}
	for id, o := range owners(t, s) {
		if (o != owner{b.node.id, 2}) {
			t.Errorf("drain %s is %+v's, want epoch 2 of the other node", id, o)
		}
	}
	saved, err := b.node.SaveProgress(t.Context(), progress(ids, 2))
	if err != nil || saved != nil {
		t.Fatalf("the new owner's save: gone %v, %v", saved, err)
	}

	// The old owner does not know. It has come to an earlier event.
	a.slow = true
	gone, err := a.node.SaveProgress(t.Context(), progress(ids, 1))
	must(t, err)
	if diff := cmp.Diff(ids, gone); diff != "" {
		t.Errorf("saves of the old owner that were refused (-want +got):\n%s", diff)
	}
	for _, id := range ids {
		state, err := s.DeliveryState(t.Context(), id)
		must(t, err)
		if state.Cursor != 2 || state.Delivered != 2 {
			t.Errorf("drain %s: cursor %d, %d delivered: want what the new owner has saved", id, state.Cursor, state.Delivered)
		}
	}
	if n := counted(t, a.node.metrics.fenced); n != 4 {
		t.Errorf("%v fenced saves are counted, want 4", n)
	}

	// It has its share again only once the old deliveries have ended: they would
	// save what they have in the name of the new epoch.
	for range 2 {
		a.beat()
		b.beat()
	}
	b.turn()
	a.turn()
	if len(a.delivering) != 4 {
		t.Fatalf("a slow delivery has ended by itself")
	}
	if gone, err := a.node.SaveProgress(t.Context(), progress(ids, 1)); err != nil || len(gone) != 4 {
		t.Errorf("the old deliveries' save: gone %v, %v: want all", gone, err)
	}
	for _, id := range ids {
		a.Changed(id) // as the deliverer does with those that are gone
	}
	a.slow = false
	a.end()
	a.turn()
	checkSpread(t, 4, a, b)
}

// progress has all drains be at an event.
func progress(ids []string, cursor uint64) []auditdrain.Progress {
	var all []auditdrain.Progress
	for _, id := range ids {
		all = append(all, auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: id, Cursor: cursor, Delivered: cursor}})
	}
	return all
}

// TestSaveDuringTakeover has a save wait for the takeover that it has lost to.
func TestSaveDuringTakeover(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 1)
	a := member(t, p, time.Hour)
	a.beat()

	tx, err := s.pool.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `UPDATE delivery SET owner = 'other', epoch = epoch + 1`)
	must(t, err)
	done := make(chan []string)
	go func() {
		gone, err := a.node.SaveProgress(t.Context(), progress(ids, 0))
		if err != nil {
			t.Error(err)
		}
		done <- gone
	}()
	awaitWaiting(t, s, a.node.store)
	must(t, tx.Commit(t.Context()))
	if gone := <-done; !slices.Equal(gone, ids) {
		t.Errorf("gone: %v, want %v", gone, ids)
	}
}

// awaitWaiting waits until a call of a store waits for another transaction.
func awaitWaiting(t *testing.T, s, waiter *Store) {
	t.Helper()
	eventually(t, "a call waits", func() bool {
		waiting, err := list(t.Context(), s, "test", pgx.RowTo[int], `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'auditdrain ' || $1`, waiter.id)
		must(t, err)
		return len(waiting) > 0
	})
}

// TestDrainOfChangingTeam has a drain be created while its team is changed: it
// waits, so that its delivery begins with what the team wants then. Else the
// change, which has the team's drains delivered anew, would have missed it.
func TestDrainOfChangingTeam(t *testing.T) {
	p := newPlace(t)
	s, other := mustOpen(t, p, Options{}), mustOpen(t, p, Options{})
	makeDrains(t, s, "team", 1)
	changing, change := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		_, err := s.UpdateTeam(t.Context(), "team", func(team *auditdrain.Team) error {
			team.HideIPAddresses = true
			close(changing)
			<-change
			return nil
		}, act())
		if err != nil {
			t.Error(err)
		}
	})
	<-changing
	calls.Go(func() {
		if err := other.CreateDrain(t.Context(), auditdrain.Drain{ID: "new", TeamID: "team"}, 0, act()); err != nil {
			t.Error(err)
		}
	})
	awaitWaiting(t, s, other)
	close(change)
	calls.Wait()
}

// TestDatabaseAway is the return of a database that no node has reached for
// longer than a term: the first to be back must not take for dead who is just
// about to come back.
func TestDatabaseAway(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	makeDrains(t, s, "team", 20)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	settle(a, b)
	checkSpread(t, 20, a, b)
	before := owners(t, s)
	for range 2 {
		silence(t, s, a)
		silence(t, s, b)
		for _, c := range []*crew{a, b} {
			c.node.expire(c, time.Now().Add(time.Hour))
			if n := len(c.drains()); n > 0 {
				t.Fatalf("%d drains are delivered without a lease", n)
			}
		}
		a.beat()
		a.turn()
		b.beat()
		b.turn()
		a.beat()
		checkSpread(t, 20, a, b)
	}
	if diff := cmp.Diff(before, owners(t, s)); diff != "" {
		t.Errorf("drains have moved (-before +after):\n%s", diff)
	}
}

// TestOtherClock is a failover to a machine whose clock is behind.
func TestOtherClock(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	makeDrains(t, s, "team", 3)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	a.beat()
	sql(t, s, `UPDATE nodes SET beat = beat + 2 * term`)
	b.beat()
	b.beat()
	if n := len(b.drains()); n != 3 {
		t.Errorf("%d drains were taken over from a node whose last beat is in the future, want 3", n)
	}
}

// TestNoLease saves nothing, and asks nobody.
func TestNoLease(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 2)
	a := member(t, p, time.Hour)
	a.beat()
	a.takeChanges()
	a.slow = true
	a.node.expire(a, time.Now())
	if changes := a.takeChanges(); len(changes) > 0 {
		t.Fatalf("%v have ended while the lease lasts", changes)
	}
	a.node.expire(a, time.Now().Add(time.Hour))
	if diff := cmp.Diff(map[string]int{ids[0]: 1, ids[1]: 1}, a.takeChanges()); diff != "" {
		t.Errorf("deliveries that end (-want +got):\n%s", diff)
	}
	must(t, a.node.store.Close())
	if gone, err := a.node.SaveProgress(t.Context(), progress(ids, 0)); err != nil || !slices.Equal(gone, ids) {
		t.Errorf("gone: %v, %v", gone, err)
	}
	if on, _ := a.node.duty.state(); on {
		t.Error("the node is on duty")
	}
}

// TestRun has nodes come and go by themselves, with a short lease.
func TestRun(t *testing.T) {
	const drains = 30
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	makeDrains(t, s, "team", drains)
	var crews []*crew
	var stops []func()
	for range 3 {
		store := mustOpen(t, p, Options{MaxConns: 4})
		n, err := store.Node(NodeOptions{Lease: 2 * time.Second})
		must(t, err)
		c := newCrew(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := n.Run(ctx, c); err != nil {
				t.Error(err)
			}
		})
		stop := func() { cancel(); running.Wait() }
		t.Cleanup(stop)
		crews, stops = append(crews, c), append(stops, stop)
	}
	even := func(crews []*crew) func() bool {
		return func() bool {
			n := 0
			for _, c := range crews {
				own := len(c.drains())
				if n += own; own > drains/len(crews)+1 {
					return false
				}
			}
			return n == drains
		}
	}
	eventually(t, "three nodes share the drains", even(crews))
	checkSpread(t, drains, crews...)
	stops[0]()
	eventually(t, "two nodes share the drains", even(crews[1:]))
	stops[1]()
	eventually(t, "one node has all drains", even(crews[2:]))
}
