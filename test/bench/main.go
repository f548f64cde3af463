// Command bench measures what a delivered audit event costs, next to what it
// would cost at the least, and writes the record of that. Its sections are
// the chapters of docs/benchmarks.md.
//
// Every run has fresh processes: a null S3, which answers everything with
// success and stores nothing, so that its client is what is measured; a loop
// of PUTs or the service; and for the service one more, which posts events.
// Runs of a section are interleaved round by round, a ratio compares runs of
// the same round only, and medians are reported.
//
// A run whose PUTs are not as many as its acknowledged events fails the bench.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/auditdrain/auditdrain"
)

// children are the processes that the bench starts from its own binary, by
// the name that they get as first argument.
var children = map[string]func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error{
	"null-s3":  runNullS3,
	"put-bare": runPutBare,
	"put-sdk":  runPutSDK,
	"post":     runPost,
}

// section measures one chapter.
type section struct {
	letter  string
	measure func(context.Context, *bench) (chapter, error)
}

// sections are those of the record, with its numbers.
func sections() []section {
	return []section{
		{"a", recordRates.measure},
		{"b", recordIngest.measure},
		{"c", recordLatency.measure},
		{"d", recordCost.measure},
		{"e", recordBacklog.measure},
		{"f", recordIdle.measure},
		{"g", recordIsolation.measure},
		{"h", recordScale.measure},
		{"i", recordIntegrity.measure},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	run := runBench
	args := os.Args[1:]
	if len(args) > 0 {
		if child, ok := children[args[0]]; ok {
			run, args = child, args[1:]
		}
	}
	if err := run(ctx, args, os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are what can be chosen on the command line.
type options struct {
	rounds   int
	sections []section
	stall    time.Duration
	dir      string
	remarks  string
	out      string
}

func parseOptions(args []string) (options, error) {
	o := options{sections: sections()}
	var only string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 5, "`number` of rounds")
	fs.StringVar(&only, "only", "", "`letters` of the sections to run, such as a,c; without it, all")
	fs.DurationVar(&o.stall, "stall", 30*time.Second, "give up when no PUT or answer arrives for this long")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for the service's data; its disk does the fsyncs; PostgreSQL's are in TMPDIR")
	fs.StringVar(&o.remarks, "remarks", "", "`file` with remarks on chapters, each below a heading with the chapter's letter")
	fs.StringVar(&o.out, "o", "", "write the document to this `file`, too")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("-rounds: %d is not allowed: use 1 or more", o.rounds)
	}
	if only == "" {
		return o, nil
	}
	if o.out != "" {
		return o, errors.New("-o is for the whole record: leave out -only")
	}
	letters := strings.Split(only, ",")
	for _, l := range letters {
		if !slices.ContainsFunc(o.sections, func(s section) bool { return s.letter == l }) {
			return o, fmt.Errorf("-only: there is no section %q", l)
		}
	}
	o.sections = slices.DeleteFunc(o.sections, func(s section) bool { return !slices.Contains(letters, s.letter) })
	return o, nil
}

// bench is what all sections share.
type bench struct {
	options
	self       string // this binary, for the children
	auditdrain string // the service's
	token      string // of the operator of every service
	folders    map[folder]string
	progress   io.Writer
	posters    uint64  // started so far
	others     float64 // the largest share of the machine that others took in a run
}

// runBench measures all sections and writes the document.
func runBench(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	b := &bench{options: o, token: auditdrain.NewTokenValue(), folders: make(map[folder]string), progress: os.Stderr}
	if b.dir, err = os.MkdirTemp(o.dir, "auditdrain-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.auditdrain, err = buildService(ctx, b.dir); err != nil {
		return err
	}
	doc, err := b.document(ctx)
	if err != nil {
		return err
	}
	if letters := doc.missing(); len(letters) > 0 {
		fmt.Fprintf(b.progress, "aims of %s are not met, and %q says nothing about them\n", strings.Join(letters, ", "), o.remarks)
	}
	if err := doc.write(stdout); err != nil || o.out == "" {
		return err
	}
	f, err := os.Create(o.out)
	if err != nil {
		return err
	}
	return errors.Join(doc.write(f), f.Close())
}

func (b *bench) document(ctx context.Context) (document, error) {
	began := time.Now()
	doc := document{machine: describeMachine(ctx, b.dir), rounds: b.rounds}
	remarks := make(map[string]string)
	if b.remarks != "" {
		var err error
		if remarks, err = readRemarks(b.remarks); err != nil {
			return doc, err
		}
	}
	for _, s := range b.sections {
		c, err := s.measure(ctx, b)
		if err != nil {
			return doc, fmt.Errorf("section %s: %w", s.letter, err)
		}
		c.letter, c.remarks = s.letter, remarks[s.letter]
		doc.chapters = append(doc.chapters, c)
	}
	doc.others, doc.took = b.others, time.Since(began)
	return doc, nil
}

// run is one of the runs that a round of a section consists of.
type run struct {
	name string
	do   func(ctx context.Context) (result string, err error)
}

// round makes the runs of round i. The order rotates, so that none always has
// the machine as the same other one left it.
func (b *bench) round(ctx context.Context, i int, runs []run) error {
	for j := range runs {
		r := runs[(i+j)%len(runs)]
		result, err := r.do(ctx)
		if err != nil {
			return fmt.Errorf("round %d, %s: %w", i+1, r.name, err)
		}
		fmt.Fprintf(b.progress, "round %d of %d: %-34s %s\n", i+1, b.rounds, r.name, result)
	}
	return nil
}

// buildService builds the binary that operators run, the way it is released.
func buildService(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "auditdrain")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "github.com/auditdrain/auditdrain/cmd/auditdrain")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build auditdrain: %w\n%s", err, out)
	}
	return bin, nil
}
