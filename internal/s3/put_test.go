package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/smithy-go/encoding/httpbinding"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

func TestPut(t *testing.T) {
	type delivery = auditdrain.Delivery
	kms := awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	tests := []struct {
		name    string
		change  func(*delivery)
		bucket  func(*awssim.Bucket)
		key     string
		body    string
		headers map[string]string // of those that depend on the configuration
		stored  awssim.Object     // encryption, key and ACL
	}{
		{
			name: "json", key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "AES256"},
		},
		{
			name: "ndjson", change: func(d *delivery) { d.Encoding = "ndjson" },
			key: "audit-logs/" + eventKey + "l", body: "\n",
			headers: map[string]string{"Content-Type": "application/x-ndjson"},
			stored:  awssim.Object{ContentType: "application/x-ndjson", Encryption: "AES256"},
		},
		{
			name: "bucket root", change: func(d *delivery) { d.Endpoint = "s3://" + bucket }, key: eventKey,
			headers: map[string]string{"Content-Type": "application/json"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "AES256"},
		},
		{
			name: "AES256", change: func(d *delivery) { d.ServerSideEncryption = "AES256" }, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json", "X-Amz-Server-Side-Encryption": "AES256"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "AES256"},
		},
		{
			name: "aws:kms", change: func(d *delivery) { d.ServerSideEncryption = "aws:kms" },
			bucket: func(b *awssim.Bucket) { b.Encryption = kms }, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json", "X-Amz-Server-Side-Encryption": "aws:kms"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "aws:kms", KMSKeyARN: keyARN},
		},
		{
			name: "aws:kms:dsse", change: func(d *delivery) { d.ServerSideEncryption = "aws:kms:dsse" },
			bucket: func(b *awssim.Bucket) {
				b.Encryption = awssim.Encryption{Algorithm: "aws:kms:dsse", KMSKeyARN: keyARN}
			}, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json", "X-Amz-Server-Side-Encryption": "aws:kms:dsse"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "aws:kms:dsse", KMSKeyARN: keyARN},
		},
		{
			name:   "KMS by the bucket's default alone",
			bucket: func(b *awssim.Bucket) { b.Encryption = kms }, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "aws:kms", KMSKeyARN: keyARN},
		},
		{
			name: "ACL", change: func(d *delivery) { d.ObjectACL = "bucket-owner-read" },
			bucket: func(b *awssim.Bucket) { b.Ownership = awssim.ObjectWriter }, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json", "X-Amz-Acl": "bucket-owner-read"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "AES256", ACL: "bucket-owner-read"},
		},
		{
			name:   "Object Lock",
			bucket: func(b *awssim.Bucket) { b.ObjectLock = true }, key: "audit-logs/" + eventKey,
			headers: map[string]string{"Content-Type": "application/json"},
			stored:  awssim.Object{ContentType: "application/json", Encryption: "AES256"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.bucket != nil {
				w.UpdateBucket(bucket, tt.bucket)
			}
			if tt.change == nil {
				tt.change = func(*delivery) {}
			}
			e := event("uev_1")
			put := mustPut(t, w.open(t, tt.change), e)
			if want := (auditdrain.PutResult{Key: tt.key}); put != want {
				t.Errorf("Put = %+v, want %+v", put, want)
			}
			o, body := w.object(t, bucket, tt.key)
			if want := string(e.Body) + tt.body; body != want {
				t.Errorf("object is %q, want %q", body, want)
			}
			stored := awssim.Object{ContentType: o.ContentType, Encryption: o.Encryption, KMSKeyARN: o.KMSKeyARN, ACL: o.ACL}
			if d := cmp.Diff(fmt.Sprintf("%+v", tt.stored), fmt.Sprintf("%+v", stored)); d != "" {
				t.Errorf("object (-want +got):\n%s", d)
			}
			if o.Writer != caller {
				t.Errorf("written by %s, want %s", o.Writer, caller)
			}

			calls := w.calls.All("PutObject")
			if len(calls) != 1 {
				t.Fatalf("%d PutObject calls, want 1", len(calls))
			}
			got := map[string]string{}
			for name := range calls[0].Header {
				switch name {
				case "Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-Checksum-Sha256":
				default:
					got[name] = calls[0].Header.Get(name)
				}
			}
			want := map[string]string{
				"Content-Length":              fmt.Sprint(len(e.Body) + len(tt.body)),
				"If-None-Match":               "*",
				"User-Agent":                  "auditdrain",
				"X-Amz-Expected-Bucket-Owner": account,
			}
			for name, value := range tt.headers {
				want[name] = value
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("headers (-want +got):\n%s", d)
			}
		})
	}
}

// Every key must be signed as it is sent.
func TestPutKeys(t *testing.T) {
	w := newWorld(t)
	dotted := "logs.acme.example"
	if err := w.AddBucket(awssim.Bucket{Name: dotted, Account: account, Region: region}); err != nil {
		t.Fatal(err)
	}
	prefixes := []string{
		"a=b", "with space", "two  spaces", "trailing. dot.", "плюс+и=равно", "日本語/ログ", "🪵",
		"100%", "%41%2F", "~home", `"quoted"`, "it's", "a&b", "a;b", "a,b", "a:b@c", "(x)[y]", "<tag>", "a#b", "a!b",
		strings.Repeat("д", 256), strings.Repeat("&", 240), strings.Repeat(`"`, 240),
	}
	for _, b := range []string{bucket, dotted} {
		for _, prefix := range prefixes {
			t.Run(b+"/"+prefix[:min(len(prefix), 32)], func(t *testing.T) {
				if b == dotted && len(prefix) > 100 {
					prefix = prefix[:100]
				}
				if long := strings.Trim(prefix, `д&"`); long == "" {
					// A file name has at most 255 bytes.
					prefix = prefix[:len(prefix)/3&^1] + "/" + prefix[:len(prefix)/3&^1]
				}
				d := w.open(t, func(d *auditdrain.Delivery) { d.Endpoint = "s3://" + b + "/" + prefix })
				put := mustPut(t, d, event("uev_1"))
				if want := prefix + "/" + eventKey; put.Key != want {
					t.Errorf("key %q, want %q", put.Key, want)
				}
				if _, body := w.object(t, b, put.Key); body != string(event("uev_1").Body) {
					t.Errorf("object is %q", body)
				}
			})
		}
	}
}

func TestEscapePath(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	// The SDK's own.
	if got, want := string(appendEscaped(nil, string(all))), httpbinding.EscapePath(string(all), false); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

func TestPutExisting(t *testing.T) {
	w := newWorld(t)
	d := w.open(t)
	e := event("uev_1")
	key := mustPut(t, d, e).Key
	other := e
	other.Body = []byte(`{"id":"uev_1","other":true}`)
	for range 2 {
		if put, want := mustPut(t, d, other), (auditdrain.PutResult{Key: key, Existed: true}); put != want {
			t.Errorf("Put = %+v, want %+v", put, want)
		}
	}
	if _, body := w.object(t, bucket, key); body != string(e.Body) {
		t.Errorf("object was overwritten: %q", body)
	}
}

// noConditions is a store that does not implement If-None-Match.
func noConditions(r awssim.FaultRequest) awssim.Fault {
	if r.Header.Get("If-None-Match") != "" {
		return awssim.Fault{Err: awssim.ConditionNotImplemented()}
	}
	return awssim.Fault{}
}

func TestPutUnconditional(t *testing.T) {
	w := newWorld(t)
	w.SetFault(noConditions)
	d := w.open(t)
	for i, wantCalls := range []int{2, 3, 4} { // the first twice, the others at once without
		e := event(fmt.Sprint("uev_", i))
		put := mustPut(t, d, e)
		if want := (auditdrain.PutResult{Key: put.Key, Unconditional: true}); put != want {
			t.Errorf("Put = %+v, want %+v", put, want)
		}
		if n := len(w.calls.All("PutObject")); n != wantCalls {
			t.Errorf("%d calls after %d events, want %d", n, i+1, wantCalls)
		}
		if _, body := w.object(t, bucket, put.Key); body != string(e.Body) {
			t.Errorf("object is %q", body)
		}
	}

	// Told so when opened, it does not try.
	before := len(w.calls.All("PutObject"))
	d, err := w.client(t).Open(drain(), Options{Unconditional: true})
	if err != nil {
		t.Fatal(err)
	}
	if put := mustPut(t, d, event("uev_9")); !put.Unconditional {
		t.Errorf("Put = %+v, want Unconditional", put)
	}
	if n := len(w.calls.All("PutObject")) - before; n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// A 501 that is not about the condition must not take it away for good.
func TestPutNotImplemented(t *testing.T) {
	w := newWorld(t)
	d := w.open(t)
	w.fault("PutObject", awssim.Fault{Err: awssim.ConditionNotImplemented()})
	e := putError(t, t.Context(), d)
	if e.Answer.HTTPStatus != 501 || e.Class() != auditdrain.Blocked {
		t.Errorf("got %v (%v), want a 501 that is blocked", e, e.Class())
	}
	if n := len(w.calls.All("PutObject")); n != 2 {
		t.Errorf("%d calls, want 2: with and without the condition", n)
	}
	w.SetFault(nil)
	if put := mustPut(t, d, event("uev_2")); put.Unconditional {
		t.Error("the condition was left out")
	}
}

func TestPutClockSkew(t *testing.T) {
	for _, skew := range []string{"ahead", "behind"} {
		t.Run(skew, func(t *testing.T) {
			w := newWorld(t)
			f := awssim.Fault{Skew: 2 * 3600e9}
			if skew == "behind" {
				f.Skew = -f.Skew
			}
			w.SetFault(func(awssim.FaultRequest) awssim.Fault { return f })
			d := w.open(t)
			mustPut(t, d, event("uev_1"))
			// Once each for STS and S3; the session that seems to be over, or
			// to last for hours, by our clock is used.
			want := []string{"AssumeRole SignatureDoesNotMatch", "AssumeRole ", "PutObject RequestTimeTooSkewed", "PutObject "}
			if d := cmp.Diff(want, w.codes()); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
			for i := range 3 {
				mustPut(t, d, event(fmt.Sprint("uev_1", i)))
			}
			if n := len(w.codes()); n != 7 {
				t.Errorf("%d calls, want 7: the clock was not remembered: %q", n, w.codes())
			}

			// Once the clock has been set right, the offset goes.
			w.SetFault(nil)
			mustPut(t, d, event("uev_2"))
			if n := len(w.codes()); n > 11 {
				t.Errorf("%d calls, want at most 11: %q", n, w.codes())
			}
		})
	}
}

// codes are all calls in order, as "operation code".
func (w *world) codes() []string {
	var out []string
	for _, c := range w.calls.All("") {
		out = append(out, c.Op+" "+c.Code)
	}
	return out
}

// A server whose clock cannot be followed is asked twice, not for ever.
func TestPutClockStaysSkewed(t *testing.T) {
	w := newWorld(t)
	w.fault("PutObject", awssim.Fault{Err: &awssim.Error{Status: 403, Code: "RequestTimeTooSkewed", Message: "no"}})
	if e := putError(t, t.Context(), w.open(t)); e.Answer.Code != "RequestTimeTooSkewed" || e.Class() != auditdrain.Transient {
		t.Errorf("got %v (%v)", e, e.Class())
	}
	if n := len(w.calls.All("PutObject")); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

func TestPutSessionRefused(t *testing.T) {
	invalid := &awssim.Error{Status: 400, Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid."}
	t.Run("new session at once", func(t *testing.T) {
		for _, refusal := range []*awssim.Error{
			awssim.ExpiredSession("secret"), invalid,
			{Status: 403, Code: "InvalidAccessKeyId", Message: "no such key"},
		} {
			w := newWorld(t)
			d := w.open(t)
			mustPut(t, d, event("uev_1"))
			w.fault("PutObject", awssim.Fault{Err: refusal}, 1)
			mustPut(t, d, event("uev_2"))
			want := []string{"AssumeRole ", "PutObject ", "PutObject " + refusal.Code, "AssumeRole ", "PutObject "}
			if d := cmp.Diff(want, w.codes()); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		}
	})
	t.Run("once", func(t *testing.T) {
		for refusal, class := range map[*awssim.Error]auditdrain.FailureClass{awssim.ExpiredSession("secret"): auditdrain.Transient, invalid: auditdrain.Blocked} {
			w := newWorld(t)
			w.fault("PutObject", awssim.Fault{Err: refusal})
			e := putError(t, t.Context(), w.open(t))
			if e.Answer.Code != refusal.Code || e.Class() != class {
				t.Errorf("got %v (%v), want %s (%v)", e, e.Class(), refusal.Code, class)
			}
			want := []string{"AssumeRole ", "PutObject " + refusal.Code, "AssumeRole ", "PutObject " + refusal.Code}
			if d := cmp.Diff(want, w.codes()); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		}
	})
	t.Run("many refusals cost one session", func(t *testing.T) {
		const n = 20
		w := newWorld(t)
		d := w.open(t)
		mustPut(t, d, event("uev_0"))
		old := w.calls.All("PutObject")[0].Header.Get("X-Amz-Security-Token")
		// All n are refused before any goes on.
		var arrived sync.WaitGroup
		arrived.Add(n)
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.Op != "PutObject" || r.Header.Get("X-Amz-Security-Token") != old {
				return awssim.Fault{}
			}
			arrived.Done()
			arrived.Wait()
			return awssim.Fault{Err: awssim.ExpiredSession(old)}
		})
		putMany(t, d, n)
		if got := len(w.calls.All("AssumeRole")); got != 2 {
			t.Errorf("%d sessions, want 2", got)
		}
	})
}

func putMany(t *testing.T, d *Destination, n int) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, errs[i] = d.Put(t.Context(), event(fmt.Sprint("uev_m", i))) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestPutManyOneSession(t *testing.T) {
	w := newWorld(t)
	putMany(t, w.open(t), 50)
	if n := len(w.calls.All("AssumeRole")); n != 1 {
		t.Errorf("%d sessions for 50 writes at once, want 1", n)
	}
}

// A kept connection that the server has closed costs no attempt, even if the
// write took effect.
func TestConnectionClosedWhileIdle(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("after effect ", after), func(t *testing.T) {
			w := newWorld(t)
			d := w.open(t)
			mustPut(t, d, event("uev_1"))
			w.fault("PutObject", awssim.Fault{Reset: true, AfterEffect: after}, 1)
			if put := mustPut(t, d, event("uev_2")); put.Existed != after {
				t.Errorf("Put = %+v, want Existed %t", put, after)
			}
			if n := len(w.calls.All("AssumeRole")); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
		})
	}
}

func TestTest(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	for i, id := range []string{"", drainID} {
		d := drain()
		d.ID = id
		key, steps, err := c.Test(t.Context(), d, event(fmt.Sprint("uev_", i)))
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"assumeRole", "putObject"} {
			if len(steps) != 2 || steps[i].Name != name || !steps[i].OK || steps[i].Duration < 1 {
				t.Errorf("steps %+v", steps)
			}
		}
		if want := "audit-logs/test/" + strings.Replace(eventKey, "uev_1", fmt.Sprint("uev_", i), 1); key != want {
			t.Errorf("key %q, want %q", key, want)
		}
		w.object(t, bucket, key)
	}
	var names []string
	for _, form := range w.assumed {
		names = append(names, form.Get("RoleSessionName"))
	}
	// Each test has a session of its own.
	if d := cmp.Diff([]string{"auditdrain-test", "auditdrain-drn_1"}, names); d != "" {
		t.Errorf("sessions (-want +got):\n%s", d)
	}

	w.UpdateRole(roleARN, func(r *awssim.Role) { r.Trust = nil })
	_, steps, err := c.Test(t.Context(), drain(), event("uev_3"))
	if len(steps) != 1 || steps[0].Name != "assumeRole" || steps[0].OK {
		t.Errorf("steps %+v", steps)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Test: %v, want *Error", err)
	}
	a := e.AWSAnswer()
	if a.Service != "sts" || a.HTTPStatus != http.StatusForbidden || a.CallerARN != userARN || a.RoleARN != roleARN || !strings.Contains(a.Key, "/test/") {
		t.Errorf("answer %+v", a)
	}
}

func TestOpenInvalidRole(t *testing.T) {
	_, err := New(Config{}).Open(drain(func(d *auditdrain.Delivery) { d.RoleARN = "arn:aws:iam::1:role/x" }), Options{})
	if auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest {
		t.Errorf("Open: %v, want a bad request", err)
	}
}

func TestPutCanceled(t *testing.T) {
	w := newWorld(t)
	d := w.open(t)
	for _, op := range []string{"AssumeRole", "PutObject"} {
		ctx, cancel := context.WithCancel(t.Context())
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.Op == op {
				cancel() // once the request is there
				return awssim.Fault{Hang: true}
			}
			return awssim.Fault{}
		})
		e := putError(t, ctx, d)
		if !errors.Is(e, context.Canceled) || e.Class() != auditdrain.Transient || e.Answer.Message != "the call was given up" {
			t.Errorf("%s: %v (%v)", op, e, e.Class())
		}
	}
	w.SetFault(nil)
	mustPut(t, d, event("uev_2"))
}
