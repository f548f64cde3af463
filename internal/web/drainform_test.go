package web_test

import (
	"context"
	"errors"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

const (
	formWriter = "arn:aws:iam::999999999999:role/writer"
	formUser   = "arn:aws:iam::999999999999:user/auditdrain"
	formRole   = "arn:aws:iam::111122223333:role/audit-log-drain"
	formKey    = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	formBucket = "acme-audit-archive"
)

// typed is a form that is filled in, with what changes makes of it.
func typed(do string, changes ...string) url.Values {
	form := url.Values{
		"do": {do}, "name": {"Archive"}, "bucket": {formBucket}, "prefix": {"audit/acme"}, "region": {"eu-west-1"},
		"role": {formRole}, "encoding": {"json"},
	}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return form
}

// formGrant is what the form's policies have to grant.
func formGrant() iam.Grant {
	g := iam.GrantFor(auditdrain.Delivery{Endpoint: "s3://" + formBucket + "/audit/acme", Region: "eu-west-1", RoleARN: formRole})
	g.WriterRoleARN, g.ExternalID = formWriter, "vercel-team:team_1"
	return g
}

// onAWS has tests made on a simulated AWS, in which trust and permissions are
// the role's policies.
func onAWS(t *testing.T, trust, permissions string) (*awssim.Sim, func(*api.Config)) {
	t.Helper()
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	mayAssume := []*iam.Policy{iam.MustParse(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`)}
	trustsUs := iam.MustParse(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + formUser + `"},"Action":"sts:AssumeRole"}}`)
	err = errors.Join(
		sim.AddUser(awssim.User{ARN: formUser, AccessKeyID: "AKIAAUDITDRAIN", SecretKey: "secret", Identity: mayAssume}),
		sim.AddRole(awssim.Role{ARN: formWriter, Trust: trustsUs, Identity: mayAssume}),
		sim.AddRole(awssim.Role{ARN: formRole, Trust: iam.MustParse(trust), Identity: []*iam.Policy{iam.MustParse(permissions)}}),
		sim.AddBucket(awssim.Bucket{Name: formBucket, Account: "111122223333", Region: "eu-west-1"}),
	)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAAUDITDRAIN", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	cfg, err := s3.LoadConfig(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.New(s3.Config{AWS: cfg, Namespace: auditdrain.DefaultNamespace, WriterRoleARN: formWriter})
	t.Cleanup(client.Close)
	return sim, func(c *api.Config) {
		c.Writer = client
		c.Tester = diagnose.Tester{AWS: client, Explainer: diagnose.Explainer{Namespace: c.Namespace, WriterARN: client.KnownWriterARN}}
	}
}

func TestFormShowsWhatToSetUp(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.get("/drains/new")
	p.want(t, 200, "Create a drain", "Acme &lt;b&gt;Inc.", formWriter, "vercel-team:team_1", "&lt;bucket-name&gt;")
	checkPage(t, p)
	p = b.post("/drains/new", typed("documents", "kmsKey", formKey, "how", "terraform"))
	p.want(t, 200, "arn:aws:s3:::acme-audit-archive/audit/acme/*", "Statement for the key policy", "kms:GenerateDataKey")
	checkPage(t, p)
	if at := p.landsAt(t); at != "writer-role" {
		t.Errorf("the button leads to %q, want the documents", at)
	}
	p.want(t, 200, `id="how-terraform" value="terraform" checked`)
	if p := b.post("/drains/new", typed("documents")); strings.Contains(p.body, "Statement for the key policy") {
		t.Error("a key policy is shown without a key")
	}
}

var idRE = regexp.MustCompile(`\sid="([^"]*)"`)

// checkPage finds fault with any page of the form.
func checkPage(t *testing.T, p page) {
	t.Helper()
	if n := len(p.body); n > 100<<10 {
		t.Errorf("%s has %d bytes, want at most 100 KiB", p.path, n)
	}
	ids := map[string]bool{}
	for _, m := range idRE.FindAllStringSubmatch(p.body, -1) {
		if ids[m[1]] {
			t.Errorf("%s: two elements have the id %q", p.path, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\s(?:for|aria-describedby|aria-labelledby|list|data-copy|data-documents|href="#)="?([^"]*)"`).FindAllStringSubmatch(p.body, -1) {
		for id := range strings.FieldsSeq(m[1]) {
			if !ids[id] {
				t.Errorf("%s: nothing has the id %q, to which something refers", p.path, id)
			}
		}
	}
}

// landsAt returns what the buttons lead to: the id of what follows in the page.
func (p page) landsAt(t *testing.T) string {
	t.Helper()
	_, after, ok := strings.Cut(p.body, `id="here"`)
	if !ok {
		t.Fatalf("%s: the buttons lead nowhere", p.path)
	}
	m := idRE.FindStringSubmatch(after)
	if m == nil {
		return ""
	}
	return m[1]
}

// Pressing Enter in a field presses the first button of the form.
func TestEnterCreatesNothing(t *testing.T) {
	s := newSite(t)
	p := s.logIn(s.token(auditdrain.RoleOwner, "team_1")).get("/drains/new")
	_, form, _ := strings.Cut(p.body, "data-documents")
	for _, m := range regexp.MustCompile(`<button ([^>]*)>`).FindAllStringSubmatch(form, -1) {
		if strings.Contains(m[1], `type="button"`) {
			continue
		}
		if !strings.Contains(m[1], `name="do" value="documents"`) {
			t.Errorf("the first button is %s, want the one that only writes documents", m[1])
		}
		return
	}
	t.Error("no button")
}

func TestFieldErrors(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	const broken = "{\n  \"Version\": 1}"
	for _, c := range []struct{ do, field, value, want string }{
		{"create", "name", "", "Give the drain a name."},
		{"create", "name", strings.Repeat("x", 300), "bytes of printable text"},
		{"create", "bucket", "", "Enter the name of the bucket."},
		{"create", "bucket", "Acme_Logs", "a bucket name has 3 to 63"},
		{"documents", "bucket", "Acme_Logs", "a bucket name has 3 to 63"},
		{"create", "prefix", "a//b", "nor contain two in a row"},
		{"documents", "prefix", "a*b", "which IAM policies give a meaning to"},
		{"create", "region", "", "Enter the region"},
		{"test", "region", "nowhere", "is not a region that is known here"},
		{"documents", "region", "nowhere", "is not a region that is known here"},
		{"test", "region", "cn-north-1", `but the platform writes as`},
		{"documents", "kmsKey", "alias/x", "is an alias"},
		{"check", "kmsKey", "x", "is not the ARN of a KMS key"},
		{"create", "role", "", "Enter the ARN of the role."},
		{"test", "role", "role/x", "is not an IAM role ARN"},
		{"documents", "role", "role/x", "is not an IAM role ARN"},
		{"create", "encoding", "", "Choose one of the two."},
		{"create", "encoding", "xml", `"xml" is not allowed`},
		{"create", "encryption", "rot13", `"rot13" is not allowed`},
		{"create", "acl", "public-read", `"public-read" is not allowed`},
		{"create", "since", "soon", "is not a date and time"},
		{"create", "since", "2999-01-01T00:00", "until now"},
		{"check", "policyTrust", "", "Paste at least one policy."},
		{"check", "policyTrust", broken, "line 2, column 14"},
		{"check", "policyPermissions", broken, "line 2, column 14"},
		{"check", "policyMore", broken, "line 2, column 14"},
		{"check", "policyBoundary", broken, "line 2, column 14"},
		{"check", "policyBucket", broken, "line 2, column 14"},
		{"check", "policyKey", broken, "line 2, column 14"},
	} {
		t.Run(c.do+" "+c.field+" "+shortened(c.value), func(t *testing.T) {
			form := typed(c.do, c.field, c.value)
			if c.value == "cn-north-1" {
				form.Set("role", strings.Replace(formRole, "aws", "aws-cn", 1))
			}
			p := b.post("/drains/new", form)
			text := html.UnescapeString(p.body)
			if p.StatusCode != 400 {
				t.Errorf("status %d, want 400", p.StatusCode)
			}
			_, at, ok := strings.Cut(text, `id="e-`+c.field+`">`)
			if message, _, _ := strings.Cut(at, "</p>"); !ok || !strings.Contains(message, c.want) {
				t.Errorf("at the field is %q, want %q", message, c.want)
			}
			if !strings.Contains(text, `<a href="#here">`) {
				t.Error("nothing at the top leads to the field")
			}
			if !regexp.MustCompile(`<(input|select|textarea) id="here"[^>]* name="` + c.field + `"[^>]* aria-invalid="true"`).MatchString(text) {
				t.Error("the button does not lead to the field")
			}
			if n := strings.Count(text, `class="wrong"`); n != 1 {
				t.Errorf("%d fields are marked, want one", n)
			}
			checkKept(t, p, form)
			checkPage(t, p)
		})
	}
	list, err := s.operator.ListDrains(t.Context(), "team_1")
	s.must(err)
	if len(list) != 0 {
		t.Errorf("drains %+v were created", list)
	}
}

func shortened(s string) string { return s[:min(len(s), 12)] }

// checkKept makes sure that what was typed is shown again.
func checkKept(t *testing.T, p page, form url.Values) {
	t.Helper()
	for name := range form {
		value := form.Get(name)
		if name == "do" || value == "" {
			continue
		}
		quoted := regexp.QuoteMeta(value)
		kept := regexp.MustCompile(`name="` + name + `"[^>]*value="` + quoted + `"|name="` + name + `"[^>]*>\n` + quoted + `</textarea>|<option value="` + quoted + `" selected>`)
		if name == "encoding" {
			if value != "json" && value != "ndjson" {
				continue
			}
			kept = regexp.MustCompile(`name="encoding" value="` + value + `" checked`)
		}
		if !kept.MatchString(html.UnescapeString(p.body)) {
			t.Errorf("%s does not show %q again", name, value)
		}
	}
}

func TestSeveralProblemsAreInTheOrderOfThePage(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/drains/new", typed("create", "name", "", "bucket", "X", "region", "", "role", "", "acl", "x"))
	p.want(t, 400, "5 fields need another look")
	var links []string
	for _, m := range regexp.MustCompile(`<li><a href="#(here|f-[a-zA-Z]+)">`).FindAllStringSubmatch(p.body, -1) {
		links = append(links, m[1])
	}
	if diff := cmp.Diff([]string{"here", "f-bucket", "f-region", "f-role", "f-acl"}, links); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	p.want(t, 400, `<details id="advanced" open>`)
}

func TestEndpointMayBePastedWhole(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	for bucket, want := range map[string][2]string{
		"s3://acme/audit/logs/": {"acme", "audit/logs"},
		"s3://acme/":            {"acme", ""},
		" s3://acme ":           {"acme", ""},
		"acme/audit":            {"acme", "audit"},
	} {
		p := b.post("/drains/new", typed("documents", "bucket", bucket, "prefix", ""))
		p.want(t, 200, `name="bucket" type="text" value="`+want[0]+`"`, `name="prefix" type="text" value="`+want[1]+`"`)
	}
}

func TestDownloads(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/drains/new", typed("documents", "kmsKey", formKey, "encryption", "aws:kms", "acl", "bucket-owner-full-control"))
	want, err := s.operator.Setup(t.Context(), "team_1", auditdrain.SetupQuery{
		Endpoint: "s3://" + formBucket + "/audit/acme", Region: "eu-west-1", RoleARN: formRole, Encoding: "json",
		Encryption: "aws:kms", KMSKeyARN: formKey, ObjectACL: "bucket-owner-full-control",
	})
	s.must(err)
	files := map[string]string{}
	for _, m := range regexp.MustCompile(`href="(/drains/new/kit/[^"]*)"`).FindAllStringSubmatch(p.body, -1) {
		got := b.get(html.UnescapeString(m[1]))
		_, name, _ := strings.Cut(got.Header.Get("Content-Disposition"), "attachment; filename=")
		files[strings.Trim(name, `"`)] = got.body
	}
	if diff := cmp.Diff(map[string]string{
		"trust-policy.json": want.TrustPolicy, "permissions-policy.json": want.PermissionsPolicy, "key-policy-statement.json": want.KeyPolicyStatement,
		"template.yaml": want.CloudFormation, "main.tf": want.Terraform, "setup.sh": want.CLI,
	}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	b.get("/drains/new/kit/other.txt").want(t, 404)
	b.get("/drains/new/kit/key-policy-statement.json").want(t, 404)
	b.get("/drains/new/kit/main.tf?region=nowhere").want(t, 400, "is not a region")
}

func TestFormWithoutAWS(t *testing.T) {
	s := newSite(t, func(c *api.Config) { c.Writer = noWriter{} })
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.get("/drains/new")
	p.want(t, 200, "The policies cannot be written just now.", "AWS has not told what this service runs as")
	checkPage(t, p)
	b.post("/drains/new", typed("check", "policyTrust", formGrant().TrustPolicy())).want(t, 503, "AWS has not told")
	if p := b.post("/drains/new", typed("create")); !strings.HasPrefix(p.path, "/drains/drn_") {
		t.Errorf("creating led to %s", p.path)
	}
}

type noWriter struct{}

func (noWriter) WriterARN(context.Context) (string, error) { return "", errors.New("no such host") }
func (noWriter) KnownWriterARN() string                    { return "" }

func TestPolicyCheckOnThePage(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	g := formGrant()
	form := typed("check", "policyTrust", strings.ReplaceAll(g.TrustPolicy(), "team_1", "team_2"), "policyPermissions", g.PermissionsPolicy())
	p := b.post("/drains/new", form)
	p.want(t, 200, "With these policies, the drain could not deliver.", "Assume the role", "Write test objects", "What to change",
		`<span class="add">&#43;          &#34;sts:ExternalId&#34;: &#34;vercel-team:team_1&#34;`)
	checkKept(t, p, form)
	checkPage(t, p)
	if at := p.landsAt(t); at != "fix-0-whole" {
		t.Errorf("the button leads to %q, want the report", at)
	}
	m := regexp.MustCompile(`(?s)<pre id="fix-0"[^>]*>(.*?)</pre>`).FindStringSubmatch(p.body)
	if m == nil {
		t.Fatal("the mended policy is not shown")
	}
	form.Set("policyTrust", html.UnescapeString(m[1]))
	b.post("/drains/new", form).want(t, 200, "These policies allow all that the drain does.")

	form.Set("policyTrust", strings.NewReplacer("StringEquals", "StringLike", "team_1", "*").Replace(g.TrustPolicy()))
	b.post("/drains/new", form).want(t, 200, "<strong>Dangerous</strong>")
	form.Del("policyTrust")
	b.post("/drains/new", form).want(t, 200, "These policies alone do not tell", "not known")
}

func TestTestOnThePage(t *testing.T) {
	g := formGrant()
	otherTeam := strings.ReplaceAll(g.TrustPolicy(), "team_1", "team_2")
	elsewhere := strings.ReplaceAll(g.PermissionsPolicy(), "/audit/acme/", "/elsewhere/")
	anybody := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + formWriter + `"},"Action":"sts:AssumeRole"}}`
	for _, c := range []struct {
		name, trust, permissions string
		passes                   bool
		want                     []string
	}{
		{"passes", g.TrustPolicy(), g.PermissionsPolicy(), true, []string{
			"The test passed.", "<code>audit/acme/test/schema=audit_log/version=v1/year=", "STS AssumeRole", "S3 PutObject", "as it must be",
		}},
		{"unsafe role", anybody, g.PermissionsPolicy(), true, []string{
			"The test passed.", "Others could use this role.", `<span class="add">&#43; `, "vercel-team:team_1",
		}},
		{"trust policy", otherTeam, g.PermissionsPolicy(), false, []string{
			"The test failed.", "administrator of the role", "The statement above mends this, too.", "The complete answer of AWS", "not authorized to perform: sts:AssumeRole", "<dt>Request ID</dt>",
			"Find the call in CloudTrail", "Copy for support", "In the policies that you have pasted", `<span class="add">&#43;          &#34;sts:ExternalId&#34;: &#34;vercel-team:team_1&#34;`,
		}},
		{"permissions policy", g.TrustPolicy(), elsewhere, false, []string{
			"The test failed.", "s3:PutObject", "AccessDenied", "<dt>Extended request ID</dt>", "In the policies that you have pasted", `<span class="remove">-      &#34;Resource&#34;: &#34;arn:aws:s3:::acme-audit-archive/elsewhere/*`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, onIt := onAWS(t, c.trust, c.permissions)
			s := newSite(t, onIt)
			b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
			form := typed("test", "policyTrust", c.trust, "policyPermissions", c.permissions, "kmsKey", formKey)
			p := b.post("/drains/new", form)
			p.want(t, 200, append(c.want, "External ID:         vercel-team:team_1", "Endpoint:            s3://acme-audit-archive/audit/acme")...)
			checkKept(t, p, form)
			checkPage(t, p)
			if _, after, _ := strings.Cut(p.body, `id="here"`); !strings.Contains(after[:200], "The test ") {
				t.Errorf("the button leads to %s, want the result", after[:200])
			}
			objects, err := sim.Objects(formBucket)
			s.must(err)
			if want := map[bool]int{true: 1}[c.passes]; len(objects) != want {
				t.Errorf("%d objects were written, want %d", len(objects), want)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/drains/new", typed("create", "encryption", "aws:kms", "acl", "bucket-owner-full-control", "encoding", "ndjson", "since", "2026-01-31T08:00", "name", "A <b>"))
	if !strings.HasSuffix(p.path, "?done=created") {
		t.Fatalf("creating led to %s with %d: %s", p.path, p.StatusCode, p.body)
	}
	drains, err := s.operator.ListDrains(t.Context(), "team_1")
	s.must(err)
	want := auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://acme-audit-archive/audit/acme", Encoding: "ndjson", Region: "eu-west-1", RoleARN: formRole,
		ServerSideEncryption: "aws:kms", ObjectACL: "bucket-owner-full-control",
	}.WithDefaults()
	if len(drains) != 1 || drains[0].Name != "A <b>" || drains[0].TeamID != "team_1" {
		t.Fatalf("drains %+v", drains)
	}
	if diff := cmp.Diff(want, drains[0].Delivery); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
}

func TestEdit(t *testing.T) {
	s := newSite(t)
	made, err := s.operator.CreateDrain(t.Context(), "team_1", auditdrain.DrainInput{
		Name: "Archive", Schemas: auditdrain.AuditLogSchemas(),
		Delivery: &auditdrain.Delivery{Type: "s3", Endpoint: "s3://acme", Encoding: "ndjson", Region: "eu-west-1", RoleARN: formRole, ServerSideEncryption: "aws:kms:dsse"},
	})
	s.must(err)
	paused := auditdrain.StatusDisabled
	_, err = s.operator.UpdateDrain(t.Context(), "team_1", made.ID, auditdrain.DrainPatch{Status: &paused})
	s.must(err)
	path := "/drains/" + made.ID + "/edit"
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.get(path)
	p.want(t, 200, "Edit <bdi>Archive</bdi>", `name="bucket" type="text" value="acme"`, `<option value="aws:kms:dsse" selected>`, `value="ndjson" checked`, "<details id=\"advanced\" open>")
	if strings.Contains(p.body, `name="since"`) {
		t.Error("a drain that there is can begin anew")
	}
	checkPage(t, p)
	p = b.post(path, typed("create", "name", ""))
	p.want(t, 400, "Give the drain a name.")
	if p := b.post(path, typed("create", "name", "Moved", "encryption", "aws:kms:dsse")); p.path != "/drains/"+made.ID+"?done=saved" {
		t.Errorf("saving led to %s", p.path)
	}
	got, err := s.operator.GetDrain(t.Context(), "team_1", made.ID)
	s.must(err)
	want := made.Delivery
	want.Endpoint, want.Encoding = "s3://acme-audit-archive/audit/acme", "json"
	if diff := cmp.Diff(want, got.Delivery); diff != "" || got.Name != "Moved" || got.Status != paused {
		t.Errorf("%s %s, delivery (-want +got):\n%s", got.Name, got.Status, diff)
	}

	other := s.logIn(s.token(auditdrain.RoleOwner, "team_2"))
	other.get(path).want(t, 404)
	other.post(path, typed("create")).want(t, 404)
	s.logIn(operatorToken).get(path).want(t, 200, "Acme &lt;b&gt;Inc.")
	viewer := s.logIn(s.token(auditdrain.RoleViewer, "team_1"))
	for _, path := range []string{path, "/drains/new"} {
		viewer.get(path).want(t, 403, "Only an owner")
		viewer.post(path, typed("create")).want(t, 403, "Only an owner")
	}
}

func TestOperatorSaysForWhichTeam(t *testing.T) {
	s := newSite(t)
	b := s.logIn(operatorToken)
	b.get("/drains/new").want(t, 200, "For which team?", `href="/drains/new?team=team_1"`, `href="/drains/new?team=team_2"`, "2 teams")
	p := b.get("/drains/new?search=ACME")
	p.want(t, 200, "team_1", "1 team")
	if strings.Contains(p.body, "team_2") {
		t.Error("a team is listed that was not searched for")
	}
	checkPage(t, p)
	b.get("/drains/new?search=%3Cscript%3E").want(t, 200, "No team has “&lt;script&gt;”")
	b.get("/drains/new?team=nobody").want(t, 404)
	p = b.get("/drains/new?team=acme") // its slug
	p.want(t, 200, "vercel-team:team_1", `action="/drains/new?team=team_1"`)
	if p := b.post("/drains/new?team=team_2", typed("create")); !strings.HasPrefix(p.path, "/drains/drn_") {
		t.Fatalf("creating led to %s", p.path)
	}
	drains, err := s.operator.ListDrains(t.Context(), "team_2")
	s.must(err)
	if len(drains) != 1 {
		t.Errorf("team_2 has %d drains, want one", len(drains))
	}
	// Who belongs to a team makes drains for that one only.
	owner := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	owner.get("/drains/new?team=team_2").want(t, 200, "vercel-team:team_1")
}

// evil answers as an AWS would that wants to run something in the browser.
type evil struct{ noTester }

const script = `"'></pre></textarea><script>alert(1)</script>`

func (evil) Test(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.DrainTestResult, error) {
	change := &auditdrain.Change{Where: script, Statement: script, Condition: script, Field: "delivery.objectAcl", Value: script}
	return auditdrain.DrainTestResult{
		Status: "error", Error: script, Endpoint: script, Key: script,
		AWS: &auditdrain.AWSAnswer{Service: script, Operation: script, Code: script, Message: script, RequestID: script, ExtendedRequestID: script,
			Headers: map[string][]string{script: {script}}, Body: script, Host: script, Key: script, CallerARN: script},
		Steps: []auditdrain.TestStep{{Name: script}},
		Diagnosis: &auditdrain.Diagnosis{Summary: script, Answer: script, Docs: "javascript:alert(1)",
			Causes:     []auditdrain.Cause{{Text: script, Who: script, Fix: script, Change: change}},
			CloudTrail: &auditdrain.CloudTrailLookup{EventSource: script, EventName: script, Account: script, Region: script, Note: script, Command: script}},
		RoleCheck: &auditdrain.RoleCheck{Unsafe: true, Text: script, Change: change, WithoutExternalID: script},
	}, nil
}

func TestNothingTypedOrAnsweredIsMarkup(t *testing.T) {
	s := newSite(t, func(c *api.Config) { c.Tester = evil{} })
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	var changes []string
	for _, field := range []string{"bucket", "prefix", "region", "kmsKey", "role", "policyTrust", "policyPermissions", "policyMore", "policyBoundary", "policyBucket", "policyKey", "encoding", "encryption", "acl", "since", "how"} {
		changes = append(changes, field, script)
	}
	for _, p := range []page{
		b.post("/drains/new", typed("create", changes...)),
		b.post("/drains/new", typed("check", changes...)),
		b.post("/drains/new", typed("documents", changes...)),
		b.post("/drains/new", typed("test", "name", script)),
		b.post("/drains/new", typed(script, "name", script)),
	} {
		if strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, `href="javascript:`) || strings.Count(p.body, "alert(1)") == 0 {
			t.Errorf("%s with %d: not all is shown as text", p.path, p.StatusCode)
		}
		checkPage(t, p)
	}
}

func TestTestsTakeTurns(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(c *api.Config) { c.Tester = slow{begun: begun, end: end} })
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	first := make(chan page)
	go func() { first <- b.post("/drains/new", typed("test")) }()
	<-begun
	p := b.post("/drains/new", typed("test"))
	p.want(t, 429, "is under way")
	if _, after, _ := strings.Cut(p.body, `id="here"`); !strings.Contains(after[:200], "is under way") {
		t.Error("the button does not lead to what is wrong")
	}
	close(end)
	if p := <-first; p.StatusCode != http.StatusOK {
		t.Errorf("the first test: %d", p.StatusCode)
	}
}

type slow struct {
	noTester
	begun, end chan struct{}
}

func (s slow) Test(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.DrainTestResult, error) {
	s.begun <- struct{}{}
	<-s.end
	return auditdrain.DrainTestResult{}, nil
}
