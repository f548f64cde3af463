package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
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
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.NewToken, error) {
				return api.CreateToken(ctx, auditdrain.TokenInput{
					Name:      name,
					Role:      auditdrain.Role(role.value),
					TeamID:    conn.team,
					ExpiresAt: expires.unixMilli(),
				})
			}, func(w io.Writer, token auditdrain.NewToken) {
				printTokenNote(cmd.ErrOrStderr(), token.Token) // which JSON has in itself
				fmt.Fprintln(w, token.Value)
			})
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
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.TokenList, error) {
				tokens, err := api.ListTokens(ctx, conn.team)
				return auditdrain.TokenList{Tokens: tokens}, err
			}, printTokens)
		},
	}
}

func printTokens(w io.Writer, list auditdrain.TokenList) {
	row(w, "ID", "NAME", "ROLE", "TEAM", "CREATED", "EXPIRES")
	for _, t := range list.Tokens {
		row(w, t.ID, t.Name, string(t.Role), t.TeamID, when(t.CreatedAt), when(t.ExpiresAt))
	}
}

func newTokenRevokeCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke ID [--team TEAM]",
		Short:             "Make a token invalid, at once",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := conn.dial()
			if err != nil {
				return err
			}
			if err := api.DeleteToken(cmd.Context(), conn.team, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "revoked %s\n", args[0])
			return nil
		},
	}
}
