package policycheck

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

const (
	writerARN  = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	roleARN    = "arn:aws:iam::111122223333:role/drain"
	keyARN     = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	externalID = "vercel-team:team_123"
)

func testDrain() Drain {
	return Drain{
		Delivery: auditdrain.Delivery{
			Type: "s3", Endpoint: "s3://acme/audit-logs", Encoding: "json", RoleARN: roleARN, Region: "eu-central-1",
		}.WithDefaults(),
		WriterRoleARN: writerARN,
		ExternalID:    externalID,
		Now:           time.Date(2026, 5, 22, 10, 0, 0, 0, time.UTC),
	}
}

func withKey(d *Drain)                { d.KMSKeyARN = keyARN }
func asUser(d *Drain)                 { d.WriterRoleARN = "arn:aws:iam::977805900156:user/writer" }
func withACL(d *Drain)                { d.Delivery.ObjectACL = "bucket-owner-full-control" }
func at(endpoint string) func(*Drain) { return func(d *Drain) { d.Delivery.Endpoint = endpoint } }
func (d Drain) with(change func(*Drain)) Drain {
	if change != nil {
		change(&d)
	}
	return d
}

// grantOf is what the drain needs.
func grantOf(d Drain) iam.Grant {
	g := iam.GrantFor(d.Delivery)
	g.WriterRoleARN, g.ExternalID, g.KMSKeyARN = d.WriterRoleARN, d.ExternalID, d.KMSKeyARN
	return g
}

// statements is a policy of them.
func statements(all ...string) string {
	return `{"Version": "2012-10-17", "Statement": [` + strings.Join(all, ", ") + "]}"
}

func rootMayAll() string {
	return `{"Sid": "EnableIAM", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}`
}

// policies are the documents of a case. What is "" is as it should be, and "-" is not given; only a bucket policy and a
// boundary are not given unless they are written.
type policies struct{ trust, permissions, more, boundary, bucket, key string }

func (p policies) documents(d Drain) []auditdrain.PolicyDocument {
	g := grantOf(d)
	var docs []auditdrain.PolicyDocument
	add := func(name string, kind auditdrain.PolicyKind, given, usual string) {
		if given == "" {
			given = usual
		}
		if given != "" && given != "-" {
			docs = append(docs, auditdrain.PolicyDocument{Name: name, Kind: kind, Document: given})
		}
	}
	add("trust.json", auditdrain.PolicyTrust, p.trust, g.TrustPolicy())
	add("permissions.json", auditdrain.PolicyPermissions, p.permissions, g.PermissionsPolicy())
	add("more.json", auditdrain.PolicyPermissions, p.more, "")
	add("boundary.json", auditdrain.PolicyBoundary, p.boundary, "")
	add("bucket.json", auditdrain.PolicyBucket, p.bucket, "")
	key := ""
	if d.KMSKeyARN != "" {
		key = statements(rootMayAll(), g.KeyPolicyStatement())
	}
	add("key.json", auditdrain.PolicyKey, p.key, key)
	return docs
}

// replaced is the usual policy of a kind with one thing changed.
func replaced(text func(iam.Grant) string, oldNew ...string) func(Drain) string {
	return func(d Drain) string {
		before := text(grantOf(d))
		after := strings.NewReplacer(oldNew...).Replace(before)
		if before == after {
			panic("nothing to replace in " + before)
		}
		return after
	}
}

func mustCheck(t *testing.T, d Drain, docs []auditdrain.PolicyDocument) auditdrain.PolicyReport {
	t.Helper()
	r, err := Check(d, docs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func stepOf(t *testing.T, r auditdrain.PolicyReport, name string) auditdrain.PolicyStep {
	t.Helper()
	i := slices.IndexFunc(r.Steps, func(s auditdrain.PolicyStep) bool { return s.Step == name })
	if i < 0 {
		t.Fatalf("there is no step %s", name)
	}
	return r.Steps[i]
}

// apply puts edits into effect.
func apply(docs []auditdrain.PolicyDocument, edits []auditdrain.PolicyEdit) []auditdrain.PolicyDocument {
	docs = slices.Clone(docs)
	for _, e := range edits {
		i := slices.IndexFunc(docs, func(d auditdrain.PolicyDocument) bool { return d.Name == e.Document })
		docs[i].Document = e.Fixed
	}
	return docs
}

func set(d Drain, s *auditdrain.DrainSetting) Drain {
	switch {
	case s == nil:
	case s.Field == "objectAcl":
		d.Delivery.ObjectACL = s.Value
	default:
		d.Delivery.ServerSideEncryption = s.Value
	}
	return d
}

func dangerous(r auditdrain.PolicyReport) []string {
	var codes []string
	for _, w := range r.Warnings {
		if w.Dangerous {
			codes = append(codes, w.Code)
		}
	}
	return codes
}

// own are what is dangerous in what is for the drain alone.
func own(r auditdrain.PolicyReport, docs []auditdrain.PolicyDocument) []string {
	var codes []string
	for _, w := range r.Warnings {
		if w.Dangerous && w.Kind != auditdrain.PolicyBucket && w.Kind != auditdrain.PolicyKey {
			codes = append(codes, w.Code)
			continue
		}
		i := slices.IndexFunc(docs, func(d auditdrain.PolicyDocument) bool { return d.Name == w.Document })
		plain, _ := plainJSON(docs[i].Document)
		p := iam.MustParse(plain).Statements[w.Index].Principal
		if w.Dangerous && slices.Equal(p.AWS, []string{roleARN}) {
			codes = append(codes, w.Code)
		}
	}
	return codes
}

// checkEdits makes sure of what is promised of edits: those of a step have it allowed, that of a warning does away with
// it, neither makes anything worse, and all fixes and settings together end in "allowed" with nothing dangerous left in what is for the drain alone.
func checkEdits(t *testing.T, d Drain, docs []auditdrain.PolicyDocument) {
	t.Helper()
	r := mustCheck(t, d, docs)
	for _, e := range r.Fixes {
		if strings.Contains(e.Summary, "line 0") {
			t.Errorf("summary %s", e.Summary)
		}
	}
	results := func(r auditdrain.PolicyReport) map[string]auditdrain.PolicyResult {
		m := map[string]auditdrain.PolicyResult{}
		for _, s := range r.Steps {
			m[s.Step] = s.Result
		}
		return m
	}
	before := results(r)
	noWorse := func(what string, after auditdrain.PolicyReport) {
		for step, result := range results(after) {
			if before[step] == auditdrain.PolicyAllowed && result != auditdrain.PolicyAllowed {
				t.Errorf("%s makes %s %s", what, step, result)
			}
		}
	}
	for _, s := range r.Steps {
		if s.Result == auditdrain.PolicyDenied && s.Edits == nil && s.Setting == nil {
			t.Errorf("%s is denied, and nothing is proposed: %s", s.Step, s.Reason)
		}
		if s.Edits != nil {
			after := mustCheck(t, d, apply(docs, s.Edits))
			if now := stepOf(t, after, s.Step); now.Result != auditdrain.PolicyAllowed && now.Setting == nil {
				t.Errorf("after its edits, %s is %s: %s\n%s", s.Step, now.Result, now.Reason, s.Edits[0].Patch)
			}
			noWorse("mending "+s.Step, after)
			if got, had := dangerous(after), dangerous(r); len(got) > len(had) {
				t.Errorf("mending %s makes %v of %v dangerous:\n%s", s.Step, got, had, s.Edits[0].Patch)
			}
		}
	}
	for _, w := range r.Warnings {
		if w.Edits == nil {
			if w.Dangerous {
				t.Errorf("nothing is proposed for %s: %s", w.Code, w.Text)
			}
			continue
		}
		after := mustCheck(t, d, apply(docs, w.Edits))
		noWorse("the edit for "+w.Code, after)
		same := func(v auditdrain.PolicyWarning) bool { return v.Code == w.Code && v.Document == w.Document }
		count := func(r auditdrain.PolicyReport) (n int) {
			for _, v := range r.Warnings {
				if same(v) {
					n++
				}
			}
			return n
		}
		if count(after) >= count(r) {
			t.Errorf("the edit for %s does not do away with it:\n%s", w.Code, w.Edits[0].Patch)
		}
	}
	for range 3 {
		docs = apply(docs, r.Fixes)
		for _, s := range r.Steps {
			d = set(d, s.Setting)
		}
		r = mustCheck(t, d, docs)
	}
	if left := own(r, docs); r.Result != auditdrain.PolicyAllowed || left != nil {
		t.Errorf("after all edits the result is %s, with %v", r.Result, left)
		for _, doc := range docs {
			t.Log(doc.Document)
		}
	}
}
