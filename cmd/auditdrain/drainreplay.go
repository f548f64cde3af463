package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainReplayCommand(conn *connection) *cobra.Command {
	var (
		from, to     = timeFlag{past: true}, timeFlag{past: true}
		wait, cancel bool
	)
	cmd := &cobra.Command{
		Use:   "replay ID [--from TIME [--to TIME]]",
		Short: "Deliver again what was accepted in a time, or show how far that is",
		Long: `Deliver again the events that the service accepted from one time up to another,
as far as it keeps them (serve --retain). Objects that are in the bucket stay as
they are; those that are missing are written. So it can be repeated without
harm. It runs beside the delivery of new events, goes on after a restart, and
waits while the drain is paused or errored. A drain has one replay at a time.

Without --from, show the last one.`,
		Example: `  auditdrain drain replay drn_… --from 2026-05-22T10:00:00Z --to 2026-05-22T12:00:00Z --wait
  auditdrain drain replay drn_… --from 24h
  auditdrain drain replay drn_… --cancel`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			switch {
			case cancel && (changed("from") || changed("to") || wait):
				return usagef("--cancel goes without --from, --to and --wait")
			case changed("to") && !changed("from"):
				return usagef("--to needs --from")
			}
			api, err := conn.dial(client.WithAttempts(sendAttempts))
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			var replay auditdrain.Replay
			switch {
			case cancel:
				replay, err = api.CancelReplay(ctx, conn.team, args[0])
			case changed("from"):
				replay, err = api.StartReplay(ctx, conn.team, args[0], auditdrain.ReplayInput{From: from.unixMilli(), To: to.unixMilli()})
			default:
				replay, err = api.GetReplay(ctx, conn.team, args[0])
			}
			if err != nil {
				return err
			}
			var waitErr error
			if wait {
				again := func() (auditdrain.Replay, error) { return api.GetReplay(ctx, conn.team, args[0]) }
				replay, waitErr = awaitReplay(ctx, cmd.ErrOrStderr(), replay, again)
			}
			printErr := conn.print(cmd.OutOrStdout(), replay, func(w io.Writer) { printReplay(w, replay) })
			return errors.Join(waitErr, printErr)
		},
	}
	flags := cmd.Flags()
	flags.Var(&from, "from", "events that were accepted since then, or for so long, such as 24h")
	flags.Var(&to, "to", "and before then (default: now)")
	flags.BoolVar(&wait, "wait", false, "show how far it is until it ends; Ctrl-C does not end it")
	flags.BoolVar(&cancel, "cancel", false, "end the replay that is running; what it has written stays")
	return cmd
}

// awaitReplay asks again until the replay has ended, and shows on out how far
// it is: in one line on a terminal, else with a line whenever it begins to
// wait for its drain, or goes on. It returns what it knows last.
func awaitReplay(ctx context.Context, out io.Writer, r auditdrain.Replay, again func() (auditdrain.Replay, error)) (auditdrain.Replay, error) {
	var line *progress
	if isTerminal(out) {
		line = newProgress(out.(*os.File), 0)
	}
	defer line.clear()
	var drain auditdrain.DrainStatus
	for pause := 100 * time.Millisecond; r.Status == auditdrain.ReplayRunning; pause = min(2*pause, time.Second) {
		switch {
		case line != nil:
			line.draw(replayText(r))
		case r.DrainStatus != drain:
			fmt.Fprintln(out, replayText(r))
		}
		drain = r.DrainStatus
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("replay %s goes on: %w", r.ID, ctx.Err())
		case <-time.After(pause):
		}
		next, err := again()
		switch {
		case err != nil:
			return r, fmt.Errorf("replay %s goes on, as far as is known: %w", r.ID, err)
		case next.ID != r.ID:
			return r, fmt.Errorf("replay %s is over, and another one has begun: %s", r.ID, next.ID)
		}
		r = next
	}
	if r.Status == auditdrain.ReplayCancelled {
		return r, fmt.Errorf("replay %s was cancelled", r.ID)
	}
	return r, nil
}

func replayText(r auditdrain.Replay) string {
	part := 1.0
	if r.Events > 0 {
		part = float64(r.Done) / float64(r.Events)
	}
	text := fmt.Sprintf("%s  %d of %s, %d written, %d were there", bar(part), r.Done, plural(r.Events, "event"), r.Written, r.Existed)
	if waits := waitsFor(r); waits != "" {
		text += "; " + waits
	}
	return text
}

// waitsFor says why a replay does not go on, if it does not.
func waitsFor(r auditdrain.Replay) string {
	switch {
	case r.Status != auditdrain.ReplayRunning:
	case r.DrainStatus == auditdrain.StatusDisabled:
		return "waits until the drain is resumed"
	case r.DrainStatus == auditdrain.StatusErrored:
		return "waits until the drain has recovered"
	}
	return ""
}

func printReplay(w io.Writer, r auditdrain.Replay) {
	now := time.Now()
	status := string(r.Status)
	if waits := waitsFor(r); waits != "" {
		status += ", " + waits
	}
	field(w, "Replay", r.ID)
	field(w, "Status", status)
	field(w, "From", when(r.From))
	field(w, "To", when(r.To))
	field(w, "Events", strconv.FormatUint(r.Events, 10))
	field(w, "Done", strconv.FormatUint(r.Done, 10))
	field(w, "Written", strconv.FormatUint(r.Written, 10))
	field(w, "Were there", strconv.FormatUint(r.Existed, 10))
	field(w, "Asked for", moment(r.CreatedAt, now))
	field(w, "By", r.By)
	field(w, "Finished", moment(r.FinishedAt, now))
}
