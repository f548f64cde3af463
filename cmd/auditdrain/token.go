package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
)

func newTokenCommand() *cobra.Command {
	var conn connection
	group := newGroup("token", "Create, list and revoke tokens",
		newTokenCreateCommand(&conn),
		newTokenListCommand(&conn),
		newTokenRevokeCommand(&conn),
	)
	conn.addTo(group)
	conn.addTeamTo(group)
	return group
}

func newTokenCreateCommand(conn *connection) *cobra.Command {
	var (
		name    string
		role    = choice{allowed: []string{"owner", "viewer", "producer", "operator"}}
		expires timeFlag
	)
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE [--team TEAM] [--expires TIME]",
		Short: "Create a token and print its value, this once",
		Long: `Create a token and print its value, this once: the service keeps only a hash.

With -o table the value is all that goes to stdout.`,
		Example:           `  PRODUCER=$(auditdrain token create --team acme --role producer --name app)`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			api, err := conn.dial()
			if err != nil {
				return err
			}
			token, err := api.CreateToken(ctx, auditdrain.TokenInput{
				Name:      name,
				Role:      auditdrain.Role(role.value),
				TeamID:    conn.team,
				ExpiresAt: expires.unixMilli(),
			})
			if err != nil {
				return err
			}
			if conn.output.value == "table" {
				printTokenNote(cmd.ErrOrStderr(), token.Token)
			}
			return conn.print(cmd.OutOrStdout(), token, func(w io.Writer) { fmt.Fprintln(w, token.Value) })
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "who or what will use it")
	role.addTo(cmd, cmd.Flags(), "role", "", "what it may do: owner manages the team's drains and tokens, viewer reads, producer sends events, operator does everything for all teams")
	cmd.Flags().Var(&expires, "expires", "when it ends, or for how long it is valid, such as 720h (default: never)")
	must(cmd.MarkFlagRequired("name"))
	must(cmd.MarkFlagRequired("role"))
	return cmd
}

func printTokenNote(w io.Writer, t auditdrain.Token) {
	note := fmt.Sprintf("token %s: %s", t.ID, t.Role)
	if t.TeamID != "" {
		note += " of " + t.TeamID
	}
	if t.ExpiresAt != 0 {
		note += ", until " + when(t.ExpiresAt)
	}
	fmt.Fprintln(w, visible(note)+"; it is not shown again")
}

func newTokenListCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "list [--team TEAM]",
		Short:             "List tokens, without their values",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			api, err := conn.dial()
			if err != nil {
				return err
			}
			tokens, err := api.ListTokens(ctx, conn.team)
			if err != nil {
				return err
			}
			return conn.print(cmd.OutOrStdout(), auditdrain.TokenList{Tokens: tokens}, func(w io.Writer) {
				row(w, "ID", "NAME", "ROLE", "TEAM", "CREATED", "EXPIRES")
				for _, t := range tokens {
					row(w, t.ID, t.Name, string(t.Role), t.TeamID, when(t.CreatedAt), when(t.ExpiresAt))
				}
			})
		},
	}
}

func newTokenRevokeCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke ID [--team TEAM]",
		Short:             "Make a token invalid, at once",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			api, err := conn.dial()
			if err != nil {
				return err
			}
			if err := api.DeleteToken(ctx, conn.team, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "revoked %s\n", args[0])
			return nil
		},
	}
}
