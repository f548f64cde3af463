package auditdrain

import (
	"fmt"
	"time"
)

// SigningKey is an Ed25519 key that manifests are signed with, as it is stored.
// Keys are never changed and never removed, so that what was signed with them can
// be checked for ever. SigningKeyInfo is what is shown of one.
type SigningKey struct {
	// ID is the fingerprint of Public, which customers pin: its thumbprint (RFC
	// 7638, RFC 8037) in base64url.
	ID        string `json:"id"`
	Public    []byte `json:"public"`
	CreatedAt int64  `json:"createdAt"` // Unix ms
	// ActiveFrom is when manifests begin to be signed with it, in Unix ms. It is
	// published from its creation on.
	ActiveFrom int64 `json:"activeFrom"`
	// KMSKeyARN is set if AWS KMS holds the private key.
	KMSKeyARN string `json:"kmsKeyArn,omitempty"`
	// Encrypted is the private key otherwise, encrypted with the secret of the
	// key file.
	Encrypted []byte `json:"encrypted,omitempty"`
}

// SigningKeyStatus says what a key is for at a time.
type SigningKeyStatus string

// The statuses. A key that is retired stays published: older manifests are
// checked with it.
const (
	SigningKeyNext    SigningKeyStatus = "next"
	SigningKeyActive  SigningKeyStatus = "active"
	SigningKeyRetired SigningKeyStatus = "retired"
)

// ActiveSigningKey returns the place in keys, which are in the order they were
// added, of the one that signs at a time: the last one whose time has come. A key
// takes the place of all that were added before it. While none's time has come,
// as on a clock that was set back, it is the first. Without keys it is -1.
func ActiveSigningKey(keys []SigningKey, at time.Time) int {
	for i := len(keys) - 1; i > 0; i-- {
		if keys[i].ActiveFrom <= at.UnixMilli() {
			return i
		}
	}
	return min(len(keys), 1) - 1
}

// SigningKeyInfo is a key as it is shown.
type SigningKeyInfo struct {
	ID         string           `json:"id"`         // its fingerprint: the thumbprint of RFC 7638
	CreatedAt  int64            `json:"createdAt"`  // Unix ms
	ActiveFrom int64            `json:"activeFrom"` // Unix ms
	Status     SigningKeyStatus `json:"status"`
	// KMSKeyARN is where the private key is, if that is AWS KMS. Only operators
	// see it.
	KMSKeyARN string `json:"kmsKeyArn,omitempty"`
}

// SigningKeyList is the answer of GET /v1/signing-keys, the latest first.
type SigningKeyList struct {
	SigningKeys []SigningKeyInfo `json:"signingKeys"`
}

// ShowSigningKeys returns what is shown of keys, which are in the order they were
// added: the latest first, as they are at a time.
func ShowSigningKeys(keys []SigningKey, at time.Time) []SigningKeyInfo {
	active := ActiveSigningKey(keys, at)
	shown := make([]SigningKeyInfo, len(keys))
	for i, k := range keys {
		status := SigningKeyActive
		switch {
		case i < active:
			status = SigningKeyRetired
		case i > active:
			status = SigningKeyNext
		}
		shown[len(keys)-1-i] = SigningKeyInfo{ID: k.ID, CreatedAt: k.CreatedAt, ActiveFrom: k.ActiveFrom, Status: status, KMSKeyARN: k.KMSKeyARN}
	}
	return shown
}

// SigningKeyInput is the body of POST /v1/signing-keys.
type SigningKeyInput struct {
	// ActiveAfterHours is how long the new key is published before it signs, 24
	// without it: verifiers that keep a copy of the keys get it in time.
	ActiveAfterHours *int `json:"activeAfterHours,omitempty"`
}

// How long a new signing key is published before it signs.
const (
	DefaultActiveAfterHours = 24
	MaxActiveAfterHours     = 90 * 24
)

// ActiveFrom returns when the new key is to sign, or an *Error that says what is
// wrong with in.
func (in SigningKeyInput) ActiveFrom(now time.Time) (time.Time, error) {
	hours := DefaultActiveAfterHours
	if in.ActiveAfterHours != nil {
		hours = *in.ActiveAfterHours
	}
	if hours < 0 || hours > MaxActiveAfterHours {
		return time.Time{}, FieldErrors([]Problem{{
			Field: "activeAfterHours", Message: fmt.Sprintf("%d is not allowed: use 0 to %d", hours, MaxActiveAfterHours),
		}})
	}
	return now.Add(time.Duration(hours) * time.Hour), nil
}
