package main

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// TestVerifyBucket verifies a bucket with an auditor's own credentials, which may
// only read it, and counts what it costs.
func TestVerifyBucket(t *testing.T) {
	const bucket, account = "acme-audit-archive", "111122223333"
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, bucket, "audit-logs"), os.DirFS("../../internal/verify/testdata/vector/bucket")); err != nil {
		t.Fatal(err)
	}
	sim, err := awssim.New(awssim.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		sim.AddBucket(awssim.Bucket{Name: bucket, Account: account, Region: "eu-west-1"}),
		sim.AddUser(awssim.User{ARN: "arn:aws:iam::" + account + ":user/auditor", AccessKeyID: "AKIAAUDITOR", SecretKey: "secret", Identity: []*iam.Policy{iam.MustParse(
			`{"Version": "2012-10-17", "Statement": [
				{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::` + bucket + `"},
				{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + bucket + `/*"}]}`)}}),
	); err != nil {
		t.Fatal(err)
	}
	var calls awssim.Calls
	sim.Observe(calls.Add)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAAUDITOR", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": server.URL,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	verify := func() ran {
		return cliWith(t.Context(), nil, "", "verify", "s3://"+bucket+"/audit-logs/", "--key", "../../internal/verify/testdata/vector/jwks.json", "--to", "2026-05-22T12:00:00Z")
	}

	r := verify()
	if r.code != 0 || !strings.Contains(r.stdout, "VERIFIED: nothing is missing") {
		t.Fatalf("%+v", r)
	}
	got := map[string]int{"GetObject": len(calls.All("GetObject")), "ListObjectsV2": len(calls.All("ListObjectsV2"))}
	// One for each of 4 objects and 4 parts, two for each of 7 manifests; one list for
	// each folder: 2 of manifests, 5 of objects.
	if got["GetObject"] != 4+4+2*7 || got["ListObjectsV2"] != 2+5 {
		t.Errorf("calls: %v", got)
	}

	// The drain has moved elsewhere, so an object that is newer than the last manifest
	// is one too many; one that is gone is missing.
	data := filepath.Join(dir, bucket, "audit-logs", "schema=audit_log")
	if err := os.WriteFile(filepath.Join(data, "new.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := verify(); r.code != 17 || !strings.Contains(r.stderr, "not verified: 1 unexpected") {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(filepath.Join(data, "new.json")); err != nil {
		t.Fatal(err)
	}
	lost, err := filepath.Glob(filepath.Join(data, "version=v1/year=2026/month=05/day=22/*_1.json"))
	if err != nil || len(lost) != 1 {
		t.Fatal(lost, err)
	}
	if err := os.Remove(lost[0]); err != nil {
		t.Fatal(err)
	}
	if r := verify(); r.code != 15 || !strings.Contains(r.stderr, "not verified: 1 missing") {
		t.Errorf("%+v", r)
	}
}
