package versitygw

import (
	"context"
	"fmt"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// The delivery loop carries a team's events into the store: parked while a
// bucket policy forbids it, and then all of them, each as one object.
func TestDeliveryLoop(t *testing.T) {
	g := startGateway(t)
	c := g.client(t)
	d := newDrain("s3://loop/audit-logs")
	g.setUp(t, d)
	g.setBucketPolicy(t, "loop", `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::loop/*"}]}`)

	store, err := pebblestore.Open(t.TempDir(), pebblestore.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.CreateTeam(t.Context(), auditdrain.Team{ID: d.TeamID, Slug: "demo", Name: "Demo", CreatedAt: 1}); err != nil {
		t.Fatal(err)
	}
	d = auditdrain.NewDrain(d.TeamID, "loop", d.Delivery, time.Now())
	if err := store.CreateDrain(t.Context(), d, 0); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	var events []auditdrain.Event
	for i := range 300 {
		e := auditdrain.Event{ID: fmt.Sprintf("uev_%03d", i), Timestamp: 1779444000123 + int64(i)*3_600_000}
		e.Body = fmt.Appendf(nil, `{"id":%q,"n":%d}`, e.ID, i)
		events = append(events, e)
		want[d.Delivery.ObjectKey(e, false)] = string(e.Body)
	}
	if _, err := store.Append(t.Context(), []auditdrain.Batch{{TeamID: d.TeamID, Events: events}}); err != nil {
		t.Fatal(err)
	}

	outcomes := make(chan error, 10_000)
	deliverer := deliver.New(store, store, func(d auditdrain.Drain, unconditional bool) (deliver.Destination, error) {
		dest, err := c.Open(d, s3.Options{Unconditional: unconditional})
		return &observed{dest, outcomes}, err
	}, deliver.Options{Log: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- deliverer.Run(ctx) }()

	if err := <-outcomes; err == nil {
		t.Error("an event was delivered in spite of the bucket policy")
	}
	if _, err := g.admin.DeleteBucketPolicy(t.Context(), &awss3.DeleteBucketPolicyInput{Bucket: new("loop")}); err != nil {
		t.Fatal(err)
	}
	deliverer.Changed(d.ID) // so that it need not wait for the next probe
	for delivered := 0; delivered < len(events); {
		if err := <-outcomes; err == nil {
			delivered++
		}
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	state, err := store.DeliveryState(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if state.Cursor != uint64(len(events)) || state.FirstErrorAt != 0 {
		t.Errorf("state %+v", state)
	}
	if diff := cmp.Diff(want, g.objects(t, "loop")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// observed tells what came of each Put.
type observed struct {
	deliver.Destination
	outcomes chan<- error
}

func (o *observed) Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error) {
	put, err := o.Destination.Put(ctx, e)
	o.outcomes <- err
	return put, err
}
