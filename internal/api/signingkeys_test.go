package api

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/signing"
)

// published are the keys that anybody gets without a token, as verify reads them.
func (s *service) published() manifest.Keys {
	s.t.Helper()
	got := s.do("", "GET", "/.well-known/jwks.json", "")
	if got.status != 200 || got.header.Get("Content-Type") != "application/jwk-set+json" || got.header.Get("Cache-Control") != "public, max-age=300" {
		s.t.Fatalf("published: %d %v %s", got.status, got.header, got.body)
	}
	if got.body == `{"keys":[]}` {
		return nil
	}
	keys, err := manifest.ParseKeys([]byte(got.body))
	if err != nil {
		s.t.Fatalf("published %s: %v", got.body, err)
	}
	return keys
}

func TestSigningKeys(t *testing.T) {
	s := newService(t)
	if keys := s.published(); keys != nil {
		t.Errorf("published before there is a key: %v", keys)
	}
	if got := must[auditdrain.SigningKeyList](s, "GET", "/v1/signing-keys", ""); len(got.SigningKeys) != 0 {
		t.Errorf("listed before there is a key: %+v", got)
	}
	before := time.Now().UnixMilli()
	first := must[auditdrain.SigningKeyInfo](s, "POST", "/v1/signing-keys", `{"activeAfterHours":0}`)
	next := must[auditdrain.SigningKeyInfo](s, "POST", "/v1/signing-keys", `{}`)
	if first.Status != auditdrain.SigningKeyActive || next.Status != auditdrain.SigningKeyNext || next.ActiveFrom-next.CreatedAt < 86_400_000-1000 || next.CreatedAt < before {
		t.Errorf("created %+v and %+v", first, next)
	}
	list := must[auditdrain.SigningKeyList](s, "GET", "/v1/signing-keys", "")
	if len(list.SigningKeys) != 2 || list.SigningKeys[0] != next || list.SigningKeys[1] != first {
		t.Errorf("listed %+v", list)
	}
	if acts := s.latest(2); len(acts) != 2 || acts[0].Action != "signing-key-created" || acts[0].TargetID != first.ID || acts[1].TargetID != next.ID {
		t.Errorf("recorded %+v", acts)
	}

	// What is signed verifies with what is published, also after a rotation.
	signed, err := s.api.SigningKeys.(*signing.Keyring).Sign(t.Context(), "", manifest.Head{DrainID: "d", Format: manifest.HeadFormat, Number: 1, TeamID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	last := must[auditdrain.SigningKeyInfo](s, "POST", "/v1/signing-keys", `{"activeAfterHours":0}`)
	keys := s.published()
	if err := signed.Verify(keys); err != nil || signed.KeyID != first.ID || len(keys) != 3 || keys[last.ID] == nil {
		t.Errorf("signed with %s, published %v: %v", signed.KeyID, keys, err)
	}
	// Nothing shows what is stored of private keys.
	stored, err := s.store.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/signing-keys", "/v1/activity", "/.well-known/jwks.json"} {
		if body := s.do(operatorToken, "GET", path, "").body; strings.Contains(body, "ncrypted") || strings.Contains(body, string(stored[0].Encrypted)) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestSigningKeyRefusals(t *testing.T) {
	s := newService(t)
	for body, want := range map[string]string{
		`{"activeAfterHours":-1}`:   `"field":"activeAfterHours"`,
		`{"activeAfterHours":2161}`: "use 0 to 2160",
		`{"activeAfter":1}`:         `"field":"activeAfter"`,
	} {
		if got := s.do(operatorToken, "POST", "/v1/signing-keys", body); got.status != 400 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s, want 400 with %s", body, got.status, got.body, want)
		}
	}
	s.api.SigningKeys = s.keyring(nil)
	if got := s.do(operatorToken, "POST", "/v1/signing-keys", `{}`); got.status != 409 || !strings.Contains(got.body, "--key-file") {
		t.Errorf("without a key file: %d %s", got.status, got.body)
	}
	if acts := s.latest(1); len(acts) > 0 {
		t.Errorf("recorded %+v", acts)
	}
}

func TestKMSKeyIsShownToOperators(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
	key := auditdrain.SigningKey{ID: "k", Public: make([]byte, ed25519.PublicKeySize), KMSKeyARN: arn}
	if err := s.store.AddSigningKey(t.Context(), key, "", nil); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{operatorToken: arn, s.token("team_a", auditdrain.RoleOwner): ""} {
		got := s.do(token, "GET", "/v1/signing-keys", "")
		if got.status != 200 || strings.Contains(got.body, "kmsKeyArn") != (want != "") || !strings.Contains(got.body, want) {
			t.Errorf("%d %s, want %q", got.status, got.body, want)
		}
	}
}
