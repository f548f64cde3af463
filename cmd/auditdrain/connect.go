package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain/client"
)

// connection is what every command that talks to a running service needs.
type connection struct {
	url, token string
	team       string
	output     choice
}

// addTo defines the flags for all commands of a group.
func (c *connection) addTo(group *cobra.Command) {
	flags := group.PersistentFlags()
	flags.StringVar(&c.url, "url", "http://127.0.0.1:8080", "the service")
	flags.StringVar(&c.token, "token", "", "bearer token; the variable keeps it out of the list of processes")
	c.output = choice{value: "table", allowed: []string{"table", "json"}}
	c.output.addTo(group, flags, "output", "o", "how to print results; json is as in the REST API")
}

// addTeamTo defines --team for all commands of a group.
func (c *connection) addTeamTo(group *cobra.Command) {
	group.PersistentFlags().StringVar(&c.team, "team", "", "ID or slug of the team; not needed with a token that is bound to one")
	must(group.RegisterFlagCompletionFunc("team", cobra.NoFileCompletions))
}

// dial returns the client that the flags describe. It does no I/O.
func (c *connection) dial(opts ...client.Option) (*client.Client, error) {
	if c.token == "" {
		return nil, usagef("no token: use AUDITDRAIN_TOKEN or --token")
	}
	api, err := client.New(c.url, c.token, append(opts, client.WithUserAgent("auditdrain/"+buildVersion()))...)
	if err != nil {
		return nil, usageError{err}
	}
	return api, nil
}

// printResult makes one call, or a few that are one, and prints what they
// return: as JSON, or by table.
func printResult[T any](cmd *cobra.Command, conn *connection, call func(context.Context, *client.Client) (T, error), table func(io.Writer, T)) error {
	api, err := conn.dial()
	if err != nil {
		return err
	}
	result, err := call(cmd.Context(), api)
	if err != nil {
		return err
	}
	return conn.print(cmd.OutOrStdout(), result, func(w io.Writer) { table(w, result) })
}
