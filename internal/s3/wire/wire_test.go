package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/leaktest"
)

const timeout = 30 * time.Second // of what takes no time unless a test fails

var testOptions = Options{
	MaxPerHost: 8, MaxIdlePerHost: 4, MaxIdle: 8, IdleTimeout: time.Minute, TLSTimeout: 5 * time.Second, MaxBody: 1024,
}

func newClient(t testing.TB, change ...func(*http.Transport)) *Client {
	t.Helper()
	transport := &http.Transport{}
	for _, f := range change {
		f(transport)
	}
	c := New(transport, testOptions)
	t.Cleanup(c.Close)
	return c
}

func hostOf(t testing.TB, rawURL string) Host {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return HostOf(u)
}

// put sends a small request.
func put(c *Client, ctx context.Context, h Host) (Answer, error) {
	return c.Put(ctx, h, Request{Path: []byte("/b/k%3D"), Header: []byte("X-A: 1\r\nX-B: 2\r\n"), Body: []byte("body")}, timeout)
}

func mustPut(t testing.TB, c *Client, h Host) Answer {
	t.Helper()
	a, err := put(c, t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// server runs serve on each connection, of which n says how many came before.
type server struct {
	Host
	addr  string
	conns atomic.Int64
}

func newServer(t testing.TB, serve func(n int, c net.Conn, in *bufio.Reader)) *server {
	t.Helper()
	leaktest.Check(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String(), Host: hostOf(t, "http://"+l.Addr().String())}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(s.conns.Add(1)) - 1
			wg.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		wg.Wait()
	})
	return s
}

// readRequest reads a request and its body.
func readRequest(in *bufio.Reader) (*http.Request, string, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// answering answers every request with the same.
func answering(answer string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, _, err := readRequest(in); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

func TestRequest(t *testing.T) {
	requests := make(chan string, 1)
	s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			r, body, err := readRequest(in)
			if err != nil {
				return
			}
			requests <- fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Proto, " ", r.Host, " ", r.ContentLength, " ", r.Header, " ", len(body))
			_, _ = io.WriteString(c, ok)
		}
	})
	c := newClient(t)
	for _, size := range []int{0, 1, maxCopied, maxCopied + 1, 256 << 10} {
		a, err := c.Put(t.Context(), s.Host, Request{Path: []byte("/b/k%3D"), Header: []byte("X-A: 1\r\nX-B: 2\r\n"), Body: make([]byte, size)}, timeout)
		if err != nil || a.Status != 200 || a.Header != nil || a.Body != nil || a.Err != nil {
			t.Fatalf("%d bytes: %+v, %v", size, a, err)
		}
		want := fmt.Sprint("PUT /b/k%3D HTTP/1.1 ", s.addr, " ", size, " map[Content-Length:[", size, "] X-A:[1] X-B:[2]] ", size)
		if got := <-requests; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]Host{
		"http://h.example":          {false, "h.example", "h.example:80"},
		"http://h.example:80/p":     {false, "h.example", "h.example:80"},
		"http://h.example:443":      {false, "h.example:443", "h.example:443"},
		"https://h.example":         {true, "h.example", "h.example:443"},
		"https://h.example:443":     {true, "h.example", "h.example:443"},
		"https://h.example:9000":    {true, "h.example:9000", "h.example:9000"},
		"https://[::1]":             {true, "[::1]", "[::1]:443"},
		"https://[2001:db8::1]:443": {true, "[2001:db8::1]", "[2001:db8::1]:443"},
	} {
		if got := hostOf(t, in); got != want || got.Name() != want.name {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
}

// answers are what a server can answer with, and what it comes to.
var answers = []struct {
	name   string
	raw    string
	close  bool // the server closes after it
	want   Answer
	reused bool
	err    string // part of it
}{
	{name: "200", raw: ok, want: Answer{Status: 200}, reused: true},
	{name: "no reason", raw: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want: Answer{Status: 200}, reused: true},
	{name: "empty reason", raw: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", want: Answer{Status: 200}, reused: true},
	{name: "names in any case", raw: "HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh: \t 2 \t\r\n\r\nhi", want: Answer{Status: 200}, reused: true},
	{name: "the same length twice", raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", want: Answer{Status: 200}, reused: true},
	{name: "200, chunked", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", want: Answer{Status: 200}, reused: true},
	{name: "200 until the end", raw: "HTTP/1.1 200 OK\r\n\r\nhi", close: true, want: Answer{Status: 200}},
	{name: "200 with a long body", raw: "HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n" + strings.Repeat("x", 1025), want: Answer{Status: 200}},
	{name: "200 with a long body in chunks", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n" + strings.Repeat("x", 1025) + "\r\n0\r\n\r\n", want: Answer{Status: 200}},
	{name: "200 that breaks off", raw: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi", close: true, want: Answer{Status: 200}},
	{name: "200 with broken chunks", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", close: true, want: Answer{Status: 200}},
	{name: "204 has no body", raw: "HTTP/1.1 204 No Content\r\n\r\n", want: Answer{Status: 204}, reused: true},
	{name: "204 has no body, whatever it says", raw: "HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n", want: Answer{Status: 204}, reused: true},
	{name: "304 has no body", raw: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
		want: Answer{Status: 304, Header: http.Header{"Transfer-Encoding": {"chunked"}}, Body: []byte{}}, reused: true},
	{name: "1xx are skipped", raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 7\r\n\r\n" + ok, want: Answer{Status: 200}, reused: true},
	{name: "HTTP/1.0", raw: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", want: Answer{Status: 200}},
	{name: "Connection: close", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", want: Answer{Status: 200}},
	{name: "more than asked for", raw: ok + ok, want: Answer{Status: 200}},
	{name: "an error", raw: "HTTP/1.1 403 Forbidden\r\nx-amz-request-id: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nEmpty:\r\nContent-Length: 2\r\n\r\nno",
		want: Answer{Status: 403, Header: http.Header{"X-Amz-Request-Id": {"1"}, "Set-Cookie": {"a", "b"}, "Empty": {""}, "Content-Length": {"2"}}, Body: []byte("no")}, reused: true},
	{name: "an error in chunks with a trailer", raw: "HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\nn\r\n1\r\no\r\n0\r\nX-Trailer: t\r\n\r\n",
		want: Answer{Status: 503, Header: http.Header{"Transfer-Encoding": {"chunked"}}, Body: []byte("no")}, reused: true},
	{name: "an error with a broken trailer", raw: "HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-Tr", close: true,
		want: Answer{Status: 503, Header: http.Header{"Transfer-Encoding": {"chunked"}}, Body: []byte("no")}},
	{name: "an error until the end", raw: "HTTP/1.1 500 Oops\r\n\r\nno", close: true, want: Answer{Status: 500, Header: http.Header{}, Body: []byte("no")}},
	{name: "an error with chunks and a length", raw: "HTTP/1.1 500 Oops\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
		want: Answer{Status: 500, Header: http.Header{"Content-Length": {"99"}, "Transfer-Encoding": {"chunked"}}, Body: []byte("no")}},
	{name: "an error that is as long as may be", raw: "HTTP/1.1 500 Oops\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024),
		want: Answer{Status: 500, Header: http.Header{"Content-Length": {"1024"}}, Body: []byte(strings.Repeat("x", 1024))}, reused: true},
	{name: "an error that is too long", raw: "HTTP/1.1 500 Oops\r\nContent-Length: 1025\r\n\r\n" + strings.Repeat("x", 1025),
		want: Answer{Status: 500, Header: http.Header{"Content-Length": {"1025"}}, Body: []byte(strings.Repeat("x", 1024))}},
	{name: "an error that breaks off", raw: "HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nno", close: true,
		want: Answer{Status: 500, Header: http.Header{"Content-Length": {"10"}}, Body: []byte("no"), Err: io.ErrUnexpectedEOF}},
	{name: "an error whose chunks break off", raw: "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nno", close: true,
		want: Answer{Status: 500, Header: http.Header{"Transfer-Encoding": {"chunked"}}, Body: []byte("no"), Err: io.ErrUnexpectedEOF}},
	{name: "a status nobody knows", raw: "HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n", want: Answer{Status: 999, Header: http.Header{"Content-Length": {"0"}}, Body: []byte{}}, reused: true},

	{name: "nothing", close: true, err: "EOF"},
	{name: "half a status line", raw: "HTTP/1.1 2", close: true, err: "unexpected EOF"},
	{name: "half a head", raw: "HTTP/1.1 200 OK\r\nContent-", close: true, err: "unexpected EOF"},
	{name: "another protocol", raw: "SSH-2.0-OpenSSH_9.2\r\n", err: `malformed answer: it begins with "SSH-2.0-OpenSSH_9.2", which is not HTTP/1.1`},
	{name: "another version", raw: "HTTP/2.0 200 OK\r\n\r\n", err: `"HTTP/2.0"`},
	{name: "no status", raw: "HTTP/1.1\r\n\r\n", err: "no status"},
	{name: "a short status", raw: "HTTP/1.1 20 OK\r\n\r\n", err: "no status"},
	{name: "a long status", raw: "HTTP/1.1 2000\r\n\r\n", err: "no status"},
	{name: "a signed status", raw: "HTTP/1.1 +20 OK\r\n\r\n", err: "no status"},
	{name: "status 099", raw: "HTTP/1.1 099 OK\r\n\r\n", err: "no status"},
	{name: "switches protocols", raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", err: "switches protocols"},
	{name: "lines without CR", raw: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", err: "does not end with CRLF"},
	{name: "a control character", raw: "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", err: "a control character in header X"},
	{name: "a CR in a line", raw: "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", err: "a control character in header X"},
	{name: "a folded line", raw: "HTTP/1.1 200 OK\r\nX: a\r\n b: c\r\n\r\n", err: "a line of the header has no name"},
	{name: "no colon", raw: "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", err: "a line of the header has no name"},
	{name: "a space before the colon", raw: "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", err: "a line of the header has no name"},
	{name: "an empty name", raw: "HTTP/1.1 200 OK\r\n: x\r\n\r\n", err: "a line of the header has no name"},
	{name: "two lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", err: "its Content-Length is no number, or two"},
	{name: "a list of lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n", err: "its Content-Length"},
	{name: "a negative length", raw: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: "its Content-Length"},
	{name: "a signed length", raw: "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", err: "its Content-Length"},
	{name: "a huge length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", err: "its Content-Length"},
	{name: "no length", raw: "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", err: "its Content-Length"},
	{name: "gzip", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", err: "a Transfer-Encoding that is not chunked"},
	{name: "chunked twice", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", err: "a Transfer-Encoding that is not chunked"},
	{name: "chunked in HTTP/1.0", raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", err: "HTTP/1.0 has no Transfer-Encoding"},
	{name: "a long line", raw: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxLine) + "\r\n\r\n", err: "its head is too large"},
	{name: "many lines", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 70) + "\r\n", err: "its head is too large"},
	{name: "1xx without end", raw: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 3000), err: "its head is too large"},
}

func TestAnswers(t *testing.T) {
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
				for {
					if _, _, err := readRequest(in); err != nil {
						return
					}
					_, _ = io.WriteString(c, tt.raw)
					if tt.close {
						return
					}
				}
			})
			c := newClient(t)
			for range 2 {
				a, err := put(c, t.Context(), s.Host)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("%+v, %v, want %s", a, err, tt.err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.want, a, cmp.Comparer(func(x, y error) bool { return x == y })); d != "" {
					t.Errorf("answer (-want +got):\n%s", d)
				}
			}
			if n, want := s.conns.Load(), int64(2); tt.reused && n != 1 || !tt.reused && n != want {
				t.Errorf("%d connections for two requests, reused should be %t", n, tt.reused)
			}
		})
	}
}

// A server can send its answer in pieces of any size.
func TestAnswersInPieces(t *testing.T) {
	for _, tt := range answers {
		if tt.err != "" || len(tt.raw) > 400 || tt.name == "more than asked for" {
			continue
		}
		client, srv := net.Pipe()
		go func() {
			defer srv.Close()
			for i := range len(tt.raw) {
				if _, err := srv.Write([]byte(tt.raw[i : i+1])); err != nil {
					return
				}
			}
		}()
		a, _, err := readAnswer(bufio.NewReaderSize(client, maxLine), 1024)
		if d := cmp.Diff(tt.want, a, cmp.Comparer(func(x, y error) bool { return x == y })); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, d)
		}
		client.Close()
	}
}

// An answer to a request that is still being sent is the answer.
func TestEarlyAnswer(t *testing.T) {
	const refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
	for name, size := range map[string]int{"small": 100, "large": 16 << 20} {
		for _, then := range []string{"closes", "reads no more", "goes on to read"} {
			t.Run(name+", then "+then, func(t *testing.T) {
				s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = io.WriteString(c, refusal)
					switch then {
					case "reads no more":
						_, _ = c.Read(nil)
						<-t.Context().Done()
					case "goes on to read":
						_, _ = io.Copy(io.Discard, in)
					}
				})
				c := newClient(t)
				a, err := c.Put(t.Context(), s.Host, Request{Path: []byte("/"), Body: make([]byte, size)}, timeout)
				if err != nil || a.Status != 403 || string(a.Body) != "no" || a.Err != nil {
					t.Errorf("%+v, %v", a, err)
				}
				// What was not sent cannot be left out.
				if c.pool.idle != 0 && size > maxCopied && then == "reads no more" {
					t.Error("the connection is kept")
				}
			})
		}
	}
}

// A success that comes before the body has been sent is none.
func TestEarlySuccess(t *testing.T) {
	s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, ok)
			<-t.Context().Done()
		}
	})
	a, err := newClient(t).Put(t.Context(), s.Host, Request{Path: []byte("/"), Body: make([]byte, 16<<20)}, timeout)
	if err != errTooEarly {
		t.Errorf("%+v, %v", a, err)
	}
}

// Connections that a server has closed while they were idle are not used, even
// if they are many.
func TestServerClosedWhileIdle(t *testing.T) {
	const n = 4
	closing := make(chan bool)
	var closed sync.WaitGroup
	closed.Add(n)
	s := newServer(t, func(i int, c net.Conn, in *bufio.Reader) {
		if i >= n {
			answering(ok)(i, c, in)
			return
		}
		if _, _, err := readRequest(in); err != nil {
			return
		}
		closed.Done() // all are there, none has an answer
		closed.Wait()
		_, _ = io.WriteString(c, ok)
		<-closing
		c.Close()
		closed.Done()
	})
	c := newClient(t)
	putAll := func() {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if _, err := put(c, t.Context(), s.Host); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	putAll()
	closed.Add(n)
	close(closing)
	closed.Wait()
	putAll()
	if got := s.conns.Load(); got < n+1 {
		t.Errorf("%d connections", got)
	}
}

// A server that closes when the next request comes is asked once more, on a
// new connection, and only if it has said nothing.
func TestServerClosesOnReuse(t *testing.T) {
	for name, tt := range map[string]struct {
		how   func(c net.Conn, in *bufio.Reader)
		conns int64 // 1: not repeated
		err   string
	}{
		"before it reads":   {func(c net.Conn, _ *bufio.Reader) {}, 2, ""},
		"after it has read": {func(c net.Conn, in *bufio.Reader) { _, _, _ = readRequest(in) }, 2, ""},
		"with a reset":      {func(c net.Conn, in *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) }, 2, ""},
		"within the answer": {func(c net.Conn, in *bufio.Reader) { _, _, _ = readRequest(in); _, _ = io.WriteString(c, "HTTP/1.1 2") }, 1, "unexpected EOF"},
		"with a reset within": {func(c net.Conn, in *bufio.Reader) {
			_, _, _ = readRequest(in)
			_, _ = io.WriteString(c, "HTTP/1.1 2")
			_ = c.(*net.TCPConn).SetLinger(0)
		}, 1, "reset by peer"},
		"with nonsense": {func(c net.Conn, in *bufio.Reader) {
			_, _, _ = readRequest(in)
			_, _ = io.WriteString(c, "nonsense\r\n")
		}, 1, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(i int, c net.Conn, in *bufio.Reader) {
				if i > 0 {
					answering(ok)(i, c, in)
					return
				}
				_, _, _ = readRequest(in)
				_, _ = io.WriteString(c, ok)
				_, _ = in.Peek(1) // the next request is there
				tt.how(c, in)
			})
			c := newClient(t)
			mustPut(t, c, s.Host)
			_, err := put(c, t.Context(), s.Host)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			if n := s.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

// Others that were kept as long are closed, too: the repeat is made on a new
// connection.
func TestRepeatIsOnANewConnection(t *testing.T) {
	const n = 3
	var answered sync.WaitGroup
	answered.Add(n)
	s := newServer(t, func(i int, c net.Conn, in *bufio.Reader) {
		if i >= n {
			answering(ok)(i, c, in)
			return
		}
		_, _, _ = readRequest(in)
		answered.Done()
		answered.Wait()
		_, _ = io.WriteString(c, ok)
		_, _ = in.Peek(1)
	})
	c := newClient(t)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { mustPut(t, c, s.Host) })
	}
	wg.Wait()
	mustPut(t, c, s.Host)
}

// reading is a connection that tells when it has read something.
type reading struct {
	net.Conn
	read func()
}

func (r reading) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read()
	return n, err
}

// An answer that has come is the answer, even if the context ends in the same
// moment. But the connection, whose deadline is about to be set, is not left to
// the next.
func TestCanceledAtTheEnd(t *testing.T) {
	s := newServer(t, answering(ok))
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(transport *http.Transport) {
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return reading{conn, cancel}, err
		}
	})
	if a, err := put(c, ctx, s.Host); err != nil || a.Status != 200 {
		t.Errorf("%+v, %v", a, err)
	}
	wantNothing(t, c)
}

// A new connection that breaks off is an error at once; nothing is repeated
// without end.
func TestNewConnectionIsNotRepeated(t *testing.T) {
	s := newServer(t, func(_ int, c net.Conn, in *bufio.Reader) { _, _, _ = readRequest(in) })
	if _, err := put(newClient(t), t.Context(), s.Host); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// What comes on an idle connection is nobody's answer.
func TestUnsolicited(t *testing.T) {
	sent := make(chan bool)
	s := newServer(t, func(i int, c net.Conn, in *bufio.Reader) {
		if i > 0 {
			answering(ok)(i, c, in)
			return
		}
		_, _, _ = readRequest(in)
		_, _ = io.WriteString(c, ok)
		<-sent
		_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		sent <- true
		_, _ = io.Copy(io.Discard, in)
	})
	c := newClient(t)
	mustPut(t, c, s.Host)
	sent <- true
	<-sent
	if a := mustPut(t, c, s.Host); a.Status != 200 {
		t.Errorf("took %d for its answer", a.Status)
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
