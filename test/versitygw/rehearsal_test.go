package versitygw

import (
	"errors"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// A rehearsal finds out what may be written, and writes nothing: this store,
// too, looks at permissions before it looks at the body.
func TestRehearsal(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://rehearsal/audit-logs")
	g.addBucket(t, "rehearsal")
	g.sts.addRole(t, d.Delivery.RoleARN, trust(d), iam.GrantFor(d.Delivery).PermissionsPolicy())
	rehearse, err := c.Rehearse(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := rehearse(t.Context(), d.Delivery, d.Delivery.ObjectKey(event(eventBody), true)); err != nil {
		t.Errorf("permitted, and yet: %v", err)
	}
	err = rehearse(t.Context(), d.Delivery, eventKey) // not under the prefix
	if e, ok := errors.AsType[*s3.Error](err); !ok || e.AWSAnswer().HTTPStatus != 403 || e.Class() != auditdrain.Blocked {
		t.Errorf("not permitted, and yet: %v", err)
	}
	if objects := g.objects(t, "rehearsal"); len(objects) != 0 {
		t.Errorf("objects %v", objects)
	}
}
