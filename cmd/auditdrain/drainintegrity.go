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

func newDrainIntegrityCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "integrity ID",
		Short: "Show how far a drain's signed manifests are, and how to verify them",
		Long: `Show how far a drain's signed manifests are, and how to verify them.

A drain with --integrity writes a manifest beside its objects every hour, with the
SHA-256 of each. Whoever can read the bucket proves with auditdrain verify that
nothing is missing from it, without asking the service.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Integrity, error) {
				return api.Integrity(ctx, conn.team, args[0])
			}, printIntegrity)
		},
	}
}

func printIntegrity(w io.Writer, in auditdrain.Integrity) {
	now := time.Now()
	field(w, "Integrity", string(in.State))
	if in.Verify == "" { // there never was a manifest
		return
	}
	field(w, "Manifests", fmt.Sprintf("%d written", in.Manifests))
	field(w, "Last manifest", moment(in.WrittenAt, now))
	field(w, "Covered until", moment(in.CoveredUntil, now))
	field(w, "Head", in.Head)
	field(w, "Signing key", in.KeyID)
	if in.Anchored > 0 {
		field(w, "Anchored", fmt.Sprintf("up to manifest %d", in.Anchored))
	}
	field(w, "Waiting", plural(in.Waiting, "manifest"))
	field(w, "Last failure", moment(in.LastErrorAt, now))
	field(w, "Last error", in.LastError)
	field(w, "Folder", in.Folder)
	fmt.Fprintf(w, "\nTo verify: %s\n", visible(in.Verify))
}
