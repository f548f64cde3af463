package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/auditdrain/auditdrain"
)

// print writes v as JSON or, if that was not asked for, what table writes.
func (c *connection) print(w io.Writer, v any, table func(io.Writer)) error {
	if c.output.value == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(tw)
	return tw.Flush()
}

// row writes one line of a table.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if c == "" {
			c = "-"
		}
		cells[i] = visible(c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// field writes one line of the table of a single thing, if there is a value.
func field(w io.Writer, name, value string) {
	if value != "" {
		row(w, name+":", value)
	}
}

// visible replaces what could steer a terminal: some of what we print was
// written by others.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func cut(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

// when shows Unix milliseconds.
func when(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// age shows how long ago something was, to the second.
func age(ms int64, now time.Time) string {
	if ms == 0 {
		return ""
	}
	return max(now.Sub(time.UnixMilli(ms)), 0).Round(time.Second).String()
}

// until shows how far ahead something is, to the second.
func until(ms int64, now time.Time) string {
	if ms == 0 {
		return ""
	}
	return max(time.UnixMilli(ms).Sub(now), 0).Round(time.Second).String()
}

// moment shows Unix milliseconds, and how far from now that is.
func moment(ms int64, now time.Time) string {
	if ms == 0 {
		return ""
	}
	distance := now.Sub(time.UnixMilli(ms))
	if distance < 0 {
		return when(ms) + " (in " + inWords(-distance) + ")"
	}
	return when(ms) + " (" + inWords(distance) + " ago)"
}

// inWords shows how long something takes as people say it.
func inWords(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return plural(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
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

// maxErrorLines keeps the end of a long list of problems from pushing its
// beginning off the screen.
const maxErrorLines = 20

// printError writes err in one line, and a line below it for each problem
// that the message has no room for.
func printError(w io.Writer, err error) {
	fmt.Fprintln(w, "auditdrain: "+visible(strings.ReplaceAll(err.Error(), "\n", " ")))
	var e *auditdrain.Error
	if !errors.As(err, &e) {
		return
	}
	var lines []string
	for _, p := range e.Details {
		line := strings.TrimPrefix(p.Field+": "+p.Message, ": ")
		if p.Index != nil {
			line = fmt.Sprintf("event %d: %s", *p.Index, line)
		}
		lines = append(lines, line)
	}
	for _, id := range e.IDs {
		lines = append(lines, "id "+id)
	}
	if len(lines) == 1 && strings.Contains(e.Message, lines[0]) {
		return
	}
	for i, line := range lines {
		if i == maxErrorLines {
			fmt.Fprintf(w, "  … and %d more\n", len(lines)-i)
			return
		}
		fmt.Fprintln(w, "  "+visible(line))
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// timeFlag is a point in time as people give one: RFC 3339, a date, Unix
// milliseconds, or its distance from now (before now if past is set).
type timeFlag struct {
	at   time.Time
	past bool
}

func (f *timeFlag) Type() string { return "time" }

func (f *timeFlag) String() string {
	if f.at.IsZero() {
		return ""
	}
	return f.at.Format(time.RFC3339)
}

func (f *timeFlag) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return errors.New("leave out the sign")
		}
		if f.past {
			d = -d
		}
		f.at = time.Now().Add(d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			f.at = t
			return nil
		}
	}
	var ms int64
	if _, err := fmt.Sscanf(s, "%d", &ms); err == nil && fmt.Sprint(ms) == s && ms > 0 {
		f.at = time.UnixMilli(ms)
		return nil
	}
	return errors.New("use a time such as 2026-05-22T10:00:00Z, a date, Unix milliseconds, or a duration such as 24h")
}

// unixMilli is 0 if the flag was not given.
func (f *timeFlag) unixMilli() int64 {
	if f.at.IsZero() {
		return 0
	}
	return f.at.UnixMilli()
}
