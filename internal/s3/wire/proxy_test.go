package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// testProxy is an HTTP proxy that leads everywhere to one server.
type testProxy struct {
	to     string // address
	refuse int    // status, or 0

	mu   sync.Mutex
	asks []string
}

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asks = append(p.asks, fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", r.Header["Proxy-Authorization"], r.Header["X-Tenant"]))
	p.mu.Unlock()
	if p.refuse != 0 {
		w.WriteHeader(p.refuse)
		return
	}
	if r.Method != http.MethodConnect {
		_, _ = io.Copy(io.Discard, r.Body)
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	relay(from, to)
}

func relay(a, b net.Conn) {
	go func() {
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
}

func TestProxy(t *testing.T) {
	target := tlsServer(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, nil)
	p := &testProxy{to: target.Listener.Addr().String()}
	plain := httptest.NewServer(p)
	t.Cleanup(plain.Close)
	secure := tlsServer(t, p.ServeHTTP, nil)
	tenant := http.Header{"X-Tenant": {"a"}}
	for _, tt := range []struct {
		name, proxy, target string
		change              func(*http.Transport)
		want                string // that the proxy is asked
	}{
		{name: "http through http", proxy: plain.URL, target: "http://example.com", want: "PUT http://example.com/b/k%3D example.com [] []"},
		{name: "http through http, with a port", proxy: plain.URL, target: "http://example.com:9000", want: "PUT http://example.com:9000/b/k%3D example.com:9000 [] []"},
		{name: "http through https", proxy: secure.URL, target: "http://example.com", want: "PUT http://example.com/b/k%3D example.com [] []"},
		{name: "http with a password", proxy: strings.Replace(plain.URL, "//", "//user:p%40ss@", 1), target: "http://example.com",
			want: "PUT http://example.com/b/k%3D example.com [Basic dXNlcjpwQHNz] []"},
		{name: "https through http", proxy: plain.URL, target: "https://example.com", want: "CONNECT example.com:443 example.com:443 [] []"},
		{name: "https through https", proxy: secure.URL, target: "https://example.com", want: "CONNECT example.com:443 example.com:443 [] []"},
		{name: "https with a password", proxy: strings.Replace(plain.URL, "//", "//user:p%40ss@", 1), target: "https://example.com:8443",
			want: "CONNECT example.com:8443 example.com:8443 [Basic dXNlcjpwQHNz] []"},
		{name: "headers of CONNECT", proxy: plain.URL, target: "https://example.com",
			change: func(t *http.Transport) { t.ProxyConnectHeader = tenant }, want: "CONNECT example.com:443 example.com:443 [] [a]"},
		{name: "headers of CONNECT by a function", proxy: plain.URL, target: "https://example.com",
			change: func(t *http.Transport) {
				t.GetProxyConnectHeader = func(_ context.Context, _ *url.URL, addr string) (http.Header, error) {
					return http.Header{"X-Tenant": {addr}}, nil
				}
			}, want: "CONNECT example.com:443 example.com:443 [] [example.com:443]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, trusting(target), func(transport *http.Transport) {
				transport.TLSClientConfig.RootCAs.AddCert(secure.Certificate())
				transport.Proxy = func(r *http.Request) (*url.URL, error) {
					if r.URL.String() != tt.target {
						t.Errorf("proxy of %s, want of %s", r.URL, tt.target)
					}
					return url.Parse(tt.proxy)
				}
				if tt.change != nil {
					tt.change(transport)
				}
			})
			for range 2 { // the second over the same connection
				if a := mustPut(t, c, hostOf(t, tt.target)); a.Status != 200 {
					t.Errorf("answer %+v", a)
				}
			}
			want := []string{tt.want, tt.want}
			if strings.HasPrefix(tt.want, "CONNECT") {
				want = want[:1]
			}
			if d := cmp.Diff(want, p.asks); d != "" {
				t.Errorf("asked (-want +got):\n%s", d)
			}
			p.asks = nil
		})
	}
	if tenant.Get("Proxy-Authorization") != "" {
		t.Error("the configured header was changed")
	}
}

func through(proxyURL string) func(*http.Transport) {
	return func(t *http.Transport) {
		t.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxyURL) }
	}
}

func TestProxyFails(t *testing.T) {
	p := &testProxy{refuse: http.StatusProxyAuthRequired}
	leaktest.Check(t)
	refusing := httptest.NewServer(p)
	t.Cleanup(refusing.Close)
	nonsense := newServer(t, func(_ int, c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "nonsense\r\n\r\n") })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, tt := range []struct{ proxy, target, err string }{
		{refusing.URL, "https://example.com", "the proxy refuses to connect to example.com:443: 407 Proxy Authentication Required"},
		{"http://" + nonsense.addr, "https://example.com", "malformed HTTP"},
		{"http://" + l.Addr().String(), "https://example.com", "proxyconnect tcp: dial tcp " + l.Addr().String()},
		{"socks5://" + l.Addr().String(), "https://example.com", "proxyconnect tcp: dial tcp " + l.Addr().String()},
		{strings.Replace(refusing.URL, "http:", "https:", 1), "http://example.com", "proxyconnect tcp: tls: "},
		{"socks5://" + nonsense.addr, "http://example.com", "socks connect tcp"},
		{"socks4://u:secret@proxy.example:1", "http://example.com", `proxy socks4://u:xxxxx@proxy.example:1: "socks4" is not a kind of proxy that is known here: use http, https or socks5`},
	} {
		_, err := put(newClient(t, through(tt.proxy)), t.Context(), hostOf(t, tt.target))
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s through %s: %v, want %s", tt.target, tt.proxy, err, tt.err)
		}
	}
	// An answer of the proxy to a PUT is shown as one.
	if a := mustPut(t, newClient(t, through(refusing.URL)), hostOf(t, "http://example.com")); a.Status != 407 {
		t.Errorf("answer %+v", a)
	}

	_, err = put(newClient(t, func(t *http.Transport) {
		t.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("bad proxy URL") }
	}), t.Context(), hostOf(t, "http://example.com"))
	if err == nil || err.Error() != "find the proxy: bad proxy URL" {
		t.Errorf("%v", err)
	}
}

// socksServer is a SOCKS5 proxy (RFC 1928, 1929) that leads everywhere to one
// server.
func socksServer(t *testing.T, to string, asks chan<- string) *server {
	return newServer(t, func(_ int, c net.Conn, in *bufio.Reader) {
		read := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(in, b)
			return b
		}
		ask := ""
		methods := read(int(read(2)[1]))
		if slices.Contains(methods, 2) {
			_, _ = c.Write([]byte{5, 2})
			user := read(int(read(2)[1]))
			password := read(int(read(1)[0]))
			ask = string(user) + ":" + string(password) + "@"
			_, _ = c.Write([]byte{1, 0})
		} else {
			_, _ = c.Write([]byte{5, 0})
		}
		if head := read(4); head[1] != 1 || head[3] != 3 {
			return
		}
		host := read(int(read(1)[0]))
		port := read(2)
		asks <- fmt.Sprint(ask, string(host), ":", int(port[0])<<8|int(port[1]))
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		relay(c, out)
	})
}

func TestSOCKS(t *testing.T) {
	target := tlsServer(t, func(http.ResponseWriter, *http.Request) {}, nil)
	asks := make(chan string, 1)
	s := socksServer(t, target.Listener.Addr().String(), asks)
	for prefix, want := range map[string]string{
		"socks5://":         "example.com:443",
		"socks5h://":        "example.com:443",
		"socks5://user:pw@": "user:pw@example.com:443",
	} {
		c := newClient(t, trusting(target), through(prefix+s.addr))
		for range 2 { // the second over the same connection
			mustPut(t, c, hostOf(t, "https://example.com"))
		}
		if got := <-asks; got != want {
			t.Errorf("%s: asked for %s, want %s", prefix, got, want)
		}
	}
}
