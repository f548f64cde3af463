package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

func TestAssumeRole(t *testing.T) {
	w := newWorld(t)
	mustPut(t, w.open(t), event("uev_1"))
	want := []url.Values{{
		"Action":          {"AssumeRole"},
		"Version":         {"2011-06-15"},
		"RoleArn":         {roleARN},
		"RoleSessionName": {"auditdrain-drn_1"},
		"ExternalId":      {"vercel-team:team_demo"},
		"DurationSeconds": {"3600"},
		"Policy": {`{"Version":"2012-10-17","Statement":[` +
			`{"Effect":"Allow","Action":["s3:PutObject"],"Resource":"arn:aws:s3:::acme-audit-archive/audit-logs/*"},` +
			`{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*",` +
			`"Condition":{"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}}]}`},
	}}
	if d := cmp.Diff(want, w.assumed); d != "" {
		t.Errorf("AssumeRole (-want +got):\n%s", d)
	}
}

func TestSessionPolicy(t *testing.T) {
	policy := func(actions, resource, via string) string {
		return `{"Version":"2012-10-17","Statement":[` +
			`{"Effect":"Allow","Action":[` + actions + `],"Resource":"` + resource + `"},` +
			`{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*",` +
			`"Condition":{"StringEquals":{"kms:ViaService":"` + via + `"}}}]}`
	}
	const put, putACL = `"s3:PutObject"`, `"s3:PutObject","s3:PutObjectAcl"`
	tests := []struct{ endpoint, region, acl, want string }{
		{"s3://b/p", "us-east-1", "", policy(put, "arn:aws:s3:::b/p/*", "s3.us-east-1.amazonaws.com")},
		{"s3://b", "us-east-1", "", policy(put, "arn:aws:s3:::b/*", "s3.us-east-1.amazonaws.com")},
		{"s3://b/p/q", "eu-west-1", "bucket-owner-full-control", policy(putACL, "arn:aws:s3:::b/p/q/*", "s3.eu-west-1.amazonaws.com")},
		{"s3://b", "cn-north-1", "private", policy(putACL, "arn:aws-cn:s3:::b/*", "s3.cn-north-1.amazonaws.com.cn")},
		{"s3://b/p", "us-gov-west-1", "", policy(put, "arn:aws-us-gov:s3:::b/p/*", "s3.us-gov-west-1.amazonaws.com")},
		{"s3://b/p", "eusc-de-east-1", "", policy(put, "arn:aws-eusc:s3:::b/p/*", "s3.eusc-de-east-1.amazonaws.eu")},
		{`s3://b/"<é&ж🪵`, "us-east-1", "", policy(put, `arn:aws:s3:::b/\"<é&\u0436\ud83e\udeb5/*`, "s3.us-east-1.amazonaws.com")},
	}
	for _, tt := range tests {
		got := iam.GrantFor(auditdrain.Delivery{Endpoint: tt.endpoint, Region: tt.region, ObjectACL: tt.acl}).SessionPolicy()
		if got != tt.want {
			t.Errorf("%s in %s:\n got %s\nwant %s", tt.endpoint, tt.region, got, tt.want)
		}
	}
}

// AssumeRole takes a policy of at most 2,048 characters, none beyond U+00FF.
func TestSessionPolicyLimits(t *testing.T) {
	for _, unit := range []string{"a", "ж", "日", "🪵", `"`, `\`, "&", "é"} {
		prefix := strings.Repeat(unit, auditdrain.MaxPrefixLen/len(unit))
		d := drain(func(d *auditdrain.Delivery) {
			d.Endpoint = "s3://" + strings.Repeat("b", 63) + "/" + prefix
			d.Region, d.ObjectACL = "ap-southeast-1", "bucket-owner-full-control"
		}).Delivery
		if problems := d.Validate(PartitionOf); problems != nil {
			t.Fatalf("%q: %+v", unit, problems)
		}
		policy := iam.GrantFor(d).SessionPolicy()
		if n := len([]rune(policy)); n > 2048 {
			t.Errorf("prefix of %q: %d characters", unit, n)
		}
		for _, r := range policy {
			if r > 0xFF {
				t.Errorf("prefix of %q: %q is in the policy", unit, r)
				break
			}
		}
		var doc struct{ Statement []struct{ Resource string } }
		if err := json.Unmarshal([]byte(policy), &doc); err != nil {
			t.Fatal(err)
		}
		if got, want := doc.Statement[0].Resource, "arn:aws:s3:::"+strings.Repeat("b", 63)+"/"+prefix+"/*"; got != want {
			t.Errorf("resource %q, want %q", got, want)
		}
	}
}

// The role may do anything, a session only what its policy says.
func TestSessionPolicyIsEffective(t *testing.T) {
	w := newWorld(t)
	w.UpdateBucket(bucket, func(b *awssim.Bucket) { b.Ownership = awssim.ObjectWriter })
	if err := w.AddBucket(awssim.Bucket{Name: "acme-other", Account: account, Region: region}); err != nil {
		t.Fatal(err)
	}
	d := w.open(t)
	key := mustPut(t, d, event("uev_1")).Key
	creds, err := d.session.credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := awss3.New(awss3.Options{
		Region: region, BaseEndpoint: &w.url, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }),
	})
	put := func(bucket, key string, acl types.ObjectCannedACL) error {
		_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, ACL: acl, Body: strings.NewReader("x")})
		return err
	}
	name := bucket
	for what, do := range map[string]func() error{
		"get": func() error {
			_, err := client.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &name, Key: &key})
			return err
		},
		"list": func() error {
			_, err := client.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &name})
			return err
		},
		"delete": func() error {
			_, err := client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &name, Key: &key})
			return err
		},
		"write at the root":          func() error { return put(bucket, "x", "") },
		"write beside the prefix":    func() error { return put(bucket, "audit-logs2/x", "") },
		"write above the prefix":     func() error { return put(bucket, "audit-logs", "") },
		"write to another bucket":    func() error { return put("acme-other", "audit-logs/x", "") },
		"set an ACL, without having": func() error { return put(bucket, "audit-logs/x", types.ObjectCannedACLBucketOwnerRead) },
	} {
		err := do()
		api, ok := errors.AsType[smithy.APIError](err)
		if !ok || api.ErrorCode() != "AccessDenied" || !strings.Contains(api.ErrorMessage(), "because no session policy allows") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := put(bucket, "audit-logs/x", ""); err != nil {
		t.Errorf("write under the prefix: %v", err)
	}
}

func writerRole(c *Config) { c.WriterRoleARN = writerARN }

func TestWriterRole(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, writerRole)
	mustPut(t, mustOpen(t, c), event("uev_1"))
	wantWriter := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"},
		"RoleArn": {writerARN}, "RoleSessionName": {"auditdrain"}, "DurationSeconds": {"3600"},
	}
	if len(w.assumed) != 2 {
		t.Fatalf("%d roles assumed, want 2", len(w.assumed))
	}
	if d := cmp.Diff(wantWriter, w.assumed[0]); d != "" {
		t.Errorf("AssumeRole of the writer role (-want +got):\n%s", d)
	}
	const session = "arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain"
	if got := w.calls.All("AssumeRole")[1].Caller; got != session || w.assumed[1].Get("RoleArn") != roleARN {
		t.Errorf("%s assumed %s", got, w.assumed[1].Get("RoleArn"))
	}

	// One session of the writer role for all drains, and for asking who we are.
	var wg sync.WaitGroup
	for i := range 10 {
		d := drain()
		d.ID = fmt.Sprint("drn_", i)
		wg.Go(func() {
			dest, err := c.Open(d, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := dest.Put(t.Context(), event(fmt.Sprint("uev_", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if arn, err := c.CallerARN(t.Context()); err != nil || arn != session {
			t.Errorf("CallerARN = %q, %v, want %s", arn, err, session)
		}
	}
	if n := len(w.assumed); n != 12 {
		t.Errorf("%d roles assumed, want 1 + 11", n)
	}
	if n := len(w.calls.All("GetCallerIdentity")); n != 2 { // before the writer role was assumed, and now
		t.Errorf("%d GetCallerIdentity, want 2", n)
	}
}

func TestWriterRoleIsWhatWeRunAs(t *testing.T) {
	w := newWorld(t)
	own, err := w.RoleSession(writerARN, "i-1234567890", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := w.client(t, writerRole, func(c *Config) {
		c.AWS.Credentials = credentials.NewStaticCredentialsProvider(own.AccessKeyID, own.SecretKey, own.SessionToken)
	})
	mustPut(t, mustOpen(t, c), event("uev_1"))
	if d := cmp.Diff([]string{"GetCallerIdentity ", "AssumeRole ", "PutObject "}, w.codes()); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

func TestWriterRoleRefused(t *testing.T) {
	w := newWorld(t)
	w.UpdateRole(writerARN, func(r *awssim.Role) { r.Trust = nil })
	c := w.client(t, writerRole)
	check := func(err error) {
		t.Helper()
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%v, want *Error", err)
		}
		a := e.Answer
		if a.Operation != "AssumeRole" || a.RoleARN != writerARN || a.CallerARN != userARN || a.Code != "AccessDenied" || a.RequestID == "" || e.Class() != auditdrain.Blocked {
			t.Errorf("answer %+v, %v", a, e.Class())
		}
		contains(t, e.Error(), "AssumeRole of "+writerARN)
	}
	check(putError(t, t.Context(), mustOpen(t, c)))
	_, err := c.CallerARN(t.Context())
	check(err)

	// It resumes by itself.
	mended := newSim(t)
	w.UpdateRole(writerARN, func(r *awssim.Role) {
		mended.UpdateRole(writerARN, func(good *awssim.Role) { r.Trust = good.Trust })
	})
	mustPut(t, mustOpen(t, c), event("uev_1"))

	// And what passes by itself is not taken for a refusal.
	w.fault("AssumeRole", awssim.Fault{Err: awssim.Throttling()})
	if e := putError(t, t.Context(), mustOpen(t, w.client(t, writerRole))); e.Class() != auditdrain.Throttled || e.Answer.RoleARN != writerARN {
		t.Errorf("%v (%v)", e, e.Class())
	}
}

// A session of the writer role that AWS finds expired, by its clock or
// because it was revoked, is replaced at once.
func TestWriterSessionExpired(t *testing.T) {
	w := newWorld(t)
	c := w.client(t, writerRole)
	mustPut(t, mustOpen(t, c), event("uev_1"))
	expired := &awssim.Error{Status: 403, Code: "ExpiredToken", Message: "The security token included in the request is expired"}
	w.fault("AssumeRole", awssim.Fault{Err: expired}, 1)
	before := len(w.codes())
	mustPut(t, mustOpen(t, c), event("uev_2"))
	want := []string{"AssumeRole ExpiredToken", "GetCallerIdentity ", "AssumeRole ", "AssumeRole ", "PutObject "}
	if d := cmp.Diff(want, w.codes()[before:]); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}

	// Our own credentials are looked for anew.
	cached := 0
	c = w.client(t, func(c *Config) {
		static := c.AWS.Credentials
		c.AWS.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			cached++
			return static.Retrieve(ctx)
		}))
	})
	w.fault("AssumeRole", awssim.Fault{Err: expired}, 1)
	mustPut(t, mustOpen(t, c), event("uev_3"))
	if cached != 2 {
		t.Errorf("credentials were looked for %d times, want 2", cached)
	}
	w.fault("AssumeRole", awssim.Fault{Err: expired})
	if e := putError(t, t.Context(), mustOpen(t, c)); e.Class() != auditdrain.Transient {
		t.Errorf("%v (%v), want transient", e, e.Class())
	}
}

func TestNoCredentials(t *testing.T) {
	w := newWorld(t)
	for _, provider := range []aws.CredentialsProvider{
		nil,
		aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("no instance role")
		}),
	} {
		for _, change := range []func(*Config){func(*Config) {}, writerRole} {
			c := w.client(t, change, func(c *Config) { c.AWS.Credentials = provider })
			e := putError(t, t.Context(), mustOpen(t, c))
			if e.Answer.Service != "sts" || e.Answer.HTTPStatus != 0 || e.Class() != auditdrain.Transient {
				t.Errorf("answer %+v (%v)", e.Answer, e.Class())
			}
			contains(t, e.Error(), "sts AssumeRole of arn:", ": not sent: our own AWS credentials could not be had: no ")
		}
	}
	if n := len(w.calls.All("")); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestCallerARN(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	w.fault("GetCallerIdentity", awssim.Fault{Err: awssim.InternalError()}, 1)
	if arn, err := c.CallerARN(t.Context()); classOf(t, err) != auditdrain.Transient || arn != "" {
		t.Errorf("CallerARN = %q, %v", arn, err)
	}
	for range 2 {
		if arn, err := c.CallerARN(t.Context()); err != nil || arn != userARN {
			t.Errorf("CallerARN = %q, %v", arn, err)
		}
	}
	if n := len(w.calls.All("GetCallerIdentity")); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

func TestRoleOf(t *testing.T) {
	for in, want := range map[string]string{
		"arn:aws:sts::123456789012:assumed-role/writer/auditdrain":    "arn:aws:iam::123456789012:role/writer",
		"arn:aws-cn:sts::123456789012:assumed-role/writer/i-0123:456": "arn:aws-cn:iam::123456789012:role/writer",
		userARN: userARN,
		"arn:aws:sts::123456789012:federated-user/x": "arn:aws:sts::123456789012:federated-user/x",
		"arn:aws:iam::123456789012:root":             "arn:aws:iam::123456789012:root",
		"arn:aws:sts::1:assumed-role":                "arn:aws:sts::1:assumed-role",
		"":                                           "",
	} {
		if got := RoleOf(in); got != want {
			t.Errorf("RoleOf(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSameRole(t *testing.T) {
	tests := []struct {
		caller, role string
		want         bool
	}{
		{"arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/x", writerARN, true},
		{"arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer2/x", writerARN, false},
		{"arn:aws:sts::977805900157:assumed-role/vercel-drains-s3-writer/x", writerARN, false},
		{"arn:aws-cn:sts::977805900156:assumed-role/vercel-drains-s3-writer/x", writerARN, false},
		{userARN, writerARN, false},
		{"", writerARN, false},
		{"arn:aws:sts::1:assumed-role/x/y", "nonsense", false},
	}
	for _, tt := range tests {
		if got := sameRole(tt.caller, tt.role); got != tt.want {
			t.Errorf("sameRole(%s, %s) = %t", tt.caller, tt.role, got)
		}
	}
}

func TestSTSRegion(t *testing.T) {
	tests := []struct{ ours, bucket, want string }{
		{"us-east-1", "eu-west-1", "us-east-1"},
		{"", "eu-west-1", "eu-west-1"},
		{"us-east-1", "cn-north-1", "cn-north-1"},
		{"us-gov-west-1", "us-gov-east-1", "us-gov-west-1"},
		{"us-gov-west-1", "us-west-1", "us-west-1"},
	}
	for _, tt := range tests {
		c := New(Config{AWS: aws.Config{Region: tt.ours}})
		if got := c.stsRegion(tt.bucket); got != tt.want {
			t.Errorf("from %q, for a bucket in %s: %s, want %s", tt.ours, tt.bucket, got, tt.want)
		}
	}
}
