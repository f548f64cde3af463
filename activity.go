package auditdrain

// Activity is one thing that somebody did to the configuration: the audit log
// that auditdrain keeps of itself. It is durable with what it tells of, or
// neither is. Each is also an event of team SystemTeam, whose drains deliver it.
type Activity struct {
	// Number counts all of them from 1, without gaps.
	Number uint64 `json:"number"`
	ID     string `json:"id"` // that of the event
	At     int64  `json:"at"` // Unix ms
	// TeamID is the team that it is about; empty if it is about none.
	TeamID string        `json:"teamId,omitempty"`
	Actor  ActivityActor `json:"actor"`
	Action string        `json:"action"` // "drain-created": see the constants
	// TargetID and TargetName are the drain, token, team or link that it is
	// about.
	TargetID   string           `json:"targetId,omitempty"`
	TargetName string           `json:"targetName,omitempty"`
	Changes    []ActivityChange `json:"changes,omitempty"`
	// IPAddress and UserAgent are of the request that did it.
	IPAddress string `json:"ipAddress,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
}

// ActivityActor is who did it: a token, or who was logged in with one.
type ActivityActor struct {
	ID   string `json:"id"`   // of the token, or of the portal link
	Name string `json:"name"` // of the token, or of the person whom the platform has named
	Role Role   `json:"role"`
	// Session is set if it was done in the web pages.
	Session string `json:"session,omitempty"`
}

// ActivityChange is one field before and after.
type ActivityChange struct {
	Field string `json:"field"` // as in REST: "delivery.region"
	From  string `json:"from"`  // empty if it was not set
	To    string `json:"to"`    // empty if it is not set any more
}

// The actions.
const (
	ActionDrainCreated      = "drain-created"
	ActionDrainUpdated      = "drain-updated"
	ActionDrainPaused       = "drain-paused"
	ActionDrainResumed      = "drain-resumed"
	ActionDrainDeleted      = "drain-deleted"
	ActionDrainTested       = "drain-tested"
	ActionBacklogGivenUp    = "drain-backlog-given-up"
	ActionEventSkipped      = "drain-event-skipped"
	ActionReplayStarted     = "drain-replay-started"
	ActionReplayCancelled   = "drain-replay-cancelled"
	ActionTeamCreated       = "team-created"
	ActionTeamUpdated       = "team-updated"
	ActionTokenCreated      = "token-created"
	ActionTokenRevoked      = "token-revoked"
	ActionPortalLinkCreated = "portal-link-created"
	ActionSigningKeyCreated = "signing-key-created"
	ActionLoggedIn          = "logged-in"
	ActionLoggedOut         = "logged-out"
)

// SystemTeam is the ID of the team whose events are what people did to
// auditdrain itself. It is there from the first start.
const SystemTeam = "_system"

// ActivityQuery selects activities, the latest first.
type ActivityQuery struct {
	TeamID string // empty: of all teams, and of none
	Before uint64 // those with lower numbers; 0: all
	Limit  int
}

// ActivityList is the answer of GET /v1/activity, the latest first.
type ActivityList struct {
	Activities []Activity `json:"activities"`
	// Next is the parameter before of the next page; 0 if this is the last.
	Next uint64 `json:"next,omitempty"`
}
