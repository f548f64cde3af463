package diagnose

import (
	"fmt"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// The causes of what STS refuses, for programs.
const (
	CauseTrustPrincipal  auditdrain.CauseCode = "trust_principal"   // does not name our writer role
	CauseTrustExternalID auditdrain.CauseCode = "trust_external_id" // demands another one
	CauseTrustDeny       auditdrain.CauseCode = "trust_deny"        // a Deny statement
	CauseRoleMissing     auditdrain.CauseCode = "role_missing"
	CauseWriterPolicy    auditdrain.CauseCode = "writer_policy" // our own identity may not assume it
	CauseWriterRole      auditdrain.CauseCode = "writer_role"   // our own role cannot be assumed by us
	CauseWriterOrgPolicy auditdrain.CauseCode = "writer_scp"    // our own organization forbids it
	CauseRoleOrgPolicy   auditdrain.CauseCode = "role_rcp"      // the role's organization forbids it
	CauseSTSRegion       auditdrain.CauseCode = "sts_region_disabled"
	CauseOwnCredentials  auditdrain.CauseCode = "own_credentials"  // expired, unknown or wrong
	CauseClock           auditdrain.CauseCode = "clock_skew"       // our clock
	CauseRoleARN         auditdrain.CauseCode = "role_arn"         // AWS does not take it for one
	CauseSessionTooLong  auditdrain.CauseCode = "session_duration" // longer than the role allows
	CauseSessionPolicy   auditdrain.CauseCode = "session_policy"   // ours
	CauseNoAnswer        auditdrain.CauseCode = "no_answer"        // network, DNS, TLS, proxy
	CauseAWSBusy         auditdrain.CauseCode = "aws_busy"         // throttled, or AWS's own fault
)

// stsRefused explains refusals of AssumeRole, which are all that STS refuses.
func (r *refusal) stsRefused() {
	switch r.Code {
	case "AccessDenied", "AccessDeniedException":
		if r.ownRole() {
			r.writerRoleRefused()
			return
		}
		r.assumeDenied()
	case "RegionDisabledException":
		r.add(auditdrain.Cause{
			Code: CauseSTSRegion, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text: fmt.Sprintf("STS is not active in the region of %s for account %s.", r.Host, r.grant.Account()),
			Fix:  "Activate STS in that region: IAM console, Account settings, Security Token Service.",
			Change: &auditdrain.Change{
				Where: "account settings of IAM in account " + r.grant.Account(),
				Value: "STS endpoint of the region active",
			},
		})
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken":
		r.ownCredentials()
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
		r.signature()
	case "ValidationError", "ValidationException":
		r.assumeInvalid()
	case "PackedPolicyTooLarge", "PackedPolicyTooLargeException", "MalformedPolicyDocument":
		r.add(auditdrain.Cause{
			Code: CauseSessionPolicy, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text: "AWS does not take the policy that restricts our session to the endpoint.",
			Fix:  "Use a shorter prefix, of plain letters, in the drain's endpoint.",
			Change: &auditdrain.Change{
				Where: "the drain", Field: "delivery.endpoint", Value: "s3://" + r.grant.Bucket + "/audit-logs",
			},
		})
	}
}

// ownRole reports whether the call was to assume the writer role, before any
// customer's.
func (r *refusal) ownRole() bool {
	return r.RoleARN != "" && r.RoleARN == r.grant.WriterRoleARN && r.RoleARN != r.delivery.RoleARN
}

func (r *refusal) writerRoleRefused() {
	r.add(auditdrain.Cause{
		Code: CauseWriterRole, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The platform could not become its own writer role %s; all drains are affected.", r.RoleARN),
		Fix:  "Let the writer role's trust policy name what the service runs as, allow that to call sts:AssumeRole on it, or mend --writer-role-arn.",
	})
}

// assumeDenied tells apart what STS words alike. Across accounts it says no
// more than that it was denied; only within an account or organization it names
// the kind of policy.
func (r *refusal) assumeDenied() {
	switch by := r.denial.by; {
	case r.findings.acceptedID != "":
		r.first(r.externalID(fmt.Sprintf("The trust policy of %s names %s, but demands the external ID %q instead of %q.",
			r.RoleARN, r.writer(), r.findings.acceptedID, r.grant.ExternalID)))
	case r.findings.anyID:
		r.first(r.externalID(fmt.Sprintf("The trust policy of %s names %s, but its condition on sts:ExternalId holds for others and not for %q.",
			r.RoleARN, r.writer(), r.grant.ExternalID)))
	case by == "identity-based policy", by == "permissions boundary", by == "session policy":
		c := r.writerPolicy()
		c.Confirmed = true
		r.add(c)
	case by == "service control policy":
		r.add(auditdrain.Cause{
			Code: CauseWriterOrgPolicy, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "A service control policy of the platform's own AWS organization does not let it call sts:AssumeRole.",
			Fix:  "Let the organization's service control policies allow sts:AssumeRole for the writer role.",
		})
	case by == "resource control policy":
		r.add(auditdrain.Cause{
			Code: CauseRoleOrgPolicy, Confirmed: true, Who: auditdrain.ActorOrgAdmin,
			Text: fmt.Sprintf("A resource control policy of the AWS organization of account %s keeps others from assuming its roles.", r.grant.Account()),
			Fix:  fmt.Sprintf("Except %s from it, or the role %s.", r.writer(), r.RoleARN),
		})
	case by != "" && by != "role trust policy" && by != "resource-based policy": // new to us
	case r.denial.explicit:
		r.add(auditdrain.Cause{
			Code: CauseTrustDeny, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text: fmt.Sprintf("A Deny statement in the trust policy of %s keeps %s out.", r.RoleARN, r.writer()),
			Fix:  "Remove that statement, or except this principal from it.",
		})
	default:
		r.add(r.principal())
		r.add(r.externalID(fmt.Sprintf("The trust policy of %s demands another external ID than %q.", r.RoleARN, r.grant.ExternalID)))
		if by == "" { // else AWS has looked at the trust policy, so there is one
			r.add(auditdrain.Cause{
				Code: CauseRoleMissing, Who: auditdrain.ActorTeamAdmin,
				Text: fmt.Sprintf("There is no role %s: AWS does not tell that apart.", r.RoleARN),
				Fix:  "Copy the role's ARN from the IAM console, with its path, into the drain; a role that was just created takes some seconds.",
				Change: &auditdrain.Change{
					Where: "the drain", Field: "delivery.roleArn", Value: "the ARN of the role that exists",
				},
			})
			r.add(r.writerPolicy())
		}
	}
}

// writer is whom the trust policy has to name, in words.
func (r *refusal) writer() string {
	return strings.TrimSpace("our writer role " + r.grant.WriterRoleARN)
}

func (r *refusal) principal() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseTrustPrincipal, Who: auditdrain.ActorRoleAdmin,
		Text:   fmt.Sprintf("The trust policy of %s does not name %s as its principal.", r.RoleARN, r.writer()),
		Fix:    "Make this the statement of the role's trust policy; it has both the principal and the external ID.",
		Change: r.trustStatement(),
	}
}

func (r *refusal) externalID(text string) auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseTrustExternalID, Who: auditdrain.ActorRoleAdmin, Text: text,
		Fix:    fmt.Sprintf("Set sts:ExternalId in the role's trust policy to exactly %q, under StringEquals.", r.grant.ExternalID),
		Change: r.trustStatement(),
	}
}

func (r *refusal) trustStatement() *auditdrain.Change {
	return &auditdrain.Change{Where: "trust policy of " + r.RoleARN, Statement: r.grant.TrustStatement()}
}

func (r *refusal) writerPolicy() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseWriterPolicy, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The platform's own policies do not let %s assume that role.", r.writer()),
		Fix:  "Allow it in the writer role's identity-based policy, permissions boundary and session policy.",
		Change: &auditdrain.Change{
			Where: "permissions policy of " + r.grant.WriterRoleARN,
			Statement: `{
  "Effect": "Allow",
  "Action": "sts:AssumeRole",
  "Resource": "*"
}`,
		},
	}
}

func (r *refusal) assumeInvalid() {
	switch message := r.Message; {
	case strings.Contains(message, "role chaining"), strings.Contains(message, "DurationSeconds"):
		r.add(auditdrain.Cause{
			Code: CauseSessionTooLong, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "The session that we asked for is longer than AWS allows here.",
			Fix:  "This is a fault of the service, which asks for one hour: report it with this answer.",
		})
	case strings.Contains(message, "roleArn"), strings.HasSuffix(message, " is invalid"):
		r.add(auditdrain.Cause{
			Code: CauseRoleARN, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("AWS does not take %q for the ARN of a role.", r.RoleARN),
			Fix:    "Copy the role's ARN from the IAM console into the drain.",
			Change: &auditdrain.Change{Where: "the drain", Field: "delivery.roleArn", Value: "the ARN of the role that exists"},
		})
	}
}

// ownCredentials explains that AWS does not take what the service signs with.
func (r *refusal) ownCredentials() {
	r.add(auditdrain.Cause{
		Code: CauseOwnCredentials, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: "AWS does not take the platform's own credentials: they have expired, or are not known.",
		Fix:  "Look at the AWS credentials that the service runs with (instance role, IRSA, environment, profile); all drains are affected.",
	})
}

// signature explains signatures that AWS does not take: because of our clock,
// or of our secret key.
func (r *refusal) signature() {
	late := r.Code != "SignatureDoesNotMatch" || strings.Contains(r.Message, "Signature expired") || strings.Contains(r.Message, "Signature not yet current")
	if late {
		r.add(auditdrain.Cause{
			Code: CauseClock, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "The clock of the machine that the service runs on is wrong.",
			Fix:  "Let it follow a time server (NTP); all drains are affected.",
		})
		return
	}
	r.add(auditdrain.Cause{
		Code: CauseOwnCredentials, Who: auditdrain.ActorOperator,
		Text: "The platform's own secret key is not the one of its access key, or something between it and AWS changes its requests.",
		Fix:  "Look at the AWS credentials that the service runs with, and at proxies on the way; all drains are affected.",
	})
}

// noAnswer explains that AWS was not reached.
func (r *refusal) noAnswer() {
	if strings.HasPrefix(r.Message, "our own AWS credentials") {
		r.ownCredentials()
		return
	}
	if r.Host == "" {
		return
	}
	r.add(auditdrain.Cause{
		Code: CauseNoAnswer, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: upper(r.Message) + ".",
		Fix:  fmt.Sprintf("Deliveries are repeated until there is an answer; if it lasts, look at the way from the service to %s (DNS, firewall, proxy, TLS).", r.Host),
	})
}
