package s3

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// A role and a key with the policies of a Grant are what a drain needs, and
// nothing of these policies can go: whatever is taken out of them, either a
// delivery fails, with AWS naming what is missing, or somebody gets in who
// should not.
func TestGrant(t *testing.T) {
	for _, region := range []string{"us-east-1", "cn-north-1", "us-gov-west-1"} {
		t.Run(region, func(t *testing.T) {
			w := newGrantWorld(t, region)
			for _, mode := range encryptionModes {
				for _, prefix := range []string{"", "/audit-logs"} {
					for _, acl := range []string{"", "bucket-owner-full-control"} {
						name := fmt.Sprintf("%s, s3://%s%s, ACL %q", mode.name, bucket, prefix, acl)
						t.Run(name, func(t *testing.T) { w.testGrant(t, mode, prefix, acl) })
					}
				}
			}
		})
	}
}

// encryptionModes are what a drain may have to write to.
var encryptionModes = []encryptionMode{
	{name: "no SSE"},
	{name: "AES256", header: "AES256", bucket: "AES256"},
	{name: "aws:kms with aws/s3", header: "aws:kms", bucket: "aws:kms"},
	{name: "aws:kms with CMK", header: "aws:kms", bucket: "aws:kms", customer: true},
	{name: "dsse with CMK", header: "aws:kms:dsse", bucket: "aws:kms:dsse", customer: true},
	{name: "CMK by default alone", bucket: "aws:kms", customer: true},
}

type encryptionMode struct {
	name     string
	header   string // the drain's serverSideEncryption
	bucket   string // the bucket's default
	customer bool   // with a customer managed key
}

// grantWorld is an AWS partition with the writer's account and a customer's.
type grantWorld struct {
	*awssim.Sim
	client *Client
	grant  iam.Grant // of a drain to the bucket's root with a customer managed key
	events int       // made so far
}

func newGrantWorld(t *testing.T, region string) *grantWorld {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, sim.Handler())
	partition, _ := iam.Partition(region)
	w := &grantWorld{Sim: sim, grant: iam.Grant{
		WriterRoleARN: "arn:" + partition + ":iam::977805900156:role/vercel-drains-s3-writer",
		ExternalID:    "vercel-team:" + teamID,
		RoleARN:       "arn:" + partition + ":iam::" + account + ":role/drains/vercel-drain-writer",
		Bucket:        bucket,
		Region:        region,
		KMSKeyARN:     "arn:" + partition + ":kms:" + region + ":" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab",
	}}
	for _, err := range []error{
		sim.AddRole(awssim.Role{ARN: w.grant.WriterRoleARN, Identity: []*iam.Policy{iam.MustParse(assumeAny)}}),
		sim.AddRole(awssim.Role{ARN: w.grant.RoleARN}),
		sim.AddKey(awssim.Key{ARN: w.grant.KMSKeyARN}),
		sim.AddBucket(awssim.Bucket{Name: bucket, Account: account, Region: region}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	writer, err := sim.RoleSession(w.grant.WriterRoleARN, "auditdrain", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.client = New(Config{
		AWS: aws.Config{
			Region:       region,
			BaseEndpoint: &url,
			Credentials:  credentials.NewStaticCredentialsProvider(writer.AccessKeyID, writer.SecretKey, writer.SessionToken),
		},
		Namespace: auditdrain.DefaultNamespace,
	})
	t.Cleanup(w.client.Close)
	return w
}

// attempt is one drain, and what its administrator granted it.
type attempt struct {
	*grantWorld
	mode     encryptionMode
	grant    iam.Grant
	delivery auditdrain.Delivery
}

func (w *grantWorld) testGrant(t *testing.T, mode encryptionMode, prefix, acl string) {
	a := &attempt{grantWorld: w, mode: mode, delivery: auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://" + bucket + prefix, Encoding: "json", RoleARN: w.grant.RoleARN, Region: w.grant.Region,
		ServerSideEncryption: mode.header, ObjectACL: acl,
	}.WithDefaults()}
	if problems := a.delivery.Validate(PartitionOf); problems != nil {
		t.Fatalf("delivery is not valid: %+v", problems)
	}
	a.grant = iam.GrantFor(a.delivery)
	a.grant.WriterRoleARN, a.grant.ExternalID = w.grant.WriterRoleARN, w.grant.ExternalID
	encryption := awssim.Encryption{Algorithm: mode.bucket}
	if mode.customer {
		a.grant.KMSKeyARN = w.grant.KMSKeyARN
		encryption.KMSKeyARN = w.grant.KMSKeyARN
	}
	w.UpdateBucket(bucket, func(b *awssim.Bucket) { b.Encryption = encryption })

	if trouble := a.trouble(parse(a.grant)); trouble != "" {
		t.Fatalf("with all policies as written: %s", trouble)
	}
	for _, cut := range cuts(parse(a.grant)) {
		policies := parse(a.grant)
		cut.apply(policies[cut.kind])
		trouble := a.trouble(policies)
		for _, want := range cut.want {
			if !strings.Contains(trouble, want) {
				t.Errorf("%s: %q, want %q in it", cut.name, trouble, want)
			}
		}
	}
}

// policies are what a Grant writes. The resource-based one is the key's.
type policies map[iam.PolicyKind]*iam.Policy

var policyKinds = []iam.PolicyKind{iam.RoleTrustPolicy, iam.IdentityBased, iam.ResourceBased}

func parse(g iam.Grant) policies {
	p := policies{
		iam.RoleTrustPolicy: iam.MustParse(g.TrustPolicy()),
		iam.IdentityBased:   iam.MustParse(g.PermissionsPolicy()),
	}
	if statement := g.KeyPolicyStatement(); statement != "" {
		p[iam.ResourceBased] = iam.MustParse(`{"Version": "2012-10-17", "Statement": ` + statement + `}`)
	}
	return p
}

// trouble is what is wrong with the policies: whom they let in though they
// should not, or else how AWS refuses one of the drain's own writes. It is ""
// if nothing is.
func (a *attempt) trouble(p policies) string {
	for _, s := range a.strangers() {
		if policy := p[s.kind]; policy != nil && policy.Evaluate(s.Request, s.kind).Effect == iam.Allow {
			return fmt.Sprintf("the %s lets in %s, whom its %s should keep out", s.kind, s.name, s.guard)
		}
	}

	a.UpdateRole(a.grant.RoleARN, func(r *awssim.Role) {
		r.Trust, r.Identity = p[iam.RoleTrustPolicy], []*iam.Policy{p[iam.IdentityBased]}
	})
	for _, keyPolicy := range keyPolicies(p[iam.ResourceBased]) {
		a.UpdateKey(a.grant.KMSKeyARN, func(k *awssim.Key) { k.Policy = keyPolicy })
		for _, test := range []bool{false, true} {
			if err := a.deliver(test); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}

// keyPolicies are what the policy of a key in the role's account may be. One
// only lets the key be administered, so that the role can use it by the
// statement that is added. The other, KMS's default, leaves everything to the
// account: then the role's own policy decides, and the statement is left out,
// for it would be enough by itself.
func keyPolicies(added *iam.Policy) []*iam.Policy {
	if added == nil {
		return []*iam.Policy{nil}
	}
	administered := iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "` + account + `"},
		"Action": ["kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Disable*", "kms:Get*", "kms:Schedule*"],
		"Resource": "*"}]}`)
	administered.Statements = append(administered.Statements, added.Statements...)
	return []*iam.Policy{
		administered,
		iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Sid": "Enable IAM User Permissions", "Effect": "Allow",
			"Principal": {"AWS": "` + account + `"}, "Action": "kms:*", "Resource": "*"}]}`),
	}
}

// deliver writes one event, with a session of its own, and checks the object.
func (a *attempt) deliver(test bool) error {
	dest, err := a.client.Open(auditdrain.Drain{ID: drainID, TeamID: teamID, Delivery: a.delivery}, Options{Test: test})
	if err != nil {
		return err
	}
	defer dest.Close()
	a.events++
	e := event(fmt.Sprintf("uev_%d", a.events))
	put, err := dest.Put(context.Background(), e)
	if err != nil {
		return err
	}
	o, written, err := a.Object(bucket, a.delivery.ObjectKey(e, test))
	if err != nil {
		return err
	}
	algorithm := a.mode.bucket
	if algorithm == "" {
		algorithm = "AES256"
	}
	if !written || put.Existed || o.Encryption != algorithm || o.ACL != a.delivery.ObjectACL || (o.KMSKeyARN != "") != a.mode.customer {
		return fmt.Errorf("object is %+v, after %+v", o, put)
	}
	return nil
}

// stranger is a request that a policy must not allow.
type stranger struct {
	kind  iam.PolicyKind // of the policy
	guard string         // the policy's element, or condition key, that keeps it out
	name  string
	iam.Request
}

// strangers differ in one thing each from what the drain does. Every policy is
// asked alone: another one that keeps them out as well would hide that it does
// not.
func (a *attempt) strangers() []stranger {
	g := a.grant
	partition, _ := iam.Partition(g.Region)
	iamARN := "arn:" + partition + ":iam::"
	bucketARN := "arn:" + partition + ":s3:::" + bucket
	session := func(accountID, role string) iam.Principal {
		name := role[strings.LastIndexByte(role, '/')+1:]
		return iam.Principal{
			ARN:     "arn:" + partition + ":sts::" + accountID + ":assumed-role/" + name + "/x",
			RoleARN: iamARN + accountID + ":role/" + role,
			Account: accountID,
		}
	}
	assume := iam.Request{
		Principal: session("977805900156", "vercel-drains-s3-writer"), Action: "sts:AssumeRole", Resource: g.RoleARN,
		Context: map[string][]string{"sts:ExternalId": {g.ExternalID}},
	}
	put := iam.Request{
		Principal: session(account, "drains/vercel-drain-writer"), Action: "s3:PutObject",
		Resource: bucketARN + "/" + a.delivery.ObjectKey(event("uev_1"), false),
	}
	encrypt := iam.Request{
		Principal: put.Principal, Action: "kms:GenerateDataKey", Resource: a.grantWorld.grant.KMSKeyARN,
		Context: map[string][]string{"kms:CallerAccount": {account}, "kms:ViaService": {viaService("s3", g.Region)}},
	}
	by := func(r iam.Request, p iam.Principal) iam.Request { r.Principal = p; return r }
	doing := func(r iam.Request, action string) iam.Request { r.Action = action; return r }
	on := func(r iam.Request, resource string) iam.Request { r.Resource = resource; return r }
	with := func(r iam.Request, key string, values ...string) iam.Request {
		r.Context = maps.Clone(r.Context)
		r.Context[key] = values
		return r
	}

	all := []stranger{
		{iam.RoleTrustPolicy, "sts:ExternalId", "the writer without an external ID", with(assume, "sts:ExternalId")},
		{iam.RoleTrustPolicy, "sts:ExternalId", "the writer for another team", with(assume, "sts:ExternalId", g.ExternalID+"2")},
		{iam.RoleTrustPolicy, "Principal", "another role of the writer's account", by(assume, session("977805900156", "other"))},
		{iam.RoleTrustPolicy, "Principal", "a role of the same name", by(assume, session(account, "vercel-drains-s3-writer"))},
		{iam.RoleTrustPolicy, "Action", "sessions with tags", doing(assume, "sts:TagSession")},

		{iam.IdentityBased, "Resource", "writes to another bucket", on(put, strings.Replace(put.Resource, bucket, bucket+"2", 1))},
		{iam.IdentityBased, "Action", "reading", doing(put, "s3:GetObject")},
		{iam.IdentityBased, "Action", "deleting", doing(put, "s3:DeleteObject")},
		{iam.IdentityBased, "Action", "listing", on(doing(put, "s3:ListBucket"), bucketARN)},
		{iam.IdentityBased, "Action", "asking for the region", on(doing(put, "s3:GetBucketLocation"), bucketARN)},
	}
	if g.Prefix != "" {
		all = append(all,
			stranger{iam.IdentityBased, "Resource", "writes to the bucket's root", on(put, bucketARN+"/x")},
			stranger{iam.IdentityBased, "Resource", "writes to a longer prefix", on(put, bucketARN+"/"+g.Prefix+"2/x")},
		)
	}
	if !g.ObjectACL {
		all = append(all, stranger{iam.IdentityBased, "Action", "ACLs", doing(put, "s3:PutObjectAcl")})
	}
	for _, kind := range []iam.PolicyKind{iam.IdentityBased, iam.ResourceBased} {
		all = append(all,
			stranger{kind, "kms:CallerAccount", "a caller of another account", with(encrypt, "kms:CallerAccount", "444455556666")},
			stranger{kind, "kms:ViaService", "a direct call", with(encrypt, "kms:ViaService")},
			stranger{kind, "kms:ViaService", "another service", with(encrypt, "kms:ViaService", viaService("dynamodb", g.Region))},
			stranger{kind, "kms:ViaService", "S3 of another region", with(encrypt, "kms:ViaService", viaService("s3", g.Region+"2"))},
			stranger{kind, "Action", "decryption", doing(encrypt, "kms:Decrypt")},
			stranger{kind, "Action", "grants", doing(encrypt, "kms:CreateGrant")},
		)
	}
	return append(all,
		stranger{iam.IdentityBased, "Resource", "another key", on(encrypt, encrypt.Resource+"2")},
		stranger{iam.ResourceBased, "Principal", "another role of the account", by(encrypt, session(account, "other"))},
	)
}

// viaService is what KMS calls a service by.
func viaService(name, region string) string {
	_, suffix := iam.Partition(region)
	return name + "." + region + "." + suffix
}

// cut takes something out of a policy.
type cut struct {
	name  string
	kind  iam.PolicyKind
	apply func(*iam.Policy)
	want  []string // must be in the trouble that it makes
}

// cuts are all that can be taken out: each statement, and of each its actions,
// its principal, its conditions, and what limits it to principals and
// resources.
func cuts(all policies) []cut {
	var found []cut
	for _, kind := range policyKinds {
		if all[kind] == nil {
			continue
		}
		for i, s := range all[kind].Statements {
			without := func(what string, change func(*iam.Statement), want ...string) {
				found = append(found, cut{
					name: fmt.Sprintf("%s, statement %d, without %s", kind, i, what), kind: kind,
					apply: func(p *iam.Policy) { change(&p.Statements[i]) }, want: want,
				})
			}
			refused := func(action string) []string {
				want := []string{"HTTP 403 AccessDenied", " is not authorized to perform: " + action + " on resource: "}
				if kind != iam.RoleTrustPolicy { // AWS does not tell other accounts
					want = append(want, "because no "+string(kind)+" allows the "+action+" action")
				}
				return want
			}
			letsIn := func(guard string) string { return "whom its " + guard + " should keep out" }

			without("all of it", func(s *iam.Statement) { *s = iam.Statement{} }, refused(s.Action[0])...)
			for j, action := range s.Action {
				without(action, func(s *iam.Statement) { s.Action = slices.Delete(s.Action, j, j+1) }, refused(action)...)
			}
			if s.Principal != nil {
				without("Principal", func(s *iam.Statement) { s.Principal = nil }, refused(s.Action[0])...)
				without("limit of principals", func(s *iam.Statement) { s.Principal.AWS = []string{"*"} }, letsIn("Principal"))
			}
			if s.Resource != nil && s.Resource[0] != "*" { // of a key's policy, it can be nothing but the key
				without("limit of resources", func(s *iam.Statement) { s.Resource = []string{"*"} }, letsIn("Resource"))
			}
			for j, c := range s.Condition {
				without(c.Key, func(s *iam.Statement) { s.Condition = slices.Delete(s.Condition, j, j+1) }, letsIn(c.Key))
			}
		}
	}
	return found
}
