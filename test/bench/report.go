package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// report is what the bench has found out.
type report struct {
	machine machine
	options options
	rounds  []round
}

// over returns f of every round's result of m.
func (r report) over(m mode, f func(result) float64) []float64 {
	var xs []float64
	for _, rd := range r.rounds {
		if res, ok := rd[m]; ok {
			xs = append(xs, f(res))
		}
	}
	return xs
}

// ratio is the median of the rounds' own ratios of m's rate to that of base.
func (r report) ratio(m, base mode) (float64, bool) {
	var xs []float64
	for _, rd := range r.rounds {
		a, okA := rd[m]
		b, okB := rd[base]
		if okA && okB {
			xs = append(xs, a.rate()/b.rate())
		}
	}
	return median(xs), len(xs) > 0
}

// median returns the middle of xs, 0 if there is none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

// table is the report's table, header first. The first column is text, the
// others are figures.
func (r report) table() [][]string {
	rows := [][]string{{"", "events/s", "lowest–highest", "CPU µs/event", "null S3's CPU µs/event", "peak RSS MiB", "ratio to the limit"}}
	for m := range mode(len(modeTitles)) {
		rates := r.over(m, result.rate)
		if len(rates) == 0 {
			continue
		}
		ratio := "–"
		if x, ok := r.ratio(m, modeBare); ok {
			ratio = fmt.Sprintf("%.2f", x)
		}
		rows = append(rows, []string{
			m.title(),
			thousands(median(rates)),
			thousands(slices.Min(rates)) + "–" + thousands(slices.Max(rates)),
			fmt.Sprintf("%.0f", median(r.over(m, func(x result) float64 { return x.perEvent(x.client.cpu) }))),
			fmt.Sprintf("%.0f", median(r.over(m, func(x result) float64 { return x.perEvent(x.null.cpu) }))),
			fmt.Sprintf("%.0f", median(r.over(m, func(x result) float64 { return float64(x.client.peakRSS) / (1 << 20) }))),
			ratio,
		})
	}
	return rows
}

// notes are the lines below the table.
func (r report) notes() []string {
	var notes []string
	if x, ok := r.ratio(modeAuditdrain, modeSDK); ok {
		notes = append(notes, fmt.Sprintf("auditdrain end to end is %.2f times as fast as the loop of the SDK's PutObject.", x))
	}
	if cpu := r.over(modeAuditdrain, func(x result) float64 { return x.perEvent(x.poster.cpu) }); len(cpu) > 0 {
		notes = append(notes, fmt.Sprintf("The process that posts the events takes another %.0f µs of CPU per event; it is in no column.", median(cpu)))
	}
	o := r.options
	notes = append(notes,
		fmt.Sprintf("Medians of %d rounds of %s events; a ratio is the median of the rounds' own ratios. %d PUTs in flight in the loops; %d ingest requests of %d events in flight and %d drains end to end.",
			len(r.rounds), thousands(float64(o.events)), o.concurrency, o.senders, batchEvents, drains),
		"All processes share the machine's cores; CPU and peak RSS are those of the loop's process or of the service.")
	var others []float64
	for m := range mode(len(modeTitles)) {
		others = append(others, r.over(m, func(x result) float64 { return x.others })...)
	}
	if x := slices.Max(others); x > 0.03 {
		notes = append(notes, fmt.Sprintf("Not alone: other processes took up to %.0f%% of the machine during a run. Rates and ratios of this report say little; CPU per event is somewhat too high.", 100*x))
	}
	return append(notes, r.machine.warnings...)
}

func (r report) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.machine)
	rows := r.table()
	widths := columnWidths(rows)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line.WriteString(cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(r.notes(), "\n") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func columnWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func (r report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s: %s.\n\n", r.machine.date.Format(time.DateOnly), r.machine)
	rows := r.table()
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---:", len(row)-1))
		}
	}
	for _, n := range r.notes() {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// thousands formats x as a whole number with commas.
func thousands(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
