package wire

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool counts the connections of each host and keeps those that are idle. A
// host without connections takes no memory, an idle connection no goroutine.
type pool struct {
	options Options

	mu    sync.Mutex
	hosts map[Host]*hostPool
	idle  int
	// ring begins and ends the ring of all idle connections. The next one has
	// been idle for the longest.
	ring    conn
	timer   *time.Timer // calls expire, if ticking; nil before the first
	ticking bool
}

// hostPool are one host's connections.
type hostPool struct {
	open    int     // in use, being made, or idle
	idle    []*conn // the last one was used last, and is the next to be used
	waiting []*waiter
}

// waiter waits for a connection, or for leave to make one: nil.
type waiter struct{ ready chan *conn }

func newPool(o Options) *pool {
	p := &pool{options: o, hosts: map[Host]*hostPool{}}
	p.ring.next, p.ring.prev = &p.ring, &p.ring
	return p
}

// get returns an idle connection to h, the one that was used last, or nil and
// leave to make one. Either must come back by put or release. If all are in
// use that there may be, it waits, first come, first served.
func (p *pool) get(ctx context.Context, h Host) (*conn, error) {
	p.mu.Lock()
	host := p.hosts[h]
	if host == nil {
		host = &hostPool{}
		p.hosts[h] = host
	}
	if n := len(host.idle); n > 0 {
		c := host.idle[n-1]
		p.remove(host, n-1)
		p.mu.Unlock()
		return c, nil
	}
	if host.open < p.options.MaxPerHost {
		host.open++
		p.mu.Unlock()
		return nil, nil
	}
	w := &waiter{ready: make(chan *conn, 1)}
	host.waiting = append(host.waiting, w)
	p.mu.Unlock()

	select {
	case c := <-w.ready:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(host.waiting, w); i >= 0 {
		host.waiting = slices.Delete(host.waiting, i, i+1)
		p.mu.Unlock()
		return nil, ctx.Err()
	}
	p.mu.Unlock()
	// It was our turn at the same moment: the next one's now.
	if c := <-w.ready; c != nil {
		p.put(c)
	} else {
		p.release(h)
	}
	return nil, ctx.Err()
}

// put takes back a connection that can be used again.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	host := p.hosts[c.host]
	if host.serve(c) {
		p.mu.Unlock()
		return
	}
	var surplus *conn
	switch {
	case len(host.idle) >= p.options.MaxIdlePerHost:
		surplus = c
		p.closed(c.host, host)
	default:
		p.add(host, c)
		if p.idle > p.options.MaxIdle {
			surplus = p.ring.next
			p.forget(surplus)
		}
	}
	p.mu.Unlock()
	if surplus != nil {
		surplus.close()
	}
}

// release says that a connection to h that get has given, or given leave for,
// is no more.
func (p *pool) release(h Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	host := p.hosts[h]
	if !host.serve(nil) {
		p.closed(h, host)
	}
}

// serve gives c, or leave for another one in its place, to the first who
// waits. It returns false if nobody does.
func (host *hostPool) serve(c *conn) bool {
	if len(host.waiting) == 0 {
		return false
	}
	host.waiting[0].ready <- c
	host.waiting = slices.Delete(host.waiting, 0, 1)
	return true
}

// closed counts a connection less. p.mu is held.
func (p *pool) closed(h Host, host *hostPool) {
	host.open--
	if host.open == 0 {
		delete(p.hosts, h)
	}
}

// add keeps c. p.mu is held.
func (p *pool) add(host *hostPool, c *conn) {
	c.since = time.Now()
	host.idle = append(host.idle, c)
	p.idle++
	c.next, c.prev = &p.ring, p.ring.prev
	c.prev.next, p.ring.prev = c, c
	if !p.ticking {
		p.tick(p.options.IdleTimeout)
	}
}

// remove takes out the i-th idle connection of a host. p.mu is held.
func (p *pool) remove(host *hostPool, i int) {
	c := host.idle[i]
	host.idle = slices.Delete(host.idle, i, i+1)
	p.idle--
	c.prev.next, c.next.prev = c.next, c.prev
	c.next, c.prev = nil, nil
}

// forget takes out an idle connection that is to be closed. p.mu is held.
func (p *pool) forget(c *conn) {
	host := p.hosts[c.host]
	p.remove(host, slices.Index(host.idle, c))
	p.closed(c.host, host)
}

// tick has expire called after d. p.mu is held.
func (p *pool) tick(d time.Duration) {
	p.ticking = true
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.expire)
	} else {
		p.timer.Reset(d)
	}
}

// expire closes the connections that have been idle for too long.
func (p *pool) expire() {
	now := time.Now()
	p.mu.Lock()
	p.ticking = false
	var old []*conn
	for c := p.ring.next; c != &p.ring; c = p.ring.next {
		if left := p.options.IdleTimeout - now.Sub(c.since); left > 0 {
			p.tick(left)
			break
		}
		p.forget(c)
		old = append(old, c)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	if p.ticking {
		p.timer.Stop()
		p.ticking = false
	}
	var all []*conn
	for c := p.ring.next; c != &p.ring; c = p.ring.next {
		p.forget(c)
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}
