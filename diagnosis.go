package auditdrain

import (
	"fmt"
	"strings"
)

// Diagnosis explains in words why AWS refused a call. It is made from AWS's
// answer and from what is known of the drain; nothing in it is guessed:
// causes that fit the answer equally well are all listed.
type Diagnosis struct {
	// Summary is what failed, in one sentence.
	Summary string `json:"summary"`
	// Known is false for an answer that fits nothing we know of. There are no
	// causes then.
	Known bool `json:"known"`
	// Causes are what may be the reason, the likeliest first.
	Causes     []Cause           `json:"causes,omitempty"`
	CloudTrail *CloudTrailLookup `json:"cloudTrail,omitempty"`
	// Docs is the address of AWS's page about it.
	Docs string `json:"docs,omitempty"`
	// Answer is AWS's status, code and message; the whole answer is with the
	// result of a test delivery.
	Answer string `json:"answer"`
	// RequestID is AWS's, to be looked up or given to AWS's support.
	RequestID string `json:"requestId,omitempty"`
}

// Cause is one possible reason of a refusal, and what mends it.
type Cause struct {
	Code CauseCode `json:"code"`
	// Text says what is wrong, in one sentence with real values.
	Text string `json:"text"`
	// Confirmed says that this is the reason for sure: AWS's answer or a
	// further call has shown it.
	Confirmed bool   `json:"confirmed,omitempty"`
	Who       Actor  `json:"who"` // must act
	Fix       string `json:"fix"` // what to do, in one sentence
	// Change is the exact statement or setting, where there is one.
	Change *Change `json:"change,omitempty"`
}

// CauseCode names a cause for programs.
type CauseCode string

// Actor is who has to act.
type Actor string

// The people who mend things.
const (
	ActorRoleAdmin   Actor = "administrator of the role"
	ActorBucketOwner Actor = "owner of the bucket"
	ActorKeyAdmin    Actor = "administrator of the KMS key"
	ActorOrgAdmin    Actor = "administrator of the AWS organization"
	ActorTeamAdmin   Actor = "administrator of the drain"
	ActorOperator    Actor = "operator of the platform"
	ActorNobody      Actor = "nobody"
)

// Change is what to write where: a statement of a policy, or a field of the
// drain.
type Change struct {
	// Where is what has to be changed, such as "trust policy of arn:…".
	Where string `json:"where"`
	// Statement is the policy statement that should be there, as JSON text.
	Statement string `json:"statement,omitempty"`
	// Condition is what to add inside the Condition of the statement that
	// denies, so that it denies the drain no more; JSON text.
	Condition string `json:"condition,omitempty"`
	// Field is the drain's field that should have Value, or be left out if
	// Unset. With neither, only a person can know the value.
	Field string `json:"field,omitempty"`
	Value string `json:"value,omitempty"`
	Unset bool   `json:"unset,omitempty"`
}

// CloudTrailLookup says how to find the refused call in CloudTrail.
type CloudTrailLookup struct {
	EventSource string `json:"eventSource"` // "sts.amazonaws.com"
	EventName   string `json:"eventName"`   // "AssumeRole"
	RequestID   string `json:"requestId,omitempty"`
	Account     string `json:"account,omitempty"` // in whose CloudTrail
	Region      string `json:"region,omitempty"`
	From        int64  `json:"from"` // Unix ms
	To          int64  `json:"to"`   // Unix ms
	// Note says what CloudTrail does not record by itself.
	Note string `json:"note,omitempty"`
	// Command is the AWS CLI command that looks it up, where there is one.
	Command string `json:"command,omitempty"`
}

// RoleCheck says whether a role lets in only its own team. A role that can be
// assumed without the team's external ID is open to every other customer of
// the platform, who need only enter its ARN (the confused deputy).
type RoleCheck struct {
	Unsafe bool `json:"unsafe"`
	// How STS answered when the role was assumed without an external ID, and
	// with those of teams that do not exist.
	WithoutExternalID RoleCheckAnswer `json:"withoutExternalId"`
	OtherExternalID   RoleCheckAnswer `json:"otherExternalId"`
	// Text says in a sentence what that means.
	Text string `json:"text"`
	// Diagnosis says why an answer is unknown.
	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	// Change is the trust policy's statement that makes an unsafe role safe.
	Change *Change `json:"change,omitempty"`
}

// RoleCheckAnswer is STS's answer to an AssumeRole that must be refused.
type RoleCheckAnswer string

// The answers. Unknown means that none came which would tell.
const (
	RoleRefused  RoleCheckAnswer = "refused"
	RoleAccepted RoleCheckAnswer = "accepted"
	RoleUnknown  RoleCheckAnswer = "unknown"
)

// String is the diagnosis on one line, the way people see it as a drain's
// last error, in the log and as the error of a test delivery.
func (d Diagnosis) String() string {
	var b strings.Builder
	b.WriteString(d.Summary)
	for i, c := range d.Causes {
		switch {
		case i > 0:
			fmt.Fprintf(&b, " Or: %s", c.Text)
		case c.Confirmed:
			fmt.Fprintf(&b, " Cause: %s %s", c.Text, c.Fix)
		default:
			fmt.Fprintf(&b, " Most likely: %s %s", c.Text, c.Fix)
		}
	}
	if !d.Known {
		b.WriteString(" This answer is not known to us.")
	}
	fmt.Fprintf(&b, " AWS said: %s", d.Answer)
	if d.RequestID != "" {
		fmt.Fprintf(&b, " (request id %s)", d.RequestID)
	}
	return b.String()
}
