package policycheck

import (
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain/internal/iam"
)

// source is text, and where in what was pasted each of its bytes came from.
type source struct {
	text string
	from []int32 // with one more for the end; nil: text begins what was pasted
}

// offset returns where in what was pasted byte i of the text came from.
func (s source) offset(i int) int {
	if s.from == nil {
		return i
	}
	return int(s.from[i])
}

func (s source) slice(start, end int) source {
	from := make([]int32, 0, end-start+1)
	for i := start; i <= end; i++ {
		from = append(from, int32(s.offset(i)))
	}
	return source{s.text[start:end], from}
}

// decoded returns s with each piece of it that decode recognises replaced by what it stands for. decode returns the
// length of such a piece at the beginning of its argument, or 0.
func (s source) decoded(decode func(rest string) (text string, length int)) source {
	var b strings.Builder
	from := make([]int32, 0, len(s.text)+1)
	for i := 0; i < len(s.text); {
		text, n := decode(s.text[i:])
		if n == 0 {
			text, n = s.text[i:i+1], 1
		}
		b.WriteString(text)
		for range len(text) {
			from = append(from, int32(s.offset(i)))
		}
		i += n
	}
	return source{b.String(), append(from, int32(s.offset(len(s.text))))}
}

// unquoted returns what s, a valid JSON string, means.
func (s source) unquoted() source {
	return s.slice(1, len(s.text)-1).decoded(func(rest string) (string, int) {
		if rest[0] != '\\' {
			return "", 0
		}
		n := len(`\n`)
		if rest[1] == 'u' {
			n = len(`\uXXXX`)
			if strings.HasPrefix(rest[n:], `\u`) {
				n *= 2 // perhaps the two halves of one character; two characters come out right as well
			}
		}
		text, err := jsontext.AppendUnquote(nil, `"`+rest[:n]+`"`)
		if err != nil {
			return rest[:1], 1 // not reached with a valid string
		}
		return string(text), n
	})
}

// unescaped returns s without the URL encoding that IAM's API puts around policies.
func (s source) unescaped() source {
	return s.decoded(func(rest string) (string, int) {
		const n = len("%7B")
		if rest[0] != '%' || len(rest) < n {
			return "", 0
		}
		text, err := url.PathUnescape(rest[:n])
		if err != nil {
			return "", 0
		}
		return text, n
	})
}

// plainJSON returns text, which is JSON that may have comments and trailing commas, with spaces in their place: what is
// left is where it was. An error is of the syntax of comments.
func plainJSON(text string) (string, *iam.SyntaxError) {
	plain, err := withoutComments(text)
	if err != nil {
		return "", err
	}
	b := []byte(plain)
	comma := -1 // of the comma that is the last thing seen, after a value
	after := byte('[')
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			i = stringEnd(plain, i) - 1
			comma, after = -1, c
		case ',':
			comma = -1
			if after != '[' && after != '{' && after != ',' {
				comma = i
			}
			after = c
		case ']', '}':
			if comma >= 0 {
				b[comma] = ' '
			}
			comma, after = -1, c
		default:
			comma, after = -1, c
		}
	}
	return string(b), nil
}

// withoutComments returns text with spaces in place of its comments.
func withoutComments(text string) (string, *iam.SyntaxError) {
	if !strings.Contains(text, "/") {
		return text, nil
	}
	b := []byte(text)
	for i := 0; i < len(b); {
		switch {
		case b[i] == '"':
			i = stringEnd(text, i)
			continue
		case strings.HasPrefix(text[i:], "//"), strings.HasPrefix(text[i:], "/*"):
		default:
			i++
			continue
		}
		end := commentEnd(text, i)
		if end < 0 {
			return "", iam.SyntaxErrorAt([]byte(text), i, "the comment that begins here does not end")
		}
		for ; i < end; i++ {
			if b[i] != '\n' && b[i] != '\r' {
				b[i] = ' '
			}
		}
	}
	return string(b), nil
}

// commentEnd returns the offset behind the comment that begins at i, or -1 if it has no end.
func commentEnd(text string, i int) int {
	if strings.HasPrefix(text[i:], "//") {
		if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
			return i + n
		}
		return len(text)
	}
	n := strings.Index(text[i+len("/*"):], "*/")
	if n < 0 {
		return -1
	}
	return i + len("/*") + n + len("*/")
}

// stringEnd returns the offset behind the string that begins at i, or that of the end of the text.
func stringEnd(text string, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
