package pgstore

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestDuty is had by one node, for as long as it lives.
func TestDuty(t *testing.T) {
	p := newPlace(t)
	var crews []*crew
	for range 3 {
		c := member(t, p, time.Hour)
		c.beat()
		crews = append(crews, c)
		sql(t, c.node.store, `UPDATE nodes SET joined = joined - 1000`) // they come one after the other
	}
	for i, c := range crews {
		for _, other := range crews[i:] {
			other.beat()
			if on, _ := other.node.duty.state(); on != (other == c) {
				t.Errorf("with %d nodes gone, node %s is on duty: %v", i, other.node.id, on)
			}
		}
		must(t, c.node.leave(t.Context()))
	}
}

// TestOnDuty has what is to be done run while the node is on duty, and again
// after a failure of the database.
func TestOnDuty(t *testing.T) {
	p := newPlace(t)
	a := member(t, p, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	began, ended := make(chan error), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		err := a.node.OnDuty(ctx, func(ctx context.Context) error {
			if err := <-began; err != nil {
				return err
			}
			<-ctx.Done()
			ended <- struct{}{}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	a.beat()
	began <- errDown
	began <- nil
	a.node.expire(a, time.Now().Add(time.Hour))
	<-ended
	a.beat()
	began <- nil
	cancel()
	<-ended
	running.Wait()
}
