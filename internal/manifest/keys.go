package manifest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
)

// Keys are public keys by their fingerprints.
type Keys map[string]ed25519.PublicKey

// Fingerprint is the thumbprint of a public key, in base64url (RFC 7638, RFC 8037).
func Fingerprint(key ed25519.PublicKey) string {
	// The members that RFC 7638 wants, in its order, without anything to escape.
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, base64.RawURLEncoding.EncodeToString(key)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// jwk is a public key as RFC 8037 has it.
type jwk struct {
	Algorithm string `json:"alg,omitempty"`
	Curve     string `json:"crv"`
	ID        string `json:"kid,omitempty"`
	Type      string `json:"kty"`
	Use       string `json:"use,omitempty"`
	X         string `json:"x"`
}

type jwks struct {
	Keys []jwk `json:"keys"`
}

// JWKS returns keys as a JSON Web Key Set, the same bytes for the same keys.
func (k Keys) JWKS() ([]byte, error) {
	var set jwks
	for _, id := range slices.Sorted(maps.Keys(k)) {
		set.Keys = append(set.Keys, jwk{
			Algorithm: "EdDSA", Curve: "Ed25519", ID: id, Type: "OKP", Use: "sig", X: base64.RawURLEncoding.EncodeToString(k[id]),
		})
	}
	return canonical(set)
}

// ParseKeys reads a JSON Web Key Set, a single JSON Web Key, or a public key in PEM.
// Keys of other kinds in a set are left out; there has to be one of ours. A key's ID
// is computed, whatever the set calls it.
func ParseKeys(b []byte) (Keys, error) {
	if block, _ := pem.Decode(b); block != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key in PEM: %w", err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("public key in PEM: it is %T, not Ed25519", parsed)
		}
		return Keys{Fingerprint(key): key}, nil
	}
	var set struct {
		jwk
		jwks
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("neither a JSON Web Key Set nor a public key in PEM: %w", err)
	}
	keys := Keys{}
	for _, k := range append(set.Keys, set.jwk) {
		if k.Type != "OKP" || k.Curve != "Ed25519" {
			continue
		}
		x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key %q: x is not %d bytes in base64url", k.ID, ed25519.PublicKeySize)
		}
		keys[Fingerprint(x)] = x
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no Ed25519 key is in it")
	}
	return keys, nil
}
