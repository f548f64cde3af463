package web_test

import (
	"context"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// delivering has events delivered, to the AWS of an onAWS that comes before.
func delivering(t *testing.T) func(*api.Config) {
	return func(c *api.Config) {
		store, client := c.Drains.(*pebblestore.Store), c.Writer.(*s3.Client)
		explainer := diagnose.Explainer{Namespace: c.Namespace, WriterARN: client.KnownWriterARN}
		open := func(d auditdrain.Drain, unconditional bool) (deliver.Destination, error) {
			return client.Open(d, s3.Options{Unconditional: unconditional})
		}
		deliverer := deliver.New(store, store, open, deliver.Options{Explain: explainer.Explain, Log: c.Log})
		committer := ingest.NewCommitter(store, deliverer.Wake, c.Log)
		c.Deliverer, c.Events = deliverer, committer
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		for _, run := range []func(context.Context) error{deliverer.Run, committer.Run} {
			go func() { done <- run(ctx) }()
		}
		t.Cleanup(func() {
			cancel()
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The whole of a drain's trouble as its page shows it, on a simulated AWS: it
// delivers, is refused, is tested, and goes on when the role is mended.
func TestDrainInAndOutOfTrouble(t *testing.T) {
	grant := formGrant()
	sim, onIt := onAWS(t, grant.TrustPolicy(), grant.PermissionsPolicy())
	s := newSite(t, onIt, delivering(t))
	d, err := s.operator.CreateDrain(t.Context(), "team_1", auditdrain.DrainInput{
		Name: "Archive", Schemas: auditdrain.AuditLogSchemas(),
		Delivery: &auditdrain.Delivery{Type: "s3", Endpoint: "s3://" + formBucket + "/audit/acme", Encoding: "json", Region: "eu-west-1", RoleARN: formRole},
	})
	s.must(err)
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	at := "/drains/" + d.ID
	stream := b.open(at + "/live")
	s.send("team_1", 3)
	stream.until("progress", "<dd>3 events</dd>")
	b.get(at).want(t, 200, "nothing waits", "There were none.")
	b.post(at+"/test", nil).want(t, 200, "The test passed.", "audit/acme/test/schema=audit_log/")

	permissions := func(policy string) {
		sim.UpdateRole(formRole, func(r *awssim.Role) { r.Identity = []*iam.Policy{iam.MustParse(policy)} })
	}
	permissions(strings.ReplaceAll(grant.PermissionsPolicy(), "audit/acme", "elsewhere"))
	s.send("team_1", 5) // two of them are new
	stream.until("sentence", "In trouble since")
	p := b.get(at)
	p.want(t, 200, "2 events wait, the oldest since", "nothing is lost", "s3:PutObject", "this statement should be there", "403 <code>AccessDenied</code>", `<code id="request-1">`, "administrator of the role")
	b.get("/drains").want(t, 200, `In trouble <span class="muted">1</span>`, `<span class="cause">`)
	p = b.post(at+"/test", nil)
	p.want(t, 200, "The test failed.", "s3:PutObject", "The complete answer of AWS", "Copy for support", "In trouble since")
	checkPage(t, p)

	permissions(grant.PermissionsPolicy())
	b.post(at+"/pause", nil)
	b.post(at+"/resume", nil) // does not wait for the next try
	stream.until("progress", "<dd>5 events</dd>")
	b.get(at).want(t, 200, `<span class="badge enabled">Delivering</span>`, "nothing waits")
	objects, err := sim.Objects(formBucket)
	s.must(err)
	delivered := 0
	for _, o := range objects {
		if strings.Contains(o.Key, "/year=2026/month=05/day=22/") {
			delivered++
		}
	}
	if delivered != 5 {
		t.Errorf("%d events are in the bucket, want 5", delivered)
	}
}
