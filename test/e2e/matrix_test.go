package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// A fault is one row of the matrix: what goes wrong with a call to AWS.
type fault struct {
	name string
	// times is how many calls it hits before AWS is mended. What a person has
	// to mend parks the drain, and each further call would be a probe, later
	// and later.
	times int
	// put and assume are what happens to the nth call, from 0. Without them,
	// connections are reset before anything has been sent.
	put, assume func(n int) awssim.Fault
}

// always is the same fault for PUT and AssumeRole, whenever it comes.
func always(name string, times int, f awssim.Fault) fault {
	same := func(int) awssim.Fault { return f }
	return fault{name: name, times: times, put: same, assume: same}
}

// aroundEffect is a fault that hits every other call only after the call has
// had its effect.
func aroundEffect(name string, f awssim.Fault) fault {
	alternate := func(n int) awssim.Fault {
		f := f
		f.AfterEffect = n%2 == 1
		return f
	}
	return fault{name: name, times: 3, put: alternate, assume: alternate}
}

// refusals are different words of S3 and STS.
func refusal(name string, times int, put, assume *awssim.Error) fault {
	return fault{
		name: name, times: times,
		// S3 says 412 of an object that is there, and of no other.
		put:    func(int) awssim.Fault { return awssim.Fault{Err: put, AfterEffect: put.Status == 412} },
		assume: func(int) awssim.Fault { return awssim.Fault{Err: assume} },
	}
}

// spoilt is an answer that cannot be read: of a success, and, for PUT, of a
// failure in turn. AWS's answer to PUT has no body that anybody needs.
func spoilt(name string, f awssim.Fault) fault {
	return fault{
		name: name, times: 3,
		put: func(n int) awssim.Fault {
			f := f
			if n%2 == 1 {
				f.Err = awssim.InternalError()
			}
			return f
		},
		assume: func(int) awssim.Fault { return f },
	}
}

// awsError is an answer that AWS gives for reasons of which awssim has none.
func awsError(status int, code string) *awssim.Error {
	return &awssim.Error{Status: status, Code: code, Message: "As the matrix wants it."}
}

var faults = []fault{
	{name: "before send", times: 3},
	always("after send", 3, awssim.Fault{Close: true}),
	always("response lost", 3, awssim.Fault{Close: true, AfterEffect: true}),
	aroundEffect("reset", awssim.Fault{Reset: true}),
	aroundEffect("hang", awssim.Fault{Hang: true}),
	aroundEffect("500", awssim.Fault{Err: awssim.InternalError()}),
	refusal("503", 3, awssim.SlowDown(), awssim.ServiceUnavailable()),
	refusal("403", 1, awsError(403, "AccessDenied"), awsError(403, "AccessDenied")),
	refusal("301", 1, awsError(301, "PermanentRedirect"), awsError(301, "MovedPermanently")),
	refusal("409", 3, awssim.ConditionalRequestConflict(""), awsError(409, "ConcurrentModification")),
	refusal("412", 1, awsError(412, "PreconditionFailed"), awsError(412, "PreconditionFailed")),
	spoilt("slow body", awssim.Fault{Trickle: 100 * time.Millisecond}),
	spoilt("garbage XML", awssim.Fault{Garbage: true}),
	always("truncated header", 3, awssim.Fault{TruncateHead: true}),
}

// spell is a time of trouble: it lasts for so many calls.
type spell struct {
	begun chan struct{} // closed when the first call is hit

	mu   sync.Mutex
	hits int
	left int
}

// await waits for the first call that is hit.
func (s *spell) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.begun:
	case <-time.After(patience):
		t.Fatal("nothing went wrong")
	}
}

// endBy ends a process as a row of a matrix says, or lets it be.
func (p *process) endBy(end ending) {
	switch end {
	case "kill -9":
		p.kill()
	case "SIGTERM":
		p.stop()
	}
}

// hit returns which call of the spell this one is, from 0; false if the spell
// is over.
func (s *spell) hit() (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return 0, false
	}
	s.left--
	s.hits++
	if s.hits == 1 {
		close(s.begun)
	}
	return s.hits - 1, true
}

// TestFaultMatrix lets everything go wrong that can go wrong with AssumeRole
// and PutObject, and at the moment at which it does kills the service, stops
// it, or does nothing. Two teams have events. In the end, with the service
// started again if it was ended, all of them are in their buckets, each with
// its own bytes, and nothing else.
func TestFaultMatrix(t *testing.T) {
	seed := newSeed(t)
	var cases []matrixCase
	for i, f := range faults {
		for _, op := range []string{"AssumeRole", "PutObject"} {
			for _, end := range endings {
				cases = append(cases, matrixCase{fmt.Sprintf("%s/%s/%s", f.name, op, end), func(t *testing.T) {
					f.meet(t, seed+uint64(i), op, end)
				}})
			}
		}
	}
	runMatrix(t, cases)
}

// endings are what becomes of the service at the moment at which something goes wrong.
var endings = []ending{"kill -9", "SIGTERM", "nothing"}

type matrixCase struct {
	name string
	run  func(t *testing.T)
}

// runMatrix runs many cases at a time, however few processors there are: most of a
// case is waiting for a timeout, a backoff or a probe.
func runMatrix(t *testing.T, cases []matrixCase) {
	next := make(chan matrixCase)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for c := range next {
				t.Run(c.name, c.run)
			}
		})
	}
	for _, c := range cases {
		next <- c
	}
	close(next)
	workers.Wait()
}

// meet is one case of the matrix.
func (f fault) meet(t *testing.T, seed uint64, op string, end ending) {
	aws := newCloud(t)
	sick, well := newTeams()[1], newTeams()[4]
	teams := []*team{well, sick}
	for _, tm := range teams {
		aws.addTargets("vercel-team:"+tm.team, tm.targets...)
	}
	trouble := &spell{begun: make(chan struct{}), left: f.times}
	env := environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken)
	if byCall := map[string]func(int) awssim.Fault{"AssumeRole": f.assume, "PutObject": f.put}[op]; byCall != nil {
		aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.Op != op || r.Bucket != sick.targets[0].bucket && r.RoleARN != sick.targets[0].roleARN() {
				return awssim.Fault{}
			}
			if n, ok := trouble.hit(); ok {
				return byCall(n)
			}
			return awssim.Fault{}
		})
	} else {
		service := map[string]string{"AssumeRole": "STS", "PutObject": "S3"}[op]
		env = append(env, "AWS_ENDPOINT_URL_"+service+"="+aws.serve(func() bool {
			_, ok := trouble.hit()
			return ok
		}))
	}
	data, hc := t.TempDir(), newHTTPClient(t)
	boot := func() (*process, string) {
		p := start(t, racing(t), env, serveArgs(data, "--put-timeout", "1s", "--sts-timeout", "1s", "--shutdown-timeout", "3s")...)
		return p, p.url()
	}

	p, url := boot()
	api := newClient(t, hc, url)
	total := 0
	for i, tm := range teams {
		tm.setUp(t, hc, api)
		src := newSource(newRand(seed, uint64(i)), tm.team)
		for range 6 {
			tm.events = append(tm.events, src.event())
		}
		if a := tm.post(t, url, plainly(tm.events...)); a.status != 200 {
			t.Fatal(a)
		}
		total += len(tm.events)
	}
	trouble.await(t)
	p.endBy(end)
	if end != "nothing" {
		hc.CloseIdleConnections() // they lead to a dead process
		p, url = boot()
		api = newClient(t, hc, url)
	}

	aws.awaitObjects(total)
	awaitNoBacklog(t, api, teams)
	for _, tm := range teams {
		d, err := api.GetDrain(t.Context(), tm.team, tm.drains[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if d.Status != auditdrain.StatusEnabled || d.LastError != "" {
			t.Errorf("%s: status %q, last error %q after all was delivered", tm.team, d.Status, d.LastError)
		}
	}
	p.stop()
	checkObjects(t, aws, teams)
	if n := len(aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten with other bytes", n)
	}
}
