package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// limitedSTS lets so many calls through in a second, and a second's worth at
// once, and throttles the others. Each takes a while.
type limitedSTS struct {
	perSecond float64
	takes     time.Duration

	mu                   sync.Mutex
	tokens               float64
	at                   time.Time
	calls, refused, busy int
	most                 int // under way at once
}

func (l *limitedSTS) call() (ok bool) {
	l.mu.Lock()
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.at).Seconds()*l.perSecond, l.perSecond)
	l.at = now
	l.calls++
	l.busy++
	l.most = max(l.most, l.busy)
	if ok = l.tokens >= 1; ok {
		l.tokens--
	} else {
		l.refused++
	}
	l.mu.Unlock()
	time.Sleep(l.takes)
	l.mu.Lock()
	l.busy--
	l.mu.Unlock()
	return ok
}

// Ten thousand drains want a session at once. Each gets one, the last not much
// later than STS can give them, and STS is not asked much more often than it
// takes.
func TestGateStampede(t *testing.T) {
	const sessions = 10_000
	for _, tt := range []struct {
		perSecond float64
		takes     time.Duration
	}{
		{600, 50 * time.Millisecond}, // AWS's usual quota
		{100, 20 * time.Millisecond},
		{20, 100 * time.Millisecond},
		{5000, 200 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v per second, each %s", tt.perSecond, tt.takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sts := &limitedSTS{perSecond: tt.perSecond, takes: tt.takes, at: time.Now(), tokens: tt.perSecond}
				g := newGate()
				start := time.Now()
				var wg sync.WaitGroup
				for range sessions {
					wg.Go(func() {
						// As delivery does it: without end, with a growing pause.
						for pause := 100 * time.Millisecond; ; pause = min(2*pause, 30*time.Second) {
							turn, err := g.enter(t.Context())
							if err != nil {
								t.Error(err)
								return
							}
							if sts.call() {
								g.leave(turn, answered)
								return
							}
							g.leave(turn, throttled)
							time.Sleep(rand.N(pause))
						}
					})
				}
				wg.Wait()
				took := time.Since(start)
				ideal := time.Duration(max(sessions/tt.perSecond, sessions*tt.takes.Seconds()/gateMost) * float64(time.Second))
				t.Logf("%d calls, %d refused, at most %d at once, %s (at best %s)", sts.calls, sts.refused, sts.most, took, ideal)
				if sts.calls > sessions*4/3 {
					t.Errorf("%d calls for %d sessions", sts.calls, sessions)
				}
				if took > 2*ideal+30*time.Second {
					t.Errorf("took %s, could be %s", took, ideal)
				}
				if sts.most > gateMost {
					t.Errorf("%d calls at once", sts.most)
				}
				if g.busy != 0 || g.waiting.Len() != 0 {
					t.Errorf("%d busy and %d waiting at the end", g.busy, g.waiting.Len())
				}
			})
		})
	}
}

func TestGate(t *testing.T) {
	test := func(name string, f func(t *testing.T, g *gate)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, newGate()) }) })
	}
	fill := func(t *testing.T, g *gate) (turns []pass) {
		for {
			turn, ok := g.tryEnter()
			if !ok {
				return turns
			}
			turns = append(turns, turn)
		}
	}
	enter := func(ctx context.Context, g *gate) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := g.enter(ctx)
			done <- err
		}()
		synctest.Wait()
		return done
	}
	waits := func(t *testing.T, done <-chan error) {
		t.Helper()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("was let through: %v", err)
		default:
		}
	}

	test("first come, first served", func(t *testing.T, g *gate) {
		turns := fill(t, g)
		if len(turns) != gateStart {
			t.Errorf("%d at the start, want %d", len(turns), gateStart)
		}
		first, second := enter(t.Context(), g), enter(t.Context(), g)
		waits(t, first)
		g.leave(turns[0], unanswered)
		if err := <-first; err != nil {
			t.Error(err)
		}
		waits(t, second)
		if _, ok := g.tryEnter(); ok {
			t.Error("passed one who waits")
		}
		g.leave(turns[1], unanswered)
		<-second
	})
	test("grows by one a round", func(t *testing.T, g *gate) {
		well := func(calls int) {
			for range calls {
				turn, _ := g.tryEnter()
				g.leave(turn, answered)
			}
		}
		well(gateStart + 1)
		if int(g.limit) != gateStart+1 {
			t.Errorf("limit %v after a round, want %d", g.limit, gateStart+1)
		}
		well(gateMost * gateMost)
		if n := len(fill(t, g)); n != gateMost {
			t.Errorf("%d, want %d", n, gateMost)
		}
	})
	test("throttled together, once", func(t *testing.T, g *gate) {
		turns := fill(t, g)
		next := enter(t.Context(), g)
		for _, turn := range turns {
			g.leave(turn, throttled)
		}
		if g.limit != gateStart/2 {
			t.Errorf("limit %v, want %d", g.limit, gateStart/2)
		}
		waits(t, next) // for the pause to end
		start := time.Now()
		<-next
		if took := time.Since(start); took > gatePause {
			t.Errorf("paused for %s", took)
		}
		g.leave(pass(g.round), unanswered)
		// The pauses grow, to a bound, and never is nobody let through.
		for range 20 {
			turn, err := g.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			g.leave(turn, throttled)
		}
		start = time.Now()
		if _, err := g.enter(t.Context()); err != nil || time.Since(start) > gatePauseMost {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if g.limit != 1 {
			t.Errorf("limit %v", g.limit)
		}
	})
	test("who gives up leaves no gap", func(t *testing.T, g *gate) {
		turns := fill(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		first, second := enter(ctx, g), enter(t.Context(), g)
		cancel()
		if err := <-first; err != context.Canceled {
			t.Error(err)
		}
		waits(t, second)
		g.leave(turns[0], unanswered)
		<-second
		for range 200 { // at the same moment
			ctx, cancel := context.WithCancel(t.Context())
			first, second := enter(ctx, g), enter(t.Context(), g)
			cancel()
			g.leave(turns[1], unanswered)
			if <-first == nil {
				g.leave(turns[1], unanswered)
			}
			<-second
			turns[1] = pass(g.round)
			if g.busy != gateStart || g.waiting.Len() != 0 {
				t.Fatalf("%d busy, %d waiting", g.busy, g.waiting.Len())
			}
			cancel()
		}
	})
}

// A person's call does not queue behind the deliveries, and an early refresh
// does not wait either.
func TestGateLetsPeoplePass(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	d := mustOpen(t, c)
	mustPut(t, d, event("uev_1"))
	g := c.gate(region)
	for {
		if _, ok := g.tryEnter(); !ok {
			break
		}
	}
	if _, _, err := c.Test(t.Context(), drain(), event("uev_2")); err != nil {
		t.Error(err)
	}
	if err := c.Assume(t.Context(), drain(), "vercel-team:team_demo"); err != nil {
		t.Error(err)
	}
	try, err := c.Rehearse(drain())
	if err != nil {
		t.Fatal(err)
	}
	if err := try(t.Context(), drain().Delivery, "audit-logs/x"); err != nil {
		t.Error(err)
	}

	before := len(w.assumed)
	c.now = func() time.Time { return time.Now().Add(sessionDuration - refreshAhead) }
	mustPut(t, d, event("uev_3"))
	if n := len(w.assumed) - before; n != 0 {
		t.Errorf("%d calls were made early", n)
	}

	// A new drain's first write waits, as long as its context lets it.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := mustOpen(t, c).Put(ctx, event("uev_4"))
		done <- err
	}()
	cancel()
	err = <-done
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, context.Canceled) || e.Answer.Operation != "AssumeRole" || e.Class() != auditdrain.Transient {
		t.Errorf("%v", err)
	}
}

// What STS says opens and shuts the gate of its region.
func TestGateLearns(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	mustPut(t, mustOpen(t, c), event("uev_1"))
	if got := c.gate(region).limit; got <= gateStart {
		t.Errorf("limit %v after a success", got)
	}
	for _, refusal := range []*awssim.Error{
		awssim.Throttling(),
		{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"},
		{Status: 400, Code: "RequestLimitExceeded", Message: "Request limit exceeded."},
		{Status: 400, Code: "TooManyRequestsException", Message: "Rate exceeded"},
		{Status: 429},
		{Status: 503},
	} {
		c := w.client(t)
		w.fault("AssumeRole", awssim.Fault{Err: refusal}, 1)
		if e := putError(t, t.Context(), mustOpen(t, c)); e.Class() != auditdrain.Throttled {
			t.Errorf("%v (%v)", e, e.Class())
		}
		if got := c.gate(region).limit; got != gateStart/2 {
			t.Errorf("%s: limit %v, want %d", refusal.Code, got, gateStart/2)
		}
	}
	w.SetFault(nil)

	c = w.client(t)
	w.fault("AssumeRole", awssim.Fault{Reset: true}, 1)
	putError(t, t.Context(), mustOpen(t, c))
	if got := c.gate(region).limit; got != gateStart {
		t.Errorf("limit %v though STS has not answered", got)
	}
}

// Sessions that were made together are replaced at different times.
func TestRefreshIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &fakeSTS{}
		start := time.Now()
		at := map[int]int{} // calls in each minute
		sessions := make([]*session, 1000)
		for i := range sessions {
			sessions[i] = newSession(time.Now, func(ctx context.Context, early bool) (aws.Credentials, error) {
				at[int(time.Since(start).Minutes())]++
				return sts.assume(ctx, early)
			})
		}
		for time.Since(start) < sessionDuration {
			for _, s := range sessions {
				if _, err := s.credentials(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		total := 0
		for minute, n := range at {
			if minute == 0 {
				continue
			}
			total += n
			if n > 150 || minute < 35 || minute > 50 {
				t.Errorf("%d calls in minute %d", n, minute)
			}
		}
		if total != len(sessions) {
			t.Errorf("%d sessions were replaced, want each once", total)
		}
	})
}
