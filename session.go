package auditdrain

import (
	"fmt"
	"time"
)

// Session is a person's visit to the web pages, from log-in to log-out. It may
// do what its role may, in its team.
type Session struct {
	ID     string `json:"id"`
	Name   string `json:"name"` // of the token, or of the person whom the platform has named
	Role   Role   `json:"role"`
	TeamID string `json:"teamId,omitempty"` // empty for operators
	// ActorID is the token or the portal link that it was begun with.
	ActorID string `json:"actorId"`
	// TokenHash is of the token that it was begun with, and that must still be
	// valid; zero after a portal link.
	TokenHash TokenHash `json:"tokenHash"`
	CreatedAt int64     `json:"createdAt"` // Unix ms
	ExpiresAt int64     `json:"expiresAt"` // Unix ms
	// Hash is of the value in the cookie, which is stored nowhere.
	Hash TokenHash `json:"-"`
}

// PortalLink lets whoever opens it first in, once, to the pages of one team: a
// platform makes one for a person whom it knows, and sends them there.
type PortalLink struct {
	ID        string    `json:"id"`
	TeamID    string    `json:"teamId"`
	Role      Role      `json:"role"` // owner or viewer
	UserName  string    `json:"userName"`
	CreatedAt int64     `json:"createdAt"` // Unix ms
	ExpiresAt int64     `json:"expiresAt"` // Unix ms
	Hash      TokenHash `json:"-"`         // of the value in its URL, which is stored nowhere
}

// PortalLinkInput is the body of POST /v1/portal-links.
type PortalLinkInput struct {
	TeamID string `json:"teamId"` // or slug
	Role   Role   `json:"role,omitempty"`
	// UserName is who is let in, for Activity; "portal" without it.
	UserName string `json:"userName,omitempty"`
	// ValidMinutes is how long the link can be opened, 5 without it.
	ValidMinutes int `json:"validMinutes,omitempty"`
}

// NewPortalLink is the answer of POST /v1/portal-links, the only time that the
// URL is shown.
type NewPortalLink struct {
	PortalLink
	URL string `json:"url"`
}

// How long links can be opened, and sessions last.
const (
	DefaultPortalMinutes = 5
	MaxPortalMinutes     = 60
	SessionLasts         = 12 * time.Hour
)

// WithDefaults is in with what it left out.
func (in PortalLinkInput) WithDefaults() PortalLinkInput {
	if in.Role == "" {
		in.Role = RoleOwner
	}
	if in.UserName == "" {
		in.UserName = "portal"
	}
	if in.ValidMinutes == 0 {
		in.ValidMinutes = DefaultPortalMinutes
	}
	return in
}

// Validate returns an *Error that lists every problem with in.
func (in PortalLinkInput) Validate() error {
	var ps []Problem
	if in.TeamID == "" {
		ps = append(ps, Problem{Field: "teamId", Message: "missing: say whose pages the link opens"})
	}
	if in.Role != RoleOwner && in.Role != RoleViewer {
		ps = append(ps, Problem{Field: "role", Message: fmt.Sprintf("%q is not allowed: use owner or viewer", in.Role)})
	}
	if p, ok := checkName("userName", in.UserName); !ok {
		ps = append(ps, p)
	}
	if in.ValidMinutes < 1 || in.ValidMinutes > MaxPortalMinutes {
		ps = append(ps, Problem{Field: "validMinutes", Message: fmt.Sprintf("%d is not allowed: use 1 to %d", in.ValidMinutes, MaxPortalMinutes)})
	}
	return FieldErrors(ps)
}

// Expired reports whether l can no longer be opened.
func (l PortalLink) Expired(now time.Time) bool { return now.UnixMilli() >= l.ExpiresAt }

// Expired reports whether s is over.
func (s Session) Expired(now time.Time) bool { return now.UnixMilli() >= s.ExpiresAt }
