// Package diagnose turns what AWS refused into what to do about it: what
// failed, the likeliest cause and the others that fit, who must act, and the
// exact statement or setting to change.
//
// It guarantees that nothing is guessed. A cause is named only if AWS's answer
// fits it; it is called confirmed only if the answer, or a further call, leaves
// no other; an answer that fits nothing known is shown as it is and said to be
// unknown. The same answer and findings always give the same words, which are
// those of test deliveries, of a drain's last error, and of the log.
//
// Status and code decide; messages only tell apart what shares them, since
// stores that are compatible with S3 word theirs differently.
package diagnose

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Explainer explains what AWS answered to the deliveries of drains.
type Explainer struct {
	Namespace auditdrain.Namespace
	// WriterARN is whom trust policies must name, as far as that is known:
	// "" if not. It makes no call.
	WriterARN func() string
}

// Explain returns the diagnosis of an error of d's deliveries, and false if it
// is not AWS's.
func (x Explainer) Explain(d auditdrain.Drain, err error) (auditdrain.Diagnosis, bool) {
	answer, ok := answerOf(err)
	if !ok {
		return auditdrain.Diagnosis{}, false
	}
	return x.explain(d, answer, findings{}), true
}

func answerOf(err error) (auditdrain.AWSAnswer, bool) {
	if err == nil {
		return auditdrain.AWSAnswer{}, false
	}
	var answered interface{ AWSAnswer() auditdrain.AWSAnswer }
	if !errors.As(err, &answered) {
		return auditdrain.AWSAnswer{}, false
	}
	return answered.AWSAnswer(), true
}

// findings are what further calls have shown. The zero findings are none.
type findings struct {
	// allowedNow: what was refused seems to be permitted by now.
	allowedNow bool
	// acceptedID is another external ID by which the role can be assumed, ""
	// if none was found. anyID: it can be assumed without one, or with any.
	acceptedID string
	anyID      bool
	// permitted is a write that S3 would permit though it has refused the one
	// that is explained, nil if none was found.
	permitted *attempt
}

// attempt is a write that differs from the one that was refused.
type attempt struct {
	varies   variation
	key      string
	delivery auditdrain.Delivery
}

// variation is in what an attempt differs.
type variation string

const (
	otherKey        variation = "key outside of test/"
	prefixItself    variation = "the prefix as a key"
	documentsPrefix variation = "prefix of the documentation's example"
	otherEncryption variation = "encryption"
	otherACL        variation = "object ACL"
)

// refusal is one answer on its way to a diagnosis.
type refusal struct {
	auditdrain.AWSAnswer
	delivery auditdrain.Delivery
	grant    iam.Grant
	denial   denial
	findings findings
	causes   []auditdrain.Cause
}

func (x Explainer) explain(d auditdrain.Drain, answer auditdrain.AWSAnswer, found findings) auditdrain.Diagnosis {
	answer.Message = clip(answer.Message)
	r := &refusal{AWSAnswer: answer, delivery: d.Delivery, grant: x.grant(d), denial: parseDenial(answer.Message), findings: found}
	if strings.HasPrefix(r.denial.action, "kms:") {
		r.grant.KMSKeyARN = cmp.Or(r.denial.resource, unknownKey)
	}

	switch {
	case answer.HTTPStatus == 0:
		r.noAnswer()
	case r.passing():
		r.add(auditdrain.Cause{
			// Without AWS's code, a proxy may have answered.
			Code: CauseAWSBusy, Confirmed: answer.Code != "", Who: auditdrain.ActorNobody,
			Text: "AWS is too busy, or has an error of its own.",
			Fix:  "Nothing has to be changed: deliveries are repeated until they succeed.",
		})
	case answer.Service == "sts":
		r.stsRefused()
	default:
		r.s3Refused()
	}
	return auditdrain.Diagnosis{
		Summary:    r.summary(),
		Known:      len(r.causes) > 0,
		Causes:     r.causes,
		CloudTrail: r.cloudTrail(),
		Docs:       r.docs(),
		Answer:     r.answer(),
		RequestID:  answer.RequestID,
	}
}

// grant is what d needs of its account.
func (x Explainer) grant(d auditdrain.Drain) iam.Grant {
	g := iam.GrantFor(d.Delivery)
	g.ExternalID = x.Namespace.ExternalID(d.TeamID)
	g.WriterRoleARN = x.WriterARN()
	return g
}

func (r *refusal) add(c auditdrain.Cause) { r.causes = append(r.causes, c) }

// first puts causes that something has confirmed before all others.
func (r *refusal) first(c auditdrain.Cause) {
	c.Confirmed = true
	r.causes = slices.Insert(r.causes, 0, c)
}

// passing reports whether AWS has refused nothing and will answer otherwise by
// itself.
func (r *refusal) passing() bool {
	switch r.Code {
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "KMS.ThrottlingException",
		"InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict",
		"TemporaryRedirect": // a new bucket whose name has not spread yet
		return true
	case "":
		return r.HTTPStatus >= 500 && r.HTTPStatus != http.StatusNotImplemented || r.HTTPStatus == http.StatusTooManyRequests
	}
	return false
}

// summary is what failed, in one sentence.
func (r *refusal) summary() string {
	what := r.attempted()
	switch {
	case r.HTTPStatus == 0 && r.Host == "":
		return fmt.Sprintf("We could not even try to %s.", what)
	case r.HTTPStatus == 0:
		return fmt.Sprintf("We could not %s: no answer came from %s.", what, r.Host)
	case r.passing():
		return fmt.Sprintf("AWS could not %s just now.", what)
	case r.Service == "sts":
		return fmt.Sprintf("AWS STS did not let us %s.", what)
	case strings.HasPrefix(r.denial.action, "kms:"), strings.HasPrefix(r.Code, "KMS."):
		return fmt.Sprintf("S3 could not use the KMS key to %s.", what)
	}
	return fmt.Sprintf("S3 did not let us %s.", what)
}

// attempted is the call in words.
func (r *refusal) attempted() string {
	switch r.Operation {
	case "AssumeRole":
		return fmt.Sprintf("assume the role %s", r.RoleARN)
	case "PutObject":
		return fmt.Sprintf("write s3://%s/%s with the role %s", r.grant.Bucket, r.Key, r.RoleARN)
	}
	return "call " + r.Operation
}

// answer is AWS's own words.
func (r *refusal) answer() string {
	if r.HTTPStatus == 0 {
		return "nothing; " + r.Message
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%d %s %s", r.HTTPStatus, r.Code, r.Message)), " ")
}

// clip bounds what a server can make us store and show.
func clip(s string) string {
	const most = 2048
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// denial is AWS's wording of AccessDenied taken apart. The zero denial is any
// other wording.
type denial struct {
	action, resource string
	explicit         bool   // by a Deny, not for want of an Allow
	by               string // the kind of policy, as AWS calls it; "" if AWS does not say
	policy           string // its ARN, if AWS tells it
	anyKeyReason     bool   // KMS across accounts: "does not exist in this Region, no resource-based policies …, or …"
	newReason        bool   // AWS says why, in words that we do not know
}

var (
	denialRE   = regexp.MustCompile(`(?s)^User: \S+ is not authorized to perform: ([\w:]+)(?: on resource: (?:"([^"]*)"|(\S+))| on this resource)?(.*)$`)
	implicitRE = regexp.MustCompile(`because no (.+?) allows the`)
	explicitRE = regexp.MustCompile(`with an explicit deny(?: in (?:an?|the) ([A-Za-z -]+)(?:: (arn:\S+))?)?`)
	anyKeyRE   = regexp.MustCompile(`because the resource does not exist in this Region`)
)

// parseDenial takes a message like "User: … is not authorized to perform: … on
// resource: … because no identity-based policy allows the … action" apart.
func parseDenial(message string) denial {
	m := denialRE.FindStringSubmatch(message)
	if m == nil {
		return denial{}
	}
	d := denial{action: m[1], resource: m[2] + m[3]}
	reason := strings.Trim(m[4], " .")
	if by := explicitRE.FindStringSubmatch(reason); by != nil {
		d.explicit, d.by, d.policy = true, strings.TrimSpace(by[1]), by[2]
	} else if by := implicitRE.FindStringSubmatch(reason); by != nil {
		d.by = by[1]
	} else {
		d.anyKeyReason = anyKeyRE.MatchString(reason)
		d.newReason = reason != "" && !d.anyKeyReason
	}
	return d
}
