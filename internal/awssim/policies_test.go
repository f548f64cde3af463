package awssim_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Policies of others that keep a drain from writing, as organizations and
// bucket owners have them.
func TestRefusalsByOthersPolicies(t *testing.T) {
	denied := func(reason string) string {
		return "User: " + customerSession + ` is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::` +
			bucketName + "/" + objectKey + `" ` + reason
	}
	inBucketPolicy := denied("with an explicit deny in a resource-based policy")
	tests := []struct {
		name      string
		condition string // of a Deny in the bucket's policy
		world     func(*world)
		attempt   func(*attempt) // is refused
		permitted func(*attempt) // is not; nil: nothing is
		message   string
	}{
		{
			name:      "encryption demanded",
			condition: `{"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}`,
			attempt:   header("X-Amz-Server-Side-Encryption", "AES256"),
			permitted: header("X-Amz-Server-Side-Encryption", "aws:kms"),
			message:   inBucketPolicy,
		},
		{
			// The bucket's default does not count: it is applied afterwards.
			name:      "encryption demanded, the bucket's default is it",
			world:     encrypted,
			condition: `{"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}`,
			permitted: header("X-Amz-Server-Side-Encryption", "aws:kms"),
			message:   inBucketPolicy,
		},
		{
			name:      "some encryption demanded",
			condition: `{"Null": {"s3:x-amz-server-side-encryption": "true"}}`,
			permitted: header("X-Amz-Server-Side-Encryption", "AES256"),
			message:   inBucketPolicy,
		},
		{
			name:      "encryption forbidden",
			condition: `{"Null": {"s3:x-amz-server-side-encryption": "false"}}`,
			attempt:   header("X-Amz-Server-Side-Encryption", "AES256"),
			permitted: func(*attempt) {},
			message:   inBucketPolicy,
		},
		{
			name:      "ACL demanded",
			condition: `{"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}`,
			permitted: header("X-Amz-Acl", "bucket-owner-full-control"),
			message:   inBucketPolicy,
		},
		{
			name:      "only one role may",
			condition: `{"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/other"}}`,
			message:   inBucketPolicy,
		},
		{
			name:      "only this role may",
			condition: `{"ArnNotEquals": {"aws:PrincipalArn": "` + roleARN + `"}}`,
			attempt:   func(a *attempt) { a.creds = admin },
			permitted: func(*attempt) {},
			message:   strings.Replace(inBucketPolicy, customerSession, "arn:aws:iam::111122223333:user/admin", 1),
		},
		{
			name:      "only from a VPC endpoint",
			condition: `{"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}}`,
			message:   inBucketPolicy,
		},
		{
			name:    "service control policy that does not allow",
			world:   account(func(a *awssim.Account) { a.SCP = []*iam.Policy{policyOf("Allow", "", "kms:*")} }),
			message: denied("because no service control policy allows the s3:PutObject action"),
		},
		{
			name:    "permissions boundary that forbids",
			world:   role(func(r *awssim.Role) { r.Boundary = policyOf("Deny", "", "s3:*") }),
			message: denied("with an explicit deny in a permissions boundary"),
		},
		{
			name: "identity policy that forbids",
			world: role(func(r *awssim.Role) {
				r.Identity = []*iam.Policy{iam.MustParse(permissionsPolicy), policyOf("Deny", "", "s3:*")}
			}),
			message: denied("with an explicit deny in an identity-based policy"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.world != nil {
				tt.world(w)
			}
			if tt.condition != "" {
				w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
					b.Policy = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
						"Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + bucketName + `/*", "Condition": ` + tt.condition + `}]}`)
				})
			}
			a := w.newPut()
			if tt.attempt != nil {
				tt.attempt(a)
			}
			if got := a.answer(); got.status != 403 || got.elements["Code"] != "AccessDenied" || got.elements["Message"] != tt.message {
				t.Errorf("answered %d %s\nwant\n%s", got.status, got.body, tt.message)
			}
			if tt.permitted == nil {
				return
			}
			a = w.newPut()
			tt.permitted(a)
			if got := a.answer(); got.status != 200 {
				t.Errorf("what is permitted is answered %d %s", got.status, got.body)
			}
		})
	}
}

// To callers from another account than a key's, KMS does not say what is wrong
// with it, nor which key it is.
func TestKeyOfAnotherAccount(t *testing.T) {
	const foreign = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	named := policyOf("Allow", `"Principal": {"AWS": "`+roleARN+`"}, `, "kms:GenerateDataKey")
	identity := strings.Replace(permissionsPolicy, keyARN, foreign, 1)
	const (
		unsaid           = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
		identityIsSilent = "because no identity-based policy allows the kms:GenerateDataKey action"
	)
	tests := []struct {
		name     string
		key      *awssim.Key // nil: there is none
		identity string
		rcp      []*iam.Policy // of the key's account
		reason   string        // "": it works
	}{
		{"both policies allow", &awssim.Key{Policy: named}, identity, nil, ""},
		{"account is allowed", &awssim.Key{Policy: policyOf("Allow", `"Principal": {"AWS": "111122223333"}, `, "kms:*")}, identity, nil, ""},
		{"key policy does not allow", &awssim.Key{Policy: policyOf("Allow", `"Principal": {"AWS": "444455556666"}, `, "kms:*")}, identity, nil, unsaid},
		{"key policy forbids", &awssim.Key{Policy: policyOf("Deny", `"Principal": "*", `, "kms:*")}, identity, nil, unsaid},
		{"resource control policy forbids", &awssim.Key{Policy: named}, identity, []*iam.Policy{policyOf("Deny", "", "kms:*")}, unsaid},
		{"no such key", nil, identity, nil, unsaid},
		{"identity policy does not allow", &awssim.Key{Policy: named}, permissionsPolicy, nil, identityIsSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.UpdateAccount("444455556666", func(a *awssim.Account) { a.RCP = tt.rcp })
			w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = []*iam.Policy{iam.MustParse(tt.identity)} })
			w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
				b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: foreign}
			})
			if tt.key != nil {
				tt.key.ARN = foreign
				must(t, w.AddKey(*tt.key))
			}
			got := w.newPut().answer()
			if tt.reason == "" {
				if got.status != 200 || got.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != foreign {
					t.Errorf("answered %d %s", got.status, got.body)
				}
				return
			}
			want := "User: " + customerSession + " is not authorized to perform: kms:GenerateDataKey on this resource " + tt.reason
			if got.status != 403 || got.elements["Code"] != "AccessDenied" || got.elements["Message"] != want {
				t.Errorf("answered %d %s\nwant\n%s", got.status, got.body, want)
			}
		})
	}
}

// STS issues sessions in an opt-in region only of accounts that have enabled
// it, whatever the caller's has.
func TestAssumeRoleInOptInRegion(t *testing.T) {
	const optIn = "af-south-1"
	enable := func(w *world, account string) {
		w.UpdateAccount(account, func(a *awssim.Account) { a.OptedIn = []string{optIn} })
	}
	tests := []struct {
		name             string
		writer, customer bool // has enabled the region
		code             string
	}{
		{"neither", false, false, "InvalidClientTokenId"},
		{"the customer", false, true, "InvalidClientTokenId"},
		{"the writer", true, false, "RegionDisabledException"},
		{"both", true, true, ""},
	}
	for _, tt := range tests {
		w := newWorld(t)
		if tt.writer {
			enable(w, writerAccount)
		}
		if tt.customer {
			enable(w, customerAccount)
		}
		a := w.newAssume(url.Values{})
		a.region = optIn
		got := a.answer()
		if got.elements["Code"] != tt.code || (got.status == 200) != (tt.code == "") || got.status >= 400 && got.status != 403 {
			t.Errorf("%s: answered %d %s, want %q", tt.name, got.status, got.body, tt.code)
		}
	}
}
