// Package policycheck tells what policies mean for a drain: whether each thing that the drain does is allowed, by which
// statement, what is missing otherwise, and what the policies allow without need.
//
// It guarantees that an answer of "allowed" or "denied" is what AWS's evaluation (internal/iam) makes of the documents
// given, whatever the value of anything that only AWS knows of a request; where that matters, the answer is "unknown"
// and names it. It guarantees further that every edit that it offers has been tried, on the text that was given.
//
// Organization policies (SCPs, RCPs) are not looked at, nor what is no policy: whether bucket and key exist, Object
// Ownership, S3 Block Public Access. Nothing here does I/O or reads a clock.
package policycheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Drain is what the policies are checked for. Its fields have been validated, each by itself.
type Drain struct {
	Delivery      auditdrain.Delivery
	WriterRoleARN string // as whom the drain assumes the role; may be a user
	ExternalID    string
	KMSKeyARN     string    // "": no customer managed key that is known of
	Now           time.Time // when the drain would do it
}

// Check says what the documents mean for the drain. What is given of a kind is taken to be all that there is of it. The
// error is an *auditdrain.Error that names each document that cannot be read, and the place.
//
// It takes milliseconds for what people have. What is made to take long takes a few seconds, which the limits see to
// (BenchmarkCheck); it cannot be cancelled.
func Check(d Drain, documents []auditdrain.PolicyDocument) (auditdrain.PolicyReport, error) {
	docs, err := readAll(documents)
	if err != nil {
		return auditdrain.PolicyReport{}, err
	}
	role, ok := auditdrain.ParseRoleARN(d.Delivery.RoleARN)
	if !ok {
		return auditdrain.PolicyReport{}, auditdrain.Errorf(auditdrain.CodeBadRequest, "delivery.roleArn: %q is not an IAM role ARN", d.Delivery.RoleARN)
	}
	if problems := tooMany(docs); problems != nil {
		return auditdrain.PolicyReport{}, auditdrain.FieldErrors(problems)
	}
	for _, doc := range docs {
		doc.foreign = foreign(doc, d.Delivery.RoleARN, role)
	}
	return newChecker(d, role, docs).report(), nil
}

// tooMany refuses a second policy where there can be only one.
func tooMany(docs []*document) []auditdrain.Problem {
	var problems []auditdrain.Problem
	first := map[auditdrain.PolicyKind]*document{}
	for i, doc := range docs {
		if before := first[doc.kind]; before != nil && doc.kind != auditdrain.PolicyPermissions {
			problems = append(problems, auditdrain.Problem{
				Field:   fmt.Sprintf("policies.%d", i),
				Message: fmt.Sprintf("%s: is a second %s beside %s: give one, or say what kind it is", doc.name, kindNames[doc.kind], before.name),
			})
		}
		first[doc.kind] = doc
	}
	return problems
}

// foreign says why a document has no part in what the drain may do, or "".
func foreign(doc *document, roleARN string, role auditdrain.RoleARN) string {
	switch {
	case doc.role != "" && doc.role != roleARN && doc.role != role.Name:
		return fmt.Sprintf("document %s is the %s of role %s, but the drain's roleArn is %s: change roleArn, or give that role's policies", doc.name, kindNames[doc.kind], doc.role, roleARN)
	case doc.version != "":
		return fmt.Sprintf("document %s is version %s of its policy, which is not the default version and so not in force: give that one", doc.name, doc.version)
	}
	return ""
}

// checker decides on a set of documents.
type checker struct {
	drain   Drain
	role    auditdrain.RoleARN
	grant   iam.Grant
	session *iam.Policy
	docs    []*document
	tasks   []step
	probes  map[string]step
}

func newChecker(d Drain, role auditdrain.RoleARN, docs []*document) *checker {
	c := &checker{drain: d, role: role, docs: docs, probes: map[string]step{}}
	c.grant = iam.GrantFor(d.Delivery)
	c.grant.WriterRoleARN, c.grant.ExternalID, c.grant.KMSKeyARN = d.WriterRoleARN, d.ExternalID, d.KMSKeyARN
	c.session = iam.MustParse(c.grant.SessionPolicy())
	c.tasks = c.steps()
	return c
}

// replacing is c with a document edited.
func (c *checker) replacing(old, edited *document) *checker {
	other := *c
	other.docs = slices.Clone(c.docs)
	other.docs[slices.Index(c.docs, old)] = edited
	return &other
}

func (c *checker) has(kind auditdrain.PolicyKind) bool {
	return slices.ContainsFunc(c.docs, func(d *document) bool { return d.kind == kind && d.foreign == "" })
}

// boundaryARN is that of the permissions boundary that the role was said to have.
func (c *checker) boundaryARN() string {
	for _, doc := range c.docs {
		if doc.boundary != "" && doc.foreign == "" {
			return doc.boundary
		}
	}
	return ""
}

// outcomes are what the documents say to each step.
func (c *checker) outcomes() []outcome {
	all := make([]outcome, len(c.tasks))
	for i, s := range c.tasks {
		all[i] = c.decide(s)
	}
	return all
}

func (c *checker) report() auditdrain.PolicyReport {
	outcomes := c.outcomes()
	r := auditdrain.PolicyReport{Result: auditdrain.PolicyAllowed, Notes: c.notes()}
	for i, s := range c.tasks {
		o := outcomes[i]
		if o.result != auditdrain.PolicyAllowed && r.Result != auditdrain.PolicyDenied {
			r.Result = o.result
		}
		answer := c.stepReport(s, o)
		// Of two examples of one step, the worse one tells.
		if last := len(r.Steps) - 1; last >= 0 && r.Steps[last].Step == s.name {
			if o.distance > outcomes[i-1].distance {
				r.Steps[last] = answer
			}
			continue
		}
		r.Steps = append(r.Steps, answer)
	}
	r.Warnings = c.warnings()
	r.Fixes = c.mendAll()
	for _, doc := range c.docs {
		if doc.from != "" && slices.ContainsFunc(r.Fixes, func(e auditdrain.PolicyEdit) bool { return e.Document == doc.name }) {
			r.Notes = append(r.Notes, fmt.Sprintf("Patches of %s, which is in the output of %s, are of the policy by itself: that is what AWS takes back.", doc.name, doc.from))
		}
	}
	return r
}

func (c *checker) stepReport(s step, o outcome) auditdrain.PolicyStep {
	answer := auditdrain.PolicyStep{
		Step:     s.name,
		Action:   s.request.Action,
		Resource: s.request.Resource,
		Result:   o.result,
		Reason:   sentence(c.reason(s, o)),
	}
	if o.doc != nil {
		ref := o.doc.ref(o.statement)
		answer.Decided = &ref
	}
	if o.result == auditdrain.PolicyDenied {
		answer.Near = c.nearMisses(s, o)
		var further []step
		if answer.Setting, further = c.setting(s); len(further) > 0 {
			var actions []string
			for _, t := range further {
				actions = append(actions, t.request.Action)
			}
			answer.Reason += fmt.Sprintf(" With %s %q the drain needs further permissions: %s.", answer.Setting.Field, answer.Setting.Value, listed(actions, "and"))
		}
		if answer.Setting == nil || !o.explicit { // who demands a header had better get it
			answer.Edits = c.mend(s.name)
		}
	}
	return answer
}

// notes say what an answer takes for granted.
func (c *checker) notes() []string {
	var notes []string
	for _, doc := range c.docs {
		if doc.foreign != "" {
			notes = append(notes, sentence(doc.foreign))
		}
	}
	if !c.has(auditdrain.PolicyBucket) {
		notes = append(notes, "No bucket policy was given: that none denies is taken for granted.")
	}
	if !c.has(auditdrain.PolicyBoundary) && c.boundaryARN() == "" {
		notes = append(notes, "No permissions boundary was given: that the role has none is taken for granted.")
	}
	if c.drain.KMSKeyARN == "" && c.drain.Delivery.ServerSideEncryption != "AES256" {
		notes = append(notes, "If the bucket encrypts with a customer managed KMS key, give the key's ARN to have that checked, too.")
	}
	for _, doc := range c.docs {
		if plain, syntax := plainJSON(doc.text); syntax == nil && plain != doc.text {
			notes = append(notes, fmt.Sprintf("%s has comments or commas behind the last value, which AWS does not take: remove them before use.", doc.name))
		}
	}
	return append(notes, "Policies of the AWS organization (SCPs and RCPs) are not looked at.")
}

// ref names a statement in a report.
func (d *document) ref(i int) auditdrain.PolicyStatementRef {
	return auditdrain.PolicyStatementRef{Document: d.name, Kind: d.kind, Sid: d.policy.Statements[i].Sid, Index: i, Line: d.line(i)}
}

// line is where a statement begins in what was given, and 0 if it was not in it.
func (d *document) line(i int) int {
	if i >= len(d.lines) {
		return 0
	}
	return d.lines[i]
}

// statementText names a statement in a sentence.
func (d *document) statementText(i int) string {
	var details []string
	if sid := d.policy.Statements[i].Sid; sid != "" {
		details = append(details, fmt.Sprintf("%q", sid))
	}
	if line := d.line(i); line > 0 {
		details = append(details, fmt.Sprintf("line %d", line))
	}
	text := fmt.Sprintf("statement %d", i+1)
	if details != nil {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	return text + " of " + d.name
}

// sentence is text as one.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// listed is texts as a list in a sentence.
func listed(texts []string, last string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " " + last + " " + texts[len(texts)-1]
}

// names lists the documents of a kind, or what they would be.
func (c *checker) names(kind auditdrain.PolicyKind) string {
	var names []string
	for _, doc := range c.docs {
		if doc.kind == kind && doc.foreign == "" {
			names = append(names, doc.name)
		}
	}
	return cmp.Or(listed(names, "and"), kindNames[kind])
}
