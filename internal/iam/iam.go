// Package iam reads IAM policy documents and decides, as AWS does, whether they allow a request.
package iam

// Effect is what a matching statement does. The zero Effect means that no statement matched.
type Effect string

const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Policy is one parsed policy document.
type Policy struct {
	Version    string // "2012-10-17", "2008-10-17" or "" (the same as 2008-10-17)
	ID         string
	Statements []Statement
}

// Statement is one statement of a policy, with its elements as written.
type Statement struct {
	Sid                     string
	Index                   int // position in the document, from 0
	Effect                  Effect
	Principal, NotPrincipal *PrincipalSet // nil: absent
	Action, NotAction       []string
	Resource, NotResource   []string
	Condition               []Condition
}

// PrincipalSet is a Principal or NotPrincipal element. A bare "*" is read as {"AWS": "*"}, which AWS documents as equivalent.
type PrincipalSet struct {
	AWS, Service, Federated, CanonicalUser []string
}

// Condition is one operator and key of a Condition element, with the values as written:
// {Operator: "StringEquals", Key: "sts:ExternalId", Values: ["…"]}.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// SyntaxError says where a document is not a valid policy.
type SyntaxError struct {
	Line, Column int // 1-based; columns count bytes
	Msg          string
}

func (e *SyntaxError) Error() string { panic("TODO") }

// Parse reads one policy document. Errors are *SyntaxError.
func Parse(data []byte) (*Policy, error) { panic("TODO") }

// MustParse is Parse for documents that are part of the program. It panics on an error.
func MustParse(doc string) *Policy { panic("TODO") }

// Principal is who makes a request.
type Principal struct {
	ARN     string // as AWS shows it: arn:aws:sts::123456789012:assumed-role/name/session, a user's ARN, or the account root's
	RoleARN string // the role behind an assumed-role session, with its path: arn:aws:iam::…:role/path/name; "" for users
	Account string
	Service string // for an AWS service, e.g. "logging.s3.amazonaws.com": everything else is empty then
}

// Request is what AWS has to decide on.
type Request struct {
	Principal Principal
	Action    string
	Resource  string
	// Context holds the condition keys, matched without regard to case. aws:PrincipalArn, aws:PrincipalAccount
	// and aws:PrincipalType are taken from Principal where they are absent.
	Context map[string][]string
}

// PolicyKind says in what capacity a policy takes part in a decision.
type PolicyKind string

const (
	IdentityBased       PolicyKind = "identity-based policy"
	ResourceBased       PolicyKind = "resource-based policy"
	RoleTrustPolicy     PolicyKind = "role trust policy"
	PermissionsBoundary PolicyKind = "permissions boundary"
	SessionPolicy       PolicyKind = "session policy"
	ServiceControl      PolicyKind = "service control policy"
	ResourceControl     PolicyKind = "resource control policy"
)

// ResourceKind says what Policies.Resource is attached to, which decides how it combines with the caller's own policies.
type ResourceKind int

const (
	Bucket    ResourceKind = iota // also right for anything else whose policy is optional
	RoleTrust                     // the trust policy must allow
	Key                           // the key policy must allow, itself or by delegating to its account
)

// Policies is everything that applies to a request.
type Policies struct {
	Identity        []*Policy
	Boundary        *Policy // nil: none
	Session         *Policy // nil: no session policy was passed
	Resource        *Policy // nil: none
	ResourceKind    ResourceKind
	ResourceAccount string    // the account that owns the resource
	SCP, RCP        []*Policy // empty: not in an organization, or FullAWSAccess
}

// Decision is the outcome of Authorize.
type Decision struct {
	Allowed   bool
	Explicit  bool       // denied by a Deny statement, not for want of an Allow
	Kind      PolicyKind // the kind of policy that decided, or whose Allow was missing
	Policy    *Policy    // nil for an implicit deny
	Statement *Statement // nil for an implicit deny
}

// Authorize decides whether the policies allow the request.
func Authorize(req Request, p Policies) Decision { panic("TODO") }

// Reason renders AWS's wording of why a request was denied, from "because" or "with" on; "" if it was allowed.
func (d Decision) Reason(action string) string { panic("TODO") }

// Verdict is what one policy says of a request.
type Verdict struct {
	Effect    Effect     // "": no statement matches
	Statement *Statement // the first one that matches with that effect
}

// Evaluate says what the policy on its own, attached as the given kind, says of the request.
func (p *Policy) Evaluate(req Request, kind PolicyKind) Verdict { panic("TODO") }
