package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// problem notes what is wrong with the value that was read last or, if name is
// not empty, with its member of that name.
func (b *batch) problem(name, format string, args ...any) {
	field := b.field(b.dec.StackPointer())
	if field != "" && name != "" {
		field += "."
	}
	b.note(field+name, fmt.Sprintf(format, args...))
}

// syntaxProblem notes an event that is not JSON. Errors about limits pass.
func (b *batch) syntaxProblem(err error) error {
	var limit *auditdrain.Error
	if errors.As(err, &limit) {
		return err
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		b.note("", fmt.Sprintf("not valid JSON: %v", err))
		return nil
	}
	b.note(b.field(syntax.JSONPointer), fmt.Sprintf("not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err))
	return nil
}

func (b *batch) note(field, message string) {
	if len(b.problems) < maxProblems {
		index := b.index
		b.problems = append(b.problems, auditdrain.Problem{Index: &index, Field: clip(field), Message: message})
	}
}

// field turns a place in the input into one in the event, as people write it:
// via[0].type.
func (b *batch) field(p jsontext.Pointer) string {
	var s strings.Builder
	skip := b.inArray // the event's own index
	for name := range p.Tokens() {
		switch _, err := strconv.ParseUint(name, 10, 64); {
		case skip:
			skip = false
		case err == nil && s.Len() > 0:
			s.WriteString("[" + name + "]")
		default:
			if s.Len() > 0 {
				s.WriteByte('.')
			}
			s.WriteString(name)
		}
	}
	return s.String()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "an array"
	}
	return "an object"
}

// clip keeps error messages readable when the value is not.
func clip[T ~string | ~[]byte](value T) string {
	const most = 200
	if len(value) > most {
		return strings.ToValidUTF8(string(value[:most]), "") + "…"
	}
	return string(value)
}
