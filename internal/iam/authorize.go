package iam

// opinion is what all policies of one kind say together.
type opinion struct {
	kind   PolicyKind
	policy *Policy // the one that decides
	Verdict
}

// Authorize decides whether the policies allow the request, by AWS's "Policy evaluation logic": an explicit deny
// anywhere wins; then organization policies must allow; then
//
//   - within an account, the resource's policy or the caller's identity-based policies must allow; of a role's trust
//     policy and of a key policy, the resource's policy must, by naming the caller or by delegating to the account;
//   - across accounts, both the resource's policy and the caller's identity-based policies must allow;
//   - permissions boundary and session policy must allow too, unless the resource's policy, in the same account, names
//     the session or user itself or everyone.
//
// Identity-based policies that are not given do not allow. So a cross-account sts:AssumeRole with Policies.Identity nil
// is denied, however much the trust policy allows.
func Authorize(req Request, p Policies) Decision {
	req = req.withContext()
	resourceKind := ResourceBased
	if p.ResourceKind == RoleTrust {
		resourceKind = RoleTrustPolicy
	}
	var (
		scp      = consult(req, ServiceControl, p.SCP...)
		rcp      = consult(req, ResourceControl, p.RCP...)
		resource = consult(req, resourceKind, p.Resource)
		identity = consult(req, IdentityBased, p.Identity...)
		boundary = consult(req, PermissionsBoundary, p.Boundary)
		session  = consult(req, SessionPolicy, p.Session)
	)
	if req.Principal.isRoot() && identity.Effect == "" {
		identity.Effect = Allow // the root user needs no identity-based policy, and cannot have one
	}

	for _, o := range []opinion{scp, rcp, resource, identity, boundary, session} {
		if o.Effect == Deny {
			return Decision{Explicit: true, Kind: o.kind, Policy: o.policy, Statement: o.Statement}
		}
	}
	if len(p.SCP) > 0 && scp.Effect != Allow {
		return implicitDeny(ServiceControl)
	}
	if len(p.RCP) > 0 && rcp.Effect != Allow {
		return implicitDeny(ResourceControl)
	}

	sameAccount := req.Principal.Account != "" && req.Principal.Account == p.ResourceAccount
	direct := resource.Effect == Allow && resource.grant > viaAccount
	var granted opinion
	switch {
	case req.Principal.Account == "": // services and anonymous callers have no policies of their own
		if !direct {
			return implicitDeny(resourceKind)
		}
		return allow(resource)
	case sameAccount && direct && resource.grant == namedItself:
		return allow(resource)
	case sameAccount && direct:
		granted = resource
	case resource.Effect != Allow && (!sameAccount || p.ResourceKind != Bucket):
		return implicitDeny(resourceKind)
	case identity.Effect != Allow:
		return implicitDeny(IdentityBased)
	default:
		granted = identity
	}

	if p.Boundary != nil && boundary.Effect != Allow {
		return implicitDeny(PermissionsBoundary)
	}
	if p.Session != nil && session.Effect != Allow {
		return implicitDeny(SessionPolicy)
	}
	return allow(granted)
}

// consult returns what the policies say together: the first Deny, or else the Allow that names the caller most closely.
// nil policies say nothing.
func consult(req Request, kind PolicyKind, policies ...*Policy) opinion {
	said := opinion{kind: kind}
	for _, p := range policies {
		if p == nil {
			continue
		}
		v := p.evaluate(req, kind)
		if v.Effect == Deny {
			return opinion{kind: kind, policy: p, Verdict: v}
		}
		if v.Effect == Allow && (said.policy == nil || v.grant > said.grant) {
			said = opinion{kind: kind, policy: p, Verdict: v}
		}
	}
	return said
}

func allow(by opinion) Decision {
	return Decision{Allowed: true, Kind: by.kind, Policy: by.policy, Statement: by.Statement}
}

func implicitDeny(missing PolicyKind) Decision {
	return Decision{Kind: missing}
}
