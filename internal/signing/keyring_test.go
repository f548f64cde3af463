package signing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/signing"
)

// world is a store, with a clock that stands still until it is moved.
type world struct {
	testing.TB
	*pebblestore.Store
	log bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{TB: t, Store: s, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) sleep(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func secret(t testing.TB, file string) signing.Secret {
	t.Helper()
	s, err := signing.ParseSecret([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	keyFile      = "adk_0123456789abcdefghijklmnopqrstuvwxyz\n"
	otherKeyFile = "adk_another89abcdefghijklmnopqrstuvwxyz\n"
)

// keyring returns one with a key file, as a process has it.
func (w *world) keyring(file string) *signing.Keyring {
	w.Helper()
	opts := signing.Options{Store: w.Store, Now: w.time, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	if file != "" {
		opts.Secret, opts.SecretFile = secret(w, file), "/etc/key-file"
	}
	return signing.New(opts)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) current(k *signing.Keyring) string {
	w.Helper()
	id, err := k.Current(w.Context())
	w.must(err)
	return id
}

func (w *world) rotate(k *signing.Keyring, after time.Duration) string {
	w.Helper()
	key, err := k.Rotate(w.Context(), w.time().Add(after), nil)
	w.must(err)
	return key.ID
}

var head = manifest.Head{DrainID: "drn_1", Format: manifest.HeadFormat, Number: 3, SHA256: manifest.Sum([]byte("manifest")), TeamID: "team_acme"}

// wantSigned checks that a manifest is signed with the key want if it is to be with
// keyID, and verifies with what is published.
func (w *world) wantSigned(k *signing.Keyring, keyID, want string) {
	w.Helper()
	signed, err := k.Sign(w.Context(), keyID, head)
	w.must(err)
	if signed.KeyID != want || signed.Head != head {
		w.Errorf("signed with %s, want %s: %+v", signed.KeyID, want, signed)
	}
	keys, err := k.Public(w.Context())
	w.must(err)
	w.must(signed.Verify(keys))
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}

func TestFirstKey(t *testing.T) {
	w := newWorld(t)
	k := w.keyring(keyFile)
	_, err := k.Current(t.Context())
	wantError(t, err, "there is no signing key")
	for range 2 { // the second start finds it
		w.must(k.EnsureKey(t.Context(), ""))
	}
	id := w.current(k)
	w.wantSigned(k, "", id)
	w.wantSigned(k, id, id)
	w.wantSigned(k, "unknown", id)

	again := w.keyring("  " + strings.TrimSpace(keyFile) + "\r\n\n") // the same, as an editor has left it
	w.must(again.EnsureKey(t.Context(), ""))
	w.wantSigned(again, "", id)

	// What is stored does not contain the private key.
	keys, err := w.SigningKeys(t.Context())
	w.must(err)
	if len(keys) != 1 || len(keys[0].Encrypted) <= ed25519.SeedSize || keys[0].ActiveFrom != w.now.UnixMilli() {
		t.Errorf("stored: %+v", keys)
	}
}

// Of processes that start at once on one store, one creates the key, and all sign
// with it.
func TestStartAtOnce(t *testing.T) {
	w := newWorld(t)
	keyrings := make([]*signing.Keyring, 8)
	var wg sync.WaitGroup
	for i := range keyrings {
		keyrings[i] = w.keyring(keyFile)
	}
	for _, k := range keyrings {
		wg.Go(func() {
			if err := k.EnsureKey(context.Background(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := w.SigningKeys(t.Context())
	w.must(err)
	if len(keys) != 1 {
		t.Fatalf("%d keys, want 1", len(keys))
	}
	for _, k := range keyrings {
		w.wantSigned(k, "", keys[0].ID)
	}
}

func TestRotate(t *testing.T) {
	w := newWorld(t)
	k, other := w.keyring(keyFile), w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	first := w.current(k)
	w.must(other.EnsureKey(t.Context(), ""))

	act := &auditdrain.Activity{ID: "act", Action: auditdrain.ActionSigningKeyCreated}
	key, err := k.Rotate(t.Context(), w.time().Add(24*time.Hour), act)
	w.must(err)
	second := key.ID
	recorded, err := w.Activities(t.Context(), auditdrain.ActivityQuery{Limit: 9})
	w.must(err)
	if len(recorded) != 1 || recorded[0].TargetID != second {
		t.Errorf("recorded: %+v", recorded)
	}
	published := func(k *signing.Keyring, want int) {
		t.Helper()
		keys, err := k.Public(t.Context())
		w.must(err)
		if len(keys) != want {
			t.Errorf("%d keys are published, want %d", len(keys), want)
		}
	}
	// It is published at once, by another process within a minute.
	published(k, 2)
	w.sleep(time.Minute)
	published(other, 2)
	for _, k := range []*signing.Keyring{k, other} {
		w.wantSigned(k, "", first)
		w.wantSigned(k, second, second) // another process, whose clock is ahead, has said so
	}
	w.sleep(24 * time.Hour)
	for _, k := range []*signing.Keyring{k, other} {
		w.wantSigned(k, "", second)
		w.wantSigned(k, first, first) // what was sealed before
	}
	third := w.rotate(k, 0)
	w.wantSigned(k, "", third)
	w.wantSigned(other, third, third) // which it has not read yet
	published(other, 3)
	// Retired keys are published by a new process, too.
	k = w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	published(k, 3)
	w.wantSigned(k, first, first)
}

// Of two who rotate at once, one is refused, or both came one after the other.
func TestRotateAtOnce(t *testing.T) {
	w := newWorld(t)
	w.must(w.keyring(keyFile).EnsureKey(t.Context(), ""))
	var wg sync.WaitGroup
	var mu sync.Mutex
	added := 1
	for range 4 {
		k := w.keyring(keyFile)
		wg.Go(func() {
			_, err := k.Rotate(context.Background(), w.time(), nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				added++
			} else if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := w.SigningKeys(t.Context())
	w.must(err)
	if len(keys) != added || added < 2 {
		t.Errorf("%d keys, and %d were added", len(keys), added)
	}
}

func TestWrongKeyFile(t *testing.T) {
	w := newWorld(t)
	k := w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	retired := w.current(k)
	lost := w.rotate(k, 0)

	k = w.keyring(otherKeyFile)
	err := k.EnsureKey(t.Context(), retired) // which is not the one that has to sign
	wantError(t, err, lost, "/etc/key-file")
	if e, ok := errors.AsType[*signing.LostError](err); !ok || e.KeyID != lost {
		t.Errorf("error %#v", err)
	}
	_, err = k.Sign(t.Context(), "", head)
	wantError(t, err, lost, "/etc/key-file")

	// The key is given up: a new one takes its place at once, also for what was to
	// be signed with it, and what it has signed can still be checked.
	w.must(k.EnsureKey(t.Context(), lost))
	replaced := w.current(k)
	if replaced == lost {
		t.Fatal("it is not replaced")
	}
	w.must(k.EnsureKey(t.Context(), lost)) // the next start, with the same flag
	if w.current(k) != replaced {
		t.Error("it was replaced twice")
	}
	w.wantSigned(k, "", replaced)
	w.wantSigned(k, lost, replaced)
	keys, err := k.Public(t.Context())
	w.must(err)
	if len(keys) != 3 || keys[lost] == nil || keys[retired] == nil {
		t.Errorf("published: %v", keys)
	}
	if !strings.Contains(w.log.String(), lost) {
		t.Errorf("nothing is said of it: %s", w.log.String())
	}
}

func TestKeyThatIsToComeIsLost(t *testing.T) {
	w := newWorld(t)
	k := w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	next := w.rotate(w.keyring(otherKeyFile), time.Hour)
	wantError(t, k.EnsureKey(t.Context(), ""), next)
}

// What was encrypted of one key is not taken for another.
func TestEncryptedForAnotherKey(t *testing.T) {
	w := newWorld(t)
	k := w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	w.rotate(k, 0)
	keys, err := w.SigningKeys(t.Context())
	w.must(err)
	swapped := newWorld(t)
	keys[0].Encrypted = keys[1].Encrypted
	w.must(swapped.AddSigningKey(t.Context(), keys[0], "", nil))
	wantError(t, swapped.keyring(keyFile).EnsureKey(t.Context(), ""), keys[0].ID)
}

func TestWithoutKeyFile(t *testing.T) {
	w := newWorld(t)
	k := w.keyring("")
	w.must(k.EnsureKey(t.Context(), ""))
	if keys, err := k.Keys(t.Context()); err != nil || len(keys) != 0 || k.Available() {
		t.Errorf("keys %v, %v", keys, err)
	}
	_, err := k.Rotate(t.Context(), w.time(), nil)
	if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		t.Errorf("rotate: %v", err)
	}
	given := w.keyring(keyFile)
	w.must(given.EnsureKey(t.Context(), ""))
	if !given.Available() {
		t.Error("it is not available with a key file")
	}
	w.sleep(time.Minute)
	if keys, err := k.Public(t.Context()); err != nil || len(keys) != 1 { // what others sign with
		t.Errorf("published %v, %v", keys, err)
	}
	_, err = k.Sign(t.Context(), "", head)
	wantError(t, err, "which serve was not given")
}

func TestParseSecret(t *testing.T) {
	for file, ok := range map[string]bool{
		"":                                   false,
		strings.Repeat("x", 31):              false,
		" " + strings.Repeat("x", 31) + "\n": false,
		strings.Repeat("x", 32):              true,
		strings.Repeat("x", 4096):            true,
		strings.Repeat("x", 4097):            false,
		signing.NewSecret():                  true,
	} {
		if _, err := signing.ParseSecret([]byte(file)); (err == nil) != ok {
			t.Errorf("%.40q: %v", file, err)
		}
	}
	if a, b := signing.NewSecret(), signing.NewSecret(); a == b {
		t.Error("two secrets are the same")
	}
}

func TestSignAtOnce(t *testing.T) {
	w := newWorld(t)
	k := w.keyring(keyFile)
	w.must(k.EnsureKey(t.Context(), ""))
	first := w.current(k)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := k.Sign(context.Background(), first, head); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			_, err := k.Rotate(context.Background(), w.time(), nil)
			if err != nil && auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
				t.Error(err)
			}
			w.sleep(time.Minute)
		})
	}
	wg.Wait()
}
