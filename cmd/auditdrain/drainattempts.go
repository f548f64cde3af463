package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainAttemptsCommand(conn *connection) *cobra.Command {
	var (
		failed bool
		limit  int
	)
	cmd := &cobra.Command{
		Use:   "attempts ID",
		Short: "List what a drain tried to write, the latest first",
		Long: fmt.Sprintf(`List what a drain tried to write, the latest first.

Of each drain, the last %d failures are kept, and of its successes one a
minute, the last %d.`, auditdrain.MaxFailures, auditdrain.MaxSamples),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			const most = auditdrain.MaxFailures + auditdrain.MaxSamples
			if limit < 1 || limit > most {
				return usagef("--limit %d is not allowed: use 1 to %d", limit, most)
			}
			outcome := ""
			if failed {
				outcome = auditdrain.OutcomeFailed
			}
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.AttemptList, error) {
				attempts, err := api.ListAttempts(ctx, conn.team, args[0], outcome, limit)
				return auditdrain.AttemptList{Attempts: attempts}, err
			}, printAttempts)
		},
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "failures only")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return cmd
}

func printAttempts(w io.Writer, list auditdrain.AttemptList) {
	row(w, "WHEN", "EVENT", "OUTCOME", "TOOK", "CLASS", "OPERATION", "STATUS", "CODE", "REQUEST ID", "ERROR")
	for _, a := range list.Attempts {
		outcome, status := a.Outcome, ""
		if a.Replay {
			outcome += " (replay)"
		}
		if a.Status != 0 {
			status = strconv.Itoa(a.Status)
		}
		row(w, exactly(a.At), a.EventID, outcome, milliseconds(a.Duration), a.Class, a.Operation, status, a.Code, a.RequestID, cut(a.Error, 80))
	}
}

// exactly shows Unix milliseconds to the last one.
func exactly(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
