package policycheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// maxRepairs bounds how many statements are tried to be repaired before one is added.
const maxRepairs = 5

// proposals are the edits that may take a denied step further, the smallest first.
func (c *checker) proposals(i int, o outcome) []proposal {
	s := c.tasks[i]
	if o.explicit {
		return c.exemptions(s, o.doc, o.statement)
	}
	type repair struct {
		proposal
		cost int
	}
	var repairs []repair
	var all []proposal
	for _, doc := range c.docs {
		if doc.kind != o.missing || doc.foreign != "" {
			continue
		}
		for i := range doc.policy.Statements {
			if p, cost := c.repair(s, doc, i); cost > 0 {
				repairs = append(repairs, repair{p, cost})
			}
		}
		statement := c.statementFor(s, doc.kind)
		all = append(all, proposal{doc, "add a statement that allows " + s.words(doc.kind), func(e *editor) { e.addStatement(statement) }})
	}
	slices.SortStableFunc(repairs, func(a, b repair) int { return a.cost - b.cost })
	for i := min(len(repairs), maxRepairs) - 1; i >= 0; i-- {
		all = slices.Insert(all, 0, repairs[i].proposal)
	}
	return all
}

// statementFor is the statement that a policy of that kind needs for a step.
func (c *checker) statementFor(s step, kind auditdrain.PolicyKind) string {
	switch {
	case kind == auditdrain.PolicyTrust:
		return c.grant.TrustStatement()
	case kind == auditdrain.PolicyKey:
		return c.grant.KeyPolicyStatement()
	case s.name == "dataKey":
		return c.grant.EncryptStatement()
	}
	return c.grant.WriteStatement()
}

// repair proposes to change what keeps an Allow statement from allowing the step, if the statement is for the drain and
// stays for it alone. The cost is the number of elements to change, 0 if there is no such proposal.
func (c *checker) repair(s step, doc *document, i int) (proposal, int) {
	st := doc.policy.Statements[i]
	found := mismatches(st, doc.policy.Version, s, doc.kind)
	if st.Effect != iam.Allow || len(found) == 0 || st.NotAction != nil || st.NotResource != nil {
		return proposal{}, 0
	}
	var changes []change
	for _, m := range found {
		var one change
		switch m.Element {
		case "Principal":
			one = c.fixPrincipal(s, st, doc.kind, found)
		case "Action":
			one = c.fixAction(s, st, doc.kind, found)
		case "Resource":
			one = c.fixResource(s, st)
		case "Condition":
			one = c.fixCondition(s, st, doc.kind, *m.Condition, found)
		}
		if one.apply == nil {
			return proposal{}, 0
		}
		changes = append(changes, one)
	}
	var summaries []string
	for _, one := range changes {
		summaries = append(summaries, one.summary)
	}
	summary := fmt.Sprintf("in %s, %s", doc.statementText(i), listed(summaries, "and"))
	return proposal{doc, summary, func(e *editor) {
		for _, one := range changes {
			one.apply(e, i)
		}
	}}, len(found)
}

// change is of one element of a statement. The zero change is none.
type change struct {
	summary string
	apply   func(e *editor, statement int)
}

func (c *checker) fixPrincipal(s step, st iam.Statement, kind auditdrain.PolicyKind, found []iam.Mismatch) change {
	if !onlyAWS(st.Principal) {
		return change{}
	}
	if kind == auditdrain.PolicyTrust {
		return c.fixTrusted(s, st, found)
	}
	if !all(st.Action, isNeeded("kms:GenerateDataKey")) {
		return change{}
	}
	return makePrincipal(st, callerARN(s), deletedPrincipal)
}

// fixTrusted has a statement trust the caller if it is meant for us: it has our external ID, or names nobody who is not
// of the caller's account. Whom others trust is theirs to say.
func (c *checker) fixTrusted(s step, st iam.Statement, found []iam.Mismatch) change {
	ofAccount := func(entry string) bool { return accountOf(entry) == s.request.Principal.Account }
	if c.namesExternalID(st) {
		single := len(st.Principal.AWS) == 1
		return makePrincipal(st, callerARN(s), func(entry string) bool { return single || deletedPrincipal(entry) || ofAccount(entry) })
	}
	if !all(st.Principal.AWS, ofAccount) {
		return change{}
	}
	principal := makePrincipal(st, callerARN(s), ofAccount)
	if failsCondition(found, "sts:ExternalId") { // fixCondition sees to it
		return principal
	}
	id := c.drain.ExternalID
	return change{fmt.Sprintf("%s and require sts:ExternalId %q", principal.summary, id), func(e *editor, i int) {
		principal.apply(e, i)
		e.setCondition(i, "sts:ExternalId", id)
	}}
}

// makePrincipal puts a principal in the place of those that are old, or adds it.
func makePrincipal(st iam.Statement, arn string, old func(string) bool) change {
	verb := "add to Principal"
	if slices.ContainsFunc(st.Principal.AWS, old) {
		verb = "make Principal"
	}
	return change{fmt.Sprintf("%s %q", verb, arn), func(e *editor, i int) {
		e.replaceValues(old, []string{arn}, i, "Principal", "AWS")
	}}
}

func (c *checker) fixAction(s step, st iam.Statement, kind auditdrain.PolicyKind, found []iam.Mismatch) change {
	var fits bool
	switch {
	case kind == auditdrain.PolicyTrust:
		fits = c.namesExternalID(st) || onlyAWS(st.Principal) && slices.Contains(st.Principal.AWS, callerARN(s))
	case len(found) > 1:
	case kind == auditdrain.PolicyKey:
		fits = onlyAWS(st.Principal) && all(st.Principal.AWS, func(p string) bool { return p == callerARN(s) })
	case s.name == "dataKey":
		fits = all(st.Resource, func(r string) bool { return r == c.drain.KMSKeyARN })
	default:
		fits = all(st.Resource, c.withinEndpoint) || slices.ContainsFunc(st.Action, isNeeded("s3:PutObject"))
	}
	if !fits {
		return change{}
	}
	action := s.request.Action
	return change{fmt.Sprintf("add the Action %q", action), func(e *editor, i int) { e.addValue(action, i, "Action") }}
}

func (c *checker) fixResource(s step, st iam.Statement) change {
	resource := c.grant.ObjectsARN()
	needed := isNeeded("s3:PutObject", "s3:PutObjectAcl")
	if s.name == "dataKey" {
		resource, needed = c.drain.KMSKeyARN, isNeeded("kms:GenerateDataKey")
	}
	if !all(st.Action, needed) {
		return change{}
	}
	// One that matches nothing, or less than all, of what the drain writes is a mistake; of several, others may be for
	// something else.
	old := func(r string) bool { return len(st.Resource) == 1 || s.name != "dataKey" && c.withinEndpoint(r) }
	verb := "add to Resource"
	if slices.ContainsFunc(st.Resource, old) {
		verb = "make Resource"
	}
	return change{fmt.Sprintf("%s %q", verb, resource), func(e *editor, i int) {
		e.replaceValues(old, []string{resource}, i, "Resource")
	}}
}

func (c *checker) fixCondition(s step, st iam.Statement, kind auditdrain.PolicyKind, cond iam.Condition, found []iam.Mismatch) change {
	var value string
	switch key := strings.ToLower(cond.Key); {
	case kind == auditdrain.PolicyTrust && key == "sts:externalid":
		// Whoever else is named would have to send our external ID.
		ours := func(p string) bool { return accountOf(p) == s.request.Principal.Account || p == callerARN(s) }
		if !onlyAWS(st.Principal) || !all(st.Principal.AWS, ours) || c.namesOtherTeam(st) {
			return change{}
		}
		value = c.drain.ExternalID
	case kind != auditdrain.PolicyTrust && (key == "kms:viaservice" || key == "kms:calleraccount"):
		if !all(st.Action, isNeeded("kms:GenerateDataKey")) || kind == auditdrain.PolicyKey && (!onlyAWS(st.Principal) || !all(st.Principal.AWS, is(callerARN(s)))) {
			return change{}
		}
		value = c.viaService()
		if key == "kms:calleraccount" {
			value = c.role.Account
		}
	default:
		return change{}
	}
	var places, before []string
	for _, other := range st.Condition {
		if strings.EqualFold(other.Key, cond.Key) {
			places, before = append(places, other.Operator), append(before, other.Values...)
		}
	}
	summary := fmt.Sprintf("make the condition on %s %q in place of %s", cond.Key, value, quoted(before))
	if slices.Equal(places, []string{"StringEquals"}) && len(before) > 1 {
		summary = fmt.Sprintf("add %q to the condition on %s", value, cond.Key)
	}
	return change{summary, func(e *editor, i int) { e.setCondition(i, cond.Key, value) }}
}

// exemptions propose to change or remove a statement that denies the step, what protects most of what it protected first.
func (c *checker) exemptions(s step, doc *document, i int) []proposal {
	st := doc.policy.Statements[i]
	arn := callerARN(s)
	var all []proposal
	propose := func(summary string, apply func(*editor)) {
		all = append(all, proposal{doc, "in " + doc.statementText(i) + ", " + summary, apply})
	}
	for _, cond := range st.Condition {
		value, ok := map[string]string{"sts:externalid": c.drain.ExternalID, "aws:principalarn": arn}[strings.ToLower(cond.Key)]
		if ok && strings.Contains(cond.Operator, "Not") {
			propose(fmt.Sprintf("add %q to the condition on %s", value, cond.Key), func(e *editor) {
				e.addValue(value, i, "Condition", cond.Operator, cond.Key)
			})
		}
	}
	if doc.kind != auditdrain.PolicyPermissions && doc.kind != auditdrain.PolicyBoundary {
		propose(fmt.Sprintf("except %s, so that it goes on to deny everybody else", arn), func(e *editor) { e.addNegated(i, "ArnNotEquals", "aws:PrincipalArn", arn) })
		return all
	}

	resource := c.grant.ObjectsARN()
	if s.name == "dataKey" {
		resource = c.drain.KMSKeyARN
	}
	if st.NotResource != nil {
		propose(fmt.Sprintf("add %q to NotResource", resource), func(e *editor) { e.addValue(resource, i, "NotResource") })
	}
	if st.NotAction != nil {
		propose(fmt.Sprintf("add %q to NotAction", s.request.Action), func(e *editor) { e.addValue(s.request.Action, i, "NotAction") })
	}
	propose(fmt.Sprintf("leave out the Action %q", s.request.Action), func(e *editor) {
		e.replaceValues(func(a string) bool { return strings.EqualFold(a, s.request.Action) }, nil, i, "Action")
	})
	protected := fmt.Sprintf("; it denied %s on %s: make sure that nothing relies on it", quoted(slices.Concat(st.Action, st.NotAction)), quoted(slices.Concat(st.Resource, st.NotResource)))
	all = append(all,
		proposal{doc, "remove " + doc.statementText(i) + protected, func(e *editor) { e.removeStatement(i) }},
		proposal{doc, "put a statement that the drain needs in the place of " + doc.statementText(i) + protected, func(e *editor) {
			e.replaceStatement(i, c.statementFor(s, doc.kind))
		}})
	return all
}

// demandsExternalID reports whether the statement has a condition on the external ID.
func (c *checker) demandsExternalID(st iam.Statement) bool {
	return slices.ContainsFunc(st.Condition, func(cond iam.Condition) bool { return strings.EqualFold(cond.Key, "sts:ExternalId") })
}

// namesExternalID reports whether the statement has a condition with our external ID, written out.
func (c *checker) namesExternalID(st iam.Statement) bool {
	return slices.ContainsFunc(externalIDs(st), func(id string) bool { return id == c.drain.ExternalID })
}

// namesOtherTeam reports whether the statement has a condition with the external ID of another team, or a pattern of
// such: what that team does with the role must not end.
func (c *checker) namesOtherTeam(st iam.Statement) bool {
	namespace, _, _ := strings.Cut(c.drain.ExternalID, ":")
	return slices.ContainsFunc(externalIDs(st), func(id string) bool {
		team, ok := strings.CutPrefix(id, namespace+":")
		return ok && id != c.drain.ExternalID && teamID.MatchString(team)
	})
}

// teamID is what a team can be called, or a pattern of that.
var teamID = regexp.MustCompile(`^[A-Za-z0-9_*?-]+$`)

func externalIDs(st iam.Statement) []string {
	var ids []string
	for _, cond := range st.Condition {
		if strings.EqualFold(cond.Key, "sts:ExternalId") && !strings.Contains(cond.Operator, "Not") && cond.Operator != "Null" {
			ids = append(ids, cond.Values...)
		}
	}
	return ids
}

func failsCondition(found []iam.Mismatch, key string) bool {
	return slices.ContainsFunc(found, func(m iam.Mismatch) bool { return m.Condition != nil && strings.EqualFold(m.Condition.Key, key) })
}

// withinEndpoint reports whether a pattern of S3 resources matches nothing but objects that the drain may write.
func (c *checker) withinEndpoint(pattern string) bool {
	return strings.HasPrefix(literalHead(pattern), strings.TrimSuffix(c.grant.ObjectsARN(), "*"))
}

// literalHead is what a pattern begins with before its first wildcard or variable.
func literalHead(pattern string) string {
	if i := strings.IndexAny(pattern, "*?$"); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// isNeeded matches actions, which have no case.
func isNeeded(actions ...string) func(string) bool {
	return func(action string) bool {
		return slices.ContainsFunc(actions, func(a string) bool { return strings.EqualFold(a, action) })
	}
}

func all(values []string, is func(string) bool) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !is(v) })
}

func onlyAWS(p *iam.PrincipalSet) bool {
	return p != nil && p.Service == nil && p.Federated == nil && p.CanonicalUser == nil
}

// accountOf is the account of an entry of a Principal, or "".
func accountOf(entry string) string {
	if fields := strings.SplitN(entry, ":", 6); len(fields) == 6 {
		return fields[4]
	}
	if len(entry) == 12 && strings.Trim(entry, "0123456789") == "" {
		return entry
	}
	return ""
}
