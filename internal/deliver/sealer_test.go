package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// accounted is a drain with integrity and the deliverer of it.
type accounted struct {
	*books
	t       *testing.T
	d       *Deliverer
	stop    func()
	replays int
}

func newAccounted(t *testing.T) *accounted {
	w := newWorld(t)
	w.addDrain("d", "t")
	a := &accounted{books: withBooks(w), t: t}
	a.change(func(d *auditdrain.Drain) { d.Delivery.Integrity, d.Delivery.Encoding = true, "json" })
	a.start()
	return a
}

func (a *accounted) start() {
	a.d, a.stop = startDeliverer(a.t, a.world, Options{Integrity: a.integrity()})
}

// change changes the drain, as REST does.
func (a *accounted) change(f func(*auditdrain.Drain)) {
	a.mu.Lock()
	d := a.drains["d"]
	f(&d)
	a.drains["d"] = d
	a.mu.Unlock()
	a.changed()
}

func (a *accounted) instruct(f func(*auditdrain.Instructions)) {
	a.mu.Lock()
	in := a.instructions["d"]
	f(&in)
	a.instructions["d"] = in
	a.mu.Unlock()
	a.changed()
}

func (a *accounted) changed() {
	if a.d != nil {
		a.d.Changed("d")
		time.Sleep(2 * time.Second)
	}
}

func (a *accounted) deliver(n int) {
	a.addEventsAs("t", n, func(e *auditdrain.StoredEvent) {
		e.Timestamp = 1_779_440_400_000 + int64(e.Seq)
		e.Body = fmt.Appendf(nil, `{"id":%q}`, e.ID)
		if e.Seq%2 == 0 { // some have an address
			e.Body = fmt.Appendf(nil, `{"id":%q,"ipAddress":"192.0.2.1"}`, e.ID)
		}
	})
	a.d.Wake("t")
	time.Sleep(time.Second)
}

func (a *accounted) hide(hide bool) {
	a.mu.Lock()
	a.hideIP["t"] = time.Now().UnixMilli()
	a.mu.Unlock()
	a.instruct(func(in *auditdrain.Instructions) { in.HideIPAddresses = hide })
}

func (a *accounted) replay(first, last uint64) {
	a.replays++
	order := &auditdrain.ReplayOrder{ID: fmt.Sprint("rpl_", a.replays), FirstSeq: first, LastSeq: last}
	a.instruct(func(in *auditdrain.Instructions) { in.Replay = order })
}

func (a *accounted) wantCauses(endpoint string, want ...auditdrain.SealCause) {
	a.t.Helper()
	if diff := cmp.Diff(want, a.causes(endpoint, "d")); diff != "" {
		a.t.Errorf("causes in %s (-want +got)\n%s", endpoint, diff)
	}
}

// wantEnded has nothing left of the chain of a drain that was deleted.
func (a *accounted) wantEnded() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.chains) != 0 || len(a.seals["d"]) != 0 {
		a.t.Errorf("left: %+v %+v", a.chains, a.seals)
	}
}

// A drain's life, each change of which has its manifest.
func TestManifests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		a.deliver(30)
		time.Sleep(2*time.Hour + sealWithin) // one of them empty
		a.wantCauses("s3://bucket", "hour", "hour")
		if got := a.verify(t); got.Read != 30 {
			t.Errorf("%d objects, want 30", got.Read)
		}

		a.deliver(5)
		a.change(func(d *auditdrain.Drain) { d.Status = auditdrain.StatusDisabled })
		a.wantCauses("s3://bucket", "hour", "hour", "paused")
		a.deliver(5)
		time.Sleep(3 * time.Hour)
		a.wantCauses("s3://bucket", "hour", "hour", "paused")
		a.change(func(d *auditdrain.Drain) { d.Status = auditdrain.StatusEnabled })
		a.wantCauses("s3://bucket", "hour", "hour", "paused", "resumed")

		a.deliver(5)
		a.change(func(d *auditdrain.Drain) { d.Delivery.Encoding = "ndjson" })
		a.deliver(5)
		a.change(func(d *auditdrain.Drain) { d.Delivery.Endpoint = "s3://other/prefix" })
		a.deliver(5)
		a.hide(true)
		a.wantCauses("s3://bucket", "hour", "hour", "paused", "resumed", "changed", "moved")
		a.wantCauses("s3://other/prefix", "changed")

		a.replay(1, 55) // to where the first have never been, without addresses
		time.Sleep(time.Minute)
		a.wantCauses("s3://other/prefix", "changed", "replay")
		a.deliver(5)
		a.change(func(d *auditdrain.Drain) { d.Delivery.Integrity = false })
		a.deliver(5)
		time.Sleep(90 * time.Minute)
		a.change(func(d *auditdrain.Drain) { d.Delivery.Integrity = true })
		a.deliver(5)
		time.Sleep(time.Hour + sealWithin)
		a.wantCauses("s3://other/prefix", "changed", "replay", "off", "hour", "hour")
		a.verify(t)

		a.stop()
		time.Sleep(5 * time.Hour)
		a.start()
		time.Sleep(sealWithin)
		a.deliver(5)
		a.removeDrain("d")
		a.changed()
		time.Sleep(time.Minute)
		a.wantCauses("s3://other/prefix", "changed", "replay", "off", "hour", "hour", "late", "deleted")
		report := a.verify(t)
		if got, want := report.Chains[0].Ended, auditdrain.SealDeleted; got != want {
			t.Errorf("the chain ends with %s, want %s", got, want)
		}
		a.wantEnded()
	})
}

// A restart asks the store to seal a drain once, as it is loaded, if there is nothing
// else to do: there may be ten thousand.
func TestRestartSealsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		a.deliver(5)
		time.Sleep(time.Hour + sealWithin)
		a.stop()
		var seals atomic.Int64
		a.mu.Lock()
		a.broken = func(what string) (error, bool) {
			if what == "Seal" {
				seals.Add(1)
			}
			return nil, false
		}
		a.mu.Unlock()
		a.start()
		time.Sleep(30 * time.Minute)
		if got := seals.Load(); got != 1 {
			t.Errorf("%d seals, want 1", got)
		}
		time.Sleep(30*time.Minute + sealWithin)
		a.wantCauses("s3://bucket", "hour", "hour")
	})
}

// A bucket that takes no manifests has them wait, says why, and gets all of them once
// it takes them; until then events are delivered as ever.
func TestManifestsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		a.mu.Lock()
		a.broken = func(what string) (error, bool) {
			if what == "Seal" || what == "SealWritten" {
				return nil, false
			}
			return denied, false
		}
		a.mu.Unlock()
		a.deliver(10)
		time.Sleep(10 * time.Hour)
		if got := a.count("d"); got != 10 {
			t.Errorf("%d events delivered, want 10", got)
		}
		chain, _ := a.Chain(t.Context(), "d")
		if chain.Sealed < 9 || chain.Written != 0 || chain.LastError != "write manifest: 403 AccessDenied" {
			t.Errorf("%+v", chain)
		}
		if waiting, behind := a.d.sealer.waits(time.Now()); waiting != chain.Sealed || behind < 8*time.Hour {
			t.Errorf("%d wait, for %s", waiting, behind)
		}
		time.Sleep(200 * time.Hour)
		if chain, _ = a.Chain(t.Context(), "d"); chain.Sealed != mostWaiting {
			t.Errorf("%d manifests wait, want %d at most", chain.Sealed, mostWaiting)
		}
		a.mu.Lock()
		a.broken = func(string) (error, bool) { return nil, false }
		a.mu.Unlock()
		time.Sleep(2 * time.Hour)
		if chain, _ = a.Chain(t.Context(), "d"); chain.Written != chain.Sealed || chain.LastError != "" {
			t.Errorf("%+v", chain)
		}
		if got := a.verify(t); got.Read != 10 {
			t.Errorf("%d objects, want 10", got.Read)
		}
	})
}

// A manifest for where the drain does not write any more keeps the others waiting for
// a day, and not at all if nothing was ever written there.
func TestManifestsGivenUp(t *testing.T) {
	for name, tc := range map[string]struct {
		first int
		waits time.Duration
	}{
		"misspelt bucket": {0, time.Minute},
		"lost bucket":     {10, 24*time.Hour + 10*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccounted(t)
				var lost atomic.Bool
				put := a.open

				a.stop()
				a.d = New(a.world, a.world, func(d auditdrain.Drain, unconditional bool) (Destination, error) {
					dest, err := put(d, unconditional)
					return lostBucket{dest, d.Delivery.Endpoint, &lost}, err
				}, Options{Integrity: a.integrity()})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- a.d.Run(ctx) }()
				defer func() { cancel(); <-done }()
				if tc.first > 0 {
					a.deliver(tc.first)
					time.Sleep(time.Hour + sealWithin)
				}
				lost.Store(true)
				time.Sleep(2 * time.Hour)
				a.change(func(d *auditdrain.Drain) { d.Delivery.Endpoint = "s3://new" })
				a.deliver(5)
				time.Sleep(tc.waits / 2)
				before := len(a.causes("s3://new", "d"))
				time.Sleep(tc.waits/2 + time.Hour + sealWithin)
				if after := len(a.causes("s3://new", "d")); after == 0 || tc.first > 0 && before != 0 {
					t.Errorf("%d manifests at first, %d then", before, after)
				}
				a.mu.Lock()
				delete(a.places, "s3://bucket")
				a.mu.Unlock()
				a.verify(t)
			})
		})
	}
}

// lostBucket refuses what goes to s3://bucket once it is lost.
type lostBucket struct {
	Destination
	endpoint string
	lost     *atomic.Bool
}

func (l lostBucket) PutDocument(ctx context.Context, key string, body []byte, metadata map[string]string) (auditdrain.PutResult, error) {
	if l.lost.Load() && l.endpoint == "s3://bucket" {
		return auditdrain.PutResult{}, noBucket
	}
	return l.Destination.PutDocument(ctx, key, body, metadata)
}

// The head of each chain is kept elsewhere, as soon as that works.
func TestManifestsAnchored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		a.stop()
		var kept []uint64
		var works atomic.Bool
		integrity := a.integrity()
		integrity.Anchor = func(ctx context.Context, team string, sign func(context.Context) (manifest.SignedHead, error)) (bool, error) {
			head, err := sign(ctx)
			if err != nil {
				return false, err
			}
			if team != "t" || head.Head.DrainID != "d" {
				t.Errorf("%s: %+v", team, head)
			}
			if !works.Load() {
				return false, errors.New("not now")
			}
			kept = append(kept, head.Head.Number)
			return true, nil
		}
		a.d, a.stop = startDeliverer(t, a.world, Options{Integrity: integrity})
		a.deliver(5)
		time.Sleep(time.Hour + sealWithin)
		works.Store(true)
		time.Sleep(time.Hour)
		time.Sleep(time.Hour)
		a.stop()
		if chain, _ := a.Chain(t.Context(), "d"); chain.Anchored != chain.Written || !slices.Equal(kept, []uint64{1, 2, 3}) {
			t.Errorf("kept %d, %+v", kept, chain)
		}
	})
}

// Whatever fails, is killed or changes: no manifest is written twice with other
// bytes, and what is in the buckets is what the chain says.
func TestManifestsLife(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { life(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func life(t *testing.T, r *rand.Rand) {
	a := newAccounted(t)
	reliable := a.answer
	a.mu.Lock()
	a.answer = func(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
		if err := sleep(ctx, rand.N(50*time.Millisecond)); err != nil {
			return auditdrain.PutResult{}, err
		}
		if rand.IntN(20) == 0 {
			return auditdrain.PutResult{}, internal
		}
		return auditdrain.PutResult{}, nil
	}
	a.broken = func(string) (error, bool) {
		if rand.IntN(5) == 0 {
			return internal, rand.IntN(2) == 0
		}
		return nil, false
	}
	a.mu.Unlock()
	for range 60 {
		switch r.IntN(12) {
		case 0, 1, 2:
			a.deliver(r.IntN(300))
		case 3:
			a.change(func(d *auditdrain.Drain) { d.Delivery.Endpoint = []string{"s3://one", "s3://two"}[r.IntN(2)] })
		case 4:
			a.change(func(d *auditdrain.Drain) { d.Delivery.Encoding = auditdrain.Encodings[r.IntN(2)] })
		case 5:
			a.hide(r.IntN(2) == 0)
		case 6:
			status := auditdrain.StatusEnabled
			if r.IntN(2) == 0 {
				status = auditdrain.StatusDisabled
			}
			a.change(func(d *auditdrain.Drain) { d.Status = status })
		case 7:
			if cursor := a.state("d").Cursor; cursor > 0 {
				first := 1 + r.Uint64N(cursor)
				a.replay(first, first+r.Uint64N(cursor-first+1))
			}
		case 8: // killed: what was not saved is lost
			a.mu.Lock()
			a.saveErr = errors.New("killed")
			a.mu.Unlock()
			a.stop()
			a.mu.Lock()
			a.saveErr = nil
			a.mu.Unlock()
			time.Sleep(time.Duration(r.Int64N(int64(3 * time.Hour))))
			a.start()
		case 9, 10:
			time.Sleep(time.Duration(r.Int64N(int64(90 * time.Minute))))
		case 11:
			seq, _, _ := a.Last(t.Context(), "t")
			if at := a.state("d").Cursor + 2; at < seq {
				a.instruct(func(in *auditdrain.Instructions) {
					in.Skips = append(in.Skips, auditdrain.Skip{From: at, To: at, At: time.Now().UnixMilli(), Reason: "no"})
				})
			}
		}
		time.Sleep(time.Duration(r.Int64N(int64(time.Second))))
	}
	a.mu.Lock()
	a.answer, a.broken = reliable, func(string) (error, bool) { return nil, false }
	a.mu.Unlock()
	a.change(func(d *auditdrain.Drain) { d.Status = auditdrain.StatusEnabled })
	time.Sleep(2 * time.Hour)
	a.removeDrain("d")
	a.changed()
	time.Sleep(time.Hour)
	a.verify(t)
	a.wantEnded()
}
