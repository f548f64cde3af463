// Package wire sends PUT requests over HTTP/1.1: a known body out, an answer
// in, nothing else. It is what remains of an HTTP client if every request is
// small and the same, and costs a third of what net/http does.
//
// It guarantees that an answer belongs to the request that it is returned for
// (a connection on which anything else has come is not used again), that what
// it reads of an answer is bounded, and that a call ends when its context or
// its time does, whatever the other side does. It starts no goroutine but one
// to write a body that is large.
//
// A PUT may be sent twice: a connection that was kept can turn out to have
// been closed by the server, before or after it has read the request. So it
// is only for requests that may be repeated.
package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Options bound a Client. All are needed.
type Options struct {
	MaxPerHost     int           // connections to one host; who needs another one waits
	MaxIdlePerHost int           // connections to one host that are kept for reuse
	MaxIdle        int           // connections that are kept for reuse
	IdleTimeout    time.Duration // for how long
	TLSTimeout     time.Duration // of a TLS handshake
	MaxBody        int           // bytes of an answer's body that are kept
}

// Client sends requests. It is safe for concurrent use.
type Client struct {
	transport *http.Transport
	tls       *tls.Config
	options   Options
	pool      *pool
	buffers   sync.Pool
}

// New returns a Client that dials as t does, trusts the certificates that t
// trusts and uses t's proxies.
func New(t *http.Transport, o Options) *Client {
	return &Client{
		transport: t,
		tls:       tlsConfig(t.TLSClientConfig),
		options:   o,
		pool:      newPool(o),
		buffers:   sync.Pool{New: func() any { return &buffers{in: bufio.NewReaderSize(nil, maxLine)} }},
	}
}

// Close closes the connections that are not in use. The client goes on
// working.
func (c *Client) Close() { c.pool.closeIdle() }

// Host is whom requests are sent to.
type Host struct {
	tls  bool
	name string // as the Host header has it
	addr string // with the port
}

// HostOf returns the host of an http or https URL.
func HostOf(u *url.URL) Host {
	h := Host{tls: u.Scheme == "https", name: u.Host, addr: u.Host}
	usual := "80"
	if h.tls {
		usual = "443"
	}
	switch u.Port() {
	case "":
		h.addr = net.JoinHostPort(u.Hostname(), usual)
	case usual:
		h.name = u.Host[:len(u.Host)-len(usual)-1]
	}
	return h
}

// Name is what the Host header says: no port where it is the usual one.
func (h Host) Name() string { return h.name }

// Request is a PUT.
type Request struct {
	// Path begins with a slash and is escaped. It is sent as it is.
	Path []byte
	// Header are lines that each end with CRLF. Host and Content-Length are
	// not among them.
	Header []byte
	Body   []byte
}

// Answer is a final answer. Of a success, header and body are not kept.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // the first Options.MaxBody bytes
	Err    error  // why that is not all of it
}

// Put sends r and returns the answer, or an error if none came. Waiting for a
// connection, when there are as many as there may be, is bounded by ctx
// alone; all that follows by timeout, too.
func (c *Client) Put(ctx context.Context, h Host, r Request, timeout time.Duration) (Answer, error) {
	b := c.buffers.Get().(*buffers)
	defer c.buffers.Put(b)
	conn, err := c.pool.get(ctx, h)
	if err != nil {
		return Answer{}, err
	}
	deadline := time.Now().Add(timeout)
	if conn != nil && !conn.quiet() {
		conn.abort()
		conn = nil
	}
	for {
		if conn == nil { // its place is ours
			if conn, err = c.dial(ctx, h, deadline); err != nil {
				c.pool.release(h)
				return Answer{}, err
			}
		}
		answer, reusable, err := conn.exchange(ctx, r, deadline, b, c.options.MaxBody)
		if reusable {
			conn.used = true
			c.pool.put(conn)
			return answer, nil
		}
		conn.abort()
		// Others that were kept as long are likely to be closed, too: the repeat
		// is made on a new one, and so is the last.
		if _, silent := errors.AsType[unanswered](err); !conn.used || !silent || !closedByPeer(err) {
			c.pool.release(h)
			return answer, err
		}
		conn = nil
	}
}

// closedByPeer reports whether err is what reading from or writing to a
// connection gives that the other side has closed.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// timeoutError is a phase that took too long.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Timeout() bool        { return true }
func (e timeoutError) Temporary() bool      { return true }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

const (
	timedOutTLS    timeoutError = "TLS handshake timeout"
	timedOutProxy  timeoutError = "timeout awaiting the proxy's answer"
	timedOutAnswer timeoutError = "timeout awaiting the answer"
)

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
