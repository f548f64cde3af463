package kit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/terraform-config-inspect/tfconfig"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// module is a Terraform module with values for its variables.
type module struct {
	t      *testing.T
	blocks map[string]*hclsyntax.Block
	scope  *hcl.EvalContext
	given  map[string]cty.Value
}

// functions are those of Terraform that the module calls.
var functions = map[string]function.Function{
	"can":        tryfunc.CanFunc,
	"compact":    stdlib.CompactFunc,
	"concat":     stdlib.ConcatFunc,
	"contains":   stdlib.ContainsFunc,
	"join":       stdlib.JoinFunc,
	"jsonencode": stdlib.JSONEncodeFunc,
	"regex":      stdlib.RegexFunc,
	// Terraform's takes a pattern between slashes for a regular expression, as the module's is.
	"replace": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "pattern", Type: cty.String}, {Name: "replacement", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			pattern := args[1].AsString()
			if len(pattern) < 2 || pattern[0] != '/' || pattern[len(pattern)-1] != '/' {
				return cty.NilVal, fmt.Errorf("%q is no regular expression", pattern)
			}
			return stdlib.RegexReplace(args[0], cty.StringVal(pattern[1:len(pattern)-1]), args[2])
		},
	}),
	"one": oneFunc,
}

// oneFunc is the only element of a list, or null of an empty one.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if args[0].LengthInt() == 0 {
			return cty.String, nil
		}
		return args[0].AsValueSlice()[0].Type(), nil
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		if args[0].LengthInt() == 0 {
			return cty.NullVal(t), nil
		}
		return args[0].AsValueSlice()[0], nil
	},
})

func newModule(t *testing.T, d setup.Destination, given map[string]cty.Value) *module {
	t.Helper()
	m := &module{t: t, blocks: blocks(t, setup.Write(d, "").Terraform), given: given}
	partition, suffix := partitionOf(d)
	object := func(values map[string]string) cty.Value {
		o := map[string]cty.Value{}
		for k, v := range values {
			o[k] = cty.StringVal(v)
		}
		return cty.ObjectVal(o)
	}
	variables := map[string]cty.Value{}
	for name, b := range m.blocks {
		if name, ok := strings.CutPrefix(name, "variable "); ok {
			variables[name] = m.variable(name, b)
		}
	}
	text := func(name string) string { return variables[name].AsString() }
	bucket := object(map[string]string{"id": text("bucket"), "bucket": text("bucket"), "arn": "arn:" + partition + ":s3:::" + text("bucket")})
	m.scope = &hcl.EvalContext{
		Functions: functions,
		Variables: map[string]cty.Value{
			"var": cty.ObjectVal(variables),
			"data": cty.ObjectVal(map[string]cty.Value{
				"aws_caller_identity": cty.ObjectVal(map[string]cty.Value{"current": object(map[string]string{"account_id": account})}),
				"aws_partition":       cty.ObjectVal(map[string]cty.Value{"current": object(map[string]string{"partition": partition, "dns_suffix": suffix})}),
			}),
			"aws_iam_role": cty.ObjectVal(map[string]cty.Value{"audit_log": object(map[string]string{
				"id": text("role_name"), "arn": "arn:" + partition + ":iam::" + account + ":role" + text("role_path") + text("role_name")})}),
		},
	}
	m.evaluateLocals(map[string]bool{"key_arns": true, "via_s3": true, "key_policy_statement": true})
	keys := cty.EmptyTupleVal
	if m.count("resource aws_kms_key audit_log") == 1 {
		keys = cty.TupleVal([]cty.Value{object(map[string]string{"arn": "arn:" + partition + ":kms:" + d.Region + ":" + account + ":" + createdKey})})
	}
	m.scope.Variables["aws_kms_key"] = cty.ObjectVal(map[string]cty.Value{"audit_log": keys})
	for _, name := range []string{"aws_s3_bucket", "aws_s3_bucket_versioning", "aws_s3_bucket_public_access_block"} {
		m.scope.Variables[name] = cty.ObjectVal(map[string]cty.Value{"audit_log": cty.TupleVal([]cty.Value{bucket})})
	}
	m.evaluateLocals(nil)
	return m
}

// variable is a variable's value: the given one, or its default.
func (m *module) variable(name string, b *hclsyntax.Block) cty.Value {
	value, ok := m.given[name]
	if !ok {
		fallback, ok := b.Body.Attributes["default"]
		if !ok {
			return cty.StringVal("(not given)")
		}
		var diags hcl.Diagnostics
		if value, diags = fallback.Expr.Value(nil); diags.HasErrors() {
			m.t.Fatal(diags)
		}
	}
	want := map[string]cty.Type{"string": cty.String, "bool": cty.Bool, "number": cty.Number}[hcl.ExprAsKeyword(b.Body.Attributes["type"].Expr)]
	value, err := convert.Convert(value, want)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return value
}

// evaluateLocals evaluates all but the ones in later, each as soon as those that it refers to are there.
func (m *module) evaluateLocals(later map[string]bool) {
	m.t.Helper()
	locals := map[string]cty.Value{}
	attributes := m.blocks["locals"].Body.Attributes
	for len(locals) < len(attributes)-len(later) {
		progress := false
		m.scope.Variables["local"] = cty.ObjectVal(locals)
		for name, a := range attributes {
			if _, done := locals[name]; done || later[name] {
				continue
			}
			if value, diags := a.Expr.Value(m.scope); !diags.HasErrors() {
				locals[name] = value
				progress = true
			}
		}
		if !progress {
			m.t.Fatalf("locals refer to what is not there: have %v", cty.ObjectVal(locals).GoString())
		}
	}
	m.scope.Variables["local"] = cty.ObjectVal(locals)
}

func (m *module) value(e hclsyntax.Expression) cty.Value {
	m.t.Helper()
	v, diags := e.Value(m.scope)
	if diags.HasErrors() {
		m.t.Fatal(diags)
	}
	return v
}

func (m *module) count(block string) int {
	m.t.Helper()
	b, ok := m.blocks[block]
	if !ok {
		m.t.Fatalf("no %s", block)
	}
	a, ok := b.Body.Attributes["count"]
	if !ok {
		return 1
	}
	n, _ := m.value(a.Expr).AsBigFloat().Int64()
	return int(n)
}

// attribute is that of a block which is there.
func (m *module) attribute(block, name string) string {
	m.t.Helper()
	if m.count(block) != 1 {
		m.t.Fatalf("there is no %s", block)
	}
	return m.value(m.blocks[block].Body.Attributes[name].Expr).AsString()
}

// refusals are the error messages of validations and preconditions that fail.
func (m *module) refusals() []string {
	m.t.Helper()
	var found []string
	var walk func(*hclsyntax.Body)
	walk = func(body *hclsyntax.Body) {
		for _, b := range body.Blocks {
			if b.Type == "validation" || b.Type == "precondition" {
				if m.value(b.Body.Attributes["condition"].Expr).False() {
					found = append(found, m.value(b.Body.Attributes["error_message"].Expr).AsString())
				}
			}
			walk(b.Body)
		}
	}
	for _, b := range m.blocks {
		walk(b.Body)
	}
	return found
}

func TestTerraform(t *testing.T) {
	eachDestination(t, func(t *testing.T, d setup.Destination) {
		partition, _ := partitionOf(d)
		m := newModule(t, d, nil)
		if refused := m.refusals(); refused != nil {
			t.Fatal(refused)
		}
		samePolicy(t, "trust policy", d.TrustPolicy(), m.attribute("resource aws_iam_role audit_log", "assume_role_policy"))
		samePolicy(t, "permissions policy", unescaped(d.Grant).PermissionsPolicy(), m.attribute("resource aws_iam_role_policy write", "policy"))
		if got := m.attribute("output role_arn", "value"); got != d.RoleARN {
			t.Errorf("role %q, want %q", got, d.RoleARN)
		}
		for name := range m.blocks {
			if strings.HasPrefix(name, "resource ") && !strings.HasPrefix(name, "resource aws_iam_role") && m.count(name) != 0 {
				t.Errorf("%s is made without being asked for", name)
			}
		}
		if statement := m.value(m.blocks["output key_policy_statement"].Body.Attributes["value"].Expr); d.KMSKeyARN != "" {
			samePolicy(t, "key policy", document(d.KeyPolicyStatement()), document(statement.AsString()))
		} else if !statement.IsNull() {
			t.Errorf("a key policy without a key: %s", statement.AsString())
		}

		given := map[string]cty.Value{"create_bucket": cty.True, "object_lock_mode": cty.StringVal("COMPLIANCE")}
		newKey := d.KMSKeyARN == ""
		if newKey {
			given["create_kms_key"], given["bucket_encryption"] = cty.True, cty.StringVal("aws:kms")
		}
		m = newModule(t, d, given)
		if refused := m.refusals(); refused != nil {
			t.Fatal(refused)
		}
		if newKey {
			d.KMSKeyARN = "arn:" + partition + ":kms:" + d.Region + ":" + account + ":" + createdKey
			samePolicy(t, "policy of a new key", document(keyAdministration(partition), d.KeyPolicyStatement()), m.attribute("resource aws_kms_key audit_log", "policy"))
		}
		samePolicy(t, "permissions policy with a key", unescaped(d.Grant).PermissionsPolicy(), m.attribute("resource aws_iam_role_policy write", "policy"))
		samePolicy(t, "bucket policy", document(tlsOnly(partition, d.Bucket)), m.attribute("resource aws_s3_bucket_policy audit_log", "policy"))
		sse := m.blocks["resource aws_s3_bucket_server_side_encryption_configuration audit_log"].Body.Blocks[0].Body.Blocks[0].Body
		if got := m.value(sse.Attributes["kms_master_key_id"].Expr).AsString(); got != d.KMSKeyARN {
			t.Errorf("the bucket encrypts with %s", got)
		}
	})
}

// What cannot work is refused before anything is made.
func TestTerraformRefuses(t *testing.T) {
	d := setup.Destination{Grant: iam.Grant{WriterRoleARN: "arn:aws:iam::977805900156:role/w", ExternalID: "vercel-team:t", Bucket: "acme", Region: "eu-central-1"}}
	key := cty.StringVal("arn:aws:kms:eu-central-1:111122223333:key/k")
	kms := cty.StringVal("aws:kms")
	for name, tc := range map[string]struct {
		given map[string]cty.Value
		want  string
	}{
		"role only":             {nil, ""},
		"bucket":                {map[string]cty.Value{"create_bucket": cty.True}, ""},
		"bucket without ACLs":   {map[string]cty.Value{"create_bucket": cty.True, "object_acl": cty.StringVal("private")}, "ACLs disabled"},
		"key without bucket":    {map[string]cty.Value{"create_kms_key": cty.True, "bucket_encryption": kms}, "set create_bucket"},
		"key without use":       {map[string]cty.Value{"create_kms_key": cty.True, "create_bucket": cty.True}, "AES256 uses no key"},
		"two keys":              {map[string]cty.Value{"create_kms_key": cty.True, "create_bucket": cty.True, "bucket_encryption": kms, "kms_key_arn": key}, "leave kms_key_arn empty"},
		"their key without use": {map[string]cty.Value{"create_bucket": cty.True, "kms_key_arn": key}, "AES256 uses no key"},
		"alias":                 {map[string]cty.Value{"kms_key_arn": cty.StringVal("arn:aws:kms:eu-central-1:111122223333:alias/a")}, "aliases"},
		"wildcard external ID":  {map[string]cty.Value{"external_id": cty.StringVal("vercel-team:*")}, "external ID"},
		"wildcard prefix":       {map[string]cty.Value{"prefix": cty.StringVal("a*")}, "Leave out"},
		"prefix with slash":     {map[string]cty.Value{"prefix": cty.StringVal("a/")}, "Leave out"},
		"unknown lock":          {map[string]cty.Value{"object_lock_mode": cty.StringVal("x")}, "GOVERNANCE"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(newModule(t, d, tc.given).refusals(), "\n")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("refused for %q, want %q", got, tc.want)
			}
		})
	}
}

// argument is one that a resource type takes, as provider.mjs has found it.
type argument struct {
	Type     string
	Required bool
	Block    map[string]argument
}

type resourceType struct {
	Arguments  map[string]argument
	Attributes []string
}

// TestTerraformSchema holds the module against the AWS provider's own schema.
func TestTerraformSchema(t *testing.T) {
	if found := schemaProblems(t, setup.Write(setup.Destination{}, "").Terraform); found != nil {
		t.Error(found)
	}
	good := setup.Write(setup.Destination{}, "").Terraform
	for mistake, pair := range map[string][2]string{
		"unknown resource type":  {`"aws_kms_key" "audit_log"`, `"aws_kms_kee" "audit_log"`},
		"unknown argument":       {"enable_key_rotation", "rotation"},
		"unknown block":          {"versioning_configuration {", "versioning {"},
		"unknown inner argument": {"object_ownership =", "ownership ="},
		"missing argument":       {"    sse_algorithm     = var.bucket_encryption\n", ""},
		"unknown attribute":      {"aws_iam_role.audit_log.arn", "aws_iam_role.audit_log.arns"},
		"unknown variable":       {"var.role_path", "var.rolepath"},
		"unknown local":          {"local.bucket_count", "local.buckets"},
		"unknown resource":       {"aws_iam_role.audit_log.id", "aws_iam_role.audit.id"},
		"block for an argument":  {"    status = \"Enabled\"", "    status {}"},
	} {
		bad := strings.Replace(good, pair[0], pair[1], 1)
		if bad == good {
			t.Errorf("%s: no %q", mistake, pair[0])
		}
		if schemaProblems(t, bad) == nil {
			t.Errorf("%s is not found out", mistake)
		}
	}
}

// schemaProblems is what a module has that neither Terraform nor the AWS provider knows.
func schemaProblems(t *testing.T, text string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "aws-provider-6.25.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	var types map[string]resourceType
	if err := json.Unmarshal(content, &types); err != nil {
		t.Fatal(err)
	}
	var found []string
	all := blocks(t, text)
	for name, b := range all {
		switch b.Type {
		case "resource", "data":
			typ := strings.TrimPrefix(b.Type+"."+b.Labels[0], "resource.")
			schema, ok := types[typ]
			if !ok {
				found = append(found, name+": unknown type")
				continue
			}
			found = append(found, bodyProblems(name, b.Body, schema.Arguments)...)
		}
		hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
			if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok {
				found = append(found, traversalProblems(e.Traversal, all, types)...)
			}
			return nil
		})
	}
	return found
}

// meta are arguments that Terraform itself reads.
var meta = []string{"count", "lifecycle"}

func bodyProblems(where string, body *hclsyntax.Body, schema map[string]argument) []string {
	var found []string
	for name := range body.Attributes {
		if a, ok := schema[name]; !slices.Contains(meta, name) && (!ok || a.Block != nil) {
			found = append(found, where+": unknown argument "+name)
		}
	}
	present := map[string]bool{}
	for _, b := range body.Blocks {
		present[b.Type] = true
		if a, ok := schema[b.Type]; ok && a.Block != nil {
			found = append(found, bodyProblems(where+"."+b.Type, b.Body, a.Block)...)
		} else if !slices.Contains(meta, b.Type) {
			found = append(found, where+": unknown block "+b.Type)
		}
	}
	for name, a := range schema {
		if _, ok := body.Attributes[name]; a.Required && !ok && !present[name] {
			found = append(found, where+": missing "+name)
		}
	}
	return found
}

// traversalProblems checks a reference such as aws_iam_role.audit_log.arn.
func traversalProblems(tr hcl.Traversal, all map[string]*hclsyntax.Block, types map[string]resourceType) []string {
	var names []string
	for _, step := range tr {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			names = append(names, step.Name)
		case hcl.TraverseAttr:
			names = append(names, step.Name)
		}
	}
	text := strings.Join(names, ".")
	resource := func(kind, typ, name string, rest []string) []string {
		if all[kind+" "+typ+" "+name] == nil {
			return []string{text + ": no such " + kind}
		}
		if len(rest) > 0 && !slices.Contains(types[strings.TrimPrefix(kind+"."+typ, "resource.")].Attributes, rest[0]) {
			return []string{text + ": no such attribute"}
		}
		return nil
	}
	switch {
	case names[0] == "var":
		if all["variable "+names[1]] == nil {
			return []string{text + ": no such variable"}
		}
	case names[0] == "local":
		if all["locals"].Body.Attributes[names[1]] == nil {
			return []string{text + ": no such local"}
		}
	case names[0] == "data":
		return resource("data", names[1], names[2], names[3:])
	case strings.HasPrefix(names[0], "aws_"):
		return resource("resource", names[0], names[1], names[2:])
	}
	return nil
}

// TestTerraformModule has Terraform's own reader look at the module.
func TestTerraformModule(t *testing.T) {
	load := func(text string) (*tfconfig.Module, tfconfig.Diagnostics) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return tfconfig.LoadModule(dir)
	}
	text := setup.Write(setup.Destination{}, "").Terraform
	m, diags := load(text)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var required []string
	for name, v := range m.Variables {
		if v.Description == "" || v.Type == "" {
			t.Errorf("variable %s has no type or no description", name)
		}
		if v.Required {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	if want := []string{"bucket", "external_id", "region", "writer_role_arn"}; !slices.Equal(required, want) {
		t.Errorf("asks for %q, want %q", required, want)
	}
	if m.RequiredProviders["aws"] == nil || m.RequiredProviders["aws"].Source != "hashicorp/aws" || len(m.ManagedResources) != 10 {
		t.Errorf("providers %v, %d resources", m.RequiredProviders, len(m.ManagedResources))
	}
	if _, diags := load(strings.Replace(text, `variable "bucket" {`, `variable "bucket" "x" {`, 1)); !diags.HasErrors() {
		t.Error("a broken module is not found out")
	}
}
