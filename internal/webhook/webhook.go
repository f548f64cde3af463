// Package webhook posts to receivers that the operator has named.
//
// What is posted reaches nobody else: redirects are not followed. A receiver that
// does not answer is given up after Timeout. Errors never hold its address, which may
// have a token in it.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// Timeout is how long a receiver may take to answer.
const Timeout = 15 * time.Second

const (
	// idleConnections is how many are kept for each receiver.
	idleConnections = 4
	// mostAnswer bounds what is read of an answer, so that its connection can be
	// used again, and mostShown what an error shows of it.
	mostAnswer = 16 << 10
	mostShown  = 200
)

// Client makes calls, any number at a time.
type Client struct{ http *http.Client }

// New returns a Client that calls through transport. If that is nil, it has one of its
// own, with the proxies of the environment.
func New(transport http.RoundTripper) *Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: idleConnections,
			IdleConnTimeout:     time.Minute,
		}
	}
	return &Client{&http.Client{
		Transport:     transport,
		Timeout:       Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Code   int
	Status string // such as "404 Not Found"
	Answer string // the first bytes of the body
}

func (e *StatusError) Error() string {
	if e.Answer == "" {
		return "the receiver answered " + e.Status
	}
	return fmt.Sprintf("the receiver answered %s: %q", e.Status, e.Answer)
}

// Post sends JSON to a receiver, once. It returns nil when that has answered 2xx, and a
// *StatusError when it has answered something else.
func (c *Client) Post(ctx context.Context, address string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "auditdrain")
	resp, err := c.http.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	answer = bytes.TrimSpace(answer)
	return &StatusError{Code: resp.StatusCode, Status: resp.Status, Answer: string(answer[:min(len(answer), mostShown)])}
}

// CloseIdleConnections closes the connections that no call uses.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
