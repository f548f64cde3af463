package manifest

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// Head is what is signed of a manifest: which one it is, and the SHA-256 of its
// bytes. It is enough to tell of a chain that it has been cut or rewritten, so it
// is also what an anchor holds. It is small because AWS KMS signs 4,096 bytes at
// most.
type Head struct {
	DrainID string `json:"drainId"`
	Format  string `json:"format"`
	Number  uint64 `json:"number"`
	SHA256  Digest `json:"sha256"`
	TeamID  string `json:"teamId"`
}

// SignedHead is the detached signature of a manifest.
type SignedHead struct {
	Head  Head   `json:"head"`
	KeyID string `json:"keyId"` // the key's fingerprint
	// Signature is Ed25519 (RFC 8032, not prehashed) of Head's canonical JSON,
	// in base64url without padding.
	Signature string `json:"signature"`
}

// The names of metadata of a manifest's object that repeat its signature. S3 has
// them as x-amz-meta-….
const (
	MetadataKeyID     = "manifest-key-id"
	MetadataSignature = "manifest-signature"
)

// HeadOf returns the head of the manifest whose bytes are b.
func HeadOf(m Manifest, b []byte) Head {
	return Head{DrainID: m.DrainID, Format: HeadFormat, Number: m.Number, SHA256: Sum(b), TeamID: m.TeamID}
}

// Message is what is signed.
func (h Head) Message() ([]byte, error) { return canonical(h) }

// Sign signs h with an Ed25519 key. The same head and key always give the same
// signature (with KMS, too: Ed25519 has no random part).
func Sign(h Head, key crypto.Signer) (SignedHead, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return SignedHead{}, fmt.Errorf("sign manifest: the key is %T, not Ed25519", key.Public())
	}
	message, err := h.Message()
	if err != nil {
		return SignedHead{}, fmt.Errorf("sign manifest: %w", err)
	}
	signature, err := key.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return SignedHead{}, fmt.Errorf("sign manifest: %w", err)
	}
	return SignedHead{Head: h, KeyID: Fingerprint(public), Signature: base64.RawURLEncoding.EncodeToString(signature)}, nil
}

// Encode returns the bytes of the signature's object.
func (s SignedHead) Encode() ([]byte, error) { return canonical(s) }

// ParseSignedHead reads what Encode returns. It does not check the signature.
func ParseSignedHead(b []byte) (SignedHead, error) {
	var s SignedHead
	if err := parse(b, &s); err != nil {
		return SignedHead{}, err
	}
	if s.Head.Format != HeadFormat {
		return SignedHead{}, fmt.Errorf("format %q is not known here: only %q is", s.Head.Format, HeadFormat)
	}
	return s, nil
}

// UnknownKeyError is a signature by a key that the verifier was not given.
type UnknownKeyError struct{ KeyID string }

func (e UnknownKeyError) Error() string {
	return fmt.Sprintf("signed with key %s, which is none of the keys that were given", e.KeyID)
}

// Verify returns an UnknownKeyError if s was signed with none of keys, and another
// error if the signature is not one of s.Head.
func (s SignedHead) Verify(keys Keys) error {
	key, ok := keys[s.KeyID]
	if !ok {
		return UnknownKeyError{s.KeyID}
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(s.Signature)
	if err != nil {
		return fmt.Errorf("the signature is not base64url: %w", err)
	}
	message, err := s.Head.Message()
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, message, signature) {
		return fmt.Errorf("the signature is not by key %s, which it names", s.KeyID)
	}
	return nil
}
