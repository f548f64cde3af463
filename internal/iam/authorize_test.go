package iam

import "testing"

const object = "arn:aws:s3:::amzn-s3-demo-bucket/key"

// statement makes a policy of one statement about all actions and resources.
func statement(effect, principal string) *Policy {
	if principal != "" {
		principal = `"Principal": ` + principal + `, `
	}
	return MustParse(`{"Version": "2012-10-17", "Statement": {"Effect": "` + effect + `", ` + principal + `"Action": "*", "Resource": "*"}}`)
}

var (
	allows = statement("Allow", "")
	denies = statement("Deny", "")
	// silent says nothing of any request in these tests.
	silent = MustParse(`{"Statement": {"Effect": "Allow", "Action": "x:y", "Resource": "*"}}`)

	toEveryone = statement("Allow", `"*"`)
	toAccount  = statement("Allow", `{"AWS": "arn:aws:iam::111122223333:root"}`)
	toRole     = statement("Allow", `{"AWS": "arn:aws:iam::111122223333:role/path/examplerole"}`)
	toSession  = statement("Allow", `{"AWS": "arn:aws:sts::111122223333:assumed-role/examplerole/examplerolesessionname"}`)
	toUser     = statement("Allow", `{"AWS": "arn:aws:iam::111122223333:user/carlossalazar"}`)
	toService  = statement("Allow", `{"Service": "logging.s3.amazonaws.com"}`)
	toNobody   = statement("Allow", `{"AWS": "444455556666"}`)
)

func list(p ...*Policy) []*Policy { return p }

const (
	noIdentity = "because no identity-based policy allows the a:B action"
	noResource = "because no resource-based policy allows the a:B action"
	noTrust    = "because no role trust policy allows the a:B action"
	noBoundary = "because no permissions boundary allows the a:B action"
	noSession  = "because no session policy allows the a:B action"
	noSCP      = "because no service control policy allows the a:B action"
	noRCP      = "because no resource control policy allows the a:B action"
)

// TestAuthorizeImplicit is about who has to allow. All callers with an account are of 111122223333, which is the resource's
// account where "same" says so.
func TestAuthorizeImplicit(t *testing.T) {
	tests := []struct {
		name   string
		same   bool
		caller Principal
		p      Policies
		reason string // "": allowed
		kind   PolicyKind
	}{
		// "Evaluating identity-based policies with resource-based policies": the total of both, in the same account.
		{"bucket: nothing allows", true, user, Policies{}, noIdentity, IdentityBased},
		{"bucket: identity allows", true, user, Policies{Identity: list(silent, allows)}, "", IdentityBased},
		{"bucket: resource allows", true, user, Policies{Resource: toUser}, "", ResourceBased},
		{"bucket: both allow", true, user, Policies{Identity: list(allows), Resource: toUser}, "", ResourceBased},
		{"bucket: resource delegates to the account", true, user, Policies{Resource: toAccount}, noIdentity, IdentityBased},
		{"bucket: resource is about others", true, user, Policies{Identity: list(allows), Resource: toNobody}, "", IdentityBased},
		{"bucket: everyone", true, user, Policies{Resource: toEveryone}, "", ResourceBased},
		{"bucket: root user", true, root, Policies{}, "", IdentityBased},

		// "Cross-account policy evaluation logic": both must allow.
		{"other's bucket: identity only", false, user, Policies{Identity: list(allows)}, noResource, ResourceBased},
		{"other's bucket: resource only", false, user, Policies{Resource: toUser}, noIdentity, IdentityBased},
		{"other's bucket: everyone", false, user, Policies{Resource: toEveryone}, noIdentity, IdentityBased},
		{"other's bucket: both", false, user, Policies{Identity: list(allows), Resource: toUser}, "", IdentityBased},
		{"other's bucket: account and identity", false, session, Policies{Identity: list(allows), Resource: toAccount}, "", IdentityBased},
		{"other's bucket: session named, but limited", false, session, Policies{Identity: list(allows), Resource: toSession, Session: silent}, noSession, SessionPolicy},
		{"other's bucket: root user", false, root, Policies{Resource: toAccount}, "", IdentityBased},

		// "Evaluating identity-based policies with permissions boundaries" and session policies: the intersection.
		{"boundary allows", true, user, Policies{Identity: list(allows), Boundary: allows}, "", IdentityBased},
		{"boundary does not allow", true, user, Policies{Identity: list(allows), Boundary: silent}, noBoundary, PermissionsBoundary},
		{"boundary grants nothing", true, user, Policies{Boundary: allows}, noIdentity, IdentityBased},
		{"session policy allows", true, session, Policies{Identity: list(allows), Session: allows}, "", IdentityBased},
		{"session policy does not allow", true, session, Policies{Identity: list(allows), Session: silent}, noSession, SessionPolicy},
		{"session policy grants nothing", true, session, Policies{Session: allows}, noIdentity, IdentityBased},
		{"boundary comes before session policy", true, session, Policies{Identity: list(allows), Boundary: silent, Session: silent}, noBoundary, PermissionsBoundary},

		// "Resource-based policies and implicit denies in other policy types (same account)".
		{"role named", true, session, Policies{Resource: toRole}, "", ResourceBased},
		{"role named, boundary does not allow", true, session, Policies{Resource: toRole, Boundary: silent}, noBoundary, PermissionsBoundary},
		{"role named, session policy does not allow", true, session, Policies{Resource: toRole, Session: silent}, noSession, SessionPolicy},
		{"session named", true, session, Policies{Resource: toSession, Boundary: silent, Session: silent}, "", ResourceBased},
		{"user named", true, user, Policies{Resource: toUser, Boundary: silent}, "", ResourceBased},
		// "… do not limit permissions granted using the aws:PrincipalArn condition key with a wildcard(*) in the Principal
		// element" (AWS JSON policy elements: Principal).
		{"everyone named", true, session, Policies{Resource: toEveryone, Boundary: silent, Session: silent}, "", ResourceBased},

		// Callers that have no policies of their own.
		{"service named", true, service, Policies{Resource: toService}, "", ResourceBased},
		{"service not named", true, service, Policies{Resource: toAccount}, noResource, ResourceBased},
		{"anonymous, everyone named", true, anonymous, Policies{Resource: toEveryone}, "", ResourceBased},
		{"anonymous", true, anonymous, Policies{Identity: list(allows)}, noResource, ResourceBased},

		// "Permissions to assume a role", "IAM role trust policies … must explicitly allow access".
		{"role: identity only", true, user, Policies{ResourceKind: RoleTrust, Identity: list(allows), Resource: toNobody}, noTrust, RoleTrustPolicy},
		{"role: no trust policy", true, user, Policies{ResourceKind: RoleTrust, Identity: list(allows)}, noTrust, RoleTrustPolicy},
		{"role: user trusted", true, user, Policies{ResourceKind: RoleTrust, Resource: toUser}, "", RoleTrustPolicy},
		{"role: role trusted", true, session, Policies{ResourceKind: RoleTrust, Resource: toRole}, "", RoleTrustPolicy},
		{"role: account trusted", true, user, Policies{ResourceKind: RoleTrust, Resource: toAccount}, noIdentity, IdentityBased},
		{"role: account trusted, identity allows", true, user, Policies{ResourceKind: RoleTrust, Resource: toAccount, Identity: list(allows)}, "", IdentityBased},
		{"other's role: user trusted", false, user, Policies{ResourceKind: RoleTrust, Resource: toUser}, noIdentity, IdentityBased},
		{"other's role: user trusted, identity allows", false, user, Policies{ResourceKind: RoleTrust, Resource: toUser, Identity: list(allows)}, "", IdentityBased},
		{"other's role: identity only", false, user, Policies{ResourceKind: RoleTrust, Resource: toNobody, Identity: list(allows)}, noTrust, RoleTrustPolicy},

		// "Key policies in AWS KMS": IAM policies count only if the key policy delegates to the account.
		{"key: identity only", true, session, Policies{ResourceKind: Key, Identity: list(allows), Resource: toNobody}, noResource, ResourceBased},
		{"key: role named", true, session, Policies{ResourceKind: Key, Resource: toRole}, "", ResourceBased},
		{"key: role named, session policy does not allow", true, session, Policies{ResourceKind: Key, Resource: toRole, Session: silent}, noSession, SessionPolicy},
		{"key: account named", true, session, Policies{ResourceKind: Key, Resource: toAccount}, noIdentity, IdentityBased},
		{"key: account named, identity allows", true, session, Policies{ResourceKind: Key, Resource: toAccount, Identity: list(allows)}, "", IdentityBased},
		{"key: not even the root user", true, root, Policies{ResourceKind: Key, Resource: toUser}, noResource, ResourceBased},
		{"other's key: role named", false, session, Policies{ResourceKind: Key, Resource: toRole}, noIdentity, IdentityBased},
		{"other's key: role named, identity allows", false, session, Policies{ResourceKind: Key, Resource: toRole, Identity: list(allows)}, "", IdentityBased},

		// "Evaluating identity-based policies with Organizations SCPs", and RCPs.
		{"SCP allows", true, user, Policies{Identity: list(allows), SCP: list(silent, allows)}, "", IdentityBased},
		{"SCP does not allow", true, user, Policies{Identity: list(allows), SCP: list(silent)}, noSCP, ServiceControl},
		{"SCP limits the root user", true, root, Policies{SCP: list(silent)}, noSCP, ServiceControl},
		{"RCP does not allow", true, user, Policies{Identity: list(allows), RCP: list(silent)}, noRCP, ResourceControl},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.ResourceAccount = "999999999999"
			if tt.same {
				tt.p.ResourceAccount = "111122223333"
			}
			d := Authorize(Request{Principal: tt.caller, Action: "a:B", Resource: object}, tt.p)
			if d.Allowed != (tt.reason == "") || d.Explicit || d.Kind != tt.kind || d.Reason("a:B") != tt.reason {
				t.Errorf("%+v, reason %q, want %q by %s", d, d.Reason("a:B"), tt.reason, tt.kind)
			}
			if hasPolicy := d.Policy != nil && d.Statement != nil; hasPolicy != d.Allowed && !tt.caller.isRoot() {
				t.Errorf("%+v: the deciding policy and statement do not fit", d)
			}
		})
	}
}

// "An explicit deny in any policy overrides any allows", with the wording of "Troubleshooting access denied error messages".
func TestAuthorizeExplicitDeny(t *testing.T) {
	denied := statement("Deny", `{"AWS": "111122223333"}`)
	all := func(change func(*Policies)) Policies {
		p := Policies{
			Identity: list(allows), Boundary: allows, Session: allows, Resource: toSession,
			ResourceAccount: "111122223333", SCP: list(allows), RCP: list(toEveryone),
		}
		change(&p)
		return p
	}
	tests := []struct {
		kind   PolicyKind
		p      Policies
		reason string
	}{
		{IdentityBased, all(func(p *Policies) { p.Identity = list(allows, denies) }), "with an explicit deny in an identity-based policy"},
		{ResourceBased, all(func(p *Policies) { p.Resource = denied }), "with an explicit deny in a resource-based policy"},
		{RoleTrustPolicy, all(func(p *Policies) { p.Resource, p.ResourceKind = denied, RoleTrust }), "with an explicit deny in the role trust policy"},
		{ResourceBased, all(func(p *Policies) { p.Resource, p.ResourceKind = denied, Key }), "with an explicit deny in a resource-based policy"},
		{PermissionsBoundary, all(func(p *Policies) { p.Boundary = denies }), "with an explicit deny in a permissions boundary"},
		{SessionPolicy, all(func(p *Policies) { p.Session = denies }), "with an explicit deny in a session policy"},
		{ServiceControl, all(func(p *Policies) { p.SCP = list(allows, denies) }), "with an explicit deny in a service control policy"},
		{ResourceControl, all(func(p *Policies) { p.RCP = list(toEveryone, denied) }), "with an explicit deny in a resource control policy"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d := Authorize(Request{Principal: session, Action: "a:B", Resource: object}, tt.p)
			if d.Allowed || !d.Explicit || d.Kind != tt.kind || d.Reason("a:B") != tt.reason {
				t.Errorf("%+v, reason %q, want %q", d, d.Reason("a:B"), tt.reason)
			}
			if d.Policy == nil || d.Statement == nil || d.Statement.Effect != Deny {
				t.Errorf("%+v does not name the statement that denies", d)
			}
		})
	}
}

// "Example identity-based and resource-based policy evaluation" (Policy evaluation logic).
func TestAuthorizeCarlos(t *testing.T) {
	p := Policies{
		Identity: list(MustParse(`{
			"Version": "2012-10-17",
			"Statement": [
				{
					"Sid": "AllowS3ListRead",
					"Effect": "Allow",
					"Action": ["s3:GetBucketLocation", "s3:GetAccountPublicAccessBlock", "s3:ListAccessPoints", "s3:ListAllMyBuckets"],
					"Resource": "arn:aws:s3:::*"
				},
				{
					"Sid": "AllowS3Self",
					"Effect": "Allow",
					"Action": "s3:*",
					"Resource": ["arn:aws:s3:::carlossalazar/*", "arn:aws:s3:::carlossalazar"]
				},
				{
					"Sid": "DenyS3Logs",
					"Effect": "Deny",
					"Action": "s3:*",
					"Resource": "arn:aws:s3:::*log*"
				}
			]
		}`)),
		Resource: MustParse(`{
			"Version": "2012-10-17",
			"Statement": [
				{
					"Effect": "Allow",
					"Principal": {"AWS": "arn:aws:iam::111122223333:user/carlossalazar"},
					"Action": "s3:*",
					"Resource": ["arn:aws:s3:::carlossalazar/*", "arn:aws:s3:::carlossalazar"]
				}
			]
		}`),
		ResourceAccount: "111122223333",
	}
	for resource, want := range map[string]string{
		"arn:aws:s3:::carlossalazar/file":      "",
		"arn:aws:s3:::carlossalazar-logs/file": "with an explicit deny in an identity-based policy",
		"arn:aws:s3:::other/file":              "because no identity-based policy allows the s3:PutObject action",
	} {
		d := Authorize(Request{Principal: user, Action: "s3:PutObject", Resource: resource}, p)
		if got := d.Reason("s3:PutObject"); got != want || d.Allowed != (want == "") {
			t.Errorf("%s: allowed %t, reason %q, want %q", resource, d.Allowed, got, want)
		}
	}
}
