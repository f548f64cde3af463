package diagnose

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// The causes of what STS refuses, for programs.
const (
	CauseTrustPrincipal  auditdrain.CauseCode = "trust_principal"   // does not name our writer role
	CauseTrustExternalID auditdrain.CauseCode = "trust_external_id" // demands another one
	CauseTrustDeny       auditdrain.CauseCode = "trust_deny"        // a Deny statement
	CauseRoleMissing     auditdrain.CauseCode = "role_missing"
	CauseRoleOrgPolicy   auditdrain.CauseCode = "role_rcp" // the role's organization forbids it
	CauseRoleARN         auditdrain.CauseCode = "role_arn" // AWS does not take it for one
	CauseSTSRegion       auditdrain.CauseCode = "sts_region_disabled"
	CauseSessionTooLong  auditdrain.CauseCode = "session_duration" // longer than the role allows
	CauseSessionPolicy   auditdrain.CauseCode = "session_policy"   // ours
)

// stsRefused explains refusals of AssumeRole, which are all that STS refuses.
func (r *refusal) stsRefused() {
	if r.ownTrouble() {
		return
	}
	switch r.Code {
	case "AccessDenied", "AccessDeniedException":
		r.assumeDenied()
	case "RegionDisabledException":
		account := r.grant.Account()
		if m := disabledForRE.FindStringSubmatch(r.Message); m != nil {
			account = m[1]
		}
		r.add(auditdrain.Cause{
			Code: CauseSTSRegion, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("STS is not active for account %s in the region of %s.", account, r.Host),
			Fix:    "Activate STS in that region: IAM console, Account settings, Security Token Service; a region that has to be enabled is enabled under Account, AWS Regions.",
			Change: &auditdrain.Change{Where: "account settings of IAM in account " + account},
		})
	case "ValidationError", "ValidationException":
		r.assumeInvalid()
	case "PackedPolicyTooLarge", "PackedPolicyTooLargeException", "MalformedPolicyDocument":
		r.add(auditdrain.Cause{
			Code: CauseSessionPolicy, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text:   "AWS does not take the policy that restricts our session to the endpoint.",
			Fix:    "Use a shorter prefix, of plain letters, in the drain's endpoint.",
			Change: r.field("delivery.endpoint", ""),
		})
	}
}

var disabledForRE = regexp.MustCompile(`for account: ?(\d{12})`)

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
	case by == "identity-based policy", by == "permissions boundary", by == "session policy", by == "service control policy":
		r.first(r.writerPolicy(by))
	case by == "resource control policy":
		r.add(auditdrain.Cause{
			Code: CauseRoleOrgPolicy, Confirmed: true, Who: auditdrain.ActorOrgAdmin,
			Text: fmt.Sprintf("A resource control policy%s of the AWS organization of account %s keeps others from assuming its roles.", r.policyARN(), r.grant.Account()),
			Fix:  fmt.Sprintf("Except %s from it, by a condition of its Deny statement.", r.writer()),
			Change: &auditdrain.Change{
				Where: "the Deny statement in the resource control policy" + r.policyARN(), Condition: exceptPrincipal(r.grant.WriterRoleARN),
			},
		})
	case by != "" && by != "role trust policy" && by != "resource-based policy", r.denial.newReason: // new to us
	case r.denial.explicit:
		r.add(auditdrain.Cause{
			Code: CauseTrustDeny, Confirmed: by != "", Who: auditdrain.ActorRoleAdmin,
			Text: fmt.Sprintf("A Deny statement in the trust policy of %s keeps %s out.", r.RoleARN, r.writer()),
			Fix:  "Remove that statement, or except this principal from it by a condition.",
			Change: &auditdrain.Change{
				Where: "the Deny statement in the trust policy of " + r.RoleARN, Condition: exceptPrincipal(r.grant.WriterRoleARN),
			},
		})
	default:
		r.add(r.principal())
		r.add(r.externalID(fmt.Sprintf("The trust policy of %s demands another external ID than %q.", r.RoleARN, r.grant.ExternalID)))
		if by != "" {
			return // AWS has looked at the trust policy, so there is one
		}
		r.add(auditdrain.Cause{
			Code: CauseRoleMissing, Who: auditdrain.ActorTeamAdmin,
			Text:   fmt.Sprintf("There is no role %s: AWS does not tell that apart.", r.RoleARN),
			Fix:    "Copy the role's ARN from the IAM console, with its path, into the drain; a role that was just created takes some seconds.",
			Change: r.field("delivery.roleArn", ""),
		})
		r.add(r.writerPolicy("identity-based policy"))
	}
}

// exceptPrincipal is a condition that keeps a Deny from a role. It holds for a
// role's sessions, too.
func exceptPrincipal(arn string) string {
	return fmt.Sprintf("%q: {%q: %q}", "ArnNotEquals", "aws:PrincipalArn", arn)
}

// writer is whom the trust policy has to name, in words.
func (r *refusal) writer() string {
	return strings.TrimSpace("our writer role " + r.grant.WriterRoleARN)
}

// policyARN is the denying policy's, in words, where AWS tells it.
func (r *refusal) policyARN() string {
	if r.denial.policy == "" {
		return ""
	}
	return " " + r.denial.policy
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
			Change: r.field("delivery.roleArn", ""),
		})
	}
}
