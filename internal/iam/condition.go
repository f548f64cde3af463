package iam

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is a condition operator without its set prefix and IfExists.
type operator struct {
	// match reports whether a value of the policy matches one of the request, before negation. A value whose variables
	// have no value matches nothing, and so makes a negated operator hold (IAM policy elements: Variables and tags).
	match   func(want, got string, vars variables) bool
	negated bool
	check   func(want string) error // nil: any value will do; what it refuses could never match
}

// operators are all that AWS has. Their names have case: AWS refuses "stringEquals" as "Invalid Condition type".
// Null is not among them since it compares no values.
var operators = map[string]operator{
	"StringEquals":              {match: text(equal)},
	"StringNotEquals":           {match: text(equal), negated: true},
	"StringEqualsIgnoreCase":    {match: text(strings.EqualFold)},
	"StringNotEqualsIgnoreCase": {match: text(strings.EqualFold), negated: true},
	"StringLike":                {match: like(plainText)},
	"StringNotLike":             {match: like(plainText), negated: true},

	"NumericEquals":            {match: numeric(func(c int) bool { return c == 0 }), check: checkNumber},
	"NumericNotEquals":         {match: numeric(func(c int) bool { return c == 0 }), check: checkNumber, negated: true},
	"NumericLessThan":          {match: numeric(func(c int) bool { return c < 0 }), check: checkNumber},
	"NumericLessThanEquals":    {match: numeric(func(c int) bool { return c <= 0 }), check: checkNumber},
	"NumericGreaterThan":       {match: numeric(func(c int) bool { return c > 0 }), check: checkNumber},
	"NumericGreaterThanEquals": {match: numeric(func(c int) bool { return c >= 0 }), check: checkNumber},

	"DateEquals":            {match: date(func(c int) bool { return c == 0 }), check: checkDate},
	"DateNotEquals":         {match: date(func(c int) bool { return c == 0 }), check: checkDate, negated: true},
	"DateLessThan":          {match: date(func(c int) bool { return c < 0 }), check: checkDate},
	"DateLessThanEquals":    {match: date(func(c int) bool { return c <= 0 }), check: checkDate},
	"DateGreaterThan":       {match: date(func(c int) bool { return c > 0 }), check: checkDate},
	"DateGreaterThanEquals": {match: date(func(c int) bool { return c >= 0 }), check: checkDate},

	"Bool":         {match: text(strings.EqualFold), check: checkBool},
	"BinaryEquals": {match: binaryEqual, check: checkBase64},

	"IpAddress":    {match: inNetwork, check: checkNetwork},
	"NotIpAddress": {match: inNetwork, check: checkNetwork, negated: true},

	// The Equals and the Like forms "behave identically".
	"ArnEquals":    {match: like(conditionARN)},
	"ArnLike":      {match: like(conditionARN)},
	"ArnNotEquals": {match: like(conditionARN), negated: true},
	"ArnNotLike":   {match: like(conditionARN), negated: true},
}

// quantifier is the set prefix of an operator.
type quantifier string

const (
	single   quantifier = ""
	anyValue quantifier = "ForAnyValue:"
	allValue quantifier = "ForAllValues:"
)

const nullOperator = "Null"

// parseOperator takes the name of an operator apart. It reports false if AWS has none of that name. Of Null, op is zero.
func parseOperator(name string) (q quantifier, base string, ifExists, ok bool) {
	for _, prefix := range []quantifier{anyValue, allValue} {
		if rest, found := strings.CutPrefix(name, string(prefix)); found {
			q, name = prefix, rest
			break
		}
	}
	base, ifExists = strings.CutSuffix(name, "IfExists")
	if base == nullOperator {
		return q, base, ifExists, !ifExists
	}
	_, ok = operators[base]
	return q, base, ifExists, ok
}

// checkValue refuses a value that the operator could never match.
func checkValue(base, value string) error {
	if base == nullOperator {
		return checkBool(value)
	}
	if check := operators[base].check; check != nil {
		return check(value)
	}
	return nil
}

// holds reports whether the condition is true of the request's condition keys, whose names are in lower case.
func (c *Condition) holds(context map[string][]string, vars variables) bool {
	q, base, ifExists, ok := parseOperator(c.Operator)
	if !ok {
		return false
	}
	got := context[strings.ToLower(c.Key)]
	if base == nullOperator {
		return c.isNull(len(got) == 0)
	}
	if q != single && len(got) == 1 && got[0] == "" {
		got = nil // "the key values in the request resolve to an empty data set (for example, an empty string)"
	}
	op := operators[base]
	if len(got) == 0 {
		switch {
		case ifExists, q == allValue:
			return true
		case q == anyValue:
			return false
		default:
			return op.negated
		}
	}

	// Without a set operator a key should have one value. If it has several, a negated operator must hold for all of
	// them, so that it stays the opposite of the other.
	needAll := q == allValue || q == single && op.negated
	for _, value := range got {
		if c.holdsFor(op, value, vars) != needAll {
			return !needAll
		}
	}
	return needAll
}

// holdsFor reports whether the operator holds for one value of the request: of several values in the policy one has to
// match, and of a negated operator none ("evaluated using a logical NOR").
func (c *Condition) holdsFor(op operator, got string, vars variables) bool {
	for _, want := range c.Values {
		if op.match(want, got, vars) {
			return !op.negated
		}
	}
	return op.negated
}

// isNull evaluates the Null operator: "true" holds for an absent key, "false" for a present one.
func (c *Condition) isNull(absent bool) bool {
	for _, want := range c.Values {
		if strings.EqualFold(want, strconv.FormatBool(absent)) {
			return true
		}
	}
	return false
}

func equal(a, b string) bool { return a == b }

// text makes an operator of a comparison of whole texts. In these a policy value has variables but no wildcards.
func text(matches func(want, got string) bool) func(string, string, variables) bool {
	return func(want, got string, vars variables) bool {
		want, ok := expand(want, vars)
		return ok && matches(want, got)
	}
}

// expand replaces the variables in s. It reports false if one has no value.
func expand(s string, vars variables) (string, bool) {
	if vars == nil {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		name, n, ok := variableAt(s[i:])
		if !ok {
			b.WriteByte(s[i])
			i++
			continue
		}
		value, ok := vars.resolve(name)
		if !ok {
			return "", false
		}
		b.WriteString(value)
		i += n
	}
	return b.String(), true
}

func like(sc scope) func(string, string, variables) bool {
	return func(want, got string, vars variables) bool {
		p, ok := compile(want, sc, vars)
		return ok && p.match(got)
	}
}

// numeric makes an operator of how the request's number compares with the policy's.
func numeric(matches func(c int) bool) func(string, string, variables) bool {
	return func(want, got string, _ variables) bool {
		w, err := parseNumber(want)
		if err != nil {
			return false
		}
		g, err := parseNumber(got)
		return err == nil && matches(cmp.Compare(g, w))
	}
}

var errNumber = errors.New("is not a number")

func parseNumber(s string) (float64, error) {
	// ParseFloat also reads hexadecimal, underscores, "inf" and "nan", which no policy means.
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, errNumber
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, errNumber
	}
	return f, nil
}

func checkNumber(s string) error {
	_, err := parseNumber(s)
	return err
}

// date makes an operator of how the request's time compares with the policy's.
func date(matches func(c int) bool) func(string, string, variables) bool {
	return func(want, got string, _ variables) bool {
		w, err := parseDate(want)
		if err != nil {
			return false
		}
		g, err := parseDate(got)
		return err == nil && matches(g.Compare(w))
	}
}

// dateLayouts are the W3C forms of ISO 8601. Fractions of a second need no layout of their own.
var dateLayouts = []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00"}

// parseDate reads a W3C date or seconds since 1970. Four digits are a year.
func parseDate(s string) (time.Time, error) {
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if sec, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(sec, 0), nil
	}
	return time.Time{}, errors.New("is neither an ISO 8601 date nor seconds since 1970")
}

func checkDate(s string) error {
	_, err := parseDate(s)
	return err
}

// checkBool lets variables through: only the request tells what they are.
func checkBool(s string) error {
	if strings.EqualFold(s, "true") || strings.EqualFold(s, "false") || strings.Contains(s, "${") {
		return nil
	}
	return errors.New("is neither true nor false")
}

func binaryEqual(want, got string, _ variables) bool {
	b, err := base64.StdEncoding.DecodeString(want)
	return err == nil && string(b) == got
}

func checkBase64(s string) error {
	if _, err := base64.StdEncoding.DecodeString(s); err != nil {
		return errors.New("is not base64")
	}
	return nil
}

func inNetwork(want, got string, _ variables) bool {
	network, err := parseNetwork(want)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(got)
	return err == nil && network.Contains(ip.Unmap())
}

// parseNetwork reads CIDR notation, or an address, which is a network of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func checkNetwork(s string) error {
	if _, err := parseNetwork(s); err != nil {
		return errors.New("is neither an IP address nor a CIDR block")
	}
	return nil
}
