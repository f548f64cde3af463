package s3

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// gateStart and gateMost bound the calls under way at the start and ever.
	gateStart = 8
	gateMost  = 128
	// gatePause bounds the first pause after throttling, and grows by doubling
	// to gatePauseMost.
	gatePause     = 200 * time.Millisecond
	gatePauseMost = 10 * time.Second
	// gateCalm is how many calls in a row must go well for the next pause to be
	// half as long.
	gateCalm = 8
)

// gate lets calls to one STS through, first come, first served, as fast as STS
// takes them: how many may be under way grows by one with each round of calls
// that go well, and halves when STS throttles. Then nobody calls for a random
// time. So thousands of drains that start at once, or whose sessions end at
// once, neither stampede nor wait for longer than they must.
type gate struct {
	mu      sync.Mutex
	limit   float64
	busy    int
	waiting list.List // of chan pass
	round   int       // ends with each throttling
	pausing bool
	pauses  int // how often the pause has been doubled
	calm    int // calls that went well since the last change of pauses
}

// pass is the round in which a call was let through.
type pass int

func newGate() *gate { return &gate{limit: gateStart} }

// enter waits for a turn. What it returns must be given to leave.
func (g *gate) enter(ctx context.Context) (pass, error) {
	g.mu.Lock()
	if g.free() {
		defer g.mu.Unlock()
		g.busy++
		return pass(g.round), nil
	}
	turn := make(chan pass, 1)
	place := g.waiting.PushBack(turn)
	g.mu.Unlock()
	select {
	case p := <-turn:
		return p, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-turn: // at the same moment
		g.busy--
	default:
		g.waiting.Remove(place)
	}
	g.admit()
	return 0, ctx.Err()
}

// tryEnter is enter for calls that need not be made now.
func (g *gate) tryEnter() (pass, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.free() {
		return 0, false
	}
	g.busy++
	return pass(g.round), true
}

// free reports whether a call may be made at once. g.mu is held.
func (g *gate) free() bool {
	return !g.pausing && g.waiting.Len() == 0 && g.busy < int(g.limit)
}

// callResult is what STS made of a call.
type callResult int

const (
	unanswered callResult = iota // tells nothing about its load
	answered
	throttled
)

// leave says what became of a call.
func (g *gate) leave(p pass, result callResult) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy--
	switch {
	case result == answered:
		g.limit = min(g.limit+1/g.limit, gateMost)
		if g.calm++; g.calm >= gateCalm {
			g.calm, g.pauses = 0, max(g.pauses-1, 0)
		}
	// Those that were under way together are throttled together: that counts
	// once.
	case result == throttled && p == pass(g.round):
		g.round++
		g.limit = max(g.limit/2, 1)
		g.pausing = true
		most := min(gatePause<<g.pauses, gatePauseMost)
		if most < gatePauseMost {
			g.pauses++
		}
		g.calm = 0
		time.AfterFunc(rand.N(most), g.resume)
	}
	g.admit()
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pausing = false
	g.admit()
}

// admit lets in who may go. g.mu is held.
func (g *gate) admit() {
	for !g.pausing && g.busy < int(g.limit) && g.waiting.Len() > 0 {
		g.busy++
		g.waiting.Remove(g.waiting.Front()).(chan pass) <- pass(g.round)
	}
}
