package policycheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// reason says why a step's outcome is what it is, without the full stop.
func (c *checker) reason(s step, o outcome) string {
	switch {
	case o.result == auditdrain.PolicyUnknown:
		return strings.Join(o.doubts, "; ")
	case o.result == auditdrain.PolicyAllowed && o.doc == nil:
		return "the owner of the account needs no permission" // not reached: a drain is no root user
	case o.result == auditdrain.PolicyAllowed:
		return o.doc.statementText(o.statement) + " allows it"
	case o.explicit:
		return c.whyDenied(s, o)
	case o.missing == "":
		return "the drain's own session policy does not allow it"
	}
	return fmt.Sprintf("no statement of %s allows %s", c.names(o.missing), s.words(o.missing))
}

// words say what has to be allowed by a kind of policy.
func (s step) words(kind auditdrain.PolicyKind) string {
	switch {
	case kind == auditdrain.PolicyTrust:
		return fmt.Sprintf("%s to %s with external ID %q", s.request.Action, callerARN(s), s.facts["sts:externalid"][0])
	case kind == auditdrain.PolicyKey:
		return fmt.Sprintf("%s to %s through %s", s.request.Action, callerARN(s), s.facts["kms:viaservice"][0])
	}
	return s.request.Action + " on " + s.short
}

// callerARN is the caller as policies name it.
func callerARN(s step) string {
	if arn := s.request.Principal.RoleARN; arn != "" {
		return arn
	}
	return s.request.Principal.ARN
}

// whyDenied says which statement denies, and on what condition.
func (c *checker) whyDenied(s step, o outcome) string {
	st := o.doc.policy.Statements[o.statement]
	text := o.doc.statementText(o.statement) + " denies it"
	if st.NotPrincipal != nil {
		text += fmt.Sprintf(" to everybody but %s (a role's sessions would have to be named there, too)", quoted(st.NotPrincipal.AWS))
	}
	var conditions []string
	for _, cond := range st.Condition {
		conditions = append(conditions, fmt.Sprintf("%s %s %s (the request has %s)", cond.Operator, cond.Key, quoted(cond.Values), s.has(cond.Key)))
	}
	if conditions != nil {
		text += " by its condition " + listed(conditions, "and")
	}
	return text
}

// has says what the request has for a condition key.
func (s step) has(key string) string {
	values, known := s.facts.lookup(key)
	switch {
	case !known:
		return "what is not known here"
	case len(values) == 0:
		return "none"
	}
	return quoted(values[:1])
}

func quoted(values []string) string {
	var all []string
	for _, v := range values {
		all = append(all, fmt.Sprintf("%q", v))
	}
	return strings.Join(all, ", ")
}

// mismatches are all elements of a statement that keep it from applying to a request. Unlike iam.Policy.Mismatches it
// does not stop at the first.
func mismatches(st iam.Statement, version string, s step, kind auditdrain.PolicyKind) []iam.Mismatch {
	var found []iam.Mismatch
	for {
		alone := &iam.Policy{Version: version, Statements: []iam.Statement{st}}
		m := alone.Mismatches(s.request, iamKinds[kind])
		if len(m) == 0 {
			return found
		}
		found = append(found, m[0])
		st = without(st, m[0])
	}
}

// without is the statement without what does not match, as if it did.
func without(st iam.Statement, m iam.Mismatch) iam.Statement {
	switch m.Element {
	case "Principal", "NotPrincipal":
		st.Principal, st.NotPrincipal = &iam.PrincipalSet{AWS: []string{"*"}}, nil
	case "Action", "NotAction":
		st.Action, st.NotAction = []string{"*"}, nil
	case "Resource", "NotResource":
		st.Resource, st.NotResource = []string{"*"}, nil
	default:
		i := slices.IndexFunc(st.Condition, func(c iam.Condition) bool { return c.Operator == m.Condition.Operator && c.Key == m.Condition.Key })
		st.Condition = slices.Delete(slices.Clone(st.Condition), i, i+1)
	}
	return st
}

// maxNear bounds the near misses of a step.
const maxNear = 10

// nearMisses are the statements that could have been meant to allow the step: about its action, or about all else.
func (c *checker) nearMisses(s step, o outcome) []auditdrain.PolicyNearMiss {
	var near []auditdrain.PolicyNearMiss
	for _, doc := range c.docs {
		if doc.kind != o.missing || doc.foreign != "" {
			continue
		}
		for i, st := range doc.policy.Statements {
			if st.Effect != iam.Allow || len(near) == maxNear {
				continue
			}
			found := mismatches(st, doc.policy.Version, s, doc.kind)
			about := len(found) == 1 || !slices.ContainsFunc(found, func(m iam.Mismatch) bool { return strings.HasSuffix(m.Element, "Action") })
			if len(found) == 0 || !about {
				continue
			}
			var reasons []string
			for _, m := range found {
				reasons = append(reasons, wordsOf(m, s))
			}
			near = append(near, auditdrain.PolicyNearMiss{PolicyStatementRef: doc.ref(i), Element: found[0].Element, Reason: strings.Join(reasons, "; ")})
		}
	}
	return near
}

// wordsOf says why an element does not match.
func wordsOf(m iam.Mismatch, s step) string {
	st := m.Statement
	switch m.Element {
	case "Principal":
		if slices.ContainsFunc(st.Principal.AWS, deletedPrincipal) {
			return fmt.Sprintf("Principal %s is what AWS shows in place of a role or user that was deleted: name %s, even if a role of that name exists again", quoted(st.Principal.AWS), callerARN(s))
		}
		named := slices.Concat(st.Principal.AWS, st.Principal.Service, st.Principal.Federated, st.Principal.CanonicalUser)
		return fmt.Sprintf("Principal %s is not %q", quoted(named), callerARN(s))
	case "NotPrincipal":
		return fmt.Sprintf("NotPrincipal %s excludes %q", quoted(st.NotPrincipal.AWS), callerARN(s))
	case "Action":
		return fmt.Sprintf("Action %s does not include %q", quoted(st.Action), s.request.Action)
	case "NotAction":
		return fmt.Sprintf("NotAction %s excludes %q", quoted(st.NotAction), s.request.Action)
	case "Resource":
		return fmt.Sprintf("Resource %s does not match %q", quoted(st.Resource), s.short)
	case "NotResource":
		return fmt.Sprintf("NotResource %s excludes %q", quoted(st.NotResource), s.short)
	}
	c := m.Condition
	return fmt.Sprintf("Condition %s %s wants %s, and the request has %s", c.Operator, c.Key, quoted(c.Values), s.has(c.Key))
}

// deletedPrincipal reports whether an entry of a Principal is what AWS shows in place of one that was deleted.
func deletedPrincipal(entry string) bool {
	return (strings.HasPrefix(entry, "AROA") || strings.HasPrefix(entry, "AIDA")) && !strings.Contains(entry, ":")
}
