package policycheck

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// found is a policy in what was given.
type found struct {
	source
	root *node // of its text
	// command is the AWS CLI command that prints what the policy was in; "" if it was by itself.
	command string
	kinds   []auditdrain.PolicyKind // what that command prints; nil: does not tell

	role, boundary, version string // as in document
}

// outputs are the AWS CLI commands that print policies, and where in their output those are. The shorter paths are
// those of --query.
var outputs = []struct {
	command string
	path    []string
	kinds   []auditdrain.PolicyKind
}{
	{"aws iam get-role", []string{"Role", "AssumeRolePolicyDocument"}, []auditdrain.PolicyKind{auditdrain.PolicyTrust}},
	{"aws iam get-role", []string{"AssumeRolePolicyDocument"}, []auditdrain.PolicyKind{auditdrain.PolicyTrust}},
	{"aws iam get-role-policy", []string{"PolicyDocument"}, []auditdrain.PolicyKind{auditdrain.PolicyPermissions}},
	{"aws iam get-policy-version", []string{"PolicyVersion", "Document"}, []auditdrain.PolicyKind{auditdrain.PolicyPermissions, auditdrain.PolicyBoundary}},
	{"aws iam get-policy-version", []string{"Document"}, []auditdrain.PolicyKind{auditdrain.PolicyPermissions, auditdrain.PolicyBoundary}},
	{"aws s3api get-bucket-policy or aws kms get-key-policy", []string{"Policy"}, []auditdrain.PolicyKind{auditdrain.PolicyBucket, auditdrain.PolicyKey}},
}

// withoutPolicy are the AWS CLI commands whose output people take for a policy.
var withoutPolicy = []struct {
	path             []string
	command, instead string
}{
	{[]string{"AttachedPolicies"}, "aws iam list-attached-role-policies", "aws iam get-policy-version for each of them"},
	{[]string{"PolicyNames"}, "aws iam list-role-policies", "aws iam get-role-policy for each of them"},
	{[]string{"Policy", "DefaultVersionId"}, "aws iam get-policy", "aws iam get-policy-version with that version"},
	{[]string{"KeyMetadata"}, "aws kms describe-key", "aws kms get-key-policy"},
}

// maxLayers bounds how often what was given is taken out of something else. The most that AWS's tools make is three: an
// escaped string that holds output with an encoded policy.
const maxLayers = 5

// find returns the policy in what was given. An error is at an offset of the source that is returned with it.
func find(given source) (found, *iam.SyntaxError, source) {
	f := found{source: given}
	for range maxLayers {
		trimmed := strings.TrimSpace(f.text)
		if strings.HasPrefix(trimmed, "%") {
			f.source = f.unescaped()
			f.command = cmp.Or(f.command, "IAM's API")
			continue
		}
		root, syntax := parseTree(f.text)
		f.root = root
		switch {
		case trimmed == "":
			return f, f.errorAt(0, "there is nothing in it"), f.source
		case syntax != nil:
			return f, syntax, f.source
		case root.kind == '"':
			f.source = f.slice(root.start, root.end).unquoted()
			f.command = cmp.Or(f.command, "a program that quotes it")
			continue
		case root.kind != '{':
			return f, f.errorAt(root.start, "a policy must be an object"), f.source
		case root.get("Statement") != nil:
			return f, nil, f.source
		}
		inner, syntax := f.unwrap(root)
		if syntax != nil {
			return f, syntax, f.source
		}
		if inner == nil {
			return f, nil, f.source // no policy at all, as iam.Parse will say
		}
		f.source = f.slice(inner.start, inner.end)
	}
	return f, f.errorAt(0, "it is wrapped too many times"), f.source
}

func (f *found) errorAt(offset int, format string, args ...any) *iam.SyntaxError {
	return iam.SyntaxErrorAt([]byte(f.text), offset, fmt.Sprintf(format, args...))
}

// unwrap returns the value that has the policy in the output of a command, or nil if root is none that is known, and
// notes what the output tells besides.
func (f *found) unwrap(root *node) (*node, *iam.SyntaxError) {
	for _, other := range withoutPolicy {
		if root.get(other.path...) != nil {
			return nil, f.errorAt(root.start, "this is the output of %s, which has no policy in it: use %s", other.command, other.instead)
		}
	}
	if root.get("Effect") != nil {
		return nil, f.errorAt(root.start, `this is one statement: a policy has it in {"Version": "2012-10-17", "Statement": […]}`)
	}
	for _, name := range []string{"UserName", "GroupName"} {
		if n := root.get(name); n != nil {
			return nil, f.errorAt(n.start, "this is a policy of %s %q: a drain uses a role", strings.ToLower(strings.TrimSuffix(name, "Name")), n.text)
		}
	}
	for _, out := range outputs {
		inner := root.get(out.path...)
		if inner == nil {
			continue
		}
		f.command, f.kinds = out.command, out.kinds
		if out.path[0] == "Policy" && root.get("PolicyName") != nil {
			f.command, f.kinds = "aws kms get-key-policy", []auditdrain.PolicyKind{auditdrain.PolicyKey}
		}
		f.note(root)
		return inner, nil
	}
	return nil, nil
}

func (f *found) note(root *node) {
	for _, at := range []*node{root, root.get("Role"), root.get("PolicyVersion")} {
		if at == nil {
			continue
		}
		if n := at.get("RoleName"); n != nil {
			f.role = n.text
		}
		if n := at.get("Arn"); n != nil {
			f.role = n.text
		}
		if n := at.get("PermissionsBoundary", "PermissionsBoundaryArn"); n != nil {
			f.boundary = n.text
		}
		if n := at.get("IsDefaultVersion"); n != nil && n.kind == 'f' {
			f.version = "another"
			if v := at.get("VersionId"); v != nil {
				f.version = v.text
			}
		}
	}
}
