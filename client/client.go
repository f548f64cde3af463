// Package client calls the REST API of an auditdrain server.
//
// What it guarantees:
//
//   - When the server refuses a call, the error is an *auditdrain.Error with
//     the server's code, message, details and RetryAfter. When no such answer
//     came, it wraps what went wrong on the way.
//   - A call is repeated only where that is safe: reads, and SendEvents, whose
//     events are idempotent by id and bytes. Everything else is sent once, so
//     that an unknown outcome is reported and not made worse.
//   - Repeats happen after transport errors and 429, 502, 503 and 504, a
//     bounded number of times, after a jittered and growing wait that is never
//     shorter than the server's Retry-After. They end with the context.
//   - Redirects are not followed: the token goes to no other host.
//   - An answer is read up to a limit, never without bound.
//
// A team is given by its ID or its slug. It can be left empty with a token
// that is bound to a team.
package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Client calls one server with one token. It is safe for concurrent use and
// needs no closing.
type Client struct {
	base      *url.URL
	token     string
	http      http.Client
	userAgent string
	attempts  int

	// compressor is used through EncodeAll only, which is safe for concurrent
	// use and starts no goroutines.
	compressor *zstd.Encoder
}

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient makes calls through h (for its transport, TLS settings and
// timeout), except that redirects are still not followed.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) { c.http = *h }
}

// WithAttempts sets how often a call that may be repeated is made at most,
// the first time included. The default is 4, about a second in all; 1 turns
// repeats off.
func WithAttempts(n int) Option {
	return func(c *Client) { c.attempts = max(n, 1) }
}

// WithUserAgent sets the User-Agent header.
func WithUserAgent(s string) Option {
	return func(c *Client) { c.userAgent = s }
}

// New returns a client for the server at baseURL, such as
// "https://audit.example.com" (a path in it is kept, for servers behind a
// proxy). It does no I/O. It fails if baseURL is not such a URL, or if token
// is empty or cannot be sent in a header.
func New(baseURL, token string, opts ...Option) (*Client, error) {
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, fmt.Errorf("server URL %w", err)
	}
	if token == "" {
		return nil, errors.New("token is empty")
	}
	for i := range len(token) {
		// The message must not show the token, not even a part of it.
		if token[i] <= ' ' || token[i] > '~' {
			return nil, fmt.Errorf("token has a character at position %d that no token has (a space, a line break, …)", i+1)
		}
	}

	compressor, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	c := &Client{
		base:      base,
		token:     token,
		http:      http.Client{Transport: defaultTransport()},
		userAgent: "auditdrain-client",
		attempts:  4,

		compressor: compressor,
	}
	for _, opt := range opts {
		opt(c)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// defaultTransport differs from http.DefaultTransport in that a server that
// accepts a request and then says nothing is given up on, and in that many
// callers of one server keep their connections.
func defaultTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 2 * time.Minute // a test delivery may use up AWS's timeouts
	t.MaxIdleConnsPerHost = 64
	return t
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats the URL, which may have a password in it.
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("is not a URL (%w): use http://host or https://host", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("%q is not allowed: use http://host or https://host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("%q is not allowed: leave out the user name, the token is sent as a header", u.Redacted())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%q is not allowed: leave out what comes after ? or #", s)
	}
	return u, nil
}
