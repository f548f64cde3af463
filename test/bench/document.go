package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// document is what one run of the bench has found out.
type document struct {
	machine  machine
	rounds   int
	chapters []chapter
	others   float64 // the largest share of the machine that others took in a run
	took     time.Duration
}

// chapter is one section's part of the document.
type chapter struct {
	letter, title string
	parts         []part
	aims          []aim
	remarks       string // written by hand
}

// part is paragraphs on what was measured and how, and what came out.
type part struct {
	text  []string
	table table
}

// table has a header and rows. The first column is text, the others are
// figures.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// aim is what a figure should be.
type aim struct {
	what, wanted, reached string
	met                   bool
}

// atLeast and atMost are aims for a figure, shown with so many digits.
func atLeast(what string, wanted, reached float64, digits int, unit string) aim {
	return aim{what, "≥ " + number(wanted, digits) + unit, number(reached, digits) + unit, reached >= wanted}
}

func atMost(what string, wanted, reached float64, digits int, unit string) aim {
	return aim{what, "≤ " + number(wanted, digits) + unit, number(reached, digits) + unit, reached <= wanted}
}

// missing are the chapters with an aim that is not met, which nobody has
// written a remark about.
func (d document) missing() []string {
	var letters []string
	for _, c := range d.chapters {
		if c.remarks == "" && !c.allMet() {
			letters = append(letters, c.letter)
		}
	}
	return letters
}

func (c chapter) allMet() bool {
	for _, a := range c.aims {
		if !a.met {
			return false
		}
	}
	return true
}

// write writes the document as Markdown, with columns that line up, so that
// it can be read as text.
func (d document) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s, in %.0f minutes: %s.\n",
		d.machine.date.Format(time.DateOnly), d.took.Minutes(), d.machine)
	for _, p := range d.preface() {
		fmt.Fprintf(&b, "\n%s\n", p)
	}
	if aims := d.aims(); len(aims.rows) > 0 {
		b.WriteString("\n## Aims\n\n")
		aims.write(&b)
	}
	for _, c := range d.chapters {
		fmt.Fprintf(&b, "\n## %s) %s\n", c.letter, c.title)
		for _, p := range c.parts {
			for _, text := range p.text {
				fmt.Fprintf(&b, "\n%s\n", text)
			}
			b.WriteString("\n")
			p.table.write(&b)
		}
		if c.remarks != "" {
			fmt.Fprintf(&b, "\n%s\n", c.remarks)
		} else if !c.allMet() {
			b.WriteString("\nNot all aims are met, and nobody has said why yet: see `test/bench/remarks.md`.\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d document) preface() []string {
	ps := []string{
		fmt.Sprintf("Every figure is the median of %d rounds. A ratio is the median of the rounds' own ratios: each compares runs of one round only. "+
			"Every run has fresh processes, which share the machine's cores: what is measured, who gives it work, and the null S3, which answers everything with success over plain HTTP and keeps nothing. "+
			"A run whose PUTs are not as many as its acknowledged events, in each bucket, fails the bench.", d.rounds),
		"*The bare loop* is a loop of signed PUTs, 64 at a time: `net/http`'s transport, the AWS SDK's signer, requests put together by hand. It is the limit of any delivery over `net/http`, and what all else is a ratio to. " +
			fmt.Sprintf("Events have about %d bytes. `auditdrain` is the binary as released, and fsyncs before it acknowledges.", eventBytes),
	}
	if d.others > 0.03 {
		ps = append(ps, fmt.Sprintf("**Not alone:** other processes took up to %s of the machine during a run. Rates and ratios say little; CPU per event is somewhat too high.", percent(d.others)))
	}
	return append(ps, d.machine.warnings...)
}

func (d document) aims() table {
	t := table{header: []string{"", "aim", "reached", "met?"}}
	for _, c := range d.chapters {
		for _, a := range c.aims {
			met := "met"
			if !a.met {
				met = "**not met**"
			}
			t.row(c.letter+") "+a.what, a.wanted, a.reached, met)
		}
	}
	return t
}

func (t table) write(b *strings.Builder) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("| " + cell + pad)
			} else {
				b.WriteString(" | " + pad + cell)
			}
		}
		b.WriteString(" |\n")
	}
	line(t.header)
	for i, width := range widths {
		if i == 0 {
			b.WriteString("|-" + strings.Repeat("-", width) + "-")
		} else {
			b.WriteString("|" + strings.Repeat("-", width+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
}

// readRemarks reads what people have written about chapters, each below a
// heading with the chapter's letter, such as "## b". What comes before the
// first is for who writes there.
func readRemarks(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	remarks := make(map[string]string)
	_, rest, _ := strings.Cut("\n"+string(text), "\n## ")
	for part := range strings.SplitSeq(rest, "\n## ") {
		letter, remark, _ := strings.Cut(part, "\n")
		if remark = strings.TrimSpace(remark); remark != "" {
			remarks[strings.TrimSpace(letter)] = remark
		}
	}
	return remarks, nil
}
