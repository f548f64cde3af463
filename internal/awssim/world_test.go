package awssim_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

const (
	writerAccount   = "977805900156"
	customerAccount = "111122223333"
	region          = "eu-west-1"
	bucketName      = "acme-audit-archive"
	externalID      = "vercel-team:team_demo"

	writerARN = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	roleARN   = "arn:aws:iam::111122223333:role/drains/vercel-drain-writer"
	keyARN    = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

	customerSession = "arn:aws:sts::111122223333:assumed-role/vercel-drain-writer/auditdrain-drn_1"
	objectKey       = "audit-logs/schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T100000.123Z_uev_1.json"

	trustPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow",
		"Principal": {"AWS": "` + writerARN + `"},
		"Action": "sts:AssumeRole",
		"Condition": {"StringEquals": {"sts:ExternalId": "` + externalID + `"}}
	}]}`
	permissionsPolicy = `{"Version": "2012-10-17", "Statement": [
		{"Sid": "AllowS3Writes", "Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectAcl"],
		 "Resource": "arn:aws:s3:::acme-audit-archive/audit-logs/*"},
		{"Sid": "AllowKmsForS3Writes", "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "` + keyARN + `",
		 "Condition": {"StringEquals": {"kms:CallerAccount": "111122223333", "kms:ViaService": "s3.eu-west-1.amazonaws.com"}}}
	]}`
	keyPolicy = `{"Version": "2012-10-17", "Statement": [{
		"Sid": "AllowVercelDrainRoleToUseKeyViaS3",
		"Effect": "Allow",
		"Principal": {"AWS": "` + roleARN + `"},
		"Action": "kms:GenerateDataKey",
		"Resource": "*",
		"Condition": {"StringEquals": {"kms:CallerAccount": "111122223333", "kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
	}]}`
	adminPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`
)

// world is an AWS with the writer's and one customer's account, as the
// reference document sets them up, and a user who may do anything to the
// latter's objects.
type world struct {
	*awssim.Sim
	t     testing.TB
	dir   string
	url   string
	calls awssim.Calls
}

func newWorld(t testing.TB) *world { return newWorldAt(t, t.TempDir(), nil) }

func newWorldAt(t testing.TB, dir string, clock func() time.Time) *world {
	t.Helper()
	leaktest.Check(t)
	sim, err := awssim.New(awssim.Options{Dir: dir, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Sim: sim, t: t, dir: dir}
	sim.Observe(w.calls.Add)
	must(t,
		sim.AddRole(awssim.Role{ARN: writerARN, Identity: []*iam.Policy{iam.MustParse(
			`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}`)}}),
		sim.AddRole(awssim.Role{
			ARN:      roleARN,
			Trust:    iam.MustParse(trustPolicy),
			Identity: []*iam.Policy{iam.MustParse(permissionsPolicy)},
		}),
		sim.AddUser(awssim.User{
			ARN:         "arn:aws:iam::111122223333:user/admin",
			AccessKeyID: "AKIAADMIN", SecretKey: "admin-secret",
			Identity: []*iam.Policy{iam.MustParse(adminPolicy)},
		}),
		sim.AddKey(awssim.Key{ARN: keyARN, Policy: iam.MustParse(keyPolicy)}),
		sim.AddBucket(awssim.Bucket{Name: bucketName, Account: customerAccount, Region: region}),
	)
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func static(c awssim.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretKey, c.SessionToken)
}

var admin = awssim.Credentials{AccessKeyID: "AKIAADMIN", SecretKey: "admin-secret"}

// writer returns a session of the writer role.
func (w *world) writer() awssim.Credentials {
	w.t.Helper()
	creds, err := w.RoleSession(writerARN, "auditdrain", time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return creds
}

func (w *world) sts(creds awssim.Credentials) *sts.Client {
	return sts.New(sts.Options{
		BaseEndpoint: &w.url, Region: region, Credentials: static(creds), Retryer: aws.NopRetryer{},
	})
}

func (w *world) s3(creds awssim.Credentials, opts ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &w.url, Region: region, Credentials: static(creds), Retryer: aws.NopRetryer{}, UsePathStyle: true,
	}, opts...)
}

// assume assumes the customer's role as the writer does.
func (w *world) assume(change ...func(*sts.AssumeRoleInput)) (awssim.Credentials, error) {
	in := &sts.AssumeRoleInput{
		RoleArn: aws.String(roleARN), RoleSessionName: aws.String("auditdrain-drn_1"), ExternalId: aws.String(externalID),
	}
	for _, f := range change {
		f(in)
	}
	out, err := w.sts(w.writer()).AssumeRole(context.Background(), in)
	if err != nil {
		return awssim.Credentials{}, err
	}
	return awssim.Credentials{
		AccessKeyID:  *out.Credentials.AccessKeyId,
		SecretKey:    *out.Credentials.SecretAccessKey,
		SessionToken: *out.Credentials.SessionToken,
		Expires:      *out.Credentials.Expiration,
	}, nil
}

func (w *world) mustAssume(change ...func(*sts.AssumeRoleInput)) awssim.Credentials {
	w.t.Helper()
	creds, err := w.assume(change...)
	if err != nil {
		w.t.Fatal(err)
	}
	return creds
}

// code returns status and code of an AWS error, 0 and "" for nil, and fails
// the test for anything else.
func code(t *testing.T, err error) (int, string) {
	t.Helper()
	if err == nil {
		return 0, ""
	}
	re, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok {
		t.Fatalf("no answer: %v", err)
	}
	ae, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		t.Fatalf("no AWS error: %v", err)
	}
	return re.HTTPStatusCode(), ae.ErrorCode()
}

func wantCode(t *testing.T, err error, status int, want string) {
	t.Helper()
	if s, c := code(t, err); s != status || c != want {
		t.Errorf("answered %d %s, want %d %s (%v)", s, c, status, want, err)
	}
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
