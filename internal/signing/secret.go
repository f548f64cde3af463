package signing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/auditdrain/auditdrain"
)

// Secret is what a key file holds. Private keys are encrypted with it.
type Secret []byte

// Bounds of a secret. It is not a password: what it protects can be tried at any
// speed, so it has to be random.
const (
	minSecret = 32
	maxSecret = 4096
)

// NewSecret returns the content of a new key file: 256 bits.
func NewSecret() string { return "adk_" + auditdrain.RandomString(43) }

// ParseSecret reads a key file: 32 characters or more, such as the output of
// openssl rand -base64 32. White space around them does not count.
func ParseSecret(file []byte) (Secret, error) {
	secret := bytes.TrimSpace(file)
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("it holds %d characters: use %d to %d that are random, such as the output of openssl rand -base64 32", len(secret), minSecret, maxSecret)
	}
	return secret, nil
}

// encrypt encrypts the private key of the signing key with this ID, which
// decrypt has to be given as well. Nothing else is encrypted with the derived key.
func (s Secret) encrypt(id string, private ed25519.PrivateKey) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, private.Seed(), []byte(id)), nil
}

var errDecrypt = errors.New("it cannot be decrypted")

func (s Secret) decrypt(id string, encrypted []byte) (ed25519.PrivateKey, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	seed, err := aead.Open(nil, nil, encrypted, []byte(id))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errDecrypt
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// aead is AES-256-GCM that puts a random nonce before what it encrypts: an
// installation has a handful of keys.
func (s Secret) aead() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s, nil, "auditdrain signing key", 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
