package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainCommand() *cobra.Command {
	var conn connection
	group := newGroup("drain", "Create, show, change and test drains",
		newDrainCreateCommand(&conn),
		newDrainListCommand(&conn),
		newDrainShowCommand(&conn),
		newDrainUpdateCommand(&conn),
		newDrainStatusCommand(&conn, auditdrain.StatusDisabled, "pause", "Stop delivering; events are kept until the drain is resumed"),
		newDrainStatusCommand(&conn, auditdrain.StatusEnabled, "resume", "Deliver again, from where the drain was paused"),
		newDrainDeleteCommand(&conn),
		newDrainTestCommand(&conn),
	)
	conn.addTo(group)
	conn.addTeamTo(group)
	return group
}

// none is the value of a flag that asks for a header not to be sent.
const none = "none"

// drainFlags are the flags that describe a drain.
type drainFlags struct {
	name       string
	endpoint   string
	roleARN    string
	region     string
	encoding   choice
	encryption choice
	objectACL  choice
}

func (f *drainFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name for people")
	flags.StringVar(&f.endpoint, "endpoint", "", "where to write: s3://bucket or s3://bucket/prefix")
	flags.StringVar(&f.roleARN, "role-arn", "", "the team's IAM role that may write there")
	flags.StringVar(&f.region, "region", "", "AWS region of the bucket")
	f.encoding = choice{value: "ndjson", allowed: auditdrain.Encodings}
	f.encoding.addTo(cmd, flags, "encoding", "", "form of the objects")
	f.encryption = choice{value: none, allowed: append([]string{none}, auditdrain.Encryptions...)}
	f.encryption.addTo(cmd, flags, "encryption", "", "encryption to ask S3 for; none leaves it to the bucket")
	f.objectACL = choice{value: none, allowed: append([]string{none}, auditdrain.ObjectACLs...)}
	f.objectACL.addTo(cmd, flags, "object-acl", "", "ACL to give objects; none sends no such header")
}

// applyTo changes d by the flags that changed says were given.
func (f *drainFlags) applyTo(d *auditdrain.Delivery, changed func(flag string) bool) {
	set := func(flag string, field *string, value string) {
		if value == none {
			value = ""
		}
		if changed(flag) {
			*field = value
		}
	}
	set("endpoint", &d.Endpoint, f.endpoint)
	set("role-arn", &d.RoleARN, f.roleARN)
	set("region", &d.Region, f.region)
	set("encoding", &d.Encoding, f.encoding.value)
	set("encryption", &d.ServerSideEncryption, f.encryption.value)
	set("object-acl", &d.ObjectACL, f.objectACL.value)
}

func newDrainCreateCommand(conn *connection) *cobra.Command {
	var (
		f         drainFlags
		startFrom = timeFlag{past: true}
	)
	cmd := &cobra.Command{
		Use:   "create --name NAME --endpoint S3URL --role-arn ARN --region REGION",
		Short: "Create a drain, which begins to deliver at once",
		Example: `  auditdrain drain create --team acme --name archive \
    --endpoint s3://acme-audit-archive/audit-logs --region eu-central-1 \
    --role-arn arn:aws:iam::123456789012:role/audit-log-writer`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			delivery := auditdrain.Delivery{Type: "s3"}
			f.applyTo(&delivery, func(string) bool { return true })
			delivery = delivery.WithDefaults()
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				return api.CreateDrain(ctx, conn.team, auditdrain.DrainInput{
					Name:      f.name,
					Projects:  "all",
					Schemas:   auditdrain.AuditLogSchemas(),
					Delivery:  &delivery,
					StartFrom: startFrom.unixMilli(),
				})
			}, printDrain)
		},
	}
	f.addTo(cmd)
	cmd.Flags().Var(&startFrom, "start-from", "deliver events that were accepted since then, or for so long, such as 24h (default: from now on)")
	for _, flag := range []string{"name", "endpoint", "role-arn", "region"} {
		must(cmd.MarkFlagRequired(flag))
	}
	return cmd
}

func newDrainListCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List a team's drains and how they are doing",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.DrainList, error) {
				drains, err := api.ListDrains(ctx, conn.team)
				return auditdrain.DrainList{Drains: drains}, err
			}, printDrains)
		},
	}
}

func newDrainShowCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "Show a drain with everything that is known of it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				return api.GetDrain(ctx, conn.team, args[0])
			}, printDrain)
		},
	}
}

func newDrainUpdateCommand(conn *connection) *cobra.Command {
	var f drainFlags
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change what the given flags say, and nothing else",
		Long: `Change what the given flags say, and nothing else.

The REST API replaces a drain's delivery as a whole, so this reads it, changes
it and writes it: of two updates at the same time, one can undo the other.`,
		Example:           `  auditdrain drain update drn_… --encryption aws:kms`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			delivery := slices.ContainsFunc([]string{"endpoint", "role-arn", "region", "encoding", "encryption", "object-acl"}, changed)
			if !changed("name") && !delivery {
				return usagef("nothing to change: give at least one flag, see %s --help", cmd.CommandPath())
			}
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				var patch auditdrain.DrainPatch
				if changed("name") {
					patch.Name = &f.name
				}
				if delivery {
					drain, err := api.GetDrain(ctx, conn.team, args[0])
					if err != nil {
						return auditdrain.Drain{}, err
					}
					f.applyTo(&drain.Delivery, changed)
					patch.Delivery = &drain.Delivery
				}
				return api.UpdateDrain(ctx, conn.team, args[0], patch)
			}, printDrain)
		},
	}
	f.addTo(cmd)
	return cmd
}

func newDrainStatusCommand(conn *connection, status auditdrain.DrainStatus, name, short string) *cobra.Command {
	return &cobra.Command{
		Use:               name + " ID",
		Short:             short,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				return api.UpdateDrain(ctx, conn.team, args[0], auditdrain.DrainPatch{Status: &status})
			}, printDrain)
		},
	}
}

func newDrainDeleteCommand(conn *connection) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete ID",
		Short:             "Delete a drain; what it has not delivered, it never will",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !isTerminal(cmd.InOrStdin()) {
				return usagef("there is no terminal to ask on: use --yes")
			}
			ctx := cmd.Context()
			api, err := conn.dial()
			if err != nil {
				return err
			}
			if !yes {
				drain, err := api.GetDrain(ctx, conn.team, args[0])
				if err != nil {
					return err
				}
				if err := confirm(ctx, cmd.InOrStdin(), cmd.ErrOrStderr(), deleteQuestion(drain)); err != nil {
					return err
				}
			}
			if err := api.DeleteDrain(ctx, conn.team, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "deleted %s\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func deleteQuestion(d auditdrain.Drain) string {
	q := fmt.Sprintf("Delete drain %q (%s)", d.Name, d.Delivery.Endpoint)
	if d.Metadata != nil && d.Metadata.BacklogEvents > 0 {
		q += fmt.Sprintf(" with %d undelivered events", d.Metadata.BacklogEvents)
	}
	return q + "?"
}

// confirm returns nil once the person has said yes. The goroutine that reads
// stays behind when ctx ends first: a read from a terminal cannot be stopped,
// and the process ends anyway.
func confirm(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	fmt.Fprintf(out, "%s [y/N] ", visible(question))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // an end without an answer is a no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("not confirmed, nothing was deleted")
	}
}

func printDrains(w io.Writer, list auditdrain.DrainList) {
	row(w, "ID", "TEAM", "NAME", "STATUS", "ENDPOINT", "BACKLOG", "OLDEST", "LAST ERROR")
	for _, d := range list.Drains {
		var backlog, oldest string
		if m := d.Metadata; m != nil {
			backlog, oldest = strconv.FormatUint(m.BacklogEvents, 10), age(m.OldestUndeliveredAt, time.Now())
		}
		row(w, d.ID, d.TeamID, d.Name, string(d.Status), d.Delivery.Endpoint, backlog, oldest, cut(trouble(d), 60))
	}
}

// trouble is the short form of a drain's last error: why, not what.
func trouble(d auditdrain.Drain) string {
	if d.Diagnosis != nil && len(d.Diagnosis.Causes) > 0 {
		return d.Diagnosis.Causes[0].Text
	}
	return d.LastError
}

func printDrain(w io.Writer, d auditdrain.Drain) {
	field(w, "ID", d.ID)
	field(w, "Name", d.Name)
	field(w, "Team", d.TeamID)
	field(w, "Status", string(d.Status))
	field(w, "Disabled", when(d.DisabledAt))
	field(w, "Disabled by", d.DisabledBy)
	field(w, "Reason", d.DisabledReason)
	field(w, "Failing since", when(d.FirstErrorTimestamp))
	if d.Diagnosis == nil { // else it is below, in all its parts
		field(w, "Last error", d.LastError)
	}
	field(w, "Endpoint", d.Delivery.Endpoint)
	field(w, "Region", d.Delivery.Region)
	field(w, "Role", d.Delivery.RoleARN)
	field(w, "External ID", d.ExternalID)
	field(w, "Encoding", d.Delivery.Encoding)
	field(w, "Encryption", d.Delivery.ServerSideEncryption)
	field(w, "Object ACL", d.Delivery.ObjectACL)
	field(w, "Created", when(d.CreatedAt))
	field(w, "Updated", when(d.UpdatedAt))
	if m := d.Metadata; m != nil {
		field(w, "Backlog", strconv.FormatUint(m.BacklogEvents, 10))
		field(w, "Oldest undelivered", age(m.OldestUndeliveredAt, time.Now()))
		field(w, "Delivered", strconv.FormatUint(m.Delivered, 10))
		field(w, "Failed attempts", strconv.FormatUint(m.Failed, 10))
		field(w, "Last delivery", when(m.LastDeliveryAt))
	}
	if d.Diagnosis != nil {
		printDiagnosis(w, *d.Diagnosis)
		fmt.Fprintf(w, "\nAWS said: %s\n", visible(d.Diagnosis.Answer))
		if len(d.Diagnosis.Causes) > 1 {
			fmt.Fprintf(w, "\nTo find out more: auditdrain drain test %s\n", visible(d.ID))
		}
	}
}
