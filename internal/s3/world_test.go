package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

const (
	account  = "111122223333"
	region   = "eu-west-1"
	bucket   = "acme-audit-archive"
	teamID   = "team_demo"
	drainID  = "drn_1"
	roleARN  = "arn:aws:iam::111122223333:role/drains/vercel-drain-writer"
	keyARN   = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	caller   = "arn:aws:sts::111122223333:assumed-role/vercel-drain-writer/auditdrain-drn_1"
	eventKey = "schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T100000.123Z_uev_1.json"

	userARN   = "arn:aws:iam::977805900156:user/auditdrain"
	userKey   = "AKIAAUDITDRAIN"
	userToken = "users/secret+key"
	writerARN = "arn:aws:iam::977805900156:role/platform/vercel-drains-s3-writer"

	trustPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow",
		"Principal": {"AWS": ["` + writerARN + `", "` + userARN + `"]},
		"Action": "sts:AssumeRole",
		"Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_demo"}}
	}]}`
	permissions = `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
		{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
	]}`
	keyPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Principal": {"AWS": "` + roleARN + `"}, "Action": "kms:GenerateDataKey", "Resource": "*",
		"Condition": {"StringEquals": {"kms:CallerAccount": "111122223333", "kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
	}]}`
	assumeAny = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}`
)

// world is an AWS with our account and one customer's, whose role may do
// anything with S3 and KMS: what a session may do is up to its policy.
type world struct {
	*awssim.Sim
	calls   awssim.Calls
	handler http.Handler // serves the Sim
	url     string
	conns   atomic.Int64 // that have been made, in a bubble

	mu      sync.Mutex
	assumed []url.Values // parameters of AssumeRole
}

// newSim returns a world that nothing serves yet.
func newSim(t testing.TB) *world {
	t.Helper()
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Sim: sim}
	sim.Observe(w.calls.Add)
	if err := errors.Join(
		sim.AddUser(awssim.User{ARN: userARN, AccessKeyID: userKey, SecretKey: userToken, Identity: []*iam.Policy{iam.MustParse(assumeAny)}}),
		sim.AddRole(awssim.Role{
			ARN: writerARN,
			Trust: iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
				"Principal": {"AWS": "` + userARN + `"}, "Action": "sts:AssumeRole"}]}`),
			Identity: []*iam.Policy{iam.MustParse(assumeAny)},
		}),
		sim.AddRole(awssim.Role{ARN: roleARN, Trust: iam.MustParse(trustPolicy), Identity: []*iam.Policy{iam.MustParse(permissions)}}),
		sim.AddKey(awssim.Key{ARN: keyARN, Policy: iam.MustParse(keyPolicy)}),
		sim.AddBucket(awssim.Bucket{Name: bucket, Account: account, Region: region}),
	); err != nil {
		t.Fatal(err)
	}
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if form, _ := url.ParseQuery(string(body)); form.Get("Action") == "AssumeRole" {
				w.mu.Lock()
				w.assumed = append(w.assumed, form)
				w.mu.Unlock()
			}
		}
		sim.Handler().ServeHTTP(rw, r)
	})
	return w
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := newSim(t)
	w.url = serve(t, w.handler)
	return w
}

// serve serves h until the test ends, which must leave nothing running, and
// returns where.
func serve(t testing.TB, h http.Handler) (url string) {
	t.Helper()
	leaktest.Check(t)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func (w *world) config() Config {
	return Config{
		AWS: aws.Config{
			Region:       region,
			BaseEndpoint: &w.url,
			Credentials:  credentials.NewStaticCredentialsProvider(userKey, userToken, ""),
		},
		Namespace: auditdrain.DefaultNamespace,
	}
}

func (w *world) client(t testing.TB, change ...func(*Config)) *Client {
	t.Helper()
	cfg := w.config()
	for _, f := range change {
		f(&cfg)
	}
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

func (w *world) open(t testing.TB, change ...func(*auditdrain.Delivery)) *Destination {
	t.Helper()
	return mustOpen(t, w.client(t), change...)
}

func drain(change ...func(*auditdrain.Delivery)) auditdrain.Drain {
	d := auditdrain.Drain{ID: drainID, TeamID: teamID, Delivery: auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://" + bucket + "/audit-logs", Encoding: "json", RoleARN: roleARN, Region: region,
	}.WithDefaults()}
	for _, f := range change {
		f(&d.Delivery)
	}
	return d
}

func mustOpen(t testing.TB, c *Client, change ...func(*auditdrain.Delivery)) *Destination {
	t.Helper()
	d := drain(change...)
	if problems := d.Delivery.Validate(PartitionOf); problems != nil {
		t.Fatalf("delivery is not valid: %+v", problems)
	}
	dest, err := c.Open(d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dest.Close)
	return dest
}

func event(id string) auditdrain.Event {
	return auditdrain.Event{ID: id, Timestamp: 1779444000123, Body: []byte(`{"id":"` + id + `","n":12345678901234567890}`)}
}

func mustPut(t testing.TB, d *Destination, e auditdrain.Event) auditdrain.PutResult {
	t.Helper()
	put, err := d.Put(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return put
}

// classOf is the class of an error, which must be an *Error.
func classOf(t testing.TB, err error) auditdrain.FailureClass {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T: %v, want an *Error", err, err)
	}
	return e.Class()
}

// putError makes a Put that must fail.
func putError(t testing.TB, ctx context.Context, d *Destination) *Error {
	t.Helper()
	put, err := d.Put(ctx, event("uev_1"))
	if err == nil {
		t.Fatalf("Put succeeded: %+v", put)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Put: %T, want *Error: %v", err, err)
	}
	return e
}

func (w *world) object(t testing.TB, bucket, key string) (awssim.Object, string) {
	t.Helper()
	o, ok, err := w.Object(bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		all, _ := w.Objects(bucket)
		t.Fatalf("no object %s in %s, which has %+v", key, bucket, all)
	}
	body, err := o.Read()
	if err != nil {
		t.Fatal(err)
	}
	return o, string(body)
}

// fault has f go wrong with every call of an operation, or with the first n.
func (w *world) fault(op string, f awssim.Fault, n ...int64) {
	left := int64(1) << 62
	if n != nil {
		left = n[0]
	}
	var count atomic.Int64
	w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != op || count.Add(1) > left {
			return awssim.Fault{}
		}
		return f
	})
}

func contains(t testing.TB, s string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(s, p) {
			t.Errorf("%q is not in %q", p, s)
		}
	}
}
