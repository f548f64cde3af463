package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainSkipCommand(conn *connection) *cobra.Command {
	var in auditdrain.SkipInput
	cmd := &cobra.Command{
		Use:   "skip ID --event ID --reason TEXT",
		Short: "Give up one event that the destination refuses (operator)",
		Long: `Give up one event: the drain goes on without it, and its object will be
missing in the bucket. Who did that, when and why stays on record.

A drain that is refused parks, and mostly the destination has to be mended: all
events are refused then. Skip an event only if it is refused for its own sake,
and others are not.`,
		Example:           `  auditdrain drain skip drn_… --event uev_… --reason "S3 answers 400 InvalidRequest to this one only, AWS case 123"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Skip, error) {
				return api.SkipEvent(ctx, conn.team, args[0], in)
			}, func(w io.Writer, skip auditdrain.Skip) {
				printSkips(w, auditdrain.SkipList{Skips: []auditdrain.Skip{skip}})
			})
		},
	}
	cmd.Flags().StringVar(&in.EventID, "event", "", "id of the event")
	cmd.Flags().StringVar(&in.Reason, "reason", "", fmt.Sprintf("why, for those who find it missing; at most %d bytes", auditdrain.MaxReasonLen))
	must(cmd.MarkFlagRequired("event"))
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func newDrainSkipsCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "skips ID",
		Short:             "List the events that a drain has given up, and why",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.SkipList, error) {
				skips, err := api.ListSkips(ctx, conn.team, args[0])
				return auditdrain.SkipList{Skips: skips}, err
			}, printSkips)
		},
	}
}

func printSkips(w io.Writer, list auditdrain.SkipList) {
	row(w, "WHEN", "BY", "EVENTS", "EVENT", "REASON")
	for _, s := range list.Skips {
		row(w, when(s.At), s.By, strconv.FormatUint(s.Events(), 10), s.EventID, s.Reason)
	}
}
