package kit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// TestMain makes the test's own binary the AWS CLI that scripts find.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "aws" {
		os.Exit(standIn(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// standIn is the AWS CLI as far as the script uses it: it notes what it was called with, keeps in files what there is, and
// answers as AWS does.
func standIn(args []string) int {
	dir := os.Getenv("STAND_IN")
	path := func(name string) string { return filepath.Join(dir, name) }
	// What the script writes to files is noted as it is in them.
	noted := slices.Clone(args)
	for i, a := range noted {
		if file, ok := strings.CutPrefix(a, "file://"); ok {
			content, err := os.ReadFile(file)
			if err != nil {
				return refuse("ParamValidation", err.Error())
			}
			noted[i] = string(content)
		}
	}
	line, _ := json.Marshal(noted)
	f, err := os.OpenFile(path("calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return refuse("Unable", err.Error())
	}
	defer f.Close()
	fmt.Fprintln(f, string(line))

	option := func(name string) string {
		if i := slices.Index(noted, name); i >= 0 {
			return noted[i+1]
		}
		return ""
	}
	show := func(name, missing string) int {
		content, err := os.ReadFile(path(name))
		if err != nil {
			return refuse(missing, "there is no "+name)
		}
		fmt.Println(string(content))
		return 0
	}
	keep := func(name, content string) int {
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			return refuse("Unable", err.Error())
		}
		return 0
	}
	partition, _ := iam.Partition(os.Getenv("AWS_REGION"))
	key := fmt.Sprintf("arn:%s:kms:%s:%s:%s", partition, os.Getenv("AWS_REGION"), account, createdKey)
	switch args[0] + " " + args[1] {
	case "sts get-caller-identity":
		fmt.Println(account)
	case "iam get-role":
		if option("--query") == "Role.AssumeRolePolicyDocument" {
			return show("trust", "NoSuchEntity")
		}
		return show("role", "NoSuchEntity")
	case "iam create-role":
		if code := keep("trust", option("--assume-role-policy-document")); code != 0 {
			return code
		}
		return keep("role", fmt.Sprintf("arn:%s:iam::%s:role%s%s", partition, account, option("--path"), option("--role-name")))
	case "iam update-assume-role-policy":
		return keep("trust", option("--policy-document"))
	case "iam put-role-policy":
		return show("role", "NoSuchEntity")
	case "kms describe-key":
		return show("key", "NotFoundException")
	case "kms create-key":
		fmt.Println(key)
	case "kms create-alias":
		return keep("key", option("--target-key-id"))
	case "kms get-key-policy":
		return show("key-policy", "AccessDeniedException")
	case "kms put-key-policy":
		return keep("key-policy", option("--policy"))
	case "kms enable-key-rotation":
	case "s3api head-bucket":
		return show("bucket", "404")
	case "s3api create-bucket":
		return keep("bucket", option("--bucket"))
	case "s3api get-bucket-tagging":
		return show("tag", "NoSuchTagSet")
	case "s3api put-bucket-tagging":
		_, tag, _ := strings.Cut(option("--tagging"), "Value=")
		return keep("tag", strings.TrimSuffix(tag, "}]"))
	case "s3api get-bucket-policy":
		return show("bucket-policy", "NoSuchBucketPolicy")
	case "s3api put-bucket-policy":
		return keep("bucket-policy", option("--policy"))
	case "s3api put-public-access-block", "s3api put-bucket-ownership-controls", "s3api put-bucket-versioning",
		"s3api put-bucket-encryption", "s3api put-object-lock-configuration":
		return show("bucket", "NoSuchBucket")
	default:
		return refuse("Unknown", strings.Join(args, " "))
	}
	return 0
}

func refuse(code, message string) int {
	fmt.Fprintf(os.Stderr, "\nAn error occurred (%s) when calling the operation: %s\n", code, message)
	return 254
}

// run is one run of a script.
type run struct {
	calls          [][]string
	stdout, stderr string
	failed         bool
}

// script runs text as bash in dir, where the stand-in keeps what there is.
func script(t *testing.T, dir, text string, environ ...string) run {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "aws")); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	calls := filepath.Join(dir, "calls")
	if err := os.WriteFile(calls, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(text)
	// With the race detector every stand-in would wait for a second at its end.
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", "STAND_IN=" + dir, "PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir()}, environ...)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := run{stdout: out.String(), stderr: stderr.String(), failed: err != nil}
	content, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var call []string
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			t.Fatal(err)
		}
		r.calls = append(r.calls, call)
	}
	return r
}

// operations are the calls that change something, in order.
func (r run) operations() []string {
	var found []string
	for _, c := range r.calls {
		if !strings.HasPrefix(c[1], "get-") && !strings.HasPrefix(c[1], "head-") && !strings.HasPrefix(c[1], "describe-") {
			found = append(found, c[1])
		}
	}
	return found
}

// option is an option's value in the one call of an operation.
func (r run) option(t *testing.T, operation, name string) string {
	t.Helper()
	for _, c := range r.calls {
		if c[1] == operation {
			if i := slices.Index(c, name); i >= 0 {
				return c[i+1]
			}
		}
	}
	t.Fatalf("no %s %s in %q", operation, name, r.calls)
	return ""
}

func (r run) succeeded(t *testing.T) run {
	t.Helper()
	if r.failed {
		t.Fatalf("failed: %s", r.stderr)
	}
	return r
}

const keyPolicy = `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::111122223333:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`

func TestScript(t *testing.T) {
	eachDestination(t, func(t *testing.T, d setup.Destination) {
		t.Parallel()
		partition, _ := partitionOf(d)
		dir := t.TempDir()
		text := setup.Write(d, "").CLI
		if d.KMSKeyARN != "" {
			if err := os.WriteFile(filepath.Join(dir, "key-policy"), []byte(keyPolicy), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := script(t, dir, text).succeeded(t)
		want := []string{"create-role", "put-role-policy"}
		if d.KMSKeyARN != "" {
			want = append(want, "put-key-policy")
			statements := strings.TrimSuffix(strings.SplitN(keyPolicy, "[", 2)[1], "]\n}")
			samePolicy(t, "key policy", strings.Replace(document(d.KeyPolicyStatement(), statements), "{", `{"Id": "key-default-1", `, 1),
				r.option(t, "put-key-policy", "--policy"))
			if saved, _ := filepath.Glob(filepath.Join(dir, "key-policy-before-*.json")); len(saved) != 1 {
				t.Errorf("the policy as it was is in %q", saved)
			}
		}
		if diff := cmp.Diff(want, r.operations()); diff != "" {
			t.Error(diff)
		}
		samePolicy(t, "trust policy", d.TrustPolicy(), r.option(t, "create-role", "--assume-role-policy-document"))
		samePolicy(t, "permissions policy", d.PermissionsPolicy(), r.option(t, "put-role-policy", "--policy-document"))
		if r.stdout != d.RoleARN+"\n" {
			t.Errorf("stdout %q, want %q", r.stdout, d.RoleARN)
		}

		// Again: nothing is made twice.
		r = script(t, dir, text).succeeded(t)
		if diff := cmp.Diff([]string{"update-assume-role-policy", "put-role-policy"}, r.operations()); diff != "" {
			t.Error(diff)
		}
		samePolicy(t, "trust policy", d.TrustPolicy(), r.option(t, "update-assume-role-policy", "--policy-document"))

		// With a bucket, and a key unless there is one.
		environ := []string{"CREATE_BUCKET=true", "BUCKET_ENCRYPTION=aws:kms", "OBJECT_LOCK_MODE=COMPLIANCE"}
		want = []string{"update-assume-role-policy"}
		if d.KMSKeyARN == "" {
			environ = append(environ, "CREATE_KEY=true")
			want = append(want, "create-key", "create-alias", "enable-key-rotation")
		}
		want = append(want, "put-role-policy", "create-bucket", "put-bucket-tagging", "put-public-access-block",
			"put-bucket-ownership-controls", "put-bucket-versioning", "put-bucket-encryption", "put-object-lock-configuration", "put-bucket-policy")
		r = script(t, dir, text, environ...).succeeded(t)
		if diff := cmp.Diff(want, r.operations()); diff != "" {
			t.Error(diff)
		}
		if d.KMSKeyARN == "" {
			d.KMSKeyARN = "arn:" + partition + ":kms:" + d.Region + ":" + account + ":" + createdKey
			samePolicy(t, "policy of a new key", document(keyAdministration(partition), d.KeyPolicyStatement()), r.option(t, "create-key", "--policy"))
		}
		samePolicy(t, "permissions policy with a key", d.PermissionsPolicy(), r.option(t, "put-role-policy", "--policy-document"))
		samePolicy(t, "bucket policy", document(tlsOnly(partition, d.Bucket)), r.option(t, "put-bucket-policy", "--policy"))
		if got, want := r.option(t, "put-bucket-encryption", "--server-side-encryption-configuration"),
			"Rules=[{ApplyServerSideEncryptionByDefault={SSEAlgorithm=aws:kms,KMSMasterKeyID="+d.KMSKeyARN+"},BucketKeyEnabled=true}]"; got != want {
			t.Errorf("encryption %s, want %s", got, want)
		}
		for _, c := range script(t, dir, text, environ...).succeeded(t).operations() {
			if strings.HasPrefix(c, "create-") || c == "put-bucket-tagging" {
				t.Errorf("%s again", c)
			}
		}
	})
}

// What was not known when the script was written is given to it, and then it does the same.
func TestScriptAsks(t *testing.T) {
	text := setup.Write(setup.Destination{}, "").CLI
	dir := t.TempDir()
	// Since bash 5.2 an & means something where a pattern is replaced.
	given := []string{"WRITER_ROLE_ARN=arn:aws:iam::977805900156:role/d&r/writer", "EXTERNAL_ID=vercel-team:team_123", "BUCKET=acme", "REGION=us-east-1"}
	for i := range given {
		r := script(t, dir, text, slices.Delete(slices.Clone(given), i, i+1)...)
		name, _, _ := strings.Cut(given[i], "=")
		if !r.failed || len(r.calls) > 0 || !strings.Contains(r.stderr, name) {
			t.Errorf("without %s: %+v", name, r)
		}
	}
	g := iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/d&r/writer", ExternalID: "vercel-team:team_123", Bucket: "acme", Region: "us-east-1",
		RoleARN: "arn:aws:iam::" + account + ":role/" + setup.DefaultRoleName, KMSKeyARN: "arn:aws:kms:us-east-1:" + account + ":" + createdKey}
	r := script(t, dir, text, append(given, "CREATE_BUCKET=true", "CREATE_KEY=true", "BUCKET_ENCRYPTION=aws:kms:dsse")...).succeeded(t)
	samePolicy(t, "trust policy", g.TrustPolicy(), r.option(t, "create-role", "--assume-role-policy-document"))
	samePolicy(t, "permissions policy", g.PermissionsPolicy(), r.option(t, "put-role-policy", "--policy-document"))
	samePolicy(t, "policy of a new key", document(keyAdministration("aws"), g.KeyPolicyStatement()), r.option(t, "create-key", "--policy"))
	samePolicy(t, "bucket policy", document(tlsOnly("aws", "acme")), r.option(t, "put-bucket-policy", "--policy"))
	if r.stdout != g.RoleARN+"\n" {
		t.Errorf("stdout %q, want %q", r.stdout, g.RoleARN)
	}
	// It would write ARNs of another partition.
	given[3] = "REGION=cn-north-1"
	if r := script(t, t.TempDir(), text, given...); !r.failed || r.operations() != nil || !strings.Contains(r.stderr, "written again") {
		t.Errorf("%+v", r)
	}
}

// What cannot work is refused before anything is made.
func TestScriptRefuses(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:" + account + ":key/k"
	for name, tc := range map[string]struct {
		change  func(*setup.Destination)
		environ []string
		want    string
	}{
		"another account":       {func(d *setup.Destination) { d.RoleARN = "arn:aws:iam::999999999999:role/w" }, nil, "credentials of account " + account},
		"bucket without ACLs":   {func(d *setup.Destination) { d.ACL = "private" }, []string{"CREATE_BUCKET=true"}, "ACLs disabled"},
		"key without bucket":    {nil, []string{"CREATE_KEY=true"}, "CREATE_BUCKET=true, too"},
		"key without use":       {nil, []string{"CREATE_KEY=true", "CREATE_BUCKET=true"}, "AES256 uses no key"},
		"their key without use": {func(d *setup.Destination) { d.KMSKeyARN = key }, []string{"CREATE_BUCKET=true", "BUCKET_ENCRYPTION=AES256"}, "AES256 does not use the key"},
	} {
		t.Run(name, func(t *testing.T) {
			d := setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme", Region: "eu-central-1"}}
			if tc.change != nil {
				tc.change(&d)
			}
			r := script(t, t.TempDir(), setup.Write(d, "").CLI, tc.environ...)
			if !r.failed || r.operations() != nil || !strings.Contains(r.stderr, tc.want) || r.stdout != "" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A bucket that the script has not made keeps its policy, encryption and all else, and nothing else is changed, either.
func TestScriptBucketExists(t *testing.T) {
	text := setup.Write(setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme",
		Region: "eu-central-1", RoleARN: "arn:aws:iam::" + account + ":role/audit,writer"}}, "").CLI
	for name, tc := range map[string]struct {
		tag, want string
	}{
		"theirs":                    {"", "exists and was not made here"},
		"made for another role":     {"other", "exists and was not made here"},
		"made here, up to the tags": {"audit.writer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			there := map[string]string{"bucket": "acme", "bucket-policy": `{"Id": "mine"}`}
			if tc.tag != "" {
				there["tag"] = tc.tag
			}
			for file, content := range there {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := script(t, dir, text, "CREATE_BUCKET=true")
			if tc.want != "" {
				if !r.failed || r.operations() != nil || !strings.Contains(r.stderr, tc.want) || !strings.Contains(r.stderr, "leave out CREATE_BUCKET=true") {
					t.Errorf("%+v", r)
				}
				return
			}
			r.succeeded(t)
			if slices.Contains(r.operations(), "create-bucket") || !slices.Contains(r.operations(), "put-bucket-policy") {
				t.Errorf("operations %q", r.operations())
			}
			if !strings.Contains(r.stderr, `{"Id": "mine"}`) {
				t.Errorf("the bucket's policy as it was is not shown: %s", r.stderr)
			}
		})
	}
}

// The trust policy that a role had is shown before it is replaced.
func TestScriptShowsTrustPolicy(t *testing.T) {
	dir := t.TempDir()
	for file, content := range map[string]string{"role": "arn:aws:iam::" + account + ":role/" + setup.DefaultRoleName, "trust": `{"Id": "mine"}`} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := script(t, dir, setup.Write(setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t",
		Bucket: "acme", Region: "eu-central-1"}}, "").CLI).succeeded(t)
	if !slices.Contains(r.operations(), "update-assume-role-policy") || !strings.Contains(r.stderr, `{"Id": "mine"}`) {
		t.Errorf("%+v", r)
	}
}

// A key's policy that the script cannot or must not change is left alone, and the person is told what to add.
func TestScriptKeyByHand(t *testing.T) {
	d := setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme",
		Region: "eu-central-1", KMSKeyARN: "arn:aws:kms:eu-central-1:" + account + ":key/k"}}
	for name, tc := range map[string]struct {
		policy  string
		environ []string
		want    string
	}{
		"not wanted":         {keyPolicy, []string{"EDIT_KEY_POLICY=false"}, "EDIT_KEY_POLICY"},
		"not readable":       {"", nil, "cannot be read"},
		"a single statement": {`{"Statement": {"Sid": "x"}}`, nil, "no list of statements"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.policy != "" {
				if err := os.WriteFile(filepath.Join(dir, "key-policy"), []byte(tc.policy), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := script(t, dir, setup.Write(d, "").CLI, tc.environ...).succeeded(t)
			if slices.Contains(r.operations(), "put-key-policy") || !strings.Contains(r.stderr, tc.want) || !strings.Contains(r.stderr, `"kms:ViaService"`) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A script of which only the beginning arrived does nothing.
func TestScriptCutOff(t *testing.T) {
	text := setup.Write(setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme",
		Region: "eu-central-1"}}, "").CLI
	dir := t.TempDir()
	for at := 0; at < strings.LastIndex(text, "main <"); at += 97 {
		if r := script(t, dir, text[:at]); len(r.calls) > 0 {
			t.Fatalf("cut off after %d bytes it calls %q", at, r.calls)
		}
	}
}

// TestShellcheck has the shell's linter look at the golden files, which have all branches of the script in them.
func TestShellcheck(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join("..", "..", "internal", "setup", "testdata", "*", "cli.sh"))
	if err != nil || len(scripts) < 9 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	check := func(files ...string) error {
		out, err := exec.CommandContext(t.Context(), "shellcheck", append([]string{"--severity=warning"}, files...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	if err := check(scripts...); err != nil {
		t.Error(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.sh")
	if err := os.WriteFile(bad, []byte("#!/usr/bin/env bash\nx=`ls`\nrm -rf $1/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(bad); err == nil {
		t.Error("a bad script is not found out")
	}
}
