package api

import (
	"regexp"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// getIntegrity goes by the store alone, so that all nodes answer the same.
func (s *Server) getIntegrity(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	chain, err := s.Chains.Chain(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	in := auditdrain.Integrity{
		State:        integrityState(d),
		Manifests:    chain.Written,
		Head:         chain.Head,
		CoveredUntil: chain.CoveredTo,
		WrittenAt:    chain.WrittenAt,
		Waiting:      chain.Sealed - chain.Written,
		LastError:    chain.LastError,
		LastErrorAt:  chain.LastErrorAt,
		Anchored:     chain.Anchored,
		KeyID:        chain.KeyID,
	}
	if chain.DrainID != "" && chain.State != sealedAs[in.State] {
		in.Waiting++ // that the chain is paused, ended or goes on is about to be sealed
	}
	if in.State != auditdrain.IntegrityOff || chain.Sealed > 0 {
		in.Folder = d.Delivery.Endpoint + "/" + manifest.Folder(d.ID)
		in.Verify = "auditdrain verify " + shellWord(d.Delivery.Endpoint) + " --key " + shellWord(s.keysURL()) + " --drain " + d.ID
	}
	return in, nil
}

// sealedAs is the state of a chain that says what people have asked for.
var sealedAs = map[auditdrain.IntegrityState]auditdrain.ChainState{
	auditdrain.IntegrityOff:    auditdrain.ChainOff,
	auditdrain.IntegrityOn:     auditdrain.ChainOpen,
	auditdrain.IntegrityPaused: auditdrain.ChainPaused,
}

// integrityState is what people have asked for. Delivery may be still about to
// begin, pause or end the chain.
func integrityState(d auditdrain.Drain) auditdrain.IntegrityState {
	switch {
	case !d.Delivery.Integrity:
		return auditdrain.IntegrityOff
	case d.Status == auditdrain.StatusDisabled:
		return auditdrain.IntegrityPaused
	}
	return auditdrain.IntegrityOn
}

// keysURL is where the public keys are that manifests are verified with.
func (s *Server) keysURL() string {
	return strings.TrimSuffix(s.PublicURL, "/") + "/.well-known/jwks.json"
}

var shellSafeRE = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`)

// shellWord is s as a word of a shell, as people write it.
func shellWord(s string) string {
	if shellSafeRE.MatchString(s) {
		return s
	}
	return setup.QuoteBash(s)
}

// needsKey is the problem of integrity that begins, on a service that cannot sign. A
// drain that has it keeps it: its manifests wait until there is a key again.
func (s *Server) needsKey(before, after auditdrain.Delivery) []auditdrain.Problem {
	if s.SigningKeys.Available() || before.Integrity || !after.Integrity {
		return nil
	}
	return []auditdrain.Problem{{
		Field:   "delivery.integrity",
		Message: "true is not allowed: this service has no key to sign manifests with; its operator has to start it with --key-file or --kms-key",
	}}
}
