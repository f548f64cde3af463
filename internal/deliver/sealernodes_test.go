package deliver

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
)

// slowSeals is another process's view of the books, for which it takes a while to read
// which manifests wait.
type slowSeals struct {
	*books
	takes *atomic.Int64 // a time.Duration
}

func (s slowSeals) Seals(ctx context.Context, id string) ([]auditdrain.Seal, error) {
	if err := sleep(ctx, time.Duration(s.takes.Load())); err != nil {
		return nil, err
	}
	return s.books.Seals(ctx, id)
}

// Two processes may write a drain's manifests at a time, when one has just taken over.
// Each writes the same, also if the other was faster.
func TestManifestsOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		other := a.integrity()
		var takes atomic.Int64
		other.Chains = slowSeals{a.books, &takes}
		startDeliverer(t, a.world, Options{Integrity: other})
		a.deliver(10)
		time.Sleep(time.Hour + sealWithin)
		a.wantCauses("s3://bucket", "hour")

		// When the hour is over, both find the second manifest. While the other reads
		// which ones wait, it is written, and there is a third, which waits.
		takes.Store(int64(10 * time.Second))
		hour := nextHour("d", time.Now())
		a.mu.Lock()
		a.broken = func(what string) (error, bool) {
			refusedFor := map[string]time.Duration{"000000000002": time.Second, "000000000003": 8 * time.Second}
			_, number, _ := strings.Cut(what, "manifest/d/")
			number, _, _ = strings.Cut(number, ".")
			if time.Since(hour) < refusedFor[number] {
				return internal, false
			}
			return nil, false
		}
		a.mu.Unlock()
		time.Sleep(time.Until(hour) + 4*time.Second)
		a.wantCauses("s3://bucket", "hour", "hour")
		a.change(func(d *auditdrain.Drain) { d.Delivery.Encoding = "ndjson" })
		a.wantCauses("s3://bucket", "hour", "hour")
		time.Sleep(time.Minute)
		a.wantCauses("s3://bucket", "hour", "hour", "changed")
		a.verify(t)
	})
}

// takenOver are the drains of a process that has lost them to another.
type takenOver struct {
	*world
	lost  *atomic.Bool
	asked *atomic.Int64 // since
}

func (o takenOver) Drains(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	if o.lost.Load() {
		o.asked.Add(1)
		return nil, nil
	}
	return o.world.Drains(ctx, q)
}

// A process that has lost a drain to another takes it neither for deleted nor for
// moved: it gives no manifest up. Nor does it ask for the drain but to deliver it.
func TestManifestsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccounted(t)
		a.stop()
		a.broken = func(what string) (error, bool) {
			if what == "Seal" || what == "SealWritten" {
				return nil, false
			}
			return denied, false
		}
		var lost atomic.Bool
		var asked atomic.Int64
		d := New(a.world, takenOver{a.world, &lost, &asked}, a.open, Options{Integrity: a.integrity()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		defer func() { cancel(); <-done }()
		time.Sleep(time.Hour + sealWithin)
		lost.Store(true)
		d.Changed("d")
		time.Sleep(30 * time.Minute)
		if chain, _ := a.Chain(t.Context(), "d"); chain.Written != 0 || chain.Sealed == 0 {
			t.Errorf("%d manifests of %d are noted as written, want none", chain.Written, chain.Sealed)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the drain was asked for %d times, want 1", n)
		}
	})
}
