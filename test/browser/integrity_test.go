package browser

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// Manifests are switched on in the form, and the drain's page says how to verify
// them.
func TestIntegrity(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("script=%t", script), func(t *testing.T) {
			s := newService(t)
			acme := s.newTeam("Acme")
			drain := acme.drain("Archive", delivery("acme-archive"))
			b := s.newBrowser(t)
			if !script {
				b.withoutScript()
			}
			b.logIn(acme.token(auditdrain.RoleOwner).Value)
			b.open("/drains/" + drain.ID)
			b.see("Integrity no manifests")
			b.submit("link", "Edit")
			b.click("checkbox", "Write a signed manifest every hour")
			b.checkA11y()
			b.submit("button", "Save")
			b.see("The drain was changed.", "Every hour, a signed manifest lists what was written", "Integrity a signed manifest every hour")
			b.checkA11y()
			want := "auditdrain verify s3://acme-archive/audit-logs --key " + s.url + "/.well-known/jwks.json --drain " + drain.ID
			if got := b.document("Command that verifies"); got != want {
				t.Errorf("to verify: %q, want %q", got, want)
			}
			b.size(360, 800)
			b.checkWidth()
			b.size(1280, 900)

			// With the first manifest, what the page says proves that nothing is missing.
			acme.send("uev", 3)
			eventually(t, "all is delivered", func() bool { return len(s.aws.keys("acme-archive")) == 3 })
			b.submit("button", "Pause")
			b.see("The drain is paused, and so are its manifests.")
			eventually(t, "the page shows the first manifest", func() bool {
				if !script {
					b.open("/drains/" + drain.ID)
				}
				return b.shows("Last manifest number 1, written at")
			})
			bucket := filepath.Join(s.aws.dir, "acme-archive")
			verify := strings.Fields(strings.Replace(want, "s3://acme-archive", bucket, 1))
			out, err := exec.CommandContext(t.Context(), binary, verify[1:]...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "VERIFIED: nothing is missing") {
				t.Errorf("%q: %v\n%s", verify, err, out)
			}

			// Nothing else of the form has changed, and it comes as it was saved.
			d, err := s.operator.GetDrain(t.Context(), acme.id, drain.ID)
			must(t, err)
			changed := drain.Delivery
			changed.Integrity = true
			if diff := cmp.Diff(changed, d.Delivery); diff != "" || d.Name != drain.Name {
				t.Errorf("drain %q (-want +got):\n%s", d.Name, diff)
			}
			b.submit("link", "Edit")
			b.click("checkbox", "Write a signed manifest every hour")
			b.submit("button", "Save")
			b.see("The drain was changed.", "Integrity no manifests")
			b.submit("link", "Activity")
			b.see("delivery.integrity")
		})
	}
}
