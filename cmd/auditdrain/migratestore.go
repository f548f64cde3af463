package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain/internal/move"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/pgstore"
)

func newMigrateStoreCommand() *cobra.Command {
	var (
		from, to string
		dryRun   bool
		out      = connection{output: choice{value: "table", allowed: []string{"table", "json"}}}
	)
	cmd := &cobra.Command{
		Use:   "migrate-store --from FOLDER --to URL",
		Short: "Move an embedded store to PostgreSQL",
		Long: `Move all that serve keeps in a folder to an empty PostgreSQL database, read it
back, and compare both, by counts and checksums of each team. After that, serve
--postgres URL goes on where serve --data FOLDER has stopped. Sessions and portal
links stay behind: people log in again.

The service must not run, and the folder is only read. If the command is broken
off, at any point, start it again: it goes on. Until it has come to its end, serve
refuses the database.`,
		Example:           `  auditdrain migrate-store --from ./auditdrain-data --to postgres://auditdrain@db/auditdrain`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" && !dryRun {
				return usagef("--to is missing: say which database, or use --dry-run")
			}
			var line *progress
			if stderr := cmd.ErrOrStderr(); isTerminal(stderr) {
				line = newProgress(stderr.(*os.File), 0)
			}
			begin := time.Now()
			sums, err := moveStore(cmd.Context(), from, to, dryRun, line)
			line.clear()
			if err != nil && cmd.Context().Err() != nil && !dryRun {
				return fmt.Errorf("broken off; start it again, and it goes on: %w", err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), movedText(sums, dryRun, time.Since(begin)))
			return out.print(cmd.OutOrStdout(), sums, func(w io.Writer) { sumTable(w, sums) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "`folder` of the embedded store, as serve --data has it")
	f.StringVar(&to, "to", "", "`URL` of the database, as serve --postgres has it; a password is better in PGPASSWORD or ~/.pgpass")
	f.BoolVar(&dryRun, "dry-run", false, "count and sum up what the folder has, and write nothing")
	out.output.addTo(cmd, f, "output", "o", "how to print what was moved of each team")
	must(cmd.MarkFlagRequired("from"))
	must(cmd.MarkFlagDirname("from"))
	return cmd
}

// moveStore moves the store, or, if it is to write nothing, sums up what is there.
func moveStore(ctx context.Context, from, to string, dryRun bool, line *progress) (sums []move.Sum, err error) {
	log := slog.New(slog.DiscardHandler) // what is wrong is an error
	source, err := pebblestore.Open(from, pebblestore.Options{Logger: log, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	show := func(p move.Progress) {
		if line.due() {
			line.draw(moveText(p, time.Since(line.started)))
		}
	}
	if dryRun {
		return move.Count(ctx, source, show)
	}
	target, err := pgstore.OpenImport(ctx, to, pgstore.Options{Logger: log, Name: "migrate-store"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return move.Run(ctx, source, target, show)
}

// moveText is the line that shows how far a move has come. Both phases look at
// all events.
func moveText(p move.Progress, took time.Duration) string {
	done := p.Done
	if p.Phase == move.Checking {
		done += p.Total
	}
	text := fmt.Sprintf("%s: %d of %d events", p.Phase, p.Done, p.Total)
	if s := took.Seconds(); s > 0 {
		text += fmt.Sprintf(", %.0f/s", float64(done)/s)
	}
	return bar(float64(p.Done)/float64(max(p.Total, 1))) + "  " + text
}

func movedText(sums []move.Sum, dryRun bool, took time.Duration) string {
	var events, bytes, teams uint64
	for _, s := range sums {
		events, bytes = events+s.Events, bytes+s.Bytes
		if s.TeamID != "" {
			teams++
		}
	}
	what := fmt.Sprintf("%s of %s (%s)", plural(events, "event"), plural(teams, "team"), size(bytes))
	if dryRun {
		return "would move " + what
	}
	return fmt.Sprintf("moved %s in %s; what is in the database is the same", what, took.Round(time.Second/10))
}

func sumTable(w io.Writer, sums []move.Sum) {
	row(w, "TEAM", "TOKENS", "DRAINS", "ACTIVITIES", "EVENTS", "BYTES", "CHECKSUM")
	for _, s := range sums {
		row(w, s.TeamID, fmt.Sprint(s.Tokens), fmt.Sprint(s.Drains), fmt.Sprint(s.Activities), fmt.Sprint(s.Events), fmt.Sprint(s.Bytes), s.Checksum)
	}
}
