package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// breakage is one thing that is wrong with a destination that works otherwise.
type breakage struct {
	name   string
	change func(d *auditdrain.Delivery) // what else the drain asks for
	broken func(s *setUp)
	silent bool     // AWS does not answer
	says   []string // sentence and patch, as they are on the page
}

// setUp is what one drain of a breakage needs, each in an account of its own.
type setUp struct {
	*cloud
	account, bucket, role, key string
	team                       string
}

func (s *setUp) policies(statements ...string) []*iam.Policy {
	return []*iam.Policy{iam.MustParse(document(statements...))}
}

func document(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func trusts(principal, externalID string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":%q},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":%q}}}`, principal, externalID)
}

func allows(action, resource string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":%q}`, action, resource)
}

func (s *setUp) trust(statements ...string) {
	s.UpdateRole(s.role, func(r *awssim.Role) { r.Trust = iam.MustParse(document(statements...)) })
}

func (s *setUp) permits(statements ...string) {
	s.UpdateRole(s.role, func(r *awssim.Role) { r.Identity = s.policies(statements...) })
}

func (s *setUp) inBucket(change func(*awssim.Bucket)) { s.UpdateBucket(s.bucket, change) }

// bucketDenies adds a policy to the bucket that denies under a condition.
func (s *setUp) bucketDenies(condition string) {
	s.inBucket(func(b *awssim.Bucket) {
		b.Policy = iam.MustParse(document(`{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":` + condition + `}`))
	})
}

// organized has AWS say why it denies.
func (s *setUp) organized(change func(*awssim.Account)) {
	for _, id := range []string{s.account, platform} {
		s.UpdateAccount(id, func(a *awssim.Account) { a.Organization = "o-acme" })
	}
	s.UpdateAccount(s.account, change)
}

// encrypted has the bucket encrypt with a key of the customer's.
func (s *setUp) encrypted(policy string, state awssim.KeyState) {
	must(s.t, s.AddKey(awssim.Key{ARN: s.key, Policy: iam.MustParse(policy), State: state}))
	s.inBucket(func(b *awssim.Bucket) { b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: s.key} })
}

// In what is said, {role}, {bucket}, {account}, {key} and {team} are the
// drain's.
var breakages = []breakage{
	{name: "trust policy names another role", broken: func(s *setUp) {
		s.trust(trusts("arn:aws:iam::977805900156:role/other", "vercel-team:"+s.team))
	}, says: []string{
		"Most likely: The trust policy of {role} does not name our writer role " + writerARN + " as its principal.",
		`+ "AWS": "` + writerARN + `"`, `+ "sts:ExternalId": "vercel-team:{team}"`, "administrator of the role",
	}},
	{name: "external ID is the team's alone", broken: func(s *setUp) { s.trust(trusts(writerARN, s.team)) }, says: []string{
		`Cause: The trust policy of {role} names our writer role`, `but demands the external ID "{team}" instead of "vercel-team:{team}".`,
		`+ "sts:ExternalId": "vercel-team:{team}"`,
	}},
	{name: "trust policy denies", broken: func(s *setUp) {
		s.organized(func(*awssim.Account) {})
		s.trust(trusts(writerARN, "vercel-team:"+s.team), `{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}`)
	}, says: []string{
		"Cause: A Deny statement in the trust policy of {role} keeps our writer role " + writerARN + " out.",
		`+ "ArnNotEquals": {"aws:PrincipalArn": "` + writerARN + `"}`,
	}},
	{name: "role does not exist", broken: func(s *setUp) { s.RemoveRole(s.role) }, says: []string{
		"Or: There is no role {role}: AWS does not tell that apart.", "Copy the role's ARN from the IAM console, with its path, into the drain",
	}},
	{name: "no permissions policy", broken: func(s *setUp) {
		s.UpdateRole(s.role, func(r *awssim.Role) { r.Identity = nil })
	}, says: []string{
		"Most likely: No permissions policy that allows s3:PutObject is attached to {role}; it may be attached to another role.",
		`+ "Resource": "arn:aws:s3:::{bucket}/audit-logs/*"`,
	}},
	{name: "permissions without the slash and the star", broken: func(s *setUp) {
		s.permits(allows("s3:PutObject", "arn:aws:s3:::"+s.bucket+"/audit-logs"))
	}, says: []string{
		"The permissions policy of {role} is for another path", `+ "Resource": "arn:aws:s3:::{bucket}/audit-logs/*"`,
	}},
	{name: "s3:PutObjectAcl is missing", change: func(d *auditdrain.Delivery) { d.ObjectACL = "bucket-owner-full-control" }, broken: func(s *setUp) {
		s.inBucket(func(b *awssim.Bucket) { b.Ownership = awssim.BucketOwnerPreferred })
		s.permits(allows("s3:PutObject", "*"))
	}, says: []string{
		`Cause: The drain sends the object ACL "bucket-owner-full-control", and no permissions policy of {role} allows s3:PutObjectAcl.`,
		`"s3:PutObjectAcl"`,
	}},
	{name: "permissions boundary", broken: func(s *setUp) {
		s.UpdateRole(s.role, func(r *awssim.Role) { r.Boundary = iam.MustParse(document(allows("s3:GetObject", "*"))) })
	}, says: []string{"Cause: The permissions boundary of {role} does not allow s3:PutObject, whatever its policies say."}},
	{name: "service control policy", broken: func(s *setUp) {
		s.organized(func(a *awssim.Account) {
			a.SCP = s.policies(allows("*", "*"), `{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}`)
		})
	}, says: []string{
		"Cause: A Deny statement in a service control policy of the AWS organization of account {account} forbids s3:PutObject.",
		"administrator of the AWS organization",
	}},
	{name: "bucket policy demands KMS", broken: func(s *setUp) {
		s.bucketDenies(`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`)
	}, says: []string{
		`A Deny statement in the policy of the bucket {bucket} lets no write pass with no encryption header, as the drain sends it, but does with the encryption header "aws:kms".`,
		"+ serverSideEncryption: aws:kms",
	}},
	{name: "bucket policy admits others only", broken: func(s *setUp) {
		s.bucketDenies(`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::` + s.account + `:role/admin"}}`)
	}, says: []string{"A Deny statement in the policy of the bucket {bucket} forbids this write", "owner of the bucket", `{role}`}},
	{name: "bucket is another account's", broken: func(s *setUp) {
		s.inBucket(func(b *awssim.Bucket) { b.Account = "444455556666" })
	}, says: []string{"The bucket {bucket} does not belong to account {account}, whose role the drain uses: role and bucket have to be of the same account."}},
	{name: "bucket does not exist", change: func(d *auditdrain.Delivery) { d.Endpoint = "s3://nobodys-bucket/audit-logs" }, says: []string{
		`Cause: There is no bucket "nobodys-bucket".`,
	}},
	{name: "bucket is in another region", broken: func(s *setUp) {
		s.inBucket(func(b *awssim.Bucket) { b.Region = "us-west-2" })
	}, says: []string{"Cause: The bucket {bucket} is in the region us-west-2, not in eu-west-1.", "- region: eu-west-1", "+ region: us-west-2"}},
	{name: "ACLs are disabled", change: func(d *auditdrain.Delivery) { d.ObjectACL = "private" }, broken: func(s *setUp) {
		s.permits(allows("s3:PutObject*", "*"))
	}, says: []string{
		`Cause: ACLs are disabled on the bucket {bucket} (Object Ownership: bucket owner enforced), but the drain sends the object ACL "private".`,
		"- objectAcl: private",
	}},
	{name: "key policy does not name the role", broken: func(s *setUp) {
		s.encrypted(document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+s.account+`:role/admin"},"Action":"kms:*","Resource":"*"}`), awssim.KeyEnabled)
		s.permits(allows("s3:PutObject", "*"), allows("kms:GenerateDataKey", "*"))
	}, says: []string{
		"Cause: The policy of the KMS key {key} does not let {role} use it through S3 in eu-west-1.",
		`+ "kms:ViaService": "s3.eu-west-1.amazonaws.com"`,
	}},
	{name: "role may not use the key", broken: func(s *setUp) {
		s.encrypted(document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+s.account+`:root"},"Action":"kms:*","Resource":"*"}`), awssim.KeyEnabled)
		s.permits(allows("s3:PutObject", "*"))
	}, says: []string{
		"Cause: The bucket encrypts with the customer managed key {key}, and no permissions policy of {role} allows kms:GenerateDataKey on it through S3 in eu-west-1",
		`+ "Resource": "{key}"`,
	}},
	{name: "key is disabled", broken: func(s *setUp) {
		s.encrypted(document(`{"Effect":"Allow","Principal":{"AWS":"`+s.role+`"},"Action":"kms:*","Resource":"*"}`), awssim.KeyDisabled)
		s.permits(allows("s3:PutObject", "*"), allows("kms:GenerateDataKey", "*"))
	}, says: []string{"Cause: The KMS key {key} is disabled.", "enable-key"}},
	{name: "the connection breaks off", silent: true, broken: func(s *setUp) {
		bucket := s.bucket
		s.SetFault(func(r awssim.FaultRequest) awssim.Fault {
			return awssim.Fault{Reset: r.Op == "PutObject" && r.Bucket == bucket}
		})
	}, says: []string{"no answer came", "Cause: The connection broke off"}},
}

// Whatever is broken is said on the page, with what to change.
func TestBreakages(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	b := acme.owner(t)
	for i, test := range breakages {
		t.Run(test.name, func(t *testing.T) {
			b := b.in(t)
			account := fmt.Sprintf("%012d", 100_000_000_000+i)
			d := delivery(fmt.Sprintf("acme-audit-%d", i))
			d.RoleARN = strings.Replace(d.RoleARN, customer, account, 1)
			set := &setUp{cloud: s.aws, account: account, role: d.RoleARN, team: acme.id,
				key: "arn:aws:kms:eu-west-1:" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"}
			set.bucket, _ = d.SplitEndpoint()
			s.aws.setUp(acme.id, d)
			if test.change != nil {
				test.change(&d)
			}
			made, err := s.operator.CreateDrain(t.Context(), acme.id, auditdrain.DrainInput{Name: test.name, Schemas: auditdrain.AuditLogSchemas(), Delivery: &d})
			must(t, err)
			defer func() { must(t, s.operator.DeleteDrain(context.WithoutCancel(t.Context()), acme.id, made.ID)) }() // a team may have ten
			if test.broken != nil {
				test.broken(set)
			}
			b.open("/drains/" + made.ID)
			b.submit("button", "Test")
			known := strings.NewReplacer("{role}", set.role, "{bucket}", set.bucket, "{account}", account, "{key}", set.key, "{team}", acme.id)
			b.see("The test failed.")
			for _, text := range test.says {
				b.see(known.Replace(text))
			}
			b.seeNot("%!", "<your", "the the")
			if objects := s.aws.keys(set.bucket); len(objects) > 0 {
				t.Errorf("objects %q", objects)
			}
			b.click("DisclosureTriangle", "The complete answer of AWS")
			if !test.silent {
				b.see("Request ID", "Content-Type:")
			}
			b.checkA11y()
		})
	}
}
