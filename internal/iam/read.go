package iam

import (
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// object reads an object, of which form is an example, calling member after each name to read what belongs to it, and returns where it starts.
func (p *parser) object(what, form string, member func(name value) error) (start int64, err error) {
	start, err = p.open('{', what, "an object such as "+form)
	if err != nil {
		return 0, err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.read()
		if err != nil {
			return 0, err
		}
		if err := member(name); err != nil {
			return 0, err
		}
	}
	_, err = p.dec.ReadToken()
	return start, err
}

// oneOrMore calls item for one value, or for each of an array's, of which there must be one at least: "Arrays can take
// one or more values" (Grammar of the IAM JSON policy language).
func (p *parser) oneOrMore(what string, item func() error) error {
	if p.dec.PeekKind() != '[' {
		return item()
	}
	start, err := p.open('[', what, "an array")
	if err != nil {
		return err
	}
	if p.dec.PeekKind() == ']' {
		return problemf(start, "%s is empty", what)
	}
	for p.dec.PeekKind() != ']' {
		if err := item(); err != nil {
			return err
		}
	}
	_, err = p.dec.ReadToken()
	return err
}

// list reads one string or an array of strings, each of which check (if not nil) must accept.
func (p *parser) list(what string, check func(string) error) ([]string, error) {
	var all []string
	err := p.oneOrMore(what, func() error {
		v, err := p.string(what)
		if err != nil {
			return err
		}
		if check != nil {
			if err := check(v.text); err != nil {
				return problemf(v.at, "%s %q %v", what, v.text, err)
			}
		}
		all = append(all, v.text)
		return nil
	})
	return all, err
}

func (p *parser) string(what string) (value, error) {
	v, err := p.read()
	if err == nil && v.kind != '"' {
		err = problemf(v.at, "%s must be a string, not %s", what, v)
	}
	return v, err
}

// scalar reads a string, or a number or boolean, which need no quotation marks in a condition.
func (p *parser) scalar(what string) (value, error) {
	v, err := p.read()
	if err == nil && (v.kind == '{' || v.kind == '[' || v.kind == 'n') {
		err = problemf(v.at, "%s must be a string, a number or a boolean, not %s", what, v)
	}
	return v, err
}

// read reads any value. Of a string, the text is what it means.
func (p *parser) read() (value, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return value{}, err
	}
	v := value{text: string(raw), kind: raw.Kind(), at: p.dec.InputOffset() - int64(len(raw))}
	if v.kind == '"' {
		unquoted, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return value{}, err
		}
		v.text = string(unquoted)
	}
	return v, nil
}

// open reads the "{" or "[" that starts a value of that kind, which form describes.
func (p *parser) open(kind jsontext.Kind, what, form string) (start int64, err error) {
	if got := p.dec.PeekKind(); got != kind && got != jsontext.KindInvalid {
		v, err := p.read()
		if err != nil {
			return 0, err
		}
		return 0, problemf(v.at, "%s must be %s, not %s", what, form, v)
	}
	_, err = p.dec.ReadToken()
	return p.dec.InputOffset() - 1, err
}

// end makes sure that nothing follows the document.
func (p *parser) end() error {
	v, err := p.read()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return problemf(v.at, "something follows the policy")
}
