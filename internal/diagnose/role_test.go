package diagnose_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/diagnose"
)

const (
	refused  = auditdrain.RoleRefused
	accepted = auditdrain.RoleAccepted
	unknown  = auditdrain.RoleUnknown
)

// Whether others than the team could use a role, and that every test delivery
// says so.
func TestRoleCheck(t *testing.T) {
	condition := func(c string) func(*world) {
		return trusts(policy(`{"Effect":"Allow","Principal":{"AWS":"` + writerARN + `"},"Action":"sts:AssumeRole","Condition":` + c + `}`))
	}
	for _, tt := range []struct {
		name           string
		change         func(*world)
		unsafe         bool
		without, other auditdrain.RoleCheckAnswer
		delivered      bool
	}{
		{"as generated", func(*world) {}, false, refused, refused, true},
		{"no condition", trusts(trust(writerARN, "")), true, accepted, accepted, true},
		{"wildcard", condition(`{"StringLike":{"sts:ExternalId":"vercel-team:*"}}`), true, refused, accepted, true},
		{"all that begin as the team's", condition(`{"StringLike":{"sts:ExternalId":"vercel-team:team_123*"}}`), true, refused, accepted, true},
		{"only if there is one", condition(`{"StringEqualsIfExists":{"sts:ExternalId":"vercel-team:team_123"}}`), true, accepted, refused, true},
		{"any of all values", condition(`{"ForAllValues:StringEquals":{"sts:ExternalId":["vercel-team:team_123"]}}`), true, accepted, refused, true},
		{"not the one of a rival", condition(`{"StringNotEquals":{"sts:ExternalId":"vercel-team:team_rival"}}`), true, accepted, accepted, true},
		{"root of the account, no condition", trusts(trust("arn:aws:iam::977805900156:root", "")), true, accepted, accepted, true},
		{"open, but the bucket is missing", func(w *world) {
			trusts(trust(writerARN, ""))(w)
			w.drain.Delivery.Endpoint = "s3://acme-missing"
		}, true, accepted, accepted, false},
		{"refuses everybody", trusts(trust("arn:aws:iam::977805900156:role/other", "x")), false, unknown, unknown, false},
		{"our own policy does not let us try", both(acquainted, trusts(trust(writerARN, "")), func(w *world) {
			w.UpdateRole(writerARN, func(r *awssim.Role) { r.Identity = nil })
		}), false, unknown, unknown, false},
		{"STS is down", answers("AssumeRole", 500, "InternalFailure", "The request processing has failed."), false, unknown, unknown, false},
		{"the writer role is refused", func(w *world) {
			w.UpdateRole(writerARN, func(r *awssim.Role) { r.Trust = trust("arn:aws:iam::977805900156:role/other", "") })
		}, false, unknown, unknown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, false, prefix)
			tt.change(w)
			result := w.test(t)
			if (result.Status == "") != tt.delivered {
				t.Errorf("delivered %t, want %t: %s", result.Status == "", tt.delivered, result.Error)
			}
			c := result.RoleCheck
			if c.Unsafe != tt.unsafe || c.WithoutExternalID != tt.without || c.OtherExternalID != tt.other || c.Text == "" {
				t.Errorf("%+v, want unsafe %t, %s without and %s with another's external ID", c, tt.unsafe, tt.without, tt.other)
			}
			if tt.unsafe && (!strings.Contains(c.Text, `StringEquals sts:ExternalId "vercel-team:team_123"`) ||
				c.Change == nil || c.Change.Where != "trust policy of "+roleARN || !strings.Contains(c.Change.Statement, `"sts:ExternalId": "vercel-team:team_123"`)) {
				t.Errorf("does not say which condition to add: %+v %+v", c, c.Change)
			}
		})
	}
}

// The calls that must be refused are made once a test each, by a session name
// that tells them apart, and with an external ID that nobody can have.
func TestRoleCheckFootprint(t *testing.T) {
	w := newWorld(t, false, prefix)
	tester, _ := w.tester(t)
	if check := tester.CheckRole(t.Context(), w.drain); check.Unsafe {
		t.Fatalf("%+v", check)
	}
	calls := w.calls.All("AssumeRole")
	calls = slices.DeleteFunc(calls, func(c awssim.Call) bool { return c.RoleARN != roleARN })
	if len(calls) != 3 {
		t.Fatalf("%d calls, want 3: %+v", len(calls), calls)
	}
	for _, c := range calls {
		if c.Code != "AccessDenied" {
			t.Errorf("%+v, want AccessDenied", c)
		}
	}
}

// Where unsafe roles are refused, a test looks at the role first, and not again.
func TestRefuseUnsafeFootprint(t *testing.T) {
	w := newWorld(t, false, prefix)
	tester, _ := w.tester(t)
	tester.RefuseUnsafe = true
	if result, err := tester.Test(t.Context(), w.drain, event()); err != nil || result.Key == "" || result.RoleCheck.WithoutExternalID != refused {
		t.Fatalf("%+v, %v", result, err)
	}
	calls := slices.DeleteFunc(w.calls.All("AssumeRole"), func(c awssim.Call) bool { return c.RoleARN != roleARN || c.Code == "" })
	if len(calls) != 3 {
		t.Errorf("%d calls were refused, want 3", len(calls))
	}
}

// A store that is compatible with S3 says no more than "Access Denied", and
// nothing is called confirmed that is not.
func TestCompatibleStore(t *testing.T) {
	w := newWorld(t, false, prefix)
	w.serveOnLoopback(t)
	role(func(r *awssim.Role) { r.Identity = nil })(w)
	w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		if r.Header.Get("Content-Md5") != "" {
			t.Error("a rehearsal: this store may write it")
		}
		return awssim.Fault{Err: &awssim.Error{Status: 403, Code: "AccessDenied", Message: "Access Denied.", Header: http.Header{"Server": {"Ceph"}}}}
	})
	d := w.test(t).Diagnosis
	if first := d.Causes[0]; first.Code != "permissions_policy" || first.Confirmed || len(d.Causes) < 3 {
		t.Errorf("%s", d)
	}
}

// A store that looks at checksums before permissions, or not at all, answers
// every rehearsal alike: nothing may follow from that.
func TestRehearsalThatSaysNothing(t *testing.T) {
	w := newWorld(t, false, prefix)
	role(func(r *awssim.Role) { r.Identity = nil })(w)
	w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" && r.Header.Get("Content-Md5") != "" {
			return awssim.Fault{Err: &awssim.Error{Status: 400, Code: "BadDigest", Message: "The Content-MD5 you specified did not match what we received."}}
		}
		return awssim.Fault{}
	})
	d := w.test(t).Diagnosis
	if first := d.Causes[0]; first.Code != "permissions_policy" || first.Confirmed {
		t.Errorf("%s", d)
	}
}

// IAM takes some seconds to apply a change everywhere: somebody who attaches a
// policy and presses Test at once is not told that it is missing.
func TestPropagation(t *testing.T) {
	for name, late := range map[string]func(w *world){
		"permissions": func(w *world) { w.lag("PutObject", role(func(r *awssim.Role) { r.Identity = nil })) },
		"trust":       func(w *world) { w.lag("AssumeRole", trusts(trust(writerARN, "vercel-team:other"))) },
	} {
		w := newWorld(t, false, prefix)
		late(w)
		result := w.test(t)
		if result.Status != "" || result.Key == "" || result.Diagnosis != nil {
			t.Errorf("%s: %+v", name, result)
		}
		if objects, err := w.Objects(bucket); err != nil || len(objects) != 1 || objects[0].Key != result.Key {
			t.Errorf("%s: objects %+v, %v, want the test object", name, objects, err)
		}
	}
}

// The error of a delivery, which nothing further is asked about, is worded as
// that of a test; causes that only further calls tell apart are all there.
func TestExplainDelivery(t *testing.T) {
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			w := newWorld(t, b.kms, prefix)
			b.broken(w)
			err := w.deliver(t)
			if err == nil {
				return // only test deliveries are refused
			}
			tester, _ := w.tester(t)
			d, ok := tester.Explainer.Explain(w.drain, err)
			if !ok || !d.Known || d.Summary == "" {
				t.Fatal(d)
			}
			first := d.Causes[0]
			// That a Deny statement of the bucket's is to blame is certain;
			// which header it is about, only further calls show.
			if first.Confirmed && first.Code != b.cause && first.Code != diagnose.CauseBucketDeny {
				t.Errorf("%s is called certain, but it is %s: %s", first.Code, b.cause, d)
			}
		})
	}
}
