package policycheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// outcome is what the policies say to a step.
type outcome struct {
	result auditdrain.PolicyResult
	// missing is, of an implicit deny, the kind of policy that would have to allow.
	missing auditdrain.PolicyKind
	// doc and statement decided; doc is nil where none did.
	doc       *document
	statement int
	explicit  bool
	// doubts are, of an unknown outcome, what it depends on.
	doubts []string
	// distance is how far the step is from being allowed: 0 is allowed. It tells whether an edit has helped.
	distance int
}

// iamKinds are the capacities in which documents take part in decisions.
var iamKinds = map[auditdrain.PolicyKind]iam.PolicyKind{
	auditdrain.PolicyTrust:       iam.RoleTrustPolicy,
	auditdrain.PolicyPermissions: iam.IdentityBased,
	auditdrain.PolicyBoundary:    iam.PermissionsBoundary,
	auditdrain.PolicyBucket:      iam.ResourceBased,
	auditdrain.PolicyKey:         iam.ResourceBased,
}

// world says what becomes of that of which nothing is known: whether statements apply that may apply, and policies allow
// that were not given.
type world struct{ allows, denies bool }

var (
	bestWorld  = world{allows: true, denies: false}
	worstWorld = world{allows: false, denies: true}
)

// decide has AWS's rules decide on a step in the best and in the worst world. More Allows never deny, and more Denies
// never allow, so what comes out of both is sure.
func (c *checker) decide(s step) outcome {
	best, worst := c.authorize(s, bestWorld), c.authorize(s, worstWorld)
	switch {
	case worst.decision.Allowed:
		doc, statement := worst.decided(s)
		return outcome{result: auditdrain.PolicyAllowed, doc: doc, statement: statement}
	case best.decision.Allowed:
		return outcome{result: auditdrain.PolicyUnknown, doubts: c.doubts(s), distance: 1}
	}
	o := outcome{result: auditdrain.PolicyDenied, explicit: best.decision.Explicit}
	o.doc, o.statement = best.decided(s)
	for kind, as := range iamKinds {
		if as == best.decision.Kind && slices.Contains(s.asked, kind) && !o.explicit {
			o.missing = kind
		}
	}
	o.distance = 2 + len(s.asked) - slices.Index(s.asked, o.missing)
	if o.explicit {
		o.distance = 10 * c.denies(s)
	}
	return o
}

// authorized is a decision, and the documents behind the policies that it names.
type authorized struct {
	decision iam.Decision
	docs     map[*iam.Policy]*document
}

// decided returns the statement that decided. Across accounts both sides allow, of which the one that was given counts.
func (a authorized) decided(s step) (*document, int) {
	if doc := a.docs[a.decision.Policy]; doc != nil {
		return doc, a.decision.Statement.Index
	}
	for policy, doc := range a.docs {
		if a.decision.Allowed && doc.kind == s.resource {
			if v := policy.Evaluate(s.request, iamKinds[doc.kind]); v.Statement != nil {
				return doc, v.Statement.Index
			}
		}
	}
	return nil, 0
}

var (
	allowsAll     = iam.MustParse(`{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`)
	allowsNothing = &iam.Policy{}
)

// authorize decides on a step in a world.
func (c *checker) authorize(s step, w world) authorized {
	a := authorized{docs: map[*iam.Policy]*document{}}
	p := iam.Policies{ResourceKind: s.resourceKind, ResourceAccount: s.resourceAccount}
	if s.request.Action == "sts:AssumeRole" {
		p.Identity = []*iam.Policy{allowsAll} // ours: the platform sees to it
	} else {
		p.Session = c.session
	}
	for _, doc := range c.asked(s) {
		policy := sift(doc.policy, s.facts, w)
		a.docs[policy] = doc
		switch doc.kind {
		case s.resource:
			p.Resource = policy
		case auditdrain.PolicyBoundary:
			p.Boundary = policy
		default:
			p.Identity = append(p.Identity, policy)
		}
	}
	for _, kind := range c.absent(s) {
		switch {
		case kind == auditdrain.PolicyBoundary && !w.allows:
			p.Boundary = allowsNothing
		case kind == auditdrain.PolicyPermissions && w.allows:
			p.Identity = []*iam.Policy{allowsAll}
		case kind == s.resource && w.allows:
			p.Resource = &iam.Policy{Statements: []iam.Statement{{
				Effect:    iam.Allow,
				Principal: &iam.PrincipalSet{AWS: []string{s.request.Principal.ARN, s.request.Principal.RoleARN}},
				Action:    []string{"*"},
				Resource:  []string{"*"},
			}}}
		}
	}
	a.decision = iam.Authorize(s.request, p)
	return a
}

// absent are the kinds of policies that take part in the decision on a step but were not given. A bucket needs no
// policy, and a role no boundary: these are taken not to be there, unless the role was said to have one.
func (c *checker) absent(s step) []auditdrain.PolicyKind {
	var kinds []auditdrain.PolicyKind
	for _, kind := range s.asked {
		needed := kind != auditdrain.PolicyBucket && kind != auditdrain.PolicyBoundary ||
			kind == auditdrain.PolicyBoundary && c.boundaryARN() != ""
		if needed && !c.has(kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// sift returns the policy as it is in a world: a statement that may apply does, or is gone.
func sift(p *iam.Policy, f facts, w world) *iam.Policy {
	sifted := &iam.Policy{Version: p.Version, ID: p.ID}
	for _, s := range p.Statements {
		if len(unknownKeys(s, p.Version, f)) > 0 {
			if s.Effect == iam.Allow && !w.allows || s.Effect == iam.Deny && !w.denies {
				continue
			}
			s = withoutUnknown(s, p.Version, f)
		}
		sifted.Statements = append(sifted.Statements, s)
	}
	return sifted
}

// withoutUnknown is s without what depends on keys that are not known.
func withoutUnknown(s iam.Statement, version string, f facts) iam.Statement {
	s.Condition = slices.DeleteFunc(slices.Clone(s.Condition), func(c iam.Condition) bool { return unsure(c, version, f) })
	if len(unknownVariables(slices.Concat(s.Resource, s.NotResource), version, f)) > 0 {
		s.Resource, s.NotResource = []string{"*"}, nil
	}
	return s
}

// unknownKeys are the condition keys on which it depends whether the statement applies, and of which nothing is known.
func unknownKeys(s iam.Statement, version string, f facts) []string {
	keys := unknownVariables(slices.Concat(s.Resource, s.NotResource), version, f)
	for _, c := range s.Condition {
		if unsure(c, version, f) {
			if names := unknownVariables(c.Values, version, f); len(names) > 0 {
				keys = append(keys, names...)
			} else {
				keys = append(keys, c.Key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// unsure reports whether a condition may hold or not.
func unsure(c iam.Condition, version string, f facts) bool {
	values, known := f.lookup(c.Key)
	if !known || len(unknownVariables(c.Values, version, f)) > 0 {
		return true
	}
	if len(values) < 2 {
		return false
	}
	holds := func(value string) bool {
		context := f.context()
		context[strings.ToLower(c.Key)] = []string{value}
		p := &iam.Policy{Version: version, Statements: []iam.Statement{{
			Effect: iam.Allow, Action: []string{"*"}, Resource: []string{"*"}, Condition: []iam.Condition{c},
		}}}
		return p.Evaluate(iam.Request{Action: "any:Action", Resource: "arn:aws:any:::any", Context: context}, iam.IdentityBased).Effect == iam.Allow
	}
	first := holds(values[0])
	return slices.ContainsFunc(values[1:], func(v string) bool { return holds(v) != first })
}

// unknownVariables are the policy variables in texts that stand for nothing that is known.
func unknownVariables(texts []string, version string, f facts) []string {
	if version != "2012-10-17" {
		return nil
	}
	var keys []string
	for _, text := range texts {
		for {
			_, rest, ok := strings.Cut(text, "${")
			if !ok {
				break
			}
			name, after, ok := strings.Cut(rest, "}")
			if !ok {
				break
			}
			text = after
			key, _, _ := strings.Cut(name, ",")
			key = strings.TrimSpace(key)
			if values, known := f.lookup(key); strings.Contains(key, ":") && (!known || len(values) > 1) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// doubts says what the outcome of a step depends on.
func (c *checker) doubts(s step) []string {
	// Not all that is unsure matters: another statement may allow it all the same.
	matters := map[iam.Effect]bool{
		iam.Allow: !c.authorize(s, world{allows: false, denies: false}).decision.Allowed,
		iam.Deny:  !c.authorize(s, world{allows: true, denies: true}).decision.Allowed,
	}
	var doubts []string
	if matters[iam.Allow] {
		for _, kind := range c.absent(s) {
			doubts = append(doubts, c.whyAbsent(kind))
		}
	}
	for _, doc := range c.asked(s) {
		for i, st := range doc.policy.Statements {
			keys := unknownKeys(st, doc.policy.Version, s.facts)
			if len(keys) == 0 || !matters[st.Effect] || !applies(withoutUnknown(st, doc.policy.Version, s.facts), doc, s) {
				continue
			}
			does := map[iam.Effect]string{iam.Allow: "allows", iam.Deny: "denies"}[st.Effect]
			doubts = append(doubts, fmt.Sprintf("%s %s it depending on %s, which is not known here", doc.statementText(i), does, strings.Join(keys, " and ")))
		}
	}
	return doubts
}

// whyAbsent says of a kind of policy that is needed that it is not there.
func (c *checker) whyAbsent(kind auditdrain.PolicyKind) string {
	for _, doc := range c.docs {
		if doc.kind == kind && doc.foreign != "" {
			return doc.foreign
		}
	}
	if kind == auditdrain.PolicyBoundary {
		return fmt.Sprintf("the role has the permissions boundary %s, which was not given", c.boundaryARN())
	}
	return "no " + kindNames[kind] + " was given, which would decide"
}

// asked are the documents that take part in the decision on a step.
func (c *checker) asked(s step) []*document {
	var docs []*document
	for _, doc := range c.docs {
		if doc.foreign == "" && slices.Contains(s.asked, doc.kind) {
			docs = append(docs, doc)
		}
	}
	return docs
}

// applies reports whether a statement, by itself, applies to a step.
func applies(st iam.Statement, doc *document, s step) bool {
	alone := &iam.Policy{Version: doc.policy.Version, Statements: []iam.Statement{st}}
	return alone.Evaluate(s.request, iamKinds[doc.kind]).Effect != ""
}

// denies counts the Deny statements that apply to a step for sure.
func (c *checker) denies(s step) int {
	n := 0
	for _, doc := range c.asked(s) {
		for _, st := range doc.policy.Statements {
			if st.Effect == iam.Deny && len(unknownKeys(st, doc.policy.Version, s.facts)) == 0 && applies(st, doc, s) {
				n++
			}
		}
	}
	return n
}
