package policycheck

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
)

// Changes to the statements of a policy. Statements are counted from 0, and an element of one is named by its path, as in
// "Principal", "AWS".

// quote is s as a JSON string. IAM does not take characters beyond U+00FF in a policy but as escapes.
func quote(s string) string {
	quoted, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return `""` // not reached: what we write is valid UTF-8
	}
	var b strings.Builder
	for _, r := range string(quoted) {
		if r <= 0xFF {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// at returns an element of a statement, or nil and an error if it is not there.
func (e *editor) at(statement int, path ...string) *node {
	if e.err != nil {
		return nil
	}
	all := e.root.get("Statement").list()
	if statement >= len(all) {
		e.fail("there is no statement %d", statement)
		return nil
	}
	n := all[statement].get(path...)
	if n == nil {
		e.fail("statement %d has no %s", statement, strings.Join(path, "."))
	}
	return n
}

// addStatement adds a statement, JSON, behind the others. Its Sid gets a number if another has it.
func (e *editor) addStatement(json string) {
	if e.err != nil {
		return
	}
	n := e.root.get("Statement")
	json = e.withOwnSid(json)
	if n.kind == '[' {
		e.appendTo(n, func(indent string, multiline bool) string { return e.laidOut(json, indent, multiline) })
		return
	}
	multiline := strings.Contains(e.text[n.start:n.end], "\n")
	e.splice(n.span, "["+e.text[n.start:n.end]+e.comma()+e.laidOut(json, e.indentAt(n.start), multiline)+"]")
}

func (e *editor) laidOut(json, indent string, multiline bool) string {
	if multiline {
		return e.block(json, indent)
	}
	return e.inline(json)
}

func (e *editor) withOwnSid(json string) string {
	added, syntax := parseTree(json)
	if syntax != nil {
		e.err = syntax
		return json
	}
	sid := added.get("Sid")
	if sid == nil {
		return json
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(e.root.get("Statement").list(), func(s *node) bool {
			other := s.get("Sid")
			return other != nil && other.text == name
		})
	}
	own := sid.text
	for n := 2; taken(own); n++ {
		own = fmt.Sprint(sid.text, n)
	}
	return json[:sid.start] + quote(own) + json[sid.end:]
}

// removeStatement takes a statement out. A policy must keep one.
func (e *editor) removeStatement(i int) {
	if e.at(i) == nil {
		return
	}
	n := e.root.get("Statement")
	if len(n.items) < 2 {
		e.fail("it is the only statement")
		return
	}
	e.removePart(n, i)
}

// replaceStatement puts others, JSON, in the place of a statement. With none, it goes.
func (e *editor) replaceStatement(i int, with ...string) {
	if len(with) == 0 {
		e.removeStatement(i)
		return
	}
	n := e.at(i)
	if n == nil {
		return
	}
	// Its own Sid is free for what replaces it.
	e.splice(n.span, "{}")
	if n = e.root.get("Statement").list()[i]; e.err == nil {
		e.splice(n.span, e.laidOut(e.withOwnSid(with[0]), e.indentAt(n.start), true))
	}
	for _, json := range with[1:] {
		e.addStatement(json)
	}
}

// addValue adds a value to an element, which becomes an array if it is none.
func (e *editor) addValue(value string, i int, path ...string) {
	n := e.at(i, path...)
	switch {
	case n == nil:
	case n.kind == '[':
		e.appendTo(n, func(string, bool) string { return quote(value) })
	default:
		e.splice(n.span, "["+e.text[n.start:n.end]+e.comma()+quote(value)+"]")
	}
}

// replaceValues puts values in the place of those of an element that are old. Those that are there already stay where
// they are. An element without values is an error.
func (e *editor) replaceValues(old func(string) bool, with []string, i int, path ...string) {
	goes := func(v string) bool { return old(v) && !slices.Contains(with, v) }
	var stay []string
	for _, item := range e.at(i, path...).list() {
		if !goes(item.text) {
			stay = append(stay, item.text)
		}
	}
	add := slices.DeleteFunc(slices.Clone(with), func(v string) bool { return slices.Contains(stay, v) })
	if len(stay)+len(add) == 0 {
		e.fail("nothing would be left of it")
	}
	for e.err == nil {
		n := e.at(i, path...)
		at := slices.IndexFunc(n.list(), func(item *node) bool { return goes(item.text) })
		switch {
		case at < 0 && len(add) == 0:
			return
		case at < 0:
			e.addValue(add[0], i, path...)
			add = add[1:]
		case len(add) > 0:
			e.splice(n.list()[at].span, quote(add[0]))
			add = add[1:]
		default:
			e.removePart(n, at)
		}
	}
}

// is matches some values.
func is(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

// setMember gives an object, which must be there, a member of one line.
func (e *editor) setMember(n *node, name, json string) {
	if n == nil || e.err != nil {
		return
	}
	if i := n.member(name); i >= 0 {
		e.splice(n.members[i].value.span, e.inline(json))
		return
	}
	e.appendTo(n, func(indent string, multiline bool) string { return e.memberText(name, json, indent, multiline) })
}

// memberText is a name and its value, JSON.
func (e *editor) memberText(name, json, indent string, multiline bool) string {
	colon := ":"
	if e.comma() == ", " {
		colon = ": "
	}
	if !strings.HasPrefix(json, "{") {
		multiline = false
	}
	return quote(name) + colon + e.laidOut(json, indent, multiline)
}

// setCondition makes a statement demand that a condition key has the value, by StringEquals, and nothing else of that
// key. Where StringEquals with a list of several is there, the value joins it.
func (e *editor) setCondition(i int, key, value string) {
	statement := e.at(i)
	if statement == nil {
		return
	}
	var places [][2]string // operator and key, as written
	if conditions := statement.get("Condition"); conditions != nil {
		for _, operator := range conditions.members {
			for _, k := range operator.value.members {
				if strings.EqualFold(k.name, key) {
					places = append(places, [2]string{operator.name, k.name})
				}
			}
		}
	}
	if len(places) == 1 && places[0][0] == "StringEquals" {
		if values := e.at(i, "Condition", "StringEquals", places[0][1]).list(); len(values) > 1 {
			e.addValue(value, i, "Condition", "StringEquals", places[0][1])
		} else {
			e.splice(values[0].span, quote(value))
		}
		return
	}
	if len(places) == 1 {
		// Another operator: if it is for this key alone, StringEquals takes its place.
		conditions := e.at(i, "Condition")
		other := conditions.members[conditions.member(places[0][0])]
		if len(other.value.members) == 1 && conditions.get("StringEquals") == nil {
			multiline := strings.Contains(e.text[other.start:other.end], "\n")
			e.splice(other.span, e.memberText("StringEquals", "{"+quote(key)+":"+quote(value)+"}", e.indentAt(other.start), multiline))
			return
		}
	}
	for _, p := range places {
		e.removeCondition(i, p[0], p[1])
	}
	switch statement := e.at(i); {
	case statement == nil:
	case statement.get("Condition") == nil:
		e.setMember(statement, "Condition", `{"StringEquals":{`+quote(key)+":"+quote(value)+"}}")
	case statement.get("Condition", "StringEquals") == nil:
		e.setMember(statement.get("Condition"), "StringEquals", "{"+quote(key)+":"+quote(value)+"}")
	default:
		e.setMember(statement.get("Condition", "StringEquals"), key, quote(value))
	}
}

// removeCondition takes out one condition, and what held nothing else.
func (e *editor) removeCondition(i int, operator, key string) {
	statement := e.at(i)
	if statement == nil {
		return
	}
	conditions := statement.get("Condition")
	keys := conditions.get(operator)
	switch {
	case len(keys.members) > 1:
		e.removePart(keys, keys.member(key))
	case len(conditions.members) > 1:
		e.removePart(conditions, conditions.member(operator))
	default:
		e.removePart(statement, statement.member("Condition"))
	}
}

// addNegated adds a condition of a negated operator: of several values none may be the request's.
func (e *editor) addNegated(i int, operator, key, value string) {
	statement := e.at(i)
	if statement == nil {
		return
	}
	switch {
	case statement.get("Condition", operator, key) != nil:
		e.addValue(value, i, "Condition", operator, key)
	case statement.get("Condition", operator) != nil:
		e.setMember(statement.get("Condition", operator), key, quote(value))
	case statement.get("Condition") != nil:
		e.setMember(statement.get("Condition"), operator, "{"+quote(key)+":"+quote(value)+"}")
	default:
		e.setMember(statement, "Condition", "{"+quote(operator)+":{"+quote(key)+":"+quote(value)+"}}")
	}
}

// setEverybody puts one principal in the place of "*".
func (e *editor) setEverybody(i int, arn string) {
	if n := e.at(i, "Principal"); n != nil && n.kind == '"' {
		e.splice(n.span, e.inline(`{"AWS":`+quote(arn)+"}"))
		return
	}
	e.replaceValues(is("*"), []string{arn}, i, "Principal", "AWS")
}

// renameMember gives an element of a statement another name, and a value of one line.
func (e *editor) renameMember(i int, old, name, json string) {
	statement := e.at(i)
	if statement == nil || e.at(i, old) == nil {
		return
	}
	m := statement.members[statement.member(old)]
	e.splice(m.span, e.memberText(name, json, e.indentAt(m.start), false))
}

// allowOnly gives a statement these actions in place of what it has, and the resource in place of NotResource.
func (e *editor) allowOnly(i int, actions []string, resource string) {
	json := "[" + strings.Join(quotedEach(actions), ",") + "]"
	if len(actions) == 1 {
		json = quote(actions[0])
	}
	for _, change := range []struct{ old, name, json string }{{"NotAction", "Action", json}, {"Action", "Action", json}, {"NotResource", "Resource", quote(resource)}} {
		if statement := e.at(i); statement != nil && statement.get(change.old) != nil {
			e.renameMember(i, change.old, change.name, change.json)
		}
	}
}
