package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

const (
	formWriter = "arn:aws:iam::999999999999:role/writer"
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

func TestFormShowsWhatToSetUp(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.get("/drains/new")
	p.want(t, 200, "Create a drain", "Acme &lt;b&gt;Inc.", formWriter, "vercel-team:team_1", "&lt;bucket-name&gt;")
	checkPage(t, p)
	p = b.post("/drains/new", typed("documents", "kmsKey", formKey))
	p.want(t, 200, "arn:aws:s3:::acme-audit-archive/audit/acme/*", "Statement for the key policy", "kms:GenerateDataKey")
	checkPage(t, p)
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
