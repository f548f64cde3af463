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
	group := newGroup("team", "Create and list teams",
		newTeamCreateCommand(&conn),
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
	row(w, "ID", "SLUG", "NAME", "CREATED")
	for _, t := range teams {
		row(w, t.ID, t.Slug, t.Name, when(t.CreatedAt))
	}
}

// must is for mistakes in the definition of commands.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
