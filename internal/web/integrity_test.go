package web_test

import (
	"html"
	"log/slog"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/signing"
)

const integrityCard = `<h2 id="account-title">Integrity</h2>`

// The form switches manifests on and off, and the page of the drain tells how far
// they are.
func TestIntegrity(t *testing.T) {
	s := newSite(t)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	b.get("/drains/new").want(t, 200, `type="checkbox" name="integrity" value="yes" aria-describedby`)
	p := b.post("/drains/new", typed("test", "integrity", "yes"))
	p.want(t, 200, `type="checkbox" name="integrity" value="yes" checked`)
	checkPage(t, p)
	b.post("/drains/new", typed("create", "integrity", "yes"))
	list, err := s.operator.ListDrains(t.Context(), "team_1")
	s.must(err)
	d := list[0]
	path := "/drains/" + d.ID
	p = b.get(path)
	p.want(t, 200, integrityCard, "none yet", "/manifest/"+d.ID+"/", `<a href="/.well-known/jwks.json">`,
		html.EscapeString("auditdrain verify s3://"+formBucket+"/audit/acme --key "+s.url+"/.well-known/jwks.json --drain "+d.ID))
	checkPage(t, p)

	const hour, head = 60 * 60 * 1000, "abcdef0123456789"
	for _, req := range []auditdrain.SealRequest{
		{At: 500_000 * hour, As: &auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: d.Delivery}}, KeyID: "key_1"},
		{At: 500_001 * hour, Cause: auditdrain.SealHour},
		{At: 500_002 * hour, Cause: auditdrain.SealHour},
	} {
		_, err := s.store.Seal(t.Context(), d.ID, req)
		s.must(err)
	}
	s.must(s.store.SealWritten(t.Context(), d.ID, 1, head, 500_001*hour+5000))
	s.must(s.store.SealFailed(t.Context(), d.ID, "S3 did not let us <b>.", 500_002*hour+6000))
	s.must(s.store.SealAnchored(t.Context(), d.ID, 1))
	p = b.get(path)
	p.want(t, 200, "number 1, written at", "2027-01-15 09:00:05 UTC", "2027-01-15 09:00:00 UTC", "1 manifest<", head, "key_1", "up to number 1",
		"2027-01-15 10:00:06 UTC", "S3 did not let us &lt;b&gt;.")
	checkPage(t, p)
	if live := b.open(path + "/live").first()["account"]; !strings.Contains(live, head) || !strings.Contains(p.body, live) {
		t.Errorf("live: %s", live)
	}
	// Who may only look sees the same.
	s.logIn(s.token(auditdrain.RoleViewer, "team_1")).get(path).want(t, 200, integrityCard, head)

	b.post(path+"/pause", nil)
	b.get(path).want(t, 200, "The drain is paused, and so are its manifests")
	b.get(path+"/edit").want(t, 200, `name="integrity" value="yes" checked`)
	b.post(path+"/edit", typed("create"))
	b.get(path).want(t, 200, "Manifests are switched off", head)
	b.get(path+"/edit").want(t, 200, `name="integrity" value="yes" aria-describedby`)
	if p := b.get("/drains/" + s.drain("team_1", "Never").ID); strings.Contains(p.body, integrityCard) {
		t.Error("a drain that never had manifests has the card")
	}
}

func TestIntegrityWithoutKey(t *testing.T) {
	s := newSite(t, func(c *api.Config) {
		c.SigningKeys = signing.New(signing.Options{Log: slog.New(slog.DiscardHandler)})
	})
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	p := b.post("/drains/new", typed("create", "integrity", "yes"))
	p.want(t, 400, "One field needs another look", "--key-file or --kms-key", `id="here" type="checkbox" name="integrity" value="yes" checked aria-describedby="h-integrity e-integrity" aria-invalid="true"`)
	checkPage(t, p)
}
