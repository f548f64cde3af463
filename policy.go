package auditdrain

import (
	"fmt"
	"regexp"
	"strings"
)

// Setup is everything that a team needs to set a drain up, written with its
// own values. All documents are text, to be used as they are; what is not
// known yet is a placeholder in angle brackets.
type Setup struct {
	WriterRoleARN string `json:"writerRoleArn"` // whom the trust policy names
	ExternalID    string `json:"externalId"`

	TrustPolicy       string `json:"trustPolicy"`
	PermissionsPolicy string `json:"permissionsPolicy"`
	// KeyPolicyStatement is for the policy of a customer managed key, empty
	// without one.
	KeyPolicyStatement string `json:"keyPolicyStatement,omitempty"`

	CloudFormation string `json:"cloudFormation"`
	// QuickCreateURL opens CloudFormation's console with that template and
	// its parameters filled in.
	QuickCreateURL string `json:"quickCreateUrl"`
	Terraform      string `json:"terraform"`
	CLI            string `json:"cli"`    // a shell script of AWS CLI commands
	Athena         string `json:"athena"` // DDL and an example query
	DuckDB         string `json:"duckdb"`
}

// PolicyKind is what a policy document is attached to.
type PolicyKind string

// The kinds of documents that a policy check understands.
const (
	PolicyTrust       PolicyKind = "trust"       // of the role
	PolicyPermissions PolicyKind = "permissions" // identity-based, of the role
	PolicyBoundary    PolicyKind = "boundary"    // permissions boundary of the role
	PolicyBucket      PolicyKind = "bucket"
	PolicyKey         PolicyKind = "key"
)

// PolicyDocument is a policy as people have it: IAM's JSON, JSON with
// comments, or what an AWS CLI command printed (get-role, get-role-policy,
// get-policy-version, get-bucket-policy, get-key-policy).
type PolicyDocument struct {
	Kind     PolicyKind `json:"kind,omitempty"` // found out if empty
	Name     string     `json:"name,omitempty"` // what to call it in the report, a file's name for one
	Document string     `json:"document"`
}

// PolicyCheckInput is the body of POST /v1/policies/check.
type PolicyCheckInput struct {
	Delivery  *Delivery        `json:"delivery"`
	KMSKeyARN string           `json:"kmsKeyArn,omitempty"` // the customer managed key of the bucket, if it has one
	Policies  []PolicyDocument `json:"policies"`
}

// PolicyReport is what policies mean for a drain.
type PolicyReport struct {
	// Result is "allowed" if every step is, "denied" if one is, else
	// "unknown".
	Result   PolicyResult    `json:"result"`
	Steps    []PolicyStep    `json:"steps"`
	Warnings []PolicyWarning `json:"warnings,omitempty"`
	// Notes say what the result takes for granted, such as that nothing denies
	// in a policy that was not given.
	Notes []string `json:"notes,omitempty"`
	// Fixes are the edits of all denied steps and dangerous warnings
	// together, one for each document that has to change. Statements of a
	// bucket or key policy that are not for the role alone are left as they
	// are: others may need them.
	Fixes []PolicyEdit `json:"fixes,omitempty"`
}

// PolicyResult is the outcome of one step, or of all.
type PolicyResult string

// The outcomes.
const (
	PolicyAllowed PolicyResult = "allowed"
	PolicyDenied  PolicyResult = "denied"
	// PolicyUnknown: a policy that would decide was not given, or depends on
	// what only AWS sees of a request, such as its source address.
	PolicyUnknown PolicyResult = "unknown"
)

// PolicyStep is one thing that a drain does, and whether it may.
type PolicyStep struct {
	// Step is "assumeRole", "putObject", "testObject", "objectAcl" or
	// "dataKey".
	Step     string       `json:"step"`
	Action   string       `json:"action"`   // "s3:PutObject"
	Resource string       `json:"resource"` // the ARN that was tried
	Result   PolicyResult `json:"result"`
	// Decided is the statement that allowed or denied it, nil where none did.
	Decided *PolicyStatementRef `json:"decided,omitempty"`
	// Reason says in a sentence why: what is missing, or which document would
	// decide.
	Reason string `json:"reason"`
	// Near lists, of each statement that nearly allows it, what keeps it from
	// applying.
	Near []PolicyNearMiss `json:"near,omitempty"`
	// Setting is the field of the drain that, changed instead of a policy,
	// would have it allowed.
	Setting *DrainSetting `json:"setting,omitempty"`
	// Edits together have it allowed, one for each document that has to
	// change.
	Edits []PolicyEdit `json:"edits,omitempty"`
}

// DrainSetting is a field of a delivery, and the value to give it; "" is to
// leave it out.
type DrainSetting struct {
	Field string `json:"field"` // "serverSideEncryption"
	Value string `json:"value"`
}

// PolicyStatementRef names a statement of a document.
type PolicyStatementRef struct {
	Document string     `json:"document"` // the name given, or what it is
	Kind     PolicyKind `json:"kind"`
	Sid      string     `json:"sid,omitempty"`
	Index    int        `json:"index"` // from 0
	Line     int        `json:"line"`  // in what was given, from 1
}

// PolicyNearMiss is a statement that does not apply, and why.
type PolicyNearMiss struct {
	PolicyStatementRef
	Element string `json:"element"` // "Principal", "Action", "Resource", "Condition", …: the first that does not match
	Reason  string `json:"reason"`  // with all that do not
}

// PolicyEdit is the smallest change to one document that mends a step, or does
// away with a warning. It has been tried, with the others of the same list:
// they leave no other step worse off.
//
// Of a policy that was given by itself, layout and comments stay. One that was
// found in the output of a command is laid out as a file of its own, which is
// what AWS takes back: the patch is of that.
type PolicyEdit struct {
	Document string `json:"document"`
	Summary  string `json:"summary"` // in a sentence
	Patch    string `json:"patch"`   // unified diff
	Fixed    string `json:"fixed"`   // the whole policy after it
}

// PolicyWarning is what works but is dangerous or needless.
type PolicyWarning struct {
	PolicyStatementRef
	Code string `json:"code"` // stable, for programs: "wildcard_external_id"
	Text string `json:"text"` // what may happen, and what to write instead
	// Dangerous tells what others could misuse, or what could destroy logs,
	// from what is only needless.
	Dangerous bool `json:"dangerous,omitempty"`
	// Edits together do away with it, one for each document that has to
	// change. There are none where no change is safe.
	Edits []PolicyEdit `json:"edits,omitempty"`
}

var kmsKeyARNRE = regexp.MustCompile(`^arn:(aws[a-z0-9-]*):kms:([a-z0-9-]+):(\d{12}):key/[A-Za-z0-9-]{1,64}$`)

// KMSKeyARN is the ARN of a KMS key in its parts.
type KMSKeyARN struct {
	Partition string
	Region    string
	Account   string // 12 digits
}

// ParseKMSKeyARN splits s, and reports whether it is the ARN of a KMS key. An
// alias is not: policies mean a key by its own ARN only.
func ParseKMSKeyARN(s string) (KMSKeyARN, bool) {
	m := kmsKeyARNRE.FindStringSubmatch(s)
	if m == nil {
		return KMSKeyARN{}, false
	}
	return KMSKeyARN{Partition: m[1], Region: m[2], Account: m[3]}, true
}

// ValidateKMSKeyARN returns every problem with arn as the customer managed key
// that encrypts what d writes. A region or encryption that d does not have
// yet is no problem.
func (d Delivery) ValidateKMSKeyARN(arn string) []Problem {
	bad := func(format string, args ...any) []Problem {
		return []Problem{{Field: "kmsKeyArn", Message: fmt.Sprintf(format, args...)}}
	}
	key, ok := ParseKMSKeyARN(arn)
	switch {
	case !ok && strings.Contains(arn, "alias/"):
		return bad("%q is an alias, which policies do not know: use the key's own ARN, as shown by aws kms describe-key --key-id ALIAS", arn)
	case !ok:
		return bad(`%q is not the ARN of a KMS key: use one such as "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"`, arn)
	case d.Region != "" && key.Region != d.Region:
		return bad("%q is a key in region %q, but the bucket is in %q: S3 uses keys of the bucket's own region only", arn, key.Region, d.Region)
	case d.ServerSideEncryption == "AES256":
		return bad(`%q is not used with serverSideEncryption "AES256", which is S3's own key: leave one of the two out`, arn)
	}
	return nil
}
