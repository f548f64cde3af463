package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newActivityCommand() *cobra.Command {
	var conn connection
	group := newGroup("activity", "Show who changed what",
		newActivityListCommand(&conn),
	)
	conn.addTo(group)
	conn.addTeamTo(group)
	return group
}

func newActivityListCommand(conn *connection) *cobra.Command {
	q := auditdrain.ActivityQuery{}
	cmd := &cobra.Command{
		Use:   "list [--team TEAM] [--limit N] [--before NUMBER]",
		Short: "List who did what to drains, tokens and settings, the latest first",
		Long: `List who did what to drains, tokens and settings, the latest first.

It is kept for ever. Each entry is also an event of team ` + auditdrain.SystemTeam + `: a drain of that
team writes them to a bucket.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 || q.Limit > auditdrain.MaxPage {
				return usagef("--limit %d is not allowed: use 1 to %d", q.Limit, auditdrain.MaxPage)
			}
			q.TeamID = conn.team
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.ActivityList, error) {
				return api.ListActivity(ctx, q)
			}, printActivities)
		},
	}
	cmd.Flags().IntVar(&q.Limit, "limit", 50, "how many at most")
	cmd.Flags().Uint64Var(&q.Before, "before", 0, "only those with a lower `number`, such as the next of the page before")
	return cmd
}

func printActivities(w io.Writer, list auditdrain.ActivityList) {
	row(w, "NUMBER", "WHEN", "TEAM", "WHO", "ROLE", "WHAT", "TARGET", "CHANGES", "ADDRESS")
	for _, a := range list.Activities {
		row(w, strconv.FormatUint(a.Number, 10), when(a.At), a.TeamID, a.Actor.Name, string(a.Actor.Role), a.Action, a.TargetName, inOneLine(a.Changes), a.IPAddress)
	}
}

func inOneLine(changes []auditdrain.ActivityChange) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = fmt.Sprintf("%s: %s", c.Field, c.To)
		if c.From != "" {
			parts[i] = fmt.Sprintf("%s: %s → %s", c.Field, c.From, c.To)
		}
	}
	return cut(strings.Join(parts, ", "), 120)
}
