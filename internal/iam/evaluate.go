package iam

import "strings"

// Verdict is what one policy says of a request.
type Verdict struct {
	Effect    Effect     // "": no statement matches
	Statement *Statement // the one that decides: the first Deny, or the Allow that names the caller most closely

	grant grant // how closely that Allow names the caller
}

// Evaluate says what p alone, attached in the given capacity, says of the request. A Deny wins over every Allow.
//
// A resource-based policy or role trust policy that allows only by naming the caller's account yields Allow too, though
// the caller's own policies have to allow as well: that is for Authorize to put together.
func (p *Policy) Evaluate(req Request, kind PolicyKind) Verdict {
	return p.evaluate(req.withContext(), kind)
}

func (p *Policy) evaluate(req Request, kind PolicyKind) Verdict {
	var v Verdict
	for i := range p.Statements {
		s := &p.Statements[i]
		g, mismatch := s.match(req, kind, p.variables(req))
		switch {
		case mismatch != nil:
		case s.Effect == Deny:
			return Verdict{Effect: Deny, Statement: s}
		case s.Effect == Allow && (v.Statement == nil || g > v.grant):
			v = Verdict{Effect: Allow, Statement: s, grant: g}
		}
	}
	return v
}

// Mismatch says why a statement does not apply to a request: the first of its elements that does not match.
type Mismatch struct {
	Statement *Statement
	Element   string     // "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource" or "Condition"
	Condition *Condition // the condition that does not hold, if Element is "Condition"
}

// Mismatches explains, in the order of the document, the statements of p that do not apply to the request.
func (p *Policy) Mismatches(req Request, kind PolicyKind) []Mismatch {
	req = req.withContext()
	var found []Mismatch
	for i := range p.Statements {
		if _, m := p.Statements[i].match(req, kind, p.variables(req)); m != nil {
			found = append(found, *m)
		}
	}
	return found
}

// match returns nil and how closely the statement names the caller if it applies, or else why it does not.
func (s *Statement) match(req Request, kind PolicyKind, vars variables) (grant, *Mismatch) {
	g := namedItself
	switch {
	case kind != ResourceBased && kind != RoleTrustPolicy: // is attached to the caller, or is about everyone
	case s.NotPrincipal != nil:
		// Of a session, the session itself has to be named: AWS "might validate the account first, then the role,
		// and then the assumed-role user" (NotPrincipal), and a name that is missing there is denied.
		if s.NotPrincipal.names(req.Principal) == namedItself {
			return notNamed, &Mismatch{Statement: s, Element: "NotPrincipal"}
		}
	case s.Principal != nil:
		g = s.Principal.names(req.Principal)
		// A Deny of an account is a Deny of all in it, so any way to be named will do.
		if g == notNamed {
			return notNamed, &Mismatch{Statement: s, Element: "Principal"}
		}
	default: // a resource's policy that forgot its Principal
		return notNamed, &Mismatch{Statement: s, Element: "Principal"}
	}

	if s.NotAction != nil {
		if matchesAction(s.NotAction, req.Action) {
			return notNamed, &Mismatch{Statement: s, Element: "NotAction"}
		}
	} else if !matchesAction(s.Action, req.Action) {
		return notNamed, &Mismatch{Statement: s, Element: "Action"}
	}

	switch {
	case kind == RoleTrustPolicy: // is about its role only, and has no Resource
	case s.NotResource != nil:
		if matchesResource(s.NotResource, req.Resource, vars) {
			return notNamed, &Mismatch{Statement: s, Element: "NotResource"}
		}
	case !matchesResource(s.Resource, req.Resource, vars):
		return notNamed, &Mismatch{Statement: s, Element: "Resource"}
	}

	for i := range s.Condition {
		if c := &s.Condition[i]; !c.holds(req.Context, vars) {
			return notNamed, &Mismatch{Statement: s, Element: "Condition", Condition: c}
		}
	}
	return g, nil
}

// variables returns the values of policy variables. Version 2008-10-17, the default, takes them literally.
func (p *Policy) variables(req Request) variables {
	if p.Version != "2012-10-17" {
		return nil
	}
	return req.Context
}

// withContext returns req with the names of its condition keys in lower case, and with those added that follow from the
// principal.
func (req Request) withContext() Request {
	context := make(map[string][]string, len(req.Context)+3)
	for key, value := range req.Principal.conditionKeys() {
		context[key] = []string{value}
	}
	for key, values := range req.Context {
		context[strings.ToLower(key)] = values
	}
	req.Context = context
	return req
}
