package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	firstWait   = 250 * time.Millisecond // before the second attempt, doubled for each one after it
	longestWait = 5 * time.Second
	// longestRetryAfter is how long the server can make a call wait. When it
	// asks for more, the caller gets the error, and with it the decision.
	longestRetryAfter = time.Minute

	maxAnswerBytes = auditdrain.MaxBodyBytes
)

// request is one call, in a form that can be sent again.
type request struct {
	method   string
	path     []string // segments, not escaped
	query    url.Values
	header   http.Header
	body     []byte
	mayRetry bool
}

func get(query url.Values, path ...string) request {
	return request{method: http.MethodGet, path: path, query: query, mayRetry: true}
}

// teamQuery selects a team. Without one it is left to the server, which knows
// the team of every token that is bound to one.
func teamQuery(team string) url.Values {
	if team == "" {
		return url.Values{}
	}
	return url.Values{"teamId": {team}} // the server takes a slug here, too
}

// withJSON returns r with body as its JSON body.
func (r request) withJSON(body any) (request, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return r, fmt.Errorf("encode request: %w", err)
	}
	r.body = b
	r.header = http.Header{"Content-Type": {"application/json"}}
	return r, nil
}

// post is withJSON and call in one, for the calls that are sent once.
func (c *Client) post(ctx context.Context, query url.Values, body, out any, path ...string) error {
	r, err := request{method: http.MethodPost, path: path, query: query}.withJSON(body)
	if err != nil {
		return err
	}
	return c.call(ctx, r, out)
}

// call sends r, again if that is safe and may help, and decodes the answer
// into out unless out is nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	target, err := c.target(r)
	if err != nil {
		return err
	}
	wait := firstWait
	for attempt := 1; ; attempt++ {
		answer, failure := c.once(ctx, target, r)
		if failure == nil {
			if out == nil {
				return nil
			}
			if err := json.Unmarshal(answer, out); err != nil {
				return fmt.Errorf("decode answer to %s %s: %w", r.method, target, err)
			}
			return nil
		}
		if !r.mayRetry || !failure.temporary || attempt == c.attempts ||
			ctx.Err() != nil || failure.retryAfter > longestRetryAfter {
			return failure.err
		}
		// The jitter keeps clients that failed together from coming back
		// together; half of the wait is kept so that it still grows.
		delay := failure.retryAfter + wait/2 + rand.N(wait/2)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return failure.err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, while waiting after: %w", ctx.Err(), failure.err)
		case <-time.After(delay):
		}
		wait = min(2*wait, longestWait)
	}
}

// target returns the URL of r. Segments come from callers, so that "" or ".."
// would make it the URL of another call.
func (c *Client) target(r request) (string, error) {
	u := c.base
	for _, segment := range r.path {
		if segment == "" || segment == "." || segment == ".." {
			return "", fmt.Errorf("%s %s: %q is not an ID", r.method, strings.Join(r.path, "/"), segment)
		}
		u = u.JoinPath(url.PathEscape(segment))
	}
	withQuery := *u
	withQuery.RawQuery = r.query.Encode()
	return withQuery.String(), nil
}

// failure is why an attempt failed, and what can be done about it.
type failure struct {
	err        error
	temporary  bool
	retryAfter time.Duration
}

// once sends r and returns the body of a 2xx answer.
func (c *Client) once(ctx context.Context, target string, r request) ([]byte, *failure) {
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, &failure{err: err}
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("User-Agent", c.userAgent)

	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &failure{err: err, temporary: true} // a *url.Error: it names method and URL
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, &failure{err: fmt.Errorf("read answer to %s %s: %w", r.method, target, err), temporary: true}
	}
	if len(body) > maxAnswerBytes {
		return nil, &failure{err: fmt.Errorf("answer to %s %s is longer than %d bytes", r.method, target, maxAnswerBytes)}
	}
	if resp.StatusCode/100 == 2 {
		return body, nil
	}

	f := &failure{retryAfter: parseRetryAfter(resp.Header.Get("Retry-After"))}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.temporary = true
	}
	if e, ok := parseError(body); ok {
		e.RetryAfter = f.retryAfter
		f.err = e
	} else {
		f.err = fmt.Errorf("%s %s: %w", r.method, target, foreignError(resp, body))
	}
	return nil, f
}

func parseError(body []byte) (*auditdrain.Error, bool) {
	var answer struct {
		Error *auditdrain.Error `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Error == nil || answer.Error.Code == "" {
		return nil, false
	}
	return answer.Error, true
}

// foreignError describes an answer that is not from our server: mostly of a
// proxy before it, or of another server at that address.
func foreignError(resp *http.Response, body []byte) error {
	if to := resp.Header.Get("Location"); to != "" {
		return fmt.Errorf("%s to %q: redirects are not followed, use the server's own URL", resp.Status, to)
	}
	const show = 200
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > show {
		text = strings.ToValidUTF8(text[:show], "") + "…"
	}
	if text == "" {
		return errors.New(resp.Status)
	}
	return fmt.Errorf("%s: %s", resp.Status, text)
}

func parseRetryAfter(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
