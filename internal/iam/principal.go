package iam

import (
	"slices"
	"strings"
)

// grant says how closely a Principal element names a caller, which decides what else has to allow (Policy evaluation
// logic, "Determining whether a request is allowed or denied within an account").
type grant int

const (
	notNamed    grant = iota
	viaAccount        // its account is named, which delegates: the caller's own policies have to allow as well
	viaRole           // the role behind the session is named: boundary and session policy still limit it
	namedItself       // the session, the user, the service or everyone is named: nothing limits it in the same account
)

// names reports how closely s names p.
func (s *PrincipalSet) names(p Principal) grant {
	if slices.Contains(s.AWS, "*") {
		return namedItself
	}
	if p.Service != "" {
		if slices.Contains(s.Service, p.Service) {
			return namedItself
		}
		return notNamed
	}
	closest := notNamed
	for _, entry := range s.AWS {
		switch {
		case p.ARN != "" && entry == p.ARN:
			closest = max(closest, namedItself)
		case p.RoleARN != "" && entry == p.RoleARN:
			closest = max(closest, viaRole)
		case p.Account != "" && accountOf(entry) == p.Account:
			closest = max(closest, viaAccount)
		}
	}
	return closest
}

// accountOf returns the account that a principal of the two notations for accounts names: the bare identifier, or the
// ARN of its root. It is "" for all other principals.
func accountOf(entry string) string {
	if isAccountID(entry) {
		return entry
	}
	if f := strings.SplitN(entry, ":", 6); len(f) == 6 && f[2] == "iam" && f[5] == "root" {
		return f[4]
	}
	return ""
}

func isAccountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// isRoot reports whether p is an account's root user.
func (p Principal) isRoot() bool {
	return p.Account != "" && accountOf(p.ARN) == p.Account
}

// conditionKeys returns the condition keys that follow from the principal alone (AWS global condition context keys,
// "Properties of the principal").
func (p Principal) conditionKeys() map[string]string {
	keys := make(map[string]string)
	if t := p.principalType(); t != "" {
		keys["aws:principaltype"] = t
	}
	if p.Account != "" {
		keys["aws:principalaccount"] = p.Account
	}
	// For a session the key holds the role's ARN, not the session's.
	if arn := p.RoleARN; arn != "" {
		keys["aws:principalarn"] = arn
	} else if p.ARN != "" {
		keys["aws:principalarn"] = p.ARN
	}
	return keys
}

func (p Principal) principalType() string {
	switch {
	case p.isRoot():
		return "Account"
	case p.RoleARN != "" || strings.Contains(p.ARN, ":assumed-role/"):
		return "AssumedRole"
	case strings.Contains(p.ARN, ":federated-user/"):
		return "FederatedUser"
	case p.ARN != "":
		return "User"
	case p.Service != "":
		return "" // AWS documents none
	default:
		return "Anonymous"
	}
}
