package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/policycheck"
)

func newPolicyCommand() *cobra.Command {
	return newGroup("policy", "Check AWS policies for a drain", newPolicyCheckCommand())
}

// policyFlags say which policies to check, and for what.
type policyFlags struct {
	destinationFlags
	trust, boundary, bucket, key string
	permissions                  []string
	output                       connection // of which only the output
}

func newPolicyCheckCommand() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use:   "check [FILE]...",
		Short: "Tell what policies mean for a drain: what is allowed, by which statement, what to change",
		Long: `Tell what policies mean for a drain: whether each thing that it does is
allowed, by which statement, what to change otherwise, and what the policies
allow without need. No service is asked, and neither is AWS.

A policy is IAM's JSON, with or without comments, or what these commands print:

  aws iam get-role, get-role-policy, get-policy-version
  aws s3api get-bucket-policy
  aws kms get-key-policy

What kind a FILE is of is found out; where that cannot be, and for a
permissions boundary, its flag says so. "-" is standard input. Any of them may
be left out: what they would decide is unknown then.

An edit is a patch. Saved to a file, "patch -p0 <FILE" applies it, in the
folder where the command was run. That of a policy in the output of a command
is of the policy by itself, and has another name: output.json#Policy.

Exits with 0 if everything is allowed, with 1 if something is denied or
unknown, with 2 if that could not be checked. Warnings do not count.`,
		Example: `  aws iam get-role --role-name audit-drain | auditdrain policy check - permissions.json \
    --endpoint s3://acme-audit-archive/audit-logs --region eu-central-1 \
    --role-arn arn:aws:iam::123456789012:role/audit-drain \
    --writer-role-arn arn:aws:iam::210987654321:role/auditdrain-writer --external-id vercel-team:team_123`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.trust, "trust-policy", "", "`file` of the role's trust policy")
	flags.StringArrayVar(&f.permissions, "permissions-policy", nil, "`file` of a permissions policy of the role; may be repeated")
	flags.StringVar(&f.boundary, "boundary", "", "`file` of the role's permissions boundary")
	flags.StringVar(&f.bucket, "bucket-policy", "", "`file` of the bucket's policy")
	flags.StringVar(&f.key, "key-policy", "", "`file` of the KMS key's policy")
	f.output.output = choice{value: "table", allowed: []string{"table", "json"}}
	f.output.output.addTo(cmd, flags, "output", "o", "how to print results; json is as in the REST API")
	return cmd
}

func (f *policyFlags) run(cmd *cobra.Command, args []string) error {
	delivery, err := f.delivery()
	if err != nil {
		return err
	}
	grant, err := f.grant(delivery)
	if err != nil {
		return err
	}
	if err := f.requireAll(); err != nil {
		return err
	}
	docs, err := f.documents(cmd.InOrStdin(), args)
	if err != nil {
		return err
	}
	report, err := policycheck.Check(policycheck.Drain{
		Delivery:      delivery,
		WriterRoleARN: grant.WriterRoleARN,
		ExternalID:    grant.ExternalID,
		KMSKeyARN:     grant.KMSKeyARN,
		Now:           time.Now(),
	}, docs)
	if err != nil {
		return usageError{withoutFields(err)}
	}
	out := cmd.OutOrStdout()
	if err := f.output.print(out, report, func(w io.Writer) { printPolicySteps(w, report) }); err != nil {
		return err
	}
	if f.output.output.value != "json" {
		if err := printReport(out, report, grant.ExternalID); err != nil {
			return err
		}
	}
	return notAllowed(report)
}

// notAllowed is the error that a report comes to.
func notAllowed(r auditdrain.PolicyReport) error {
	var steps []string
	for _, s := range r.Steps {
		if s.Result != auditdrain.PolicyAllowed {
			steps = append(steps, fmt.Sprintf("%s is %s", s.Step, s.Result))
		}
	}
	if steps == nil {
		return nil
	}
	return errors.New(strings.Join(steps, ", "))
}

// withoutFields words an error of a check for somebody who has files: its
// messages name them.
func withoutFields(err error) error {
	var e *auditdrain.Error
	if !errors.As(err, &e) || len(e.Details) == 0 {
		return err
	}
	worded := *e
	worded.Details = nil
	for _, p := range e.Details {
		message := p.Message
		switch {
		case !strings.HasPrefix(p.Field, "policies."):
			message = p.Field + ": " + message
		case strings.HasSuffix(p.Field, ".kind"):
			message += ", by --trust-policy, --permissions-policy, --boundary, --bucket-policy or --key-policy"
		}
		worded.Details = append(worded.Details, auditdrain.Problem{Message: message})
	}
	worded.Message = worded.Details[0].Message
	return &worded
}

// documents reads what the flags and arguments name.
func (f *policyFlags) documents(stdin io.Reader, args []string) ([]auditdrain.PolicyDocument, error) {
	var docs []auditdrain.PolicyDocument
	add := func(kind auditdrain.PolicyKind, files ...string) {
		for _, file := range files {
			if file != "" {
				docs = append(docs, auditdrain.PolicyDocument{Kind: kind, Name: file})
			}
		}
	}
	add(auditdrain.PolicyTrust, f.trust)
	add(auditdrain.PolicyPermissions, f.permissions...)
	add(auditdrain.PolicyBoundary, f.boundary)
	add(auditdrain.PolicyBucket, f.bucket)
	add(auditdrain.PolicyKey, f.key)
	add("", args...)
	if len(docs) == 0 {
		return nil, usagef(`no policies: name their files, or "-" for standard input`)
	}
	isStdin := func(d auditdrain.PolicyDocument) bool { return d.Name == "-" }
	if first := slices.IndexFunc(docs, isStdin); first >= 0 && slices.ContainsFunc(docs[first+1:], isStdin) {
		return nil, usagef(`"-" is there twice: standard input can be one policy only`)
	}
	for i := range docs {
		d := &docs[i]
		from := stdin
		if isStdin(*d) {
			d.Name = "stdin"
		} else {
			file, err := os.Open(d.Name)
			if err != nil {
				return nil, usageError{err}
			}
			defer file.Close()
			from = file
		}
		text, err := io.ReadAll(io.LimitReader(from, policycheck.MaxBytes+1))
		switch {
		case err != nil:
			return nil, usagef("read %s: %w", d.Name, err)
		case bytes.HasPrefix(text, []byte("\xFF\xFE")), bytes.HasPrefix(text, []byte("\xFE\xFF")):
			return nil, usagef("%s is UTF-16 text, as some shells of Windows write it: save it as UTF-8", d.Name)
		}
		d.Document = string(text)
	}
	return docs, nil
}

func printPolicySteps(w io.Writer, r auditdrain.PolicyReport) {
	row(w, "STEP", "ACTION", "RESULT", "DECIDED BY")
	for _, s := range r.Steps {
		decided := ""
		if s.Decided != nil {
			decided = statementName(*s.Decided)
		}
		row(w, s.Step, s.Action, resultWord(s.Result), decided)
	}
}

// resultWord makes what is not allowed stand out.
func resultWord(r auditdrain.PolicyResult) string {
	if r == auditdrain.PolicyAllowed {
		return "ok"
	}
	return strings.ToUpper(string(r))
}

func statementName(s auditdrain.PolicyStatementRef) string {
	name := fmt.Sprintf("%s, statement %d", s.Document, s.Index+1)
	if s.Sid != "" {
		name += fmt.Sprintf(" (%s)", s.Sid)
	}
	return fmt.Sprintf("%s, line %d", name, s.Line)
}

// printReport writes what the table has no room for. Patches stand at the
// beginning of the line, so that they can be taken as they are, and each of
// them once.
func printReport(w io.Writer, r auditdrain.PolicyReport, externalID string) error {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(visible(fmt.Sprintf(format, args...)) + "\n") }
	shown := map[string]string{} // patches, by what they were shown for
	edit := func(what string, e auditdrain.PolicyEdit) {
		if before, ok := shown[e.Patch]; ok {
			line("  edit: the same as for %s", before)
			return
		}
		shown[e.Patch] = what
		line("  edit: %s", e.Summary)
		b.WriteString(visiblePatch(e.Patch))
	}

	for _, s := range r.Steps {
		if s.Result == auditdrain.PolicyAllowed {
			continue
		}
		line("")
		line("%s %s: %s on %s", resultWord(s.Result), s.Step, s.Action, s.Resource)
		line("  %s", s.Reason)
		for _, n := range s.Near {
			line("  near: %s: %s", statementName(n.PolicyStatementRef), n.Reason)
		}
		if s.Setting != nil {
			line("  %s", settingText(*s.Setting))
		}
		for _, e := range s.Edits {
			edit(s.Step, e)
		}
	}
	for _, warning := range r.Warnings {
		word := "needless"
		if warning.Dangerous {
			word = "DANGEROUS"
		}
		line("")
		line("%s %s: %s", word, warning.Code, statementName(warning.PolicyStatementRef))
		line("  %s", warning.Text)
		for _, e := range warning.Edits {
			edit(fmt.Sprintf("%s of %s", warning.Code, statementName(warning.PolicyStatementRef)), e)
		}
	}
	for _, e := range r.Fixes {
		if _, ok := shown[e.Patch]; !ok {
			line("")
			line("All edits of %s together, of what is denied or dangerous, in one patch:", e.Document)
			b.WriteString(visiblePatch(e.Patch))
		}
	}
	line("")
	for _, note := range r.Notes {
		line("Note: %s", note)
	}
	line("Note: The external ID is %q.", externalID)
	_, err := io.WriteString(w, b.String())
	return err
}

func settingText(s auditdrain.DrainSetting) string {
	if s.Value == "" {
		return fmt.Sprintf("setting: leave %s of the drain out, and it is allowed", s.Field)
	}
	return fmt.Sprintf("setting: make %s of the drain %q, and it is allowed", s.Field, s.Value)
}

// visiblePatch is visible for text that has lines, which may end as Windows
// has them, and tabs.
func visiblePatch(patch string) string {
	var b strings.Builder
	for l := range strings.Lines(patch) {
		text := strings.TrimRight(l, "\r\n")
		parts := strings.Split(text, "\t")
		for i := range parts {
			parts[i] = visible(parts[i])
		}
		b.WriteString(strings.Join(parts, "\t") + cmp.Or(l[len(text):], "\n"))
	}
	return b.String()
}
