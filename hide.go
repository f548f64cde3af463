package auditdrain

import (
	"bytes"
	"encoding/json"
)

// WithoutIPAddress returns e as it is written for a team that hides IP
// addresses: without the member ipAddress of its body, if there is one. All
// other bytes are the producer's, also those of members within members that
// are called so. e stays as it is, and may share memory with what is returned.
func (e Event) WithoutIPAddress() Event {
	e.Body = withoutMember(e.Body, "ipAddress")
	return e
}

// withoutMember returns a JSON object without its members of a name, however
// that is escaped, and without the commas that go with them. name must be of
// ASCII letters.
func withoutMember(object []byte, name string) []byte {
	if !bytes.Contains(object, []byte(name)) && !bytes.Contains(object, []byte(`\u`)) {
		return object // most have none, and letters can be escaped in no other way
	}
	begin := bytes.IndexByte(object, '{') + 1
	out := append(make([]byte, 0, len(object)), object[:begin]...)
	for kept := 0; ; {
		end := memberEnd(object, begin)
		if end == len(object) {
			return object // no JSON object: nothing that was accepted
		}
		if member := object[begin:end]; !isNamed(member, name) {
			if kept++; kept > 1 {
				out = append(out, ',')
			}
			out = append(out, member...)
		}
		if object[end] == '}' {
			return append(out, object[end:]...)
		}
		begin = end + 1
	}
}

// memberEnd returns where the comma or brace is that ends the member of an
// object, or the end of object if there is none.
func memberEnd(object []byte, begin int) int {
	depth := 0
	for i := begin; i < len(object); i++ {
		switch object[i] {
		case '"':
			i = stringEnd(object, i)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(object)
}

// stringEnd returns where the quote is that ends the string that begins at
// begin, or the end of b.
func stringEnd(b []byte, begin int) int {
	for i := begin + 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(b)
}

// isNamed reports whether a member has the name.
func isNamed(member []byte, name string) bool {
	begin := bytes.IndexByte(member, '"')
	if begin < 0 {
		return false
	}
	end := stringEnd(member, begin)
	if end == len(member) {
		return false
	}
	quoted := member[begin : end+1]
	if !bytes.Contains(quoted, []byte{'\\'}) {
		return string(quoted[1:len(quoted)-1]) == name
	}
	var unescaped string
	return json.Unmarshal(quoted, &unescaped) == nil && unescaped == name
}
