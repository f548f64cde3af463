package diagnose_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	. "github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// breakage is one thing that is wrong in a world that works otherwise.
type breakage struct {
	name   string
	kms    bool // the bucket encrypts with a customer managed key
	root   bool // the endpoint has no prefix
	broken func(w *world)

	cause CauseCode
	who   Actor
	says  []string // in text, fix or change of the first cause
	// shared: no harmless call can tell this from what is named first; it has
	// to be among the causes.
	shared bool
}

type (
	CauseCode = auditdrain.CauseCode
	Actor     = auditdrain.Actor
)

func role(change func(*awssim.Role)) func(*world) {
	return func(w *world) { w.UpdateRole(roleARN, change) }
}

func trusts(p *iam.Policy) func(*world) { return role(func(r *awssim.Role) { r.Trust = p }) }

func permits(statements ...string) func(*world) {
	return role(func(r *awssim.Role) { r.Identity = []*iam.Policy{policy(statements...)} })
}

// also adds a statement to the role's permissions.
func also(statement string) func(*world) {
	return role(func(r *awssim.Role) { r.Identity = append(slices.Clip(r.Identity), policy(statement)) })
}

func inBucket(change func(*awssim.Bucket)) func(*world) {
	return func(w *world) { w.UpdateBucket(bucket, change) }
}

func bucketPolicy(statements ...string) func(*world) {
	return inBucket(func(b *awssim.Bucket) { b.Policy = policy(statements...) })
}

func key(change func(*awssim.Key)) func(*world) {
	return func(w *world) { w.UpdateKey(keyARN, change) }
}

// delegated leaves it to the account's own policies who may use the key, as
// keys' default policies do.
var delegated = key(func(k *awssim.Key) {
	k.Policy = policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}`)
})

func account(id string, change func(*awssim.Account)) func(*world) {
	return func(w *world) { w.UpdateAccount(id, change) }
}

// acquainted puts both accounts into one organization, whose members AWS tells
// why it denied them something.
func acquainted(w *world) {
	for _, id := range []string{platform, customer} {
		w.UpdateAccount(id, func(a *awssim.Account) { a.Organization = "o-acme" })
	}
}

func delivery(change func(*auditdrain.Delivery)) func(*world) {
	return func(w *world) { change(&w.drain.Delivery) }
}

func both(changes ...func(*world)) func(*world) {
	return func(w *world) {
		for _, change := range changes {
			change(w)
		}
	}
}

// answers has AWS answer every call of an operation so, on customers' roles.
func answers(op string, status int, code, message string, detail ...awssim.Element) func(*world) {
	return func(w *world) {
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.Op != op || r.RoleARN == writerARN {
				return awssim.Fault{}
			}
			return awssim.Fault{Err: &awssim.Error{Status: status, Code: code, Message: message, Detail: detail}}
		})
	}
}

const (
	roleAdmin   = auditdrain.ActorRoleAdmin
	bucketOwner = auditdrain.ActorBucketOwner
	keyAdmin    = auditdrain.ActorKeyAdmin
	orgAdmin    = auditdrain.ActorOrgAdmin
	teamAdmin   = auditdrain.ActorTeamAdmin
	operator    = auditdrain.ActorOperator
	nobody      = auditdrain.ActorNobody

	everyone = "*"
)

var breakages = []breakage{
	// STS: whom the role trusts.
	{name: "trust policy names another role", broken: trusts(trust("arn:aws:iam::977805900156:role/other", "vercel-team:team_123")),
		cause: CauseTrustPrincipal, who: roleAdmin, says: []string{writerARN, `"sts:ExternalId": "vercel-team:team_123"`, "trust policy of " + roleARN}},
	{name: "trust policy names another platform's account", broken: trusts(trust("arn:aws:iam::444455556666:root", "vercel-team:team_123")),
		cause: CauseTrustPrincipal, who: roleAdmin, says: []string{writerARN}},
	{name: "trust policy names another account, and AWS says that it allows nothing", broken: both(acquainted, trusts(trust("arn:aws:iam::444455556666:root", "x"))),
		cause: CauseTrustPrincipal, who: roleAdmin, says: []string{writerARN}},
	{name: "external ID without what comes before the team's", broken: trusts(trust(writerARN, "team_123")),
		cause: CauseTrustExternalID, who: roleAdmin, says: []string{`"team_123"`, `"vercel-team:team_123"`, "trust policy of " + roleARN}},
	{name: "external ID without -team", broken: trusts(trust(writerARN, "vercel:team_123")), cause: CauseTrustExternalID, who: roleAdmin},
	{name: "external ID with hyphens", broken: trusts(trust(writerARN, "vercel-team-team_123")), cause: CauseTrustExternalID, who: roleAdmin},
	{name: "external ID is the drain's", broken: func(w *world) { trusts(trust(writerARN, w.drain.ID))(w) }, cause: CauseTrustExternalID, who: roleAdmin},
	{name: "external ID is forbidden instead of demanded", broken: trusts(policy(
		`{"Effect":"Allow","Principal":{"AWS":"` + writerARN + `"},"Action":"sts:AssumeRole","Condition":{"StringNotEquals":{"sts:ExternalId":"vercel-team:team_123"}}}`)),
		cause: CauseTrustExternalID, who: roleAdmin},
	{name: "external ID is somebody else's", broken: trusts(trust(writerARN, "vercel-team:team_999")), cause: CauseTrustExternalID, shared: true},
	{name: "external ID is a placeholder", broken: trusts(trust(writerARN, "vercel-team:<your-team-id>")), cause: CauseTrustExternalID, shared: true},
	{name: "role does not exist", broken: func(w *world) { w.RemoveRole(roleARN) }, cause: CauseRoleMissing, shared: true},
	{name: "trust policy denies", broken: both(acquainted, trusts(policy(
		`{"Effect":"Allow","Principal":{"AWS":"`+writerARN+`"},"Action":"sts:AssumeRole"}`, `{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}`))),
		cause: CauseTrustDeny, who: roleAdmin, says: []string{"Deny statement", writerARN}},
	{name: "resource control policy forbids AssumeRole", broken: both(acquainted, account(customer, func(a *awssim.Account) {
		a.RCP = []*iam.Policy{policy(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`), policy(deny(everyone, "sts:AssumeRole", ""))}
	})), cause: CauseRoleOrgPolicy, who: orgAdmin},
	{name: "STS is not active in the region", broken: account(customer, func(a *awssim.Account) { a.DisabledSTS = []string{region} }),
		cause: CauseSTSRegion, who: roleAdmin, says: []string{"sts.eu-west-1.amazonaws.com", customer}},

	// STS: who we are.
	{name: "writer may not assume roles", broken: both(acquainted, func(w *world) {
		w.UpdateRole(writerARN, func(r *awssim.Role) { r.Identity = nil })
	}), cause: CauseWriterPolicy, who: operator, says: []string{writerARN, "sts:AssumeRole"}},
	{name: "service control policy forbids the writer", broken: both(acquainted, account(platform, func(a *awssim.Account) {
		a.SCP = []*iam.Policy{policy(allow("*", "*")), policy(`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"arn:aws:iam::111122223333:role/*"}`)}
	})), cause: CauseWriterPolicy, who: operator, says: []string{"service control policy", "Deny statement"}},
	{name: "writer's permissions boundary", broken: both(acquainted, func(w *world) {
		w.UpdateRole(writerARN, func(r *awssim.Role) { r.Boundary = policy(allow("s3:*", "*")) })
	}), cause: CauseWriterPolicy, who: operator, says: []string{"permissions boundary", writerARN}},
	{name: "a Deny statement of the writer's", broken: both(acquainted, func(w *world) {
		w.UpdateRole(writerARN, func(r *awssim.Role) {
			r.Identity = append(slices.Clip(r.Identity), policy(deny("", "sts:AssumeRole", "")))
		})
	}), cause: CauseWriterPolicy, who: operator, says: []string{"Deny statement"}},
	{name: "writer role's ARN is none", broken: func(w *world) {
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.RoleARN == writerARN {
				return awssim.Fault{Err: &awssim.Error{Status: 400, Code: "ValidationError", Message: writerARN + " is invalid"}}
			}
			return awssim.Fault{}
		})
	}, cause: CauseWriterRole, who: operator},
	{name: "credentials cannot be had", broken: func(w *world) {
		w.env["AWS_ACCESS_KEY_ID"], w.env["AWS_SECRET_ACCESS_KEY"] = "", ""
	}, cause: CauseOwnCredentials, who: operator, says: []string{"could not get"}},
	{name: "role and bucket are in another partition", broken: delivery(func(d *auditdrain.Delivery) {
		d.Region, d.RoleARN = "cn-north-1", strings.Replace(roleARN, "arn:aws:", "arn:aws-cn:", 1)
	}),
		cause: CausePartition, who: teamAdmin, says: []string{"aws-cn"}},
	{name: "writer role does not trust us", broken: func(w *world) {
		w.UpdateRole(writerARN, func(r *awssim.Role) { r.Trust = trust("arn:aws:iam::977805900156:role/other", "") })
	}, cause: CauseWriterRole, who: operator, says: []string{writerARN, "--writer-role-arn"}},
	{name: "own access key is unknown", broken: func(w *world) { w.env["AWS_ACCESS_KEY_ID"] = "AKIAGONE" }, cause: CauseOwnCredentials, who: operator},
	{name: "own secret key is wrong", broken: func(w *world) { w.env["AWS_SECRET_ACCESS_KEY"] = "wrong" }, cause: CauseOwnCredentials, who: operator},
	{name: "own token has expired", broken: answers("AssumeRole", 403, "ExpiredToken", "The security token included in the request is expired"),
		cause: CauseOwnCredentials, who: operator},
	{name: "own clock is late", broken: answers("AssumeRole", 403, "SignatureDoesNotMatch", "Signature expired: 20260522T100000Z is now earlier than 20260522T101500Z (20260522T102000Z - 5 min.)"),
		cause: CauseClock, who: operator, says: []string{"clock"}},
	{name: "session is too long", broken: answers("AssumeRole", 400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."),
		cause: CauseSessionTooLong, who: operator},
	{name: "role ARN is none", broken: answers("AssumeRole", 400, "ValidationError", roleARN+" is invalid"), cause: CauseRoleARN, who: teamAdmin, says: []string{roleARN}},
	{name: "role ARN breaks a constraint", broken: answers("AssumeRole", 400, "ValidationError", "1 validation error detected: Value 'x' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20"),
		cause: CauseRoleARN, who: teamAdmin},
	{name: "session policy is too large", broken: answers("AssumeRole", 400, "PackedPolicyTooLarge", "Packed policy consumes 104% of allotted space, please use smaller policy."),
		cause: CauseSessionPolicy, who: teamAdmin, says: []string{"delivery.endpoint"}},
	{name: "STS throttles", broken: answers("AssumeRole", 400, "Throttling", "Rate exceeded"), cause: CauseAWSBusy, who: nobody},

	// S3: what the role may do.
	{name: "role has no permissions policy", broken: role(func(r *awssim.Role) { r.Identity = nil }),
		cause: CausePermissions, who: roleAdmin, says: []string{roleARN, `"Resource": "arn:aws:s3:::acme-audit-archive/audit/acme/*"`, "permissions policy of " + roleARN}},
	{name: "right policy is attached to another role", broken: func(w *world) {
		w.UpdateRole(writerARN, func(r *awssim.Role) {
			r.Identity = append(slices.Clip(r.Identity), iam.MustParse(w.grant().PermissionsPolicy()))
		})
		role(func(r *awssim.Role) { r.Identity = nil })(w)
	}, cause: CausePermissions, who: roleAdmin, says: []string{"another role"}},
	{name: "policy allows reading only", broken: permits(allow("s3:Get*", "*")), cause: CausePermissions, who: roleAdmin},
	{name: "policy is for another prefix", broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/elsewhere/*")), cause: CauseResource, shared: true},
	{name: "policy is for the documentation's prefix", broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/audit-logs/*")),
		cause: CauseResource, who: roleAdmin, says: []string{"s3://acme-audit-archive/audit-logs/", "arn:aws:s3:::acme-audit-archive/audit/acme/*"}},
	{name: "policy lacks the slash and the star", broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/audit/acme")),
		cause: CauseResource, who: roleAdmin, says: []string{"arn:aws:s3:::acme-audit-archive/audit/acme/*"}},
	{name: "policy is for events only", broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/audit/acme/schema=audit_log/*")),
		cause: CauseTestPath, who: roleAdmin, says: []string{"audit/acme/test/", "arn:aws:s3:::acme-audit-archive/audit/acme/*"}},
	{name: "root endpoint, policy is for events only", root: true, broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/schema=*")),
		cause: CauseTestPath, who: roleAdmin, says: []string{"arn:aws:s3:::acme-audit-archive/*"}},
	{name: "root endpoint, policy is for a prefix", root: true, broken: permits(allow("s3:PutObject", "arn:aws:s3:::acme-audit-archive/audit-logs/*")),
		cause: CauseResource, who: roleAdmin, says: []string{"arn:aws:s3:::acme-audit-archive/*"}},
	{name: "s3:PutObjectAcl is missing", broken: both(
		inBucket(func(b *awssim.Bucket) { b.Ownership = awssim.BucketOwnerPreferred }),
		delivery(func(d *auditdrain.Delivery) { d.ObjectACL = "bucket-owner-full-control" })),
		cause: CauseACLAction, who: roleAdmin, says: []string{`"s3:PutObjectAcl"`, "bucket-owner-full-control"}},
	{name: "permissions policy denies", broken: also(deny("", "s3:PutObject", "")), cause: CauseIdentityDeny, who: roleAdmin, says: []string{"Deny statement", roleARN}},
	{name: "permissions boundary denies", broken: role(func(r *awssim.Role) { r.Boundary = policy(allow("*", "*"), deny("", "s3:PutObject", "")) }),
		cause: CauseBoundary, who: roleAdmin, says: []string{"Deny statement"}},
	{name: "permissions boundary", broken: role(func(r *awssim.Role) { r.Boundary = policy(allow("s3:GetObject", "*")) }),
		cause: CauseBoundary, who: roleAdmin, says: []string{"permissions boundary of " + roleARN}},
	{name: "service control policy denies", broken: account(customer, func(a *awssim.Account) {
		a.SCP = []*iam.Policy{policy(allow("*", "*")), policy(deny("", "s3:PutObject", ""))}
	}), cause: CauseSCP, who: orgAdmin, says: []string{"forbids s3:PutObject"}},
	{name: "no service control policy allows", broken: account(customer, func(a *awssim.Account) { a.SCP = []*iam.Policy{policy(allow("sts:*", "*"))} }),
		cause: CauseSCP, who: orgAdmin, says: []string{"allows s3:PutObject"}},
	{name: "resource control policy denies", broken: account(customer, func(a *awssim.Account) {
		a.RCP = []*iam.Policy{policy(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`), policy(deny(everyone, "s3:PutObject", ""))}
	}), cause: CauseRCP, who: orgAdmin},
	{name: "service control policy denies, and AWS names it", broken: answers("PutObject", 403, "AccessDenied",
		`User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a service control policy: arn:aws:organizations::444455556666:policy/o-acme/service_control_policy/p-1`),
		cause: CauseSCP, who: orgAdmin, says: []string{"arn:aws:organizations::444455556666:policy/o-acme/service_control_policy/p-1"}},
	{name: "a Deny statement of which AWS does not say where", broken: answers("PutObject", 403, "AccessDenied",
		`User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny`),
		cause: CauseBucketDeny, who: bucketOwner},
	{name: "our session policy does not allow", broken: answers("PutObject", 403, "AccessDenied",
		`User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no session policy allows the s3:PutObject action`),
		cause: CauseSessionPolicy, who: operator},
	{name: "no policy of the bucket's allows", broken: answers("PutObject", 403, "AccessDenied",
		`User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no resource-based policy allows the s3:PutObject action`),
		cause: CauseBucketAccount, who: teamAdmin},
	{name: "our VPC endpoint's policy does not allow", broken: answers("PutObject", 403, "AccessDenied",
		`User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no VPC endpoint policy allows the s3:PutObject action`),
		cause: CauseVPCEndpoint, who: operator},

	// S3: the bucket.
	{name: "bucket policy demands KMS", broken: bucketPolicy(deny(everyone, "s3:PutObject", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`)),
		cause: CauseBucketEncryption, who: teamAdmin, says: []string{"delivery.serverSideEncryption", "aws:kms"}},
	{name: "bucket policy demands DSSE, and the key's is not allowed yet", broken: both(
		bucketPolicy(deny(everyone, "s3:PutObject", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms:dsse"}}`)),
		inBucket(func(b *awssim.Bucket) { b.Encryption = awssim.Encryption{Algorithm: "aws:kms:dsse", KMSKeyARN: keyARN} }),
		func(w *world) { _ = w.AddKey(awssim.Key{ARN: keyARN, Policy: policy(deny(everyone, "kms:*", ""))}) }),
		cause: CauseBucketEncryption, who: teamAdmin, says: []string{"aws:kms:dsse"}},
	{name: "bucket policy demands some encryption header", broken: bucketPolicy(deny(everyone, "s3:PutObject", `{"Null":{"s3:x-amz-server-side-encryption":"true"}}`)),
		cause: CauseBucketEncryption, who: teamAdmin, says: []string{"aws:kms"}},
	{name: "bucket policy demands AES256", broken: bucketPolicy(deny(everyone, "s3:PutObject", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}`)),
		cause: CauseBucketEncryption, who: teamAdmin, says: []string{"AES256"}},
	{name: "bucket policy forbids the encryption header", broken: both(
		bucketPolicy(deny(everyone, "s3:PutObject", `{"Null":{"s3:x-amz-server-side-encryption":"false"}}`)),
		delivery(func(d *auditdrain.Delivery) { d.ServerSideEncryption = "AES256" })),
		cause: CauseBucketEncryption, who: teamAdmin, says: []string{"no encryption header", `delivery.serverSideEncryption`}},
	{name: "bucket policy demands an ACL", broken: both(
		bucketPolicy(deny(everyone, "s3:PutObject", `{"StringNotEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}`)),
		permits(allow("s3:PutObject*", "*"))),
		cause: CauseBucketACL, who: teamAdmin, says: []string{"delivery.objectAcl", "bucket-owner-full-control"}},
	{name: "bucket policy demands an ACL that the role may not set", broken: bucketPolicy(deny(everyone, "s3:PutObject", `{"StringNotEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}`)),
		cause: CauseBucketACL, who: teamAdmin, says: []string{"delivery.objectAcl", "s3:PutObjectAcl"}},
	{name: "bucket policy forbids ACLs", broken: both(
		bucketPolicy(deny(everyone, "s3:PutObject", `{"Null":{"s3:x-amz-acl":"false"}}`)),
		permits(allow("s3:PutObject*", "*")),
		delivery(func(d *auditdrain.Delivery) { d.ObjectACL = "bucket-owner-full-control" })),
		cause: CauseBucketACL, who: teamAdmin, says: []string{"delivery.objectAcl", "none"}},
	{name: "bucket policy admits others only", broken: bucketPolicy(deny(everyone, "s3:*", `{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/admin"}}`)),
		cause: CauseBucketDeny, who: bucketOwner, says: []string{roleARN, bucket}},
	{name: "bucket policy admits one network only", broken: bucketPolicy(deny(everyone, "s3:*", `{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`)),
		cause: CauseBucketDeny, who: bucketOwner, says: []string{"network"}},
	{name: "bucket is another account's", broken: inBucket(func(b *awssim.Bucket) { b.Account = stranger }),
		cause: CauseBucketAccount, who: teamAdmin, says: []string{bucket, customer}},
	{name: "bucket is another account's, of the same organization", broken: both(
		inBucket(func(b *awssim.Bucket) { b.Account = platform }), acquainted),
		cause: CauseBucketAccount, who: teamAdmin, says: []string{bucket, customer}},
	{name: "bucket does not exist", broken: delivery(func(d *auditdrain.Delivery) { d.Endpoint = "s3://acme-audit-archives/audit/acme" }),
		cause: CauseBucketMissing, who: teamAdmin, says: []string{"acme-audit-archives", "delivery.endpoint"}},
	{name: "bucket is in another region", broken: inBucket(func(b *awssim.Bucket) { b.Region = "us-west-2" }),
		cause: CauseRegion, who: teamAdmin, says: []string{"delivery.region", "us-west-2"}},
	{name: "request was signed for another region", broken: answers("PutObject", 400, "AuthorizationHeaderMalformed",
		"The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-west-2'", awssim.Element{Name: "Region", Value: "us-west-2"}),
		cause: CauseRegion, who: teamAdmin, says: []string{"delivery.region", "us-west-2"}},
	{name: "bucket is elsewhere, and nobody says where", broken: answers("PutObject", 301, "PermanentRedirect",
		"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint."),
		cause: CauseRegion, who: teamAdmin, says: []string{"another region", "delivery.region"}},
	{name: "encryption is not known to the store", broken: both(
		delivery(func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aws:kms" }),
		answers("PutObject", 400, "InvalidEncryptionAlgorithmError", "The encryption request you specified is not valid.")),
		cause: CauseEncryptionUnknown, who: teamAdmin, says: []string{"delivery.serverSideEncryption"}},
	{name: "ACLs are disabled", broken: both(permits(allow("s3:PutObject*", "*")), delivery(func(d *auditdrain.Delivery) { d.ObjectACL = "private" })),
		cause: CauseACLsDisabled, who: teamAdmin, says: []string{"delivery.objectAcl", `"private"`}},
	{name: "Object Lock without a digest", broken: answers("PutObject", 400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"),
		cause: CauseObjectLock, who: operator},
	{name: "bytes changed on the way", broken: answers("PutObject", 400, "BadDigest", "The SHA256 you specified did not match the calculated checksum."), cause: CauseDigest, who: operator},
	{name: "session has expired again", broken: answers("PutObject", 400, "ExpiredToken", "The provided token has expired."), cause: CauseSessionExpired, who: nobody},
	{name: "region is not enabled", broken: both(
		inBucket(func(b *awssim.Bucket) { b.Region = "af-south-1" }), delivery(func(d *auditdrain.Delivery) { d.Region = "af-south-1" })),
		cause: CauseOptInRegion, shared: true},
	{name: "token is not valid in the region", broken: answers("PutObject", 400, "InvalidToken", "The provided token is malformed or otherwise invalid."),
		cause: CauseGlobalSTS, who: operator, says: []string{"regional"}},
	{name: "session's access key is unknown", broken: answers("PutObject", 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
		cause: CauseSession, who: operator, says: []string{"AWS_ENDPOINT_URL_S3"}},
	{name: "signature is changed on the way", broken: answers("PutObject", 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."),
		cause: CauseSession, who: operator, says: []string{"proxies"}},
	{name: "clock is wrong for S3", broken: answers("PutObject", 403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
		cause: CauseClock, who: operator},
	{name: "key is too long", broken: answers("PutObject", 400, "KeyTooLongError", "Your key is too long"), cause: CauseKeyTooLong, who: teamAdmin},
	{name: "S3 throttles", broken: answers("PutObject", 503, "SlowDown", "Please reduce your request rate."), cause: CauseAWSBusy, who: nobody},
	{name: "a proxy's error", broken: answers("PutObject", 502, "", "Bad Gateway"), cause: CauseAWSBusy, who: nobody},
	{name: "S3 has an error of its own", broken: answers("PutObject", 500, "InternalError", "We encountered an internal error. Please try again."), cause: CauseAWSBusy, who: nobody},
	{name: "two write the same key", broken: answers("PutObject", 409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflicting operation against this resource."),
		cause: CauseAWSBusy, who: nobody},
	{name: "the connection breaks off", broken: func(w *world) {
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault { return awssim.Fault{Reset: r.Op == "PutObject"} })
	}, cause: CauseNoAnswer, who: operator, says: []string{"acme-audit-archive.s3.eu-west-1.amazonaws.com"}},

	// KMS.
	{name: "role may not use the key", kms: true, broken: both(delegated, permits(allow("s3:PutObject", "*"))),
		cause: CauseKMSPermissions, who: roleAdmin, says: []string{keyARN, `"kms:ViaService": "s3.eu-west-1.amazonaws.com"`, `"kms:CallerAccount": "111122223333"`, "permissions policy of " + roleARN}},
	{name: "role may use the key in another region only", kms: true, broken: both(delegated, permits(allow("s3:PutObject", "*"),
		`{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}}`)),
		cause: CauseKMSPermissions, who: roleAdmin, says: []string{"s3.eu-west-1.amazonaws.com"}},
	{name: "key policy does not name the role", kms: true, broken: key(func(k *awssim.Key) {
		k.Policy = policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/admin"},"Action":"kms:*","Resource":"*"}`)
	}), cause: CauseKMSKeyPolicy, who: keyAdmin, says: []string{keyARN, "AllowVercelDrainRoleToUseKeyViaS3", roleARN, "policy of key " + keyARN}},
	{name: "key policy is for another region's S3", kms: true, broken: key(func(k *awssim.Key) {
		k.Policy = policy(`{"Effect":"Allow","Principal":{"AWS":"` + roleARN + `"},"Action":"kms:GenerateDataKey","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}}`)
	}), cause: CauseKMSKeyPolicy, who: keyAdmin, says: []string{"s3.eu-west-1.amazonaws.com"}},
	{name: "key policy denies", kms: true, broken: key(func(k *awssim.Key) { k.Policy = policy(deny(everyone, "kms:*", "")) }),
		cause: CauseKMSDeny, who: keyAdmin, says: []string{keyARN}},
	{name: "role's policy denies the key", kms: true, broken: also(deny("", "kms:*", "")), cause: CauseKMSDeny, who: roleAdmin},
	{name: "permissions boundary without the key", kms: true, broken: role(func(r *awssim.Role) { r.Boundary = policy(allow("s3:*", "*")) }),
		cause: CauseBoundary, who: roleAdmin, says: []string{"kms:GenerateDataKey"}},
	{name: "service control policy denies the key", kms: true, broken: account(customer, func(a *awssim.Account) {
		a.SCP = []*iam.Policy{policy(allow("*", "*")), policy(deny("", "kms:*", ""))}
	}), cause: CauseSCP, who: orgAdmin, says: []string{"kms:GenerateDataKey"}},
	{name: "key is another account's", kms: true, broken: func(w *world) {
		foreign := strings.Replace(keyARN, customer, stranger, 1)
		_ = w.AddKey(awssim.Key{ARN: foreign, Policy: policy(deny(everyone, "kms:*", ""))})
		inBucket(func(b *awssim.Bucket) { b.Encryption.KMSKeyARN = foreign })(w)
		permits(allow("s3:PutObject", "*"), allow("kms:GenerateDataKey", "*"))(w)
	}, cause: CauseKMSKeyPolicy, who: keyAdmin, says: []string{"of the bucket acme-audit-archive", "AllowVercelDrainRoleToUseKeyViaS3"}},
	{name: "key is another account's, and the role may not use it", kms: true, broken: func(w *world) {
		foreign := strings.Replace(keyARN, customer, stranger, 1)
		_ = w.AddKey(awssim.Key{ARN: foreign, Policy: policy(w.grantFor(foreign).KeyPolicyStatement())})
		inBucket(func(b *awssim.Bucket) { b.Encryption.KMSKeyARN = foreign })(w)
	}, cause: CauseKMSPermissions, who: roleAdmin, says: []string{"kms:GenerateDataKey"}},
	{name: "key is another account's, by its ARN", kms: true, broken: answers("PutObject", 403, "AccessDenied", "User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"),
		cause: CauseKMSKeyPolicy, who: keyAdmin, says: []string{"444455556666"}},
	{name: "key is disabled", kms: true, broken: key(func(k *awssim.Key) { k.State = awssim.KeyDisabled }),
		cause: CauseKMSDisabled, who: keyAdmin, says: []string{keyARN, "enable-key"}},
	{name: "key is pending deletion", kms: true, broken: key(func(k *awssim.Key) { k.State = awssim.KeyPendingDeletion }),
		cause: CauseKMSDeletion, who: keyAdmin, says: []string{keyARN, "cancel-key-deletion"}},
	{name: "key has no material", kms: true, broken: answers("PutObject", 400, "KMS.KMSInvalidStateException", keyARN+" is pending import."),
		cause: CauseKMSDisabled, who: keyAdmin, says: []string{keyARN, "state"}},
	{name: "our session policy does not allow the key", kms: true, broken: answers("PutObject", 403, "AccessDenied",
		"User: arn:aws:sts::111122223333:assumed-role/audit-drain/auditdrain-drn_1 is not authorized to perform: kms:GenerateDataKey on resource: "+keyARN+" because no session policy allows the kms:GenerateDataKey action"),
		cause: CauseSessionPolicy, who: operator},
	{name: "key does not exist", kms: true, broken: inBucket(func(b *awssim.Bucket) { b.Encryption.KMSKeyARN = strings.Replace(keyARN, "1234abcd", "ffffffff", 1) }),
		cause: CauseKMSMissing, who: keyAdmin, says: []string{"key/ffffffff"}},
	{name: "key is in another region", kms: true, broken: inBucket(func(b *awssim.Bucket) { b.Encryption.KMSKeyARN = strings.Replace(keyARN, region, "us-west-2", 1) }),
		cause: CauseKMSRegion, who: bucketOwner, says: []string{region}},
	{name: "KMS throttles, as S3 words it", kms: true, broken: func(w *world) {
		w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if r.Op == "PutObject" {
				return awssim.Fault{Err: awssim.SlowDownKMS()}
			}
			return awssim.Fault{}
		})
	}, cause: CauseAWSBusy, who: nobody},
	{name: "KMS throttles", kms: true, broken: answers("PutObject", 400, "KMS.ThrottlingException", "You have exceeded the rate at which you may call KMS."), cause: CauseAWSBusy, who: nobody},
}

// Each breakage alone is named first, by whoever has to mend it, with what to
// change; and finding that out changes nothing.
func TestBreakages(t *testing.T) {
	told := 0
	for _, b := range breakages {
		if !b.shared {
			told++
		}
		t.Run(b.name, func(t *testing.T) {
			endpoint := prefix
			if b.root {
				endpoint = ""
			}
			w := newWorld(t, b.kms, endpoint)
			b.broken(w)
			result := w.test(t)
			w.noObjects(t)
			if result.Status != "error" || result.Diagnosis == nil || result.AWS == nil || result.Key != "" {
				t.Fatalf("the delivery did not fail: %+v", result)
			}
			d := *result.Diagnosis
			if !d.Known || d.Summary == "" || d.Docs == "" && result.AWS.HTTPStatus != 0 {
				t.Errorf("not complete: %+v", d)
			}
			checkLookup(t, *result.AWS, d.CloudTrail)
			first := d.Causes[0]
			if b.shared {
				if !slices.ContainsFunc(d.Causes, func(c auditdrain.Cause) bool { return c.Code == b.cause }) {
					t.Errorf("%s is not among the causes: %s", b.cause, d)
				}
				if first.Confirmed {
					t.Errorf("%s is called confirmed, but is not the cause", first.Code)
				}
				return
			}
			if first.Code != b.cause || first.Who != b.who {
				t.Errorf("%s, to be mended by the %s, want %s by the %s\n%s", first.Code, first.Who, b.cause, b.who, d)
			}
			said := first.Text + "\n" + first.Fix
			if c := first.Change; c != nil {
				said += "\n" + strings.Join([]string{c.Where, c.Statement, c.Condition, c.Field, c.Value}, "\n")
			}
			for _, s := range b.says {
				if !strings.Contains(said, s) {
					t.Errorf("does not say %s:\n%s", s, said)
				}
			}
			if result.Error != d.String() {
				t.Errorf("error %q is not worded as the diagnosis %q", result.Error, d)
			}
			for _, s := range []string{"  ", "%!", "<your", "<writer", " ,", ".."} {
				if strings.Contains(d.String()+said, s) && s != "  " || strings.Contains(d.String(), s) {
					t.Errorf("%q is in it:\n%s\n%s", s, d, said)
				}
			}
			for _, c := range w.calls.All("") {
				if op := c.Op; op != "AssumeRole" && op != "GetCallerIdentity" && op != "PutObject" {
					t.Errorf("call %s", op)
				}
			}
		})
	}
	if told < 40 {
		t.Errorf("%d breakages are told apart, want at least 40", told)
	}
}

func checkLookup(t *testing.T, a auditdrain.AWSAnswer, l *auditdrain.CloudTrailLookup) {
	t.Helper()
	if a.HTTPStatus == 0 {
		if l != nil {
			t.Errorf("AWS got no call, but %+v", l)
		}
		return
	}
	if l == nil || l.From >= a.Time || l.To <= a.Time || l.EventName == "" || l.EventSource == "" || l.Note == "" {
		t.Errorf("CloudTrail: %+v", l)
	}
}

// Nothing is broken: the worlds that are broken above work.
func TestWorking(t *testing.T) {
	for _, kms := range []bool{false, true} {
		for _, prefix := range []string{prefix, ""} {
			w := newWorld(t, kms, prefix)
			result := w.test(t)
			if result.Status != "" || result.Key == "" || result.Diagnosis != nil || result.RoleCheck.Unsafe {
				t.Fatalf("kms %t, prefix %q: %+v\n%v", kms, prefix, result, result.Diagnosis)
			}
			if objects, err := w.Objects(bucket); err != nil || len(objects) != 1 || objects[0].Key != result.Key {
				t.Errorf("objects %+v, %v, want %s alone", objects, err, result.Key)
			}
		}
	}
}

// That an object is there already is no failure of a delivery, unless we have
// not even asked.
func TestAlreadyThere(t *testing.T) {
	w := newWorld(t, false, prefix)
	tester, _ := w.tester(t)
	d, ok := tester.Explainer.Explain(w.drain, &s3.Error{Answer: auditdrain.AWSAnswer{
		Service: "s3", Operation: "PutObject", HTTPStatus: 412, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold",
	}})
	if !ok || len(d.Causes) != 1 || d.Causes[0].Code != CauseAlreadyThere || d.Causes[0].Who != nobody {
		t.Errorf("%s", d)
	}
}

// What nobody has met is shown whole, and nothing is guessed.
func TestUnknownAnswers(t *testing.T) {
	for _, b := range []func(*world){
		answers("AssumeRole", 418, "Teapot", "I am short and stout."),
		answers("AssumeRole", 400, "ValidationError", "Something new is wrong."),
		answers("PutObject", 418, "Teapot", "I am short and stout."),
		answers("PutObject", 400, "InvalidRequest", "Something new is wrong."),
		answers("PutObject", 400, "AuthorizationHeaderMalformed", "The authorization header is malformed."),
		answers("PutObject", 400, "KMS.NewException", "Something new is wrong."),
		answers("PutObject", http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented"),
		answers("PutObject", 403, "AccountProblem", "There is a problem with your account."),
		answers("PutObject", 403, "AccessDenied", `User: arn:aws:sts::111122223333:assumed-role/a/b is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because public access control lists (ACLs) are prevented by the BlockPublicAcls setting in S3 Block Public Access`),
		answers("PutObject", 403, "AccessDenied", `User: arn:aws:sts::111122223333:assumed-role/a/b is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:111122223333:key/x because no identity-based policy allows the kms:Decrypt action`),
		answers("PutObject", 403, "AccessDenied", `User: arn:aws:sts::111122223333:assumed-role/a/b is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no quantum policy allows the s3:PutObject action`),
		answers("PutObject", 403, "AccessDenied", `User: arn:aws:sts::111122223333:assumed-role/a/b is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a quantum policy`),
	} {
		w := newWorld(t, false, prefix)
		b(w)
		result := w.test(t)
		d := *result.Diagnosis
		if d.Known || len(d.Causes) != 0 || !strings.Contains(result.Error, "not known") || !strings.Contains(result.Error, result.AWS.Message) || !strings.Contains(result.AWS.Body, "<Code>"+result.AWS.Code+"</Code>") {
			t.Errorf("%+v", result)
		}
	}
}
