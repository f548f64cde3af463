package kit

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// linkParameters reads a quick-create link as the console does.
func linkParameters(t *testing.T, link string) map[string]any {
	t.Helper()
	_, query, _ := strings.Cut(link, "#/stacks/quickcreate?")
	found := map[string]any{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(name, "param_"); ok {
			found[name] = value
		}
	}
	return found
}

// FuzzQuoting reads values back from template and module: whatever is in them, they come out as they went in, and what is
// around them stays as it was.
func FuzzQuoting(f *testing.F) {
	plain := setup.Destination{Grant: iam.Grant{Bucket: "acme", Prefix: "plain", WriterRoleARN: "plain"}}
	var template map[string]any
	var module string
	for _, s := range []string{
		"", " ", "'", `"`, `\`, `\"`, `\u0041`, "${x}", "$${x}", "%{if true}", "%%{", "- a", "a: b", "#", " #", "&a *b", "!Ref x", "| >", "yes", "~", "0x1",
		"\n", "\r\n", "\t", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff", "\ufffd", "\u202e", "é", "e\u0301", "日本", "🤖", "\U000e0001", "{{.}}", "<b>&",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || s == "" {
			return // no value is like that
		}
		if template == nil {
			kit := setup.Write(plain, "")
			template, module = readTemplate(t, kit.CloudFormation), kit.Terraform
		}
		d := plain
		d.Prefix, d.WriterRoleARN = s, s
		kit := setup.Write(d, "")

		parameters := readTemplate(t, kit.CloudFormation)["Parameters"].(map[string]any)
		if len(parameters) != len(template["Parameters"].(map[string]any)) {
			t.Errorf("%q changes the template", s)
		}
		for name, want := range map[string]string{"Prefix": unescaped(d.Grant).Prefix, "WriterRoleArn": s} {
			if got := parameters[name].(map[string]any)["Default"]; got != want {
				t.Errorf("YAML: %s %q is read as %q", name, want, got)
			}
		}

		before, after := blocks(t, module), blocks(t, kit.Terraform)
		if len(before) != len(after) {
			t.Errorf("%q changes the module", s)
		}
		for _, name := range []string{"variable prefix", "variable writer_role_arn"} {
			value, diags := after[name].Body.Attributes["default"].Expr.Value(nil)
			// cty has strings in Unicode's normal form C, as Terraform has.
			if diags.HasErrors() || value.RawEquals(cty.StringVal(s)) == false {
				t.Errorf("HCL: %s %q is read as %#v, %v", name, s, value, diags)
			}
		}
	})
}

// blocks are the blocks of a module by their type and labels.
func blocks(t *testing.T, module string) map[string]*hclsyntax.Block {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(module), "main.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%v in\n%s", diags, module)
	}
	found := map[string]*hclsyntax.Block{}
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		name := strings.Join(append([]string{b.Type}, b.Labels...), " ")
		if found[name] != nil {
			t.Fatalf("%s: %s is there twice", b.Range(), name)
		}
		found[name] = b
	}
	return found
}
