package auditdrain

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// DrainStatus is what a person is told about a drain in one word.
type DrainStatus string

// The statuses. Errored is reported by delivery, the others are set by people.
const (
	StatusEnabled  DrainStatus = "enabled"
	StatusErrored  DrainStatus = "errored"
	StatusDisabled DrainStatus = "disabled"
)

// Drain is a team's wish to have its audit events written to a destination.
// Its JSON is the REST form. Status, FirstErrorTimestamp and LastError come
// from the drain's DeliveryState when a drain is shown; the stored record
// holds only StatusEnabled or StatusDisabled.
type Drain struct {
	ID                  string                   `json:"id"`
	OwnerID             string                   `json:"ownerId"` // the team, as clients of the reference system read it
	TeamID              string                   `json:"teamId"`
	Name                string                   `json:"name"`
	Projects            string                   `json:"projects"`  // always "all"
	CreatedAt           int64                    `json:"createdAt"` // Unix ms
	UpdatedAt           int64                    `json:"updatedAt"` // Unix ms
	Schemas             map[string]SchemaVersion `json:"schemas"`
	Delivery            Delivery                 `json:"delivery"`
	Source              Source                   `json:"source"`
	Status              DrainStatus              `json:"status"`
	DisabledAt          int64                    `json:"disabledAt,omitempty"` // Unix ms
	DisabledBy          string                   `json:"disabledBy,omitempty"` // id of the token that did it
	DisabledReason      string                   `json:"disabledReason,omitempty"`
	FirstErrorTimestamp int64                    `json:"firstErrorTimestamp,omitempty"` // Unix ms
	ProjectAccess       ProjectAccess            `json:"projectAccess"`
	ExternalID          string                   `json:"externalId,omitempty"`
	LastError           string                   `json:"lastError,omitempty"`
	Diagnosis           *Diagnosis               `json:"diagnosis,omitempty"` // of LastError
	Metadata            *DrainMetadata           `json:"metadata,omitempty"`
	// GivenUp is what ResumeFrom gave up, in the answer to it only.
	GivenUp *Skip `json:"givenUp,omitempty"`
}

// SchemaVersion is the version of one schema that a drain receives.
type SchemaVersion struct {
	Version string `json:"version"`
}

// Source says who manages a drain.
type Source struct {
	Kind string `json:"kind"`
}

// ProjectAccess is fixed for audit logs: they cover the whole team.
type ProjectAccess struct {
	Access    string `json:"access"`
	ManagedBy string `json:"managedBy"`
}

// DrainMetadata is how a drain is doing, as of now.
type DrainMetadata struct {
	BacklogEvents       uint64 `json:"backlogEvents"`
	BacklogBytes        uint64 `json:"backlogBytes"`
	OldestUndeliveredAt int64  `json:"oldestUndeliveredAt,omitempty"` // Unix ms, when it was accepted
	Delivered           uint64 `json:"delivered"`
	Failed              uint64 `json:"failed"`                   // attempts, not events
	Skipped             uint64 `json:"skipped,omitempty"`        // events that were given up
	LastDeliveryAt      int64  `json:"lastDeliveryAt,omitempty"` // Unix ms
	LastErrorAt         int64  `json:"lastErrorAt,omitempty"`    // Unix ms
	// LastErrorEvent is the ID of the event whose delivery failed so.
	LastErrorEvent string `json:"lastErrorEvent,omitempty"`
	// LastErrorRequestID is AWS's, to be found in CloudTrail.
	LastErrorRequestID string `json:"lastErrorRequestId,omitempty"`
	NextAttemptAt      int64  `json:"nextAttemptAt,omitempty"`    // Unix ms, of a drain that waits
	Window             int    `json:"window,omitempty"`           // writes that may be under way at once
	SessionExpiresAt   int64  `json:"sessionExpiresAt,omitempty"` // Unix ms
}

// AuditLogSchemas is the one value that a drain's Schemas may have.
func AuditLogSchemas() map[string]SchemaVersion {
	return map[string]SchemaVersion{"audit_log": {Version: "v1"}}
}

// NewDrain returns an enabled drain with a fresh ID.
func NewDrain(teamID, name string, delivery Delivery, now time.Time) Drain {
	return Drain{
		ID:            NewID("drn_"),
		OwnerID:       teamID,
		TeamID:        teamID,
		Name:          name,
		Projects:      "all",
		CreatedAt:     now.UnixMilli(),
		UpdatedAt:     now.UnixMilli(),
		Schemas:       AuditLogSchemas(),
		Delivery:      delivery,
		Source:        Source{Kind: "self-served"},
		Status:        StatusEnabled,
		ProjectAccess: ProjectAccess{Access: "all", ManagedBy: "drain"},
	}
}

// Validate returns every problem with the drain's name and delivery.
// partitionOf is as for Delivery.Validate.
func (d Drain) Validate(partitionOf func(region string) (string, bool)) []Problem {
	var ps []Problem
	if p, ok := checkName("name", d.Name); !ok {
		ps = append(ps, p)
	}
	return append(ps, d.Delivery.Validate(partitionOf)...)
}

// DrainQuery selects drains. An empty field selects all.
type DrainQuery struct {
	TeamID string
	ID     string
}

// DeliveryState is what delivery knows of a drain across restarts. It is kept
// apart from the Drain so that configuration changes and deliveries never
// overwrite each other.
type DeliveryState struct {
	DrainID string `json:"-"`
	// Cursor is the highest sequence number up to which everything has been
	// confirmed by the destination. After a crash it may lag, never lead.
	Cursor uint64 `json:"-"`

	Delivered      uint64 `json:"delivered"`
	Failed         uint64 `json:"failed"`         // attempts, not events
	LastDeliveryAt int64  `json:"lastDeliveryAt"` // Unix ms
	FirstErrorAt   int64  `json:"firstErrorAt"`   // Unix ms; not 0 means errored
	LastError      string `json:"lastError"`
	LastErrorAt    int64  `json:"lastErrorAt,omitempty"` // Unix ms
	// LastErrorEvent is the ID of the event whose delivery failed so.
	LastErrorEvent string `json:"lastErrorEvent,omitempty"`
	// Diagnosis explains LastError, where that came from AWS.
	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	// Sampled is how many successes have been kept as attempts.
	Sampled uint64 `json:"sampled,omitempty"`
	// Skipped is how many events were passed because they were given up.
	Skipped uint64 `json:"skipped,omitempty"`
	// NextAttemptAt is when delivery tries again that waits: Unix ms, or 0.
	NextAttemptAt int64 `json:"nextAttemptAt,omitempty"`
	// Window is how many writes may be under way at once, as of now.
	Window int `json:"window,omitempty"`
	// SessionExpiresAt is when the session that is used ends: Unix ms, or 0.
	SessionExpiresAt int64 `json:"sessionExpiresAt,omitempty"`
	// Replay is how far the last replay that was begun has come.
	Replay *ReplayProgress `json:"replay,omitempty"`
	// NoConditionalPut names the endpoint that has answered that it does
	// not implement If-None-Match (S3-compatible stores).
	NoConditionalPut string `json:"noConditionalPut,omitempty"`
}

// Status is the status of drain d, whose state s is: StatusErrored only while
// d is to deliver.
func (s DeliveryState) Status(d Drain) DrainStatus {
	if d.Status == StatusEnabled && s.FirstErrorAt != 0 {
		return StatusErrored
	}
	return d.Status
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func quoted(values []string) string {
	return fmt.Sprintf("%q", values)
}
