package auditdrain

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// Team is one customer of the platform.
type Team struct {
	ID        string `json:"id"`
	Slug      string `json:"slug"`
	Name      string `json:"name"`
	CreatedAt int64  `json:"createdAt"` // Unix ms
	// HideIPAddresses has ipAddress left out of what the team's drains write
	// from now on.
	HideIPAddresses bool `json:"hideIpAddresses,omitempty"`
	// HideIPAddressesChangedAt is when that was last switched on or off, Unix ms;
	// 0 if it never was since the team was created.
	HideIPAddressesChangedAt int64 `json:"hideIpAddressesChangedAt,omitempty"`
	// AnchorURL is where the heads of its drains' manifests are posted to, instead
	// of where the service posts those of all teams. Only an operator chooses it.
	AnchorURL string `json:"anchorUrl,omitempty"`
}

// Validate returns an *Error that lists every problem with t.
func (t Team) Validate() error {
	var ps []Problem
	if !teamIDRE.MatchString(t.ID) {
		ps = append(ps, Problem{Field: "id", Message: fmt.Sprintf("%q is not allowed: use 1 to 64 of A-Z, a-z, 0-9, _ and - (it becomes part of the external ID)", t.ID)})
	}
	if !slugRE.MatchString(t.Slug) {
		ps = append(ps, Problem{Field: "slug", Message: fmt.Sprintf("%q is not allowed: use 1 to 64 of a-z, 0-9 and -, starting and ending with a letter or digit", t.Slug)})
	}
	if p, ok := checkName("name", t.Name); !ok {
		ps = append(ps, p)
	}
	if err := CheckReceiverURL(t.AnchorURL); t.AnchorURL != "" && err != nil {
		ps = append(ps, Problem{Field: "anchorUrl", Message: err.Error()})
	}
	return FieldErrors(ps)
}

// Role says what a token may do.
type Role string

// The roles. All but operator are bound to one team.
const (
	RoleOperator Role = "operator" // everything, in all teams
	RoleOwner    Role = "owner"    // the team's drains and tokens
	RoleViewer   Role = "viewer"   // reads the team's drains
	RoleProducer Role = "producer" // sends the team's events
)

// Token is what is stored of a bearer token: never its value, only its hash.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	TeamID    string    `json:"teamId,omitempty"` // empty for operators
	CreatedAt int64     `json:"createdAt"`        // Unix ms
	ExpiresAt int64     `json:"expiresAt,omitempty"`
	Hash      TokenHash `json:"-"`
}

// Expired reports whether t may no longer be used.
func (t Token) Expired(now time.Time) bool {
	return t.ExpiresAt != 0 && now.UnixMilli() >= t.ExpiresAt
}

// TokenHash is the SHA-256 of a token's value. A fast hash is enough: the
// value has 190 random bits, so there is nothing to guess.
type TokenHash [sha256.Size]byte

// HashToken returns the hash under which the token with this value is stored.
func HashToken(value string) TokenHash { return sha256.Sum256([]byte(value)) }

// NewTokenValue returns a fresh bearer token: "ad_" and 32 letters and digits
// (some clients insist on 24 in a row).
func NewTokenValue() string { return "ad_" + RandomString(32) }

func checkName(field, name string) (Problem, bool) {
	if name == "" || len(name) > MaxNameLen || !printable(name) {
		return Problem{Field: field, Message: fmt.Sprintf("%q is not allowed: use 1 to %d bytes of printable text", name, MaxNameLen)}, false
	}
	return Problem{}, true
}

// Validate returns an *Error that lists every problem with t.
func (t Token) Validate(now time.Time) error {
	var ps []Problem
	if p, ok := checkName("name", t.Name); !ok {
		ps = append(ps, p)
	}
	switch t.Role {
	case RoleOperator:
		if t.TeamID != "" {
			ps = append(ps, Problem{Field: "teamId", Message: fmt.Sprintf("%q is not allowed: an operator token is for all teams", t.TeamID)})
		}
	case RoleOwner, RoleViewer, RoleProducer:
		if t.TeamID == "" {
			ps = append(ps, Problem{Field: "teamId", Message: fmt.Sprintf("missing: a token with role %q is for one team", t.Role)})
		}
	default:
		ps = append(ps, Problem{Field: "role", Message: fmt.Sprintf("%q is not allowed: use operator, owner, viewer or producer", t.Role)})
	}
	if t.ExpiresAt != 0 && t.ExpiresAt <= now.UnixMilli() {
		ps = append(ps, Problem{Field: "expiresAt", Message: fmt.Sprintf("%d is in the past: use Unix milliseconds in the future, or leave it out", t.ExpiresAt)})
	}
	return FieldErrors(ps)
}
