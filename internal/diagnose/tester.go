package diagnose

import (
	"context"
	"fmt"
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
}

// furtherCalls bounds how long the calls after the delivery itself take
// together: somebody waits for the result. What is not found out by then stays
// open.
const furtherCalls = 20 * time.Second

// Test writes e as a test object, and tries whether others than the team could
// use the role. If AWS refuses, further calls, none of which changes anything,
// narrow down why. The error is ours; what AWS refused is a result.
func (t Tester) Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.DrainTestResult, error) {
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
	if refused && answer.Service == "sts" && answer.Code != "AccessDenied" {
		// STS decides nothing just now.
		result.RoleCheck = new(t.roleCheck(d, auditdrain.RoleUnknown, auditdrain.RoleUnknown))
	} else {
		result.RoleCheck = new(t.CheckRole(ctx, d))
	}
	if !refused {
		return result, nil
	}
	diagnosis := t.Explainer.explain(d, answer, t.probe(ctx, d, e, answer, *result.RoleCheck))
	result.Status = "error"
	result.Error = diagnosis.String()
	result.Endpoint = d.Delivery.Endpoint
	result.AWS = &answer
	result.Diagnosis = &diagnosis
	return result, nil
}

// CheckRole tries to assume d's role without an external ID, and with that of
// a team that does not exist. Both must be refused: if one is not, every other
// customer of the platform could write through the role by entering its ARN.
func (t Tester) CheckRole(ctx context.Context, d auditdrain.Drain) auditdrain.RoleCheck {
	// Nobody can have allowed that team: its id has just been made.
	other := t.Explainer.Namespace.ExternalID(auditdrain.NewID("team_"))
	return t.roleCheck(d, t.assume(ctx, d, ""), t.assume(ctx, d, other))
}

func (t Tester) assume(ctx context.Context, d auditdrain.Drain, externalID string) auditdrain.RoleCheckAnswer {
	err := t.AWS.Assume(ctx, d, externalID)
	if err == nil {
		return auditdrain.RoleAccepted
	}
	if answer, ok := answerOf(err); ok && answer.Code == "AccessDenied" && answer.RoleARN == d.Delivery.RoleARN {
		return auditdrain.RoleRefused
	}
	return auditdrain.RoleUnknown
}

func (t Tester) roleCheck(d auditdrain.Drain, without, other auditdrain.RoleCheckAnswer) auditdrain.RoleCheck {
	c := auditdrain.RoleCheck{
		Unsafe:            without == auditdrain.RoleAccepted || other == auditdrain.RoleAccepted,
		WithoutExternalID: without,
		OtherExternalID:   other,
	}
	id := t.Explainer.Namespace.ExternalID(d.TeamID)
	how := "without an external ID"
	switch {
	case without == auditdrain.RoleAccepted && other == auditdrain.RoleAccepted:
		how = "without an external ID, and with any"
	case other == auditdrain.RoleAccepted:
		how = "with another team's external ID"
	}
	switch {
	case c.Unsafe:
		c.Text = fmt.Sprintf("The role %s is unsafe: it can be assumed %s, so any other customer of this platform could write through it by entering its ARN. Add the condition StringEquals sts:ExternalId %q to its trust policy.",
			d.Delivery.RoleARN, how, id)
		grant := t.Explainer.grant(d)
		c.Change = &auditdrain.Change{Where: "trust policy of " + d.Delivery.RoleARN, Statement: grant.TrustStatement()}
	case without == auditdrain.RoleUnknown || other == auditdrain.RoleUnknown:
		c.Text = fmt.Sprintf("Whether the role %s lets in only this team could not be found out.", d.Delivery.RoleARN)
	default:
		c.Text = fmt.Sprintf("The role %s refuses callers without the external ID of this team.", d.Delivery.RoleARN)
	}
	return c
}

// probe makes the further calls that tell apart what shares one answer.
func (t Tester) probe(ctx context.Context, d auditdrain.Drain, e auditdrain.Event, answer auditdrain.AWSAnswer, check auditdrain.RoleCheck) findings {
	found := findings{anyID: check.Unsafe}
	if answer.Code != "AccessDenied" || answer.RoleARN != d.Delivery.RoleARN {
		return found
	}
	if answer.Service == "sts" {
		if !check.Unsafe {
			found.acceptedID = t.acceptedID(ctx, d)
		}
		return found
	}
	found.permitted = t.permitted(ctx, d, answer.Key, attempts(d.Delivery, e, parseDenial(answer.Message)))
	return found
}

// acceptedID looks for the mistake that the role's administrator may have made
// with the external ID. That one is accepted proves that the trust policy names
// the right principal. None of those tried can be another team's: they do not
// begin as external IDs of this platform do, or are this team's own.
func (t Tester) acceptedID(ctx context.Context, d auditdrain.Drain) string {
	right := t.Explainer.Namespace.ExternalID(d.TeamID)
	tried := []string{right, ""}
	for _, id := range []string{
		d.TeamID, // without what comes before it
		auditdrain.DefaultNamespace.ExternalID(d.TeamID), // as in the reference system
		string(t.Explainer.Namespace) + ":" + d.TeamID,
		string(t.Explainer.Namespace) + "-team-" + d.TeamID,
		d.ID, // the drain's own
	} {
		if slices.Contains(tried, id) || len(id) < 2 {
			continue
		}
		tried = append(tried, id)
		if t.AWS.Assume(ctx, d, id) == nil {
			return id
		}
	}
	return ""
}

// attempts are the writes that would tell why one was denied, each in the
// order of likelihood.
func attempts(d auditdrain.Delivery, e auditdrain.Event, why denial) []attempt {
	var all []attempt
	key := d.ObjectKey(e, true)
	if why.by == "resource-based policy" && why.explicit {
		for _, sse := range append([]string{""}, auditdrain.Encryptions...) {
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
		return all
	}
	if why.by != "identity-based policy" && why.by != "" || why.explicit || why.action != "s3:PutObject" && why.action != "" {
		return nil
	}
	all = append(all, attempt{otherKey, d.ObjectKey(e, false), d})
	const example = "audit-logs" // of the reference document
	if _, prefix := d.SplitEndpoint(); prefix != "" {
		all = append(all, attempt{prefixItself, prefix, d})
		if prefix != example {
			all = append(all, attempt{documentsPrefix, example + "/" + e.ID, d})
		}
	} else {
		all = append(all, attempt{documentsPrefix, example + "/" + e.ID, d})
	}
	return all
}

// permitted returns the first of the attempts that S3 would permit, if one is.
// key is that of the write that was refused.
func (t Tester) permitted(ctx context.Context, d auditdrain.Drain, key string, all []attempt) []attempt {
	if len(all) == 0 {
		return nil
	}
	try, err := t.AWS.Rehearse(d)
	if err != nil {
		return nil // nothing more is found out
	}
	// What was refused must be refused again: else this store decides in
	// another order, and its answers would say nothing.
	if answer, _ := answerOf(try(ctx, d.Delivery, key)); answer.Code != "AccessDenied" {
		return nil
	}
	for _, a := range all {
		if a.permittedBy(try(ctx, a.delivery, a.key)) {
			return []attempt{a}
		}
	}
	return nil
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
	switch why := parseDenial(answer.Message); {
	case strings.HasPrefix(answer.Code, "KMS."), answer.Code == "AccessControlListNotSupported":
		return true
	default:
		return strings.HasPrefix(why.action, "kms:") || why.action == "s3:PutObjectAcl"
	}
}
