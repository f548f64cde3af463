// Package signing keeps the Ed25519 keys that manifests are signed with.
//
// It guarantees:
//
//   - A private key is stored encrypted with the secret of a key file, or never
//     leaves AWS KMS.
//   - Of many processes that share a store and start at once, one creates the
//     first key.
//   - A key is public from its creation on, for ever, and signs from a time that
//     was set then, until the next one does.
//   - A signature is returned only if it verifies with the key that it names.
//
// A Keyring is safe for concurrent use. It starts nothing. What it has read of the
// store it remembers for a minute, so a key that another process has added may be
// published, or begin to sign, that much later.
package signing

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// Store keeps keys, in the order they were added.
type Store interface {
	SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error)
	// AddSigningKey fails with CodeConflict unless after is the ID of the last
	// key, or "" if there is none.
	AddSigningKey(ctx context.Context, key auditdrain.SigningKey, after string, act *auditdrain.Activity) error
}

// Options are what a Keyring is made of. With neither a Secret nor a KMSKeyARN it
// publishes the keys that are stored, and creates none.
type Options struct {
	Store Store
	// Secret encrypts private keys. SecretFile is where it comes from, for errors.
	Secret     Secret
	SecretFile string
	// KMSKeyARN is the key in AWS KMS that the next one is to be, instead of one
	// that is encrypted. Keys that are stored are used whatever it is.
	KMSKeyARN string
	AWS       aws.Config
	Now       func() time.Time // nil means time.Now
	Log       *slog.Logger
}

// Keyring signs manifests.
type Keyring struct {
	opts Options
	kms  kmsKeys

	mu      sync.Mutex
	keys    []auditdrain.SigningKey // as they were stored at readAt
	readAt  time.Time
	private map[string]ed25519.PrivateKey // by ID, of those that were decrypted
}

// New returns a Keyring. It makes no call.
func New(opts Options) *Keyring {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Keyring{opts: opts, kms: newKMSKeys(opts.AWS), private: map[string]ed25519.PrivateKey{}}
}

// Available reports whether the Keyring was given what new keys are made with.
func (k *Keyring) Available() bool { return k.opts.Secret != nil || k.opts.KMSKeyARN != "" }

// errUnusable is in errors about keys that cannot sign until somebody mends that.
var errUnusable = errors.New("the key cannot be used")

// LostError is a key that has to sign, or will have to, and of which the secret
// that was given is not the right one.
type LostError struct {
	KeyID  string
	Reason string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("signing key %s cannot be used: %s", e.KeyID, e.Reason)
}

// Unwrap makes a LostError an errUnusable.
func (e *LostError) Unwrap() error { return errUnusable }

// maxAge is how old what is remembered of the store may be.
const maxAge = time.Minute

// forget has the store be read for the next call.
func (k *Keyring) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.readAt = time.Time{}
}

// Keys returns all keys, in the order they were added.
func (k *Keyring) Keys(ctx context.Context) ([]auditdrain.SigningKey, error) {
	return k.list(ctx, maxAge)
}

// Public returns the public keys of all that there are or ever were.
func (k *Keyring) Public(ctx context.Context) (manifest.Keys, error) {
	keys, err := k.Keys(ctx)
	if err != nil {
		return nil, err
	}
	public := manifest.Keys{}
	for _, key := range keys {
		public[key.ID] = key.Public
	}
	return public, nil
}

// list returns all keys as they were stored no longer ago than age.
func (k *Keyring) list(ctx context.Context, age time.Duration) ([]auditdrain.SigningKey, error) {
	now := k.opts.Now()
	k.mu.Lock()
	keys, readAt := k.keys, k.readAt
	k.mu.Unlock()
	if past := now.Sub(readAt); !readAt.IsZero() && past >= 0 && past < age {
		return keys, nil
	}
	keys, err := k.opts.Store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// Another call may have read later and be done sooner. There are never fewer.
	if len(keys) >= len(k.keys) {
		k.keys, k.readAt = keys, now
	}
	return k.keys, nil
}

// EnsureKey creates the first key if there is none, and checks that those can be
// used that sign from now on: it is for the start of a process. A key file that is
// not the right one is a LostError, unless the key is the one whose ID is lost:
// then a new key takes its place at once. If AWS KMS cannot be asked about a key
// that it is known to hold, that is logged: it is needed when a manifest is due,
// and not before.
//
// Without a secret or a key in KMS nothing is created or checked.
func (k *Keyring) EnsureKey(ctx context.Context, lost string) (err error) {
	if !k.Available() {
		return nil
	}
	// Of processes that start at once, those that come too late look again.
	for range 3 {
		var keys []auditdrain.SigningKey
		if keys, err = k.list(ctx, 0); err != nil {
			return err
		}
		if len(keys) > 0 {
			err = k.check(keys)
			if err == nil {
				return k.checkKMS(ctx, keys)
			}
			if e, ok := errors.AsType[*LostError](err); !ok || e.KeyID != lost {
				return err
			}
			k.opts.Log.Warn("a new signing key takes the place of one that is lost", "lost", lost)
		}
		var key auditdrain.SigningKey
		if key, err = k.create(ctx, keys, k.opts.Now(), nil); err == nil {
			k.opts.Log.Info("created a signing key; customers can pin its fingerprint", "id", key.ID)
			return nil
		}
		if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
			return err
		}
	}
	return err
}

// check decrypts the keys that sign from now on.
func (k *Keyring) check(keys []auditdrain.SigningKey) error {
	for _, key := range keys[auditdrain.ActiveSigningKey(keys, k.opts.Now()):] {
		if key.KMSKeyARN != "" {
			continue
		}
		if _, err := k.decrypted(key); err != nil {
			return err
		}
	}
	return nil
}

// checkKMS asks about the key in KMS, which is one of keys or is to be the next.
func (k *Keyring) checkKMS(ctx context.Context, keys []auditdrain.SigningKey) error {
	arn := k.opts.KMSKeyARN
	if arn == "" {
		return nil
	}
	public, err := k.kms.public(ctx, arn)
	i := slices.IndexFunc(keys, func(key auditdrain.SigningKey) bool { return key.KMSKeyARN == arn })
	switch {
	case err != nil && i < 0:
		return fmt.Errorf("KMS key %s: %w", arn, err)
	case err != nil:
		k.opts.Log.Error("AWS KMS does not tell of the signing key; manifests wait until it signs", "arn", arn, "err", err)
	case i >= 0 && !public.Equal(ed25519.PublicKey(keys[i].Public)):
		return fmt.Errorf("KMS key %s has another public key than when it became signing key %s", arn, keys[i].ID)
	}
	return nil
}

// Current returns the ID of the key that signs now.
func (k *Keyring) Current(ctx context.Context) (keyID string, err error) {
	key, err := k.current(ctx)
	return key.ID, err
}

func (k *Keyring) current(ctx context.Context) (auditdrain.SigningKey, error) {
	keys, err := k.Keys(ctx)
	if err != nil {
		return auditdrain.SigningKey{}, err
	}
	i := auditdrain.ActiveSigningKey(keys, k.opts.Now())
	if i < 0 {
		return auditdrain.SigningKey{}, errors.New("there is no signing key: serve has to be started with --key-file or --kms-key")
	}
	return keys[i], nil
}

// Sign signs h with the key with this ID. If that is unknown or cannot sign any
// more, or keyID is empty, it is signed with the current key instead: the answer
// says which one. A key in AWS KMS that does not answer just now can sign; that is
// an error, and worth another try.
func (k *Keyring) Sign(ctx context.Context, keyID string, h manifest.Head) (manifest.SignedHead, error) {
	current, err := k.current(ctx)
	if err != nil {
		return manifest.SignedHead{}, err
	}
	if keyID == "" || keyID == current.ID {
		return k.sign(ctx, current, h)
	}
	key, found, err := k.find(ctx, keyID)
	if err != nil {
		return manifest.SignedHead{}, err
	}
	if found {
		signed, err := k.sign(ctx, key, h)
		if !errors.Is(err, errUnusable) {
			return signed, err
		}
		k.opts.Log.Warn("a signing key cannot be used any more; a manifest is signed with the current one", "id", keyID, "drain", h.DrainID, "number", h.Number, "err", err)
	}
	return k.sign(ctx, current, h)
}

// find returns a key that is stored, if another process has just added it, too.
func (k *Keyring) find(ctx context.Context, id string) (key auditdrain.SigningKey, found bool, err error) {
	for _, age := range []time.Duration{maxAge, 0} {
		keys, err := k.list(ctx, age)
		if err != nil {
			return key, false, err
		}
		for _, key := range keys {
			if key.ID == id {
				return key, true, nil
			}
		}
	}
	return key, false, nil
}

func (k *Keyring) sign(ctx context.Context, key auditdrain.SigningKey, h manifest.Head) (manifest.SignedHead, error) {
	signer, err := k.signer(ctx, key)
	if err != nil {
		return manifest.SignedHead{}, err
	}
	signed, err := manifest.Sign(h, signer)
	if err == nil {
		err = signed.Verify(manifest.Keys{key.ID: key.Public})
	}
	if err != nil {
		return manifest.SignedHead{}, fmt.Errorf("signing key %s: %w", key.ID, err)
	}
	return signed, nil
}

// signer returns what signs with key, until ctx ends.
func (k *Keyring) signer(ctx context.Context, key auditdrain.SigningKey) (crypto.Signer, error) {
	if key.KMSKeyARN == "" {
		return k.decrypted(key)
	}
	return remote{key.Public, func(message []byte) ([]byte, error) { return k.kms.sign(ctx, key.KMSKeyARN, message) }}, nil
}

// remote is a crypto.Signer for one call.
type remote struct {
	public ed25519.PublicKey
	sign   func(message []byte) ([]byte, error)
}

func (r remote) Public() crypto.PublicKey { return r.public }

func (r remote) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return r.sign(message)
}

// decrypted returns a private key, or a LostError. What it is encrypted with says
// which key it is of.
func (k *Keyring) decrypted(key auditdrain.SigningKey) (ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if private := k.private[key.ID]; private != nil {
		return private, nil
	}
	if k.opts.Secret == nil {
		return nil, &LostError{key.ID, "it is encrypted with a key file, which serve was not given"}
	}
	private, err := k.opts.Secret.decrypt(key.ID, key.Encrypted)
	if err != nil {
		return nil, &LostError{key.ID, "it was encrypted with another key file than " + k.opts.SecretFile}
	}
	k.private[key.ID] = private
	return private, nil
}

// Rotate adds a key that signs from a time on, and is public at once. It is durable
// when Rotate returns nil, together with act, of which it sets the target. It is
// CodeConflict if there is nothing to make a key with, if the KMS key is a signing
// key already, or if another key was added at the same time; and CodeUnavailable if
// AWS KMS does not tell of a key that can be used.
func (k *Keyring) Rotate(ctx context.Context, activeFrom time.Time, act *auditdrain.Activity) (auditdrain.SigningKey, error) {
	if !k.Available() {
		return auditdrain.SigningKey{}, auditdrain.Errorf(auditdrain.CodeConflict, "the service has nothing to make signing keys with: start it with --key-file or --kms-key")
	}
	keys, err := k.list(ctx, 0)
	if err != nil {
		return auditdrain.SigningKey{}, err
	}
	return k.create(ctx, keys, activeFrom, act)
}

// create adds a key behind all those that there are.
func (k *Keyring) create(ctx context.Context, keys []auditdrain.SigningKey, activeFrom time.Time, act *auditdrain.Activity) (key auditdrain.SigningKey, err error) {
	key = auditdrain.SigningKey{CreatedAt: k.opts.Now().UnixMilli(), ActiveFrom: activeFrom.UnixMilli(), KMSKeyARN: k.opts.KMSKeyARN}
	if key.KMSKeyARN != "" {
		err = k.fromKMS(ctx, &key)
	} else {
		err = k.generate(&key)
	}
	if err != nil {
		return key, err
	}
	after := ""
	for _, old := range keys {
		after = old.ID
		if old.ID == key.ID {
			return key, auditdrain.Errorf(auditdrain.CodeConflict, "KMS key %s is a signing key already: create another one in KMS, and start the service with it (--kms-key)", key.KMSKeyARN)
		}
	}
	if act != nil {
		act.TargetID, act.TargetName = key.ID, key.ID
	}
	if err := k.opts.Store.AddSigningKey(ctx, key, after, act); err != nil {
		return key, fmt.Errorf("add signing key: %w", err)
	}
	k.forget() // so that it is published at once
	return key, nil
}

func (k *Keyring) fromKMS(ctx context.Context, key *auditdrain.SigningKey) error {
	public, err := k.kms.public(ctx, key.KMSKeyARN)
	if err != nil {
		// Who asks for a key has to mend this, so it is not an internal error.
		return auditdrain.Errorf(auditdrain.CodeUnavailable, "KMS key %s: %v", key.KMSKeyARN, err)
	}
	key.ID, key.Public = manifest.Fingerprint(public), public
	return nil
}

func (k *Keyring) generate(key *auditdrain.SigningKey) (err error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("generate signing key: %w", err)
	}
	key.ID, key.Public = manifest.Fingerprint(public), public
	if key.Encrypted, err = k.opts.Secret.encrypt(key.ID, private); err != nil {
		return fmt.Errorf("encrypt signing key: %w", err)
	}
	return nil
}
