package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// piping has a client dial pipes, the other ends of which serve gets.
func piping(t testing.TB, serve func(net.Conn)) func(*http.Transport) {
	return func(transport *http.Transport) {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				serve(server)
			}()
			return client, nil
		}
	}
}

// deaf reads, but does not answer.
func deaf(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// saying reads a request, answers with s and waits.
func saying(s string) func(net.Conn) {
	return func(c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, s)
		deaf(c)
	}
}

// phases are where a PUT can hang.
var phases = []struct {
	name  string
	url   string
	proxy string
	serve func(net.Conn)
	blind bool // the server does not even read
	size  int
	after time.Duration // when it is given up
	err   error         // as what
	body  bool          // in which the answer breaks off
}{
	{name: "dialing", url: "http://h", after: timeout, err: context.DeadlineExceeded},
	{name: "CONNECT", url: "https://h", proxy: "http://p", serve: deaf, after: timeout, err: timedOutProxy},
	{name: "TLS to the proxy", url: "http://h", proxy: "https://p", serve: deaf, after: testOptions.TLSTimeout, err: timedOutTLS},
	{name: "SOCKS", url: "http://h", proxy: "socks5://p", serve: deaf, after: timeout, err: timedOutProxy},
	{name: "TLS", url: "https://h", serve: deaf, after: testOptions.TLSTimeout, err: timedOutTLS},
	{name: "writing", url: "http://h", blind: true, after: timeout, err: timedOutAnswer},
	{name: "writing much", url: "http://h", blind: true, size: maxCopied + 1, after: timeout, err: timedOutAnswer},
	{name: "reading", url: "http://h", serve: deaf, after: timeout, err: timedOutAnswer},
	{name: "reading, after much", url: "http://h", serve: deaf, size: maxCopied + 1, after: timeout, err: timedOutAnswer},
	{name: "the head", url: "http://h", serve: saying("HTTP/1.1 403 Forb"), after: timeout, err: timedOutAnswer},
	{name: "100 Continue", url: "http://h", serve: saying("HTTP/1.1 100 Continue\r\n\r\n"), after: timeout, err: timedOutAnswer},
	{name: "the body", url: "http://h", serve: saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno"), after: timeout, err: context.DeadlineExceeded, body: true},
	{name: "chunks", url: "http://h", serve: saying("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nno"), after: timeout, err: context.DeadlineExceeded, body: true},
}

// In whatever phase a PUT hangs, its time or its context ends it, and nothing
// is left behind.
func TestHang(t *testing.T) {
	for _, tt := range phases {
		for _, how := range []string{"time", "cancel", "deadline"} {
			t.Run(tt.name+" ended by "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gone := make(chan bool)
					defer close(gone)
					serve := tt.serve
					if tt.blind {
						serve = func(net.Conn) { <-gone }
					}
					c := newClient(t, func(transport *http.Transport) {
						if tt.proxy != "" {
							through(tt.proxy)(transport)
						}
						piping(t, serve)(transport)
						if serve == nil {
							transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
								<-ctx.Done()
								return nil, ctx.Err()
							}
						}
					})
					ctx, want, after := t.Context(), tt.err, tt.after
					var cancel context.CancelFunc
					switch how {
					case "cancel":
						ctx, cancel = context.WithCancel(ctx)
						after, want = time.Second, context.Canceled
						time.AfterFunc(after, cancel)
					case "deadline":
						after, want = time.Second, context.DeadlineExceeded
						ctx, cancel = context.WithTimeout(ctx, after)
						defer cancel()
					}
					start := time.Now()
					a, err := c.Put(ctx, hostOf(t, tt.url), Request{Path: []byte("/"), Body: make([]byte, tt.size)}, timeout)
					if tt.body {
						if err != nil || a.Status != 403 || string(a.Body) != "no" {
							t.Errorf("%+v, %v", a, err)
						}
						err = a.Err
					}
					if took := time.Since(start); took != after || !errors.Is(err, want) {
						t.Errorf("after %s: %v, want %v after %s", took, err, want, after)
					}
					wantNothing(t, c)
				})
			})
		}
	}
}

// wantNothing checks that c has no connections.
func wantNothing(t testing.TB, c *Client) {
	t.Helper()
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if len(c.pool.hosts) != 0 || c.pool.idle != 0 {
		t.Errorf("%d hosts and %d idle connections are left", len(c.pool.hosts), c.pool.idle)
	}
}

// The time that a PUT waits for a connection is not its own.
func TestWaitingForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, piping(t, func(conn net.Conn) {
			in := bufio.NewReader(conn)
			for {
				if _, _, err := readRequest(in); err != nil {
					return
				}
				time.Sleep(timeout - time.Second)
				_, _ = io.WriteString(conn, ok)
			}
		}))
		c.pool.options.MaxPerHost = 1
		defer c.Close()
		h := hostOf(t, "http://h")
		start := time.Now()
		order := make(chan int, 3)
		for i := range 3 {
			go func() {
				mustPut(t, c, h)
				order <- i
			}()
			synctest.Wait() // it is in line
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := put(c, ctx, h); err != context.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		var got []int
		for range 3 {
			got = append(got, <-order)
		}
		if d := cmp.Diff([]int{0, 1, 2}, got); d != "" {
			t.Errorf("served in the order %v", got)
		}
		if took := time.Since(start); took != 3*(timeout-time.Second) {
			t.Errorf("took %s", took)
		}
	})
}
