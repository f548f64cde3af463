package pgstore

import (
	"context"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
)

// dutyRetry is the pause after a duty that has failed for the database's sake.
const dutyRetry = time.Second

// duty is whether a node is the one that does what is to be done once for all.
type duty struct {
	mu      sync.Mutex
	on      bool
	changed chan struct{} // closed and replaced by every change
}

func newDuty() *duty { return &duty{changed: make(chan struct{})} }

func (d *duty) set(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on != on {
		d.on = on
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

func (d *duty) state() (on bool, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.on, d.changed
}

// await waits until the node is on duty, or is not, and reports false if ctx
// ends before.
func (d *duty) await(ctx context.Context, want bool) bool {
	for {
		on, changed := d.state()
		if on == want {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// OnDuty runs f, which ends with its context, for as long as the node is the one
// of all that is to do such things, again each time that it becomes so, until ctx
// ends. It is the node that has been there for longest, so that duty does not
// move without need. Two nodes may be on duty for a while when one of them cannot
// reach the database: f must be harmless then. An error of f ends it, but for
// CodeUnavailable, after which f is run again.
func (n *Node) OnDuty(ctx context.Context, f func(context.Context) error) error {
	for n.duty.await(ctx, true) {
		if err := n.serve(ctx, f); err == nil || ctx.Err() != nil {
			continue
		} else if auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
			return err
		}
		retry := time.NewTimer(dutyRetry)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
		}
	}
	return nil
}

// serve runs f until it or the node's duty ends.
func (n *Node) serve(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		n.duty.await(ctx, false)
		cancel()
	})
	return f(ctx)
}
