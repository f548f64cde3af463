package iam

import (
	"strings"
	"testing"
)

// The documents of "Drain Audit Logs to S3", word for word, with the placeholders filled in. In the permissions policies
// the document has a comment, which JSON does not.
const (
	trustPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "vercel-team:team_123"
        }
      }
    }
  ]
}`
	managedKeyPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowS3Writes",
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws:s3:::acme-audit-archive/audit-logs/*"
    }
  ]
}`
	customerKeyPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowS3Writes",
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws:s3:::acme-audit-archive/audit-logs/*"
    },
    {
      "Sid": "AllowKmsForS3Writes",
      "Effect": "Allow",
      "Action": "kms:GenerateDataKey",
      "Resource": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
      "Condition": {
        "StringEquals": {
          "kms:CallerAccount": "111122223333",
          "kms:ViaService": "s3.eu-central-1.amazonaws.com"
        }
      }
    }
  ]
}`
	keyPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowVercelDrainRoleToUseKeyViaS3",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::111122223333:role/vercel-drain-writer"
      },
      "Action": "kms:GenerateDataKey",
      "Resource": "*",
      "Condition": {
        "StringEquals": {
          "kms:CallerAccount": "111122223333",
          "kms:ViaService": "s3.eu-central-1.amazonaws.com"
        }
      }
    }
  ]
}`
)

const (
	drainRole = "arn:aws:iam::111122223333:role/vercel-drain-writer"
	drainKey  = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

var (
	writerSession = Principal{
		ARN:     "arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/i-1",
		RoleARN: "arn:aws:iam::977805900156:role/vercel-drains-s3-writer",
		Account: "977805900156",
	}
	drainSession = Principal{
		ARN:     "arn:aws:sts::111122223333:assumed-role/vercel-drain-writer/auditdrain-d1",
		RoleARN: drainRole,
		Account: "111122223333",
	}
	mayAssume = MustParse(`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}`)
)

func TestReferenceAssumeRole(t *testing.T) {
	policies := Policies{
		Identity:        []*Policy{mayAssume},
		Resource:        MustParse(trustPolicy),
		ResourceKind:    RoleTrust,
		ResourceAccount: "111122223333",
	}
	other := writerSession
	other.RoleARN = "arn:aws:iam::977805900156:role/another"
	other.ARN = "arn:aws:sts::977805900156:assumed-role/another/i-1"

	const noTrust = "because no role trust policy allows the sts:AssumeRole action"
	tests := []struct {
		name       string
		caller     Principal
		externalID []string
		identity   []*Policy
		reason     string
	}{
		{"our team", writerSession, []string{"vercel-team:team_123"}, policies.Identity, ""},
		{"another team", writerSession, []string{"vercel-team:team_1234"}, policies.Identity, noTrust},
		{"external IDs have case", writerSession, []string{"vercel-team:TEAM_123"}, policies.Identity, noTrust},
		{"no external ID", writerSession, nil, policies.Identity, noTrust},
		{"another role", other, []string{"vercel-team:team_123"}, policies.Identity, noTrust},
		{"the account's own role", drainSession, []string{"vercel-team:team_123"}, policies.Identity, noTrust},
		{"writer may not assume", writerSession, []string{"vercel-team:team_123"}, nil,
			"because no identity-based policy allows the sts:AssumeRole action"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := policies
			p.Identity = tt.identity
			d := Authorize(Request{
				Principal: tt.caller,
				Action:    "sts:AssumeRole",
				Resource:  drainRole,
				Context:   map[string][]string{"sts:ExternalId": tt.externalID},
			}, p)
			if got := d.Reason("sts:AssumeRole"); got != tt.reason || d.Allowed != (tt.reason == "") {
				t.Errorf("allowed %t, reason %q, want %q", d.Allowed, got, tt.reason)
			}
		})
	}
}

func TestReferencePutObject(t *testing.T) {
	const noIdentity = "because no identity-based policy allows the s3:PutObject action"
	tests := []struct {
		name, key, reason string
	}{
		{"event", "audit-logs/schema=audit_log/version=v1/year=2026/month=01/day=02/20260102T030405.678Z_e1.json", ""},
		{"test event", "audit-logs/test/schema=audit_log/version=v1/year=2026/month=01/day=02/20260102T030405.678Z_e1.json", ""},
		{"another prefix", "test/schema=audit_log/version=v1/x.json", noIdentity},
		{"prefix without slash", "audit-logs2/x.json", noIdentity},
	}
	for _, doc := range []string{managedKeyPolicy, customerKeyPolicy} {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				d := Authorize(Request{
					Principal: drainSession,
					Action:    "s3:PutObject",
					Resource:  "arn:aws:s3:::acme-audit-archive/" + tt.key,
				}, Policies{Identity: []*Policy{MustParse(doc)}, ResourceAccount: "111122223333"})
				if got := d.Reason("s3:PutObject"); got != tt.reason || d.Allowed != (tt.reason == "") {
					t.Errorf("allowed %t, reason %q, want %q", d.Allowed, got, tt.reason)
				}
			})
		}
	}
}

func TestReferenceGenerateDataKey(t *testing.T) {
	const (
		noResource = "because no resource-based policy allows the kms:GenerateDataKey action"
		noIdentity = "because no identity-based policy allows the kms:GenerateDataKey action"
	)
	// The statement that every key has to begin with (Key policies in AWS KMS, "Default key policy").
	defaultKeyPolicy := `{"Version": "2012-10-17", "Statement": {"Sid": "Enable IAM User Permissions", "Effect": "Allow",
		"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}}`
	tests := []struct {
		name          string
		identity, key string
		viaService    string
		reason        string
	}{
		{"both policies", customerKeyPolicy, keyPolicy, "s3.eu-central-1.amazonaws.com", ""},
		{"another region", customerKeyPolicy, keyPolicy, "s3.eu-west-1.amazonaws.com", noResource},
		{"key policy lets the role", managedKeyPolicy, keyPolicy, "s3.eu-central-1.amazonaws.com", ""},
		{"key policy delegates", customerKeyPolicy, defaultKeyPolicy, "s3.eu-central-1.amazonaws.com", ""},
		{"key policy delegates, identity does not allow", managedKeyPolicy, defaultKeyPolicy, "s3.eu-central-1.amazonaws.com", noIdentity},
		{"key policy delegates, another region", customerKeyPolicy, defaultKeyPolicy, "s3.eu-west-1.amazonaws.com", noIdentity},
		{"key policy for others", customerKeyPolicy, strings.ReplaceAll(keyPolicy, "vercel-drain-writer", "x"), "s3.eu-central-1.amazonaws.com", noResource},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Authorize(Request{
				Principal: drainSession,
				Action:    "kms:GenerateDataKey",
				Resource:  drainKey,
				Context: map[string][]string{
					"kms:CallerAccount": {"111122223333"},
					"kms:ViaService":    {tt.viaService},
				},
			}, Policies{
				Identity:        []*Policy{MustParse(tt.identity)},
				Resource:        MustParse(tt.key),
				ResourceKind:    Key,
				ResourceAccount: "111122223333",
			})
			if got := d.Reason("kms:GenerateDataKey"); got != tt.reason || d.Allowed != (tt.reason == "") {
				t.Errorf("allowed %t, reason %q, want %q", d.Allowed, got, tt.reason)
			}
		})
	}
}
