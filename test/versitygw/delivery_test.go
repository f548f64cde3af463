package versitygw

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
	"github.com/versity/versitygw/iamapi/types"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

const (
	eventBody = `{"id":"uev_1","n":12345678901234567890}`
	eventKey  = "schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T100000.123Z_uev_1.json"
)

func event(body string) auditdrain.Event {
	return auditdrain.Event{ID: "uev_1", Timestamp: 1779444000123, Body: []byte(body)}
}

// client is ours, as `auditdrain serve` makes it.
func (g *gateway) client(t *testing.T) *s3.Client {
	t.Helper()
	return g.clientVia(t, g.s3URL, 0)
}

// clientVia is the same with another way to S3, and a timeout of PUTs.
func (g *gateway) clientVia(t *testing.T, s3URL string, putTimeout time.Duration) *s3.Client {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": s3URL, "AWS_ENDPOINT_URL_STS": g.sts.url, "AWS_REGION": region,
		"AWS_ACCESS_KEY_ID": userKey, "AWS_SECRET_ACCESS_KEY": userSecret,
	} {
		t.Setenv(name, value)
	}
	cfg, err := s3.LoadConfig(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	c := s3.New(s3.Config{AWS: cfg, Namespace: auditdrain.DefaultNamespace, WriterRoleARN: writerARN, PutTimeout: putTimeout})
	t.Cleanup(c.Close)
	return c
}

func newDrain(endpoint string) auditdrain.Drain {
	d := auditdrain.Drain{TeamID: "team_demo", Delivery: auditdrain.Delivery{
		Type: "s3", Endpoint: endpoint, Encoding: "json", Region: region,
	}.WithDefaults()}
	bucket, _ := d.Delivery.SplitEndpoint()
	d.ID = "drn_" + bucket
	d.Delivery.RoleARN = "arn:aws:iam::" + account + ":role/writer-of-" + bucket
	return d
}

// setUp makes what a customer makes for a drain: the bucket, and the role with
// the policies that we give to customers.
func (g *gateway) setUp(t *testing.T, d auditdrain.Drain) {
	t.Helper()
	bucket, _ := d.Delivery.SplitEndpoint()
	g.addBucket(t, bucket)
	g.sts.addRole(t, d.Delivery.RoleARN, trust(d), iam.GrantFor(d.Delivery).PermissionsPolicy())
}

func trust(d auditdrain.Drain) string {
	return iam.Grant{WriterRoleARN: writerARN, ExternalID: auditdrain.DefaultNamespace.ExternalID(d.TeamID)}.TrustPolicy()
}

func open(t *testing.T, c *s3.Client, d auditdrain.Drain) *s3.Destination {
	t.Helper()
	if problems := d.Delivery.Validate(s3.PartitionOf); problems != nil {
		t.Fatalf("delivery is not valid: %+v", problems)
	}
	dest, err := c.Open(d, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dest.Close)
	return dest
}

func TestDelivery(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	for _, tt := range []struct {
		endpoint, encoding, key, body, contentType string
	}{
		{"s3://json-root", "json", eventKey, eventBody, "application/json"},
		{"s3://json-prefix/audit/logs", "json", "audit/logs/" + eventKey, eventBody, "application/json"},
		{"s3://ndjson-root", "ndjson", eventKey + "l", eventBody + "\n", "application/x-ndjson"},
		{"s3://ndjson-prefix/audit-logs", "ndjson", "audit-logs/" + eventKey + "l", eventBody + "\n", "application/x-ndjson"},
	} {
		t.Run(tt.endpoint, func(t *testing.T) {
			d := newDrain(tt.endpoint)
			d.Delivery.Encoding = tt.encoding
			g.setUp(t, d)
			put, err := open(t, c, d).Put(t.Context(), event(eventBody))
			if err != nil {
				t.Fatal(err)
			}
			if want := (auditdrain.PutResult{Key: tt.key}); put != want {
				t.Errorf("result %+v, want %+v", put, want)
			}
			bucket, prefix := d.Delivery.SplitEndpoint()
			head, err := g.admin.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &tt.key, ChecksumMode: s3types.ChecksumModeEnabled})
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(tt.body))
			if got, want := aws.ToString(head.ChecksumSHA256), base64.StdEncoding.EncodeToString(sum[:]); got != want {
				t.Errorf("the store has kept checksum %q, want %q", got, want)
			}
			if got := aws.ToString(head.ContentType); got != tt.contentType {
				t.Errorf("Content-Type %q, want %q", got, tt.contentType)
			}

			key, steps, err := c.Test(t.Context(), d, event(eventBody))
			if err != nil {
				t.Fatalf("test delivery: %v (%+v)", err, steps)
			}
			testKey := strings.TrimPrefix(prefix+"/test/", "/") + strings.TrimPrefix(tt.key, prefix+"/")
			if key != testKey {
				t.Errorf("test delivery to %s, want %s", key, testKey)
			}
			if diff := cmp.Diff(map[string]string{tt.key: tt.body, testKey: tt.body}, g.objects(t, bucket)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExtremes writes the longest key and the largest body that there can be:
// no event can be one that a store refuses for its own sake.
func TestExtremes(t *testing.T) {
	g := startGateway(t)
	folder := strings.Repeat("é", 85) // names of files and folders have at most 255 bytes
	d := newDrain("s3://extremes/" + folder + "/" + folder + "/" + folder)
	if _, prefix := d.Delivery.SplitEndpoint(); len(prefix) != auditdrain.MaxPrefixLen {
		t.Fatalf("a prefix of %d bytes", len(prefix))
	}
	g.setUp(t, d)
	c := g.client(t)
	want := map[string]string{}
	for _, e := range []auditdrain.Event{
		{ID: ".", Timestamp: auditdrain.MinTimestamp.UnixMilli(), Body: []byte("{}")},
		{ID: strings.Repeat("-", auditdrain.MaxEventIDLen), Timestamp: 1779444000123, Body: []byte(`{"x":"` + strings.Repeat("x", auditdrain.MaxEventBytes-8) + `"}`)},
	} {
		put, err := open(t, c, d).Put(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		key, _, err := c.Test(t.Context(), d, e)
		if err != nil {
			t.Fatal(err)
		}
		want[put.Key], want[key] = string(e.Body), string(e.Body)
	}
	if diff := cmp.Diff(want, g.objects(t, "extremes")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	elsewhere := newDrain("s3://elsewhere").Delivery
	for _, tt := range []struct {
		name  string
		drain func(*auditdrain.Drain)
		// role returns the role's permissions; nil for those that a customer
		// would give it.
		role    func(auditdrain.Drain) string
		session func(*types.Session) // what versitygw is told otherwise
		bucket  func(t *testing.T, name string)

		operation, code, message string
		status                   int
		class                    auditdrain.FailureClass
	}{
		{
			name:      "external-id",
			drain:     func(d *auditdrain.Drain) { d.TeamID = "team_other" },
			operation: "AssumeRole", status: 403, code: "AccessDenied", class: auditdrain.Blocked,
			message: "is not authorized to perform: sts:AssumeRole",
		},
		{
			name:   "identity-policy",
			role:   func(auditdrain.Drain) string { return iam.GrantFor(elsewhere).PermissionsPolicy() },
			status: 403, code: "AccessDenied", class: auditdrain.Blocked,
			message: "because no identity-based policy allows the s3:PutObject action",
		},
		{
			name: "identity-policy-deny",
			role: func(auditdrain.Drain) string {
				return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}, {"Effect": "Deny", "Action": "s3:Put*", "Resource": "*"}]}`
			},
			status: 403, code: "AccessDenied", class: auditdrain.Blocked,
			message: "with an explicit deny in an identity-based policy",
		},
		{
			// versitygw does not say that it was the session's policy, which
			// AWS does (see the package documentation of awssim).
			name:    "session-policy",
			session: func(s *types.Session) { s.Policy = iam.GrantFor(elsewhere).SessionPolicy() },
			status:  403, code: "AccessDenied", class: auditdrain.Blocked,
			message: "because no identity-based policy allows the s3:PutObject action",
		},
		{
			name: "bucket-policy",
			bucket: func(t *testing.T, name string) {
				g.setBucketPolicy(t, name, `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::`+name+`/*"}]}`)
			},
			status: 403, code: "AccessDenied", class: auditdrain.Blocked,
			message: "with an explicit deny in a resource-based policy",
		},
		{
			name: "missing-bucket",
			bucket: func(t *testing.T, name string) {
				if _, err := g.admin.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &name}); err != nil {
					t.Fatal(err)
				}
			},
			status: 404, code: "NoSuchBucket", class: auditdrain.Blocked, message: "The specified bucket does not exist",
		},
		{
			// The drain's role is of another account than the bucket, whose
			// policy would let it write.
			name:  "other-account",
			drain: func(d *auditdrain.Drain) { d.Delivery.RoleARN = "arn:aws:iam::111122223333:role/other-account" },
			bucket: func(t *testing.T, name string) {
				g.setBucketPolicy(t, name, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::`+name+`/*"}]}`)
			},
			status: 403, code: "AccessDenied", class: auditdrain.Blocked, message: "Access Denied",
		},
		{
			name:   "wrong-region",
			drain:  func(d *auditdrain.Drain) { d.Delivery.Region = "eu-central-1" },
			status: 400, code: "AuthorizationHeaderMalformed", class: auditdrain.Blocked, message: "is wrong; expecting",
		},
		{
			name:    "wrong-secret",
			session: func(s *types.Session) { s.SecretAccessKey += "x" },
			status:  403, code: "SignatureDoesNotMatch", class: auditdrain.Blocked, message: "does not match the signature you provided",
		},
		{
			name:    "wrong-token",
			session: func(s *types.Session) { s.SessionToken += "x" },
			status:  400, code: "InvalidToken", class: auditdrain.Blocked, message: "The provided token is malformed or otherwise invalid",
		},
		{
			name:    "unknown-session",
			session: func(s *types.Session) { s.AccessKeyId += "X" },
			status:  403, code: "InvalidAccessKeyId", class: auditdrain.Blocked, message: "does not exist in our records",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDrain("s3://" + tt.name + "/audit-logs")
			g.addBucket(t, tt.name)
			trustPolicy := trust(d)
			if tt.drain != nil {
				tt.drain(&d)
			}
			permissions := iam.GrantFor(d.Delivery).PermissionsPolicy()
			if tt.role != nil {
				permissions = tt.role(d)
			}
			g.sts.addRole(t, d.Delivery.RoleARN, trustPolicy, permissions)
			if tt.bucket != nil {
				tt.bucket(t, tt.name)
			}
			g.sts.tellOtherwise(tt.session)
			t.Cleanup(func() { g.sts.tellOtherwise(nil) })

			put, err := open(t, c, d).Put(t.Context(), event(eventBody))
			e, ok := errors.AsType[*s3.Error](err)
			if !ok {
				t.Fatalf("Put: %+v, %v; want an *s3.Error", put, err)
			}
			a := e.AWSAnswer()
			if tt.operation == "" {
				tt.operation = "PutObject"
			}
			if a.Operation != tt.operation || a.HTTPStatus != tt.status || a.Code != tt.code || e.Class() != tt.class {
				t.Errorf("%s: %d %s (%v), want %s: %d %s (%v)", a.Operation, a.HTTPStatus, a.Code, e.Class(), tt.operation, tt.status, tt.code, tt.class)
			}
			if !strings.Contains(a.Message, tt.message) {
				t.Errorf("message %q, want %q in it", a.Message, tt.message)
			}
			if a.RequestID == "" {
				t.Error("no request ID")
			}
			for _, s := range g.sts.assumed() {
				if strings.Contains(a.Body, s.SessionToken) || strings.Contains(a.Body, s.SecretAccessKey) {
					t.Errorf("a secret is in %s", a.Body)
				}
			}
			if tt.name == "missing-bucket" {
				return
			}
			if objects := g.objects(t, tt.name); len(objects) != 0 {
				t.Errorf("refused, and yet there are objects: %v", objects)
			}
		})
	}
}

func (g *gateway) setBucketPolicy(t *testing.T, bucket, policy string) {
	t.Helper()
	if _, err := g.admin.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// A session that the store no longer knows is replaced at once, in the same
// Put.
func TestSessionGone(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://session-gone")
	g.setUp(t, d)
	var first sync.Once
	g.sts.tellOtherwise(func(s *types.Session) { first.Do(func() { s.Expiration = time.Now().Add(-time.Minute) }) })
	if _, err := open(t, c, d).Put(t.Context(), event(eventBody)); err != nil {
		t.Fatal(err)
	}
	if n := len(g.sts.assumed()); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// Whatever the role may do, a session of ours can write the drain's objects
// and nothing else.
func TestSessionCanDoNoMore(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://session/audit-logs")
	g.addBucket(t, "session")
	g.sts.addRole(t, d.Delivery.RoleARN, trust(d), `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}`)
	if _, err := open(t, c, d).Put(t.Context(), event(eventBody)); err != nil {
		t.Fatal(err)
	}

	client := g.as(g.sts.assumed()[0])
	bucket, key := aws.String("session"), aws.String("audit-logs/"+eventKey)
	calls := map[string]func() error{
		"read": func() error {
			_, err := client.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: bucket, Key: key})
			return err
		},
		"delete": func() error {
			_, err := client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: bucket, Key: key})
			return err
		},
		"list": func() error {
			_, err := client.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("audit-logs/")})
			return err
		},
		"write elsewhere": func() error {
			_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: bucket, Key: aws.String("audit-logs-too/x"), Body: strings.NewReader("x")})
			return err
		},
		"give itself more": func() error {
			_, err := client.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String("{}")})
			return err
		},
	}
	for name, call := range calls {
		wantCode(t, name, call(), 403, "AccessDenied")
	}
	if diff := cmp.Diff(map[string]string{*key: eventBody}, g.objects(t, "session")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// as is a client that acts in a session.
func (g *gateway) as(s types.Session) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: &g.s3URL, Region: region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKeyId, s.SecretAccessKey, s.SessionToken),
	})
}

func wantCode(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	re, _ := errors.AsType[*smithyhttp.ResponseError](err)
	ae, ok := errors.AsType[smithy.APIError](err)
	if re == nil || !ok || re.HTTPStatusCode() != status || ae.ErrorCode() != code {
		t.Errorf("%s: %v, want %d %s", what, err, status, code)
	}
}

// What is there is not written again, by whomever.
func TestConditionalWrite(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://conditional")
	g.setUp(t, d)
	for i, body := range []string{eventBody, eventBody, `{"id":"uev_1","forged":true}`} {
		put, err := open(t, c, d).Put(t.Context(), event(body))
		if err != nil {
			t.Fatal(err)
		}
		if want := (auditdrain.PutResult{Key: eventKey, Existed: i > 0}); put != want {
			t.Errorf("write %d: %+v, want %+v", i, put, want)
		}
	}
	if diff := cmp.Diff(map[string]string{eventKey: eventBody}, g.objects(t, "conditional")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// Of many writers of one key one wins, and its bytes are the object's.
func TestConditionalWriteRace(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://race")
	g.setUp(t, d)
	dest := open(t, c, d)
	for round := range 5 {
		var mu sync.Mutex
		var winners []string
		var wg sync.WaitGroup
		e := auditdrain.Event{ID: fmt.Sprint("uev_", round), Timestamp: 1779444000123}
		for i := range 32 {
			wg.Go(func() {
				e := e
				e.Body = []byte(strings.Repeat(fmt.Sprintf("%02d", i), 2000))
				put, err := dest.Put(t.Context(), e)
				if err != nil {
					t.Errorf("round %d: %v", round, err)
					return
				}
				if !put.Existed {
					mu.Lock()
					defer mu.Unlock()
					winners = append(winners, string(e.Body))
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d: %d writes succeeded", round, len(winners))
		}
		if got := g.objects(t, "race")[d.Delivery.ObjectKey(e, false)]; got != winners[0] {
			t.Errorf("round %d: the object is not the winner's", round)
		}
	}
}

// A checksum that does not fit is refused, and so is a body that does not fit
// the signature: the store does look at both.
func TestChecksums(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://checksums")
	g.setUp(t, d)
	if _, err := open(t, c, d).Put(t.Context(), event(eventBody)); err != nil { // for the session
		t.Fatal(err)
	}
	client := g.as(g.sts.assumed()[0])
	wrong := sha256.Sum256([]byte("something else"))
	_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: aws.String("checksums"), Key: aws.String("wrong-checksum"), Body: strings.NewReader(eventBody),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(wrong[:])),
	})
	wantCode(t, "wrong checksum", err, 400, "BadDigest")

	// Changed on its way: as many bytes, after the signature was made.
	client = awss3.New(client.Options(), func(o *awss3.Options) {
		o.HTTPClient = &http.Client{Transport: changed{}}
	})
	_, err = client.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: aws.String("checksums"), Key: aws.String("changed"), Body: strings.NewReader(eventBody),
	})
	wantCode(t, "changed body", err, 400, "XAmzContentSHA256Mismatch")

	if diff := cmp.Diff(map[string]string{eventKey: eventBody}, g.objects(t, "checksums")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// changed sends other bytes than it is given.
type changed struct{}

func (changed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", int(r.ContentLength))))
	return http.DefaultTransport.RoundTrip(r)
}
