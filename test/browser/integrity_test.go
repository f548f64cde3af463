package browser

import (
	"fmt"
	"testing"

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

			// Nothing else of the form has changed, and it comes as it was saved.
			d, err := s.operator.GetDrain(t.Context(), acme.id, drain.ID)
			must(t, err)
			if changed := withIntegrity(drain.Delivery); d.Name != drain.Name || d.Delivery.Endpoint != changed.Endpoint || !d.Delivery.Integrity {
				t.Errorf("the drain is %+v", d)
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
