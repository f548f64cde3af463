// Package auditdrain holds the domain of an audit log drain: events, teams,
// drains, tokens, their limits, and the errors that people see.
//
// It does no I/O and imports the standard library only. The types that travel
// over REST carry their JSON form, so that server, client and stores share
// one definition; /openapi.json is made from them.
package auditdrain

import (
	"crypto/rand"
	"regexp"
	"time"
)

// Limits of what is accepted. They are part of the public contract: each is
// named in the error that refuses what exceeds it.
const (
	MaxBodyBytes     = 32 << 20  // one ingest request, after decompression
	MaxEventBytes    = 256 << 10 // one event, as stored (compact JSON)
	MaxBatchEvents   = 10_000    // one ingest request
	MaxEventIDLen    = 128       // in bytes; part of the object key
	MaxDrainsPerTeam = 10
	MaxNameLen       = 128 // drain, team and token names, in bytes
	MaxPrefixLen     = 512 // key prefix of an S3 endpoint, in bytes
)

// MinTimestamp is the earliest event timestamp that is accepted, and
// MaxTimestampAhead how far an event may lie in the future.
var MinTimestamp = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// MaxTimestampAhead allows for producers whose clocks run ahead.
const MaxTimestampAhead = 24 * time.Hour

const idAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewID returns prefix followed by 24 random base-62 characters (142 bits).
func NewID(prefix string) string { return prefix + RandomString(24) }

// RandomString returns n characters of A-Z, a-z and 0-9 from crypto/rand,
// each equally likely.
func RandomString(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4)
	for len(out) < n {
		rand.Read(buf) // never fails since Go 1.24
		for _, b := range buf {
			// 248 is the largest multiple of 62 in a byte: above it, the
			// first letters would be likelier than the last.
			if b < 248 && len(out) < n {
				out = append(out, idAlphabet[b%62])
			}
		}
	}
	return string(out)
}

var (
	namespaceRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	teamIDRE    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	slugRE      = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
)

// Namespace is the operator's one knob for identity. The default, "vercel",
// gives the schema name and external IDs of the system that existing customer
// roles already trust.
type Namespace string

// DefaultNamespace reproduces the reference system.
const DefaultNamespace Namespace = "vercel"

// Validate reports whether n can be part of an external ID.
func (n Namespace) Validate() error {
	if !namespaceRE.MatchString(string(n)) {
		return Errorf(CodeBadRequest, "namespace: %q is not allowed: use a lower-case letter followed by up to 31 of a-z, 0-9 and -", string(n))
	}
	return nil
}

// Schema is the value of every event's schema field.
func (n Namespace) Schema() string { return string(n) + ".audit_log.v1" }

// ExternalID is what the team's role must require as sts:ExternalId. It is
// derived, never chosen: a team that could choose it could name another
// team's, and write through that team's role (the confused deputy).
func (n Namespace) ExternalID(teamID string) string { return string(n) + "-team:" + teamID }
