package setup

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	writerRole = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	teamRole   = "arn:aws:iam::111122223333:role/audit-log-writer"
	teamKey    = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

// destination is one that everything is known of, in partition aws.
func destination(change func(*Destination)) Destination {
	d := Destination{
		Grant: iam.Grant{
			WriterRoleARN: writerRole,
			ExternalID:    "vercel-team:team_123",
			RoleARN:       teamRole,
			Bucket:        "acme-audit-archive",
			Prefix:        "audit-logs",
			Region:        "eu-central-1",
		},
		Encoding: "ndjson",
	}
	if change != nil {
		change(&d)
	}
	return d
}

// inPartition moves everything of d to another partition.
func inPartition(d *Destination, partition, region string) {
	for _, arn := range []*string{&d.WriterRoleARN, &d.RoleARN, &d.KMSKeyARN} {
		*arn = strings.Replace(*arn, "arn:aws:", "arn:"+partition+":", 1)
		*arn = strings.Replace(*arn, ":eu-central-1:", ":"+region+":", 1)
	}
	d.Region = region
}

const templateURL = "https://platform-public.s3.us-east-1.amazonaws.com/audit log/drain.yaml?versionId=a.b"

// kits are the cases of the golden files, by the name of their folder.
var kits = map[string]struct {
	destination Destination
	templateURL string
}{
	"prefix": {destination(nil), templateURL},
	"root": {destination(func(d *Destination) {
		d.Prefix, d.Encoding, d.Encryption = "", "json", "AES256"
	}), ""},
	"acl": {destination(func(d *Destination) {
		d.RoleARN = "arn:aws:iam::111122223333:role/platform/audit/writer"
		d.Encryption, d.ACL, d.ObjectACL = "aws:kms", "private", true
	}), ""},
	"key-and-acl": {destination(func(d *Destination) {
		d.KMSKeyARN, d.ACL, d.ObjectACL = teamKey, "bucket-owner-full-control", true
	}), templateURL},
	"china-dsse": {destination(func(d *Destination) {
		d.KMSKeyARN, d.Encryption = teamKey, "aws:kms:dsse"
		inPartition(d, "aws-cn", "cn-northwest-1")
	}), "https://s3.cn-northwest-1.amazonaws.com.cn/platform/drain.yaml"},
	"govcloud": {destination(func(d *Destination) {
		d.KMSKeyARN = teamKey
		inPartition(d, "aws-us-gov", "us-gov-west-1")
	}), ""},
	"operator": {Destination{Grant: iam.Grant{WriterRoleARN: writerRole}}, ""}, // the template to upload
	"nothing":  {Destination{}, ""},
	"awkward": {destination(func(d *Destination) {
		d.Prefix = awkwardPrefix
		d.RoleARN = `arn:aws:iam::111122223333:role/it's/"${HOME}"/%{if}/` + "`id`" + `\/audit-log-writer`
		d.KMSKeyARN = teamKey
	}), templateURL},
}

// awkwardPrefix has what each of the languages gives a meaning to, what does not show, and what YAML 1.1 takes for the end
// of a line.
const awkwardPrefix = "it's \"quoted\" & 100% \\ [a-z] #1/: - ünï 日本 🤖\u202e\u2028\ufeff;`id` --"

func documents(s auditdrain.Setup) map[string]string {
	return map[string]string{
		"trust-policy.json":       s.TrustPolicy,
		"permissions-policy.json": s.PermissionsPolicy,
		"key-policy.json":         s.KeyPolicyStatement,
		"cloudformation.yaml":     s.CloudFormation,
		"quick-create.url":        s.QuickCreateURL,
		"terraform.tf":            s.Terraform,
		"cli.sh":                  s.CLI,
		"athena.sql":              s.Athena,
		"duckdb.sql":              s.DuckDB,
	}
}

func TestGolden(t *testing.T) {
	for name, kit := range kits {
		t.Run(name, func(t *testing.T) {
			got := documents(Write(kit.destination, kit.templateURL))
			dir := filepath.Join("testdata", name)
			if *update {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range slices.Sorted(maps.Keys(got)) {
				path := filepath.Join(dir, file)
				if *update {
					if err := os.WriteFile(path, []byte(got[file]), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got[file]); diff != "" {
					t.Errorf("%s (go test -update writes it anew):\n%s", path, diff)
				}
			}
		})
	}
}

// What is known is no placeholder, and what is not known is one, or has to be given.
func TestPlaceholders(t *testing.T) {
	for name, kit := range kits {
		docs := documents(Write(kit.destination, kit.templateURL))
		for file, doc := range docs {
			for placeholder, value := range map[string]string{
				"<writer-role-arn>":     kit.destination.WriterRoleARN,
				"<external-id>":         kit.destination.ExternalID,
				"<bucket-name>":         kit.destination.Bucket,
				"<aws-region>":          kit.destination.Region,
				"<your-aws-account-id>": kit.destination.RoleARN,
				"<your-iam-role-arn>":   kit.destination.RoleARN,
				"<template-url>":        kit.templateURL,
			} {
				if value != "" && strings.Contains(doc, placeholder) {
					t.Errorf("%s/%s has the placeholder %s, but it is %q", name, file, placeholder, value)
				}
			}
		}
	}
	for file, placeholder := range map[string]string{
		"trust-policy.json":       "<external-id>",
		"permissions-policy.json": "<bucket-name>",
		"quick-create.url":        "<template-url>",
		"cli.sh":                  "${BUCKET:?",
		"athena.sql":              "<bucket-name>",
		"duckdb.sql":              "<aws-region>",
	} {
		if doc := documents(Write(Destination{}, ""))[file]; !strings.Contains(doc, placeholder) {
			t.Errorf("%s has no %s:\n%s", file, placeholder, doc)
		}
	}
}

// The template that operators give to all is nobody's in particular.
func TestTemplateForAll(t *testing.T) {
	template := Write(kits["operator"].destination, "").CloudFormation
	for _, parameter := range []string{"ExternalId", "BucketName", "BucketRegion"} {
		_, after, ok := strings.Cut(template, "\n  "+parameter+":\n")
		if !ok {
			t.Fatalf("no parameter %s", parameter)
		}
		for line := range strings.Lines(after) {
			if !strings.HasPrefix(line, "    ") {
				break
			}
			if strings.Contains(line, "Default:") {
				t.Errorf("%s has a default: %s", parameter, line)
			}
		}
	}
}

func TestDestinationOf(t *testing.T) {
	got := DestinationOf(auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://acme-audit-archive/audit-logs", Encoding: "json", RoleARN: teamRole, Region: "eu-central-1",
		ServerSideEncryption: "aws:kms", ObjectACL: "private",
	})
	want := destination(func(d *Destination) {
		d.WriterRoleARN, d.ExternalID = "", ""
		d.Encoding, d.Encryption, d.ACL, d.ObjectACL = "json", "aws:kms", "private", true
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
