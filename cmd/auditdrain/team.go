package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
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
			api, err := conn.dial()
			if err != nil {
				return err
			}
			if in.Name == "" {
				in.Name = in.Slug
			}
			team, err := api.CreateTeam(cmd.Context(), in)
			if err != nil {
				return err
			}
			return conn.print(cmd.OutOrStdout(), team, func(w io.Writer) { printTeams(w, team) })
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
			api, err := conn.dial()
			if err != nil {
				return err
			}
			teams, err := api.ListTeams(cmd.Context())
			if err != nil {
				return err
			}
			return conn.print(cmd.OutOrStdout(), auditdrain.TeamList{Teams: teams}, func(w io.Writer) { printTeams(w, teams...) })
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
