package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainTestCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "test ID",
		Short: "Write a sample event, and show what AWS answered if that fails",
		Long: `Write a sample event below test/ at the drain's endpoint, exactly as events
are delivered but with a fresh session. If it fails, print AWS's complete
answer and exit with 1.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var result auditdrain.DrainTestResult
			err := printResult(cmd, conn, func(ctx context.Context, api *client.Client) (_ auditdrain.DrainTestResult, err error) {
				result, err = api.TestDrain(ctx, conn.team, args[0])
				return result, err
			}, printTestResult)
			switch {
			case err != nil:
				return err
			case result.Status == "":
				return nil
			case result.Error == "":
				return errors.New("test delivery failed")
			}
			return fmt.Errorf("test delivery failed: %s", result.Error)
		},
	}
}

func printTestResult(w io.Writer, r auditdrain.DrainTestResult) {
	if r.Status == "" {
		field(w, "Delivered", r.Key)
		field(w, "Took", (time.Duration(r.Duration) * time.Millisecond).String())
		return
	}
	field(w, "Endpoint", r.Endpoint)
	a := r.AWS
	if a == nil {
		return
	}
	field(w, "Service", a.Service)
	field(w, "Operation", a.Operation)
	if a.HTTPStatus == 0 {
		field(w, "HTTP status", "none, no answer came")
	} else {
		field(w, "HTTP status", strconv.Itoa(a.HTTPStatus))
	}
	field(w, "Code", a.Code)
	field(w, "Message", a.Message)
	field(w, "Request ID", a.RequestID)
	field(w, "Extended ID", a.ExtendedRequestID)
	if a.Time != 0 {
		field(w, "Time", time.UnixMilli(a.Time).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	field(w, "Role", a.RoleARN)
	field(w, "Caller", a.CallerARN)
	field(w, "Host", a.Host)
	field(w, "Key", a.Key)
	// From here on without columns, as one long value would widen them all.
	if len(a.Headers) > 0 {
		fmt.Fprintln(w, "Headers:")
		for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
			for _, value := range a.Headers[name] {
				fmt.Fprintf(w, "  %s: %s\n", visible(name), visible(value))
			}
		}
	}
	if a.Body != "" {
		fmt.Fprintln(w, "Body:")
		for line := range strings.Lines(a.Body) {
			line = strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")
			fmt.Fprintln(w, "  "+visible(line))
		}
	}
}
