package s3

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// aging is a client whose clock can be put forward.
func aging(t *testing.T, w *world) (c *Client, forward func(time.Duration)) {
	var ahead atomic.Int64
	c = w.client(t, func(cfg *Config) { cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	return c, func(d time.Duration) { ahead.Add(int64(d)) }
}

// deny has S3 refuse writes with sessions that exist, or with all.
func (w *world) deny(all bool) {
	old := map[string]bool{}
	for _, c := range w.calls.All("PutObject") {
		old[c.Header.Get("X-Amz-Security-Token")] = true
	}
	w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" && (all || old[r.Header.Get("X-Amz-Security-Token")]) {
			return awssim.Fault{Err: &awssim.Error{Status: 403, Code: "AccessDenied", Message: "Access Denied"}}
		}
		return awssim.Fault{}
	})
}

// A session that has worked and is denied may have been revoked: another one
// is tried at once, and only one.
func TestDenied(t *testing.T) {
	const assume, ok, denied = "AssumeRole ", "PutObject ", "PutObject AccessDenied"
	for _, tt := range []struct {
		name   string
		worked bool
		age    time.Duration
		all    bool     // new sessions are denied, too
		want   []string // calls of two writes
		later  int      // sessions that ten minutes of probes ask for
	}{
		{"revoked", true, doubtAfter, false, []string{denied, assume, ok, ok}, 0},
		{"a policy has changed", true, doubtAfter, true, []string{denied, assume, denied, denied}, 0},
		{"too young to have been revoked", true, doubtAfter - time.Second, true, []string{denied, denied}, 1},
		{"never permitted", false, doubtAfter, true, []string{denied, denied}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c, forward := aging(t, w)
			d := mustOpen(t, c)
			if tt.worked {
				mustPut(t, d, event("uev_0"))
			} else if _, err := d.session.credentials(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := len(w.codes())
			w.deny(tt.all)
			forward(tt.age)
			for i := range 2 {
				_, err := d.Put(t.Context(), event(fmt.Sprint("uev_1", i)))
				if (err != nil) != tt.all {
					t.Errorf("Put: %v", err)
				}
				if err != nil && classOf(t, err) != auditdrain.Blocked {
					t.Errorf("%v is %v", err, classOf(t, err))
				}
			}
			if d := cmp.Diff(tt.want, w.codes()[before:]); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}

			// A drain that stays denied does not ask STS each time it probes.
			asked := len(w.assumed)
			for i := range 10 {
				forward(time.Minute)
				_, _ = d.Put(t.Context(), event(fmt.Sprint("uev_2", i)))
			}
			if n := len(w.assumed) - asked; n != tt.later {
				t.Errorf("%d new sessions later, want %d", n, tt.later)
			}

			// Once it is permitted again, it works, and may be doubted again.
			w.SetFault(nil)
			mustPut(t, d, event("uev_3"))
			forward(doubtAfter)
			w.deny(false)
			mustPut(t, d, event("uev_4"))
		})
	}
}

// However many writes a revoked session had under way, one new session mends
// them all.
func TestDeniedMany(t *testing.T) {
	w := newWorld(t)
	c, forward := aging(t, w)
	d := mustOpen(t, c)
	mustPut(t, d, event("uev_0"))
	forward(doubtAfter)
	w.deny(false)
	putMany(t, d, 50)
	if n := len(w.assumed); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// If the role does not trust us any more, that is what a person is told.
func TestDeniedAndNotTrusted(t *testing.T) {
	w := newWorld(t)
	c, forward := aging(t, w)
	d := mustOpen(t, c)
	mustPut(t, d, event("uev_0"))
	forward(doubtAfter)
	w.UpdateRole(roleARN, func(r *awssim.Role) { r.Trust, r.Identity = nil, nil })
	for range 2 {
		if e := putError(t, t.Context(), d); e.Answer.Operation != "AssumeRole" || e.Answer.Code != "AccessDenied" {
			t.Errorf("%v", e)
		}
	}
	w.UpdateRole(roleARN, func(r *awssim.Role) {
		r.Trust, r.Identity = iam.MustParse(trustPolicy), []*iam.Policy{iam.MustParse(permissions)}
	})
	mustPut(t, d, event("uev_1"))
}

// Credentials of our own that STS does not know any more were rotated: the
// chain is asked for others.
func TestOwnCredentialsRotated(t *testing.T) {
	for _, code := range []string{"InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException"} {
		w := newWorld(t)
		current := 0
		c := w.client(t, func(c *Config) {
			c.AWS.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				current++
				return aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userToken}, nil
			}))
		})
		w.fault("AssumeRole", awssim.Fault{Err: &awssim.Error{Status: 403, Code: code, Message: "The security token included in the request is invalid."}}, 1)
		mustPut(t, mustOpen(t, c), event("uev_1"))
		if d := cmp.Diff([]string{"AssumeRole " + code, "AssumeRole ", "PutObject "}, w.codes()); d != "" || current != 2 {
			t.Errorf("asked for credentials %d times; calls (-want +got):\n%s", current, d)
		}
		// Once.
		w.fault("AssumeRole", awssim.Fault{Err: &awssim.Error{Status: 403, Code: code}})
		before := len(w.codes())
		putError(t, t.Context(), mustOpen(t, c))
		if n := len(w.codes()) - before; n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	}
}

func TestSessionExpiry(t *testing.T) {
	w := newWorld(t)
	d := w.open(t)
	if at := d.SessionExpiry(); !at.IsZero() {
		t.Errorf("%s before there is a session", at)
	}
	mustPut(t, d, event("uev_1"))
	if left := time.Until(d.SessionExpiry()); left > sessionDuration || left < sessionDuration-time.Minute {
		t.Errorf("ends in %s", left)
	}
	d.Close()
	if at := d.SessionExpiry(); !at.IsZero() {
		t.Errorf("%s after it was closed", at)
	}
}
