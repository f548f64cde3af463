package s3

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

func TestConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w := &world{url: "http://" + l.Addr().String()}
	e := putError(t, t.Context(), w.open(t))
	want := "sts AssumeRole of " + roleARN + ": no answer from " + l.Addr().String() +
		": cannot connect to the server at " + l.Addr().String() + ": connection refused"
	if e.Error() != want || e.Class() != auditdrain.Transient {
		t.Errorf("%v (%v), want %s", e, e.Class(), want)
	}
}

func TestDNSFails(t *testing.T) {
	w := &world{url: "http://store.example:9000"}
	c := w.client(t)
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}
	c.transport.DialContext = dialer.DialContext
	e := putError(t, t.Context(), mustOpen(t, c))
	contains(t, e.Error(), "no answer from store.example:9000: DNS could not find host store.example: ", "no name server")
	if e.Class() != auditdrain.Transient {
		t.Errorf("%v", e.Class())
	}
}

func TestNoTLS(t *testing.T) {
	w := &world{url: strings.Replace(serve(t, http.NotFoundHandler()), "http:", "https:", 1)}
	e := putError(t, t.Context(), w.open(t))
	contains(t, e.Error(), "TLS: the server speaks HTTP without TLS")
}

// The connection is torn down before or after the write takes effect. Either
// way the next Put ends well.
func TestReset(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		c := w.client(t)
		d := mustOpen(t, c)
		if _, err := d.session.credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
		// On a new connection: what a kept one does is repeated.
		c.Close()
		w.fault("PutObject", awssim.Fault{Reset: true, AfterEffect: after}, 1)
		e := putError(t, t.Context(), d)
		a := e.Answer
		if a.HTTPStatus != 0 || a.Key != "audit-logs/"+eventKey || a.CallerARN != caller || a.Host == "" || a.Time == 0 || e.Class() != auditdrain.Transient {
			t.Errorf("%+v (%v)", a, e.Class())
		}
		contains(t, e.Error(), "s3 PutObject: no answer from 127.0.0.1:", "the connection broke off (")
		if put := mustPut(t, d, event("uev_1")); put.Existed != after {
			t.Errorf("then Put = %+v, want Existed %t", put, after)
		}
	}
}

// pipeListener is a network within a bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	dials  *atomic.Int64
}

type pipeConn struct{ net.Conn }

func (pipeConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeConn{}.LocalAddr() }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.dials.Add(1)
	client, server := net.Pipe()
	select {
	case l.conns <- pipeConn{server}:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs f with a world whose clock, like everybody's in there, goes
// forward when all wait. No goroutine may be left at the end.
func bubble(t *testing.T, f func(t *testing.T, w *world, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newSim(t)
		w.url = "http://127.0.0.1"
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), dials: &w.conns}
		srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) })}
		go srv.Serve(l)
		defer srv.Close()
		c := w.client(t)
		c.transport.DialContext = l.dial
		defer c.Close()
		f(t, w, c)
	})
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		op      string
		after   time.Duration
		message string
	}{
		{"AssumeRole", DefaultSTSTimeout, "timed out"},
		{"PutObject", DefaultPutTimeout, "timed out: timeout awaiting the answer"},
	} {
		t.Run(tt.op+" hangs", func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, c *Client) {
				d := mustOpen(t, c)
				w.fault(tt.op, awssim.Fault{Hang: true, AfterEffect: true}, 1)
				start := time.Now()
				e := putError(t, t.Context(), d)
				if took := time.Since(start); took != tt.after {
					t.Errorf("took %s, want %s", took, tt.after)
				}
				if e.Answer.Operation != tt.op || e.Answer.HTTPStatus != 0 || e.Answer.Message != tt.message || e.Class() != auditdrain.Transient {
					t.Errorf("%+v (%v)", e.Answer, e.Class())
				}
				if put := mustPut(t, d, event("uev_1")); put.Existed != (tt.op == "PutObject") {
					t.Errorf("then Put = %+v", put)
				}
			})
		})
	}

	t.Run("the answer does not end", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, c *Client) {
			d := mustOpen(t, c)
			sim := w.handler
			w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPut {
					sim.ServeHTTP(rw, r)
					return
				}
				rw.Header().Set("Content-Length", "100")
				rw.WriteHeader(http.StatusInternalServerError)
				rw.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			start := time.Now()
			e := putError(t, t.Context(), d)
			if took := time.Since(start); took != DefaultPutTimeout {
				t.Errorf("took %s, want %s", took, DefaultPutTimeout)
			}
			if e.Answer.HTTPStatus != 500 || e.Answer.Message != "the answer broke off: timed out" || e.Class() != auditdrain.Transient {
				t.Errorf("%+v (%v)", e.Answer, e.Class())
			}
		})
	})

	t.Run("TLS does not begin", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{url: "https://127.0.0.1"}
			c := w.client(t)
			var server net.Conn
			c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				var client net.Conn
				client, server = net.Pipe()
				go io.Copy(io.Discard, server)
				return client, nil
			}
			start := time.Now()
			e := putError(t, t.Context(), mustOpen(t, c))
			if took := time.Since(start); took != tlsTimeout {
				t.Errorf("took %s, want %s", took, tlsTimeout)
			}
			if want := "timed out: TLS handshake timeout"; e.Answer.Message != want {
				t.Errorf("%v, want %s", e, want)
			}
			server.Close()
		})
	})
}

// Giving up ends a Put that hangs at once, and leaves nothing behind.
func TestCancelEndsHangingPut(t *testing.T) {
	for _, op := range []string{"AssumeRole", "PutObject"} {
		bubble(t, func(t *testing.T, w *world, c *Client) {
			d := mustOpen(t, c)
			w.fault(op, awssim.Fault{Hang: true})
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_, err := d.Put(ctx, event("uev_1"))
					if !errors.Is(err, context.Canceled) || classOf(t, err) != auditdrain.Transient {
						t.Errorf("%s: %v", op, err)
					}
				})
			}
			synctest.Wait()
			start := time.Now()
			cancel()
			wg.Wait()
			if took := time.Since(start); took != 0 {
				t.Errorf("%s: took %s", op, took)
			}
		})
	}
}

// Whatever S3 answers, the connection is used again.
func TestConnectionReuse(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, c *Client) {
		d := mustOpen(t, c)
		mustPut(t, d, event("uev_1"))
		// From here: the SDK closes the body of its requests to STS when the
		// answer comes, which can take net/http by surprise.
		before := w.conns.Load()
		for i, fault := range []awssim.Fault{
			{}, {Err: awssim.InternalError()}, {Err: awssim.SlowDown()}, {Garbage: true, Err: awssim.InternalError()},
		} {
			w.SetFault(func(awssim.FaultRequest) awssim.Fault { return fault })
			_, err := d.Put(t.Context(), event("uev_1")) // a 412 without a fault
			if (err != nil) != (i > 0) {
				t.Errorf("fault %d: %v", i, err)
			}
		}
		if n := w.conns.Load() - before; n != 0 {
			t.Errorf("%d new connections", n)
		}
	})
}

// A session's whole life, against AWS's own idea of it.
func TestSessionOverTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, c *Client) {
		d := mustOpen(t, c)
		for range 6 * 6 { // hours, every ten minutes
			if put := mustPut(t, d, event("uev_1")); put.Unconditional {
				t.Errorf("Put = %+v", put)
			}
			time.Sleep(10 * time.Minute)
		}
		for _, call := range w.calls.All("") {
			if call.Code != "" && call.Code != "PreconditionFailed" {
				t.Errorf("%s: %s", call.Op, call.Code)
			}
		}
		if n := len(w.calls.All("AssumeRole")); n < 8 || n > 9 { // every 40 or 50 minutes
			t.Errorf("%d sessions in six hours, want 8 or 9", n)
		}
	})
}

func TestPlain(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: err}
	}
	tests := []struct {
		err  error
		want string
	}{
		{context.Canceled, "the call was given up"},
		{context.DeadlineExceeded, "timed out"},
		{dial(&net.DNSError{Name: "b.s3.us-east-1.amazonaws.com", Err: "no such host", IsNotFound: true}), "DNS knows no host b.s3.us-east-1.amazonaws.com"},
		{dial(&net.DNSError{Name: "x.example", Err: "server misbehaving", IsTemporary: true}), "DNS could not find host x.example: server misbehaving"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "cannot connect to the server at 10.0.0.1:443: connection refused"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "cannot connect to the server at 10.0.0.1:443: network is unreachable"},
		{dial(os.ErrDeadlineExceeded), "timed out while connecting to the server at 10.0.0.1:443"},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))}, "cannot connect to the proxy at 10.0.0.1:443: connection refused"},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "the connection broke off (read tcp: read: connection reset by peer)"},
		{io.EOF, "the connection broke off (EOF)"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "TLS: the server's certificate is not trusted: x509: certificate signed by unknown authority"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "TLS: first record does not look like a TLS handshake"},
		{errors.New("Proxy Authentication Required"), "Proxy Authentication Required"},
	}
	for _, tt := range tests {
		if got := plain(tt.err); got != tt.want {
			t.Errorf("%v:\n got %s\nwant %s", tt.err, got, tt.want)
		}
	}
}

// What keeps a write from being answered is told as plainly as for STS.
func TestPutNoAnswer(t *testing.T) {
	tcp := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: err}
	}
	failing := func(err error) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) { return nil, err }
	}
	answering := func(answer string) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				if r, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(server, answer)
				}
			}()
			return client, nil
		}
	}
	for _, tt := range []struct {
		dial  func(context.Context) (net.Conn, error)
		proxy string
		want  string
	}{
		{failing(tcp(os.NewSyscallError("connect", syscall.ECONNREFUSED))), "", "cannot connect to the server at 10.0.0.1:443: connection refused"},
		{failing(tcp(os.NewSyscallError("connect", syscall.ECONNREFUSED))), "http://10.0.0.1:443", "cannot connect to the proxy at 10.0.0.1:443: connection refused"},
		{failing(tcp(&net.DNSError{Name: "h.example", Err: "no such host", IsNotFound: true})), "", "DNS knows no host h.example"},
		{failing(tcp(os.ErrDeadlineExceeded)), "", "timed out while connecting to the server at 10.0.0.1:443"},
		{answering(""), "", "the connection broke off (EOF)"},
		{answering("HTTP/1.1 2"), "", "the connection broke off (unexpected EOF)"},
		{answering("SSH-2.0-x\r\n"), "", `malformed answer: it begins with "SSH-2.0-x", which is not HTTP/1.1`},
		{failing(errors.New("unused")), "ftp://p", `proxy ftp://p: "ftp" is not a kind of proxy that is known here: use http, https or socks5`},
	} {
		w := newWorld(t)
		c := w.client(t)
		d := mustOpen(t, c)
		if _, err := d.session.credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return tt.dial(ctx) }
		c.transport.Proxy = func(*http.Request) (*url.URL, error) {
			if tt.proxy == "" {
				return nil, nil
			}
			return url.Parse(tt.proxy)
		}
		e := putError(t, t.Context(), d)
		if e.Answer.Message != tt.want || e.Answer.Operation != "PutObject" || e.Answer.Host == "" || e.Answer.Key == "" || e.Class() != auditdrain.Transient {
			t.Errorf("%+v (%v), want %s", e.Answer, e.Class(), tt.want)
		}
	}
}
