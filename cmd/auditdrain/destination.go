package main

import (
	"cmp"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// destinationFlags describe a drain's destination, and who writes to it, to
// commands that work without a service.
type destinationFlags struct {
	endpoint      string
	region        string
	roleARN       string
	encryption    choice
	objectACL     choice
	kmsKeyARN     string
	writerRoleARN string
	externalID    string
	namespace     string
	team          string
}

// addTo defines the flags for cmd and all commands below it.
func (f *destinationFlags) addTo(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.endpoint, "endpoint", "", "where the drain writes: s3://bucket or s3://bucket/prefix")
	flags.StringVar(&f.region, "region", "", "AWS region of the bucket")
	flags.StringVar(&f.roleARN, "role-arn", "", "the team's IAM role that may write there")
	f.encryption = choice{value: none, allowed: append([]string{none}, auditdrain.Encryptions...)}
	f.encryption.addTo(cmd, flags, "encryption", "", "the drain's serverSideEncryption")
	flags.StringVar(&f.kmsKeyARN, "kms-key-arn", "", "the customer managed KMS key that the bucket encrypts with, if it has one")
	f.objectACL = choice{value: none, allowed: append([]string{none}, auditdrain.ObjectACLs...)}
	f.objectACL.addTo(cmd, flags, "object-acl", "", "the drain's objectAcl")
	flags.StringVar(&f.writerRoleARN, "writer-role-arn", "", "the platform's role that the trust policy names; the service logs it when it starts")
	flags.StringVar(&f.externalID, "external-id", "", "external ID of the team, as auditdrain drain show tells it; goes before --team")
	flags.StringVar(&f.namespace, "namespace", string(auditdrain.DefaultNamespace), "beginning of external IDs, as the service has it")
	flags.StringVar(&f.team, "team", "", "ID of the team (not its slug), to make the external ID of")
	for _, flag := range []string{"endpoint", "region", "role-arn", "kms-key-arn", "writer-role-arn", "external-id", "namespace", "team"} {
		must(cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions))
	}
}

// delivery returns what the flags say of the drain, or a usage error that
// lists all that is wrong with the flags that were given.
func (f *destinationFlags) delivery() (auditdrain.Delivery, error) {
	d := auditdrain.Delivery{
		Type:                 "s3",
		Endpoint:             f.endpoint,
		Encoding:             "json", // is part of no policy
		RoleARN:              f.roleARN,
		Region:               f.region,
		ServerSideEncryption: given(f.encryption),
		ObjectACL:            given(f.objectACL),
	}.WithDefaults()
	problems := d.Validate(s3.PartitionOf)
	if f.kmsKeyARN != "" {
		problems = append(problems, d.ValidateKMSKeyARN(f.kmsKeyARN)...)
	}
	flags := map[string]struct{ name, value string }{
		"delivery.endpoint": {"--endpoint", f.endpoint},
		"delivery.region":   {"--region", f.region},
		"delivery.roleArn":  {"--role-arn", f.roleARN},
		"kmsKeyArn":         {"--kms-key-arn", f.kmsKeyARN},
	}
	var wrong []auditdrain.Problem
	for _, p := range problems {
		if flag := flags[p.Field]; flag.value != "" {
			wrong = append(wrong, auditdrain.Problem{Field: flag.name, Message: p.Message})
		}
	}
	if err := auditdrain.FieldErrors(wrong); err != nil {
		return auditdrain.Delivery{}, usageError{err}
	}
	return d, nil
}

// given is the value of a choice that may be none.
func given(c choice) string {
	if c.value == none {
		return ""
	}
	return c.value
}

// writerRE is what a service can run as: mostly a role, but a user will do.
var writerRE = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:(role|user)/[\x21-\x7E]+$`)

// externalIDRE is what sts:AssumeRole takes, between 2 and 1224 of it.
var externalIDRE = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)

// grant returns what the role has to be granted for what delivery has
// returned, with a field empty where its flag was not given. Its errors are
// usage errors.
func (f *destinationFlags) grant(d auditdrain.Delivery) (iam.Grant, error) {
	if f.writerRoleARN != "" && !writerRE.MatchString(f.writerRoleARN) {
		return iam.Grant{}, usagef("--writer-role-arn: %q is not the ARN of an IAM role or user, such as arn:aws:iam::123456789012:role/auditdrain-writer", f.writerRoleARN)
	}
	for _, p := range d.ValidateWriter(f.writerRoleARN, s3.PartitionOf) {
		return iam.Grant{}, usagef("--region: %s", p.Message)
	}
	namespace := auditdrain.Namespace(f.namespace)
	if err := namespace.Validate(); err != nil {
		return iam.Grant{}, usagef("--%w", err)
	}
	g := iam.GrantFor(d)
	g.WriterRoleARN = f.writerRoleARN
	g.ExternalID = f.externalID
	if g.ExternalID == "" && f.team != "" {
		g.ExternalID = namespace.ExternalID(f.team)
	}
	g.KMSKeyARN = f.kmsKeyARN
	if id := g.ExternalID; id != "" && (len(id) < 2 || len(id) > 1224 || !externalIDRE.MatchString(id)) {
		return iam.Grant{}, usagef("external ID: %q is not allowed: AWS takes 2 to 1224 of A-Z, a-z, 0-9 and _ + = , . @ : / -", g.ExternalID)
	}
	return g, nil
}

// whereToFind tells, of each flag that a command may need, how to get its
// value.
var whereToFind = []struct {
	flag, hint string
	value      func(*destinationFlags) string
}{
	{"--endpoint", "s3:// and the bucket's name, and a prefix if you want one", func(f *destinationFlags) string { return f.endpoint }},
	{"--region", "aws s3api get-bucket-location --bucket BUCKET", func(f *destinationFlags) string { return f.region }},
	{"--role-arn", "aws iam get-role --role-name ROLE --query Role.Arn", func(f *destinationFlags) string { return f.roleARN }},
	{"--writer-role-arn", "the platform's operator knows it; the service logs it when it starts", func(f *destinationFlags) string { return f.writerRoleARN }},
	{"--external-id or --team", "auditdrain drain show ID tells the external ID, auditdrain team list the team's ID", func(f *destinationFlags) string { return cmp.Or(f.externalID, f.team) }},
}

// requireAll returns a usage error if a flag is missing without which the
// destination is not known, and says where to find each.
func (f *destinationFlags) requireAll() error {
	var missing []auditdrain.Problem
	for _, w := range whereToFind {
		if w.value(f) == "" {
			missing = append(missing, auditdrain.Problem{Field: w.flag, Message: "missing: " + w.hint})
		}
	}
	if err := auditdrain.FieldErrors(missing); err != nil {
		return usageError{err}
	}
	return nil
}
