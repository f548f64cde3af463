package policycheck

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain/internal/iam"
)

// node is a JSON value and where it is in its text.
type node struct {
	span
	kind    jsontext.Kind
	text    string   // of a string: what it means
	members []member // of an object
	items   []*node  // of an array
}

// span is a piece of a text.
type span struct{ start, end int }

// member is one name of an object. Its span covers name and value.
type member struct {
	span
	name  string
	value *node
}

// parseTree reads the one JSON value that text, which may have comments and trailing commas, consists of. Duplicate
// names and invalid UTF-8 are errors.
func parseTree(text string) (*node, *iam.SyntaxError) {
	plain, syntax := plainJSON(text)
	if syntax != nil {
		return nil, syntax
	}
	dec := jsontext.NewDecoder(strings.NewReader(plain))
	root, err := readNode(dec)
	if err != nil {
		return nil, iam.JSONError([]byte(text), err)
	}
	end := int(dec.InputOffset())
	if rest := strings.TrimLeft(plain[end:], " \t\r\n"); rest != "" {
		return nil, iam.SyntaxErrorAt([]byte(text), len(plain)-len(rest), "something follows the document")
	}
	return root, nil
}

func readNode(dec *jsontext.Decoder) (*node, error) {
	n := &node{kind: dec.PeekKind()}
	if n.kind != '{' && n.kind != '[' {
		return n, n.readScalar(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	n.start = int(dec.InputOffset()) - 1
	for kind := dec.PeekKind(); kind != '}' && kind != ']'; kind = dec.PeekKind() {
		item, err := readNode(dec)
		if err != nil {
			return nil, err
		}
		if n.kind == '[' {
			n.items = append(n.items, item)
			continue
		}
		value, err := readNode(dec)
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, member{span{item.start, value.end}, item.text, value})
	}
	_, err := dec.ReadToken()
	n.end = int(dec.InputOffset())
	return n, err
}

func (n *node) readScalar(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n.end = int(dec.InputOffset())
	n.start = n.end - len(raw)
	if n.kind == '"' {
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return err
		}
		n.text = string(text)
	}
	return nil
}

// member returns the index of the name in an object, or -1.
func (n *node) member(name string) int {
	return slices.IndexFunc(n.members, func(m member) bool { return m.name == name })
}

// get follows names into objects. It returns nil where one is missing.
func (n *node) get(names ...string) *node {
	for _, name := range names {
		if n == nil {
			return nil
		}
		i := n.member(name)
		if i < 0 {
			return nil
		}
		n = n.members[i].value
	}
	return n
}

// list returns what an element that may be one value or an array consists of.
func (n *node) list() []*node {
	switch {
	case n == nil:
		return nil
	case n.kind == '[':
		return n.items
	}
	return []*node{n}
}

// parts returns the spans of the members of an object, or of the items of an array.
func (n *node) parts() []span {
	var parts []span
	for _, m := range n.members {
		parts = append(parts, m.span)
	}
	for _, item := range n.items {
		parts = append(parts, item.span)
	}
	return parts
}
