package web

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// drainForm is the page on which a drain is set up or changed. Nothing of it
// is kept: all that was typed comes with each request, and is shown again.
type drainForm struct {
	Team    auditdrain.Team
	Drain   auditdrain.Drain // that is changed; zero for a new one
	Regions []string

	Problems []fieldProblem // in the order of the page
	Trouble  string         // what is wrong with no field
	Setup    *auditdrain.Setup
	NoSetup  string // why there is none
	Report   *auditdrain.PolicyReport
	Test     *testResult

	typed  map[string]string
	did    string                // what was done: "documents", "check", "test" or "create"
	status int                   // to answer with, 0 if nothing is wrong
	known  auditdrain.SetupQuery // what Setup is made from
}

// fieldProblem is what is wrong with a field.
type fieldProblem struct{ Name, Label, Message string }

// field is one field of the form.
type field struct {
	name  string
	label string
	api   []string // what the API calls it, without "delivery."
	// missing is said where it has to be filled in and is not.
	missing string
	policy  auditdrain.PolicyKind // of what is pasted into it
}

// drainFields are all fields, in the order of the page.
var drainFields = []field{
	{name: "name", label: "Name", api: []string{"name"}, missing: "Give the drain a name."},
	{name: "bucket", label: "Bucket", api: []string{"endpoint"}, missing: "Enter the name of the bucket."},
	{name: "prefix", label: "Prefix (optional)"},
	{name: "region", label: "Region", api: []string{"region"}, missing: "Enter the region that the bucket is in, such as us-east-1."},
	{name: "kmsKey", label: "KMS key ARN (only for a key that you manage)", api: []string{"kmsKeyArn"}},
	{name: "role", label: "ARN of your role", api: []string{"roleArn"}, missing: "Enter the ARN of the role. IAM shows it at the top of the role's page."},
	{name: "policyTrust", label: "Trust policy of the role", missing: "Paste at least one policy.", policy: auditdrain.PolicyTrust},
	{name: "policyPermissions", label: "Permissions policy of the role", policy: auditdrain.PolicyPermissions},
	{name: "policyMore", label: "Another permissions policy of the role", policy: auditdrain.PolicyPermissions},
	{name: "policyBoundary", label: "Permissions boundary of the role", policy: auditdrain.PolicyBoundary},
	{name: "policyBucket", label: "Bucket policy", policy: auditdrain.PolicyBucket},
	{name: "policyKey", label: "Key policy", policy: auditdrain.PolicyKey},
	{name: "encoding", label: "Encoding", api: []string{"encoding"}, missing: "Choose one of the two."},
	{name: "integrity", label: "Integrity", api: []string{"integrity"}},
	{name: "encryption", label: "Encryption", api: []string{"serverSideEncryption", "encryption"}},
	{name: "acl", label: "Object ACL", api: []string{"objectAcl"}},
	{name: "since", label: "Begin with events since, in UTC (optional)", api: []string{"startFrom"}},
}

func newDrainForm(team auditdrain.Team, regions []string) *drainForm {
	return &drainForm{Team: team, Regions: regions, typed: map[string]string{}}
}

// change fills the form with a drain.
func (f *drainForm) change(d auditdrain.Drain) {
	f.Drain = d
	bucket, prefix := d.Delivery.SplitEndpoint()
	f.typed = map[string]string{
		"name": d.Name, "bucket": bucket, "prefix": prefix, "region": d.Delivery.Region, "role": d.Delivery.RoleARN,
		"encoding": d.Delivery.Encoding, "encryption": d.Delivery.ServerSideEncryption, "acl": d.Delivery.ObjectACL,
	}
	if d.Delivery.Integrity {
		f.typed["integrity"] = "yes"
	}
}

// read takes in what was typed.
func (f *drainForm) read(v *visit) {
	for _, fd := range drainFields {
		value := strings.ReplaceAll(v.PostFormValue(fd.name), "\r\n", "\n")
		if fd.policy == "" || strings.TrimSpace(value) == "" {
			value = strings.TrimSpace(value)
		}
		f.typed[fd.name] = value
	}
	// An endpoint may be pasted whole. The console shows folders with a slash
	// at their end.
	f.typed["how"] = v.PostFormValue("how")
	bucket := strings.TrimPrefix(f.typed["bucket"], "s3://")
	if name, prefix, ok := strings.Cut(bucket, "/"); ok && f.typed["prefix"] == "" {
		bucket, f.typed["prefix"] = name, prefix
	}
	f.typed["bucket"] = bucket
	f.typed["prefix"] = strings.Trim(f.typed["prefix"], "/")
}

// Editing reports whether the form changes a drain that there is.
func (f *drainForm) Editing() bool { return f.Drain.ID != "" }

// Value is what was typed into a field.
func (f *drainForm) Value(name string) string { return f.typed[name] }

// Label is what a field is called on the page.
func (f *drainForm) Label(name string) string { return fieldNamed(name).label }

// ID is that of a field's element: the first one in error is where buttons
// lead, which gives it the focus, too.
func (f *drainForm) ID(name string) string {
	if f.Lands(name) {
		return "here"
	}
	return "f-" + name
}

// Problem is what is wrong with a field, or "".
func (f *drainForm) Problem(name string) string {
	for _, p := range f.Problems {
		if p.Name == name {
			return p.Message
		}
	}
	return ""
}

// Lands reports whether a part of the page is what to look at now: the first
// field in error or, if there is none, what came of the button. The buttons
// lead there, also without script.
func (f *drainForm) Lands(part string) bool {
	switch {
	case len(f.Problems) > 0:
		return part == f.Problems[0].Name
	case f.Trouble != "":
		return part == "trouble"
	}
	return part == f.did
}

// Field is what the template of a field is made from. more are names and values
// that the template takes besides.
func (f *drainForm) Field(name string, more ...any) (map[string]any, error) {
	return args(append([]any{
		"id", f.ID(name), "name", name, "label", f.Label(name), "value", f.Value(name), "problem", f.Problem(name),
		"help", "", "type", "text", "list", "", "example", "", "required", fieldNamed(name).missing != "",
	}, more...)...)
}

// Any reports whether one of the fields has something in it, or is wrong.
func (f *drainForm) Any(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return f.typed[name] != "" || f.Problem(name) != "" })
}

// Policies are the fields that policies are pasted into.
func (f *drainForm) Policies() []string {
	var names []string
	for _, fd := range drainFields {
		if fd.policy != "" {
			names = append(names, fd.name)
		}
	}
	return names
}

// AnyPolicy reports whether a policy was pasted, or is missing.
func (f *drainForm) AnyPolicy() bool { return f.Any(f.Policies()...) }

// choice is a value to choose, and what it is called.
type choice struct{ Value, Text string }

// Encryptions are the values of the field encryption.
func (f *drainForm) Encryptions() []choice {
	return f.choices("encryption", "The bucket's default", auditdrain.Encryptions)
}

// ACLs are the values of the field acl.
func (f *drainForm) ACLs() []choice { return f.choices("acl", "None", auditdrain.ObjectACLs) }

// choices are what a field may be, and what it is if that is something else.
func (f *drainForm) choices(name, none string, allowed []string) []choice {
	all := []choice{{"", none}}
	for _, value := range allowed {
		all = append(all, choice{value, value})
	}
	if value := f.typed[name]; value != "" && !slices.Contains(allowed, value) {
		all = append(all, choice{value, value})
	}
	return all
}

// policyStep says in words what a step of a policy check is.
func policyStep(step string) string {
	switch step {
	case "assumeRole":
		return "Assume the role"
	case "putObject":
		return "Write objects"
	case "testObject":
		return "Write test objects"
	case "objectAcl":
		return "Set their ACL"
	case "dataKey":
		return "Encrypt them with the key"
	}
	return step
}

func fieldNamed(name string) field {
	return drainFields[slices.IndexFunc(drainFields, func(fd field) bool { return fd.name == name })]
}

// endpoint is the API's, "" if nothing was typed.
func (f *drainForm) endpoint() string {
	switch bucket, prefix := f.typed["bucket"], f.typed["prefix"]; {
	case prefix != "":
		return "s3://" + bucket + "/" + prefix
	case bucket != "":
		return "s3://" + bucket
	}
	return ""
}

// delivery is what was typed, on top of what the drain has.
func (f *drainForm) delivery() auditdrain.Delivery {
	d := f.Drain.Delivery
	d.Type = cmp.Or(d.Type, "s3")
	d.Endpoint = f.endpoint()
	d.Region = f.typed["region"]
	d.RoleARN = f.typed["role"]
	d.Encoding = f.typed["encoding"]
	d.ServerSideEncryption = f.typed["encryption"]
	d.ObjectACL = f.typed["acl"]
	d.Integrity = f.typed["integrity"] != ""
	return d
}

func (f *drainForm) setupQuery() auditdrain.SetupQuery {
	d := f.delivery()
	return auditdrain.SetupQuery{
		Endpoint: d.Endpoint, Region: d.Region, RoleARN: d.RoleARN, Encoding: d.Encoding,
		Encryption: d.ServerSideEncryption, ObjectACL: d.ObjectACL, KMSKeyARN: f.typed["kmsKey"],
	}
}

// policyCheck asks for a check of the policies that were pasted.
func (f *drainForm) policyCheck() auditdrain.PolicyCheckInput {
	d := f.delivery()
	in := auditdrain.PolicyCheckInput{Delivery: &d, KMSKeyARN: f.typed["kmsKey"]}
	for _, name := range f.pasted() {
		in.Policies = append(in.Policies, auditdrain.PolicyDocument{Kind: fieldNamed(name).policy, Document: f.typed[name]})
	}
	return in
}

// pasted are the policy fields with something in them: in the order in which
// they are checked.
func (f *drainForm) pasted() []string {
	return slices.DeleteFunc(f.Policies(), func(name string) bool { return f.typed[name] == "" })
}

// sinceFormat is how browsers send a date and time.
const sinceFormat = "2006-01-02T15:04"

// since is the time that the drain is to begin at, 0 for now.
func (f *drainForm) since() (int64, error) {
	if f.typed["since"] == "" {
		return 0, nil
	}
	at, err := time.Parse(sinceFormat, f.typed["since"])
	if err != nil {
		return 0, auditdrain.FieldErrors([]auditdrain.Problem{{Field: "startFrom", Message: strconv.Quote(f.typed["since"]) + " is not a date and time: use one such as 2026-01-31T08:00"}})
	}
	return at.UnixMilli(), nil
}

// refused takes in what the API has against what was typed. Other errors are
// returned.
func (f *drainForm) refused(err error) error {
	var e *auditdrain.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case auditdrain.CodeBadRequest, auditdrain.CodeConflict, auditdrain.CodeTooLarge, auditdrain.CodeRateLimited, auditdrain.CodeUnavailable:
	default:
		return err
	}
	f.status = e.Code.Status()
	if len(e.Details) == 0 {
		f.Trouble = e.Message
	}
	for _, p := range e.Details {
		f.add(p)
	}
	order := func(p fieldProblem) int {
		return slices.IndexFunc(drainFields, func(fd field) bool { return fd.name == p.Name })
	}
	slices.SortStableFunc(f.Problems, func(a, b fieldProblem) int { return order(a) - order(b) })
	return nil
}

// add puts a problem at its field.
func (f *drainForm) add(p auditdrain.Problem) {
	name := f.fieldOf(p.Field)
	if name == "" {
		f.Trouble = p.Field + ": " + p.Message
		return
	}
	if f.Problem(name) != "" {
		return
	}
	fd := fieldNamed(name)
	if f.typed[name] == "" && fd.missing != "" {
		p.Message = fd.missing
	}
	f.Problems = append(f.Problems, fieldProblem{name, fd.label, p.Message})
}

// fieldOf is the field that the API means, or "".
func (f *drainForm) fieldOf(api string) string {
	if rest, ok := strings.CutPrefix(api, "policies"); ok {
		number, _, _ := strings.Cut(strings.TrimPrefix(rest, "."), ".")
		if i, err := strconv.Atoi(number); err == nil && i < len(f.pasted()) {
			return f.pasted()[i]
		}
		return f.Policies()[0] // what is wrong with all of them
	}
	api = strings.TrimPrefix(api, "delivery.")
	for _, fd := range drainFields {
		if !slices.Contains(fd.api, api) {
			continue
		}
		if fd.name == "bucket" && f.bucketIsRight() {
			return "prefix"
		}
		return fd.name
	}
	return ""
}

// bucketIsRight reports whether nothing is wrong with the endpoint if it has
// no prefix.
func (f *drainForm) bucketIsRight() bool {
	alone := auditdrain.Delivery{Type: "s3", Endpoint: "s3://" + f.typed["bucket"]}
	return !slices.ContainsFunc(alone.Validate(func(string) (string, bool) { return "", false }), func(p auditdrain.Problem) bool {
		return p.Field == "delivery.endpoint"
	})
}

// File is where one of the documents can be downloaded, as shown.
func (f *drainForm) File(name string) string {
	query := f.known.Values()
	query.Set("team", f.Team.ID)
	return "/drains/new/kit/" + url.PathEscape(name) + "?" + query.Encode()
}

// QuickCreate is the link to CloudFormation's console, or "" if the operator
// has put the template nowhere.
func (f *drainForm) QuickCreate() string {
	if strings.Contains(f.Setup.QuickCreateURL, setup.TemplateURLPlaceholder) {
		return ""
	}
	return f.Setup.QuickCreateURL
}
