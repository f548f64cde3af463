package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// kit are the documents of a setup, by the command that prints them.
var kit = []struct {
	use, short string
	document   func(auditdrain.Setup) string
}{
	{"trust-policy", "Print the role's trust policy", func(s auditdrain.Setup) string { return s.TrustPolicy }},
	{"permissions-policy", "Print the role's permissions policy", func(s auditdrain.Setup) string { return s.PermissionsPolicy }},
	{"key-policy", "Print the statement that the KMS key's policy needs", func(s auditdrain.Setup) string { return s.KeyPolicyStatement }},
	{"cloudformation", "Print a CloudFormation template", func(s auditdrain.Setup) string { return s.CloudFormation }},
	{"quick-create", "Print a link that opens CloudFormation's console with everything filled in", func(s auditdrain.Setup) string { return s.QuickCreateURL }},
	{"terraform", "Print a Terraform module", func(s auditdrain.Setup) string { return s.Terraform }},
	{"cli", "Print a shell script of AWS CLI commands", func(s auditdrain.Setup) string { return s.CLI }},
	{"athena", "Print SQL that makes an Athena table of the objects", func(s auditdrain.Setup) string { return s.Athena }},
	{"duckdb", "Print SQL that makes a DuckDB view of the objects", func(s auditdrain.Setup) string { return s.DuckDB }},
}

// setupFlags say what the documents are for.
type setupFlags struct {
	destinationFlags
	encoding choice
	drain    string
}

func newSetupCommand() *cobra.Command {
	var (
		conn  connection
		flags setupFlags
	)
	group := newGroup("setup", "Print what a team needs to set a drain up on AWS, and to read what it wrote")
	group.Long = group.Short + `.

Everything is written with the values of the flags, or of an existing drain.
What is not given is a placeholder, or is asked for by template or script.

The service knows whom the role must trust, and the team's external ID. With
--writer-role-arn no service is asked; give the external ID then as
--external-id, or as --team, and --namespace if the operator has chosen one.`
	group.Example = `  auditdrain setup cli --team acme --endpoint s3://acme-audit-archive/audit-logs --region eu-central-1 | bash
  auditdrain setup athena --drain drn_…`
	conn.addTo(group)
	flags.addTo(group)
	for _, doc := range kit {
		group.AddCommand(&cobra.Command{
			Use:               doc.use,
			Short:             doc.short,
			Args:              cobra.NoArgs,
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if doc.use == "key-policy" && flags.kmsKeyARN == "" {
					return usagef("--kms-key-arn: missing: only a customer managed key has a policy to change, and an encryption with S3's or AWS's own needs nothing")
				}
				result, err := flags.setup(cmd, &conn)
				if err != nil {
					return err
				}
				if doc.use == "quick-create" && strings.Contains(result.QuickCreateURL, "templateURL="+setup.TemplateURLPlaceholder) {
					fmt.Fprintf(cmd.ErrOrStderr(), "auditdrain: templateURL is a placeholder, %s: the service's operator sets serve --setup-template-url, or you upload what setup cloudformation prints to S3 and put its URL there\n", setup.TemplateURLPlaceholder)
				}
				return printDocument(cmd.OutOrStdout(), &conn, result, doc.document(result))
			},
		})
	}
	return group
}

func (f *setupFlags) addTo(cmd *cobra.Command) {
	f.destinationFlags.addTo(cmd)
	flags := cmd.PersistentFlags()
	flags.Lookup("team").Usage = "ID or slug of the team, not needed with a token that is bound to one; without a service, the ID"
	f.encoding = choice{value: none, allowed: append([]string{none}, auditdrain.Encodings...)}
	f.encoding.addTo(cmd, flags, "encoding", "", "form of the objects, which Athena and DuckDB read; none reads both")
	flags.StringVar(&f.drain, "drain", "", "ID of a drain to take the values from that no flag gives")
	must(cmd.RegisterFlagCompletionFunc("drain", cobra.NoFileCompletions))
}

// setup asks the service or, if the flags tell whom the role must trust, makes
// the documents itself.
func (f *setupFlags) setup(cmd *cobra.Command, conn *connection) (auditdrain.Setup, error) {
	if f.writerRoleARN != "" {
		return f.withoutService(cmd)
	}
	for _, flag := range []string{"external-id", "namespace"} {
		if cmd.Flags().Changed(flag) {
			return auditdrain.Setup{}, usagef("--%s: the service has its own: leave it out, or give --writer-role-arn, too, to ask no service", flag)
		}
	}
	if _, err := f.delivery(); err != nil { // what is wrong is named as the flag is
		return auditdrain.Setup{}, err
	}
	api, err := conn.dial()
	if err != nil {
		return auditdrain.Setup{}, err
	}
	return f.fromService(cmd.Context(), api, cmd.Flags().Changed)
}

// query is what the flags say, and d where changed says that they do not.
func (f *setupFlags) query(d auditdrain.Delivery, changed func(flag string) bool) auditdrain.SetupQuery {
	pick := func(flag, given, otherwise string) string {
		if changed(flag) {
			return given
		}
		return otherwise
	}
	return auditdrain.SetupQuery{
		Endpoint:   pick("endpoint", f.endpoint, d.Endpoint),
		Region:     pick("region", f.region, d.Region),
		RoleARN:    pick("role-arn", f.roleARN, d.RoleARN),
		Encoding:   pick("encoding", given(f.encoding), d.Encoding),
		Encryption: pick("encryption", given(f.encryption), d.ServerSideEncryption),
		ObjectACL:  pick("object-acl", given(f.objectACL), d.ObjectACL),
		KMSKeyARN:  f.kmsKeyARN,
	}
}

func (f *setupFlags) fromService(ctx context.Context, api *client.Client, changed func(flag string) bool) (auditdrain.Setup, error) {
	if f.drain == "" {
		return api.Setup(ctx, f.team, f.query(auditdrain.Delivery{}, changed))
	}
	d, err := api.GetDrain(ctx, f.team, f.drain)
	if err != nil {
		return auditdrain.Setup{}, err
	}
	return api.Setup(ctx, d.TeamID, f.query(d.Delivery, changed))
}

func (f *setupFlags) withoutService(cmd *cobra.Command) (auditdrain.Setup, error) {
	changed := cmd.Flags().Changed
	switch {
	case f.drain != "":
		return auditdrain.Setup{}, usagef("--drain: %q is known to the service only: leave out --writer-role-arn, which the service knows, too", f.drain)
	case f.externalID != "":
		f.team = "" // of the environment, maybe, and maybe a slug
	}
	delivery, err := f.delivery()
	if err != nil {
		return auditdrain.Setup{}, err
	}
	grant, err := f.grant(delivery)
	if err != nil {
		return auditdrain.Setup{}, err
	}
	q := f.query(auditdrain.Delivery{}, changed)
	if err := auditdrain.FieldErrors(q.Validate(s3.PartitionOf)); err != nil {
		return auditdrain.Setup{}, usageError{err}
	}
	if f.team != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "auditdrain: the external ID is %q: --team must be the team's ID, not its slug, and --namespace what the service has\n", grant.ExternalID)
	}
	d := setup.DestinationOf(q.Delivery())
	d.WriterRoleARN, d.ExternalID, d.KMSKeyARN = grant.WriterRoleARN, grant.ExternalID, grant.KMSKeyARN
	return setup.Write(d, ""), nil
}

// printDocument writes exactly the document, for pipes and files, or all of
// them as JSON.
func printDocument(w io.Writer, conn *connection, s auditdrain.Setup, document string) error {
	if conn.output.value == "json" {
		return conn.print(w, s, nil)
	}
	if document != "" && document[len(document)-1] != '\n' {
		document += "\n"
	}
	_, err := io.WriteString(w, document)
	return err
}
