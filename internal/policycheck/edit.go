package policycheck

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/go-json-experiment/json/jsontext"
)

// editor changes the text of a policy the way a person would: what need not change, layout and comments among it, stays
// byte for byte. Its methods may be called one after another. After an error, which is kept, they do nothing.
type editor struct {
	text string
	root *node // of text
	err  error
}

func newEditor(text string) *editor {
	e := &editor{text: text}
	e.parse()
	return e
}

func (e *editor) parse() {
	root, syntax := parseTree(e.text)
	if syntax != nil {
		e.err = syntax
		return
	}
	e.root = root
}

func (e *editor) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

// splice replaces a piece of the text.
func (e *editor) splice(s span, with string) {
	e.spliceAll([]replacement{{s, with}})
}

type replacement struct {
	span
	with string
}

// spliceAll replaces pieces of the text that do not overlap. Of two insertions at one place the later one comes first.
func (e *editor) spliceAll(all []replacement) {
	if e.err != nil {
		return
	}
	slices.SortStableFunc(all, func(a, b replacement) int { return b.start - a.start })
	for _, r := range all {
		e.text = e.text[:r.start] + r.with + e.text[r.end:]
	}
	e.parse()
}

// bare is the text without comments.
func (e *editor) bare() string {
	bare, syntax := withoutComments(e.text)
	if syntax != nil { // not reached: it has been parsed
		return e.text
	}
	return bare
}

// newline is how lines end.
func (e *editor) newline() string {
	if strings.Contains(e.text, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// lineStart is the offset at which the line of offset i begins.
func (e *editor) lineStart(i int) int { return strings.LastIndexByte(e.text[:i], '\n') + 1 }

// indentAt is the white space that the line of offset i begins with.
func (e *editor) indentAt(i int) string {
	line := e.text[e.lineStart(i):]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// beginsLine reports whether only white space is before offset i in its line.
func (e *editor) beginsLine(i int) bool {
	return strings.Trim(e.text[e.lineStart(i):i], " \t") == "" && e.lineStart(i) > 0
}

// unit is one step of indentation.
func (e *editor) unit() string {
	unit := ""
	for line := range strings.Lines(e.text) {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if indent != "" && strings.TrimSpace(line) != "" && (unit == "" || len(indent) < len(unit)) {
			unit = indent
		}
	}
	if unit == "" {
		return "  "
	}
	return unit
}

// inline is JSON on one line, with spaces as the document has them.
func (e *editor) inline(json string) string {
	spaces := strings.Contains(e.text, `": `) || strings.Contains(e.text, "\n")
	b, err := jsontext.AppendFormat(nil, json, jsontext.SpaceAfterColon(spaces), jsontext.SpaceAfterComma(spaces))
	if err != nil {
		e.fail("lay out %s: %w", json, err)
	}
	return string(b)
}

// block is JSON over several lines, to begin behind indent.
func (e *editor) block(json, indent string) string {
	b, err := jsontext.AppendFormat(nil, json, jsontext.Multiline(true), jsontext.WithIndent(e.unit()), jsontext.WithIndentPrefix(indent))
	if err != nil {
		e.fail("lay out %s: %w", json, err)
	}
	return strings.ReplaceAll(string(b), "\n", e.newline())
}

// restOfLine returns the offset behind the comma and the comments that follow offset i in its line, and whether the line
// ends there.
func (e *editor) restOfLine(i int) (end int, last bool) {
	end = i
	for i < len(e.text) {
		switch {
		case e.text[i] == '\n':
			return end, true
		case strings.HasPrefix(e.text[i:], "//"), strings.HasPrefix(e.text[i:], "/*"):
			i = commentEnd(e.text, i)
			end = len(strings.TrimRight(e.text[:i], "\r"))
		case e.text[i] == ',':
			i++
			end = i
		case strings.IndexByte(" \t\r", e.text[i]) >= 0:
			i++
		default:
			return end, false
		}
	}
	return end, true
}

// appendTo adds a part, JSON of an item or of a member, at the end of an array or object.
func (e *editor) appendTo(n *node, part func(indent string, multiline bool) string) {
	parts := n.parts()
	if len(parts) == 0 {
		e.splice(span{n.start + 1, n.start + 1}, part(e.indentAt(n.start), false))
		return
	}
	last := parts[len(parts)-1]
	if !e.beginsLine(last.start) {
		multiline := strings.Contains(e.text[last.start:last.end], "\n")
		text := part(e.indentAt(last.start), multiline)
		e.splice(span{last.end, last.end}, e.comma()+text)
		return
	}
	indent := e.indentAt(last.start)
	text := e.newline() + indent + part(indent, true)
	end, _ := e.restOfLine(last.end)
	if strings.Contains(e.bare()[last.end:n.end], ",") { // the one that is allowed after the last
		e.splice(span{end, end}, text+",")
		return
	}
	e.spliceAll([]replacement{{span{end, end}, text}, {span{last.end, last.end}, ","}})
}

// comma separates things in one line.
func (e *editor) comma() string {
	if strings.HasSuffix(e.inline(`[1,1]`), ", 1]") {
		return ", "
	}
	return ","
}

// removePart takes out one of several parts of an array or object, with its line if it has one to itself.
func (e *editor) removePart(n *node, i int) {
	parts := n.parts()
	part := parts[i]
	var all []replacement
	end, endsLine := e.restOfLine(part.end)
	switch {
	case e.beginsLine(part.start) && endsLine:
		start := e.lineStart(part.start)
		if n := strings.IndexByte(e.text[end:], '\n'); n >= 0 {
			end += n + 1
		}
		all = append(all, replacement{span{start, end}, ""})
		if bare := e.bare(); i == len(parts)-1 && i > 0 && !strings.Contains(bare[part.end:n.end], ",") {
			before := parts[i-1].end
			comma := before + strings.IndexByte(bare[before:], ',')
			all = append(all, replacement{span{comma, comma + 1}, ""})
		}
	case i < len(parts)-1:
		all = append(all, replacement{span{part.start, parts[i+1].start}, ""})
	case i > 0:
		all = append(all, replacement{span{parts[i-1].end, part.end}, ""})
	default:
		all = append(all, replacement{part, ""})
	}
	e.spliceAll(all)
}

// fileName is what patches of the document are of. A policy that is only a part of a file has another name than that.
func (d *document) fileName() string {
	name := filepath.Clean(d.name)
	if d.from == "" {
		return name
	}
	part := "Policy"
	for _, out := range outputs {
		if out.command == d.from {
			part = out.path[len(out.path)-1]
		}
	}
	return name + "#" + part
}

// patch is a unified diff.
func patch(name, before, after string) string {
	if strings.ContainsAny(name, " \t") {
		name += "\t" // where the name ends, to GNU patch
	}
	text, err := udiff.ToUnified(name, name, before, udiff.Lines(before, after), udiff.DefaultContextLines)
	if err != nil {
		panic(fmt.Sprintf("policycheck: diff of %s: %v", name, err)) // its edits fit its own text
	}
	return text
}
