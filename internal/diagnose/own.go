package diagnose

import (
	"fmt"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// The causes that the platform's operator has to mend, or nobody, for
// programs.
const (
	CauseWriterPolicy   auditdrain.CauseCode = "writer_policy"    // our own identity may not assume the role
	CauseWriterRole     auditdrain.CauseCode = "writer_role"      // our own role cannot be assumed by us
	CauseOwnCredentials auditdrain.CauseCode = "own_credentials"  // missing, expired, unknown or wrong
	CauseClock          auditdrain.CauseCode = "clock_skew"       // our clock
	CausePartition      auditdrain.CauseCode = "partition"        // another AWS than ours
	CauseSession        auditdrain.CauseCode = "session_rejected" // S3 does not take what STS has issued
	CauseNoAnswer       auditdrain.CauseCode = "no_answer"        // network, DNS, TLS, proxy
	CauseAWSBusy        auditdrain.CauseCode = "aws_busy"         // throttled, or AWS's own fault
)

// ownTrouble explains what STS refuses before it looks at the customer's role,
// and reports whether that was it.
func (r *refusal) ownTrouble() bool {
	if ours, theirs := partitionOf(r.grant.WriterRoleARN), partitionOf(r.delivery.RoleARN); ours != "" && ours != theirs {
		r.add(auditdrain.Cause{
			Code: CausePartition, Confirmed: true, Who: auditdrain.ActorTeamAdmin,
			Text: fmt.Sprintf("This platform is in AWS's partition %s, and the drain's role in %s: neither knows the other.", ours, theirs),
			Fix:  fmt.Sprintf("Use a bucket and a role in the partition %s.", ours),
		})
		return true
	}
	switch r.Code {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken":
		r.ownCredentials()
		return true
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "IncompleteSignature":
		if r.late() {
			r.clock()
		} else {
			r.add(auditdrain.Cause{
				Code: CauseOwnCredentials, Who: auditdrain.ActorOperator,
				Text: "The platform's own secret key is not the one of its access key, or something between it and AWS changes its requests.",
				Fix:  "Look at the AWS credentials that the service runs with, and at proxies on the way; all drains are affected.",
			})
		}
		return true
	}
	if r.RoleARN == "" || r.RoleARN != r.grant.WriterRoleARN || r.RoleARN == r.delivery.RoleARN {
		return false
	}
	r.add(auditdrain.Cause{
		Code: CauseWriterRole, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The platform could not become its own writer role %s; all drains are affected.", r.RoleARN),
		Fix:  "Let the writer role's trust policy name what the service runs as, allow that to call sts:AssumeRole on it, or mend --writer-role-arn.",
	})
	return true
}

// ownCredentials explains that AWS does not know what the service signs with.
func (r *refusal) ownCredentials() {
	c := auditdrain.Cause{
		Code: CauseOwnCredentials, Who: auditdrain.ActorOperator,
		Text: "AWS does not know the platform's own credentials in this region.",
		Fix:  "Look at the AWS credentials that the service runs with (instance role, IRSA, environment, profile), and whether its account has enabled the region; all drains may be affected.",
	}
	if strings.HasPrefix(r.Code, "ExpiredToken") {
		c.Confirmed = true
		c.Text = "The platform's own credentials have expired."
	}
	r.add(c)
}

// partitionOf is the partition in an ARN.
func partitionOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 3); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// late reports whether a signature was refused for its time.
func (r *refusal) late() bool {
	return r.Code == "RequestTimeTooSkewed" || r.Code == "RequestExpired" ||
		strings.Contains(r.Message, "Signature expired") || strings.Contains(r.Message, "Signature not yet current")
}

func (r *refusal) clock() {
	r.add(auditdrain.Cause{
		Code: CauseClock, Confirmed: true, Who: auditdrain.ActorOperator,
		Text: "The clock of the machine that the service runs on is wrong.",
		Fix:  "Let it follow a time server (NTP); all drains are affected.",
	})
}

// sessionRejected explains that S3 does not take a session that STS has issued
// just now.
func (r *refusal) sessionRejected() {
	r.add(auditdrain.Cause{
		Code: CauseSession, Who: auditdrain.ActorOperator,
		Text: "S3 does not take the session that STS has issued: the two are not of one system, or something between the service and S3 changes requests.",
		Fix:  "Look at AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_STS of the service, and at proxies on the way.",
	})
}

// writerPolicy explains that a policy on our side does not let us assume the
// role. by is its kind.
func (r *refusal) writerPolicy(by string) auditdrain.Cause {
	c := auditdrain.Cause{
		Code: CauseWriterPolicy, Who: auditdrain.ActorOperator,
		Text: fmt.Sprintf("The platform's own %s does not let %s assume that role.", by, r.writer()),
		Fix:  "Allow it there. All customers' roles, but none of the platform's own account, is what the service needs.",
		Change: &auditdrain.Change{
			Where:     by + " of " + r.writer(),
			Statement: r.grant.AssumeStatement(),
		},
	}
	if r.denial.explicit {
		c.Text = fmt.Sprintf("A Deny statement in the platform's own %s%s keeps %s from assuming that role.", by, r.policyARN(), r.writer())
		c.Fix = "Remove it, or except customers' roles from it."
		c.Change.Statement = ""
	}
	return c
}

// noAnswer explains that AWS was not reached, or not even asked.
func (r *refusal) noAnswer() {
	switch {
	case r.NoCredentials:
		r.add(auditdrain.Cause{
			Code: CauseOwnCredentials, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: "The service could not get AWS credentials of its own.",
			Fix:  "Look at where it should get them from (instance role, IRSA, container role, environment, profile); all drains are affected.",
		})
	case r.Host != "":
		r.add(auditdrain.Cause{
			Code: CauseNoAnswer, Confirmed: true, Who: auditdrain.ActorOperator,
			Text: upper(r.Message) + ".",
			Fix:  fmt.Sprintf("Deliveries are repeated until there is an answer; if it lasts, look at the way from the service to %s (DNS, firewall, proxy, TLS).", r.Host),
		})
	}
}
