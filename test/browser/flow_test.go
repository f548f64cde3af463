package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// document is the text that a page offers to copy under a label. With script,
// it is copied.
func (b *browser) document(label string) string {
	b.t.Helper()
	text := eval[string](b, fmt.Sprintf(`document.querySelector("pre[aria-label=" + %s + "]").textContent`, quoted(quoted(label))))
	if !b.script {
		return text
	}
	_, err := chromedp.CallBrowser(b.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: "clipboard-read"}, Setting: cdpbrowser.PermissionSettingGranted,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	must(b.t, err)
	b.click("button", "Copy "+label)
	b.find("button", "Copied "+label)
	if copied := eval[string](b, `navigator.clipboard.readText()`); copied != text {
		b.t.Errorf("%q was copied, want %q", copied, text)
	}
	return text
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can be written as JSON
	}
	return string(text)
}

// From the link that a platform gives to an object in the bucket, with nothing
// but what is on the pages.
func TestFlow(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("script=%t", script), func(t *testing.T) {
			s := newService(t)
			acme := s.newTeam("Acme")
			b := s.newBrowser(t)
			if !script {
				b.withoutScript()
			}
			b.open(acme.portalLink(auditdrain.PortalLinkInput{UserName: "Ada Lovelace"}))
			b.submit("button", "Continue")
			b.see("You have no drain yet.", "What it takes")
			b.checkA11y()
			b.submit("link", "Create your first drain")
			b.checkA11y()

			// Where to.
			b.fill("Name", "Archive")
			b.fill("Bucket", "acme-audit-archive")
			b.fill("Prefix", "audit-logs")
			b.fill("Region", "eu-west-1")
			b.submit("button", "Continue to the role")
			b.see(writerARN, "vercel-team:"+acme.id)
			b.checkA11y()

			// The customer does in AWS what the page says.
			trust, permissions := b.document("Trust policy"), b.document("Permissions policy")
			const role = "arn:aws:iam::" + customer + ":role/audit-log-drain"
			must(t,
				s.aws.AddBucket(awssim.Bucket{Name: "acme-audit-archive", Account: customer, Region: "eu-west-1"}),
				s.aws.AddRole(awssim.Role{ARN: role, Trust: iam.MustParse(trust), Identity: []*iam.Policy{iam.MustParse(permissions)}}),
			)
			b.fill("ARN of your role", role)

			// Does it work?
			b.submit("button", "Test")
			b.see("The test passed.", "STS AssumeRole", "S3 PutObject", "Without an external ID refused, as it must be", "With another external ID refused, as it must be")
			keys := s.aws.keys("acme-audit-archive")
			if len(keys) != 1 {
				t.Fatalf("objects %q, want that of the test", keys)
			}
			b.see(keys[0])
			b.checkA11y()
			for label, want := range map[string]string{"Name": "Archive", "Bucket": "acme-audit-archive", "Prefix": "audit-logs", "Region": "eu-west-1", "ARN of your role": role} {
				if got := b.value(label); got != want {
					t.Errorf("after the test %s is %q, want %q as it was typed", label, got, want)
				}
			}
			b.submit("button", "Create the drain")
			b.see("The drain was created.", "Archive", "Delivering", "nothing waits")

			// An event, and there it is.
			event := `{"id":"uev_first","action":"member.invited","timestamp":1779444000123,"actor":{"id":"usr_1","type":"user","name":"Ada"}}`
			producer := s.client(acme.token(auditdrain.RoleProducer).Value)
			_, err := producer.SendEvents(t.Context(), "", []byte(event+"\n"))
			must(t, err)
			const key = "audit-logs/schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T100000.123Z_uev_first.json"
			eventually(t, "the object is there", func() bool { return len(s.aws.keys("acme-audit-archive")) == 2 })
			object, err := os.ReadFile(filepath.Join(s.aws.dir, "acme-audit-archive", key))
			must(t, err)
			var got, want map[string]any
			must(t, json.Unmarshal(object, &got), json.Unmarshal([]byte(event), &want))
			for name := range got {
				if _, ok := want[name]; !ok {
					delete(got, name) // what the service has filled in
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the object differs (-want +got):\n%s", diff)
			}
			if script {
				b.see("Delivered 1 event") // by itself
			} else {
				eventually(t, "the page knows", func() bool {
					b.submit("link", "Drains")
					b.submit("link", "Archive")
					return strings.Contains(eval[string](b, visible), "Delivered 1 event")
				})
			}
		})
	}
}

// A file that is offered is the text that is shown.
func TestDownloads(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	b := acme.owner(t)
	b.open("/drains/new")
	b.fill("Bucket", "acme-audit-archive")
	b.fill("Region", "eu-west-1")
	b.fill("KMS key ARN", "arn:aws:kms:eu-west-1:"+customer+":key/1234abcd-12ab-34cd-56ef-1234567890ab")
	b.submit("button", "Bring what follows up to date")
	cookie := b.cookie()
	for _, kind := range []struct{ tab, label string }{
		{"AWS console", "Trust policy"}, {"AWS console", "Permissions policy"}, {"AWS console", "Statement for the key policy"},
		{"CloudFormation", "CloudFormation template"}, {"Terraform", "Terraform"}, {"AWS CLI", "Script for the AWS CLI"},
	} {
		b.click("radio", kind.tab)
		link := b.find("link", "Download "+kind.label)
		href := eval[string](b, fmt.Sprintf(`[...document.links].find(a => a.textContent.replace(/\s+/g, " ") === %s).href`, quoted(link.name)))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, href, nil)
		must(t, err)
		request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		answer, err := s.http.Do(request)
		must(t, err)
		file, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		must(t, err)
		if shown := b.document(kind.label); string(file) != shown || !strings.HasPrefix(answer.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s is downloaded as %v\n%s\nbut shown as\n%s", kind.label, answer.Header, file, shown)
		}
		b.checkA11y()
	}
}

// What is wrong is said at the field, and what was typed stays.
func TestFormProblems(t *testing.T) {
	s := newService(t)
	b := s.newTeam("Acme").owner(t)
	b.watch.allow(http.StatusBadRequest)
	b.open("/drains/new")
	b.submit("button", "Create the drain")
	b.see("Give the drain a name.", "Enter the name of the bucket.", "Enter the region that the bucket is in", "Enter the ARN of the role.")
	b.checkA11y()
	typed := map[string]string{
		"Name": "Archive", "Bucket": "Not A Bucket", "Prefix": "audit-logs", "Region": "eu-west-9", "ARN of your role": "arn:aws:iam::1:user/me",
	}
	for label, value := range typed {
		b.fill(label, value)
	}
	b.click("radio", "NDJSON")
	b.submit("button", "Create the drain")
	for label, value := range typed {
		e := b.field(label)
		if e.value != value {
			t.Errorf("%s is %q, want %q as it was typed", label, e.value, value)
		}
		wrong := label == "Bucket" || label == "Region" || label == "ARN of your role"
		if said := strings.Contains(e.description, "not"); said != wrong {
			t.Errorf("%s is described as %q", label, e.description)
		}
	}
	if got := eval[string](b, `document.querySelector("[name=encoding]:checked").value`); got != "ndjson" {
		t.Errorf("the encoding is %q, want what was chosen", got)
	}
	b.submit("link", "Drains")
	b.see("You have no drain yet.")
}

// Policies that somebody has are explained on the page that asks for them.
func TestPastedPolicies(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	b := acme.owner(t)
	b.open("/drains/new")
	b.fill("Bucket", "acme-audit-archive")
	b.fill("Region", "eu-west-1")
	b.fill("ARN of your role", "arn:aws:iam::"+customer+":role/drain")
	b.click("DisclosureTriangle", "Check policies that you have")
	b.fill("Trust policy of the role", document(trusts(writerARN, acme.id)))
	b.fill("Permissions policy of the role", document(allows("s3:PutObject", "arn:aws:s3:::acme-audit-archive/*")))
	b.submit("button", "Check these policies")
	b.see("With these policies, the drain could not deliver.", "What to change", `"vercel-team:`+acme.id+`"`)
	b.checkA11y()
	b.fill("Trust policy of the role", document(trusts(writerARN, "vercel-team:"+acme.id)))
	b.submit("button", "Check these policies")
	b.see("These policies allow all that the drain does.")
	b.checkA11y()
}
