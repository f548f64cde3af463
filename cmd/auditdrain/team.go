package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newTeamCommand() *cobra.Command {
	var conn connection
	group := newGroup("team", "Create, change and list teams",
		newTeamCreateCommand(&conn),
		newTeamUpdateCommand(&conn),
		newTeamListCommand(&conn),
	)
	conn.addTo(group)
	return group
}

func newTeamCreateCommand(conn *connection) *cobra.Command {
	var in auditdrain.TeamInput
	cmd := &cobra.Command{
		Use:               "create --slug SLUG [--name NAME] [--id ID]",
		Short:             "Create a team",
		Example:           `  auditdrain team create --slug acme --name "Acme Inc."`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.Name == "" {
				in.Name = in.Slug
			}
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Team, error) {
				return api.CreateTeam(ctx, in)
			}, func(w io.Writer, t auditdrain.Team) { printTeams(w, t) })
		},
	}
	cmd.Flags().StringVar(&in.Slug, "slug", "", "short name for URLs and commands: a-z, 0-9 and -")
	cmd.Flags().StringVar(&in.Name, "name", "", "name for people (default: the slug)")
	cmd.Flags().StringVar(&in.ID, "id", "", "ID, when the team has one already; it becomes part of the external ID (default: a new one)")
	must(cmd.MarkFlagRequired("slug"))
	return cmd
}

func newTeamUpdateCommand(conn *connection) *cobra.Command {
	var (
		name, anchorURL string
		hide            bool
	)
	cmd := &cobra.Command{
		Use:   "update ID [--name NAME] [--hide-ip-addresses[=false]] [--anchor-url URL]",
		Short: "Change a team, named by ID or slug",
		Example: `  auditdrain team update acme --hide-ip-addresses
  auditdrain team update acme --anchor-url https://anchors.acme.example/auditdrain`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var patch auditdrain.TeamPatch
			if cmd.Flags().Changed("name") {
				patch.Name = &name
			}
			if cmd.Flags().Changed("hide-ip-addresses") {
				patch.HideIPAddresses = &hide
			}
			if cmd.Flags().Changed("anchor-url") {
				patch.AnchorURL = &anchorURL
			}
			if patch == (auditdrain.TeamPatch{}) {
				return usagef("nothing to change: use --name, --hide-ip-addresses or --anchor-url")
			}
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Team, error) {
				return api.UpdateTeam(ctx, args[0], patch)
			}, func(w io.Writer, t auditdrain.Team) { printTeams(w, t) })
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name for people, which only an operator can change")
	cmd.Flags().BoolVar(&hide, "hide-ip-addresses", false, "leave ipAddress out of what the team's drains write from now on")
	cmd.Flags().StringVar(&anchorURL, "anchor-url", "", "`URL` that the heads of its drains' manifests are posted to, which only an operator can change; empty: that of the service, if it has one")
	return cmd
}

func newTeamListCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List the teams",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.TeamList, error) {
				teams, err := api.ListTeams(ctx)
				return auditdrain.TeamList{Teams: teams}, err
			}, func(w io.Writer, list auditdrain.TeamList) { printTeams(w, list.Teams...) })
		},
	}
}

func printTeams(w io.Writer, teams ...auditdrain.Team) {
	row(w, "ID", "SLUG", "NAME", "CREATED", "IP ADDRESSES", "ANCHOR")
	for _, t := range teams {
		addresses := "written"
		if t.HideIPAddresses {
			addresses = "hidden"
		}
		row(w, t.ID, t.Slug, t.Name, when(t.CreatedAt), addresses, t.AnchorURL)
	}
}

// must is for mistakes in the definition of commands.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
