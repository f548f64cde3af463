package iam

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// SyntaxError says where and why a document is not a valid policy.
type SyntaxError struct {
	Offset       int // in bytes
	Line, Column int // 1-based; columns count bytes
	Msg          string
}

// SyntaxErrorAt returns the error msg for an offset of data, which may be its end.
func SyntaxErrorAt(data []byte, offset int, msg string) *SyntaxError {
	offset = min(offset, len(data))
	before := data[:offset]
	return &SyntaxError{
		Offset: offset,
		Line:   bytes.Count(before, []byte("\n")) + 1,
		Column: len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1,
		Msg:    msg,
	}
}

// JSONError returns err, which a jsontext.Decoder has returned for data, in the words of Parse.
func JSONError(data []byte, err error) *SyntaxError {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return SyntaxErrorAt(data, len(data), "the document ends too early")
	case !errors.As(err, &syntax):
		return SyntaxErrorAt(data, len(data), err.Error())
	case errors.Is(err, jsontext.ErrDuplicateName):
		return SyntaxErrorAt(data, int(syntax.ByteOffset), fmt.Sprintf("%q is there twice", syntax.JSONPointer.LastToken()))
	}
	return SyntaxErrorAt(data, int(syntax.ByteOffset), strings.TrimPrefix(syntax.Err.Error(), "jsontext: "))
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Parse reads one policy document (Grammar of the IAM JSON policy language). Errors are *SyntaxError.
//
// What is required differs with what a policy is attached to, which a document does not say. Parse refuses what is wrong
// everywhere. A bucket policy without Principal, say, is read, and then applies to nobody; a Principal in an
// identity-based policy is not looked at.
func Parse(data []byte) (*Policy, error) {
	p := &parser{dec: jsontext.NewDecoder(bytes.NewReader(data))}
	policy, err := p.policy()
	if err == nil {
		err = p.end()
	}
	var found *problem
	switch {
	case errors.As(err, &found):
		return nil, SyntaxErrorAt(data, int(found.at), found.msg)
	case err != nil:
		return nil, JSONError(data, err)
	}
	return policy, nil
}

// MustParse is Parse for documents that are part of the program. It panics on an error.
func MustParse(doc string) *Policy {
	p, err := Parse([]byte(doc))
	if err != nil {
		panic("iam: " + err.Error())
	}
	return p
}

// parser reads a document value by value, so that each error knows its place. The decoder refuses duplicate names and
// invalid UTF-8.
type parser struct {
	dec *jsontext.Decoder
}

// value is a string, or a number or boolean as written, and where it starts.
type value struct {
	text string
	kind jsontext.Kind
	at   int64
}

// shownBytes is how much of a wrong value a message repeats.
const shownBytes = 60

// String is v as a message shows it, without what is in an object or an array.
func (v value) String() string {
	switch {
	case v.kind == '{':
		return "an object"
	case v.kind == '[':
		return "an array"
	}
	text := v.text
	if len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	if v.kind == '"' {
		return strconv.Quote(text)
	}
	return text
}

// problem is an error at an offset of the document.
type problem struct {
	at  int64
	msg string
}

func (e *problem) Error() string { return e.msg }

func problemf(at int64, format string, args ...any) error {
	return &problem{at, fmt.Sprintf(format, args...)}
}

func (p *parser) policy() (*Policy, error) {
	policy := &Policy{}
	start, err := p.object("a policy", `{"Version": "2012-10-17", "Statement": […]}`, func(name value) error {
		switch name.text {
		case "Version":
			v, err := p.string("Version")
			if err == nil && v.text != "2012-10-17" && v.text != "2008-10-17" {
				return problemf(v.at, "Version must be 2012-10-17 or 2008-10-17, not %q", v.text)
			}
			policy.Version = v.text
			return err
		case "Id":
			v, err := p.string("Id")
			policy.ID = v.text
			return err
		case "Statement":
			return p.statements(policy)
		default:
			return problemf(name.at, "a policy has no element %q: it has Version, Id and Statement", name.text)
		}
	})
	if err != nil {
		return nil, err
	}
	if policy.Statements == nil {
		return nil, problemf(start, "the policy has no Statement")
	}
	return policy, nil
}

func (p *parser) statements(policy *Policy) error {
	sids := make(map[string]bool)
	return p.oneOrMore("Statement", func() error {
		s := Statement{Index: len(policy.Statements)}
		sidAt, err := p.statement(&s)
		if err != nil {
			return err
		}
		if s.Sid != "" && sids[s.Sid] {
			return problemf(sidAt, "another statement has the Sid %q", s.Sid)
		}
		sids[s.Sid] = true
		policy.Statements = append(policy.Statements, s)
		return nil
	})
}

// statement reads one statement, and returns where its Sid is.
func (p *parser) statement(s *Statement) (sidAt int64, err error) {
	var notPrincipalAt int64
	start, err := p.object("a statement", `{"Effect": "Allow", "Action": …, …}`, func(name value) (err error) {
		switch name.text {
		case "Sid":
			var v value
			v, err = p.string("Sid")
			s.Sid, sidAt = v.text, v.at
		case "Effect":
			s.Effect, err = p.effect()
		case "Principal":
			s.Principal, err = p.principals("Principal")
		case "NotPrincipal":
			notPrincipalAt = name.at
			s.NotPrincipal, err = p.principals("NotPrincipal")
		case "Action":
			s.Action, err = p.list("Action", checkAction)
		case "NotAction":
			s.NotAction, err = p.list("NotAction", checkAction)
		case "Resource":
			s.Resource, err = p.list("Resource", checkResource)
		case "NotResource":
			s.NotResource, err = p.list("NotResource", checkResource)
		case "Condition":
			s.Condition, err = p.conditions()
		default:
			err = problemf(name.at, "a statement has no element %q: it has Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource and Condition", name.text)
		}
		return err
	})
	if err != nil {
		return 0, err
	}

	hasPrincipal := s.Principal != nil || s.NotPrincipal != nil
	switch {
	case s.Effect == "":
		return 0, problemf(start, "the statement has no Effect")
	case s.Action == nil && s.NotAction == nil:
		return 0, problemf(start, "the statement has neither Action nor NotAction")
	case s.Action != nil && s.NotAction != nil:
		return 0, problemf(start, "the statement has both Action and NotAction")
	case s.Resource != nil && s.NotResource != nil:
		return 0, problemf(start, "the statement has both Resource and NotResource")
	case s.Principal != nil && s.NotPrincipal != nil:
		return 0, problemf(start, "the statement has both Principal and NotPrincipal")
	case !hasPrincipal && s.Resource == nil && s.NotResource == nil:
		// Only a role trust policy does without Resource, and that one has a Principal.
		return 0, problemf(start, "the statement has neither Resource nor NotResource")
	case s.NotPrincipal != nil && s.Effect != Deny:
		return 0, problemf(notPrincipalAt, `NotPrincipal must be used with "Effect": "Deny"`)
	}
	return sidAt, nil
}

func (p *parser) effect() (Effect, error) {
	v, err := p.string("Effect")
	if err != nil {
		return "", err
	}
	if e := Effect(v.text); e == Allow || e == Deny {
		return e, nil
	}
	return "", problemf(v.at, "Effect must be Allow or Deny, not %q", v.text)
}

func (p *parser) principals(element string) (*PrincipalSet, error) {
	set := &PrincipalSet{}
	if p.dec.PeekKind() == '"' {
		v, err := p.string(element)
		if err == nil && v.text != "*" {
			return nil, problemf(v.at, `%s must be "*" or an object like {"AWS": …}, not %q`, element, v.text)
		}
		set.AWS = []string{"*"}
		return set, err
	}
	start, err := p.object(element, `{"AWS": …}`, func(name value) (err error) {
		switch name.text {
		case "AWS":
			set.AWS, err = p.list("AWS", checkAWSPrincipal)
		case "Service":
			set.Service, err = p.list("Service", checkServicePrincipal)
		case "Federated":
			set.Federated, err = p.list("Federated", nil)
		case "CanonicalUser":
			set.CanonicalUser, err = p.list("CanonicalUser", nil)
		default:
			err = problemf(name.at, "%s has AWS, Service, Federated and CanonicalUser, not %q", element, name.text)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if set.AWS == nil && set.Service == nil && set.Federated == nil && set.CanonicalUser == nil {
		return nil, problemf(start, "%s names nobody", element)
	}
	return set, nil
}

func (p *parser) conditions() ([]Condition, error) {
	var all []Condition
	_, err := p.object("Condition", `{"StringEquals": {"sts:ExternalId": "…"}}`, func(name value) error {
		_, base, _, ok := parseOperator(name.text)
		if !ok {
			return problemf(name.at, "there is no condition operator %q", name.text)
		}
		_, err := p.object(name.text, `{"sts:ExternalId": "…"}`, func(key value) error {
			if !strings.Contains(key.text, ":") {
				return problemf(key.at, "condition key %q has no prefix like aws: or s3:", key.text)
			}
			c := Condition{Operator: name.text, Key: key.text}
			err := p.oneOrMore(key.text, func() error {
				v, err := p.scalar(key.text)
				if err != nil {
					return err
				}
				if err := checkValue(base, v.text); err != nil {
					return problemf(v.at, "%s: %q %v", name.text, v.text, err)
				}
				c.Values = append(c.Values, v.text)
				return nil
			})
			all = append(all, c)
			return err
		})
		return err
	})
	return all, err
}

func checkAction(s string) error {
	if service, action, ok := strings.Cut(s, ":"); s != "*" && (!ok || service == "" || action == "") {
		return errors.New("is not of the form service:action")
	}
	return nil
}

func checkResource(s string) error {
	if s != "*" && !strings.HasPrefix(s, "arn:") {
		return errors.New(`is neither an ARN nor "*"`)
	}
	if before, _, ok := strings.Cut(s, "${"); ok && strings.Count(before, ":") < 5 {
		return errors.New("has a policy variable before the fifth colon of the ARN")
	}
	return nil
}

func checkAWSPrincipal(s string) error {
	fields := strings.SplitN(s, ":", 6)
	switch {
	case s == "*", isAccountID(s), isUniqueID(s):
		return nil
	case strings.ContainsAny(s, "*?"):
		return errors.New(`has a wildcard, which can only stand alone in a principal: "*"`)
	case len(fields) != 6 || fields[0] != "arn" || fields[2] != "iam" && fields[2] != "sts" || !isAccountID(fields[4]):
		return errors.New("is neither an account nor the ARN of a user, role or session")
	}
	return nil
}

// isUniqueID reports whether s looks like what AWS shows in place of the ARN of a principal that was deleted. Nobody is
// that principal any more.
func isUniqueID(s string) bool {
	return len(s) >= 16 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func checkServicePrincipal(s string) error {
	if strings.ContainsAny(s, "*?") {
		return errors.New("has a wildcard, which a service cannot have")
	}
	return nil
}
