package policycheck

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// finding is something in a statement to warn of.
type finding struct {
	doc       *document
	statement int
	code      string
	text      string // without the full stop
	dangerous bool
	shared    bool       // others than the drain may rely on the statement
	fixes     []proposal // that do away with it, the best first
}

// maxWarnings bounds a report, and the time that trying edits takes.
const maxWarnings = 50

// warnings are the findings, each with an edit where one is safe.
func (c *checker) warnings() []auditdrain.PolicyWarning {
	before := c.outcomes()
	var all []auditdrain.PolicyWarning
	for _, doc := range c.docs {
		findings := c.findings(doc)
		for _, f := range findings {
			if len(all) == maxWarnings {
				return all
			}
			w := auditdrain.PolicyWarning{PolicyStatementRef: doc.ref(f.statement), Code: f.code, Text: sentence(f.text), Dangerous: f.dangerous}
			if p := c.begin(); p.relieve(f, before, count(findings, f.code)) {
				w.Edits = p.edits()
			}
			all = append(all, w)
		}
	}
	return all
}

// findings are all that there is to warn of in a document. Of a permissions boundary there is nothing: it grants nothing.
func (c *checker) findings(doc *document) []finding {
	var found []finding
	if doc.foreign != "" {
		return nil
	}
	var denies []iam.Statement
	for _, st := range doc.policy.Statements {
		if st.Effect == iam.Deny {
			denies = append(denies, st)
		}
	}
	for i, st := range doc.policy.Statements {
		if st.Effect != iam.Allow {
			continue
		}
		w := &watch{checker: c, doc: doc, statement: i, st: st, denies: denies}
		switch doc.kind {
		case auditdrain.PolicyTrust:
			w.trust()
		case auditdrain.PolicyPermissions:
			w.grants()
		case auditdrain.PolicyBucket, auditdrain.PolicyKey:
			w.everybody()
			if st.Principal != nil && slices.Contains(st.Principal.AWS, c.drain.Delivery.RoleARN) {
				w.grants()
			}
		}
		found = append(found, w.found...)
	}
	return found
}

// relieve makes the first fix of a finding that does away with it and leaves every step as well off as before, if need
// be with further edits.
//
// had is how many findings with its code the document has.
func (p *progress) relieve(f finding, before []outcome, had int) bool {
	i := slices.Index(p.to.docs, f.doc)
	for _, fix := range f.fixes {
		after, ok := p.to.try(fix)
		if !ok {
			continue
		}
		try := &progress{from: p.from, to: p.to, summaries: maps.Clone(p.summaries)}
		try.add(fix, after)
		if try.restore(before) && count(try.to.findings(try.to.docs[i]), f.code) < had {
			*p = *try
			return true
		}
	}
	return false
}

func count(findings []finding, code string) int {
	n := 0
	for _, f := range findings {
		if f.code == code {
			n++
		}
	}
	return n
}

// restore edits until no step is worse off than before.
func (p *progress) restore(before []outcome) bool {
	for range maxRestores {
		now := p.to.outcomes()
		i := firstWorse(before, now)
		if i < 0 {
			return true
		}
		if !p.advance(i, now) {
			return false
		}
	}
	return firstWorse(before, p.to.outcomes()) < 0
}

// maxRestores bounds the edits that a fix may need besides.
const maxRestores = 8

// watch looks at one Allow statement.
type watch struct {
	*checker
	doc       *document
	statement int
	st        iam.Statement
	denies    []iam.Statement // of the same document
	found     []finding
}

func (w *watch) warn(code string, dangerous bool, text string, fixes ...proposal) {
	shared := w.shared()
	if dangerous && shared {
		text += "; others than the drain may rely on the statement, so that no fix changes it: see to it yourself"
	}
	w.found = append(w.found, finding{w.doc, w.statement, code, text, dangerous, shared, fixes})
}

// shared reports whether the statement gives access to a bucket or key, and not to the drain's role alone.
func (w *watch) shared() bool {
	if w.doc.kind != auditdrain.PolicyBucket && w.doc.kind != auditdrain.PolicyKey {
		return false
	}
	return !onlyAWS(w.st.Principal) || !all(w.st.Principal.AWS, is(w.drain.Delivery.RoleARN))
}

// propose proposes an edit of the statement.
func (w *watch) propose(summary string, apply func(*editor)) proposal {
	return proposal{w.doc, "in " + w.doc.statementText(w.statement) + ", " + summary, apply}
}

// lets reports whether the statement may allow a request, whatever of it is not known. What the document denies for sure
// is denied.
func (w *watch) lets(s step) bool {
	p := &iam.Policy{Version: w.doc.policy.Version, Statements: append(slices.Clip(w.denies), w.st)}
	return sift(p, s.facts, bestWorld).Evaluate(s.request, iamKinds[w.doc.kind]).Effect == iam.Allow
}

// probe is assumeRole, remembered: every statement is asked the same.
func (c *checker) probe(caller iam.Principal, externalID string) step {
	key := caller.ARN + " " + externalID
	s, ok := c.probes[key]
	if !ok {
		s = c.assumeRole(caller, externalID)
		c.probes[key] = s
	}
	return s
}

// byStranger is a step as somebody would try it of whose account and organization nobody here has heard.
func (c *checker) byStranger(s step) step {
	account := "999999999999"
	if c.role.Account == account {
		account = "888888888888"
	}
	who := c.another(account)
	s.facts = maps.Clone(s.facts)
	maps.Copy(s.facts, c.drain.commonFacts(who))
	s.facts.set("aws:PrincipalOrgID", "o-0000000000", "aws:PrincipalOrgPaths", "o-0000000000/r-0000/")
	if s.resource == auditdrain.PolicyKey {
		s.facts.set("kms:CallerAccount", account)
	}
	s.request.Principal, s.request.Context = who, s.facts.context()
	return s
}

// byStrangerFrom is byStranger from a network that no policy means, unless it means all. What tags a stranger's role has
// is the stranger's to choose.
func (c *checker) byStrangerFrom(s step) step {
	s = c.byStranger(s)
	s.facts["aws:sourceip"] = []string{"240.0.0.1", "3fff::1"} // reserved, and for documentation
	s.facts.none("aws:SourceVpc", "aws:SourceVpcArn", "aws:SourceVpce", "aws:VpcSourceIp", "aws:VpceAccount", "aws:VpceOrgID", "aws:VpceOrgPaths")
	s.facts.set("aws:userid", "AROA0000000000000000:session")
	s.request.Context = s.facts.context()
	return s
}

// another is some role of an account.
func (c *checker) another(account string) iam.Principal {
	role := auditdrain.RoleARN{Partition: c.role.Partition, Account: account, Name: "another"}
	return sessionOf(role, fmt.Sprintf("arn:%s:iam::%s:role/%s", role.Partition, account, role.Name), "session")
}

// trust warns of who else can assume the role.
func (w *watch) trust() {
	id, writer := w.drain.ExternalID, w.drain.writer()
	arn := cmp.Or(writer.RoleARN, writer.ARN)
	if st := w.st; st.NotAction != nil && w.lets(w.probe(writer, id)) {
		w.warn("not_action", true, fmt.Sprintf("NotAction allows every action but %s: write the one that is needed", quoted(st.NotAction)),
			w.propose(`make it the Action "sts:AssumeRole"`, func(e *editor) { e.renameMember(w.statement, "NotAction", "Action", quote("sts:AssumeRole")) }))
	}
	if w.lets(w.byStranger(w.probe(writer, id))) {
		w.warn("any_principal", true, fmt.Sprintf("Principal \"*\" lets anybody in any AWS account assume the role who knows the external ID, which is no secret: name %s", arn),
			w.propose(fmt.Sprintf("make Principal %q", arn), func(e *editor) { e.setEverybody(w.statement, arn) }))
		return // all below follows from it
	}
	for _, entry := range w.st.Principal.AWS {
		account := accountOf(entry)
		wide := entry == account || strings.HasSuffix(entry, ":root")
		// What the account of the role itself may do is its own affair, and so is whom else it trusts.
		forUs := account == writer.Account || account != w.role.Account && w.demandsExternalID(w.st)
		if wide && forUs && w.lets(w.probe(w.another(account), id)) {
			w.warn("account_principal", true, fmt.Sprintf("Principal %q lets every role and user of account %s assume the role that may call sts:AssumeRole: name %s", entry, account, arn),
				w.propose(fmt.Sprintf("make Principal %q", arn), func(e *editor) { e.replaceValues(is(entry), []string{arn}, w.statement, "Principal", "AWS") }))
		}
	}
	if w.lets(w.probe(writer, id)) {
		w.externalID(writer, id)
		w.trustActions()
	}
}

// externalID warns if the writer gets in without this team's external ID.
func (w *watch) externalID(writer iam.Principal, id string) {
	const confused = "another customer of the platform could have it write to, or read from, what this role may"
	fixes := w.requireExternalID(writer, id)
	switch {
	case w.lets(w.probe(writer, "")) && !w.demandsExternalID(w.st):
		w.warn("missing_external_id", true, fmt.Sprintf("no external ID is required, so that %s: require sts:ExternalId %q", confused, id), fixes...)
	case w.lets(w.probe(writer, "")):
		w.warn("optional_external_id", true, fmt.Sprintf("the condition on the external ID holds for callers that send none, so that %s: use StringEquals with %q", confused, id), fixes...)
	case slices.ContainsFunc(otherExternalIDs(id), func(other string) bool { return w.lets(w.probe(writer, other)) }):
		w.warn("wildcard_external_id", true, fmt.Sprintf("other external IDs than this team's are accepted, so that %s: use StringEquals with %q", confused, id), fixes...)
	}
}

// otherExternalIDs are of other teams: a pattern that accepts id and others is likely to accept one of them.
func otherExternalIDs(id string) []string {
	namespace, _, _ := strings.Cut(id, ":")
	ids := []string{id + "0", id + "00", id[:len(id)-1] + "~", id[:len(id)-1], "~" + id, namespace + ":~", namespace + ":team_~", "~", strings.ToUpper(id), strings.ToLower(id)}
	for i := 1; i < len(id); i++ { // "vercel-team:team_1?3"
		ids = append(ids, id[:i]+"~"+id[i+1:])
	}
	return slices.DeleteFunc(ids, func(other string) bool { return other == id || other == "" })
}

// requireExternalID proposes to demand the external ID: of a statement that others use as well, in one of our own.
func (w *watch) requireExternalID(writer iam.Principal, id string) []proposal {
	arn := cmp.Or(writer.RoleARN, writer.ARN)
	// Everybody is the writer alone if conditions that are known of have kept all others out.
	alone := len(unknownKeys(w.st, w.doc.policy.Version, w.probe(writer, id).facts)) == 0
	ours := func(entry string) bool { return accountOf(entry) == writer.Account || entry == "*" && alone }
	if onlyAWS(w.st.Principal) && all(w.st.Principal.AWS, ours) {
		return []proposal{w.propose(fmt.Sprintf("require sts:ExternalId %q", id), func(e *editor) { e.setCondition(w.statement, "sts:ExternalId", id) })}
	}
	return []proposal{w.propose(fmt.Sprintf("leave out %s, and add a statement for it that requires sts:ExternalId %q", arn, id), func(e *editor) {
		e.replaceValues(ours, nil, w.statement, "Principal", "AWS")
		e.addStatement(w.grant.TrustStatement())
	})}
}

// trustActions warns of actions beside sts:AssumeRole.
func (w *watch) trustActions() {
	needed := isNeeded("sts:AssumeRole")
	var needless []string
	for _, a := range w.st.Action {
		if !needed(a) {
			needless = append(needless, a)
		}
	}
	if needless == nil {
		return
	}
	with := []string{"sts:AssumeRole"}
	w.warn("needless_action", false, fmt.Sprintf("Action %s is not needed: the drain calls sts:AssumeRole only", quoted(needless)),
		w.propose(`make Action "sts:AssumeRole"`, func(e *editor) { e.replaceValues(is(needless...), with, w.statement, "Action") }))
}

// everybody warns of a bucket or key policy that lets anybody write to the drain's place, or use its key.
func (w *watch) everybody() {
	s, what := w.write("putObject", "s3:PutObject", false), "write to the bucket"
	if w.doc.kind == auditdrain.PolicyKey {
		s, what = w.dataKey(), "use the key"
	}
	if w.st.Principal == nil || !slices.Contains(w.st.Principal.AWS, "*") || !w.lets(w.byStrangerFrom(s)) {
		return
	}
	role := w.drain.Delivery.RoleARN
	w.warn("any_principal", true, fmt.Sprintf("Principal \"*\" lets anybody in any AWS account %s: name %s", what, role),
		w.propose(fmt.Sprintf("make Principal %q", role), func(e *editor) { e.setEverybody(w.statement, role) }))
}
