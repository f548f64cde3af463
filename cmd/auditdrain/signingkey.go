package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newSigningKeyCommand() *cobra.Command {
	var conn connection
	group := newGroup("signing-key", "List and rotate the keys that manifests are signed with",
		newSigningKeyListCommand(&conn),
		newSigningKeyRotateCommand(&conn),
	)
	conn.addTo(group)
	return group
}

func newSigningKeyListCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the signing keys by their fingerprints, the latest first",
		Long: `List the signing keys by their fingerprints, the latest first.

The ID is the fingerprint, which customers can pin: the thumbprint of RFC 7638.
The keys themselves are at /.well-known/jwks.json of the service.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.SigningKeyList, error) {
				keys, err := api.ListSigningKeys(ctx)
				return auditdrain.SigningKeyList{SigningKeys: keys}, err
			}, func(w io.Writer, list auditdrain.SigningKeyList) { printSigningKeys(w, list.SigningKeys...) })
		},
	}
}

func newSigningKeyRotateCommand(conn *connection) *cobra.Command {
	var after time.Duration
	cmd := &cobra.Command{
		Use:   "rotate [--active-after DURATION]",
		Short: "Create the next signing key",
		Long: `Create the next signing key. It is published at once, and signs after --active-after,
so that whoever keeps a copy of the keys gets it in time. The key before it stays
published for ever: older manifests are checked with it.

If serve was started with --kms-key, the next key is that one: create another key in
AWS KMS, and start serve with it first.`,
		Example: `  auditdrain signing-key rotate
  auditdrain signing-key rotate --active-after 0s   # the old one must not sign any more`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if after < 0 || after > auditdrain.MaxActiveAfterHours*time.Hour || after%time.Hour != 0 {
				return usagef("--active-after %s is not allowed: use whole hours, 0s to %dh", after, auditdrain.MaxActiveAfterHours)
			}
			hours := int(after / time.Hour)
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.SigningKeyInfo, error) {
				return api.CreateSigningKey(ctx, auditdrain.SigningKeyInput{ActiveAfterHours: &hours})
			}, func(w io.Writer, key auditdrain.SigningKeyInfo) { printSigningKeys(w, key) })
		},
	}
	cmd.Flags().DurationVar(&after, "active-after", auditdrain.DefaultActiveAfterHours*time.Hour, "how long the key is published before it signs")
	return cmd
}

func printSigningKeys(w io.Writer, keys ...auditdrain.SigningKeyInfo) {
	row(w, "ID", "STATUS", "CREATED", "ACTIVE FROM", "KMS KEY")
	for _, k := range keys {
		row(w, k.ID, string(k.Status), when(k.CreatedAt), when(k.ActiveFrom), k.KMSKeyARN)
	}
}
