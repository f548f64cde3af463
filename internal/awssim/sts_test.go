package awssim_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Every row of "How AWS refuses" that is STS's.
func TestSTSRefusals(t *testing.T) {
	writer := "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: "
	checkRefusals(t, []refusal{
		{
			name: "AssumeRole: principal not trusted", form: url.Values{},
			world: role(func(r *awssim.Role) {
				r.Trust = iam.MustParse(strings.ReplaceAll(trustPolicy, writerARN, "arn:aws:iam::977805900156:role/other"))
			}),
			status: 403, code: "AccessDenied",
			message: writer + roleARN,
		},
		{
			name: "AssumeRole: external ID not trusted", form: url.Values{"ExternalId": {"vercel-team:other"}},
			status: 403, code: "AccessDenied",
			message: writer + roleARN,
		},
		{
			name: "AssumeRole: no external ID", form: url.Values{"ExternalId": nil},
			status: 403, code: "AccessDenied",
			message: writer + roleARN,
		},
		{
			name: "AssumeRole: role does not exist", form: url.Values{"RoleArn": {"arn:aws:iam::111122223333:role/none"}},
			status: 403, code: "AccessDenied",
			message: writer + "arn:aws:iam::111122223333:role/none",
		},
		{
			name: "AssumeRole: not trusted, within an organization", form: url.Values{"ExternalId": {"vercel-team:other"}},
			world: func(w *world) {
				w.UpdateAccount(writerAccount, func(a *awssim.Account) { a.Organization = "o-1" })
				w.UpdateAccount(customerAccount, func(a *awssim.Account) { a.Organization = "o-1" })
			},
			status: 403, code: "AccessDenied",
			message: writer + roleARN +
				" because no role trust policy allows the sts:AssumeRole action",
		},
		{
			name: "AssumeRole: writer's own policy does not allow", form: url.Values{},
			world:  func(w *world) { w.UpdateRole(writerARN, func(r *awssim.Role) { r.Identity = nil }) },
			status: 403, code: "AccessDenied",
			message: writer + roleARN,
		},
		{
			name: "AssumeRole: bad ARN", form: url.Values{"RoleArn": {"arn:aws:iam::1111:role/writer"}},
			status: 400, code: "ValidationError", message: "arn:aws:iam::1111:role/writer is invalid",
		},
		{
			name: "AssumeRole: bad session name", form: url.Values{"RoleSessionName": {"a b"}},
			status: 400, code: "ValidationError",
			message: `1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`,
		},
		{
			name: "AssumeRole: two bad inputs", form: url.Values{"ExternalId": {"x"}, "DurationSeconds": {"899"}},
			status: 400, code: "ValidationError",
			message: "2 validation errors detected: Value 'x' at 'externalId' failed to satisfy constraint: Member must have length greater than or equal to 2; " +
				"Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
		},
		{
			name: "AssumeRole: no session name", form: url.Values{"RoleSessionName": nil},
			status: 400, code: "ValidationError",
			message: "1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "AssumeRole: session policy too long", form: url.Values{"Policy": {strings.Repeat(" ", 2049)}},
			status: 400, code: "ValidationError",
			message: "1 validation error detected: Value '" + strings.Repeat(" ", 2049) + "' at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048",
		},
		{
			name: "AssumeRole: session policy with a principal", form: url.Values{"Policy": {keyPolicy}},
			status: 400, code: "MalformedPolicyDocument", message: "Policy document should not specify a principal.",
		},
		{
			name: "AssumeRole: too long for a chained session", form: url.Values{"DurationSeconds": {"3601"}},
			world:  role(func(r *awssim.Role) { r.MaxSession = 12 * time.Hour }),
			status: 400, code: "ValidationError",
			message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
		},
		{
			name: "STS not active in the region", form: url.Values{},
			world:  account(func(a *awssim.Account) { a.DisabledSTS = []string{region} }),
			status: 403, code: "RegionDisabledException",
			message: "STS is not activated in this region for account:111122223333. Your account administrator can activate STS in this region using the IAM Console.",
		},
		{
			name: "STS: unknown key", form: url.Values{}, attempt: func(a *attempt) { a.creds.AccessKeyID = "ASIAUNKNOWN" },
			status: 403, code: "InvalidClientTokenId", message: "The security token included in the request is invalid.",
		},
		{
			name: "STS: bad signature", form: url.Values{}, attempt: func(a *attempt) { a.creds.SecretKey += "x" },
			status: 403, code: "SignatureDoesNotMatch",
			message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
		},
		{
			name: "STS: body is not what was signed", form: url.Values{},
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) {
					forged := strings.Replace(a.body, "team_demo", "team_evil", 1)
					r.Body = io.NopCloser(strings.NewReader(forged))
				}
			},
			status: 403, code: "SignatureDoesNotMatch",
		},
		{
			name: "STS: throttled", form: url.Values{}, attempt: fault(awssim.Fault{Err: awssim.Throttling()}),
			status: 400, code: "Throttling", message: "Rate exceeded",
		},
		{
			name: "STS: signed for another region than the endpoint's", form: url.Values{},
			attempt: func(a *attempt) { a.host = "sts.us-west-2.amazonaws.com" },
			status:  403, code: "SignatureDoesNotMatch", message: "Credential should be scoped to a valid region. ",
		},
		{
			name: "STS: no date", form: url.Values{},
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }
			},
			status: 400, code: "IncompleteSignature",
		},
		{
			name: "STS: anonymous", form: url.Values{},
			attempt: func(a *attempt) { a.tamper = func(r *http.Request) { r.Header.Del("Authorization") } },
			status:  403, code: "MissingAuthenticationToken", message: "Request is missing Authentication Token",
		},
		{
			name: "STS: unknown action", form: url.Values{"Action": {"Frobnicate"}},
			status: 400, code: "InvalidAction", message: "Could not find operation Frobnicate for version 2011-06-15",
		},
		{
			name: "STS: not simulated", form: url.Values{"PolicyArns.member.1.arn": {"arn:aws:iam::aws:policy/AdministratorAccess"}},
			status: 501, code: "NotImplemented",
		},
	})
}

// A session policy takes away, and it is asked for the key as well.
func TestSessionPolicy(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	creds := w.mustAssume(func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + bucketName + `/audit-logs/here/*"}]}`)
	})
	for key, status := range map[string]int{"audit-logs/here/x": 0, "audit-logs/there/x": 403, "elsewhere": 403} {
		_, err := w.s3(creds).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader("x")})
		if got, _ := code(t, err); got != status {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A role can be assumed for longer than an hour by a user, but not by a
// session.
func TestSessionLength(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.UpdateRole(roleARN, func(r *awssim.Role) {
		r.MaxSession = 2 * time.Hour
		r.Trust = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}]}`)
	})
	in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("x1"), DurationSeconds: aws.Int32(7200)}
	out, err := w.sts(admin).AssumeRole(ctx, in)
	must(t, err)
	if left := time.Until(*out.Credentials.Expiration); left < 119*time.Minute {
		t.Errorf("expires in %s", left)
	}
	in.DurationSeconds = aws.Int32(7201)
	_, err = w.sts(admin).AssumeRole(ctx, in)
	wantCode(t, err, 400, "ValidationError")
	in.DurationSeconds = aws.Int32(3601)
	_, err = w.sts(w.writer()).AssumeRole(ctx, in)
	wantCode(t, err, 403, "AccessDenied") // not trusted now, and so not told about lengths
}
