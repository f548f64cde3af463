package main

import (
	"cmp"
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
are delivered but with a fresh session. If it fails, say what AWS refused, why
that may be and what to change, print AWS's complete answer, and exit with 1.

Every test also tries whether the role can be assumed without the team's
external ID, which AWS has to refuse: any other customer could use it otherwise.`,
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
			case result.Diagnosis != nil: // which has been printed
				return fmt.Errorf("test delivery failed: %s", result.Diagnosis.Summary)
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
		field(w, "Took", milliseconds(r.Duration))
		printSteps(w, r.Steps)
		printRoleCheck(w, r.RoleCheck)
		return
	}
	field(w, "Endpoint", r.Endpoint)
	printSteps(w, r.Steps)
	printRoleCheck(w, r.RoleCheck)
	if r.Diagnosis != nil {
		printDiagnosis(w, *r.Diagnosis)
	}
	if r.AWS != nil {
		if r.Diagnosis != nil {
			fmt.Fprint(w, "\nAWS's answer\n")
		}
		printAnswer(w, *r.AWS)
	}
}

func milliseconds(n int64) string { return (time.Duration(n) * time.Millisecond).String() }

func printSteps(w io.Writer, steps []auditdrain.TestStep) {
	for _, s := range steps {
		outcome := "ok"
		if !s.OK {
			outcome = "failed"
		}
		field(w, map[string]string{"assumeRole": "AssumeRole", "putObject": "PutObject"}[s.Name], outcome+", "+milliseconds(s.Duration))
	}
}

func printRoleCheck(w io.Writer, c *auditdrain.RoleCheck) {
	if c == nil {
		return
	}
	result := "refuses callers without this team's external ID"
	switch {
	case c.Unsafe:
		result = "UNSAFE. " + c.Text
	case c.WithoutExternalID == auditdrain.RoleUnknown || c.OtherExternalID == auditdrain.RoleUnknown:
		result = "not found out yet"
	}
	field(w, "Role check", result)
	if c.Unsafe {
		printChange(w, "", c.Change)
	}
}

// printDiagnosis prints without columns, as one long value would widen them
// all.
func printDiagnosis(w io.Writer, d auditdrain.Diagnosis) {
	fmt.Fprintf(w, "\n%s\n", visible(d.Summary))
	for i, c := range d.Causes {
		certainty := ""
		if c.Confirmed {
			certainty = " (certain)"
		}
		fmt.Fprintf(w, "\n%d. %s%s\n", i+1, visible(c.Text), certainty)
		fmt.Fprintf(w, "   %s To be done by the %s.\n", visible(c.Fix), visible(string(c.Who)))
		printChange(w, "   ", c.Change)
	}
	if !d.Known {
		fmt.Fprint(w, "\nThis answer of AWS's is not known to us; it is below, whole.\n")
	}
	if l := d.CloudTrail; l != nil {
		fmt.Fprintf(w, "\nIn CloudTrail of account %s: %s of %s, request id %s, from %s to %s.\n", visible(l.Account), visible(l.EventName), visible(l.EventSource),
			visible(cmp.Or(l.RequestID, "another")), when(l.From), when(l.To))
		fmt.Fprintf(w, "%s\n", visible(l.Note))
		if l.Command != "" {
			fmt.Fprintf(w, "  %s\n", visible(l.Command))
		}
	}
	if d.Docs != "" {
		fmt.Fprintf(w, "\nSee %s\n", visible(d.Docs))
	}
}

func printChange(w io.Writer, indent string, c *auditdrain.Change) {
	switch {
	case c == nil:
		return
	case c.Unset:
		fmt.Fprintf(w, "%sIn %s: leave out %s\n", indent, visible(c.Where), visible(c.Field))
	case c.Value != "":
		fmt.Fprintf(w, "%sIn %s: %s = %s\n", indent, visible(c.Where), visible(c.Field), visible(c.Value))
	case c.Field != "":
		fmt.Fprintf(w, "%sIn %s: %s\n", indent, visible(c.Where), visible(c.Field))
	case c.Condition != "":
		fmt.Fprintf(w, "%sIn %s, add inside its Condition:\n%s  %s\n", indent, visible(c.Where), indent, visible(c.Condition))
	case c.Statement != "":
		fmt.Fprintf(w, "%sIn %s:\n", indent, visible(c.Where))
		for line := range strings.Lines(c.Statement) {
			fmt.Fprintf(w, "%s  %s\n", indent, visible(strings.TrimRight(line, "\n")))
		}
	default:
		fmt.Fprintf(w, "%sIt is about: %s\n", indent, visible(c.Where))
	}
}

func printAnswer(w io.Writer, a auditdrain.AWSAnswer) {
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
		field(w, "Time", exactly(a.Time))
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
