package policycheck

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// FuzzDocument reads anything: it is a policy whose text parses by itself, or there is one error, at a place that is in
// the text.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		trustText, compact(trustText), "// a\n" + trustText, quotedJSON(trustText), `{"Role":{"AssumeRolePolicyDocument":` + trustText + `}}`,
		`{"Policy": "{\"Statement\":[]}"}`, "%7B%22Version%22%3A1%7D", `{"Statement": [,], /* */}`, "\"\\ud800\\udc00\"", `"\ud800x"`, `{"a":"\\"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, problem := readDocument(auditdrain.PolicyDocument{Name: "x", Document: text})
		if problem != nil {
			if problem.Message == "" || problem.Field == "" {
				t.Errorf("problem %+v", problem)
			}
			return
		}
		plain, syntax := plainJSON(doc.text)
		if syntax != nil {
			t.Fatalf("%q: %v", doc.text, syntax)
		}
		if len(plain) != len(doc.text) {
			t.Errorf("%d bytes became %d", len(doc.text), len(plain))
		}
		again, err := iam.Parse([]byte(plain))
		if err != nil {
			t.Fatalf("%q: %v", doc.text, err)
		}
		lines := strings.Count(text, "\n") + 1
		for i := range again.Statements {
			if line := doc.line(i); line < 1 || line > lines {
				t.Errorf("statement %d in line %d of %d", i, line, lines)
			}
		}
	})
}

// FuzzCheck checks any policies. Every edit is of a policy, and what it gives is one.
func FuzzCheck(f *testing.F) {
	g := grantOf(testDrain().with(withKey))
	f.Add(g.TrustPolicy(), g.PermissionsPolicy(), statements(g.KeyPolicyStatement()))
	f.Add(strings.Replace(g.TrustPolicy(), externalID, "*", 1), statements(`{"Effect": "Allow", "Action": "*", "Resource": "*"}`), statements(rootMayAll()))
	f.Add(compact(g.TrustPolicy()), statements(`{"Effect": "Deny", "NotAction": "iam:*", "NotResource": "arn:aws:s3:::${aws:username}/*"}`), statements(`{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*", "Condition": {"Null": {"kms:ViaService": true}}}`))
	f.Add("// a\n"+g.TrustPolicy(), strings.ReplaceAll(g.PermissionsPolicy(), "\n  ", "\r\n\t"), `{"Statement": {"Effect": "Allow", "Principal": "*", "Action": ["kms:*",], "Resource": "*"}}`)
	f.Fuzz(func(t *testing.T, trust, permissions, key string) {
		if len(trust)+len(permissions)+len(key) > 8<<10 {
			return
		}
		d := testDrain().with(withKey)
		docs := []auditdrain.PolicyDocument{
			{Name: "trust", Kind: auditdrain.PolicyTrust, Document: trust},
			{Name: "permissions", Kind: auditdrain.PolicyPermissions, Document: permissions},
			{Name: "key", Kind: auditdrain.PolicyKey, Document: key},
		}
		r, err := Check(d, docs)
		if err != nil {
			if auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest {
				t.Errorf("error %v", err)
			}
			return
		}
		edits := r.Fixes
		for _, s := range r.Steps {
			edits = append(edits, s.Edits...)
			if s.Reason == "" || !utf8.ValidString(s.Reason) {
				t.Errorf("reason %q", s.Reason)
			}
			if s.Edits == nil {
				continue
			}
			// It may still be denied where maxRounds ends it, but not for the same document's sake alone.
			if _, err := Check(d, apply(docs, s.Edits)); err != nil {
				t.Errorf("after the edits of %s: %v", s.Step, err)
			}
		}
		for _, w := range r.Warnings {
			edits = append(edits, w.Edits...)
		}
		for _, e := range edits {
			if e.Patch == "" {
				t.Errorf("no patch: %+v", e)
			}
			if _, err := Check(d, apply(docs, []auditdrain.PolicyEdit{e})); err != nil {
				t.Errorf("%v\n%s", err, e.Patch)
			}
		}
	})
}
