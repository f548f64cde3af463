package policycheck

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Limits of what is read. They bound the time that a check takes to a few seconds, and are above what AWS takes: a role
// has 20 attached policies of 6 KiB at most, and a key policy, the longest, 32 KiB.
const (
	MaxDocuments   = 25
	MaxBytes       = 256 << 10 // all documents
	MaxPolicyBytes = 40 << 10  // one policy
	MaxNameLen     = 256       // of what a document is called, in bytes
	MaxStatements  = 300       // all documents
	MaxValues      = 600       // all documents: actions, resources, principals and condition values
)

// document is one policy that was given.
type document struct {
	name   string
	kind   auditdrain.PolicyKind
	policy *iam.Policy
	// text is what edits change: what was given, or the policy that was found in it.
	text  string
	lines []int  // of the statements, in what was given
	from  string // the command in whose output it was; "": it was given by itself

	role     string // ARN or name of the role that has the policy, where that was told
	boundary string // ARN of that role's permissions boundary, where that was told
	version  string // of a managed policy whose default version is another
	foreign  string // why it has no part in what the drain may do; "": it has
}

// kindNames say what a policy is, to people.
var kindNames = map[auditdrain.PolicyKind]string{
	auditdrain.PolicyTrust:       "trust policy",
	auditdrain.PolicyPermissions: "permissions policy",
	auditdrain.PolicyBoundary:    "permissions boundary",
	auditdrain.PolicyBucket:      "bucket policy",
	auditdrain.PolicyKey:         "key policy",
}

// kinds are all that there are.
var kinds = []auditdrain.PolicyKind{
	auditdrain.PolicyTrust, auditdrain.PolicyPermissions, auditdrain.PolicyBoundary, auditdrain.PolicyBucket, auditdrain.PolicyKey,
}

// orKinds lists kinds as their values are written.
func orKinds(kinds []auditdrain.PolicyKind) string {
	var quoted []string
	for _, k := range kinds {
		quoted = append(quoted, fmt.Sprintf("%q", k))
	}
	if last := len(quoted) - 1; last > 0 {
		return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	}
	return strings.Join(quoted, "")
}

// readAll reads the documents, or returns all that is wrong with them.
func readAll(given []auditdrain.PolicyDocument) ([]*document, error) {
	bytes := 0
	for _, g := range given {
		bytes += len(g.Document)
	}
	bad := func(format string, args ...any) ([]*document, error) {
		return nil, auditdrain.FieldErrors([]auditdrain.Problem{{Field: "policies", Message: fmt.Sprintf(format, args...)}})
	}
	switch n := len(given); {
	case n == 0:
		return bad("missing: give at least one policy")
	case n > MaxDocuments:
		return bad("%d are too many: give at most %d", n, MaxDocuments)
	case bytes > MaxBytes:
		return bad("%d bytes are too many: give at most %d", bytes, MaxBytes)
	}
	var docs []*document
	var problems []auditdrain.Problem
	statements, listed := 0, 0
	for i, g := range given {
		doc, problem := readDocument(g)
		if problem != nil {
			problem.Field = fmt.Sprintf("policies.%d.%s", i, problem.Field)
			problems = append(problems, *problem)
			continue
		}
		doc.name = distinctName(doc.name, docs)
		docs = append(docs, doc)
		statements += len(doc.policy.Statements)
		for i := range doc.policy.Statements {
			listed += values(&doc.policy.Statements[i])
		}
	}
	if statements > MaxStatements {
		return bad("%d statements are too many: give at most %d", statements, MaxStatements)
	}
	if listed > MaxValues {
		return bad("%d actions, resources, principals and condition values are too many: give at most %d", listed, MaxValues)
	}
	return docs, auditdrain.FieldErrors(problems)
}

// distinctName is name, with a number if another document has it.
func distinctName(name string, docs []*document) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(docs, func(d *document) bool { return d.name == name })
	}
	distinct := name
	for n := 2; taken(distinct); n++ {
		distinct = fmt.Sprintf("%s %d", name, n)
	}
	return distinct
}

func readDocument(given auditdrain.PolicyDocument) (*document, *auditdrain.Problem) {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1 // it becomes part of patches
		}
		return r
	}, given.Name)
	called := name
	if called == "" {
		called = "the policy"
	}
	bad := func(format string, args ...any) (*document, *auditdrain.Problem) {
		return nil, &auditdrain.Problem{Field: "document", Message: called + fmt.Sprintf(format, args...)}
	}
	if n := len(given.Name); n > MaxNameLen {
		return nil, &auditdrain.Problem{Field: "name", Message: fmt.Sprintf("%d bytes are too many: use at most %d", n, MaxNameLen)}
	}
	if given.Kind != "" && !slices.Contains(kinds, given.Kind) {
		return nil, &auditdrain.Problem{Field: "kind", Message: fmt.Sprintf("%q is not allowed: use %s, or leave it out", given.Kind, orKinds(kinds))}
	}
	text := strings.TrimPrefix(given.Document, "\uFEFF")
	badAt := func(at source, e *iam.SyntaxError) (*document, *auditdrain.Problem) {
		e = iam.SyntaxErrorAt([]byte(text), at.offset(e.Offset), e.Msg)
		return bad(", %v", e)
	}

	found, syntax, at := find(source{text: text})
	if syntax != nil {
		return badAt(at, syntax)
	}
	if n := len(found.text); n > MaxPolicyBytes {
		return bad(": %d bytes are too many for a policy: AWS takes fewer, and %d are read", n, MaxPolicyBytes)
	}
	plain, syntax := plainJSON(found.text)
	if syntax != nil {
		return badAt(found.source, syntax)
	}
	policy, err := iam.Parse([]byte(plain))
	if err != nil {
		return badAt(found.source, err.(*iam.SyntaxError))
	}

	kind, problem := decideKind(given.Kind, found, policy)
	if problem != "" {
		return nil, &auditdrain.Problem{Field: "kind", Message: called + ": " + problem}
	}
	if syntax := checkShape(kind, found.root, found.text); syntax != nil {
		return badAt(found.source, syntax)
	}
	doc := &document{name: name, kind: kind, policy: policy, text: found.text, role: found.role, boundary: found.boundary, version: found.version}
	if doc.name == "" {
		doc.name = kindNames[kind]
	}
	if found.command != "" {
		doc.from, doc.text = found.command, laidOut(found.text)
	}
	for _, s := range found.root.get("Statement").list() {
		doc.lines = append(doc.lines, iam.SyntaxErrorAt([]byte(text), found.offset(s.start), "").Line)
	}
	return doc, nil
}

// values counts what a statement lists.
func values(s *iam.Statement) int {
	n := len(s.Action) + len(s.NotAction) + len(s.Resource) + len(s.NotResource)
	for _, p := range []*iam.PrincipalSet{s.Principal, s.NotPrincipal} {
		if p != nil {
			n += len(p.AWS) + len(p.Service) + len(p.Federated) + len(p.CanonicalUser)
		}
	}
	for _, c := range s.Condition {
		n += len(c.Values) + 1
	}
	return n
}

// withText returns d after an edit.
func (d *document) withText(text string) (*document, error) {
	plain, syntax := plainJSON(text)
	if syntax != nil {
		return nil, syntax
	}
	policy, err := iam.Parse([]byte(plain))
	if err != nil {
		return nil, err
	}
	edited := *d
	edited.text, edited.policy, edited.lines = text, policy, nil
	return &edited, nil
}

// decideKind returns what kind of policy it is, or what is wrong with the kind that was given.
func decideKind(given auditdrain.PolicyKind, f found, p *iam.Policy) (kind auditdrain.PolicyKind, problem string) {
	possible := f.kinds
	if possible == nil || len(possible) > 1 && given == "" {
		possible = byContent(p, possible)
	}
	switch {
	case given != "" && f.command != "" && !slices.Contains(f.kinds, given) && f.kinds != nil:
		return "", fmt.Sprintf("%q does not fit: this is the output of %s, which prints a %s", given, f.command, kindNames[f.kinds[0]])
	case given != "":
		return given, ""
	case len(possible) == 1:
		return possible[0], ""
	}
	return "", "cannot be told from the policy alone, which could be several kinds: say which, " + orKinds(possible)
}

// byContent returns the kinds among the candidates (nil: all) that a policy can be.
func byContent(p *iam.Policy, candidates []auditdrain.PolicyKind) []auditdrain.PolicyKind {
	var principal, resource bool
	services := map[string]bool{} // of the resources
	actions := map[string]bool{}  // services of the actions
	for _, s := range p.Statements {
		principal = principal || s.Principal != nil || s.NotPrincipal != nil
		for _, r := range slices.Concat(s.Resource, s.NotResource) {
			resource = true
			if fields := strings.SplitN(r, ":", 4); len(fields) == 4 {
				services[fields[2]] = true
			}
		}
		for _, a := range slices.Concat(s.Action, s.NotAction) {
			service, _, _ := strings.Cut(strings.ToLower(a), ":")
			actions[service] = true
		}
	}
	var fit []auditdrain.PolicyKind
	switch {
	case !principal:
		// A boundary looks the same, is rare, and has to be called one.
		fit = []auditdrain.PolicyKind{auditdrain.PolicyPermissions}
	case !resource:
		fit = []auditdrain.PolicyKind{auditdrain.PolicyTrust}
	case services["s3"] || actions["s3"]:
		fit = []auditdrain.PolicyKind{auditdrain.PolicyBucket}
	case services["kms"] || actions["kms"]:
		fit = []auditdrain.PolicyKind{auditdrain.PolicyKey}
	default:
		fit = []auditdrain.PolicyKind{auditdrain.PolicyTrust, auditdrain.PolicyBucket, auditdrain.PolicyKey}
	}
	if candidates == nil {
		return fit
	}
	both := slices.DeleteFunc(fit, func(k auditdrain.PolicyKind) bool { return !slices.Contains(candidates, k) })
	if len(both) == 0 {
		return candidates
	}
	return both
}

// checkShape refuses, as AWS does, elements that this kind of policy cannot have, and statements without one that it
// must have.
func checkShape(kind auditdrain.PolicyKind, root *node, text string) *iam.SyntaxError {
	var must, mustNot string
	switch kind {
	case auditdrain.PolicyTrust:
		must, mustNot = "Principal", "Resource"
	case auditdrain.PolicyPermissions, auditdrain.PolicyBoundary:
		mustNot = "Principal"
	default:
		must = "Principal"
	}
	for _, s := range root.get("Statement").list() {
		for _, name := range []string{mustNot, "Not" + mustNot} {
			if i := s.member(name); mustNot != "" && i >= 0 {
				return iam.SyntaxErrorAt([]byte(text), s.members[i].start, fmt.Sprintf("a %s has no %s: is it of another kind?", kindNames[kind], name))
			}
		}
		if must != "" && s.member(must) < 0 && s.member("Not"+must) < 0 {
			return iam.SyntaxErrorAt([]byte(text), s.start, fmt.Sprintf("a statement of a %s needs a %s", kindNames[kind], must))
		}
		if kind != auditdrain.PolicyTrust && s.member("Resource") < 0 && s.member("NotResource") < 0 {
			return iam.SyntaxErrorAt([]byte(text), s.start, fmt.Sprintf("a statement of a %s needs a Resource", kindNames[kind]))
		}
	}
	return nil
}

// laidOut returns a policy that was part of something else as it would be in a file of its own: that is what goes back
// to AWS.
func laidOut(text string) string {
	if !strings.Contains(text, "\n") {
		if plain, syntax := withoutComments(text); syntax != nil || plain != text {
			return text
		}
		if b, err := jsontext.AppendFormat(nil, text, jsontext.Multiline(true), jsontext.WithIndent("  ")); err == nil {
			return string(b)
		}
		return text
	}
	// All but its first line begin with what its last line begins with.
	last := text[strings.LastIndexByte(text, '\n')+1:]
	indent := last[:len(last)-len(strings.TrimLeft(last, " \t"))]
	lines := strings.Split(text, "\n")
	for i, line := range lines[1:] {
		lines[i+1] = strings.TrimPrefix(line, indent)
	}
	return strings.Join(lines, "\n")
}
