package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// TestSessionsEndEarly ends the sessions that the service has, in all the ways
// in which AWS can end them, between one event and the next. Delivery goes on
// without a restart.
func TestSessionsEndEarly(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	role := tm.targets[0].roleARN()
	s := serve(t, aws.url, t.TempDir())
	tm.setUp(t, s.http, s.api)
	src := newSource(newRand(6, 1), tm.team)
	deliver := func() {
		t.Helper()
		e := src.event()
		if a := tm.post(t, s.url, plainly(e)); a.status != 200 {
			t.Fatal(a)
		}
		tm.events = append(tm.events, e)
		aws.awaitEvents([]*team{tm})
	}
	deliver()
	for _, end := range []struct {
		name string
		do   func()
	}{
		{"expired", func() { aws.ExpireSessions(role) }},
		{"unknown to AWS", func() { aws.ForgetSessions(role) }},
		{"expired, and the writer role's as well", func() { aws.ExpireSessions(role); aws.ExpireSessions(writerRole) }},
		{"unknown, and the writer role's as well", func() { aws.ForgetSessions(role); aws.ForgetSessions(writerRole) }},
		{"revoked by a policy", func() { aws.UpdateRole(role, revokeOlder) }},
	} {
		end.do()
		before := aws.sessions()[role]
		for range 3 {
			deliver()
		}
		if n := aws.sessions()[role] - before; n != 1 {
			t.Errorf("%s: %d new sessions, want 1", end.name, n)
		}
	}
	awaitNoBacklog(t, s.api, []*team{tm})
	d, err := s.api.GetDrain(t.Context(), tm.team, tm.drains[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.Status != auditdrain.StatusEnabled {
		t.Errorf("status %q, %s", d.Status, d.LastError)
	}
	s.stop()
	checkObjects(t, aws, []*team{tm})
}

// revokeOlder is what "Revoke active sessions" in AWS's console does: it adds
// the policy AWSRevokeOlderSessions to the role.
func revokeOlder(r *awssim.Role) {
	r.Identity = append(r.Identity[:len(r.Identity):len(r.Identity)], iam.MustParse(fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":%q}}}]}`,
		time.Now().UTC().Add(time.Second).Format(time.RFC3339))))
}

// TestOwnKeyRotated replaces the access key that the service itself runs with,
// as a container's credentials are replaced, before the time that was named
// for it: STS does not know the old one any more.
func TestOwnKeyRotated(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	current := atomic.Pointer[awssim.User]{}
	rotate := func(key string) {
		user := awssim.User{ARN: userARN, AccessKeyID: key, SecretKey: secretKey + key,
			Identity: policies(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + writerRole + `"}]}`)}
		must(t, aws.AddUser(user))
		if old := current.Swap(&user); old != nil {
			aws.RemoveUser(old.AccessKeyID)
		}
	}
	rotate("AKIAE2EE2EE2EE2EFIRST")
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`,
			current.Load().AccessKeyID, current.Load().SecretKey, time.Now().UTC().Add(time.Hour).Format(time.RFC3339))
	}))
	t.Cleanup(container.Close)
	p := start(t, binary(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken,
		"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONTAINER_CREDENTIALS_FULL_URI="+container.URL), serveArgs(t.TempDir())...)
	url, hc := p.url(), newHTTPClient(t)
	tm.setUp(t, hc, newClient(t, hc, url))
	src := newSource(newRand(7, 1), tm.team)
	for _, key := range []string{"", "AKIAE2EE2EE2EE2SECOND", "AKIAE2EE2EE2EE2ETHIRD"} {
		if key != "" {
			rotate(key)
			aws.ForgetSessions(writerRole)
			aws.ForgetSessions(tm.targets[0].roleARN())
		}
		e := src.event()
		if a := tm.post(t, url, plainly(e)); a.status != 200 {
			t.Fatal(a)
		}
		tm.events = append(tm.events, e)
		aws.awaitEvents([]*team{tm})
	}
	p.stop()
	checkObjects(t, aws, []*team{tm})
}

// bucketOfTokens is how AWS throttles: so many calls at once, so many a second.
type bucketOfTokens struct {
	mu        sync.Mutex
	left      float64
	most      float64
	perSecond float64
	at        time.Time
}

func (b *bucketOfTokens) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.at.IsZero() {
		b.left = b.most
	} else {
		b.left = min(b.most, b.left+now.Sub(b.at).Seconds()*b.perSecond)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// TestSTSThrottles has 200 drains begin at once with an STS that takes 50
// calls a second: all get their session, and few calls are made in vain.
func TestSTSThrottles(t *testing.T) {
	const teamCount, drainsOfEach = 20, 10
	aws := newCloud(t)
	s := serve(t, aws.url, t.TempDir())
	var teams []*team
	for i := range teamCount {
		tm := &team{producer: producer{team: fmt.Sprintf("team_%02d", i)}}
		for j := range drainsOfEach {
			tm.targets = append(tm.targets, target{account: fmt.Sprintf("%012d", 300_000_000_000+i), role: "vercel-drain-writer",
				bucket: fmt.Sprintf("throttled-%02d-%d", i, j), region: homeRegion, encoding: "json"})
		}
		aws.addTargets("vercel-team:"+tm.team, tm.targets...)
		tm.setUp(t, s.http, s.api)
		teams = append(teams, tm)
	}
	sts := &bucketOfTokens{most: 10, perSecond: 50}
	throttled := 0
	var mu sync.Mutex
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "AssumeRole" || sts.take() {
			return awssim.Fault{}
		}
		mu.Lock()
		defer mu.Unlock()
		throttled++
		return awssim.Fault{Err: awssim.Throttling()}
	})
	for i, tm := range teams {
		src := newSource(newRand(8, uint64(i)), tm.team)
		for range 3 {
			tm.events = append(tm.events, src.event())
		}
		if a := tm.post(t, s.url, plainly(tm.events...)); a.status != 200 {
			t.Fatal(a)
		}
	}
	aws.awaitEvents(teams)
	s.stop()
	checkObjects(t, aws, teams)
	checkOnce(t, aws)
	checkSessions(t, aws, teams)
	t.Logf("%d calls were throttled", throttled)
	if most := teamCount * drainsOfEach; throttled > most {
		t.Errorf("%d calls were throttled to get %d sessions", throttled, most)
	}
}
