package policycheck

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// step is one thing that the drain does: a request that AWS decides on.
type step struct {
	name    string
	request iam.Request
	facts   facts
	// asked are the kinds of policies that decide, in the order in which AWS misses an Allow.
	asked           []auditdrain.PolicyKind
	resource        auditdrain.PolicyKind // that of them which the resource has
	resourceKind    iam.ResourceKind
	resourceAccount string
	// short is the resource, cut where it is only an example.
	short string
}

// facts are the condition keys, in lower case, whose value is known before the request is made: one value, or several
// that are all possible, or none for a key that the request does not have. Of any other key nothing is known.
type facts map[string][]string

// noSuchKeys begin the names of keys that no request of a drain has: session tags, which it does not set, and what other
// ways of logging in than AWS's own tell.
var noSuchKeys = []string{"aws:requesttag/", "s3:requestobjecttag/", "s3:existingobjecttag/", "saml:", "cognito-identity.", "graph.facebook.com:", "www.amazon.com:", "accounts.google.com:"}

// lookup returns the possible values of a key, and false if nothing is known of it.
func (f facts) lookup(key string) ([]string, bool) {
	key = strings.ToLower(key)
	if values, ok := f[key]; ok {
		return values, true
	}
	return nil, slices.ContainsFunc(noSuchKeys, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// context is what a request with the first possible value of each key has.
func (f facts) context() map[string][]string {
	context := make(map[string][]string, len(f))
	for key, values := range f {
		if len(values) > 0 {
			context[key] = values[:1]
		}
	}
	return context
}

func (f facts) set(values ...string) {
	for i := 0; i < len(values); i += 2 {
		f[strings.ToLower(values[i])] = []string{values[i+1]}
	}
}

func (f facts) none(keys ...string) {
	for _, key := range keys {
		f[strings.ToLower(key)] = nil
	}
}

// commonFacts are what all requests of the drain have in common.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func (d Drain) commonFacts(caller iam.Principal) facts {
	f := facts{}
	now := d.Now.UTC()
	f.set(
		"aws:SecureTransport", "true",
		"aws:CurrentTime", now.Format(time.RFC3339),
		"aws:EpochTime", fmt.Sprint(now.Unix()),
		"aws:PrincipalIsAWSService", "false",
		"aws:PrincipalAccount", caller.Account,
	)
	f.none(
		"aws:MultiFactorAuthAge", "aws:PrincipalServiceName", "aws:PrincipalServiceNamesList", "aws:FederatedProvider",
		"aws:SourceArn", "aws:SourceAccount", "aws:SourceOrgID", "aws:SourceOrgPaths", // only of AWS services' own calls
		"aws:TagKeys", "aws:SourceIdentity", "aws:Referer",
	)
	if caller.RoleARN != "" {
		f.none("aws:username")
		f.set("aws:PrincipalArn", caller.RoleARN, "aws:PrincipalType", "AssumedRole")
		f.set("aws:TokenIssueTime", now.Format(time.RFC3339), "aws:MultiFactorAuthPresent", "false")
	} else { // with keys that do not expire
		f.none("aws:TokenIssueTime", "aws:MultiFactorAuthPresent")
		f.set("aws:PrincipalArn", caller.ARN, "aws:PrincipalType", "User")
	}
	return f
}

// sessionNames are what sessions of the drain's role are called: those of tests of a delivery without a drain, and those
// of drains, which end with the drain's ID.
var sessionNames = []string{"auditdrain-drn_0Example0Example0Example", "auditdrain-test"}

// digests are of two events, as examples.
var digests = []string{
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
}

// writer is our side: a session of the writer role, or the user that the service runs as.
func (d Drain) writer() iam.Principal {
	role, ok := auditdrain.ParseRoleARN(d.WriterRoleARN)
	if !ok {
		p := iam.Principal{ARN: d.WriterRoleARN}
		if fields := strings.SplitN(d.WriterRoleARN, ":", 6); len(fields) == 6 {
			p.Account = fields[4]
		}
		return p
	}
	return sessionOf(role, d.WriterRoleARN, "auditdrain")
}

func sessionOf(role auditdrain.RoleARN, arn, name string) iam.Principal {
	return iam.Principal{
		ARN:     fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", role.Partition, role.Account, role.Name, name),
		RoleARN: arn,
		Account: role.Account,
	}
}

// steps are all that the drain does. Those of one name follow each other; the worse counts.
func (c *checker) steps() []step {
	steps := []step{
		c.assumeRole(c.drain.writer(), c.drain.ExternalID),
		c.write("putObject", "s3:PutObject", false),
		c.write("testObject", "s3:PutObject", true),
	}
	if c.drain.Delivery.ObjectACL != "" {
		steps = append(steps, c.write("objectAcl", "s3:PutObjectAcl", false), c.write("objectAcl", "s3:PutObjectAcl", true))
	}
	if c.drain.KMSKeyARN != "" {
		steps = append(steps, c.dataKey())
	}
	return steps
}

// assumeRole is a caller's assuming the drain's role. With an empty external ID it sends none.
func (c *checker) assumeRole(caller iam.Principal, externalID string) step {
	f := c.drain.commonFacts(caller)
	for _, key := range []string{"aws:federatedprovider", "aws:sourceidentity"} {
		delete(f, key) // how the platform came by its own session is not known
	}
	f.none("sts:ExternalId")
	if externalID != "" {
		f.set("sts:ExternalId", externalID)
	}
	f.set("aws:ResourceAccount", c.role.Account, "aws:ViaAWSService", "false")
	f[strings.ToLower("sts:RoleSessionName")] = sessionNames
	f.none("sts:SourceIdentity", "sts:TransitiveTagKeys", "aws:CalledVia", "aws:CalledViaFirst", "aws:CalledViaLast")
	return step{
		name:            "assumeRole",
		request:         iam.Request{Principal: caller, Action: "sts:AssumeRole", Resource: c.drain.Delivery.RoleARN, Context: f.context()},
		facts:           f,
		asked:           []auditdrain.PolicyKind{auditdrain.PolicyTrust},
		resource:        auditdrain.PolicyTrust,
		resourceKind:    iam.RoleTrust,
		resourceAccount: c.role.Account,
		short:           c.drain.Delivery.RoleARN,
	}
}

// write is an action on an example of the objects that the drain writes.
func (c *checker) write(name, action string, test bool) step {
	d := c.drain.Delivery
	caller := sessionOf(c.role, d.RoleARN, sessionNames[0])
	objects := strings.TrimSuffix(c.grant.ObjectsARN(), "*")
	_, prefix := d.SplitEndpoint()
	event := auditdrain.Event{ID: "uev_Example", Timestamp: c.drain.Now.UnixMilli()}
	key := strings.TrimPrefix(strings.TrimPrefix(d.ObjectKey(event, test), prefix), "/")
	short, _, _ := strings.Cut(key, "/")

	f := c.drain.commonFacts(caller)
	f.set(
		"aws:ResourceAccount", c.role.Account,
		"aws:RequestedRegion", d.Region,
		"aws:ViaAWSService", "false",
		"aws:UserAgent", "auditdrain",
		"s3:ResourceAccount", c.role.Account,
		"s3:authType", "REST-HEADER",
		"s3:signatureversion", "AWS4-HMAC-SHA256",
		"s3:if-none-match", "*",
		"s3:ObjectCreationOperation", "true",
	)
	f[strings.ToLower("s3:TlsVersion")] = []string{"1.3", "1.2"}
	f["s3:x-amz-content-sha256"] = digests
	f.none(
		"aws:CalledVia", "aws:CalledViaFirst", "aws:CalledViaLast", "sts:ExternalId", "sts:RoleSessionName",
		"kms:ViaService", "kms:CallerAccount",
		"s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:x-amz-server-side-encryption-customer-algorithm",
		"s3:x-amz-grant-read", "s3:x-amz-grant-write", "s3:x-amz-grant-read-acp", "s3:x-amz-grant-write-acp", "s3:x-amz-grant-full-control",
		"s3:x-amz-copy-source", "s3:x-amz-metadata-directive", "s3:x-amz-website-redirect-location", "s3:if-match",
		"s3:prefix", "s3:delimiter", "s3:max-keys", "s3:VersionId", "s3:LocationConstraint",
		"s3:DataAccessPointArn", "s3:DataAccessPointAccount", "s3:AccessPointNetworkOrigin", "s3:AccessGrantsInstanceArn",
		"s3:x-amz-acl", "s3:x-amz-server-side-encryption",
	)
	if d.ObjectACL != "" {
		f.set("s3:x-amz-acl", d.ObjectACL)
	}
	if d.ServerSideEncryption != "" {
		f.set("s3:x-amz-server-side-encryption", d.ServerSideEncryption)
	}
	return step{
		name:            name,
		request:         iam.Request{Principal: caller, Action: action, Resource: objects + key, Context: f.context()},
		facts:           f,
		asked:           []auditdrain.PolicyKind{auditdrain.PolicyBucket, auditdrain.PolicyPermissions, auditdrain.PolicyBoundary},
		resource:        auditdrain.PolicyBucket,
		resourceKind:    iam.Bucket,
		resourceAccount: c.role.Account,
		short:           objects + short + "/…",
	}
}

// dataKey is what S3 does with the customer managed key on the role's behalf.
func (c *checker) dataKey() step {
	object := c.write("", "", false)
	caller := object.request.Principal
	bucket, _, _ := strings.Cut(object.request.Resource, "/")
	key, _ := auditdrain.ParseKMSKeyARN(c.drain.KMSKeyARN)

	f := c.drain.commonFacts(caller)
	f.set(
		"aws:ResourceAccount", key.Account,
		"aws:RequestedRegion", c.drain.Delivery.Region,
		"aws:ViaAWSService", "true",
		"kms:ViaService", c.viaService(),
		"kms:CallerAccount", c.role.Account,
		"kms:EncryptionContextKeys", "aws:s3:arn",
	)
	// With an S3 Bucket Key it is the bucket that counts.
	f[strings.ToLower("kms:EncryptionContext:aws:s3:arn")] = []string{object.request.Resource, bucket}
	f.none("sts:ExternalId", "sts:RoleSessionName", "kms:GrantIsForAWSResource", "kms:RecipientAttestation:ImageSha384")
	return step{
		name:            "dataKey",
		request:         iam.Request{Principal: caller, Action: "kms:GenerateDataKey", Resource: c.drain.KMSKeyARN, Context: f.context()},
		facts:           f,
		asked:           []auditdrain.PolicyKind{auditdrain.PolicyKey, auditdrain.PolicyPermissions, auditdrain.PolicyBoundary},
		resource:        auditdrain.PolicyKey,
		resourceKind:    iam.Key,
		resourceAccount: key.Account,
		short:           c.drain.KMSKeyARN,
	}
}

// viaService is how S3 in the bucket's region is called where it uses a key.
func (c *checker) viaService() string {
	_, suffix := iam.Partition(c.drain.Delivery.Region)
	return "s3." + c.drain.Delivery.Region + "." + suffix
}
