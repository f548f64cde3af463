package signing_test

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/signing"
)

const (
	kmsKey      = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	otherKMSKey = "arn:aws:kms:us-east-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab"
)

// kmsWorld is a world with two keys in AWS KMS, and a user who may sign with them.
type kmsWorld struct {
	*world
	sim   *awssim.Sim
	aws   aws.Config
	calls awssim.Calls
}

func newKMSWorld(t *testing.T) *kmsWorld {
	t.Helper()
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &kmsWorld{world: newWorld(t), sim: sim}
	sim.Observe(w.calls.Add)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	w.must(sim.AddUser(awssim.User{
		ARN: "arn:aws:iam::111122223333:user/auditdrain", AccessKeyID: "AKIAAUDITDRAIN", SecretKey: "secret",
		Identity: []*iam.Policy{iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["kms:GetPublicKey", "kms:Sign"], "Resource": "arn:aws:kms:*:111122223333:key/*"}]}`)},
	}))
	for i, arn := range []string{kmsKey, otherKMSKey} {
		w.must(sim.AddKey(awssim.Key{
			ARN: arn, Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, ed25519.SeedSize)),
			Policy: iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}]}`),
		}))
	}
	w.aws = aws.Config{
		Region: "ap-southeast-2", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIAAUDITDRAIN", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	return w
}

// kms returns a keyring whose next key is in AWS KMS.
func (w *kmsWorld) kms(arn string) *signing.Keyring {
	return signing.New(signing.Options{Store: w.Store, KMSKeyARN: arn, AWS: w.aws, Now: w.time, Log: slog.New(slog.NewTextHandler(&w.log, nil))})
}

func (w *kmsWorld) change(arn string, f func(*awssim.Key)) {
	w.Helper()
	if !w.sim.UpdateKey(arn, f) {
		w.Fatalf("there is no key %s", arn)
	}
}

func disable(k *awssim.Key) { k.State = awssim.KeyDisabled }
func enable(k *awssim.Key)  { k.State = awssim.KeyEnabled }

func TestKMS(t *testing.T) {
	w := newKMSWorld(t)
	k := w.kms(kmsKey)
	for range 2 {
		w.must(k.EnsureKey(t.Context(), ""))
	}
	first := w.current(k)
	w.wantSigned(k, "", first)
	keys, err := w.SigningKeys(t.Context())
	w.must(err)
	if len(keys) != 1 || keys[0].KMSKeyARN != kmsKey || keys[0].Encrypted != nil {
		t.Errorf("stored: %+v", keys)
	}
	// Signed with the message itself, as the format says, by the region of the key.
	calls := w.calls.All("Sign")
	if len(calls) != 1 || calls[0].Region != "eu-central-1" || calls[0].Code != "" {
		t.Errorf("calls: %+v", calls)
	}

	// The same key cannot be the next one, another one can.
	_, err = k.Rotate(t.Context(), w.time(), nil)
	if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		t.Errorf("rotate to the same key: %v", err)
	}
	k = w.kms(otherKMSKey)
	w.must(k.EnsureKey(t.Context(), ""))
	w.wantSigned(k, "", first) // until it is rotated
	second := w.rotate(k, 0)
	w.wantSigned(k, "", second)
	w.wantSigned(k, first, first)
}

// Keys in KMS go on signing when the next ones are to be encrypted with a file. The
// other way round there is nothing to decrypt the old one with.
func TestFromKMSToFileAndBack(t *testing.T) {
	w := newKMSWorld(t)
	k := w.kms(kmsKey)
	w.must(k.EnsureKey(t.Context(), ""))
	inKMS := w.current(k)
	k = signing.New(signing.Options{Store: w.Store, Secret: secret(t, keyFile), SecretFile: "file", AWS: w.aws, Now: w.time, Log: slog.New(slog.DiscardHandler)})
	w.must(k.EnsureKey(t.Context(), ""))
	w.wantSigned(k, "", inKMS)
	encrypted := w.rotate(k, 0)
	w.wantSigned(k, "", encrypted)
	w.wantSigned(k, inKMS, inKMS)

	k = w.kms(otherKMSKey)
	wantError(t, k.EnsureKey(t.Context(), ""), encrypted, "key file")
	wantError(t, w.kms(kmsKey).EnsureKey(t.Context(), encrypted), kmsKey, "signing key already")
	w.must(k.EnsureKey(t.Context(), encrypted))
	w.wantSigned(k, encrypted, w.current(k))
}

func TestKMSKeyCannotSign(t *testing.T) {
	w := newKMSWorld(t)
	k := w.kms(kmsKey)
	w.must(k.EnsureKey(t.Context(), ""))
	first := w.current(k)
	w.change(kmsKey, disable)
	_, err := k.Sign(t.Context(), first, head)
	wantError(t, err, first, "DisabledException", kmsKey+" is disabled.")
	// Nothing but manifests waits for it.
	w.must(w.kms(kmsKey).EnsureKey(t.Context(), ""))
	if !strings.Contains(w.log.String(), "DisabledException") {
		t.Errorf("log: %s", w.log.String())
	}
	k = w.kms(otherKMSKey)
	w.must(k.EnsureKey(t.Context(), ""))
	second := w.rotate(k, 0)
	w.wantSigned(k, first, second)
	w.change(kmsKey, enable)
	w.wantSigned(k, first, first)

	// What may pass by itself does not have another key sign.
	for _, fault := range []awssim.Fault{{Err: awssim.Throttling()}, {Err: awssim.InternalError()}, {Close: true}} {
		w.sim.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			if strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/kms/") { // the first key's region
				return fault
			}
			return awssim.Fault{}
		})
		signed, err := k.Sign(t.Context(), first, head)
		if err == nil {
			t.Errorf("%+v: signed with %s", fault, signed.KeyID)
		}
	}
}

// A signature that does not verify is not used.
func TestKMSSignsWrongly(t *testing.T) {
	w := newKMSWorld(t)
	k := w.kms(kmsKey)
	w.must(k.EnsureKey(t.Context(), ""))
	w.change(kmsKey, func(key *awssim.Key) {
		key.Private = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	})
	_, err := k.Sign(t.Context(), "", head)
	wantError(t, err, "the signature is not by key")
	wantError(t, w.kms(kmsKey).EnsureKey(t.Context(), ""), "another public key")
}

func TestKMSKeyOfAnotherKind(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*awssim.Key)
		want   string
	}{
		"symmetric": {func(k *awssim.Key) { k.Private = nil }, "create one with spec ECC_NIST_EDWARDS25519 and usage SIGN_VERIFY"},
		"disabled":  {disable, "DisabledException"},
		"not ours":  {func(k *awssim.Key) { k.Policy = nil }, "AccessDeniedException"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newKMSWorld(t)
			w.change(kmsKey, c.change)
			wantError(t, w.kms(kmsKey).EnsureKey(t.Context(), ""), kmsKey, c.want)
			if keys, err := w.SigningKeys(t.Context()); err != nil || len(keys) != 0 {
				t.Errorf("stored: %+v, %v", keys, err)
			}
			// Nor is it taken for the next key.
			w.must(w.kms(otherKMSKey).EnsureKey(t.Context(), ""))
			wantError(t, w.kms(kmsKey).EnsureKey(t.Context(), ""), kmsKey, c.want)
			_, err := w.kms(kmsKey).Rotate(t.Context(), w.time(), nil)
			if auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
				t.Errorf("rotate: %v", err)
			}
		})
	}
}

func TestCheckKMSKeyARN(t *testing.T) {
	for arn, ok := range map[string]bool{
		kmsKey: true,
		"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab": true,
		"arn:aws:kms:eu-central-1:111122223333:alias/audit":                                      false,
		"1234abcd-12ab-34cd-56ef-1234567890ab":                                                   false,
		"arn:aws:iam::111122223333:role/x":                                                       false,
		"":                                                                                       false,
	} {
		if err := signing.CheckKMSKeyARN(arn); (err == nil) != ok {
			t.Errorf("%q: %v", arn, err)
		}
	}
}

// The same head gives the same signature, whoever holds the key.
func TestKMSSignsAsWeDo(t *testing.T) {
	w := newKMSWorld(t)
	k := w.kms(kmsKey)
	w.must(k.EnsureKey(t.Context(), ""))
	got, err := k.Sign(t.Context(), "", head)
	w.must(err)
	want, err := manifest.Sign(head, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0}, ed25519.SeedSize)))
	w.must(err)
	if got != want {
		t.Errorf("signed %+v, want %+v", got, want)
	}
}
