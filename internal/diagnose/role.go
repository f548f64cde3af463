package diagnose

import (
	"context"
	"fmt"

	"github.com/auditdrain/auditdrain"
)

// CheckRole tries to assume d's role without an external ID, with that of a
// team that does not exist, and with one that only begins as d's own does. All
// must be refused: if one is not, other customers of the platform could write
// through the role by entering its ARN.
//
// A trust policy that lets others in by something else, such as the name of
// the session, is not found out.
func (t Tester) CheckRole(ctx context.Context, d auditdrain.Drain) auditdrain.RoleCheck {
	ns := t.Explainer.Namespace
	var why *auditdrain.Diagnosis
	assume := func(externalID string) auditdrain.RoleCheckAnswer {
		err := t.AWS.Assume(ctx, d, externalID)
		if err == nil {
			return auditdrain.RoleAccepted
		}
		if refusedByRole(d, err) {
			return auditdrain.RoleRefused
		}
		if diagnosis, ok := t.Explainer.Explain(d, err); ok && why == nil {
			why = &diagnosis
		}
		return auditdrain.RoleUnknown
	}
	without := assume("")
	// Nobody can have allowed these: they have just been made.
	other := assume(ns.ExternalID(auditdrain.NewID("team_")))
	if other == auditdrain.RoleRefused {
		other = assume(ns.ExternalID(d.TeamID) + auditdrain.RandomString(8))
	}
	check := t.roleCheck(d, without, other)
	check.Diagnosis = why
	return check
}

// refusedByRole reports whether err is the refusal of d's role, and not one of
// our own policies or role, which says nothing of it.
func refusedByRole(d auditdrain.Drain, err error) bool {
	answer, _ := answerOf(err)
	if answer.Code != "AccessDenied" || answer.RoleARN != d.Delivery.RoleARN {
		return false
	}
	switch parseDenial(answer.Message).by {
	case "", "role trust policy", "resource-based policy", "resource control policy":
		return true
	}
	return false
}

func (t Tester) roleCheck(d auditdrain.Drain, without, other auditdrain.RoleCheckAnswer) auditdrain.RoleCheck {
	c := auditdrain.RoleCheck{
		Unsafe:            without == auditdrain.RoleAccepted || other == auditdrain.RoleAccepted,
		WithoutExternalID: without,
		OtherExternalID:   other,
	}
	how := "without an external ID"
	switch {
	case without == auditdrain.RoleAccepted && other == auditdrain.RoleAccepted:
		how = "without an external ID, and with any"
	case other == auditdrain.RoleAccepted:
		how = "with another team's external ID"
	}
	grant := t.Explainer.grant(d)
	switch {
	case c.Unsafe:
		c.Text = fmt.Sprintf("The role %s is unsafe: it can be assumed %s, so any other customer of this platform could write through it by entering its ARN. Add the condition StringEquals sts:ExternalId %q to its trust policy.",
			d.Delivery.RoleARN, how, grant.ExternalID)
		c.Change = &auditdrain.Change{Where: "trust policy of " + d.Delivery.RoleARN, Statement: grant.TrustStatement()}
	case without == auditdrain.RoleUnknown || other == auditdrain.RoleUnknown:
		c.Text = fmt.Sprintf("Whether the role %s lets in only this team could not be found out yet.", d.Delivery.RoleARN)
	default:
		c.Text = fmt.Sprintf("The role %s refused to be assumed without an external ID, and with others than this team's.", d.Delivery.RoleARN)
	}
	return c
}
