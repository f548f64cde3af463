package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auditdrain/auditdrain"
)

// pageFuncs are what templates call.
var pageFuncs = template.FuncMap{
	"when":       when,
	"clock":      clock,
	"span":       span,
	"number":     number[uint64],
	"count":      number[int],
	"plural":     plural,
	"size":       size,
	"millis":     millis,
	"status":     statusText,
	"role":       roleText,
	"action":     actionText,
	"age":        age,
	"minute":     minute,
	"coordinate": short,
	"json":       indented,
	"diff":       diffLines,
	"added":      added,
	"args":       args,
	"shorten":    shorten,
	"join":       strings.Join,
	"hasPrefix":  strings.HasPrefix,
	"trimSpace":  strings.TrimSpace,
	"callName":   callName,
	"policyStep": policyStep,
	"answerText": answerText,
}

// when is a moment as text, in UTC, as CloudTrail has it.
func when(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 UTC")
}

// minute is a moment to the minute, in UTC.
func minute(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }

// clock is a moment for machines (HTML's time element).
func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// span is how long d takes, as people say it.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return plural(int64(d/time.Second), "second")
	case d < 2*time.Hour:
		return plural(int64(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int64(d/time.Hour), "hour")
	}
	return plural(int64(d/(24*time.Hour)), "day")
}

// number groups digits: 1,234,567.
func number[T ~uint64 | ~int64 | ~int](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural(n any, what string) string {
	v, err := strconv.ParseInt(fmt.Sprint(n), 10, 64)
	if err != nil {
		return fmt.Sprintf("%v %ss", n, what)
	}
	if v != 1 {
		what += "s"
	}
	return number(v) + " " + what
}

// size shows a number of bytes with three digits at most.
func size(bytes uint64) string {
	if bytes < 1000 {
		return plural(bytes, "byte")
	}
	n, unit := float64(bytes), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB"} {
		if n /= 1000; n < 999.5 {
			break
		}
	}
	if n < 9.95 {
		return fmt.Sprintf("%.1f %s", n, unit)
	}
	return fmt.Sprintf("%.0f %s", n, unit)
}

// millis shows a duration given in milliseconds.
func millis(ms int64) string {
	if ms < 10_000 {
		return number(ms) + " ms"
	}
	return span(time.Duration(ms) * time.Millisecond)
}

// statusText is what people call a drain's status.
func statusText(s auditdrain.DrainStatus) string {
	switch s {
	case auditdrain.StatusEnabled:
		return "Delivering"
	case auditdrain.StatusErrored:
		return "In trouble"
	case auditdrain.StatusDisabled:
		return "Paused"
	}
	return string(s)
}

// roleText is what a role may do.
func roleText(r auditdrain.Role) string {
	switch r {
	case auditdrain.RoleOperator:
		return "Operator: everything, in all teams"
	case auditdrain.RoleOwner:
		return "Owner: the team's drains, settings and tokens"
	case auditdrain.RoleViewer:
		return "Viewer: sees the team's drains"
	case auditdrain.RoleProducer:
		return "Producer: sends the team's events"
	}
	return string(r)
}

// indented lays JSON out; what is not JSON stays as it is.
func indented(text string) string {
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return text
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if e.Encode(v) != nil {
		return text
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// diffLine is one line of a unified diff.
type diffLine struct {
	Kind string // "add", "remove", "hunk" or ""
	Text string
}

// diffLines splits a unified diff. The names of its files are left out.
func diffLines(patch string) []diffLine {
	var lines []diffLine
	for line := range strings.Lines(patch) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
		case strings.HasPrefix(line, "@@"):
			lines = append(lines, diffLine{"hunk", line})
		case strings.HasPrefix(line, "+"):
			lines = append(lines, diffLine{"add", line})
		case strings.HasPrefix(line, "-"):
			lines = append(lines, diffLine{"remove", line})
		default:
			lines = append(lines, diffLine{"", line})
		}
	}
	return lines
}

// added shows text as lines that a patch adds.
func added(text string) []diffLine {
	var lines []diffLine
	for line := range strings.Lines(text) {
		lines = append(lines, diffLine{"add", "+ " + strings.TrimRight(line, "\r\n")})
	}
	return lines
}

// args makes a map of names and values, for templates that take several.
func args(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("%d arguments are not pairs", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("%v is not a name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// shorten cuts text after so many characters.
func shorten(n int, text string) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	runes := []rune(text)
	return string(runes[:n-1]) + "…"
}
