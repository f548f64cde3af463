package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

func newDrainCommand() *cobra.Command {
	var conn connection
	group := newGroup("drain", "Create, show, change, operate and test drains",
		newDrainCreateCommand(&conn),
		newDrainListCommand(&conn),
		newDrainShowCommand(&conn),
		newDrainUpdateCommand(&conn),
		newDrainPauseCommand(&conn),
		newDrainResumeCommand(&conn),
		newDrainReplayCommand(&conn),
		newDrainSkipCommand(&conn),
		newDrainSkipsCommand(&conn),
		newDrainAttemptsCommand(&conn),
		newDrainIntegrityCommand(&conn),
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
	integrity  bool
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
	flags.BoolVar(&f.integrity, "integrity", false, "write a signed manifest every hour, which proves that nothing is missing (verify)")
}

// applyTo changes d by the flags that changed says were given, but for integrity.
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
			delivery.Integrity = f.integrity
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
		Example: `  auditdrain drain update drn_… --encryption aws:kms
  auditdrain drain update drn_… --integrity=false`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			delivery := slices.ContainsFunc([]string{"endpoint", "role-arn", "region", "encoding", "encryption", "object-acl"}, changed)
			if !changed("name") && !delivery && !changed("integrity") {
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
					patch.Delivery = &auditdrain.DeliveryPatch{Delivery: &drain.Delivery}
				}
				if changed("integrity") {
					patch.Delivery = cmp.Or(patch.Delivery, &auditdrain.DeliveryPatch{})
					patch.Delivery.Integrity = &f.integrity
				}
				return api.UpdateDrain(ctx, conn.team, args[0], patch)
			}, printDrain)
		},
	}
	f.addTo(cmd)
	return cmd
}

func newDrainPauseCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:               "pause ID",
		Short:             "Stop delivering; events are kept until the drain is resumed",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				status := auditdrain.StatusDisabled
				return api.UpdateDrain(ctx, conn.team, args[0], auditdrain.DrainPatch{Status: &status})
			}, printDrain)
		},
	}
}

func newDrainResumeCommand(conn *connection) *cobra.Command {
	from := choice{allowed: []string{"now"}}
	cmd := &cobra.Command{
		Use:   "resume ID",
		Short: "Deliver again, from where the drain was paused or from now",
		Long: `Deliver again from where the drain was paused, or, with --from now, from now.

With --from now, what the drain has not delivered is given up. That is on
record (auditdrain drain skips), and as long as the service keeps the events
(serve --retain), auditdrain drain replay can deliver them after all.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return printResult(cmd, conn, func(ctx context.Context, api *client.Client) (auditdrain.Drain, error) {
				status := auditdrain.StatusEnabled
				patch := auditdrain.DrainPatch{Status: &status}
				if from.value != "" {
					patch.ResumeFrom = &from.value
				}
				return api.UpdateDrain(ctx, conn.team, args[0], patch)
			}, func(w io.Writer, d auditdrain.Drain) {
				printDrain(w, d)
				switch {
				case d.GivenUp != nil:
					fmt.Fprintf(w, "\n%s given up: see auditdrain drain skips %s\n", plural(d.GivenUp.Events(), "event"), visible(d.ID))
				case from.value != "":
					fmt.Fprint(w, "\n0 events given up: none were waiting\n")
				}
			})
		},
	}
	from.addTo(cmd, cmd.Flags(), "from", "", "give up what has not been delivered, on record (default: go on where it stopped)")
	return cmd
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
