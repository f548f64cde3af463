package auditdrain

import "encoding/json"

// The bodies of the REST API that are not domain types themselves.

// DrainInput is the body of POST /v1/drains. Projects, Schemas and Source can
// have one value each for audit logs; the fields at the end belong to other
// kinds of drain and are refused when they are set.
type DrainInput struct {
	Name     string                   `json:"name"`
	Projects string                   `json:"projects,omitempty"` // "all"
	Schemas  map[string]SchemaVersion `json:"schemas"`
	Delivery *Delivery                `json:"delivery"`
	Source   *Source                  `json:"source,omitempty"`
	// StartFrom, in Unix milliseconds, makes the drain begin with events
	// accepted since then; without it, it begins with those accepted after
	// its creation.
	StartFrom int64 `json:"startFrom,omitempty"`

	ProjectIDs json.RawMessage `json:"projectIds,omitempty"`
	Filter     json.RawMessage `json:"filter,omitempty"`
	Sampling   json.RawMessage `json:"sampling,omitempty"`
	Transforms json.RawMessage `json:"transforms,omitempty"`
}

// DrainPatch is the body of PATCH /v1/drains/{id}: what is absent stays as it
// is. Delivery is replaced as a whole, but for what DeliveryPatch says.
type DrainPatch struct {
	Name     *string                  `json:"name,omitempty"`
	Projects *string                  `json:"projects,omitempty"`
	Schemas  map[string]SchemaVersion `json:"schemas,omitempty"`
	Delivery *DeliveryPatch           `json:"delivery,omitempty"`
	Source   *Source                  `json:"source,omitempty"`
	Status   *DrainStatus             `json:"status,omitempty"` // enabled or disabled
	// ResumeFrom, with Status enabled for a drain that is disabled, may be
	// "now": what has not been delivered by now is given up, on record. Without
	// it, a drain goes on where it stopped.
	ResumeFrom *string `json:"resumeFrom,omitempty"`

	ProjectIDs json.RawMessage `json:"projectIds,omitempty"`
	Filter     json.RawMessage `json:"filter,omitempty"`
	Sampling   json.RawMessage `json:"sampling,omitempty"`
	Transforms json.RawMessage `json:"transforms,omitempty"`
}

// DeliveryPatch is the delivery of a DrainPatch. It replaces the drain's as a whole,
// but for Integrity, which stays if it is absent: a client that does not know of it
// must not end a drain's account by changing something else. Integrity may also be
// there alone, and then nothing else changes.
type DeliveryPatch struct {
	*Delivery       // its own Integrity is not part of the patch
	Integrity *bool `json:"integrity,omitempty"`
}

// Apply returns what d is after the patch.
func (p DeliveryPatch) Apply(d Delivery) Delivery {
	integrity := d.Integrity
	switch {
	case p.Delivery != nil:
		d = p.Delivery.WithDefaults()
	case p.Integrity == nil: // {} is a delivery that has nothing it needs
		d = Delivery{}.WithDefaults()
	}
	if d.Integrity = integrity; p.Integrity != nil {
		d.Integrity = *p.Integrity
	}
	return d
}

// DrainList is the answer of GET /v1/drains.
type DrainList struct {
	Drains []Drain `json:"drains"`
	// Matches and Counts are there if a page was asked for (limit).
	Matches *int         `json:"matches,omitempty"` // how many the search has found, on all pages
	Counts  *DrainCounts `json:"counts,omitempty"`
}

// DrainCounts is how many drains there are of each status that search and team
// select, whatever status was asked for.
type DrainCounts struct {
	Errored  int `json:"errored"`
	Enabled  int `json:"enabled"`
	Disabled int `json:"disabled"`
}

// DrainSearch asks for one page of drains: those in trouble first, then those
// with the largest backlog.
type DrainSearch struct {
	TeamID string      // empty: of all teams
	Text   string      // in the name, ID or endpoint of the drain, or the ID, slug or name of its team; case does not matter
	Status DrainStatus // empty: any
	Offset int
	Limit  int // 1 to MaxPage
}

// MaxPage bounds the drains of one page.
const MaxPage = 200

// DrainTestInput is the body of POST /v1/drains/test.
type DrainTestInput struct {
	Schemas  map[string]SchemaVersion `json:"schemas"`
	Delivery *Delivery                `json:"delivery"`
	// Details has a success answered with all of a DrainTestResult.
	Details bool `json:"details,omitempty"`
}

// DrainTestResult is what a test delivery came to. After a success of
// POST /v1/drains/test without Details all of it is empty, as clients expect,
// except for RoleCheck if the role is unsafe; POST /v1/drains/{id}/test also
// tells Key, Duration and the rest.
type DrainTestResult struct {
	Status   string     `json:"status,omitempty"` // "error", or empty after a success
	Error    string     `json:"error,omitempty"`
	Endpoint string     `json:"endpoint,omitempty"`
	AWS      *AWSAnswer `json:"aws,omitempty"`

	Key      string `json:"key,omitempty"`        // the test object that was written
	Duration int64  `json:"durationMs,omitempty"` // AssumeRole and PutObject together

	// Steps are the calls that were made, in order, up to the one that failed.
	Steps []TestStep `json:"steps,omitempty"`
	// Diagnosis explains what AWS refused.
	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	// RoleCheck is whether anybody else could use the role.
	RoleCheck *RoleCheck `json:"roleCheck,omitempty"`
}

// TestStep is one call of a test delivery.
type TestStep struct {
	Name     string `json:"name"` // "assumeRole" or "putObject"
	OK       bool   `json:"ok"`
	Duration int64  `json:"durationMs"`
}

// AWSAnswer is what AWS said to one call, as complete as it came; only
// credentials that AWS echoes are taken out. HTTPStatus is 0 when no answer
// came at all; Message then says why (DNS, TLS, time-out, …).
type AWSAnswer struct {
	Service           string              `json:"service"`   // "sts" or "s3"
	Operation         string              `json:"operation"` // "AssumeRole" or "PutObject"
	HTTPStatus        int                 `json:"httpStatus,omitempty"`
	Code              string              `json:"code,omitempty"`
	Message           string              `json:"message"`
	RequestID         string              `json:"requestId,omitempty"`
	ExtendedRequestID string              `json:"extendedRequestId,omitempty"`
	Time              int64               `json:"time"` // Unix ms, when the answer came
	Headers           map[string][]string `json:"headers,omitempty"`
	Body              string              `json:"body,omitempty"`
	Host              string              `json:"host,omitempty"`
	// NoCredentials says that the call was not made for want of credentials
	// of our own.
	NoCredentials bool   `json:"noCredentials,omitempty"`
	Key           string `json:"key,omitempty"`
	RoleARN       string `json:"roleArn,omitempty"`
	// CallerARN is who made the call, as AWS sees it: our writer role for
	// AssumeRole, the session of the team's role for PutObject.
	CallerARN string `json:"callerArn,omitempty"`
}

// TeamInput is the body of POST /v1/teams. Without an ID, one is made.
type TeamInput struct {
	ID   string `json:"id,omitempty"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

// TeamPatch is the body of PATCH /v1/teams/{idOrSlug}: what is absent stays as
// it is.
type TeamPatch struct {
	Name            *string `json:"name,omitempty"`            // the operator's to change
	HideIPAddresses *bool   `json:"hideIpAddresses,omitempty"` // see Team
	AnchorURL       *string `json:"anchorUrl,omitempty"`       // the operator's to change; empty: none of its own
}

// TeamList is the answer of GET /v1/teams.
type TeamList struct {
	Teams []Team `json:"teams"`
	// Matches is how many there are in all, if a limit was given.
	Matches *int `json:"matches,omitempty"`
}

// TokenInput is the body of POST /v1/tokens.
type TokenInput struct {
	Name      string `json:"name"`
	Role      Role   `json:"role"`
	TeamID    string `json:"teamId,omitempty"`
	ExpiresAt int64  `json:"expiresAt,omitempty"` // Unix ms
}

// NewToken is the answer of POST /v1/tokens, the only time that the value is
// shown.
type NewToken struct {
	Token
	Value string `json:"token"`
}

// TokenList is the answer of GET /v1/tokens.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// EventsResult is the answer of POST /v1/events: Accepted events are new and
// durable, Duplicates had been accepted before with the same bytes.
type EventsResult struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
}
