package versitygw

import (
	"context"
	"fmt"
	"sync/atomic"
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
	d := newDrain("s3://loop/audit-logs")
	g.setUp(t, d)
	g.setBucketPolicy(t, "loop", `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::loop/*"}]}`)
	l := startLoop(t, g.client(t), d)
	l.append(300)
	l.awaitFailure()
	if n := l.delivered.Load(); n > 0 {
		t.Errorf("%d events were delivered in spite of the bucket policy", n)
	}
	if _, err := g.admin.DeleteBucketPolicy(t.Context(), &awss3.DeleteBucketPolicyInput{Bucket: new("loop")}); err != nil {
		t.Fatal(err)
	}
	l.deliverer.Changed(l.drain.ID) // so that it need not wait for the next probe
	l.awaitAll()
	l.stop()
	if diff := cmp.Diff(l.want, g.objects(t, "loop")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// loop is the delivery of one drain's events, as `auditdrain serve` does it.
type loop struct {
	t         *testing.T
	store     *pebblestore.Store
	drain     auditdrain.Drain
	deliverer *deliver.Deliverer
	cancel    context.CancelFunc
	stopped   chan error
	want      map[string]string // objects, by key

	outcomes  chan error // of each PUT
	delivered atomic.Int64
	underWay  atomic.Int64
	most      atomic.Int64 // that were under way at once
}

// startLoop starts to deliver, until stop or the end of the test.
func startLoop(t *testing.T, c *s3.Client, d auditdrain.Drain) *loop {
	t.Helper()
	store, err := pebblestore.Open(t.TempDir(), pebblestore.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l := &loop{
		t:        t,
		store:    store,
		drain:    auditdrain.NewDrain(d.TeamID, "loop", d.Delivery, time.Now()),
		stopped:  make(chan error, 1),
		want:     map[string]string{},
		outcomes: make(chan error, 10_000),
	}
	if err := store.CreateTeam(t.Context(), auditdrain.Team{ID: d.TeamID, Slug: "demo", Name: "Demo", CreatedAt: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateDrain(t.Context(), l.drain, 0, nil); err != nil {
		t.Fatal(err)
	}
	l.deliverer = deliver.New(store, store, func(d auditdrain.Drain, unconditional bool) (deliver.Destination, error) {
		dest, err := c.Open(d, s3.Options{Unconditional: unconditional})
		return &observed{dest, l}, err
	}, deliver.Options{Log: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() { l.stopped <- l.deliverer.Run(ctx) }()
	t.Cleanup(func() {
		if l.cancel != nil {
			cancel()
			<-l.stopped
		}
	})
	return l
}

// append stores n more events.
func (l *loop) append(n int) {
	l.t.Helper()
	var events []auditdrain.Event
	for i := len(l.want); len(events) < n; i++ {
		e := auditdrain.Event{ID: fmt.Sprintf("uev_%03d", i), Timestamp: 1779444000123 + int64(i)*3_600_000}
		e.Body = fmt.Appendf(nil, `{"id":%q,"n":%d}`, e.ID, i)
		events = append(events, e)
		l.want[l.drain.Delivery.ObjectKey(e, false)] = string(e.Body)
	}
	if _, err := l.store.Append(l.t.Context(), []auditdrain.Batch{{TeamID: l.drain.TeamID, Events: events}}); err != nil {
		l.t.Fatal(err)
	}
	l.deliverer.Wake(l.drain.TeamID)
}

// awaitAll waits until all events have been delivered.
func (l *loop) awaitAll() {
	for l.delivered.Load() < int64(len(l.want)) {
		<-l.outcomes
	}
}

// awaitFailure waits for a PUT that fails.
func (l *loop) awaitFailure() {
	for <-l.outcomes == nil {
	}
}

// stop ends delivery, which must know of all that was delivered.
func (l *loop) stop() {
	l.t.Helper()
	l.cancel()
	l.cancel = nil
	if err := <-l.stopped; err != nil {
		l.t.Fatal(err)
	}
	state, err := l.store.DeliveryState(l.t.Context(), l.drain.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	if state.Cursor != uint64(len(l.want)) || state.FirstErrorAt != 0 {
		l.t.Errorf("state %+v", state)
	}
}

// observed tells the loop what came of each PUT.
type observed struct {
	deliver.Destination
	loop *loop
}

func (o *observed) Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error) {
	n := o.loop.underWay.Add(1)
	for most := o.loop.most.Load(); n > most && !o.loop.most.CompareAndSwap(most, n); most = o.loop.most.Load() {
	}
	put, err := o.Destination.Put(ctx, e)
	o.loop.underWay.Add(-1)
	if err == nil {
		o.loop.delivered.Add(1)
	}
	o.loop.outcomes <- err
	return put, err
}
