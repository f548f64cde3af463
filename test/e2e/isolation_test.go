package e2e

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

// TestIsolation has 60 drains, of which a third are in trouble, each of its
// own kind: what the others have is delivered while it lasts, and once it is
// over, all is.
func TestIsolation(t *testing.T) {
	const drains, eventsOfEach = 60, 20
	half := atomic.Uint64{}
	troubles := map[string]func() awssim.Fault{ // by what the bucket's name ends in
		"hang": func() awssim.Fault { return awssim.Fault{Hang: true} },
		"403":  func() awssim.Fault { return awssim.Fault{Err: awsError(403, "AccessDenied")} },
		"slow": func() awssim.Fault { return awssim.Fault{Delay: 2 * time.Second} },
		"503": func() awssim.Fault {
			if half.Add(1)%2 == 0 {
				return awssim.Fault{}
			}
			return awssim.Fault{Err: awssim.SlowDown()}
		},
	}
	aws := newCloud(t)
	s := serve(t, aws.url, t.TempDir(), "--put-timeout", "5s", "--shutdown-timeout", "10s")
	var sick, healthy, hanging []*team
	faults := map[string]func() awssim.Fault{} // by bucket
	for i := range drains {
		kind := "fine"
		if i%3 == 0 {
			kind = []string{"hang", "403", "503", "slow"}[i/3%4]
		}
		tm := &team{producer: producer{team: fmt.Sprintf("team_%02d", i)}, targets: []target{{
			account: fmt.Sprintf("%012d", 400_000_000_000+i), role: "vercel-drain-writer", bucket: fmt.Sprintf("isolated-%02d-%s", i, kind),
			prefix: "audit-logs", region: homeRegion, encoding: "json",
		}}}
		aws.addTargets("vercel-team:"+tm.team, tm.targets...)
		tm.setUp(t, s.http, s.api)
		switch kind {
		case "fine":
			healthy = append(healthy, tm)
		case "hang":
			hanging = append(hanging, tm)
			fallthrough
		default:
			sick = append(sick, tm)
		}
		faults[tm.targets[0].bucket] = troubles[kind]
	}
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if f := faults[r.Bucket]; f != nil && r.Op == "PutObject" {
			return f()
		}
		return awssim.Fault{}
	})
	teams := slices.Concat(sick, healthy) // the sick come first: they hold what they can get
	for i, tm := range teams {
		src := newSource(newRand(9, uint64(i)), tm.team)
		for range eventsOfEach {
			tm.events = append(tm.events, src.event())
		}
		if a := tm.post(t, s.url, plainly(tm.events...)); a.status != 200 {
			t.Fatal(a)
		}
	}
	aws.awaitEvents(healthy)
	if missing, _ := aws.missing(hanging); missing != len(hanging)*eventsOfEach {
		t.Errorf("%d events are missing in buckets that hang, want all %d", missing, len(hanging)*eventsOfEach)
	}
	aws.SetFault(nil)
	aws.awaitEvents(teams)
	s.stop()
	checkObjects(t, aws, teams)
	if n := len(aws.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten with other bytes", n)
	}
	for _, tm := range healthy {
		for _, e := range tm.events {
			if key := tm.targets[0].bucket + "/" + e.key(tm.targets[0]); aws.calls()[key] != 1 {
				t.Errorf("%d PUTs of %s, whose bucket was fine", aws.calls()[key], key)
			}
		}
	}
}
