// Package iam reads IAM policy documents and decides, as AWS does, whether they allow a request.
//
// It guarantees that a document which Parse accepts means to Authorize what AWS documents it to mean, and that a
// document which AWS is documented to refuse is refused here, with the line and the column. Nothing in here reads a
// clock, the network or a file: what a condition can see is exactly Request.Context, and what applies to a request is
// exactly Policies.
//
// Policies are not modified after Parse, so all functions are safe for concurrent use.
package iam

// Effect is what a matching statement does. The zero Effect means that no statement matches.
type Effect string

const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Policy is one parsed policy document.
type Policy struct {
	Version    string // "2012-10-17", "2008-10-17", or "" (which means 2008-10-17)
	ID         string
	Statements []Statement
}

// Statement is one statement of a policy, with its elements as written.
type Statement struct {
	Sid                     string
	Index                   int // position in the document, from 0
	Effect                  Effect
	Principal, NotPrincipal *PrincipalSet // nil: absent
	Action, NotAction       []string      // nil: absent
	Resource, NotResource   []string      // nil: absent
	Condition               []Condition
}

// PrincipalSet is a Principal or NotPrincipal element. A bare "*" is read as {"AWS": "*"}: AWS documents them as equal.
type PrincipalSet struct {
	AWS, Service, Federated, CanonicalUser []string
}

// Condition is one operator and key of a Condition element, with its values as written:
// {Operator: "StringEquals", Key: "sts:ExternalId", Values: ["vercel-team:team_123"]}.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// Principal is who makes a request. An anonymous caller is the zero Principal.
type Principal struct {
	ARN     string // as AWS shows it: arn:aws:sts::123456789012:assumed-role/name/session, a user's ARN, or the account root's
	RoleARN string // the role behind an assumed-role session, with its path: arn:aws:iam::…:role/path/name; "" for users
	Account string // "" for AWS services and anonymous callers
	Service string // for an AWS service, like "logging.s3.amazonaws.com"; everything else is "" then
}

// Request is what AWS has to decide on.
type Request struct {
	Principal Principal
	Action    string // "s3:PutObject"
	Resource  string // an ARN
	// Context holds the condition keys, whose names are matched without regard to case. aws:PrincipalArn,
	// aws:PrincipalAccount and aws:PrincipalType are taken from Principal where they are absent. A key that is
	// BinaryEquals' holds the bytes themselves, not their base64.
	Context map[string][]string
}

// PolicyKind says in what capacity a policy takes part in a decision. Its text is AWS's own.
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
	Bucket    ResourceKind = iota // a bucket or anything else that works without a policy
	RoleTrust                     // a role: its trust policy must allow
	Key                           // a KMS key: its key policy must allow, by itself or by delegating to the account
)

// Policies is everything that applies to a request.
type Policies struct {
	Identity        []*Policy // of the user (with its groups) or of the role; nil: none, so that it grants nothing
	Boundary        *Policy   // nil: none
	Session         *Policy   // nil: no session policy was passed
	Resource        *Policy   // nil: none
	ResourceKind    ResourceKind
	ResourceAccount string // the account that owns the resource

	// SCP and RCP are the policies attached at one level of the organization (several levels would each have to
	// allow). Empty: not in an organization, or FullAWSAccess.
	SCP, RCP []*Policy
}

// Decision is the outcome of Authorize.
type Decision struct {
	Allowed  bool
	Explicit bool // denied by a Deny statement, not for want of an Allow

	// Kind is the kind of policy that allowed or denied, or whose Allow is missing.
	Kind PolicyKind
	// Policy and Statement are the ones that decided. They are nil for an implicit deny, and for an account's root
	// user, whom no policy has to allow.
	Policy    *Policy
	Statement *Statement
}

// Reason renders AWS's wording of why a request was denied, from "because" or "with" on. It is "" for an allowed one.
func (d Decision) Reason(action string) string {
	switch {
	case d.Allowed:
		return ""
	case !d.Explicit:
		return "because no " + string(d.Kind) + " allows the " + action + " action"
	case d.Kind == RoleTrustPolicy:
		return "with an explicit deny in the role trust policy"
	case d.Kind == IdentityBased:
		return "with an explicit deny in an identity-based policy"
	default:
		return "with an explicit deny in a " + string(d.Kind)
	}
}
