package setup

import (
	"fmt"
	"strings"
	"unicode"
)

// quoteYAML is s as a double-quoted scalar. What does not show, or what YAML 1.1 takes for the end of a line, is escaped.
func quoteYAML(s string) string { return `"` + escape(s) + `"` }

// quoteHCL is s as a string of HCL, without the beginnings of its templates.
func quoteHCL(s string) string {
	return `"` + strings.NewReplacer("${", "$${", "%{", "%%{").Replace(escape(s)) + `"`
}

// escape makes s safe between double quotes, in the notation that YAML and HCL share.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	return b.String()
}

// QuoteBash returns s as a word of bash, in which nothing is invisible.
func QuoteBash(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ansiC(s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ansiC shows in a script what could otherwise not be seen in it.
func ansiC(s string) string {
	var b strings.Builder
	b.WriteString("$'")
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default: // by its bytes, since \u depends on the locale
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// quoteHive is s as a string of Hive's language, in which Athena's CREATE TABLE is.
func quoteHive(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// quoteSQL is s as a string of standard SQL.
func quoteSQL(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// escapeGlob makes DuckDB take s for itself. A prefix has no * and no ?.
func escapeGlob(s string) string {
	return strings.NewReplacer("[", "[[]", `\`, `\\`).Replace(s)
}
