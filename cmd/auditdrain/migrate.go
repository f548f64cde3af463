package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain/internal/pgstore"
)

func newMigrateCommand() *cobra.Command {
	var (
		url    string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "migrate --postgres URL [--dry-run]",
		Short: "Bring a PostgreSQL database to the layout of this version",
		Long: `Bring a PostgreSQL database to the layout of this version, or with --dry-run
print the SQL that would do so, and change nothing.

A node that starts does the same by itself, one at a time. This is for those who
want to see the SQL first, or whose nodes may not change tables. There is no way
back: a database of a newer version is refused.`,
		Example:           `  auditdrain migrate --postgres 'postgres://auditdrain@db1,db2/auditdrain?target_session_attrs=read-write' --dry-run`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				return usagef("--postgres is missing: say which database")
			}
			if dryRun {
				pending, err := pgstore.Pending(cmd.Context(), url)
				if err != nil {
					return err
				}
				for _, m := range pending {
					fmt.Fprintf(cmd.OutOrStdout(), "-- migration %s\n\n%s\n", m.Name, m.SQL)
				}
				return sayNone(cmd, len(pending))
			}
			made, err := pgstore.Migrate(cmd.Context(), url)
			if err != nil {
				return err
			}
			for _, m := range made {
				fmt.Fprintln(cmd.OutOrStdout(), m.Name)
			}
			return sayNone(cmd, len(made))
		},
	}
	cmd.Flags().StringVar(&url, "postgres", "", "the database: a `URL` as PostgreSQL's own programs take it; a password is better in PGPASSWORD or ~/.pgpass")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL, change nothing")
	return cmd
}

// sayNone says so if there was nothing to do.
func sayNone(cmd *cobra.Command, n int) error {
	if n > 0 {
		return nil
	}
	_, err := fmt.Fprintln(cmd.ErrOrStderr(), "nothing to migrate: the database has the layout of this version")
	return err
}
