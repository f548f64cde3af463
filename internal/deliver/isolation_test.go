package deliver

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
)

// TestTheSickTakeNothingFromTheHealthy has 1,000 drains, of which 5 % hang,
// 5 % answer 403, 5 % answer 503 half the time, and one takes 10 s for each
// object. The healthy ones' latency and throughput must be within 10 % of a
// run in which the sick have nothing to deliver.
//
// Time is simulated, so that nothing but the scheduling counts; what the sick
// cost in CPU is in docs/benchmarks.md.
func TestTheSickTakeNothingFromTheHealthy(t *testing.T) {
	for _, load := range []struct {
		name    string
		perTick int // events of each drain every 250 ms
		backlog int
	}{
		// 850 drains with 4 events a second at 50 ms each need 170 places of 256.
		{"as events come", 1, 0},
		// More than all places can do at once.
		{"with a backlog", 1, 50},
	} {
		t.Run(load.name, func(t *testing.T) {
			without := runHospital(t, load.perTick, load.backlog, false)
			with := runHospital(t, load.perTick, load.backlog, true)
			t.Logf("without the sick: %+v", without)
			t.Logf("with the sick:    %+v", with)
			if with.p99 > without.p99*11/10 {
				t.Errorf("the healthy drains' p99 is %s with the sick and %s without, want at most 10 %% more", with.p99, without.p99)
			}
			if with.took > without.took*11/10 {
				t.Errorf("the healthy drains' events took %s with the sick and %s without, want at most 10 %% more", with.took, without.took)
			}
		})
	}
}

type hospital struct {
	p99  time.Duration // from an event's acceptance to its delivery
	took time.Duration // until all were delivered
}

func runHospital(t *testing.T, perTick, backlog int, sick bool) (result hospital) {
	const (
		drains = 1000
		ticks  = 40
	)
	const (
		healthy = iota
		hangs
		refuses
		throttles
		slow
	)
	kind := func(i int) int {
		switch {
		case i == 999:
			return slow
		case i%20 == 1:
			return hangs
		case i%20 == 8:
			return refuses
		case i%20 == 15:
			return throttles
		}
		return healthy
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kinds := map[string]int{}
		for i := range drains {
			id := fmt.Sprintf("d%03d", i)
			kinds[id] = kind(i)
			w.addDrain(id, id)
		}
		var mu sync.Mutex
		var latencies []time.Duration
		seed := maphash.MakeSeed()
		tries := map[string]int{}
		w.setAnswer(func(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			switch kinds[d.ID] {
			case hangs:
				if err := sleep(ctx, 30*time.Second); err != nil {
					return auditdrain.PutResult{}, err
				}
				return auditdrain.PutResult{}, timedOut
			case refuses:
				return auditdrain.PutResult{}, denied
			case throttles:
				mu.Lock()
				tries[e.ID]++
				n := tries[e.ID]
				mu.Unlock()
				if maphash.String(seed, fmt.Sprint(e.ID, n))%2 == 0 {
					return auditdrain.PutResult{}, throttled
				}
			case slow:
				return auditdrain.PutResult{}, sleep(ctx, 10*time.Second)
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return auditdrain.PutResult{}, err
			}
			if kinds[d.ID] == healthy {
				accepted := w.acceptedAt(d.TeamID, e.ID)
				mu.Lock()
				latencies = append(latencies, time.Since(accepted))
				mu.Unlock()
			}
			return auditdrain.PutResult{}, nil
		})
		d, stop := startDeliverer(t, w, Options{InFlight: 256, Grace: time.Second})
		want := 0
		add := func(n int) {
			for id, k := range kinds {
				if k != healthy && !sick {
					continue
				}
				w.addEvents(id, n)
				d.Wake(id)
				if k == healthy {
					want += n
				}
			}
		}
		time.Sleep(time.Second)
		begin := time.Now()
		if backlog > 0 {
			add(backlog)
		}
		for range ticks {
			add(perTick)
			time.Sleep(250 * time.Millisecond)
		}
		for {
			mu.Lock()
			n := len(latencies)
			mu.Unlock()
			if n == want {
				break
			}
			if time.Since(begin) > 10*time.Minute {
				t.Fatalf("the healthy drains got %d events of %d in ten minutes", n, want)
			}
			time.Sleep(50 * time.Millisecond)
		}
		result.took = time.Since(begin)
		slices.Sort(latencies)
		result.p99 = latencies[len(latencies)*99/100]
		stop()
	})
	return result
}
