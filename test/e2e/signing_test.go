package e2e

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

const signingKey = "arn:aws:kms:eu-west-1:977805900156:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// publishedKeys are what anybody can check manifests with.
func (s *service) publishedKeys() manifest.Keys {
	s.t.Helper()
	status, _, body := s.get("/.well-known/jwks.json")
	keys, err := manifest.ParseKeys([]byte(body))
	if status != 200 || err != nil {
		s.t.Fatalf("published: %d %s, %v", status, body, err)
	}
	return keys
}

// TestSigningKeyInKMS has AWS hold the key, which the service finds by its ARN in
// another region than its own.
func TestSigningKeyInKMS(t *testing.T) {
	aws, data := newCloud(t), t.TempDir()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err, aws.AddKey(awssim.Key{
		ARN: signingKey, Private: private,
		Policy: iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + userARN + `"},"Action":["kms:GetPublicKey","kms:Sign"],"Resource":"*"}]}`),
	}))
	args := serveArgs(data, "--kms-key", signingKey)
	env := environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AWS_ENDPOINT_URL_KMS="+aws.url)
	for range 2 {
		s := serviceOf(start(t, binary(t), env, args...))
		if keys := s.publishedKeys(); len(keys) != 1 || !private.Public().(ed25519.PublicKey).Equal(keys[manifest.Fingerprint(private.Public().(ed25519.PublicKey))]) {
			t.Errorf("published: %v", keys)
		}
		_, err = s.api.CreateSigningKey(t.Context(), auditdrain.SigningKeyInput{})
		if auditdrain.ErrorCode(err) != auditdrain.CodeConflict || !strings.Contains(err.Error(), signingKey) {
			t.Errorf("rotated to the same key: %v", err)
		}
		s.stop()
	}
	if _, err := os.Stat(filepath.Join(data, "key-file")); !os.IsNotExist(err) {
		t.Errorf("a key file was written: %v", err)
	}
	// Without KMS, events are taken all the same; with a key of another kind, the
	// first start fails.
	aws.RemoveKey(signingKey)
	s := serviceOf(start(t, binary(t), env, args...))
	s.stop()
	must(t, aws.AddKey(awssim.Key{ARN: signingKey, Policy: iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + userARN + `"},"Action":"kms:*","Resource":"*"}]}`)}))
	p := run(t, env, serveArgs(t.TempDir(), "--kms-key", signingKey)...)
	if got := p.stderr.String(); p.code() != 1 || !strings.Contains(got, "create one with spec ECC_NIST_EDWARDS25519 and usage SIGN_VERIFY") {
		t.Errorf("code %d, stderr %q", p.code(), got)
	}
}

// TestNodesShareSigningKeys starts nodes at once on an empty database: they publish
// one key, and what one of them adds. A node with another key file does not start,
// and one without any signs nothing, but publishes the same.
func TestNodesShareSigningKeys(t *testing.T) {
	url, dir := postgres(t).URL(postgres(t).NewSchema(t)), t.TempDir()
	keyFile := func(name string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(strings.Repeat(name, 32)), 0o600))
		return path
	}
	env := environment(t, "", "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AUDITDRAIN_POSTGRES="+url)
	args := []string{"serve", "--listen", "127.0.0.1:0", "--shutdown-timeout", "10s"}
	file := keyFile("a")
	var processes []*process
	for range 3 {
		processes = append(processes, start(t, binary(t), env, append(args, "--key-file", file)...))
	}
	var nodes []*service
	for _, p := range append(processes, start(t, binary(t), env, args...)) {
		nodes = append(nodes, serviceOf(p))
	}
	for _, n := range nodes[:3] {
		if keys := n.publishedKeys(); len(keys) != 1 {
			t.Errorf("published: %v", keys)
		}
	}
	key, err := nodes[0].api.CreateSigningKey(t.Context(), auditdrain.SigningKeyInput{})
	must(t, err)
	if keys := nodes[0].publishedKeys(); len(keys) != 2 || keys[key.ID] == nil {
		t.Errorf("published: %v", keys)
	}
	if _, err := nodes[3].api.CreateSigningKey(t.Context(), auditdrain.SigningKeyInput{}); auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		t.Errorf("without a key file: %v", err)
	}
	wrong := run(t, env, append(args, "--key-file", keyFile("b"))...)
	if got := wrong.stderr.String(); wrong.code() != 1 || !strings.Contains(got, "was encrypted with another key file than "+filepath.Join(dir, "b")) {
		t.Errorf("code %d, stderr %q", wrong.code(), got)
	}
	for _, n := range nodes {
		n.stop()
	}
}
