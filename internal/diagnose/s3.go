package diagnose

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// The causes of what S3 refuses, for programs.
const (
	CausePermissions       auditdrain.CauseCode = "permissions_policy"    // of the role; none allows it
	CauseResource          auditdrain.CauseCode = "permissions_resource"  // allows another path
	CauseTestPath          auditdrain.CauseCode = "permissions_test_path" // allows events, but nothing under test/
	CauseACLAction         auditdrain.CauseCode = "permissions_acl"       // lacks s3:PutObjectAcl
	CauseIdentityDeny      auditdrain.CauseCode = "permissions_deny"      // a Deny statement of the role's
	CauseBoundary          auditdrain.CauseCode = "permissions_boundary"
	CauseSCP               auditdrain.CauseCode = "scp"
	CauseRCP               auditdrain.CauseCode = "rcp"
	CauseVPCEndpoint       auditdrain.CauseCode = "vpc_endpoint_policy"      // ours
	CauseBucketDeny        auditdrain.CauseCode = "bucket_policy_deny"       // for another reason than those below
	CauseBucketEncryption  auditdrain.CauseCode = "bucket_policy_encryption" // demands or forbids the header
	CauseBucketACL         auditdrain.CauseCode = "bucket_policy_acl"        // likewise
	CauseBucketAccount     auditdrain.CauseCode = "bucket_account"           // the bucket is another account's
	CauseBucketNetwork     auditdrain.CauseCode = "bucket_outside_caller"    // callers from outside are kept out
	CauseBucketMissing     auditdrain.CauseCode = "bucket_missing"
	CauseRegion            auditdrain.CauseCode = "region"
	CauseACLsDisabled      auditdrain.CauseCode = "acls_disabled"
	CauseObjectLock        auditdrain.CauseCode = "object_lock_digest"
	CauseDigest            auditdrain.CauseCode = "digest" // bytes changed on the way
	CauseAlreadyThere      auditdrain.CauseCode = "already_there"
	CauseSessionExpired    auditdrain.CauseCode = "session_expired"
	CauseOptInRegion       auditdrain.CauseCode = "opt_in_region"
	CauseGlobalSTS         auditdrain.CauseCode = "sts_global_endpoint" // tokens are not valid everywhere
	CauseKeyTooLong        auditdrain.CauseCode = "key_too_long"
	CauseEncryptionUnknown auditdrain.CauseCode = "encryption_not_supported"
)

// s3Refused explains refusals of PutObject.
func (r *refusal) s3Refused() {
	if strings.HasPrefix(r.Code, "KMS.") {
		r.kmsRefused()
		return
	}
	switch r.Code {
	case "AccessDenied", "AccessDeniedException":
		r.putDenied()
	case "NoSuchBucket":
		r.add(auditdrain.Cause{
			Code: CauseBucketMissing, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("There is no bucket %q.", r.grant.Bucket),
			Fix:    "Correct the bucket's name in the drain's endpoint, or create the bucket in the account of the role.",
			Change: r.field("delivery.endpoint", ""),
		})
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		r.region()
	case "AccessControlListNotSupported":
		r.add(auditdrain.Cause{
			Code: CauseACLsDisabled, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("ACLs are disabled on the bucket %s (Object Ownership: bucket owner enforced), but the drain sends the object ACL %q.", r.grant.Bucket, r.delivery.ObjectACL),
			Fix:    "Set the drain's Object ACL to none; the bucket's owner owns all its objects anyway.",
			Change: r.unset("delivery.objectAcl"),
		})
	case "InvalidRequest":
		if strings.Contains(r.Message, "Object Lock") {
			r.add(auditdrain.Cause{
				Code: CauseObjectLock, Confirmed: true, Who: auditdrain.ActorOperator,
				Text: "The bucket has Object Lock, and the request arrived without a checksum, although the service always sends one.",
				Fix:  "Look for a proxy between the service and S3 that drops the header x-amz-checksum-sha256.",
			})
		}
	case "BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody":
		r.add(auditdrain.Cause{
			Code: CauseDigest, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "The object's bytes arrived at S3 other than they were sent.",
			Fix:  "Deliveries are repeated; if it lasts, look for a proxy between the service and S3 that changes bodies.",
		})
	case "PreconditionFailed":
		r.add(auditdrain.Cause{
			Code: CauseAlreadyThere, Confirmed: true, Who: auditdrain.ActorNobody,
			Text: "The object is there already.",
			Fix:  "Nothing has to be changed: that counts as delivered.",
		})
	case "ExpiredToken", "TokenRefreshRequired":
		r.add(auditdrain.Cause{
			Code: CauseSessionExpired, Confirmed: true, Who: auditdrain.ActorNobody,
			Text: "The session had expired.",
			Fix:  "A new one is made at once; if it lasts, look at the clock of the machine that the service runs on.",
		})
	case "InvalidToken":
		r.invalidToken()
	case "InvalidAccessKeyId":
		r.sessionRejected()
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
		if r.late() {
			r.clock()
		} else {
			r.sessionRejected()
		}
	case "KeyTooLongError":
		r.add(auditdrain.Cause{
			Code: CauseKeyTooLong, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   "The object's key is longer than S3 takes (1,024 bytes).",
			Fix:    "Use a shorter prefix in the drain's endpoint.",
			Change: r.field("delivery.endpoint", ""),
		})
	case "InvalidEncryptionAlgorithmError":
		r.add(auditdrain.Cause{
			Code: CauseEncryptionUnknown, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("This store does not know the encryption %q.", r.delivery.ServerSideEncryption),
			Fix:    "Leave Encryption out of the drain, and let the bucket's default encryption decide.",
			Change: r.unset("delivery.serverSideEncryption"),
		})
	}
}

// field is a change of the drain. Without a value, only a person can know it.
func (r *refusal) field(name, value string) *auditdrain.Change {
	return &auditdrain.Change{Where: "the drain", Field: name, Value: value}
}

func (r *refusal) unset(name string) *auditdrain.Change {
	return &auditdrain.Change{Where: "the drain", Field: name, Unset: true}
}

// set is the change of a field that may have to be left out.
func (r *refusal) set(name, value string) *auditdrain.Change {
	if value == "" {
		return r.unset(name)
	}
	return r.field(name, value)
}

// putDenied tells apart what shares 403 AccessDenied. S3 names action and kind
// of policy to callers of the bucket's own account or organization.
func (r *refusal) putDenied() {
	by, explicit := r.denial.by, r.denial.explicit
	switch r.denial.action {
	case "s3:PutObject", "s3:PutObjectAcl", "":
	case "kms:GenerateDataKey":
		r.kmsDenied()
		return
	default: // we ask for nothing else
		return
	}
	switch {
	case r.denial.newReason:
	case by == "identity-based policy" && explicit:
		r.add(auditdrain.Cause{
			Code: CauseIdentityDeny, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("A Deny statement in a permissions policy%s of %s forbids %s on %s.", r.policyARN(), r.RoleARN, r.denial.action, r.denial.resource),
			Fix:    "Remove that statement, or except this role from it by a condition.",
			Change: r.except("the Deny statement in the permissions policies of " + r.RoleARN),
		})
	case by == "identity-based policy" && r.denial.action == "s3:PutObjectAcl":
		r.add(auditdrain.Cause{
			Code: CauseACLAction, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("The drain sends the object ACL %q, and no permissions policy of %s allows s3:PutObjectAcl.", r.delivery.ObjectACL, r.RoleARN),
			Fix:    "Add s3:PutObjectAcl to the statement that allows s3:PutObject; or, if the bucket needs no ACL, set the drain's Object ACL to none.",
			Change: r.writeStatement(),
		})
	case by == "identity-based policy":
		r.notPermitted()
	case by == "permissions boundary":
		r.add(r.boundary(r.grant.WriteStatement()))
	case by == "session policy":
		r.add(r.ownSessionPolicy())
	case by == "service control policy", by == "resource control policy":
		r.add(r.organization(r.grant.WriteStatement()))
	case strings.HasPrefix(by, "VPC endpoint"):
		r.add(auditdrain.Cause{
			Code: CauseVPCEndpoint, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "The policy of the VPC endpoint through which the platform reaches S3 does not let this write pass.",
			Fix:  "Allow s3:PutObject on customers' buckets in the endpoint's policy.",
			Change: &auditdrain.Change{
				Where: "policy of the platform's VPC endpoint for S3", Statement: r.grant.WriteStatement(),
			},
		})
	case by == "resource-based policy" && explicit:
		r.bucketDenied()
	case by == "resource-based policy":
		c := r.otherAccount()
		c.Confirmed = true // in the bucket's account none is needed
		r.add(c)
	case by == "" && explicit:
		r.bucketDenied()
		r.causes[0].Confirmed = false // it may be any other policy's
	case by == "" && r.denial.action == "":
		r.unexplained()
	}
}

// except is a change that keeps a Deny statement from the role.
func (r *refusal) except(where string) *auditdrain.Change {
	return &auditdrain.Change{Where: where, Condition: exceptPrincipal(r.RoleARN)}
}

func (r *refusal) boundary(statement string) auditdrain.Cause {
	c := auditdrain.Cause{
		Code: CauseBoundary, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
		Text:   fmt.Sprintf("The permissions boundary%s of %s does not allow %s, whatever its policies say.", r.policyARN(), r.RoleARN, r.denial.action),
		Fix:    "Allow it in the boundary, or remove the boundary from the role.",
		Change: &auditdrain.Change{Where: "permissions boundary of " + r.RoleARN, Statement: statement},
	}
	if r.denial.explicit {
		c.Text = fmt.Sprintf("A Deny statement in the permissions boundary%s of %s forbids %s.", r.policyARN(), r.RoleARN, r.denial.action)
		c.Fix = "Remove that statement, except this role from it by a condition, or remove the boundary from the role."
		c.Change = r.except("the Deny statement in the permissions boundary of " + r.RoleARN)
	}
	return c
}

func (r *refusal) ownSessionPolicy() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseSessionPolicy, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The policy that restricts our own session does not allow %s on %s.", r.denial.action, r.denial.resource),
		Fix:  "This is a fault of the service: report it with this answer.",
	}
}

// organization explains service and resource control policies, of which the
// denial names the kind. statement is what would have to be allowed.
func (r *refusal) organization(statement string) auditdrain.Cause {
	policy, code, of := r.denial.by, CauseSCP, "account "+r.grant.Account()
	if policy == "resource control policy" {
		code, of = CauseRCP, "what the drain writes to"
	}
	if r.denial.explicit {
		return auditdrain.Cause{
			Code: code, Confirmed: true, Who: auditdrain.ActorOrgAdmin,
			Text:   fmt.Sprintf("A Deny statement in a %s%s of the AWS organization of %s forbids %s.", policy, r.policyARN(), of, r.denial.action),
			Fix:    fmt.Sprintf("Except %s from that statement by a condition; no policy of role or bucket can.", r.RoleARN),
			Change: r.except("the Deny statement in the " + policy + r.policyARN()),
		}
	}
	return auditdrain.Cause{
		Code: code, Confirmed: true, Who: auditdrain.ActorOrgAdmin,
		Text:   fmt.Sprintf("No %s of the AWS organization of %s allows %s.", policy, of, r.denial.action),
		Fix:    "Allow it there; no policy of role or bucket can.",
		Change: &auditdrain.Change{Where: policy + " of the organization", Statement: statement},
	}
}

// notPermitted explains that no policy of the role allows s3:PutObject here.
func (r *refusal) notPermitted() {
	switch a := r.findings.permitted; {
	case a == nil:
	case a.varies == otherKey:
		r.first(auditdrain.Cause{
			Code: CauseTestPath, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("The permissions policy of %s allows events to be written (such as %s), but nothing under test/: its Resource is narrower than the endpoint.", r.RoleARN, a.key),
			Fix:    fmt.Sprintf("Add %s to the Resource of that statement: test deliveries write under %s.", r.grant.ObjectsARN(), r.testPath()),
			Change: r.writeStatement(),
		})
		return
	default:
		r.first(auditdrain.Cause{
			Code: CauseResource, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("The permissions policy of %s is for another path: it allows %s to be written.", r.RoleARN, "s3://"+r.grant.Bucket+"/"+a.key),
			Fix:    fmt.Sprintf("Add %s to the Resource of that statement; what else it lists, other drains may need.", r.grant.ObjectsARN()),
			Change: r.writeStatement(),
		})
		return
	}
	r.add(r.permissions())
	r.add(auditdrain.Cause{
		Code: CauseResource, Who: auditdrain.ActorRoleAdmin,
		Text:   fmt.Sprintf("The policy is attached to it, but its Resource does not match %s.", r.grant.ObjectsARN()),
		Fix:    "Add that to the Resource of the statement that allows s3:PutObject.",
		Change: r.writeStatement(),
	})
}

func (r *refusal) permissions() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CausePermissions, Who: auditdrain.ActorRoleAdmin,
		Text:   fmt.Sprintf("No permissions policy that allows s3:PutObject is attached to %s; it may be attached to another role.", r.RoleARN),
		Fix:    "Attach a policy with this statement to exactly that role, or put the ARN of the role that has it into the drain.",
		Change: r.writeStatement(),
	}
}

func (r *refusal) writeStatement() *auditdrain.Change {
	return &auditdrain.Change{Where: "permissions policy of " + r.RoleARN, Statement: r.grant.WriteStatement()}
}

func (r *refusal) testPath() string {
	if r.grant.Prefix == "" {
		return "test/"
	}
	return r.grant.Prefix + "/test/"
}

// bucketDenied explains a Deny statement of the bucket's policy.
func (r *refusal) bucketDenied() {
	switch a := r.findings.permitted; {
	case a == nil:
	case a.varies == otherEncryption:
		r.first(auditdrain.Cause{
			Code: CauseBucketEncryption, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("A Deny statement in the policy of the bucket %s lets no write pass with %s, as the drain sends it, but does with %s.", r.grant.Bucket, encryption(r.delivery), encryption(a.delivery)),
			Fix:    fmt.Sprintf("Set the drain's Encryption to %s, or to what the bucket's default encryption is if that is another that the statement lets pass.", orNone(a.delivery.ServerSideEncryption)),
			Change: r.set("delivery.serverSideEncryption", a.delivery.ServerSideEncryption),
		})
		return
	default:
		r.first(auditdrain.Cause{
			Code: CauseBucketACL, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("A Deny statement in the policy of the bucket %s lets no write pass with the object ACL %s, as the drain sends it, but does with %s.", r.grant.Bucket, orNone(r.delivery.ObjectACL), orNone(a.delivery.ObjectACL)),
			Fix:    fmt.Sprintf("Set the drain's Object ACL to %s; the role's policy has to allow s3:PutObjectAcl if it is not none.", orNone(a.delivery.ObjectACL)),
			Change: r.set("delivery.objectAcl", a.delivery.ObjectACL),
		})
		return
	}
	r.add(auditdrain.Cause{
		Code: CauseBucketDeny, Confirmed: true, Who: auditdrain.ActorBucketOwner,
		Text:   fmt.Sprintf("A Deny statement in the policy of the bucket %s forbids this write; common ones are about who calls, from which network or VPC endpoint, and with which encryption and ACL headers.", r.grant.Bucket),
		Fix:    "Find the Deny statement that matches, and set the drain's Encryption and Object ACL to what it demands, or except the role from it by a condition.",
		Change: r.except("the Deny statement in the policy of bucket " + r.grant.Bucket),
	})
}

func encryption(d auditdrain.Delivery) string {
	if d.ServerSideEncryption == "" {
		return "no encryption header"
	}
	return fmt.Sprintf("the encryption header %q", d.ServerSideEncryption)
}

func orNone(value string) string {
	if value == "" {
		return "none"
	}
	return fmt.Sprintf("%q", value)
}

// unexplained is a plain "Access Denied". AWS gives no more to callers from
// outside of the bucket's account and organization, which the role would be
// only if the bucket is another account's; other stores never give more.
func (r *refusal) unexplained() {
	if !fromAWS(r.AWSAnswer) {
		r.add(r.permissions())
	}
	r.add(r.otherAccount())
	r.add(auditdrain.Cause{
		Code: CauseBucketNetwork, Who: auditdrain.ActorBucketOwner,
		Text: fmt.Sprintf("The bucket %s, or the organization that it is in, keeps callers from outside out.", r.grant.Bucket),
		Fix:  fmt.Sprintf("Except %s from the Deny statement in the bucket's policy or the organization's resource control policy.", r.RoleARN),
	})
}

// fromAWS reports whether S3 itself has answered, and not a store that is
// compatible with it, wherever it is: each says who it is.
func fromAWS(a auditdrain.AWSAnswer) bool {
	return http.Header(a.Headers).Get("Server") == "AmazonS3"
}

func (r *refusal) otherAccount() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseBucketAccount, Who: auditdrain.ActorTeamAdmin,
		Text:   fmt.Sprintf("The bucket %s does not belong to account %s, whose role the drain uses: role and bucket have to be of the same account.", r.grant.Bucket, r.grant.Account()),
		Fix:    "Use a role of the bucket's account, or a bucket of the role's.",
		Change: r.field("delivery.roleArn", ""),
	}
}

// region explains that the bucket is elsewhere. AWS says where in a header or,
// if the signature was for another region, in the body.
func (r *refusal) region() {
	actual := http.Header(r.Headers).Get("x-amz-bucket-region")
	if actual == "" {
		var body struct{ Region string }
		_ = xml.Unmarshal([]byte(r.Body), &body) // a body of another form names no region
		actual = body.Region
	}
	if actual == r.delivery.Region || actual == "" && r.Code != "PermanentRedirect" {
		return // there are other reasons for it
	}
	c := auditdrain.Cause{
		Code: CauseRegion, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
		Text:   fmt.Sprintf("The bucket %s is in the region %s, not in %s.", r.grant.Bucket, actual, r.delivery.Region),
		Fix:    fmt.Sprintf("Set the drain's region to %s.", actual),
		Change: r.field("delivery.region", actual),
	}
	if actual == "" {
		c.Confirmed = false
		c.Text = fmt.Sprintf("The bucket %s is in another region than %s.", r.grant.Bucket, r.delivery.Region)
		c.Fix = "Look up the bucket's region in the S3 console, and set it in the drain."
	}
	r.add(c)
}

// invalidToken explains a session token that the bucket's region does not
// take.
func (r *refusal) invalidToken() {
	r.add(auditdrain.Cause{
		Code: CauseGlobalSTS, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The session was made by an STS endpoint whose tokens are not valid in %s: those of the global endpoint are not, in regions that have to be enabled.", r.delivery.Region),
		Fix:  "Let the service use a regional STS endpoint: set AWS_REGION, and no AWS_ENDPOINT_URL_STS of sts.amazonaws.com.",
	})
	r.add(auditdrain.Cause{
		Code: CauseOptInRegion, Who: auditdrain.ActorRoleAdmin,
		Text:   fmt.Sprintf("The region %s is not enabled in account %s.", r.delivery.Region, r.grant.Account()),
		Fix:    "Enable it in that account: console, Account, AWS Regions.",
		Change: &auditdrain.Change{Where: "AWS Regions of account " + r.grant.Account()},
	})
}
