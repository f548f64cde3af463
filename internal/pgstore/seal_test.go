package pgstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/storetest"
)

// at is when tests seal first: a full hour.
const at = 1_779_440_400_000

const hour = 3_600_000 // ms

// asNow is how a drain with integrity delivers.
func asNow(encoding string) *auditdrain.DeliversAs {
	return &auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: auditdrain.Delivery{Encoding: encoding, Integrity: true}}}
}

// begin begins the chains of drains.
func begin(t testing.TB, s *Store, drains ...string) {
	t.Helper()
	for _, id := range drains {
		_, err := s.Seal(t.Context(), id, auditdrain.SealRequest{As: asNow("json"), At: at})
		must(t, err)
	}
}

// account is what is stored of a drain's chain.
func account(t testing.TB, s *Store, drain string) (r auditdrain.ChainRecord) {
	t.Helper()
	var err error
	r.Chain, err = s.Chain(t.Context(), drain)
	must(t, err)
	r.Seals, err = s.Seals(t.Context(), drain)
	must(t, err)
	return r
}

// TestSealFence is of a node that has lost its drains and does not know: it does
// not seal, whatever for.
func TestSealFence(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 2)
	begin(t, s, ids...)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	a.beat()
	changed := auditdrain.SealRequest{As: asNow("ndjson"), At: at + 1}
	if c, err := a.node.Seal(t.Context(), ids[0], changed); err != nil || c.Sealed != 1 {
		t.Fatalf("the owner's seal: %+v, %v", c, err)
	}
	silence(t, s, a)
	b.beat()
	b.beat()

	before := account(t, s, ids[0])
	a.slow = true
	for _, req := range []auditdrain.SealRequest{
		{As: asNow("json"), At: at + 2},
		{Cause: auditdrain.SealHour, At: at + hour},
		{Cause: auditdrain.SealPaused, At: at + 2},
		changed, // though there is nothing to do
	} {
		_, err := a.node.Seal(t.Context(), ids[0], req)
		if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
			t.Errorf("seal of a node that has lost the drain: %v, want CodeConflict", err)
		}
	}
	if diff := cmp.Diff(before, account(t, s, ids[0])); diff != "" {
		t.Errorf("sealed by a node that has lost the drain (-before +after):\n%s", diff)
	}
	a.takeChanges()
	a.turn() // no beat is due, nor has anything else happened
	if changes := a.takeChanges(); len(changes) != 2 {
		t.Errorf("%v end after a seal was refused, want both", changes)
	}
	if c, err := b.node.Seal(t.Context(), ids[0], auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + hour}); err != nil || c.Sealed != 2 {
		t.Errorf("the new owner's seal: %+v, %v", c, err)
	}

	// What it knows that it does not own, and what it has never heard of.
	for _, id := range []string{ids[0], "none"} {
		if _, err := a.node.Seal(t.Context(), id, changed); auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
			t.Errorf("seal of %s: %v, want CodeConflict", id, err)
		}
	}
}

// TestSealDuringTakeover has a seal wait for the takeover that it has lost to.
func TestSealDuringTakeover(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 1)
	begin(t, s, ids...)
	a := member(t, p, time.Hour)
	a.beat()
	commit := holdRows(t, s, `UPDATE delivery SET owner = 'other', epoch = epoch + 1`)
	var sealing sync.WaitGroup
	sealing.Go(func() {
		_, err := a.node.Seal(t.Context(), ids[0], auditdrain.SealRequest{Cause: auditdrain.SealPaused, At: at})
		if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
			t.Errorf("seal that a takeover came before: %v, want CodeConflict", err)
		}
	})
	awaitWaiting(t, s, a.node.store)
	commit()
	sealing.Wait()
	if c := account(t, s, ids[0]); c.Chain.State != auditdrain.ChainOpen || c.Seals != nil {
		t.Errorf("it has sealed: %+v", c)
	}
}

// holdRows runs a statement in a transaction, which goes on until it is committed.
func holdRows(t *testing.T, s *Store, sql string) (commit func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), sql)
	must(t, err)
	return func() { t.Helper(); must(t, tx.Commit(t.Context())) }
}

// TestSealWaitsForRetain has a chain begin while events are removed: it may need
// some that nobody has needed before. What goes on waits for nothing.
func TestSealWaitsForRetain(t *testing.T) {
	p := newPlace(t)
	s, other := mustOpen(t, p, Options{}), mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 2)
	begin(t, s, ids[1])
	commit := holdRows(t, s, `SELECT FROM sequences FOR UPDATE`)
	if c, err := other.Seal(t.Context(), ids[1], auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + hour}); err != nil || c.Sealed != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	var sealing sync.WaitGroup
	sealing.Go(func() {
		if _, err := other.Seal(t.Context(), ids[0], auditdrain.SealRequest{As: asNow("json"), At: at}); err != nil {
			t.Error(err)
		}
	})
	awaitWaiting(t, s, other)
	commit()
	sealing.Wait()
}

// TestSealCut breaks the connection right before and right after the commit of
// whatever changes a chain: it is the old or the new one, and once more makes it the
// new one. What changes nothing commits nothing.
func TestSealCut(t *testing.T) {
	const drain = "team-000"
	seal := func(req auditdrain.SealRequest) func(context.Context, storetest.Store) error {
		return func(ctx context.Context, s storetest.Store) error {
			_, err := s.Seal(ctx, drain, req)
			return err
		}
	}
	for name, op := range map[string]func(context.Context, storetest.Store) error{
		"begin": func(ctx context.Context, s storetest.Store) error {
			_, err := s.Seal(ctx, "team-001", auditdrain.SealRequest{As: asNow("json"), At: at})
			return err
		},
		"hour":    seal(auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + 3*hour}),
		"changed": seal(auditdrain.SealRequest{As: asNow("ndjson"), At: at + 3*hour}),
		"written": func(ctx context.Context, s storetest.Store) error { return s.SealWritten(ctx, drain, 1, "head", at) },
		"delete": func(ctx context.Context, s storetest.Store) error {
			err := s.DeleteDrain(ctx, "", drain, act())
			if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound { // it was deleted the first time
				err = nil
			}
			return err
		},
	} {
		for _, fault := range []storetest.Fault{storetest.Fails, storetest.Misreports} {
			t.Run(fmt.Sprint(name, "/", fault), func(t *testing.T) {
				p := newFaultyPlace(t).(*faultyPlace)
				s, err := p.Open(func() time.Time { return time.UnixMilli(at + 4*hour) })
				must(t, err)
				makeDrains(t, p.store, "team", 2)
				begin(t, p.store, drain)
				must(t, seal(auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + hour})(t.Context(), s))
				all := func() (all []auditdrain.ChainRecord) {
					t.Helper()
					return []auditdrain.ChainRecord{account(t, p.store, drain), account(t, p.store, "team-001")}
				}
				before := all()
				p.Arm(fault, 1, 0)
				wantUnavailable(t, "call", op(t.Context(), s))
				p.Mend()
				after := all()
				if diff := cmp.Diff(before, after); (diff == "") != (fault == storetest.Fails) {
					t.Errorf("(-before +after):\n%s", diff)
				}
				must(t, op(t.Context(), s))
				again := all()
				if diff := cmp.Diff(after, again); (diff == "") != (fault == storetest.Misreports) {
					t.Errorf("once more (-after +then):\n%s", diff)
				}
				p.Arm(storetest.Fails, 1, 0)
				must(t, op(t.Context(), s))
				if p.Tripped() {
					t.Error("nothing is left to do, and a commit has been made")
				}
			})
		}
	}
}

// Sealing is to cost little: every hour it is done for each drain.
func TestSealRoundTrips(t *testing.T) {
	p := newFaultyPlace(t).(*faultyPlace)
	s, err := p.Open(time.Now)
	must(t, err)
	id := makeDrains(t, p.store, "team", 1)[0]
	begin(t, p.store, id)
	now := int64(at)
	hours := func(calls int64) {
		t.Helper()
		for range calls {
			now += hour
			_, err := s.Seal(t.Context(), id, auditdrain.SealRequest{Cause: auditdrain.SealHour, At: now})
			must(t, err)
		}
	}
	hours(2) // statements are prepared
	const calls = 10
	before := p.proxy.turns.Load()
	hours(calls)
	if got := p.proxy.turns.Load() - before; got != 5*calls {
		t.Errorf("%d hours took %d round trips, want five each", calls, got)
	}
	begin(t, p.store, id)
	before = p.proxy.turns.Load()
	for range calls {
		begin(t, p.store, id)
	}
	if got := p.proxy.turns.Load() - before; got != 3*calls {
		t.Errorf("%d seals of nothing took %d round trips, want three each", calls, got)
	}
}

// TestTwoWriters has two nodes write the manifests of the same chain, to its end.
func TestTwoWriters(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 1)
	begin(t, s, ids...)
	const hours = 30
	for n := range hours {
		_, err := s.Seal(t.Context(), ids[0], auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at + int64(n+1)*hour})
		must(t, err)
	}
	var writing sync.WaitGroup
	for n := range 2 {
		w := mustOpen(t, p, Options{})
		writing.Go(func() {
			seals, err := w.Seals(t.Context(), ids[0])
			if err != nil {
				t.Error(err)
			}
			for _, seal := range seals {
				if err := w.SealFailed(t.Context(), ids[0], "once", int64(n)); err != nil {
					t.Error(err)
				}
				if err := w.SealWritten(t.Context(), ids[0], seal.Number, fmt.Sprint("head ", seal.Number), at); err != nil {
					t.Error(err)
				}
				if err := w.SealAnchored(t.Context(), ids[0], seal.Number); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	got := account(t, s, ids[0])
	if c := got.Chain; c.Written != hours || c.Head != fmt.Sprint("head ", hours) || c.Anchored != hours || got.Seals != nil {
		t.Errorf("%+v", got)
	}
}

// TestChainsOfNodes has each chain be listed by the node that delivers its drain, and
// those of deleted drains by the one on duty, until they have ended: any node may
// write these.
func TestChainsOfNodes(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 6)
	begin(t, s, ids...)
	a, b := member(t, p, time.Hour), member(t, p, time.Hour)
	settle(a, b)
	must(t, s.DeleteDrain(t.Context(), "", ids[0], act()))
	a.turn()
	b.turn()
	chains := func(c *crew) (ids []string) {
		t.Helper()
		all, err := c.node.Chains(t.Context())
		must(t, err)
		for _, chain := range all {
			ids = append(ids, chain.DrainID)
		}
		return ids
	}
	want := func(a, b *crew, deleted ...string) {
		t.Helper()
		if diff := cmp.Diff(append(deleted, a.drains()...), chains(a)); diff != "" {
			t.Errorf("chains of the node on duty (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(b.drains(), chains(b)); diff != "" {
			t.Errorf("chains of the other node (-want +got):\n%s", diff)
		}
	}
	want(a, b, ids[0])
	for _, c := range []*crew{a, b} { // who is told to write it must not take it for another's
		if _, err := c.node.Seal(t.Context(), ids[0], auditdrain.SealRequest{Cause: auditdrain.SealHour, At: at}); auditdrain.ErrorCode(err) != auditdrain.CodeNotFound {
			t.Errorf("seal of a deleted drain: %v, want %s", err, auditdrain.CodeNotFound)
		}
	}
	a.slow = true
	a.node.expire(a, time.Now().Add(time.Hour))
	if got := chains(a); len(got) > 0 {
		t.Errorf("chains %v are those of a node without a lease", got)
	}
	a.slow = false
	a.end()
	a.beat()
	b.beat()
	want(a, b, ids[0])
	for _, seal := range account(t, s, ids[0]).Seals {
		must(t, b.node.SealWritten(t.Context(), ids[0], seal.Number, "head", at))
	}
	want(a, b)
	all, err := s.Chains(t.Context())
	must(t, err)
	if !slices.EqualFunc(all, ids[1:], func(c auditdrain.Chain, id string) bool { return c.DrainID == id }) {
		t.Errorf("all chains: %+v", all)
	}
}
