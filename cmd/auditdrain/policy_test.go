package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/iam"
)

var checkArgs = []string{
	"policy", "check", "--endpoint", "s3://acme/audit-logs", "--region", "eu-central-1", "--role-arn", "arn:aws:iam::111122223333:role/drain",
	"--writer-role-arn", "arn:aws:iam::977805900156:role/vercel-drains-s3-writer", "--external-id", "vercel-team:team_123",
}

func TestPolicyCheckExitCodes(t *testing.T) {
	g := iam.Grant{
		WriterRoleARN: "arn:aws:iam::977805900156:role/vercel-drains-s3-writer", ExternalID: "vercel-team:team_123",
		RoleARN: "arn:aws:iam::111122223333:role/drain", Bucket: "acme", Prefix: "audit-logs", Region: "eu-central-1",
	}
	permissions := filepath.Join(t.TempDir(), "permissions.json")
	if err := os.WriteFile(permissions, []byte(g.PermissionsPolicy()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		want  int
	}{
		"allowed":          {g.TrustPolicy(), []string{"-", permissions}, 0},
		"with warnings":    {strings.Replace(g.TrustPolicy(), "StringEquals", "StringEqualsIfExists", 1), []string{"-", permissions}, 0},
		"denied":           {strings.Replace(g.TrustPolicy(), "team_123", "team_1", 1), []string{"-", permissions}, 1},
		"denied, as JSON":  {strings.Replace(g.TrustPolicy(), "team_123", "team_1", 1), []string{"-", permissions, "-o", "json"}, 1},
		"unknown":          {"", []string{permissions}, 1},
		"broken":           {"{", []string{"-", permissions}, 2},
		"no such flag":     {"", []string{"--trust", permissions}, 2},
		"no such file":     {"", []string{permissions + "x"}, 2},
		"a folder":         {"", []string{filepath.Dir(permissions)}, 2},
		"UTF-16":           {"\xFF\xFE{\x00}\x00", []string{"-"}, 2},
		"of another kind":  {g.TrustPolicy(), []string{"--bucket-policy", "-"}, 2},
		"an external ID":   {g.TrustPolicy(), []string{"-", "--external-id", "a b"}, 2},
		"a writer":         {g.TrustPolicy(), []string{"-", "--writer-role-arn", "writer"}, 2},
		"key and encrypt.": {g.TrustPolicy(), []string{"-", "--encryption", "AES256", "--kms-key-arn", "arn:aws:kms:eu-central-1:111122223333:key/1"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			// AUDITDRAIN_TEAM may be a slug, and goes behind --external-id.
			got := cliWith(t.Context(), []string{"AUDITDRAIN_TEAM=acme"}, tc.stdin, append(checkArgs, tc.args...)...)
			if got.code != tc.want || tc.want != 0 && got.stderr == "" {
				t.Errorf("exit code %d, want %d\n%s\n%s", got.code, tc.want, got.stdout, got.stderr)
			}
			if tc.want == 2 && got.stdout != "" {
				t.Errorf("stdout %s", got.stdout)
			}
		})
	}
}

// What others wrote cannot steer the terminal, and a patch stays a patch.
func TestPolicyCheckShowsPatches(t *testing.T) {
	const doc = "{\r\n\t// \x1b[2J\u202e\r\n\t\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\", \"Resource\": \"arn:aws:s3:::acme/audit-logs/*\"}]\r\n}\r\n"
	got := cliWith(t.Context(), nil, doc, append(checkArgs, "-")...)
	if strings.ContainsAny(got.stdout, "\x1b\u202e") {
		t.Errorf("stdout has control characters: %q", got.stdout)
	}
	const want = "\r\n+\t\"Statement\": [{\"Effect\": \"Allow\", \"Action\": [\"s3:GetObject\", \"s3:PutObject\"], \"Resource\": \"arn:aws:s3:::acme/audit-logs/*\"}]\r\n }\r\n"
	if !strings.Contains(got.stdout, want) {
		t.Errorf("no %q in %s", want, got.stdout)
	}
}
