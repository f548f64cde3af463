package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newPortalLinkCommand() *cobra.Command {
	var conn connection
	group := newGroup("portal-link", "Let people in to a team's pages without a token",
		newPortalLinkCreateCommand(&conn),
	)
	conn.addTo(group)
	conn.addTeamTo(group)
	return group
}

func newPortalLinkCreateCommand(conn *connection) *cobra.Command {
	var (
		in    auditdrain.PortalLinkInput
		role  = choice{value: string(auditdrain.RoleOwner), allowed: []string{"owner", "viewer"}}
		valid time.Duration
	)
	cmd := &cobra.Command{
		Use:   "create --team TEAM [--role ROLE] [--user NAME] [--valid DURATION]",
		Short: "Make a link that lets one person in to a team's pages, once",
		Long: `Make a link that lets one person in to a team's pages, once, and print it.

The link begins with the service's --public-url. With -o table it is all that
goes to stdout.`,
		Example:           `  auditdrain portal-link create --team acme --role viewer --user ann@acme.example`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if valid < time.Minute || valid > auditdrain.MaxPortalMinutes*time.Minute || valid%time.Minute != 0 {
				return usagef("--valid %s is not allowed: use whole minutes, 1m to %dm", valid, auditdrain.MaxPortalMinutes)
			}
			in.TeamID, in.Role, in.ValidMinutes = conn.team, auditdrain.Role(role.value), int(valid/time.Minute)
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.NewPortalLink, error) {
				return api.CreatePortalLink(ctx, in)
			}, func(w io.Writer, link auditdrain.NewPortalLink) {
				fmt.Fprintln(cmd.ErrOrStderr(), visible(fmt.Sprintf("opens once, until %s, the pages of %s for %s as %s; it is not shown again",
					when(link.ExpiresAt), link.TeamID, link.UserName, link.Role)))
				fmt.Fprintln(w, link.URL)
			})
		},
	}
	role.addTo(cmd, cmd.Flags(), "role", "", "what the person may do: owner manages the team's drains and tokens, viewer reads")
	cmd.Flags().StringVar(&in.UserName, "user", "", "who the person is, for the team's activity (default: portal)")
	cmd.Flags().DurationVar(&valid, "valid", auditdrain.DefaultPortalMinutes*time.Minute, "how long the link can be opened")
	return cmd
}
