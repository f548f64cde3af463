package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/auditdrain/auditdrain"
)

// Identity is who makes a call that comes from inside the process, and has
// been authenticated there: the web pages'.
type Identity struct {
	Token   auditdrain.Token // what it may do
	Session string           // ID
	// Address and UserAgent are of the person's browser, as in an
	// *http.Request.
	Address   string
	UserAgent string
}

type identityKey struct{}

// WithIdentity returns a context whose calls through Inside are made by id.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// Inside returns a transport that answers by calling h, a Handler of this
// package, without a network. Calls are made by the Identity of their context;
// nothing that comes over the network can have one.
func Inside(h http.Handler) http.RoundTripper { return inside{h} }

type inside struct{ handler http.Handler }

func (in inside) RoundTrip(r *http.Request) (*http.Response, error) {
	if id, ok := r.Context().Value(identityKey{}).(Identity); ok {
		r = r.Clone(r.Context())
		r.RemoteAddr = id.Address
		r.Header.Set("User-Agent", id.UserAgent)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	w := &recorded{header: http.Header{}, status: http.StatusOK}
	in.handler.ServeHTTP(w, r)
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.header,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// recorded is an http.ResponseWriter that keeps what is written.
type recorded struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (a *recorded) Header() http.Header { return a.header }

func (a *recorded) WriteHeader(status int) {
	if !a.wrote {
		a.status, a.wrote = status, true
	}
}

func (a *recorded) Write(p []byte) (int, error) {
	a.wrote = true
	return a.body.Write(p)
}

// RemoteIP is where a request came from. There may be proxies in between, whose
// headers anybody can send: they are not believed.
func RemoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// maxUserAgent bounds what is kept of a User-Agent, in bytes.
const maxUserAgent = 256

// UserAgent is what a request's client calls itself, as printable text.
func UserAgent(r *http.Request) string {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(agent, ""))
}
