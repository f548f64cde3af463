package awssim

import (
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/auditdrain/auditdrain/internal/iam"
)

// authorize asks all policies that apply to the caller's doing action. Of p
// the caller gives what belongs to the resource. The context is added to what
// every request has.
func (c *call) authorize(action, resource string, context map[string][]string, p iam.Policies) iam.Decision {
	owner, account := c.sim.account(p.ResourceAccount), c.sim.account(c.who.principal.Account)
	p.Identity, p.Boundary, p.Session = c.who.identity, c.who.boundary, c.who.session
	p.SCP, p.RCP = account.SCP, owner.RCP

	all := map[string][]string{
		"aws:userid":          {c.who.userID},
		"aws:CurrentTime":     {c.now.UTC().Format(time.RFC3339)},
		"aws:EpochTime":       {strconv.FormatInt(c.now.Unix(), 10)},
		"aws:SecureTransport": {strconv.FormatBool(c.req.TLS != nil)},
		"aws:RequestedRegion": {c.scope.region},
		"aws:ResourceAccount": {owner.ID},
		"aws:ViaAWSService":   {"false"},
	}
	if ip, _, err := net.SplitHostPort(c.req.RemoteAddr); err == nil {
		all["aws:SourceIp"] = []string{ip}
	}
	if ua := c.req.UserAgent(); ua != "" {
		all["aws:UserAgent"] = []string{ua}
	}
	if account.Organization != "" {
		all["aws:PrincipalOrgID"] = []string{account.Organization}
	}
	if owner.Organization != "" {
		all["aws:ResourceOrgID"] = []string{owner.Organization}
	}
	if c.who.temporary {
		all["aws:TokenIssueTime"] = []string{c.who.issued.UTC().Format(time.RFC3339)}
	}
	maps.Copy(all, context)
	maps.DeleteFunc(all, func(_ string, values []string) bool { return values == nil })
	return iam.Authorize(iam.Request{
		Principal: c.who.principal,
		Action:    action,
		Resource:  resource,
		Context:   all,
	}, p)
}

// acquainted reports whether AWS tells a caller of the one account why the
// other denied it something.
func (s *Sim) acquainted(caller, owner string) bool {
	if caller == owner {
		return true
	}
	org := s.account(caller).Organization
	return org != "" && org == s.account(owner).Organization
}

// authorizeS3 decides one action on the bucket, or on the object if key is
// not "".
func (c *call) authorizeS3(b Bucket, action, key string, context map[string][]string) error {
	resource := bucketARN(b)
	if key != "" {
		resource = objectARN(b, key)
	}
	all := map[string][]string{
		"s3:authType":         {"REST-HEADER"},
		"s3:signatureversion": {sigAlgorithm},
		"s3:ResourceAccount":  {b.Account},
	}
	for _, h := range []string{"x-amz-acl", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-content-sha256", "if-match", "if-none-match"} {
		if v := c.req.Header.Get(h); v != "" {
			all["s3:"+h] = []string{v}
		}
	}
	maps.Copy(all, context)
	d := c.authorize(action, resource, all, iam.Policies{Resource: b.Policy, ResourceKind: iam.Bucket, ResourceAccount: b.Account})
	switch {
	case d.Allowed:
		return nil
	case !c.sim.acquainted(c.who.principal.Account, b.Account):
		return accessDeniedPlain()
	}
	return refusal(http.StatusForbidden, "AccessDenied",
		"User: "+c.who.principal.ARN+" is not authorized to perform: "+action+` on resource: "`+resource+`" `+d.Reason(action))
}

// authorizeKMS decides whether S3 may use the key on the caller's behalf, and
// returns the key's ARN. The key is what the request or the bucket names: an
// ARN, or the ID of a key in the caller's account.
func (c *call) authorizeKMS(b Bucket, action, keyID, objectARN string) (string, error) {
	arn := keyID
	if !kmsARNRE.MatchString(arn) {
		name, _ := iam.Partition(b.Region)
		arn = "arn:" + name + ":kms:" + b.Region + ":" + c.who.principal.Account + ":key/" + keyID
	}
	if region := arnRegion(arn); region != b.Region {
		return "", refusal(http.StatusBadRequest, "KMS.NotFoundException", "Invalid arn "+region)
	}
	owner := arnAccount(arn)
	key, ok := c.sim.key(arn)
	if !ok && owner == c.who.principal.Account {
		return "", refusal(http.StatusBadRequest, "KMS.NotFoundException", "Key '"+arn+"' does not exist")
	} // the key of another account, if it does not exist, is one that nobody may use
	_, suffix := iam.Partition(b.Region)
	d := c.authorize(action, arn, map[string][]string{
		"kms:ViaService":                   {"s3." + b.Region + "." + suffix},
		"kms:CallerAccount":                {c.who.principal.Account},
		"kms:EncryptionContext:aws:s3:arn": {objectARN},
		"kms:EncryptionContextKeys":        {"aws:s3:arn"},
		"aws:ViaAWSService":                {"true"},
		"aws:SourceIp":                     nil, // S3 calls KMS, not the caller
		"aws:SecureTransport":              {"true"},
	}, iam.Policies{Resource: key.Policy, ResourceKind: iam.Key, ResourceAccount: owner})
	if !d.Allowed {
		return "", c.keyDenied(action, arn, d)
	}
	switch key.State {
	case KeyDisabled:
		return "", refusal(http.StatusBadRequest, "KMS.DisabledException", arn+" is disabled.")
	case KeyPendingDeletion:
		return "", refusal(http.StatusBadRequest, "KMS.KMSInvalidStateException", arn+" is pending deletion.")
	}
	return arn, nil
}

// keyDenied words why KMS denied the use of a key. It tells callers from other
// accounts than the key's neither which key it is, nor whether there is one,
// nor what its account has decided about it.
func (c *call) keyDenied(action, arn string, d iam.Decision) *Error {
	resource, reason := "on resource: "+arn, d.Reason(action)
	if arnAccount(arn) != c.who.principal.Account {
		resource = "on this resource"
		if d.Kind == iam.ResourceBased || d.Kind == iam.ResourceControl {
			reason = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
		}
	}
	return refusal(http.StatusForbidden, "AccessDenied",
		"User: "+c.who.principal.ARN+" is not authorized to perform: "+action+" "+resource+" "+reason)
}
