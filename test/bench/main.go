// Command bench measures what one delivered audit event costs, next to what
// it would cost at the least. One run gives one table of three rows:
//
//   - a bare loop of signed PUTs: the limit of any delivery over net/http;
//   - a loop of the AWS SDK's PutObject, which anybody would write first;
//   - auditdrain end to end: events posted in batches of 100, fsynced and
//     acknowledged, then written by 100 drains, one object an event.
//
// All three talk to the same null S3, which answers everything with success
// and stores nothing, so that the client is what is measured. Every run has
// fresh processes: the null S3, the loop or the service, and for the service
// a third one that posts the events. Rounds are interleaved, a ratio compares
// runs of the same round only, and medians are reported.
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
)

// children are the processes that the bench starts from its own binary, by
// the name that they get as first argument.
var children = map[string]func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error{
	"null-s3":  runNullS3,
	"put-bare": runPutBare,
	"put-sdk":  runPutSDK,
	"post":     runPost,
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
	rounds      int
	modes       []mode
	events      int
	concurrency int
	senders     int
	stall       time.Duration
	dir         string
	out         string

	bench   string // this binary, for the children
	service string // the auditdrain binary
}

func parseOptions(args []string) (options, error) {
	var o options
	var modes string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 5, "`number` of rounds, each one run of every mode")
	fs.StringVar(&modes, "modes", "bare,sdk,auditdrain", "`modes` to run; ratios to the limit need bare")
	fs.IntVar(&o.events, "events", 40_000, "`number` of events a run, a multiple of 10,000")
	fs.IntVar(&o.concurrency, "concurrency", 64, "PUTs in flight in the two loops")
	fs.IntVar(&o.senders, "senders", 8, "ingest requests in flight")
	fs.DurationVar(&o.stall, "stall", 30*time.Second, "give up when no PUT or answer arrives for this long")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for the service's data; its disk does the fsyncs")
	fs.StringVar(&o.out, "o", "", "also write the report to this `file`, as Markdown")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	for name := range strings.SplitSeq(modes, ",") {
		m := slices.Index(modeNames[:], name)
		if m < 0 {
			return o, fmt.Errorf("-modes: %q is not allowed: use bare, sdk and auditdrain", name)
		}
		o.modes = append(o.modes, mode(m))
	}
	switch {
	case o.rounds < 1, o.concurrency < 1, o.senders < 1:
		return o, errors.New("-rounds, -concurrency and -senders must be at least 1")
	case o.events < drains*batchEvents || o.events%(drains*batchEvents) != 0:
		return o, fmt.Errorf("-events: %d is not allowed: use a multiple of %d (%d drains, batches of %d)", o.events, drains*batchEvents, drains, batchEvents)
	}
	var err error
	o.bench, err = os.Executable()
	return o, err
}

// runBench measures all modes, round by round, and prints the report.
func runBench(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "auditdrain-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir

	if slices.Contains(o.modes, modeAuditdrain) {
		if o.service, err = buildService(ctx, dir); err != nil {
			return err
		}
	}
	report := report{machine: describeMachine(ctx, dir), options: o}
	if report.rounds, err = measureRounds(ctx, o, os.Stderr); err != nil {
		return err
	}
	if err := report.writeText(stdout); err != nil {
		return err
	}
	if o.out == "" {
		return nil
	}
	f, err := os.Create(o.out)
	if err != nil {
		return err
	}
	return errors.Join(report.writeMarkdown(f), f.Close())
}

// measureRounds runs every mode once a round. The order rotates, so that no
// mode always has the machine as the same other mode left it.
func measureRounds(ctx context.Context, o options, progress io.Writer) ([]round, error) {
	var rounds []round
	for i := range o.rounds {
		r := make(round)
		for j := range o.modes {
			m := o.modes[(i+j)%len(o.modes)]
			res, err := measure(ctx, o, m)
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", i+1, m.title(), err)
			}
			r[m] = res
			fmt.Fprintf(progress, "round %d of %d: %-25s %6.0f events/s\n", i+1, o.rounds, m.title(), res.rate())
		}
		rounds = append(rounds, r)
	}
	return rounds, nil
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
