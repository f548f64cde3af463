package policycheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// TestWarnings has policies that work, and more than that.
func TestWarnings(t *testing.T) {
	const objects = `"arn:aws:s3:::acme/audit-logs/*"`
	trust := func(principal, rest string) string {
		return statements(`{"Effect": "Allow", "Principal": ` + principal + `, "Action": "sts:AssumeRole"` + rest + `}`)
	}
	permissions := func(action, resource string) string {
		return statements(`{"Effect": "Allow", "Action": ` + action + `, "Resource": ` + resource + `}`)
	}
	const (
		writer = `{"AWS": "` + writerARN + `"}`
		withID = `, "Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_123"}}`
		via    = `"kms:ViaService": "s3.eu-central-1.amazonaws.com"`
		caller = `"kms:CallerAccount": "111122223333"`
	)
	id := func(operator, value string) string {
		return fmt.Sprintf(`, "Condition": {"%s": {"sts:ExternalId": %s}}`, operator, value)
	}
	kms := func(action, resource, conditions string) string {
		return statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": `+objects+`}`,
			`{"Effect": "Allow", "Action": `+action+`, "Resource": `+resource+conditions+`}`)
	}
	equals := func(conditions string) string { return `, "Condition": {"StringEquals": {` + conditions + `}}` }
	key := func(principal, action, conditions string) string {
		return statements(rootMayAll(), `{"Effect": "Allow", "Principal": `+principal+`, "Action": `+action+`, "Resource": "*"`+conditions+`}`)
	}
	const role = `{"AWS": "` + roleARN + `"}`

	tests := []struct {
		name     string
		drain    func(*Drain)
		policies policies
		want     string // codes, dangerous ones with "!"
		edit     string // part of the first warning's patch
	}{
		{name: "no condition", policies: policies{trust: trust(writer, "")}, want: "missing_external_id!", edit: `"Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_123"}}`},
		{name: "another condition", policies: policies{trust: trust(writer, `, "Condition": {"Bool": {"aws:SecureTransport": "true"}}`)}, want: "missing_external_id!", edit: `"StringEquals": {"sts:ExternalId"`},
		{name: "any team", policies: policies{trust: trust(writer, id("StringLike", `"vercel-team:*"`))}, want: "wildcard_external_id!", edit: `"StringEquals": {"sts:ExternalId": "vercel-team:team_123"}`},
		{name: "any ID", policies: policies{trust: trust(writer, id("StringLike", `"*"`))}, want: "wildcard_external_id!"},
		{name: "teams that begin so", policies: policies{trust: trust(writer, id("StringLike", `"vercel-team:team_12*"`))}, want: "wildcard_external_id!"},
		{name: "question mark", policies: policies{trust: trust(writer, id("StringLike", `"vercel-team:team_?23"`))}, want: "wildcard_external_id!"},
		{name: "pattern beside the ID", policies: policies{trust: trust(writer, id("StringLike", `["vercel-team:team_123", "vercel-team:*"]`))}, want: "wildcard_external_id!"},
		{name: "StringLike without a wildcard", policies: policies{trust: trust(writer, id("StringLike", `"vercel-team:team_123"`))}, want: ""},
		{name: "no case", policies: policies{trust: trust(writer, id("StringEqualsIgnoreCase", `"vercel-team:team_123"`))}, want: "wildcard_external_id!"},
		{name: "all but another", policies: policies{trust: trust(writer, id("StringNotEquals", `"vercel-team:team_1"`))}, want: "optional_external_id!"},
		{name: "IfExists", policies: policies{trust: trust(writer, id("StringEqualsIfExists", `"vercel-team:team_123"`))}, want: "optional_external_id!"},
		{name: "ForAllValues", policies: policies{trust: trust(writer, id("ForAllValues:StringEquals", `"vercel-team:team_123"`))}, want: "optional_external_id!"},
		{name: "any, if there is one", policies: policies{trust: trust(writer, id("Null", `"false"`))}, want: "wildcard_external_id!"},
		{name: "Null and equal", policies: policies{trust: trust(writer, `, "Condition": {"Null": {"sts:ExternalId": "false"}, "ForAllValues:StringEquals": {"sts:ExternalId": "vercel-team:team_123"}}`)}, want: ""},
		{name: "two teams", policies: policies{trust: trust(writer, id("StringEquals", `["vercel-team:team_123", "vercel-team:team_124"]`))}, want: ""},
		{name: "required by a Deny", policies: policies{trust: statements(`{"Effect": "Allow", "Principal": `+writer+`, "Action": "sts:AssumeRole"}`,
			`{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringNotEquals": {"sts:ExternalId": "vercel-team:team_123"}}}`)}, want: ""},
		{name: "beside an administrator", policies: policies{trust: trust(`{"AWS": ["arn:aws:iam::111122223333:role/admin", "`+writerARN+`"]}`, "")}, want: "missing_external_id!", edit: `"Principal": {"AWS": ["arn:aws:iam::111122223333:role/admin"]}`},
		{name: "everybody", policies: policies{trust: trust(`"*"`, withID)}, want: "any_principal!", edit: `"Principal": {"AWS": "` + writerARN + `"}`},
		{name: "everybody in a list", policies: policies{trust: trust(`{"AWS": ["*"]}`, withID)}, want: "any_principal!", edit: `"Principal": {"AWS": ["` + writerARN + `"]}`},
		{name: "everybody who is the writer", policies: policies{trust: trust(`"*"`, `, "Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_123", "aws:PrincipalArn": "`+writerARN+`"}}`)}, want: ""},
		{name: "everybody of an organization", policies: policies{trust: statements(grantOf(testDrain()).TrustStatement(), `{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}`)}, want: "missing_external_id!", edit: "none"},
		{name: "everybody who is the writer, for any team", policies: policies{trust: trust(`"*"`, `, "Condition": {"StringEquals": {"aws:PrincipalArn": "`+writerARN+`"}}`)}, want: "missing_external_id!", edit: `"aws:PrincipalArn": "` + writerARN + `", "sts:ExternalId": "vercel-team:team_123"`},
		{name: "somebody else, without an external ID", policies: policies{trust: statements(grantOf(testDrain()).TrustStatement(), `{"Effect": "Allow", "Principal": {"AWS": "222222222222"}, "Action": "sts:AssumeRole"}`)}, want: ""},
		{name: "an account too many", policies: policies{trust: trust(`{"AWS": ["222222222222", "`+writerARN+`"]}`, withID)}, want: "account_principal!", edit: `{"AWS": ["` + writerARN + `"]}`},
		{name: "the platform's account", policies: policies{trust: trust(`{"AWS": "977805900156"}`, withID)}, want: "account_principal!", edit: `"AWS": "` + writerARN + `"`},
		{name: "the platform's root", policies: policies{trust: trust(`{"AWS": ["arn:aws:iam::977805900156:root", "`+writerARN+`"]}`, withID)}, want: "account_principal!", edit: `{"AWS": ["` + writerARN + `"]}`},
		{name: "our own root", policies: policies{trust: statements(grantOf(testDrain()).TrustStatement(), `{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}`)}, want: ""},
		{name: "a vendor", policies: policies{trust: statements(grantOf(testDrain()).TrustStatement(), `{"Effect": "Allow", "Principal": {"AWS": "222222222222"}, "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "x"}}}`)}, want: ""},
		{name: "more of STS", policies: policies{trust: statements(`{"Effect": "Allow", "Principal": ` + writer + `, "Action": ["sts:AssumeRole", "sts:TagSession"]` + withID + `}`)}, want: "needless_action", edit: `"Action": ["sts:AssumeRole"]`},
		{name: "all of STS", policies: policies{trust: statements(`{"Effect": "Allow", "Principal": ` + writer + `, "Action": "sts:*"` + withID + `}`)}, want: "needless_action", edit: `"Action": "sts:AssumeRole"`},
		{name: "all but something of STS", policies: policies{trust: statements(`{"Effect": "Allow", "Principal": ` + writer + `, "NotAction": "sts:TagSession"` + withID + `}`)}, want: "not_action!", edit: `"Action": "sts:AssumeRole"`},

		{name: "all of S3", policies: policies{permissions: permissions(`"s3:*"`, objects)}, want: "s3_wildcard!", edit: `"Action": "s3:PutObject"`},
		{name: "all of S3, with an ACL", drain: withACL, policies: policies{permissions: permissions(`"s3:*"`, objects)}, want: "s3_wildcard!", edit: `"Action": ["s3:PutObject", "s3:PutObjectAcl"]`},
		{name: "all of S3, everywhere", policies: policies{permissions: permissions(`["s3:*"]`, `"*"`)}, want: "s3_wildcard! any_bucket!"},
		{name: "everything", policies: policies{permissions: permissions(`"*"`, `"*"`)}, want: "any_action!", edit: `"AllowS3Writes"`},
		{name: "everything, with a key", drain: withKey, policies: policies{permissions: permissions(`"*"`, `"*"`), key: statements(rootMayAll())}, want: "any_action!", edit: `"AllowKmsForS3Writes"`},
		{name: "all that is Put", policies: policies{permissions: permissions(`"s3:Put*"`, objects)}, want: "wide_action!", edit: `"Action": "s3:PutObject"`},
		{name: "all of PutObject", policies: policies{permissions: permissions(`"s3:PutObject*"`, objects)}, want: "wide_action!", edit: `"Action": "s3:PutObject"`},
		{name: "all of PutObjectT", policies: policies{permissions: permissions(`["s3:PutObject", "s3:PutObjectT*"]`, objects)}, want: "wide_action", edit: `"Action": ["s3:PutObject"]`},
		{name: "Get and List", policies: policies{permissions: permissions(`["s3:GetObject", "s3:PutObject", "s3:ListBucket"]`, objects)}, want: "needless_action", edit: `"Action": ["s3:PutObject"]`},
		{name: "Get by pattern", policies: policies{permissions: permissions(`["s3:Get*", "s3:PutObject"]`, objects)}, want: "wide_action", edit: `"Action": ["s3:PutObject"]`},
		{name: "Delete", policies: policies{permissions: permissions(`["s3:PutObject", "s3:DeleteObject"]`, objects)}, want: "destructive_action!", edit: `"Action": ["s3:PutObject"]`},
		{name: "ACL without need", policies: policies{permissions: permissions(`["s3:PutObject", "s3:PutObjectAcl"]`, objects)}, want: "needless_action"},
		{name: "a statement without need", policies: policies{permissions: statements(grantOf(testDrain()).WriteStatement(), `{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::acme"}`)}, want: "needless_action", edit: `-}, {"Effect": "Allow", "Action": "s3:ListBucket"`},
		{name: "a policy without need", policies: policies{more: permissions(`"s3:ListBucket"`, `"*"`)}, want: "needless_action"},
		{name: "another service", policies: policies{permissions: permissions(`["s3:PutObject", "sqs:SendMessage"]`, objects)}, want: "needless_action"},
		{name: "a key that may be needed", policies: policies{permissions: statements(grantOf(testDrain()).WriteStatement(), grantOf(testDrain().with(withKey)).EncryptStatement())}, want: ""},
		{name: "the bucket", policies: policies{permissions: permissions(`"s3:PutObject"`, `"arn:aws:s3:::acme/*"`)}, want: "wide_resource", edit: `"Resource": ` + objects},
		{name: "half a name", policies: policies{permissions: permissions(`"s3:PutObject"`, `"arn:aws:s3:::acme/audit*"`)}, want: "wide_resource"},
		{name: "buckets that begin so", policies: policies{permissions: permissions(`"s3:PutObject"`, `"arn:aws:s3:::acme*"`)}, want: "any_bucket!", edit: `"Resource": ` + objects},
		{name: "all buckets", policies: policies{permissions: permissions(`"s3:PutObject"`, `["arn:aws:s3:::*", "arn:aws:s3:::acme/audit-logs/*"]`)}, want: "any_bucket!", edit: `"Resource": [` + objects + `]`},
		{name: "all buckets at the root", drain: at("s3://acme"), policies: policies{permissions: permissions(`"s3:PutObject"`, `"*"`)}, want: "any_bucket!", edit: `"Resource": "arn:aws:s3:::acme/*"`},
		{name: "the bucket at the root", drain: at("s3://acme"), policies: policies{permissions: permissions(`"s3:PutObject"`, `"arn:aws:s3:::acme/*"`)}, want: ""},
		{name: "narrower", policies: policies{permissions: permissions(`"s3:PutObject"`, `["arn:aws:s3:::acme/audit-logs/test/*", "arn:aws:s3:::acme/audit-logs/schema=audit_log/*"]`)}, want: ""},
		{name: "another bucket", policies: policies{permissions: permissions(`"s3:PutObject"`, `["arn:aws:s3:::acme/audit-logs/*", "arn:aws:s3:::other/*"]`)}, want: ""},
		{name: "all but some actions", policies: policies{permissions: statements(`{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}`)}, want: "not_action!", edit: `"AllowS3Writes"`},
		{name: "all but some resources", policies: policies{permissions: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "NotResource": "arn:aws:s3:::other/*"}`)}, want: "not_resource!", edit: `"AllowS3Writes"`},
		{name: "boundary", policies: policies{boundary: permissions(`"*"`, `"*"`)}, want: ""},

		{name: "all of KMS", drain: withKey, policies: policies{permissions: kms(`"kms:*"`, `"`+keyARN+`"`, equals(via+", "+caller))}, want: "kms_wildcard!", edit: `"Action": "kms:GenerateDataKey"`},
		{name: "more of KMS", drain: withKey, policies: policies{permissions: kms(`["kms:GenerateDataKey", "kms:Decrypt"]`, `"`+keyARN+`"`, equals(via+", "+caller))}, want: "needless_action", edit: `"Action": ["kms:GenerateDataKey"]`},
		{name: "data keys of all sorts", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey*"`, `"`+keyARN+`"`, equals(via+", "+caller))}, want: "wide_action", edit: `"Action": "kms:GenerateDataKey"`},
		{name: "not through S3 only", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey"`, `"`+keyARN+`"`, "")}, want: "missing_via_service", edit: caller + ", " + via},
		{name: "not through S3 only, for the account", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey"`, `"`+keyARN+`"`, equals(caller))}, want: "missing_via_service", edit: via},
		{name: "for any account", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey"`, `"`+keyARN+`"`, equals(via))}, want: "missing_caller_account", edit: caller},
		{name: "any key", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey"`, `"*"`, equals(via+", "+caller))}, want: "any_key", edit: `"Resource": "` + keyARN},
		{name: "any key of the account", drain: withKey, policies: policies{permissions: kms(`"kms:GenerateDataKey"`, `"arn:aws:kms:eu-central-1:111122223333:key/*"`, equals(via+", "+caller))}, want: "any_key"},
		{name: "S3 and KMS in one", drain: withKey, policies: policies{permissions: permissions(`["s3:PutObject", "kms:GenerateDataKey"]`, `[`+objects+`, "`+keyARN+`"]`)}, want: "missing_via_service"},
		{name: "S3 and KMS on everything", drain: withKey, policies: policies{permissions: permissions(`["s3:PutObject", "kms:GenerateDataKey"]`, `"*"`)}, want: "any_bucket! missing_via_service"},

		{name: "key: all of KMS", drain: withKey, policies: policies{key: key(role, `"kms:*"`, equals(via+", "+caller))}, want: "kms_wildcard!", edit: `"Action": "kms:GenerateDataKey"`},
		{name: "key: as the console writes it", drain: withKey, policies: policies{key: key(role, `["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]`, "")}, want: "wide_action wide_action needless_action missing_via_service"},
		{name: "key: everybody", drain: withKey, policies: policies{key: key(`"*"`, `"kms:GenerateDataKey"`, equals(via))}, want: "any_principal!", edit: `"Principal": {"AWS": "` + roleARN + `"}`},
		{name: "key: everybody of the account", drain: withKey, policies: policies{key: key(`"*"`, `"kms:GenerateDataKey"`, equals(via+", "+caller))}, want: ""},
		{name: "key: all but some", drain: withKey, policies: policies{key: statements(`{"Effect": "Allow", "Principal": ` + role + `, "NotAction": "kms:Decrypt", "Resource": "*"}`)}, want: "not_action!", edit: `"Action": "kms:GenerateDataKey"`},
		{name: "bucket: everybody", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*"}`)}, want: "any_principal!", edit: `"Principal": {"AWS": "` + roleARN + `"}`},
		{name: "bucket: everybody of a VPC endpoint", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}`)}, want: ""},
		{name: "bucket: everybody of a VPC", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}`)}, want: ""},
		{name: "bucket: everybody of a network", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}}`)}, want: ""},
		{name: "bucket: everybody of a private network", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}}`)}, want: ""},
		{name: "bucket: everybody with a tag", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"StringEquals": {"aws:PrincipalTag/team": "logs"}}}`)}, want: "any_principal!"},
		{name: "bucket: everybody of the organization", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}`)}, want: ""},
		{name: "bucket: everybody of all networks", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}`)}, want: "any_principal!"},
		{name: "bucket: everybody of all IPv6 networks", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"IpAddress": {"aws:SourceIp": "::/0"}}}`)}, want: "any_principal!"},
		{name: "bucket: everybody but a VPC endpoint", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*", "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}`)}, want: "any_principal!"},
		{name: "key: everybody of a VPC endpoint", drain: withKey, policies: policies{key: key(`"*"`, `"kms:GenerateDataKey"`, equals(via+`, "aws:SourceVpce": "vpce-1"`))}, want: ""},
		{name: "bucket: everybody reads", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme/*"}`)}, want: ""},
		{name: "bucket: the role, everything", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": ` + role + `, "Action": "s3:*", "Resource": "arn:aws:s3:::acme/*"}`)}, want: "s3_wildcard!", edit: `"Action": "s3:PutObject"`},
		{name: "bucket: the role, all but", policies: policies{bucket: statements(`{"Effect": "Allow", "Principal": ` + role + `, "NotAction": "s3:Get*", "NotResource": "arn:aws:s3:::acme/x/*"}`)}, want: "not_action!", edit: `"Action": "s3:PutObject", "Resource": ` + objects},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := testDrain().with(tt.drain)
			docs := tt.policies.documents(d)
			r := mustCheck(t, d, docs)
			if r.Result != auditdrain.PolicyAllowed {
				t.Errorf("result %s: %+v", r.Result, r.Steps)
			}
			var codes []string
			for _, w := range r.Warnings {
				code := w.Code
				if w.Dangerous {
					code += "!"
				}
				codes = append(codes, code)
			}
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("warnings %q, want %q: %+v", got, tt.want, r.Warnings)
			}
			if tt.edit == "none" { // and that is dangerous: nobody here knows whom else an edit would concern
				if r.Warnings[0].Edits != nil {
					t.Errorf("edits %+v", r.Warnings[0].Edits)
				}
				return
			}
			if tt.edit != "" && (len(r.Warnings) == 0 || r.Warnings[0].Edits == nil || !strings.Contains(r.Warnings[0].Edits[0].Patch, tt.edit)) {
				t.Errorf("no edit with %s", tt.edit)
				for _, w := range r.Warnings {
					for _, e := range w.Edits {
						t.Log(e.Patch)
					}
				}
			}
			checkEdits(t, d, docs)
		})
	}
}

// What is not known does not keep strangers out.
func TestWarnsOfWhatIsNotKnown(t *testing.T) {
	docs := policies{trust: statements(`{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole",
		"Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:team_123", "aws:SourceVpc": "vpc-1"}}}`)}.documents(testDrain())
	r := mustCheck(t, testDrain(), docs)
	if len(r.Warnings) != 1 || r.Warnings[0].Code != "any_principal" || r.Result != auditdrain.PolicyUnknown {
		t.Errorf("%s %+v", r.Result, r.Warnings)
	}
}

// What a Grant writes is allowed, and nothing of it is worth a warning.
func TestGrantsAreClean(t *testing.T) {
	for _, endpoint := range []string{"s3://acme", "s3://acme/a/b=c/é"} {
		for _, place := range []struct{ partition, region string }{{"aws", "us-east-1"}, {"aws-cn", "cn-north-1"}, {"aws-us-gov", "us-gov-west-1"}} {
			for _, acl := range append([]string{""}, auditdrain.ObjectACLs...) {
				for _, sse := range append([]string{""}, auditdrain.Encryptions...) {
					for _, key := range []bool{false, true} {
						if key && sse == "AES256" {
							continue
						}
						d := testDrain()
						d.Delivery.Endpoint, d.Delivery.Region, d.Delivery.ObjectACL, d.Delivery.ServerSideEncryption = endpoint, place.region, acl, sse
						d.Delivery.RoleARN = "arn:" + place.partition + ":iam::111122223333:role/path/drain"
						d.WriterRoleARN = "arn:" + place.partition + ":iam::977805900156:role/vercel-drains-s3-writer"
						if key {
							d.KMSKeyARN = "arn:" + place.partition + ":kms:" + place.region + ":111122223333:key/mrk-1234"
						}
						g := grantOf(d)
						for _, docs := range [][]auditdrain.PolicyDocument{
							policies{}.documents(d),
							policies{key: onlyWithKey(key, statements(g.KeyPolicyStatement()))}.documents(d),
							policies{boundary: g.PermissionsPolicy()}.documents(d),
							policies{key: onlyWithKey(key, statements(strings.ReplaceAll(rootMayAll(), "arn:aws:", "arn:"+place.partition+":")))}.documents(d),
						} {
							r := mustCheck(t, d, docs)
							if r.Result != auditdrain.PolicyAllowed || r.Warnings != nil || r.Fixes != nil {
								t.Errorf("%s %s acl %q sse %q key %t: %s %+v %+v", endpoint, place.region, acl, sse, key, r.Result, r.Steps, r.Warnings)
							}
						}
					}
				}
			}
		}
	}
}

func onlyWithKey(key bool, policy string) string {
	if key {
		return policy
	}
	return "-"
}

// Everything of what a Grant writes is needed: without any one line of it that is a value, a step is denied or a warning
// is due.
func TestGrantsAreNeeded(t *testing.T) {
	d := testDrain().with(withKey).with(withACL)
	g := grantOf(d)
	for _, action := range []string{"sts:AssumeRole", "s3:PutObject\"", "s3:PutObjectAcl", "kms:GenerateDataKey"} {
		change := func(text string) string { return strings.ReplaceAll(text, action, "x:"+action) }
		docs := policies{trust: change(g.TrustPolicy()), permissions: change(g.PermissionsPolicy()), key: change(statements(g.KeyPolicyStatement()))}.documents(d)
		if r := mustCheck(t, d, docs); r.Result != auditdrain.PolicyDenied {
			t.Errorf("without %s the result is %s", action, r.Result)
		}
	}
	for _, key := range []string{"sts:ExternalId", "kms:CallerAccount", "kms:ViaService"} {
		without := func(text string) string {
			p := iam.MustParse(text)
			e := newEditor(text)
			for i, s := range p.Statements {
				for _, c := range s.Condition {
					if c.Key == key {
						e.removeCondition(i, c.Operator, c.Key)
					}
				}
			}
			if e.err != nil {
				t.Fatal(e.err)
			}
			return e.text
		}
		docs := policies{trust: without(g.TrustPolicy()), permissions: without(g.PermissionsPolicy()), key: without(statements(g.KeyPolicyStatement()))}.documents(d)
		if r := mustCheck(t, d, docs); r.Result != auditdrain.PolicyAllowed || !slices.ContainsFunc(r.Warnings, func(w auditdrain.PolicyWarning) bool { return strings.Contains(w.Text, key) }) {
			t.Errorf("without the condition on %s: %s %+v", key, r.Result, r.Warnings)
		}
	}
}

// What others do with a bucket or a key does not end by the fixes, although it can by the edit of a warning.
func TestFixesLeaveOthersAlone(t *testing.T) {
	d := testDrain().with(withKey)
	for name, p := range map[string]policies{
		"bucket, everybody":         {bucket: statements(`{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/*"}`)},
		"bucket, the role and more": {bucket: statements(`{"Effect": "Allow", "Principal": {"AWS": ["` + roleARN + `", "arn:aws:iam::111122223333:role/etl"]}, "Action": "s3:*", "Resource": "arn:aws:s3:::acme/*"}`)},
		"key, the role and more":    {key: statements(rootMayAll(), `{"Effect": "Allow", "Principal": {"AWS": ["`+roleARN+`", "arn:aws:iam::111122223333:role/etl"]}, "Action": "kms:*", "Resource": "*"}`)},
	} {
		r := mustCheck(t, d, p.documents(d))
		if dangerous(r) == nil || r.Warnings[0].Edits == nil || r.Fixes != nil {
			t.Errorf("%s: warnings %+v, fixes %+v; want a dangerous warning with an edit, and no fix", name, r.Warnings, r.Fixes)
		}
	}
}
