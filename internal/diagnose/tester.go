package diagnose

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// AWS is what a test needs of it. Only Test changes anything.
type AWS interface {
	// Test writes e as a test object and returns its key and the calls made.
	Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (key string, steps []auditdrain.TestStep, err error)
	// Assume returns nil if d's role can be assumed with that external ID, ""
	// meaning none.
	Assume(ctx context.Context, d auditdrain.Drain, externalID string) error
	// Rehearse returns a function that returns nil if a write with that
	// delivery's encryption and ACL would be permitted, and writes nothing.
	Rehearse(d auditdrain.Drain) (func(ctx context.Context, delivery auditdrain.Delivery, key string) error, error)
}

// Tester tries deliveries out, and finds out why they fail. It is safe for
// concurrent use.
type Tester struct {
	AWS       AWS
	Explainer Explainer
	// RefuseUnsafe lets nothing be written through a role that others than
	// its team could use.
	RefuseUnsafe bool
}

// furtherCalls bounds how long the calls besides the delivery itself take
// together: somebody waits for the result. What is not found out by then stays
// open.
const furtherCalls = 20 * time.Second

// Test writes e as a test object, and tries whether others than the team could
// use the role. If AWS refuses, further calls, none of which changes anything,
// narrow down why; if they show that it is permitted by now, it is written
// after all. The error is ours; what AWS refused is a result.
func (t Tester) Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.DrainTestResult, error) {
	var check auditdrain.RoleCheck
	if t.RefuseUnsafe {
		if check = t.CheckRole(ctx, d); check.Unsafe {
			return auditdrain.DrainTestResult{Status: "error", Error: check.Text, Endpoint: d.Delivery.Endpoint, RoleCheck: &check}, nil
		}
	}
	key, steps, err := t.AWS.Test(ctx, d, e)
	answer, refused := answerOf(err)
	if err != nil && !refused {
		return auditdrain.DrainTestResult{}, err
	}
	result := auditdrain.DrainTestResult{Key: key, Steps: steps}
	for _, s := range steps {
		result.Duration += s.Duration
	}
	ctx, cancel := context.WithTimeout(ctx, furtherCalls)
	defer cancel()
	bySTS := refused && answer.Service == "sts"
	// Without a refusal of AssumeRole, STS decides nothing just now.
	if !t.RefuseUnsafe && (!bySTS || answer.Code == "AccessDenied") {
		check = t.CheckRole(ctx, d)
	}
	if bySTS && !check.Unsafe { // it refuses everybody, and so says nothing of others
		check = t.roleCheck(d, auditdrain.RoleUnknown, auditdrain.RoleUnknown)
	}
	result.RoleCheck = &check
	if !refused {
		return result, nil
	}
	found := t.probe(ctx, d, e, answer, check)
	if found.allowedNow {
		// AWS takes some seconds to apply a change of policies everywhere.
		// What counts is how it is now.
		if key, steps, err := t.AWS.Test(ctx, d, e); err == nil {
			result.Key, result.Steps = key, append(result.Steps, steps...)
			result.RoleCheck = new(t.CheckRole(ctx, d))
			return result, nil
		}
		found = findings{} // what has shown it says nothing
	}
	diagnosis := t.Explainer.explain(d, answer, found)
	result.Status = "error"
	result.Error = diagnosis.String()
	result.Endpoint = d.Delivery.Endpoint
	result.AWS = &answer
	result.Diagnosis = &diagnosis
	return result, nil
}

// probe makes the further calls that tell apart what shares one answer.
func (t Tester) probe(ctx context.Context, d auditdrain.Drain, e auditdrain.Event, answer auditdrain.AWSAnswer, check auditdrain.RoleCheck) findings {
	switch {
	case answer.Code != "AccessDenied" || answer.RoleARN != d.Delivery.RoleARN:
		return findings{}
	case answer.Service == "sts":
		return t.probeRole(ctx, d, check)
	case fromAWS(answer): // other stores decide in an order of their own
		return t.probeWrites(ctx, d, e, answer)
	}
	return findings{}
}

// probeRole looks for the mistake that the role's administrator may have made
// with the external ID. That one is accepted proves that the trust policy names
// the right principal. None of those tried can be another team's: they do not
// begin as external IDs of this platform do, or are this team's own.
func (t Tester) probeRole(ctx context.Context, d auditdrain.Drain, check auditdrain.RoleCheck) findings {
	right := t.Explainer.Namespace.ExternalID(d.TeamID)
	found := findings{anyID: check.Unsafe}
	tried := []string{right, ""}
	for _, id := range []string{
		d.TeamID, // without what comes before it
		auditdrain.DefaultNamespace.ExternalID(d.TeamID), // as in the reference system
		string(t.Explainer.Namespace) + ":" + d.TeamID,
		string(t.Explainer.Namespace) + "-team-" + d.TeamID,
		d.ID, // the drain's own
	} {
		if found.anyID || found.acceptedID != "" {
			break
		}
		if slices.Contains(tried, id) || len(id) < 2 { // STS takes no shorter ones
			continue
		}
		tried = append(tried, id)
		if t.AWS.Assume(ctx, d, id) == nil {
			found.acceptedID = id
		}
	}
	// A change that has just been made may not have been everywhere yet.
	found.allowedNow = t.AWS.Assume(ctx, d, right) == nil
	return found
}

// probeWrites asks S3 which other writes it would permit.
func (t Tester) probeWrites(ctx context.Context, d auditdrain.Drain, e auditdrain.Event, answer auditdrain.AWSAnswer) findings {
	why := parseDenial(answer.Message)
	all := attempts(d.Delivery, e, why)
	if len(all) == 0 {
		return findings{}
	}
	try, err := t.AWS.Rehearse(d)
	if err != nil {
		return findings{} // nothing more is found out
	}
	// What was refused is tried first. If it is permitted by now, that is it;
	// if it is refused for another reason, the rest would say nothing.
	if err := try(ctx, d.Delivery, answer.Key); err == nil {
		return findings{allowedNow: true}
	} else if again, _ := answerOf(err); again.Service != "s3" || parseDenial(again.Message).by != why.by {
		return findings{}
	}
	for _, a := range all {
		err := try(ctx, a.delivery, a.key)
		if a.permittedBy(err) {
			return findings{permitted: &a}
		}
		if answer, _ := answerOf(err); answer.Service != "s3" {
			break // no session any more, or no time
		}
	}
	return findings{}
}

// attempts are the writes that would tell why one was denied, the likeliest
// first.
func attempts(d auditdrain.Delivery, e auditdrain.Event, why denial) []attempt {
	if why.action != "s3:PutObject" {
		return nil
	}
	var all []attempt
	switch {
	case why.by == "resource-based policy" && why.explicit:
		key := d.ObjectKey(e, true)
		// AES256 late: it would override a default encryption with KMS.
		for _, sse := range []string{"aws:kms", "aws:kms:dsse", "AES256", ""} {
			other := d
			if other.ServerSideEncryption = sse; sse != d.ServerSideEncryption {
				all = append(all, attempt{otherEncryption, key, other})
			}
		}
		for _, acl := range []string{"", "bucket-owner-full-control"} {
			other := d
			if other.ObjectACL = acl; acl != d.ObjectACL {
				all = append(all, attempt{otherACL, key, other})
			}
		}
	case why.by == "identity-based policy" && !why.explicit:
		const example = "audit-logs" // of the reference document
		_, prefix := d.SplitEndpoint()
		all = append(all, attempt{otherKey, d.ObjectKey(e, false), d})
		if prefix != "" {
			all = append(all, attempt{prefixItself, prefix, d})
		}
		if prefix != example {
			all = append(all, attempt{documentsPrefix, example + "/" + e.ID, d})
		}
	}
	return all
}

// permittedBy reports whether s3:PutObject would be permitted, by what came of
// the attempt. Another encryption or ACL may need permissions of its own, which
// are asked for only after that.
func (a attempt) permittedBy(err error) bool {
	if err == nil {
		return true
	}
	if a.varies != otherEncryption && a.varies != otherACL {
		return false
	}
	answer, _ := answerOf(err)
	if strings.HasPrefix(answer.Code, "KMS.") || answer.Code == "AccessControlListNotSupported" {
		return true
	}
	why := parseDenial(answer.Message)
	return strings.HasPrefix(why.action, "kms:") || why.action == "s3:PutObjectAcl"
}
