package iam

import (
	"strings"
	"unicode/utf8"
)

// pattern is a text with wildcards, its policy variables replaced.
type pattern []token

type token struct {
	kind    tokenKind
	text    string // of a literal
	crosses bool   // whether a wildcard matches colons too
}

type tokenKind int

const (
	literal tokenKind = iota
	anyChar           // ?
	anyRun            // *
)

// scope says where in a text wildcards match colons.
type scope int

const (
	// plainText has wildcards that match anything.
	plainText scope = iota
	// resourceARN keeps a wildcard in the first five segments within its segment, except that a "*" which ends the
	// segment "can expand to match beyond the colon boundaries" (IAM JSON policy elements: Resource).
	resourceARN
	// conditionARN keeps it there always: "each of the six colon-delimited components of the ARN is checked separately"
	// (IAM JSON policy elements: Condition operators). A "*" at the very end stands for all that follows.
	conditionARN
)

// variables are the values that policy variables can take. nil: the policy's version has no variables.
type variables map[string][]string

// resolve returns what stands for ${name}. A key that is absent, or has several values, has no value: only
// single-valued keys can be variables.
func (v variables) resolve(name string) (string, bool) {
	switch name {
	case "*", "?", "$":
		return name, true
	}
	key, fallback, hasDefault := strings.Cut(name, ",")
	if values := v[strings.ToLower(strings.TrimSpace(key))]; len(values) == 1 {
		return values[0], true
	}
	fallback = strings.TrimSpace(fallback)
	if hasDefault && len(fallback) >= 2 && fallback[0] == '\'' && fallback[len(fallback)-1] == '\'' {
		return fallback[1 : len(fallback)-1], true
	}
	return "", false
}

// variableAt returns the name of the variable that text starts with, and the length of its notation.
func variableAt(text string) (name string, length int, ok bool) {
	if !strings.HasPrefix(text, "${") {
		return "", 0, false
	}
	end := strings.IndexByte(text, '}')
	if end < 0 {
		return "", 0, false
	}
	return text[len("${"):end], end + 1, true
}

// compile reads text as a pattern. What a variable stands for is literal: a "*" in it is no wildcard. It reports false if
// a variable has no value, in which case the text matches nothing.
func compile(text string, sc scope, vars variables) (pattern, bool) {
	var p pattern
	colons := 0
	for i := 0; i < len(text); {
		if name, n, ok := variableAt(text[i:]); ok && vars != nil {
			value, ok := vars.resolve(name)
			if !ok {
				return nil, false
			}
			p = append(p, token{kind: literal, text: value})
			i += n
			continue
		}
		inSegment := sc != plainText && colons < 5
		switch text[i] {
		case '?':
			p = append(p, token{kind: anyChar, crosses: !inSegment})
			i++
		case '*':
			last := i+1 == len(text)
			endsSegment := sc == resourceARN && !last && text[i+1] == ':'
			p = append(p, token{kind: anyRun, crosses: !inSegment || last || endsSegment})
			i++
		default:
			end := len(text)
			if n := strings.IndexAny(text[i+1:], "?*$"); n >= 0 {
				end = i + 1 + n
			}
			colons += strings.Count(text[i:end], ":")
			p = append(p, token{kind: literal, text: text[i:end]})
			i = end
		}
	}
	return p, true
}

// match reports whether p matches all of s. It follows all ways to match at once, so that no pattern takes it more than
// len(p)·len(s) steps.
func (p pattern) match(s string) bool {
	reached := make([]bool, len(s)+1) // offsets in s up to which the tokens so far match
	reached[0] = true
	for _, t := range p {
		next := make([]bool, len(s)+1)
		for i, ok := range reached {
			if !ok {
				continue
			}
			switch t.kind {
			case literal:
				if strings.HasPrefix(s[i:], t.text) {
					next[i+len(t.text)] = true
				}
			case anyChar:
				if i < len(s) && (t.crosses || s[i] != ':') {
					_, n := utf8.DecodeRuneInString(s[i:])
					next[i+n] = true
				}
			case anyRun:
				t.markRun(s, i, next)
			}
		}
		reached = next
	}
	return reached[len(s)]
}

// markRun marks the offsets that a "*" at offset i of s can reach. Offsets that an earlier start has marked end it, since
// that start went as far as this one could.
func (t token) markRun(s string, i int, next []bool) {
	for ; i <= len(s) && !next[i]; i++ {
		next[i] = i == len(s) || utf8.RuneStart(s[i])
		if i < len(s) && s[i] == ':' && !t.crosses {
			return
		}
	}
}

// matchesAction reports whether one of the patterns, like "s3:Put*", matches the action. Actions have no case.
func matchesAction(patterns []string, action string) bool {
	action = strings.ToLower(action)
	for _, text := range patterns {
		if p, ok := compile(strings.ToLower(text), plainText, nil); ok && p.match(action) {
			return true
		}
	}
	return false
}

// matchesResource reports whether one of the patterns matches the ARN.
func matchesResource(patterns []string, arn string, vars variables) bool {
	for _, text := range patterns {
		if p, ok := compile(completeARN(text), resourceARN, vars); ok && p.match(arn) {
			return true
		}
	}
	return false
}

// completeARN adds the segments that a Resource leaves out: "When you specify an incomplete ARN … AWS automatically
// completes the ARN by adding wildcard characters (*) to all missing fields" (IAM JSON policy elements: Resource). A final
// "*" covers them already.
func completeARN(text string) string {
	missing := 5 - strings.Count(text, ":")
	if !strings.HasPrefix(text, "arn:") || strings.HasSuffix(text, "*") || missing <= 0 {
		return text
	}
	return text + strings.Repeat(":*", missing)
}
