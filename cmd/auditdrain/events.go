package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

const (
	// maxBatchBytes is where a batch ends even if it has few events. It is
	// below MaxBodyBytes since larger ones gain nothing.
	maxBatchBytes = 8 << 20
	// linger is how long events from a pipe wait for more to join their batch.
	linger = time.Second
	// sendAttempts lets a transfer outlive a restart of the service.
	sendAttempts = 12
)

func newEventsCommand() *cobra.Command {
	var conn connection
	group := newGroup("events", "Send events", newEventsSendCommand(&conn))
	conn.addTo(group)
	conn.addTeamTo(group)
	return group
}

func newEventsSendCommand(conn *connection) *cobra.Command {
	var (
		allowIncomplete bool
		batchEvents     int
	)
	cmd := &cobra.Command{
		Use:   "send FILE|-",
		Short: "Send events from a file or standard input, one JSON object a line",
		Long: `Send events from a file or standard input, one JSON object a line.

Events go in batches, in order, and each batch is accepted whole or not at
all. It ends at the first batch that is refused and names the lines at fault.
After any interruption, run it again with the same input: an event with the
same id and the same bytes counts as a duplicate and is not delivered twice,
for as long as the service keeps it (serve --retain).

For that, each event needs an id and a timestamp of its own. The service would
fill them in differently each time, so events without them are not sent unless
--allow-incomplete says so, and a batch with one is then sent only once.`,
		Example: `  auditdrain events send events.ndjson --team acme
  zcat archive.gz | auditdrain events send - --team acme`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if batchEvents < 1 || batchEvents > auditdrain.MaxBatchEvents {
				return usagef("--batch %d is not allowed: use 1 to %d", batchEvents, auditdrain.MaxBatchEvents)
			}
			ctx := cmd.Context()
			api, err := conn.dial(client.WithAttempts(sendAttempts))
			if err != nil {
				return err
			}
			in, size, closeInput, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer closeInput()

			s := &sender{api: api, team: conn.team, source: args[0], batchEvents: batchEvents, batchBytes: maxBatchBytes}
			if stderr := cmd.ErrOrStderr(); isTerminal(stderr) {
				s.progress = newProgress(stderr.(*os.File), size)
			}
			sendErr := s.send(ctx, in, allowIncomplete)
			s.progress.clear()
			printErr := conn.print(cmd.OutOrStdout(), s.total, func(w io.Writer) {
				fmt.Fprintf(w, "accepted %d, duplicates %d\n", s.total.Accepted, s.total.Duplicates)
			})
			return errors.Join(sendErr, printErr)
		},
	}
	cmd.Flags().BoolVar(&allowIncomplete, "allow-incomplete", false, "also send events without id or timestamp; the service fills them in, and sending them again delivers them twice or is refused")
	cmd.Flags().IntVar(&batchEvents, "batch", 1000, fmt.Sprintf("events in a batch, at most %d", auditdrain.MaxBatchEvents))
	return cmd
}

// openInput returns the file called name, or standard input for "-", and its
// size or 0 if that is not known.
func openInput(cmd *cobra.Command, name string) (in io.Reader, size int64, closeInput func() error, err error) {
	if name == "-" {
		return cmd.InOrStdin(), 0, func() error { return nil }, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, f.Close, nil
}

// sender sends one stream of events, batch by batch.
type sender struct {
	api         *client.Client
	team        string // ID or slug
	source      string // for messages
	batchEvents int
	batchBytes  int       // a longer line goes on its own
	progress    *progress // nil: show none

	total      auditdrain.EventsResult // of the batches that were accepted
	incomplete bool                    // an event that is not safe to repeat was sent
}

// batch is consecutive lines that are sent together.
type batch struct {
	body       []byte
	lines      []int    // the number in the input of each event
	ids        []string // of each event, "" for none
	incomplete bool     // at least one event is
	end        int64    // bytes of the input up to here
}

func (b *batch) add(l line) {
	b.body = append(append(b.body, l.data...), '\n')
	b.lines = append(b.lines, l.number)
	b.ids = append(b.ids, l.id)
	b.incomplete = b.incomplete || !l.complete
	b.end = l.end
}

// send reads in to its end, and returns the first error of reading, checking
// or sending. Events before a line at fault have been sent.
func (s *sender) send(ctx context.Context, in io.Reader, allowIncomplete bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends readLines, unless it waits for a pipe or a terminal
	lines := make(chan line, 64)
	go readLines(ctx, in, allowIncomplete, lines)

	b := new(batch)
	var waited <-chan time.Time
	flush := func() error {
		full := b
		b, waited = new(batch), nil
		return s.sendBatch(ctx, full)
	}
	for {
		select {
		case l, ok := <-lines:
			if !ok || l.err != nil {
				if err := flush(); err != nil {
					return err
				}
				if l.err != nil {
					return fmt.Errorf("%s: %w", s.source, l.err)
				}
				return nil
			}
			if len(b.body)+len(l.data)+1 > s.batchBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			b.add(l)
			if waited == nil {
				waited = time.After(linger)
			}
			if len(b.lines) == s.batchEvents {
				if err := flush(); err != nil {
					return err
				}
			}
		case <-waited:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			if s.incomplete {
				return fmt.Errorf("%s: interrupted after events without id or timestamp, which are not safe to send again: %w", s.source, ctx.Err())
			}
			return fmt.Errorf("%s: interrupted, run it again to go on: %w", s.source, ctx.Err())
		}
	}
}

func (s *sender) sendBatch(ctx context.Context, b *batch) error {
	if len(b.lines) == 0 {
		return nil
	}
	sendEvents := s.api.SendEvents
	if b.incomplete {
		s.incomplete = true
		sendEvents = s.api.SendEventsOnce
	}
	result, err := sendEvents(ctx, s.team, b.body)
	if err != nil {
		return s.explain(b, err)
	}
	s.total.Accepted += result.Accepted
	s.total.Duplicates += result.Duplicates
	s.progress.show(b.end, s.total)
	return nil
}

// explain turns places in the batch, which mean nothing to the person, into
// lines of the input.
func (s *sender) explain(b *batch, err error) error {
	where := fmt.Sprintf("%s, lines %d to %d", s.source, b.lines[0], b.lines[len(b.lines)-1])
	var refusal *auditdrain.Error
	if !errors.As(err, &refusal) {
		return fmt.Errorf("%s: %w", where, err)
	}
	e := &auditdrain.Error{Code: refusal.Code, RetryAfter: refusal.RetryAfter}
	for _, p := range refusal.Details {
		if p.Index != nil && *p.Index >= 0 && *p.Index < len(b.lines) {
			p.Field = strings.TrimSuffix(fmt.Sprintf("line %d: %s", b.lines[*p.Index], p.Field), ": ")
			p.Index = nil
		}
		e.Details = append(e.Details, p)
	}
	conflict := make(map[string]bool, len(refusal.IDs))
	for _, id := range refusal.IDs {
		conflict[id] = true
	}
	for i, id := range b.ids {
		if conflict[id] {
			e.Details = append(e.Details, auditdrain.Problem{
				Field:   fmt.Sprintf("line %d: id", b.lines[i]),
				Message: id + " was accepted before with other bytes",
			})
		}
	}
	if len(e.Details) == 0 {
		return fmt.Errorf("%s: %w", where, err)
	}
	e.Message = fmt.Sprintf("%s: refused, and none of them stored: %s", where, plural(len(e.Details), "problem"))
	return e
}

func plural[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
