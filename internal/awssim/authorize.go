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
