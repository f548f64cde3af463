package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"
)

// maxCopied is how long a body may be that is sent in one piece with its head.
// So much fits into the socket's buffer, and into the other side's: writing it
// does not wait for the server to read.
const maxCopied = 32 << 10

// past is a deadline that makes whatever waits for a connection stop.
var past = time.Unix(1, 0)

// errTooEarly is a success that cannot be one: what is not sent is not stored.
var errTooEarly = errors.New("malformed answer: a success before all of the request was sent")

// unanswered is why nothing at all came. It shows as what it wraps.
type unanswered struct{ error }

func (e unanswered) Unwrap() error { return e.error }

// conn is a connection to a host. One exchange at a time has it.
type conn struct {
	net.Conn        // with TLS, where the host has it
	raw      socket // what is below TLS and proxies
	host     Host
	target   string // goes before the path: "http://host" through a proxy
	header   string // for the proxy
	used     bool   // a request has been answered
	stop     func() // ends what waits for it; made once

	// The pool's, while it is idle.
	since      time.Time
	next, prev *conn
}

func newConn(raw socket, c net.Conn, h Host) *conn {
	res := &conn{Conn: c, raw: raw, host: h}
	res.stop = func() { _ = raw.SetDeadline(past) }
	return res
}

// buffers are what an exchange needs for as long as it lasts. Connections
// that are idle hold none.
type buffers struct {
	out []byte
	in  *bufio.Reader
}

// exchange sends a request and reads the answer. reusable says that the
// connection can be used for another; it is false with an error.
func (c *conn) exchange(ctx context.Context, r Request, deadline time.Time, b *buffers, maxBody int) (a Answer, reusable bool, err error) {
	if err := c.SetDeadline(deadline); err != nil {
		return Answer{}, false, unanswered{err}
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.stop)
		defer func() {
			if !stop() { // it is about to set its deadline
				reusable = false
			}
		}()
	}
	b.in.Reset(c)
	b.out = c.appendHead(b.out[:0], &r)
	var sent bool
	if len(r.Body) <= maxCopied {
		b.out = append(b.out, r.Body...)
		_, writeErr := c.Write(b.out)
		sent = writeErr == nil
		// Even if it could not be sent, there may be an answer that says why.
		if sent || closedByPeer(writeErr) {
			a, reusable, err = readAnswer(b.in, maxBody)
		} else {
			err = unanswered{writeErr}
		}
	} else {
		a, reusable, sent, err = c.exchangeLarge(r.Body, b, maxBody)
	}
	b.in.Reset(nil)
	switch {
	case err == nil && !sent && a.Status/100 == 2:
		return Answer{}, false, errTooEarly
	case err == nil:
		if a.Err != nil {
			a.Err = c.explain(ctx, a.Err, context.DeadlineExceeded)
		}
		return a, reusable && sent, nil
	default:
		return Answer{}, false, c.explain(ctx, err, timedOutAnswer)
	}
}

// exchangeLarge reads the answer while it writes: a server can answer before
// it has read all of a large body, and then read no more of it.
func (c *conn) exchangeLarge(body []byte, b *buffers, maxBody int) (a Answer, reusable, sent bool, err error) {
	written := make(chan error, 1)
	go func() {
		pieces := net.Buffers{b.out, body}
		_, err := pieces.WriteTo(c.Conn)
		written <- err
	}()
	a, reusable, err = readAnswer(b.in, maxBody)
	if err != nil {
		// No answer will come: reading and writing end together.
		_ = c.raw.Close()
		<-written
		return a, false, false, err
	}
	_ = c.raw.SetWriteDeadline(past) // to end what is under way
	return a, reusable, <-written == nil, nil
}

// appendHead appends all of the request that comes before its body.
func (c *conn) appendHead(b []byte, r *Request) []byte {
	b = append(b, "PUT "...)
	b = append(b, c.target...)
	b = append(b, r.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.host.name...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	b = append(b, "\r\n"...)
	b = append(b, c.header...)
	b = append(b, r.Header...)
	return append(b, "\r\n"...)
}

// explain makes of a deadline that has passed what it was for.
func (c *conn) explain(ctx context.Context, err, timedOut error) error {
	switch {
	case !isTimeout(err):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return timedOut
}

// quiet reports whether c, which has been idle, can be used: neither has the
// other side closed it, nor has anything come that nobody asked for and the
// next request would take for its answer.
func (c *conn) quiet() bool {
	if _, ok := c.Conn.(*tls.Conn); ok && !c.drained() {
		return false
	}
	quiet, known := c.raw.quiet()
	return quiet || !known
}

// drained reports whether TLS holds nothing back that it has read from the
// socket already, as it does when two records come at once.
func (c *conn) drained() bool {
	if c.SetReadDeadline(past) != nil {
		return false
	}
	var one [1]byte
	n, err := c.Read(one[:])
	return n == 0 && isTimeout(err)
}

// close ends c in order. It may not be in use, nor have failed.
func (c *conn) close() { _ = c.Close() }

// abort ends c without a word, which could take as long as c hangs.
func (c *conn) abort() { _ = c.raw.Close() }

// socket is a network connection that may be looked into.
type socket struct {
	net.Conn
	sys  syscall.RawConn // nil if it cannot be
	peek *peek
}

func newSocket(c net.Conn) socket {
	s := socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if sys, err := sc.SyscallConn(); err == nil {
			s.sys, s.peek = sys, newPeek()
		}
	}
	return s
}

// quiet reports whether nothing waits to be read, not even the end, and
// whether that is known.
func (s socket) quiet() (quiet, known bool) {
	if s.sys == nil {
		return false, false
	}
	if err := s.sys.Control(s.peek.look); err != nil {
		return false, true
	}
	return s.peek.quiet, true
}
