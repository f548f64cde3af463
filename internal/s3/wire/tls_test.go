package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// tlsServer serves handler with TLS, and HTTP/2 for whoever wants it.
func tlsServer(t testing.TB, handler http.HandlerFunc, change func(*tls.Config)) *httptest.Server {
	t.Helper()
	leaktest.Check(t)
	srv := httptest.NewUnstartedServer(handler)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	srv.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	if change != nil {
		change(srv.TLS)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// trusting makes a client trust srv.
func trusting(srv *httptest.Server) func(*http.Transport) {
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return func(t *http.Transport) { t.TLSClientConfig = &tls.Config{RootCAs: roots} }
}

// Each new connection to a host resumes the session of the one before.
func TestTLSResumes(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var mu sync.Mutex
		var states []tls.ConnectionState
		srv := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, *r.TLS)
			w.Header().Set("Connection", "close")
		}, func(c *tls.Config) { c.MaxVersion = version })
		c := newClient(t, trusting(srv))
		for range 4 {
			mustPut(t, c, hostOf(t, srv.URL))
		}
		for i, s := range states {
			if s.Version != version || s.DidResume != (i > 0) || s.NegotiatedProtocol != "http/1.1" {
				t.Errorf("%s: connection %d: %s, resumed %t, %q", tls.VersionName(version), i, tls.VersionName(s.Version), s.DidResume, s.NegotiatedProtocol)
			}
		}
	}
}

func TestTLSReuse(t *testing.T) {
	conns := map[string]bool{}
	srv := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		if n, err := io.Copy(io.Discard, r.Body); n != r.ContentLength || err != nil {
			t.Errorf("read %d of %d bytes: %v", n, r.ContentLength, err)
		}
		w.WriteHeader(http.StatusForbidden)
	}, nil)
	c := newClient(t, trusting(srv))
	for _, size := range []int{10, 256 << 10, 10} {
		a, err := c.Put(t.Context(), hostOf(t, srv.URL), Request{Path: []byte("/"), Body: make([]byte, size)}, timeout)
		if err != nil || a.Status != 403 {
			t.Errorf("%+v, %v", a, err)
		}
	}
	if len(conns) != 1 {
		t.Errorf("%d connections, want 1", len(conns))
	}
}

func TestTLSNotTrusted(t *testing.T) {
	srv := tlsServer(t, func(http.ResponseWriter, *http.Request) {}, nil)
	_, err := put(newClient(t), t.Context(), hostOf(t, srv.URL))
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("%v", err)
	}
}

// held is a connection that can keep what is written for later.
type held struct {
	net.Conn
	hold bool
	buf  bytes.Buffer
}

func (h *held) Write(p []byte) (int, error) {
	if h.hold {
		return h.buf.Write(p)
	}
	return h.Conn.Write(p)
}

// What TLS has read ahead, in records that came at once, is nobody's answer
// either.
func TestTLSUnsolicited(t *testing.T) {
	certified := tlsServer(t, nil, nil)
	s := newServer(t, func(i int, c net.Conn, _ *bufio.Reader) {
		h := &held{Conn: c}
		server := tls.Server(h, certified.TLS)
		if i > 0 {
			answering(ok)(i, server, bufio.NewReader(server))
			return
		}
		_, _, _ = readRequest(bufio.NewReader(server))
		h.hold = true
		_, _ = io.WriteString(server, ok)
		_, _ = io.WriteString(server, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		_, _ = h.buf.WriteTo(c)
		_, _ = io.Copy(io.Discard, server)
	})
	c := newClient(t, trusting(certified))
	h := hostOf(t, "https://"+s.addr)
	for range 2 {
		if a := mustPut(t, c, h); a.Status != 200 {
			t.Errorf("took %d for its answer", a.Status)
		}
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
