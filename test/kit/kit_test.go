// Package kit proves that the CloudFormation template, the Terraform module and the AWS CLI script that auditdrain setup
// writes are valid, and grant exactly what its policies grant. It is a module of its own because of the parsers that this
// takes. Beside it, cloudformation.test.js has AWS's own validator look at the templates.
package kit

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// partitions has a region for each.
var partitions = map[string]string{"aws": "eu-central-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}

// eachDestination runs the test for every combination of place, key, ACL and partition.
func eachDestination(t *testing.T, test func(*testing.T, setup.Destination)) {
	for partition, region := range partitions {
		for _, prefix := range []string{"", "audit-logs", "a/it's \"quoted\" & 100% \\ 日本" + "\u2028x"} {
			for _, key := range []bool{false, true} {
				for _, acl := range []string{"", "bucket-owner-full-control"} {
					d := setup.Destination{
						Grant: iam.Grant{
							WriterRoleARN: "arn:" + partition + ":iam::977805900156:role/drain/writer",
							ExternalID:    "vercel-team:team_123",
							RoleARN:       "arn:" + partition + ":iam::" + account + ":role/acme/audit-log-writer",
							Bucket:        "acme-audit-archive",
							Prefix:        prefix,
							Region:        region,
							ObjectACL:     acl != "",
						},
						ACL: acl,
					}
					if key {
						d.KMSKeyARN = "arn:" + partition + ":kms:" + region + ":" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"
					}
					t.Run(fmt.Sprintf("%s prefix=%.10s key=%t acl=%s", partition, prefix, key, acl), func(t *testing.T) { test(t, d) })
				}
			}
		}
	}
}

// samePolicy compares two documents by what they mean.
func samePolicy(t *testing.T, what, want, got string) {
	t.Helper()
	w, err := iam.Parse([]byte(want))
	if err != nil {
		t.Fatalf("%s: %v in\n%s", what, err, want)
	}
	g, err := iam.Parse([]byte(got))
	if err != nil {
		t.Fatalf("%s: %v in\n%s", what, err, got)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

// beyondLatin1 is what IAM does not take in a policy but as JSON's escapes.
var beyondLatin1 = regexp.MustCompile(`[^\x00-\x{FF}]`)

// unescaped is g with a wildcard for each character of the prefix that a policy without JSON's escapes cannot have.
func unescaped(g iam.Grant) iam.Grant {
	g.Prefix = beyondLatin1.ReplaceAllString(g.Prefix, "?")
	return g
}

// document makes a policy of statements.
func document(statements ...string) string {
	return `{"Version": "2012-10-17", "Statement": [` + strings.Join(statements, ",") + `]}`
}

// What a key and a bucket that are made have to have besides.
func keyAdministration(partition string) string {
	return fmt.Sprintf(`{"Sid": "AdministeredByThisAccount", "Effect": "Allow", "Principal": {"AWS": "arn:%s:iam::%s:root"},
		"Action": "kms:*", "Resource": "*"}`, partition, account)
}

func tlsOnly(partition, bucket string) string {
	return fmt.Sprintf(`{"Sid": "DenyWithoutTLS", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
		"Resource": ["arn:%[1]s:s3:::%[2]s", "arn:%[1]s:s3:::%[2]s/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}`, partition, bucket)
}

func partitionOf(d setup.Destination) (name, suffix string) { return iam.Partition(d.Region) }

func TestCloudFormation(t *testing.T) {
	eachDestination(t, func(t *testing.T, d setup.Destination) {
		partition, suffix := partitionOf(d)
		s := stack{template: readTemplate(t, setup.Write(d, "").CloudFormation), partition: partition, urlSuffix: suffix, region: d.Region}
		if refused := s.refusals(); refused != nil {
			t.Fatal(refused)
		}
		samePolicy(t, "trust policy", d.TrustPolicy(), toJSON(t, s.properties("Role")["AssumeRolePolicyDocument"]))
		samePolicy(t, "permissions policy", unescaped(d.Grant).PermissionsPolicy(), toJSON(t, s.properties("WritePolicy")["PolicyDocument"]))
		if got := s.output("RoleArn"); got != d.RoleARN {
			t.Errorf("role %q, want %q", got, d.RoleARN)
		}
		for _, name := range []string{"Bucket", "BucketPolicy", "Key"} {
			if s.resource(name) != nil {
				t.Errorf("%s is made without being asked for", name)
			}
		}
		statement := s.output("KeyPolicyStatement")
		if d.KMSKeyARN != "" {
			samePolicy(t, "key policy", document(d.KeyPolicyStatement()), document(statement.(string)))
		} else if statement != nil {
			t.Errorf("a key policy without a key: %s", statement)
		}

		s.parameters = map[string]any{"CreateBucket": "true", "ObjectLock": "true", "ObjectLockDays": 30}
		if d.KMSKeyARN == "" {
			s.parameters["CreateKey"], s.parameters["BucketEncryption"] = "true", "aws:kms"
			d.KMSKeyARN = s.attribute("Key", "Arn")
			samePolicy(t, "policy of a new key", document(keyAdministration(partition), d.KeyPolicyStatement()), toJSON(t, s.properties("Key")["KeyPolicy"]))
			if s.properties("Key")["EnableKeyRotation"] != true {
				t.Error("the key is not rotated")
			}
		}
		if refused := s.refusals(); refused != nil {
			t.Fatal(refused)
		}
		samePolicy(t, "permissions policy with a key", unescaped(d.Grant).PermissionsPolicy(), toJSON(t, s.properties("WritePolicy")["PolicyDocument"]))
		samePolicy(t, "bucket policy", document(tlsOnly(partition, d.Bucket)), toJSON(t, s.properties("BucketPolicy")["PolicyDocument"]))
		want := map[string]any{
			"BucketName": d.Bucket,
			"PublicAccessBlockConfiguration": map[string]any{
				"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true},
			"OwnershipControls":       map[string]any{"Rules": []any{map[string]any{"ObjectOwnership": "BucketOwnerEnforced"}}},
			"VersioningConfiguration": map[string]any{"Status": "Enabled"},
			"BucketEncryption": map[string]any{"ServerSideEncryptionConfiguration": []any{map[string]any{
				"ServerSideEncryptionByDefault": map[string]any{"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": d.KMSKeyARN},
				"BucketKeyEnabled":              true,
			}}},
			"ObjectLockEnabled": true,
			"ObjectLockConfiguration": map[string]any{"ObjectLockEnabled": "Enabled",
				"Rule": map[string]any{"DefaultRetention": map[string]any{"Mode": "GOVERNANCE", "Days": 30}}},
		}
		if diff := cmp.Diff(want, s.properties("Bucket")); diff != "" {
			t.Error(diff)
		}
		for _, name := range []string{"Bucket", "BucketPolicy", "Key"} {
			r := s.section("Resources")[name].(map[string]any)
			if r["DeletionPolicy"] != "Retain" || r["UpdateReplacePolicy"] != "Retain" {
				t.Errorf("%s goes with the stack", name)
			}
		}
	})
}

// The template without anybody's values is refused until it has them, and one template does for all: the values of a link
// make it the same as one that was written with them.
func TestCloudFormationForAll(t *testing.T) {
	eachDestination(t, func(t *testing.T, d setup.Destination) {
		partition, suffix := partitionOf(d)
		s := stack{template: readTemplate(t, setup.Write(setup.Destination{}, "").CloudFormation), partition: partition, urlSuffix: suffix, region: d.Region}
		if got := s.refusals(); len(got) < 4 {
			t.Errorf("refused for %q only", got)
		}
		s.parameters = linkParameters(t, setup.Write(d, "").QuickCreateURL)
		if refused := s.refusals(); refused != nil {
			t.Fatal(refused)
		}
		samePolicy(t, "trust policy", d.TrustPolicy(), toJSON(t, s.properties("Role")["AssumeRolePolicyDocument"]))
		samePolicy(t, "permissions policy", unescaped(d.Grant).PermissionsPolicy(), toJSON(t, s.properties("WritePolicy")["PolicyDocument"]))
		if got := s.output("RoleArn"); got != d.RoleARN {
			t.Errorf("role %q, want %q", got, d.RoleARN)
		}
	})
}

// What cannot work is refused before anything is made.
func TestCloudFormationRules(t *testing.T) {
	d := setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme", Region: "eu-central-1"}}
	base := stack{template: readTemplate(t, setup.Write(d, "").CloudFormation), partition: "aws", urlSuffix: "amazonaws.com", region: "eu-central-1"}
	const key = "arn:aws:kms:eu-central-1:111122223333:key/k"
	for name, tc := range map[string]struct {
		parameters map[string]any
		region     string
		want       string // "" is fine
	}{
		"role only":                 {nil, "eu-central-1", ""},
		"role only, anywhere":       {nil, "us-east-1", ""},
		"bucket":                    {map[string]any{"CreateBucket": "true"}, "eu-central-1", ""},
		"bucket in another region":  {map[string]any{"CreateBucket": "true"}, "us-east-1", "in the region of the stack"},
		"bucket without ACLs":       {map[string]any{"CreateBucket": "true", "ObjectAcl": "private"}, "eu-central-1", "ACLs disabled"},
		"ACL in a bucket of theirs": {map[string]any{"ObjectAcl": "private"}, "eu-central-1", ""},
		"key":                       {map[string]any{"CreateKey": "true", "CreateBucket": "true", "BucketEncryption": "aws:kms:dsse"}, "eu-central-1", ""},
		"key without bucket":        {map[string]any{"CreateKey": "true", "BucketEncryption": "aws:kms"}, "eu-central-1", "Set CreateBucket"},
		"key without use":           {map[string]any{"CreateKey": "true", "CreateBucket": "true"}, "eu-central-1", "AES256 uses no key"},
		"two keys":                  {map[string]any{"CreateKey": "true", "CreateBucket": "true", "BucketEncryption": "aws:kms", "KmsKeyArn": key}, "eu-central-1", "Either make a key or name one"},
		"their key without use":     {map[string]any{"CreateBucket": "true", "KmsKeyArn": key}, "eu-central-1", "AES256 uses no key"},
		"alias":                     {map[string]any{"KmsKeyArn": "arn:aws:kms:eu-central-1:111122223333:alias/a"}, "eu-central-1", "KmsKeyArn"},
		"wildcard external ID":      {map[string]any{"ExternalId": "vercel-team:*"}, "eu-central-1", "ExternalId"},
		"wildcard prefix":           {map[string]any{"Prefix": "a*"}, "eu-central-1", "Prefix"},
		"prefix with a variable":    {map[string]any{"Prefix": "${aws:x}"}, "eu-central-1", "Prefix"},
		"prefix beyond U+00FF":      {map[string]any{"Prefix": "a/日本"}, "eu-central-1", "Prefix"},
		"prefix up to U+00FF":       {map[string]any{"Prefix": "ÿ/??/[~|z]"}, "eu-central-1", ""},
		"prefix with slash":         {map[string]any{"Prefix": "a/"}, "eu-central-1", "Prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			s := base
			s.parameters, s.region = tc.parameters, tc.region
			got := strings.Join(s.refusals(), "\n")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("refused for %q, want %q", got, tc.want)
			}
		})
	}
}
