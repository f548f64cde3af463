package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pooled is a pool of connections that are nothing but counted.
type pooled struct {
	*pool
	t *testing.T
}

func newPooled(t *testing.T) pooled { return pooled{newPool(testOptions), t} }

// open gets a connection, and makes one if there is none.
func (p pooled) open(h Host) *conn {
	p.t.Helper()
	c, err := p.get(p.t.Context(), h)
	if err != nil {
		p.t.Fatal(err)
	}
	if c == nil {
		c = newConn(socket{}, &countedConn{}, h)
	}
	return c
}

func (p pooled) want(hosts, idle int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	ring, listed := 0, 0
	for c := p.ring.next; c != &p.ring; c = c.next {
		ring++
	}
	for _, h := range p.hosts {
		listed += len(h.idle)
	}
	if len(p.hosts) != hosts || p.pool.idle != idle || ring != idle || listed != idle {
		p.t.Errorf("%d hosts, %d idle (%d in the ring, %d listed), want %d and %d", len(p.hosts), p.pool.idle, ring, listed, hosts, idle)
	}
}

// countedConn only knows whether it has been closed.
type countedConn struct {
	net.Conn
	closed bool
}

func (c *countedConn) Close() error {
	c.closed = true
	return nil
}

func closed(c *conn) bool { return c.Conn.(*countedConn).closed }

func name(i int) Host { return Host{name: fmt.Sprint("h", i), addr: fmt.Sprint("h", i, ":80")} }

func TestPoolKeepsTheLastUsed(t *testing.T) {
	p := newPooled(t)
	defer p.closeIdle()
	var conns []*conn
	for range testOptions.MaxIdlePerHost + 2 {
		conns = append(conns, p.open(name(1)))
	}
	for _, c := range conns {
		p.put(c)
	}
	p.want(1, testOptions.MaxIdlePerHost)
	for i, c := range conns {
		if closed(c) != (i >= testOptions.MaxIdlePerHost) {
			t.Errorf("connection %d: closed %t", i, closed(c))
		}
	}
	for i := testOptions.MaxIdlePerHost - 1; i >= 0; i-- {
		if c := p.open(name(1)); c != conns[i] {
			t.Errorf("not the one that was used last")
		}
	}
	p.want(1, 0)
	for range testOptions.MaxIdlePerHost {
		p.release(name(1))
	}
	p.want(0, 0)
}

// Of all hosts together, those that have been idle for the longest go.
func TestPoolBoundsAllHosts(t *testing.T) {
	p := newPooled(t)
	var conns []*conn
	for i := range testOptions.MaxIdle + 3 {
		conns = append(conns, p.open(name(i)))
	}
	for _, c := range conns {
		p.put(c)
	}
	p.want(testOptions.MaxIdle, testOptions.MaxIdle)
	for i, c := range conns {
		if closed(c) != (i < 3) {
			t.Errorf("connection %d: closed %t", i, closed(c))
		}
	}
	p.closeIdle()
	p.want(0, 0)
	for i, c := range conns {
		if !closed(c) {
			t.Errorf("connection %d is open", i)
		}
	}
}

func TestPoolIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPooled(t)
		var conns []*conn
		for i := range 3 {
			conns = append(conns, p.open(name(i)))
		}
		for _, c := range conns {
			p.put(c)
			time.Sleep(time.Second)
		}
		time.Sleep(testOptions.IdleTimeout - 3*time.Second - time.Nanosecond)
		for left := 3; left > 0; left-- {
			p.want(left, left)
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			p.want(left-1, left-1)
			time.Sleep(time.Second - time.Nanosecond)
		}
		// The clock ticks again for the next one, and not once all are closed.
		p.put(p.open(name(1)))
		time.Sleep(testOptions.IdleTimeout)
		synctest.Wait()
		p.want(0, 0)
		p.put(p.open(name(1)))
		p.closeIdle()
		if p.ticking {
			t.Error("the timer runs")
		}
	})
}

// Who has a turn and gives up passes it on.
func TestPoolTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPooled(t)
		var conns []*conn
		for range testOptions.MaxPerHost {
			conns = append(conns, p.open(name(1)))
		}
		type turn struct {
			who int
			c   *conn
			err error
		}
		turns := make(chan turn, 3)
		var cancels []context.CancelFunc
		for who := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			cancels = append(cancels, cancel)
			go func() {
				c, err := p.get(ctx, name(1))
				turns <- turn{who, c, err}
			}()
			synctest.Wait()
		}
		want := func(who int, c *conn, err error) {
			t.Helper()
			if got := <-turns; got.who != who || got.c != c || got.err != err {
				t.Errorf("%+v, want %d, %p, %v", got, who, c, err)
			}
		}
		cancels[0]()
		want(0, nil, context.Canceled)
		p.put(conns[0])
		want(1, conns[0], nil)
		p.release(name(1)) // of a connection that has failed
		want(2, nil, nil)  // in its place

		// At the same moment: the turn is not lost.
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				c, err := p.get(ctx, name(1))
				turns <- turn{1, c, err}
			}()
			go func() {
				c, err := p.get(t.Context(), name(1))
				turns <- turn{2, c, err}
			}()
			synctest.Wait()
			cancel()
			p.put(conns[1])
			first := <-turns
			if first.err == nil && first.who == 1 {
				p.put(conns[1])
			}
			second := <-turns
			if first.err != nil && first.who == second.who || second.err != nil && second.who != 1 {
				t.Errorf("%+v, then %+v", first, second)
			}
			if second.who == 1 && second.err == nil {
				t.Errorf("%+v, then %+v", first, second)
			}
			cancel()
		}
		for range testOptions.MaxPerHost {
			p.release(name(1))
		}
		p.want(0, 0)
	})
}

// tracked is a connection that counts itself.
type tracked struct {
	*net.TCPConn
	closed func()
}

func (c tracked) Close() error {
	c.closed()
	return c.TCPConn.Close()
}

// Many at once, on connections that fail now and then: nobody gets another's
// answer, there are never too many connections, and none is lost count of.
func TestPoolStorm(t *testing.T) {
	s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			_, body, err := readRequest(in)
			if err != nil {
				return
			}
			switch rand.IntN(20) {
			case 0:
				return
			case 1:
				_, _ = fmt.Fprintf(c, "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				return
			default:
				_, _ = fmt.Fprintf(c, "HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}
	})
	var open, most atomic.Int64
	c := newClient(t, func(transport *http.Transport) {
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			n := open.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return tracked{conn.(*net.TCPConn), sync.OnceFunc(func() { open.Add(-1) })}, nil
		}
	})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(10) == 0 {
					time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
				}
				want := fmt.Sprint(i, " ", j)
				a, err := c.Put(ctx, s.Host, Request{Path: []byte("/"), Body: []byte(want)}, timeout)
				if err == nil && (a.Status != 500 || string(a.Body) != want && a.Err == nil) {
					t.Errorf("%+v, want %s", a, want)
				}
				if err != nil && !errors.Is(err, context.Canceled) && !closedByPeer(err) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	c.Close()
	wantNothing(t, c)
	if most.Load() > int64(testOptions.MaxPerHost) || open.Load() != 0 {
		t.Errorf("%d connections at once, %d left open", most.Load(), open.Load())
	}
}
