package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/signing"
)

// validateSigning checks what says how signing keys are kept.
func (set settings) validateSigning() error {
	switch {
	case set.kmsKey == "":
		return nil
	case set.keyFile != "":
		return usagef("--key-file and --kms-key cannot both be used: say one of them")
	}
	if err := signing.CheckKMSKeyARN(set.kmsKey); err != nil {
		return usagef("--kms-key: %w", err)
	}
	return nil
}

// openKeyring returns what manifests are signed with, once it is known that the
// keys that are stored can be used.
func openKeyring(ctx context.Context, set settings, opts signing.Options) (*signing.Keyring, error) {
	opts.KMSKeyARN = set.kmsKey
	err := readKeyFile(ctx, set, &opts)
	keyring := signing.New(opts)
	if err == nil {
		err = keyring.EnsureKey(ctx, set.lostSigningKey)
	}
	if lost, ok := errors.AsType[*signing.LostError](err); ok {
		return nil, fmt.Errorf("%w; give serve that file, or, if it is lost, start with --lost-signing-key %s: a new key takes its place at once, and what it has signed still verifies", err, lost.KeyID)
	}
	return keyring, err
}

// readKeyFile sets what signing keys are encrypted with: what the key file holds
// that was given, or that of the data folder, where the first start puts one.
// Without a folder, or with a key in KMS, there need not be one.
func readKeyFile(ctx context.Context, set settings, opts *signing.Options) error {
	opts.SecretFile = set.keyFile
	if set.keyFile == "" {
		if set.postgres != "" || set.kmsKey != "" {
			return nil
		}
		opts.SecretFile = filepath.Join(set.data, "key-file")
	}
	content, err := os.ReadFile(opts.SecretFile)
	if set.keyFile == "" && errors.Is(err, os.ErrNotExist) {
		return newKeyFile(ctx, set, opts)
	}
	if err != nil {
		return fmt.Errorf("read key file: %w", err)
	}
	if opts.Secret, err = signing.ParseSecret(content); err != nil {
		return fmt.Errorf("key file %s: %w", opts.SecretFile, err)
	}
	return nil
}

// newKeyFile writes the key file of a data folder, unless a key has been encrypted
// with one that is not there any more.
func newKeyFile(ctx context.Context, set settings, opts *signing.Options) error {
	keys, err := opts.Store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	if i := auditdrain.ActiveSigningKey(keys, time.Now()); i >= 0 {
		for _, key := range keys[i:] {
			if key.Encrypted != nil && key.ID != set.lostSigningKey {
				return &signing.LostError{KeyID: key.ID, Reason: "the key file " + opts.SecretFile + " is not there any more"}
			}
		}
	}
	value := signing.NewSecret()
	if err := writeNewFile(opts.SecretFile, value+"\n"); err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	opts.Secret = signing.Secret(value)
	opts.Log.Info("wrote a new key file; a backup needs it", "file", opts.SecretFile)
	return nil
}
