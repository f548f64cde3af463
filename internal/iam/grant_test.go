package iam

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// referenceGrant is what the documents of reference_test.go are about.
var referenceGrant = Grant{
	WriterRoleARN: "arn:aws:iam::977805900156:role/vercel-drains-s3-writer",
	ExternalID:    "vercel-team:team_123",
	RoleARN:       drainRole,
	Bucket:        "acme-audit-archive",
	Prefix:        "audit-logs",
	Region:        "eu-central-1",
	KMSKeyARN:     drainKey,
	ObjectACL:     true,
}

// keyStatement is the statement of keyPolicy, as the reference document shows it: by itself.
const keyStatement = `{
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
}`

// What a Grant writes is the reference document's, to the letter.
func TestGrantIsTheReference(t *testing.T) {
	managed := referenceGrant
	managed.KMSKeyARN = ""
	tests := []struct{ name, got, want string }{
		{"trust policy", referenceGrant.TrustPolicy(), trustPolicy},
		{"permissions policy, customer managed key", referenceGrant.PermissionsPolicy(), customerKeyPolicy},
		{"permissions policy, S3 or AWS managed key", managed.PermissionsPolicy(), managedKeyPolicy},
		{"key policy statement, customer managed key", referenceGrant.KeyPolicyStatement(), keyStatement},
		{"key policy statement, S3 or AWS managed key", managed.KeyPolicyStatement(), ""},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s (-reference +got):\n%s", tt.name, d)
		}
	}
}

// A statement by itself is the one of the policy.
func TestGrantStatements(t *testing.T) {
	g := referenceGrant
	tests := []struct {
		name, statement, policy string
		index                   int
	}{
		{"trust", g.TrustStatement(), g.TrustPolicy(), 0},
		{"write", g.WriteStatement(), g.PermissionsPolicy(), 0},
		{"encrypt", g.EncryptStatement(), g.PermissionsPolicy(), 1},
	}
	for _, tt := range tests {
		alone := MustParse(`{"Version": "2012-10-17", "Statement": ` + tt.statement + `}`).Statements[0]
		want := MustParse(tt.policy).Statements[tt.index]
		alone.Index = want.Index
		if d := cmp.Diff(want, alone); d != "" {
			t.Errorf("%s (-policy's +alone):\n%s", tt.name, d)
		}
	}
	g.KMSKeyARN = ""
	if s := g.EncryptStatement(); !strings.Contains(s, `"Resource": "<your-kms-key-arn>"`) {
		t.Errorf("without a key: %s", s)
	}
}

// edits turn a document into another: old and new text in turns.
type edits []string

// What of the reference's documents each field of a Grant changes.
func TestGrantFields(t *testing.T) {
	const (
		roleCN  = "arn:aws-cn:iam::111122223333:role/drains/writer"
		roleGov = "arn:aws-us-gov:iam::111122223333:role/writer"
		via     = "s3.eu-central-1.amazonaws.com"
		caller  = `"kms:CallerAccount": "111122223333"`
	)
	tests := []struct {
		name                    string
		change                  func(*Grant)
		trust, permissions, key edits
	}{
		{
			name:   "another writer",
			change: func(g *Grant) { g.WriterRoleARN = roleGov },
			trust:  edits{referenceGrant.WriterRoleARN, roleGov},
		},
		{
			name:   "another team",
			change: func(g *Grant) { g.ExternalID = "acme-team:9" },
			trust:  edits{"vercel-team:team_123", "acme-team:9"},
		},
		{
			name:        "no ACL",
			change:      func(g *Grant) { g.ObjectACL = false },
			permissions: edits{",\n        \"s3:PutObjectAcl\"", ""},
		},
		{
			name:        "bucket root",
			change:      func(g *Grant) { g.Prefix = "" },
			permissions: edits{"audit-logs/*", "*"},
		},
		{
			name:        "deep prefix",
			change:      func(g *Grant) { g.Prefix = "a/b c" },
			permissions: edits{"audit-logs/*", "a/b c/*"},
		},
		{
			name:        "prefix of what JSON escapes, and HTML would",
			change:      func(g *Grant) { g.Prefix = `<"&\>` },
			permissions: edits{"audit-logs/*", `<\"&\\>/*`},
		},
		{
			name:        "no region, role in China",
			change:      func(g *Grant) { g.Region, g.RoleARN = "", roleCN },
			permissions: edits{"arn:aws:s3", "arn:aws-cn:s3", via, "s3.<aws-region>.amazonaws.com.cn"},
			key:         edits{drainRole, roleCN, via, "s3.<aws-region>.amazonaws.com.cn"},
		},
		{
			name:        "prefix of characters that IAM does not take",
			change:      func(g *Grant) { g.Prefix = "é/ж🪵" },
			permissions: edits{"audit-logs/*", `é/\u0436\ud83e\udeb5/*`},
		},
		{
			name:        "another bucket",
			change:      func(g *Grant) { g.Bucket = "b" },
			permissions: edits{"acme-audit-archive", "b"},
		},
		{
			name:        "another region",
			change:      func(g *Grant) { g.Region = "us-west-2" },
			permissions: edits{via, "s3.us-west-2.amazonaws.com"},
			key:         edits{via, "s3.us-west-2.amazonaws.com"},
		},
		{
			name:   "another role",
			change: func(g *Grant) { g.RoleARN = "arn:aws:iam::111122223333:role/path/x" },
			key:    edits{drainRole, "arn:aws:iam::111122223333:role/path/x"},
		},
		{
			name:        "another account",
			change:      func(g *Grant) { g.RoleARN = "arn:aws:iam::444455556666:role/x" },
			permissions: edits{caller, `"kms:CallerAccount": "444455556666"`},
			key:         edits{drainRole, "arn:aws:iam::444455556666:role/x", caller, `"kms:CallerAccount": "444455556666"`},
		},
		{
			name:        "key of another account",
			change:      func(g *Grant) { g.KMSKeyARN = "arn:aws:kms:eu-central-1:444455556666:key/k" },
			permissions: edits{drainKey, "arn:aws:kms:eu-central-1:444455556666:key/k"},
		},
		{
			name:        "China",
			change:      func(g *Grant) { g.Region, g.RoleARN = "cn-north-1", roleCN },
			permissions: edits{"arn:aws:s3", "arn:aws-cn:s3", via, "s3.cn-north-1.amazonaws.com.cn"},
			key:         edits{drainRole, roleCN, via, "s3.cn-north-1.amazonaws.com.cn"},
		},
		{
			name:        "GovCloud",
			change:      func(g *Grant) { g.Region, g.RoleARN = "us-gov-west-1", roleGov },
			permissions: edits{"arn:aws:s3", "arn:aws-us-gov:s3", via, "s3.us-gov-west-1.amazonaws.com"},
			key:         edits{drainRole, roleGov, via, "s3.us-gov-west-1.amazonaws.com"},
		},

		// What is not known is asked for.
		{
			name:   "no writer",
			change: func(g *Grant) { g.WriterRoleARN = "" },
			trust:  edits{referenceGrant.WriterRoleARN, "<writer-role-arn>"},
		},
		{
			name:   "no external ID",
			change: func(g *Grant) { g.ExternalID = "" },
			trust:  edits{"vercel-team:team_123", "<external-id>"},
		},
		{
			name:        "no bucket",
			change:      func(g *Grant) { g.Bucket = "" },
			permissions: edits{"acme-audit-archive", "<bucket-name>"},
		},
		{
			name:        "no region",
			change:      func(g *Grant) { g.Region = "" },
			permissions: edits{via, "s3.<aws-region>.amazonaws.com"},
			key:         edits{via, "s3.<aws-region>.amazonaws.com"},
		},
		{
			name:        "no role",
			change:      func(g *Grant) { g.RoleARN = "" },
			permissions: edits{caller, `"kms:CallerAccount": "<your-aws-account-id>"`},
			key:         edits{drainRole, "<your-iam-role-arn>", caller, `"kms:CallerAccount": "<your-aws-account-id>"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := referenceGrant
			tt.change(&g)
			for _, doc := range []struct {
				name, reference string
				edits           edits
				got             string
			}{
				{"trust policy", trustPolicy, tt.trust, g.TrustPolicy()},
				{"permissions policy", customerKeyPolicy, tt.permissions, g.PermissionsPolicy()},
				{"key policy statement", keyStatement, tt.key, g.KeyPolicyStatement()},
			} {
				want := strings.NewReplacer(doc.edits...).Replace(doc.reference)
				if d := cmp.Diff(want, doc.got); d != "" {
					t.Errorf("%s (-want +got):\n%s", doc.name, d)
				}
			}
		})
	}
}

// A Grant knows of a drain's configuration what it can.
func TestGrantFor(t *testing.T) {
	d := auditdrain.Delivery{
		Endpoint: "s3://acme-audit-archive/audit-logs", Region: "eu-central-1", RoleARN: drainRole, ObjectACL: "bucket-owner-read",
	}
	want := Grant{RoleARN: drainRole, Bucket: "acme-audit-archive", Prefix: "audit-logs", Region: "eu-central-1", ObjectACL: true}
	if diff := cmp.Diff(want, GrantFor(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d.Endpoint, d.ObjectACL = "s3://acme-audit-archive", ""
	want.Prefix, want.ObjectACL = "", false
	if diff := cmp.Diff(want, GrantFor(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
