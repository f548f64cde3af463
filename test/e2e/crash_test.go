package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

const (
	crashTeams   = 6
	crashBacklog = 8000 // events, about, that producers may be ahead of delivery
)

// crashForm is how long a form of TestCrash is.
type crashForm struct {
	kills    int           // with SIGKILL, under load
	lifetime time.Duration // of a process, at most, once it is ready
	pause    time.Duration // of a producer between two requests, at most
	troubles int           // kinds of days that AWS has, see newTrouble
	binary   func(*testing.T) string
}

// The long form has lives long enough for drains to be parked and probed, and
// no more events than the test's memory can hold.
var (
	crashShort = crashForm{50, 700 * time.Millisecond, 20 * time.Millisecond, 4, binary}
	crashLong  = crashForm{300, 2 * time.Second, 400 * time.Millisecond, 6, racing}
)

// batch is what one request carried.
type batch struct {
	events  []event
	resend  bool // once its outcome is unknown: else it is never sent again
	stored  bool // acknowledged
	unknown bool // was sent at least once without an answer
}

// crashProducer sends one team's events for as long as the service lives,
// and remembers what it was told across the service's deaths.
type crashProducer struct {
	*team
	rng     *rand.Rand
	source  *source
	batches []*batch
	sent    int             // requests
	pause   time.Duration   // between two of them, at most
	acked   chan<- struct{} // told of every acknowledgement, if there is room
}

// ending is how a round ended.
type ending string

const (
	killedLoaded   ending = "killed under load"
	killedIdle     ending = "killed before anything was sent"
	killedStarting ending = "killed while starting"
	stopped        ending = "stopped with SIGTERM"
)

// TestCrash kills the service at random moments while events come in and AWS
// has its troubles, and starts it again on the same data, until it has been
// killed under load 50 times (300 times in `make soak`). Rounds that end with SIGTERM, or while the
// service starts, come on top. In the end everything acknowledged must
// be in the buckets, with the same bytes, and batches of unknown outcome
// must be there whole or not at all.
//
// What a dead machine would lose, a dead process does not: that an answer
// comes after the fsync is proved by internal/storetest.
func TestCrash(t *testing.T) {
	form := crashShort
	if *soakFlag {
		form = crashLong
	}
	seed := newSeed(t)
	rng := newRand(seed, 1<<32)
	aws := newCloud(t)
	var teams []*team
	for i := range crashTeams {
		teams = append(teams, newTeams()[i])
		aws.addTargets("vercel-team:"+teams[i].team, teams[i].targets...)
	}
	data := t.TempDir()
	boot := func(t *testing.T) *process {
		return start(t, form.binary(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken),
			serveArgs(data, "--put-timeout", "1s", "--sts-timeout", "1s", "--shutdown-timeout", "3s")...)
	}
	hc := newHTTPClient(t)

	first := boot(t)
	api := newClient(t, hc, first.url())
	acked := make(chan struct{}, 1)
	var producers []*crashProducer
	for i, tm := range teams {
		tm.setUp(t, hc, api)
		r := newRand(seed, uint64(i))
		producers = append(producers, &crashProducer{team: tm, rng: r, source: newSource(r, tm.team), acked: acked, pause: form.pause})
	}
	first.stop()

	ends := map[ending]int{}
	for round := 0; ends[killedLoaded] < form.kills; round++ {
		if round == 4*form.kills {
			t.Fatalf("the service is hardly ever killed under load: %v", ends)
		}
		// A test of its own, so that its process's log is shown only if
		// something has gone wrong in this round.
		ok := t.Run(fmt.Sprint(round), func(t *testing.T) {
			aws.SetFault(newTrouble(rng, form).fault)
			life := time.Duration(rng.Int64N(int64(form.lifetime)))
			ends[crashRound(t, rng, life, boot(t), hc, aws, producers, acked)]++
		})
		if !ok {
			t.FailNow()
		}
	}

	t.Logf("rounds: %v", ends)

	aws.SetFault(nil)
	last := boot(t)
	url := last.url()
	for _, p := range producers {
		for _, b := range p.batches {
			if b.unknown && b.resend && !b.stored {
				if err := p.sendBatch(t.Context(), url, b); err != nil || !b.stored {
					t.Fatalf("batch of unknown outcome, sent again: %v", err)
				}
			}
		}
	}
	awaitNoBacklog(t, newClient(t, hc, url), teams)
	last.stop()
	checkCrash(t, aws, producers)
}

// crashRound has the producers send until the process dies, about so long
// after it was ready, and returns how it died.
func crashRound(t *testing.T, rng *rand.Rand, life time.Duration, p *process, hc *http.Client, aws *cloud, producers []*crashProducer, acked <-chan struct{}) ending {
	gentle := rng.IntN(6) == 0
	if !gentle && rng.IntN(8) == 0 { // while it starts
		<-time.After(time.Duration(rng.Int64N(int64(150 * time.Millisecond))))
		p.kill()
		return killedStarting
	}
	url := p.url()
	ready(t, hc, url)
	before := sent(producers)
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, cp := range producers {
		sending.Go(func() {
			if err := cp.run(ctx, url, aws); err != nil {
				t.Error(err)
			}
		})
	}
	<-time.After(life)
	// From there, at the next moment at which a promise has just been made:
	// to a producer, or by AWS. Neither may come.
	var moment <-chan struct{}
	switch rng.IntN(3) {
	case 0:
		select {
		case <-acked: // an old one
		default:
		}
		moment = acked
	case 1:
		_, moment = aws.written()
	}
	if moment != nil {
		select {
		case <-moment:
		case <-time.After(time.Second):
		}
	}
	if gentle {
		p.stop()
	} else {
		p.kill()
	}
	hc.CloseIdleConnections() // they lead to a dead process
	cancel()
	sending.Wait()
	switch {
	case gentle:
		return stopped
	case sent(producers) == before:
		return killedIdle
	default:
		return killedLoaded
	}
}

// sent is how many requests the producers have sent in all.
func sent(producers []*crashProducer) int {
	n := 0
	for _, p := range producers {
		n += p.sent
	}
	return n
}

// ready waits for the service to be ready, which it is once it answers.
func ready(t *testing.T, hc *http.Client, url string) {
	t.Helper()
	resp, err := hc.Get(url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("/readyz answers %d after the start", resp.StatusCode)
	}
}

// run sends batches until the service is gone or ctx ends.
func (p *crashProducer) run(ctx context.Context, url string, aws *cloud) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
		// Once a request is under way its answer is waited for: only the
		// service's death leaves an outcome unknown.
		b := p.next(aws.behind(p) < crashBacklog/crashTeams)
		err := p.sendBatch(context.WithoutCancel(ctx), url, b)
		if err != nil {
			return err
		}
		if !b.stored {
			return nil // the service is gone or going
		}
		pause.Reset(time.Duration(p.rng.Int64N(int64(p.pause))))
	}
}

// behind is how many of the events acknowledged last are not delivered.
func (c *cloud) behind(p *crashProducer) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := p.targets[0]
	n := 0
	for _, b := range slices.Backward(p.batches) {
		if !b.stored {
			continue
		}
		missing := 0
		for _, e := range b.events {
			if !c.objects[g.bucket+"/"+e.key(g)] {
				missing++
			}
		}
		if missing == 0 {
			break // delivery goes in order
		}
		n += missing
	}
	return n
}

// next returns what to send now: mostly something new, at times, or if there
// is enough already, a batch whose outcome is unknown or one that was
// acknowledged before.
func (p *crashProducer) next(more bool) *batch {
	if len(p.batches) > 0 && (!more || p.rng.IntN(4) == 0) {
		old := p.batches[p.rng.IntN(len(p.batches))]
		if n := len(p.batches); p.rng.IntN(2) == 0 {
			old = p.batches[n-1] // the one that the last death may have hit
		}
		if old.stored || old.resend {
			return old
		}
	}
	b := &batch{resend: p.rng.IntN(2) == 0}
	most := 30
	if p.rng.IntN(8) == 0 {
		most = 400
	}
	for range 1 + p.rng.IntN(most) {
		b.events = append(b.events, p.source.event())
	}
	p.batches = append(p.batches, b)
	return b
}

// sendBatch sends b once. The error is a promise that the service has broken;
// not to get an answer is none.
func (p *crashProducer) sendBatch(ctx context.Context, url string, b *batch) error {
	p.sent++
	a, err := p.send(ctx, url, encode(p.rng, b.events...))
	if err != nil || a.status == http.StatusServiceUnavailable {
		b.unknown = true
		return nil
	}
	switch n := len(b.events); {
	case a.status != 200 || a.Accepted+a.Duplicates != n:
		return fmt.Errorf("%s: answer to %d events: %v", p.team.team, n, a)
	case a.Accepted != 0 && a.Duplicates != 0:
		return fmt.Errorf("%s: a batch had been stored in part: %v", p.team.team, a)
	case b.stored && a.Accepted != 0:
		return fmt.Errorf("%s: a batch that was acknowledged has been forgotten: %v", p.team.team, a)
	case !b.stored && !b.unknown && a.Duplicates != 0:
		return fmt.Errorf("%s: a batch that was never sent before was there: %v", p.team.team, a)
	}
	b.stored = true
	select {
	case p.acked <- struct{}{}:
	default:
	}
	return nil
}

// trouble is what AWS is like for one round.
type trouble struct {
	mu    sync.Mutex
	rng   *rand.Rand
	rate  float64       // of requests with a fault
	delay time.Duration // at most, of every request
	kinds []awssim.Fault
}

func newTrouble(rng *rand.Rand, form crashForm) *trouble {
	tr := &trouble{rng: newRand(rng.Uint64(), 0), kinds: []awssim.Fault{
		{Err: awssim.InternalError()},
		{Err: awssim.InternalError(), AfterEffect: true},
		{Err: awssim.ServiceUnavailable()},
		{Err: awssim.SlowDown()},
		{Err: awssim.ConditionalRequestConflict("")},
		{Err: awssim.ExpiredSession("")},
		{Err: awssim.InternalError(), Garbage: true},
		{Reset: true},
		{Reset: true, AfterEffect: true},
		{Close: true},
		{Close: true, AfterEffect: true},
		{Truncate: true},
		{TruncateHead: true},
	}}
	switch rng.IntN(form.troubles) {
	case 0: // a good day
	case 1:
		tr.delay = 30 * time.Millisecond
	case 2:
		tr.rate, tr.delay = 0.05, 5*time.Millisecond
	case 3: // writes take effect, and nobody hears of it
		tr.rate, tr.kinds = 0.2, []awssim.Fault{{Reset: true, AfterEffect: true}}
		if rng.IntN(2) == 0 {
			tr.kinds = append(tr.kinds, awssim.Fault{Hang: true, AfterEffect: true})
		}
	case 4: // lives must be long to see the end of these
		tr.rate, tr.kinds = 0.02, []awssim.Fault{{Hang: true}, {Trickle: 20 * time.Millisecond}}
	case 5: // somebody is changing what drains are permitted, which parks them
		tr.rate, tr.kinds = 0.01, []awssim.Fault{
			{Err: awsError(403, "AccessDenied")},
			{Err: awsError(301, "PermanentRedirect")},
			{Err: awsError(404, "NoSuchBucket")},
		}
	}
	return tr
}

func (tr *trouble) fault(awssim.FaultRequest) awssim.Fault {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var f awssim.Fault
	if tr.rng.Float64() < tr.rate {
		f = tr.kinds[tr.rng.IntN(len(tr.kinds))]
	}
	if tr.delay > 0 {
		f.Delay = time.Duration(tr.rng.Int64N(int64(tr.delay)))
	}
	return f
}

// checkCrash compares the buckets with what the producers know.
func checkCrash(t *testing.T, aws *cloud, producers []*crashProducer) {
	t.Helper()
	if n := len(aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten with other bytes", n)
	}
	acknowledged, never := 0, 0
	for _, p := range producers {
		// Batches of unknown outcome: what the first drain has of them, all of
		// the team's drains must have.
		stored := map[*batch]bool{}
		for i, g := range p.targets {
			objects := map[string]string{} // bytes by key
			listed, err := aws.Objects(g.bucket)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range listed {
				body, err := o.Read()
				if err != nil {
					t.Fatal(err)
				}
				objects[o.Key] = string(body)
			}
			for _, b := range p.batches {
				there := 0
				for _, e := range b.events {
					body, ok := objects[e.key(g)]
					if ok {
						there++
					}
					if ok && body != e.object(g) {
						t.Errorf("%s/%s\n got %s\nwant %s", g.bucket, e.key(g), body, e.object(g))
					}
					delete(objects, e.key(g))
				}
				switch whole := there == len(b.events); {
				case b.stored && !whole:
					t.Errorf("%s: %d of %d events of an acknowledged batch are missing", g.bucket, len(b.events)-there, len(b.events))
				case there > 0 && !whole:
					t.Errorf("%s: %d of %d events of an unacknowledged batch are there", g.bucket, there, len(b.events))
				case i > 0 && stored[b] != whole:
					t.Errorf("%s: a batch is in one of the team's buckets and not in the other", g.bucket)
				default:
					stored[b] = whole
				}
				switch {
				case i > 0:
				case b.stored:
					acknowledged += len(b.events)
				default:
					never += len(b.events)
				}
			}
			for key := range objects {
				t.Errorf("%s/%s was never sent", g.bucket, key)
			}
		}
	}
	calls, repeated := 0, 0
	for _, n := range aws.calls() {
		calls += n
		repeated += n - 1
	}
	t.Logf("%d events acknowledged, %d never; %d PUTs, %d of them repeats", acknowledged, never, calls, repeated)
	if acknowledged < 1000 || repeated == 0 {
		t.Error("there was no load worth the name")
	}
}
