package diagnose_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// Whoever does what the first-named cause says, and then what is said next,
// ends with a delivery that works.
func TestChangesMend(t *testing.T) {
	mended := 0
	for _, b := range breakages {
		if b.shared {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			endpoint := prefix
			if b.root {
				endpoint = ""
			}
			w := newWorld(t, b.kms, endpoint)
			if b.broken(w); w.faulty {
				return
			}
			for step := 1; ; step++ {
				result := w.test(t)
				if result.Status == "" {
					mended++
					return
				}
				if step > 4 {
					t.Fatalf("still refused after %d steps: %s", step-1, result.Error)
				}
				if len(result.Diagnosis.Causes) == 0 || !w.apply(t, result.Diagnosis.Causes[0].Change) {
					if step > 1 {
						t.Errorf("half mended: %s", result.Error)
					}
					return // it takes a person
				}
			}
		})
	}
	if mended < 35 {
		t.Errorf("%d breakages are mended by what is said to be changed, want at least 35", mended)
	}
}

// apply makes a change, and reports false if a program cannot.
func (w *world) apply(t *testing.T, c *auditdrain.Change) bool {
	t.Helper()
	switch {
	case c == nil:
		return false
	case c.Condition != "":
		w.applyCondition(t, *c)
		return true
	case c.Statement != "":
		return w.applyStatement(t, *c)
	case c.Field != "" && (c.Unset || c.Value != ""):
		field := map[string]*string{
			"delivery.region":               &w.drain.Delivery.Region,
			"delivery.serverSideEncryption": &w.drain.Delivery.ServerSideEncryption,
			"delivery.objectAcl":            &w.drain.Delivery.ObjectACL,
		}[c.Field]
		if field == nil {
			t.Fatalf("no field %s", c.Field)
		}
		*field = c.Value
		if problems := w.drain.Delivery.Validate(s3.PartitionOf); problems != nil {
			t.Fatalf("%s = %q is not valid: %+v", c.Field, c.Value, problems)
		}
		return true
	}
	return false
}

func (w *world) applyStatement(t *testing.T, c auditdrain.Change) bool {
	t.Helper()
	p := policy(c.Statement)
	added := func(to *iam.Policy) *iam.Policy {
		return &iam.Policy{Version: to.Version, Statements: append(slices.Clip(to.Statements), p.Statements...)}
	}
	writer := false
	switch where := c.Where; {
	case where == "trust policy of "+roleARN:
		role(func(r *awssim.Role) { r.Trust = p })(w)
	case where == "permissions policy of "+roleARN:
		role(func(r *awssim.Role) { r.Identity = append(slices.Clip(r.Identity), p) })(w)
	case where == "permissions boundary of "+roleARN:
		role(func(r *awssim.Role) { r.Boundary = added(r.Boundary) })(w)
	case where == "identity-based policy of our writer role "+writerARN:
		w.UpdateRole(writerARN, func(r *awssim.Role) { r.Identity, writer = []*iam.Policy{p}, true })
	case where == "permissions boundary of our writer role "+writerARN:
		w.UpdateRole(writerARN, func(r *awssim.Role) { r.Boundary, writer = added(r.Boundary), true })
	case where == "service control policy of the organization":
		account(customer, func(a *awssim.Account) { a.SCP = append(slices.Clip(a.SCP), p) })(w)
	case strings.HasPrefix(where, "policy of key arn:"):
		if !w.UpdateKey(strings.TrimPrefix(where, "policy of key "), func(k *awssim.Key) { k.Policy = added(k.Policy) }) {
			return false // AWS alone has it
		}
	default:
		return false
	}
	if v := p.Evaluate(iam.Request{
		Principal: iam.Principal{ARN: "arn:aws:sts::977805900156:assumed-role/x/y", RoleARN: writerARN, Account: platform},
		Action:    "sts:AssumeRole", Resource: "arn:aws:iam::977805900156:role/internal",
	}, iam.IdentityBased); writer && v.Effect == iam.Allow {
		t.Error("the writer could assume roles of the platform itself")
	}
	return true
}

// applyCondition adds the condition to every Deny statement of the documents
// that are meant.
func (w *world) applyCondition(t *testing.T, c auditdrain.Change) {
	t.Helper()
	var conditions map[string]map[string]string
	if err := json.Unmarshal([]byte("{"+c.Condition+"}"), &conditions); err != nil {
		t.Fatalf("%s: %v", c.Condition, err)
	}
	except := func(p *iam.Policy) *iam.Policy {
		if p == nil {
			return nil
		}
		changed := &iam.Policy{Version: p.Version, Statements: slices.Clone(p.Statements)}
		for i := range changed.Statements {
			s := &changed.Statements[i]
			for operator, keys := range conditions {
				for key, value := range keys {
					if s.Effect == iam.Deny {
						s.Condition = append(slices.Clip(s.Condition), iam.Condition{Operator: operator, Key: key, Values: []string{value}})
					}
				}
			}
		}
		return changed
	}
	all := func(ps []*iam.Policy) (out []*iam.Policy) {
		for _, p := range ps {
			out = append(out, except(p))
		}
		return out
	}
	const deny = "the Deny statement in the "
	switch where := strings.TrimPrefix(c.Where, deny); {
	case where == c.Where:
		t.Fatalf("a condition for %s", c.Where)
	case where == "trust policy of "+roleARN:
		role(func(r *awssim.Role) { r.Trust = except(r.Trust) })(w)
	case where == "permissions policies of "+roleARN:
		role(func(r *awssim.Role) { r.Identity = all(r.Identity) })(w)
	case where == "permissions boundary of "+roleARN:
		role(func(r *awssim.Role) { r.Boundary = except(r.Boundary) })(w)
	case where == "policy of bucket "+bucket:
		inBucket(func(b *awssim.Bucket) { b.Policy = except(b.Policy) })(w)
	case strings.HasPrefix(where, "policy of key arn:"):
		w.UpdateKey(strings.TrimPrefix(where, "policy of key "), func(k *awssim.Key) { k.Policy = except(k.Policy) })
	case where == "service control policy":
		account(customer, func(a *awssim.Account) { a.SCP = all(a.SCP) })(w)
	case where == "resource control policy":
		account(customer, func(a *awssim.Account) { a.RCP = all(a.RCP) })(w)
	default:
		t.Fatalf("where is %s?", c.Where)
	}
}

// All that people are told of every breakage, to be read as they would.
func TestTexts(t *testing.T) {
	var texts strings.Builder
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			endpoint := prefix
			if b.root {
				endpoint = ""
			}
			w := newWorld(t, b.kms, endpoint)
			b.broken(w)
			writeText(&texts, b.name, w, w.test(t))
		})
	}
	if !t.Failed() {
		golden(t, "breakages.txt", texts.String())
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (go test -update writes it anew):\n%s", path, diff)
	}
}

var timesRE = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// writeText writes down everything that people are told, less what differs
// with every run.
func writeText(out *strings.Builder, name string, w *world, result auditdrain.DrainTestResult) {
	d := *result.Diagnosis
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n%s\n", name, d.Summary)
	for _, c := range d.Causes {
		certain := ""
		if c.Confirmed {
			certain = ", certain"
		}
		fmt.Fprintf(&b, "- %s (%s%s): %s\n  %s\n", c.Code, c.Who, certain, c.Text, c.Fix)
		if ch := c.Change; ch != nil {
			fmt.Fprintf(&b, "  > %s\n", ch.Where)
			for _, text := range []string{ch.Statement, ch.Condition, strings.TrimSpace(ch.Field + " " + ch.Value)} {
				for line := range strings.Lines(text) {
					fmt.Fprintf(&b, "    %s\n", strings.TrimRight(line, "\n"))
				}
			}
			if ch.Unset {
				b.WriteString("    left out\n")
			}
		}
	}
	if l := d.CloudTrail; l != nil {
		fmt.Fprintf(&b, "CloudTrail: %s %s, account %s, region %s, %d s before and %d s after, id %q. %s\n", l.EventSource, l.EventName, l.Account, l.Region,
			(result.AWS.Time-l.From)/1000, (l.To-result.AWS.Time)/1000, l.RequestID, l.Note)
		if l.Command != "" {
			fmt.Fprintf(&b, "  %s\n", timesRE.ReplaceAllString(l.Command, "TIME"))
		}
	}
	fmt.Fprintf(&b, "%s\n", d.Docs)
	text := strings.ReplaceAll(b.String(), w.drain.ID, "drn_1")
	if id := d.RequestID; id != "" {
		text = strings.ReplaceAll(text, id, "REQUEST-ID")
	}
	out.WriteString(text + "\n")
}
