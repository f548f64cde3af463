package policycheck

import (
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// TestSteps breaks one thing at a time.
func TestSteps(t *testing.T) {
	const (
		allowed = auditdrain.PolicyAllowed
		denied  = auditdrain.PolicyDenied
		unknown = auditdrain.PolicyUnknown
	)
	write := func(oldNew ...string) func(Drain) string { return replaced(iam.Grant.WriteStatement, oldNew...) }
	encrypt := func(oldNew ...string) func(Drain) string { return replaced(iam.Grant.EncryptStatement, oldNew...) }
	useKey := func(oldNew ...string) func(Drain) string { return replaced(iam.Grant.KeyPolicyStatement, oldNew...) }
	trust := func(oldNew ...string) func(Drain) string { return replaced(iam.Grant.TrustPolicy, oldNew...) }
	fixed := func(text string) func(Drain) string { return func(Drain) string { return text } }
	policy := func(all ...func(Drain) string) func(Drain) string {
		return func(d Drain) string {
			var texts []string
			for _, s := range all {
				texts = append(texts, s(d))
			}
			return statements(texts...)
		}
	}
	const anyBucket = `"arn:aws:s3:::acme/*"`

	tests := []struct {
		name  string
		drain func(*Drain)
		// the documents that are not as they should be
		trust, permissions, more, boundary, bucket, key func(Drain) string

		step   string
		result auditdrain.PolicyResult
		reason string // part of it
		near   string // part of the first near miss
		edit   string // line that its patches add or remove; "none": there is none
		set    string // field=value
	}{
		{name: "all as it should be", step: "testObject", result: allowed, reason: `Statement 1 ("AllowS3Writes", line 4) of permissions.json allows it.`},
		{name: "all as it should be, trust", step: "assumeRole", result: allowed, reason: "Statement 1 (line 4) of trust.json allows it."},
		{name: "all as it should be, key", drain: withKey, step: "dataKey", result: allowed, reason: `("AllowVercelDrainRoleToUseKeyViaS3", line 1) of key.json allows it.`},
		{name: "all as it should be, ACL", drain: withACL, step: "objectAcl", result: allowed},
		{name: "bucket root", drain: at("s3://acme"), step: "testObject", result: allowed},

		{name: "principal", trust: trust(writerARN, "arn:aws:iam::977805900156:role/another"),
			step: "assumeRole", result: denied, reason: `No statement of trust.json allows sts:AssumeRole to ` + writerARN + ` with external ID "vercel-team:team_123".`,
			near: `Principal "arn:aws:iam::977805900156:role/another" is not "` + writerARN + `"`,
			edit: `+        "AWS": "` + writerARN + `"`},
		{name: "principal of another account", trust: trust(writerARN, "arn:aws:iam::222222222222:role/vercel-drains-s3-writer"),
			step: "assumeRole", result: denied, edit: `+        "AWS": "` + writerARN + `"`},
		{name: "principal is a session", trust: trust(writerARN, "arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/i-1"),
			step: "assumeRole", result: denied, edit: `+        "AWS": "` + writerARN + `"`},
		{name: "deleted principal", trust: trust(writerARN, "AROAEXAMPLEEXAMPLE12"),
			step: "assumeRole", result: denied, near: "was deleted", edit: `-        "AWS": "AROAEXAMPLEEXAMPLE12"`},
		{name: "principal is a service", trust: trust(`"AWS": "`+writerARN, `"Service": "lambda.amazonaws.com`),
			step: "assumeRole", result: denied, edit: `+    },`},
		{name: "external ID", trust: trust(externalID, "vercel-team:team_124"),
			step: "assumeRole", result: denied,
			near: `Condition StringEquals sts:ExternalId wants "vercel-team:team_124", and the request has "vercel-team:team_123"`,
			edit: "+    },\n+    {\n"},
		{name: "external ID of no team", trust: trust(externalID, "<external-id>"),
			step: "assumeRole", result: denied, edit: `make the condition on sts:ExternalId "vercel-team:team_123" in place of "<external-id>".`},
		{name: "principal without an external ID", trust: fixed(statements(`{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::977805900156:role/old"}, "Action": "sts:AssumeRole"}`)),
			step: "assumeRole", result: denied, edit: `"Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_123"}}}]`},
		{name: "principal with any external ID", trust: trust(writerARN, "arn:aws:iam::977805900156:role/old", "StringEquals", "StringLike", externalID, "*"),
			step: "assumeRole", result: denied, edit: `+        "StringEquals": {`},
		{name: "somebody else without an external ID", trust: fixed(statements(`{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:role/vendor"}, "Action": "sts:AssumeRole"}`)),
			step: "assumeRole", result: denied, edit: `"AWS": "arn:aws:iam::222222222222:role/vendor"}, "Action": "sts:AssumeRole"}, {`},
		{name: "somebody else with any external ID", trust: trust(writerARN, "arn:aws:iam::222222222222:role/vendor", "StringEquals", "StringLike", externalID, "*"),
			step: "assumeRole", result: denied, edit: "+    },\n+    {\n"},
		{name: "action without an external ID", trust: fixed(statements(`{"Effect": "Allow", "Principal": {"AWS": "` + writerARN + `"}, "Action": "sts:TagSession"}`)),
			step: "assumeRole", result: denied, edit: `"sts:TagSession"}, {`},
		{name: "Deny over what is dangerous", trust: fixed(statements(`{"Effect": "Allow", "Principal": {"AWS": "`+writerARN+`"}, "Action": "sts:AssumeRole"}`,
			`{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}`)),
			step: "assumeRole", result: denied, edit: `"sts:ExternalId": "vercel-team:team_123"`},
		{name: "external IDs of two other teams", trust: trust(`"vercel-team:team_123"`, `["vercel-team:team_1", "vercel-team:team_2"]`),
			step: "assumeRole", result: denied, edit: "+    },\n+    {\n"},
		{name: "two external IDs", trust: trust(`"vercel-team:team_123"`, `["a", "b"]`),
			step: "assumeRole", result: denied, edit: `+          "sts:ExternalId": ["a", "b", "vercel-team:team_123"]`},
		{name: "pattern for another team", trust: trust("StringEquals", "StringLike", externalID, "acme-*"),
			step: "assumeRole", result: denied, edit: `+        "StringEquals": {`},
		{name: "a vendor's statement", trust: trust(writerARN, "arn:aws:iam::222222222222:root", externalID, "other"),
			step: "assumeRole", result: denied, edit: `+          "sts:ExternalId": "vercel-team:team_123"`},
		{name: "action", trust: trust("sts:AssumeRole", "sts:TagSession"),
			step: "assumeRole", result: denied, near: `Action "sts:TagSession" does not include "sts:AssumeRole"`,
			edit: `+      "Action": ["sts:TagSession", "sts:AssumeRole"],`},
		{name: "no trust", trust: fixed("-"), step: "assumeRole", result: unknown, reason: "No trust policy was given, which would decide.", edit: "none"},
		{name: "MFA", trust: trust(`"StringEquals"`, `"Bool": {"aws:MultiFactorAuthPresent": "true"}, "StringEquals"`),
			step: "assumeRole", result: denied, near: `Condition Bool aws:MultiFactorAuthPresent wants "true", and the request has "false"`, edit: `+    },`},
		{name: "MFA of a user", drain: asUser, trust: trust(`"StringEquals"`, `"Null": {"aws:MultiFactorAuthPresent": "true", "aws:TokenIssueTime": "true"}, "StringEquals"`),
			step: "assumeRole", result: allowed},
		{name: "Deny without MFA", drain: asUser, trust: policy(func(d Drain) string { return grantOf(d).TrustStatement() },
			fixed(`{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}`)),
			step: "assumeRole", result: allowed},
		{name: "source identity", trust: trust(`"StringEquals"`, `"StringLike": {"aws:SourceIdentity": "*"}, "StringEquals"`),
			step: "assumeRole", result: unknown, reason: "aws:SourceIdentity, which is not known here"},
		{name: "federated provider", trust: trust(`"StringEquals"`, `"Null": {"aws:FederatedProvider": "true"}, "StringEquals"`),
			step: "assumeRole", result: unknown, reason: "aws:FederatedProvider, which is not known here"},
		{name: "trust by source address", trust: trust(`"StringEquals"`, `"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "StringEquals"`),
			step: "assumeRole", result: unknown, reason: "Statement 1 (line 4) of trust.json allows it depending on aws:SourceIp, which is not known here.", edit: "none"},
		{name: "trust by session name", trust: trust(`"StringEquals"`, `"StringLike": {"sts:RoleSessionName": "auditdrain-*"}, "StringEquals"`),
			step: "assumeRole", result: allowed},
		{name: "trust by full session name", trust: trust(`"StringEquals"`, `"StringLike": {"sts:RoleSessionName": "auditdrain-drn_*"}, "StringEquals"`),
			step: "assumeRole", result: unknown, reason: "sts:RoleSessionName"},
		{name: "revoked sessions", trust: trust(`"StringEquals"`, `"DateGreaterThan": {"aws:TokenIssueTime": "2026-05-01T00:00:00Z"}, "StringEquals"`), step: "assumeRole", result: allowed},
		{name: "Deny by external ID", trust: policy(func(d Drain) string { return grantOf(d).TrustStatement() },
			fixed(`{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringNotEquals": {"sts:ExternalId": "vercel-team:team_1"}}}`)),
			step: "assumeRole", result: denied, reason: `by its condition StringNotEquals sts:ExternalId "vercel-team:team_1" (the request has "vercel-team:team_123")`,
			edit: `["vercel-team:team_1", "vercel-team:team_123"]`},

		{name: "action missing", permissions: policy(write("s3:PutObject", "s3:GetObject")),
			step: "putObject", result: denied, reason: "No statement of permissions.json allows s3:PutObject on arn:aws:s3:::acme/audit-logs/schema=audit_log/…",
			near: `Action "s3:GetObject" does not include "s3:PutObject"`, edit: `+    "s3:PutObject"`},
		{name: "action missing where more is allowed", permissions: policy(fixed(`{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}`)),
			step: "putObject", result: denied, edit: `"AllowS3Writes"`},
		{name: "ACL action missing", drain: withACL, permissions: policy(fixed(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/audit-logs/*"}`)),
			step: "objectAcl", result: denied, edit: `"Action": ["s3:PutObject", "s3:PutObjectAcl"]`},
		{name: "ACL action missing for test objects", drain: withACL, permissions: policy(
			fixed(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/audit-logs/*"}`),
			fixed(`{"Effect": "Allow", "Action": "s3:PutObjectAcl", "Resource": "arn:aws:s3:::acme/audit-logs/schema=*"}`)),
			step: "objectAcl", result: denied, reason: "acme/audit-logs/test/…"},
		{name: "another prefix", permissions: policy(write("acme/audit-logs/*", "acme/logs/*")),
			step: "testObject", result: denied, near: `Resource "arn:aws:s3:::acme/logs/*" does not match "arn:aws:s3:::acme/audit-logs/test/…"`,
			edit: `"Resource": "arn:aws:s3:::acme/audit-logs/*"`},
		{name: "bucket without its objects", permissions: policy(write("acme/audit-logs/*", "acme")),
			step: "putObject", result: denied, edit: `"Resource": "arn:aws:s3:::acme/audit-logs/*"`},
		{name: "one of several resources", permissions: policy(write(`"arn:aws:s3:::acme/audit-logs/*"`, `["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"]`)),
			step: "putObject", result: denied, edit: `["arn:aws:s3:::a/*", "arn:aws:s3:::b/*", "arn:aws:s3:::acme/audit-logs/*"]`},
		{name: "root, policy for a prefix", drain: at("s3://acme"), permissions: policy(write("acme/*", "acme/schema=audit_log/*")),
			step: "testObject", result: denied, edit: `"Resource": "arn:aws:s3:::acme/*"`},
		{name: "test objects only missing", permissions: policy(write("audit-logs/*", "audit-logs/schema=*")),
			step: "putObject", result: allowed},
		{name: "test objects missing", permissions: policy(write("audit-logs/*", "audit-logs/schema=*")),
			step: "testObject", result: denied, edit: `"Resource": "arn:aws:s3:::acme/audit-logs/*"`},
		{name: "China", drain: func(d *Drain) {
			d.Delivery.Region, d.Delivery.RoleARN = "cn-north-1", "arn:aws-cn:iam::111122223333:role/drain"
		},
			permissions: policy(write("arn:aws-cn:", "arn:aws:")), step: "putObject", result: denied, edit: "arn:aws-cn:s3:::acme/audit-logs/*"},
		{name: "no permissions", permissions: fixed("-"), step: "putObject", result: unknown, reason: "No permissions policy was given"},
		{name: "no permissions, bucket policy", permissions: fixed("-"),
			bucket: policy(fixed(`{"Effect": "Allow", "Principal": {"AWS": "` + roleARN + `"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/audit-logs/*"}`)),
			step:   "putObject", result: allowed, reason: "of bucket.json allows it"},
		{name: "two permissions policies", permissions: policy(fixed(`{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}`)),
			more: policy(write("s3:PutObject", "s3:PutObject*")), step: "putObject", result: allowed, reason: "of more.json"},
		{name: "permissions of a user's variable", permissions: policy(write("audit-logs", "${aws:username}")), step: "putObject", result: denied},
		{name: "permissions by tag", permissions: policy(write("audit-logs", "${aws:PrincipalTag/team}")),
			step: "putObject", result: unknown, reason: "aws:PrincipalTag/team", edit: "none"},
		{name: "Deny in permissions", permissions: policy(write("x", "x", "PutObject", "PutObject*"), fixed(`{"Sid": "NoWrites", "Effect": "Deny", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": "*"}`)),
			step: "putObject", result: denied, reason: `Statement 2 ("NoWrites", line 8) of permissions.json denies it`, edit: `"Action": ["s3:DeleteObject"]`},
		{name: "wide Deny in permissions", more: policy(fixed(`{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}`)),
			step: "putObject", result: denied, edit: `+{"Version": "2012-10-17", "Statement": [{`},
		{name: "Deny of all others in permissions", more: policy(fixed(`{"Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::other/*"}`)),
			step: "putObject", result: denied, edit: `"NotResource": ["arn:aws:s3:::other/*", "arn:aws:s3:::acme/audit-logs/*"]`},
		{name: "Deny of all other actions", more: policy(fixed(`{"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"}`)),
			step: "putObject", result: denied, edit: `"NotAction": ["iam:*", "s3:PutObject"]`},

		{name: "boundary", boundary: policy(fixed(`{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`)),
			step: "putObject", result: denied, reason: "No statement of boundary.json allows s3:PutObject", edit: `AllowS3Writes`},
		{name: "boundary that allows", boundary: policy(fixed(`{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}`)), step: "putObject", result: allowed},
		{name: "boundary with Deny", boundary: policy(fixed(`{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}`), fixed(`{"Effect": "Deny", "Action": "s3:Put*", "Resource": "*"}`)),
			step: "putObject", result: denied, reason: "of boundary.json denies it"},

		{name: "bucket denies others", bucket: policy(fixed(`{"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::111122223333:role/admin"}, "Action": "s3:*", "Resource": ` + anyBucket + `}`)),
			step: "putObject", result: denied, reason: `denies it to everybody but "arn:aws:iam::111122223333:role/admin"`, edit: `"ArnNotEquals": {"aws:PrincipalArn": "` + roleARN + `"}`},
		{name: "bucket denies other principals", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/admin"}}}`)),
			step: "putObject", result: denied, edit: `["arn:aws:iam::111122223333:role/admin", "` + roleARN + `"]`},
		{name: "bucket denies writes", bucket: policy(fixed(`{"Sid": "ReadOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": ` + anyBucket + `}`)),
			step: "testObject", result: denied, edit: `"ArnNotEquals": {"aws:PrincipalArn": "` + roleARN + `"}`},
		{name: "TLS only", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}`)),
			step: "putObject", result: allowed},
		{name: "TLS 1.2", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"NumericLessThan": {"s3:TlsVersion": 1.2}}}`)),
			step: "putObject", result: allowed},
		{name: "TLS 1.3", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.3"}}}`)),
			step: "putObject", result: unknown, reason: "s3:TlsVersion"},
		{name: "VPC endpoint", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}`)),
			step: "putObject", result: unknown, reason: "Statement 1 (line 1) of bucket.json denies it depending on aws:SourceVpce, which is not known here.", edit: "none"},
		{name: "bucket demands encryption", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}}`)),
			step: "putObject", result: denied, reason: `(the request has none)`, set: "serverSideEncryption=aws:kms", edit: "none"},
		{name: "bucket demands encryption, any", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}}`)),
			step: "putObject", result: denied, set: "serverSideEncryption=aws:kms", edit: "none"},
		{name: "bucket demands encryption, and forbids one", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": `+anyBucket+`, "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}}`),
			fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/audit-logs/test/*", "Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}}`)),
			step: "putObject", result: denied, set: "serverSideEncryption=AES256", edit: "none"},
		{name: "bucket demands S3's own encryption", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}}}`)),
			step: "putObject", result: denied, set: "serverSideEncryption=AES256", edit: "none"},
		{name: "bucket forbids the header", drain: func(d *Drain) { d.Delivery.ServerSideEncryption = "AES256" },
			bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"Null": {"s3:x-amz-server-side-encryption": "false"}}}`)),
			step:   "putObject", result: denied, set: "serverSideEncryption=", edit: "none"},
		{name: "bucket demands an ACL", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}}`)),
			step: "putObject", result: denied, reason: `With objectAcl "bucket-owner-full-control" the drain needs further permissions: s3:PutObjectAcl.`,
			set: "objectAcl=bucket-owner-full-control", edit: "none"},
		{name: "bucket demands no other ACL", drain: func(d *Drain) { d.Delivery.ObjectACL = "private" },
			bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"StringEquals": {"s3:x-amz-acl": "private"}}}`)),
			step:   "putObject", result: denied, reason: `(the request has "private").`, set: "objectAcl=bucket-owner-full-control", edit: "none"},
		{name: "bucket demands a key", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "` + keyARN + `"}}}`)),
			step: "putObject", result: denied, edit: `"ArnNotEquals": {"aws:PrincipalArn": "` + roleARN + `"}`},
		{name: "bucket demands conditional writes", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": ` + anyBucket + `, "Condition": {"Null": {"s3:if-none-match": "true"}}}`)),
			step: "putObject", result: allowed},
		{name: "bucket demands signed payloads", bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ` + anyBucket + `, "Condition": {"StringEquals": {"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"}}}`)),
			step: "putObject", result: allowed},
		{name: "Deny and nothing that allows", permissions: policy(fixed(`{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`)),
			bucket: policy(fixed(`{"Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": ` + anyBucket + `}`)),
			step:   "putObject", result: denied, edit: `"AllowS3Writes"`},
		{name: "role allowed by an ACL condition", permissions: policy(write(`"Resource"`, `"Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}, "Resource"`)),
			step: "putObject", result: denied, set: "objectAcl=bucket-owner-full-control"},

		{name: "KMS statement missing", drain: withKey, permissions: policy(write("x", "x", "PutObject", "PutObject*")), key: policy(fixed(rootMayAll())),
			step: "dataKey", result: denied, reason: "No statement of permissions.json allows kms:GenerateDataKey on " + keyARN, edit: `"AllowKmsForS3Writes"`},
		{name: "key policy lets the role", drain: withKey, permissions: policy(write("x", "x", "PutObject", "PutObject*")), step: "dataKey", result: allowed},
		{name: "another key", drain: withKey, key: policy(fixed(rootMayAll())), permissions: policy(write("x", "x", "PutObject", "PutObject*"), encrypt("1234abcd", "99999999")),
			step: "dataKey", result: denied, near: "does not match", edit: `"Resource": "` + keyARN},
		{name: "alias", drain: withKey, key: policy(fixed(rootMayAll())), permissions: policy(write("x", "x", "PutObject", "PutObject*"), encrypt("key/1234abcd-12ab-34cd-56ef-1234567890ab", "alias/logs")),
			step: "dataKey", result: denied, edit: `"Resource": "` + keyARN},
		{name: "ViaService of another region", drain: withKey, key: policy(fixed(rootMayAll())), permissions: policy(write("x", "x", "PutObject", "PutObject*"), encrypt("s3.eu-central-1", "s3.us-east-1")),
			step: "dataKey", result: denied, near: `kms:ViaService wants "s3.us-east-1.amazonaws.com"`, edit: `"kms:ViaService": "s3.eu-central-1.amazonaws.com"`},
		{name: "KMS action", drain: withKey, key: policy(fixed(rootMayAll())), permissions: policy(write("x", "x", "PutObject", "PutObject*"), encrypt("GenerateDataKey", "Decrypt")),
			step: "dataKey", result: denied, edit: `"Action": ["kms:Decrypt", "kms:GenerateDataKey"]`},
		{name: "key policy of another role", drain: withKey, key: policy(useKey("role/drain", "role/other")),
			step: "dataKey", result: denied, reason: "No statement of key.json allows kms:GenerateDataKey to " + roleARN + " through s3.eu-central-1.amazonaws.com",
			near: `Principal "arn:aws:iam::111122223333:role/other" is not "` + roleARN, edit: `["arn:aws:iam::111122223333:role/other", "` + roleARN + `"]`},
		{name: "key policy of a deleted role", drain: withKey, key: policy(useKey(roleARN, "AROAEXAMPLEEXAMPLE12")),
			step: "dataKey", result: denied, edit: `"AWS": "` + roleARN},
		{name: "key policy through another region", drain: withKey, key: policy(useKey("s3.eu-central-1", "s3.us-east-1")),
			step: "dataKey", result: denied, edit: `"kms:ViaService": "s3.eu-central-1.amazonaws.com"`},
		{name: "key policy of another account", drain: withKey, key: policy(useKey(`"kms:CallerAccount": "111122223333"`, `"kms:CallerAccount": "222222222222"`)),
			step: "dataKey", result: denied, edit: `"kms:CallerAccount": "111122223333"`},
		{name: "key policy without the role", drain: withKey, key: policy(fixed(strings.ReplaceAll(rootMayAll(), ":root", ":role/admin"))),
			step: "dataKey", result: denied, edit: `"AllowVercelDrainRoleToUseKeyViaS3"`},
		{name: "key denies", drain: withKey, key: policy(fixed(rootMayAll()), fixed(`{"Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey*", "Resource": "*"}`)),
			step: "dataKey", result: denied, reason: "Statement 2 (line 1) of key.json denies it"},
		{name: "key by encryption context", drain: withKey, key: policy(useKey(`"StringEquals"`, `"StringLike": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::acme*"}, "StringEquals"`)),
			step: "dataKey", result: allowed},
		{name: "key by encryption context of objects", drain: withKey, key: policy(useKey(`"StringEquals"`, `"StringLike": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::acme/*"}, "StringEquals"`)),
			step: "dataKey", result: unknown, reason: "kms:EncryptionContext:aws:s3:arn"},
		{name: "no key policy", drain: withKey, key: fixed("-"), step: "dataKey", result: unknown, reason: "No key policy was given"},
		{name: "key of another account", drain: func(d *Drain) { d.KMSKeyARN = strings.Replace(keyARN, "111122223333", "222222222222", 1) },
			permissions: policy(write("x", "x", "PutObject", "PutObject*")), step: "dataKey", result: denied, reason: "permissions.json", edit: `"AllowKmsForS3Writes"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := testDrain().with(tt.drain)
			text := func(f func(Drain) string) string {
				if f == nil {
					return ""
				}
				return f(d)
			}
			docs := policies{text(tt.trust), text(tt.permissions), text(tt.more), text(tt.boundary), text(tt.bucket), text(tt.key)}.documents(d)
			r := mustCheck(t, d, docs)
			s := stepOf(t, r, tt.step)
			if s.Result != tt.result || !strings.Contains(s.Reason, tt.reason) {
				t.Errorf("%s: %s, want %s\nbecause %s\nwant    %s", tt.step, s.Result, tt.result, s.Reason, tt.reason)
			}
			if tt.near != "" && (len(s.Near) == 0 || !strings.Contains(s.Near[0].Reason, tt.near)) {
				t.Errorf("near misses %+v, want %s", s.Near, tt.near)
			}
			var patches string
			for _, e := range s.Edits {
				patches += e.Summary + "\n" + e.Patch
			}
			switch {
			case tt.edit == "none" && s.Edits != nil:
				t.Errorf("edits, want none:\n%s", patches)
			case tt.edit != "none" && !strings.Contains(patches, tt.edit):
				t.Errorf("no edit with %s:\n%s", tt.edit, patches)
			}
			set := ""
			if s.Setting != nil {
				set = s.Setting.Field + "=" + s.Setting.Value
			}
			if set != tt.set {
				t.Errorf("setting %q, want %q", set, tt.set)
			}
			if tt.result != unknown {
				checkEdits(t, d, docs)
			}
		})
	}
}
