package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// inMemory calls a handler without a network, so that time is synctest's.
type inMemory struct{ handler http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	m.handler.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// brokenTransport fails as a network does.
type brokenTransport struct {
	calls int
	err   error
}

func (b *brokenTransport) RoundTrip(*http.Request) (*http.Response, error) {
	b.calls++
	return nil, b.err
}

func newClient(t *testing.T, rt http.RoundTripper, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New("http://audit.test", token,
		append([]client.Option{client.WithHTTPClient(&http.Client{Transport: rt})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answers is a server that gives one answer after the other, and the last one
// for ever.
type answers struct {
	list   []answer
	bodies [][]byte // what was received, decoded or not
	at     []time.Time
}

type answer struct {
	status     int
	retryAfter int
	body       string
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.bodies = append(a.bodies, body)
	a.at = append(a.at, time.Now())
	now := a.list[min(len(a.bodies), len(a.list))-1]
	if now.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(now.retryAfter))
	}
	w.WriteHeader(now.status)
	io.WriteString(w, now.body)
}

const (
	busy     = `{"error":{"code":"unavailable","message":"shutting down"}}`
	limited  = `{"error":{"code":"rate_limited","message":"too fast"}}`
	internal = `{"error":{"code":"internal_error","message":"internal error"}}`
)

func calls(c *client.Client) map[string]func(context.Context) error {
	name := "n"
	return map[string]func(context.Context) error{
		"ListTeams": func(ctx context.Context) error { _, err := c.ListTeams(ctx); return err },
		"FindTeams": func(ctx context.Context) error { _, err := c.FindTeams(ctx, "a&b", 5); return err },
		"GetTeam":   func(ctx context.Context) error { _, err := c.GetTeam(ctx, "acme"); return err },
		"UpdateTeam": func(ctx context.Context) error {
			_, err := c.UpdateTeam(ctx, "acme", auditdrain.TeamPatch{Name: &name})
			return err
		},
		"CreatePortalLink": func(ctx context.Context) error {
			_, err := c.CreatePortalLink(ctx, auditdrain.PortalLinkInput{})
			return err
		},
		"ListActivity": func(ctx context.Context) error {
			_, err := c.ListActivity(ctx, auditdrain.ActivityQuery{TeamID: "team_1", Before: 7, Limit: 5})
			return err
		},
		"ListTokens":     func(ctx context.Context) error { _, err := c.ListTokens(ctx, "team_1"); return err },
		"ListDrains":     func(ctx context.Context) error { _, err := c.ListDrains(ctx, "team_1"); return err },
		"GetDrain":       func(ctx context.Context) error { _, err := c.GetDrain(ctx, "team_1", "drn_1"); return err },
		"SendEvents":     func(ctx context.Context) error { _, err := c.SendEvents(ctx, "team_1", []byte("{}")); return err },
		"SendEventsOnce": func(ctx context.Context) error { _, err := c.SendEventsOnce(ctx, "team_1", []byte("{}")); return err },
		"CreateTeam":     func(ctx context.Context) error { _, err := c.CreateTeam(ctx, auditdrain.TeamInput{}); return err },
		"CreateToken":    func(ctx context.Context) error { _, err := c.CreateToken(ctx, auditdrain.TokenInput{}); return err },
		"DeleteToken":    func(ctx context.Context) error { return c.DeleteToken(ctx, "team_1", "tok_1") },
		"CreateDrain": func(ctx context.Context) error {
			_, err := c.CreateDrain(ctx, "team_1", auditdrain.DrainInput{})
			return err
		},
		"UpdateDrain": func(ctx context.Context) error {
			_, err := c.UpdateDrain(ctx, "team_1", "drn_1", auditdrain.DrainPatch{Name: &name})
			return err
		},
		"DeleteDrain": func(ctx context.Context) error { return c.DeleteDrain(ctx, "team_1", "drn_1") },
		"TestDelivery": func(ctx context.Context) error {
			_, err := c.TestDelivery(ctx, "team_1", auditdrain.DrainTestInput{})
			return err
		},
		"TestDrain": func(ctx context.Context) error { _, err := c.TestDrain(ctx, "team_1", "drn_1"); return err },
		"ListAttempts": func(ctx context.Context) error {
			_, err := c.ListAttempts(ctx, "team_1", "drn_1", "failed", 5)
			return err
		},
		"Integrity": func(ctx context.Context) error { _, err := c.Integrity(ctx, "team_1", "drn_1"); return err },
		"ListSkips": func(ctx context.Context) error { _, err := c.ListSkips(ctx, "team_1", "drn_1"); return err },
		"SkipEvent": func(ctx context.Context) error {
			_, err := c.SkipEvent(ctx, "team_1", "drn_1", auditdrain.SkipInput{})
			return err
		},
		"StartReplay": func(ctx context.Context) error {
			_, err := c.StartReplay(ctx, "team_1", "drn_1", auditdrain.ReplayInput{})
			return err
		},
		"GetReplay":    func(ctx context.Context) error { _, err := c.GetReplay(ctx, "team_1", "drn_1"); return err },
		"CancelReplay": func(ctx context.Context) error { _, err := c.CancelReplay(ctx, "team_1", "drn_1"); return err },
		"Setup": func(ctx context.Context) error {
			_, err := c.Setup(ctx, "team_1", auditdrain.SetupQuery{Endpoint: "s3://acme/a b&c", KMSKeyARN: "arn:x"})
			return err
		},
		"CheckPolicies": func(ctx context.Context) error {
			_, err := c.CheckPolicies(ctx, "team_1", auditdrain.PolicyCheckInput{})
			return err
		},
	}
}

func TestRequests(t *testing.T) {
	want := map[string]string{
		"ListTeams":        "GET /v1/teams",
		"FindTeams":        "GET /v1/teams?limit=5&search=a%26b",
		"GetTeam":          "GET /v2/teams/acme",
		"UpdateTeam":       "PATCH /v1/teams/acme",
		"CreatePortalLink": "POST /v1/portal-links",
		"ListActivity":     "GET /v1/activity?before=7&limit=5&teamId=team_1",
		"ListTokens":       "GET /v1/tokens?teamId=team_1",
		"ListDrains":       "GET /v1/drains?includeMetadata=true&teamId=team_1",
		"GetDrain":         "GET /v1/drains/drn_1?includeMetadata=true&teamId=team_1",
		"SendEvents":       "POST /v1/events?teamId=team_1",
		"SendEventsOnce":   "POST /v1/events?teamId=team_1",
		"CreateTeam":       "POST /v1/teams",
		"CreateToken":      "POST /v1/tokens",
		"DeleteToken":      "DELETE /v1/tokens/tok_1?teamId=team_1",
		"CreateDrain":      "POST /v1/drains?teamId=team_1",
		"UpdateDrain":      "PATCH /v1/drains/drn_1?teamId=team_1",
		"DeleteDrain":      "DELETE /v1/drains/drn_1?teamId=team_1",
		"TestDelivery":     "POST /v1/drains/test?teamId=team_1",
		"TestDrain":        "POST /v1/drains/drn_1/test?teamId=team_1",
		"ListAttempts":     "GET /v1/drains/drn_1/attempts?limit=5&outcome=failed&teamId=team_1",
		"Integrity":        "GET /v1/drains/drn_1/integrity?teamId=team_1",
		"ListSkips":        "GET /v1/drains/drn_1/skips?teamId=team_1",
		"SkipEvent":        "POST /v1/drains/drn_1/skips?teamId=team_1",
		"StartReplay":      "POST /v1/drains/drn_1/replay?teamId=team_1",
		"GetReplay":        "GET /v1/drains/drn_1/replay?teamId=team_1",
		"CancelReplay":     "DELETE /v1/drains/drn_1/replay?teamId=team_1",
		"Setup":            "GET /v1/setup?endpoint=s3%3A%2F%2Facme%2Fa+b%26c&kmsKeyArn=arn%3Ax&teamId=team_1",
		"CheckPolicies":    "POST /v1/policies/check?teamId=team_1",
	}
	var got string
	c := newClient(t, inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.RequestURI()
		if h := r.Header.Get("Authorization"); h != "Bearer "+token {
			t.Errorf("%s: Authorization %q", got, h)
		}
		if r.Method == http.MethodDelete && !strings.HasSuffix(r.URL.Path, "/replay") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		io.WriteString(w, "{}")
	})})
	for name, call := range calls(c) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got != want[name] {
			t.Errorf("%s sent %s, want %s", name, got, want[name])
		}
	}
}

// A refusal arrives as the server meant it, with every part.
func TestErrorIsTheServers(t *testing.T) {
	s := &answers{list: []answer{{status: 422, body: `{"error":{"code":"invalid_event","message":"2 events are not valid",
		"details":[{"index":0,"field":"action","message":"missing"},{"index":7,"field":"id","message":"bad"}],"ids":["a"]}}`}}}
	_, err := newClient(t, inMemory{s}).SendEvents(t.Context(), "team_1", []byte("{}"))
	zero, seven := 0, 7
	want := &auditdrain.Error{
		Code:    auditdrain.CodeInvalidEvent,
		Message: "2 events are not valid",
		Details: []auditdrain.Problem{
			{Index: &zero, Field: "action", Message: "missing"},
			{Index: &seven, Field: "id", Message: "bad"},
		},
		IDs: []string{"a"},
	}
	var got *auditdrain.Error
	if !errors.As(err, &got) {
		t.Fatalf("error %v (%T) is not an *auditdrain.Error", err, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(s.bodies) != 1 {
		t.Errorf("%d calls after a 422, want 1", len(s.bodies))
	}
}

// What is repeated is exactly what the package promises: nothing that could
// happen twice.
func TestRepeatsOnlyWhatIsSafe(t *testing.T) {
	repeated := map[string]bool{
		"ListTeams": true, "FindTeams": true, "GetTeam": true, "ListTokens": true, "ListDrains": true, "GetDrain": true, "SendEvents": true, "Setup": true, "CheckPolicies": true,
		"ListAttempts": true, "Integrity": true, "ListSkips": true, "GetReplay": true, "ListActivity": true,
	}
	causes := map[string]struct {
		answer    answer
		temporary bool
	}{
		"429":           {answer{status: 429, retryAfter: 2, body: limited}, true},
		"503":           {answer{status: 503, retryAfter: 1, body: busy}, true},
		"502 of proxy":  {answer{status: 502, body: "<html>Bad Gateway"}, true},
		"504 of proxy":  {answer{status: 504}, true},
		"500":           {answer{status: 500, body: internal}, false},
		"404 not found": {answer{status: 404, body: `{"error":{"code":"not_found","message":"no"}}`}, false},
	}
	for cause, tc := range causes {
		t.Run(cause, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *answers
				c := newClient(t, inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) })})
				for name, call := range calls(c) {
					s = &answers{list: []answer{tc.answer}}
					err := call(t.Context())
					if err == nil {
						t.Fatalf("%s: no error", name)
					}
					want := 1
					if repeated[name] && tc.temporary {
						want = 4
					}
					if len(s.bodies) != want {
						t.Errorf("%s: %d calls, want %d", name, len(s.bodies), want)
					}
				}
			})
		})
	}
	t.Run("transport", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &brokenTransport{err: io.ErrUnexpectedEOF}
			for name, call := range calls(newClient(t, b)) {
				b.calls = 0
				err := call(t.Context())
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %v does not wrap the transport's error", name, err)
				}
				want := 1
				if repeated[name] {
					want = 4
				}
				if b.calls != want {
					t.Errorf("%s: %d calls, want %d", name, b.calls, want)
				}
			}
		})
	})
}

func TestRepeatSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &answers{list: []answer{
			{status: 503, retryAfter: 7, body: busy},
			{status: 429, retryAfter: 3, body: limited},
			{status: 200, body: `{"accepted":1,"duplicates":2}`},
		}}
		start := time.Now()
		got, err := newClient(t, inMemory{s}).SendEvents(t.Context(), "", []byte(`{"id":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		if want := (auditdrain.EventsResult{Accepted: 1, Duplicates: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i, body := range s.bodies {
			if string(body) != `{"id":"a"}` {
				t.Errorf("attempt %d sent %q", i+1, body)
			}
		}
		if d := s.at[1].Sub(start); d < 7*time.Second || d > 8*time.Second {
			t.Errorf("second attempt after %v, the server asked for 7s", d)
		}
		if d := s.at[2].Sub(s.at[1]); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("third attempt after %v, the server asked for 3s", d)
		}
	})
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &answers{list: []answer{{status: 503, body: busy}}}
		newClient(t, inMemory{s}, client.WithAttempts(9)).ListTeams(t.Context())
		if len(s.at) != 9 {
			t.Fatalf("%d attempts, want 9", len(s.at))
		}
		limit := 250 * time.Millisecond
		for i := 1; i < len(s.at); i++ {
			if d := s.at[i].Sub(s.at[i-1]); d < limit/2 || d > limit {
				t.Errorf("wait %d was %v, want between %v and %v", i, d, limit/2, limit)
			}
			limit = min(2*limit, 5*time.Second)
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := &answers{list: []answer{{status: 503, retryAfter: 30, body: busy}}}
			c := newClient(t, inMemory{s})
			time.AfterFunc(10*time.Second, cancel)
			start := time.Now()
			_, err := c.ListTeams(ctx)
			if d := time.Since(start); d != 10*time.Second {
				t.Errorf("returned after %v, want 10s", d)
			}
			if !errors.Is(err, context.Canceled) || auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
				t.Errorf("%v: want both the cancellation and the server's last answer", err)
			}
		})
	})
	t.Run("deadline comes first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s := &answers{list: []answer{{status: 503, retryAfter: 30, body: busy}}}
			start := time.Now()
			_, err := newClient(t, inMemory{s}).ListTeams(ctx)
			if d := time.Since(start); d != 0 {
				t.Errorf("waited %v for nothing", d)
			}
			var e *auditdrain.Error
			if !errors.As(err, &e) || e.RetryAfter != 30*time.Second {
				t.Errorf("%v: want the server's answer with its RetryAfter", err)
			}
		})
	})
	t.Run("asked for too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &answers{list: []answer{{status: 429, retryAfter: 3600, body: limited}}}
			_, err := newClient(t, inMemory{s}).ListTeams(t.Context())
			var e *auditdrain.Error
			if !errors.As(err, &e) || e.RetryAfter != time.Hour || len(s.bodies) != 1 {
				t.Errorf("%v after %d calls: want the answer of the only call", err, len(s.bodies))
			}
		})
	})
}

func TestForeignAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		header string
		body   string
		want   string
	}{
		"page":          {status: 403, body: "<html>\n  <b>Denied</b>", want: "GET http://audit.test/v1/teams: 403 Forbidden: <html> <b>Denied</b>"},
		"nothing":       {status: 418, want: "418 I'm a teapot"},
		"other JSON":    {status: 404, body: `{"error":"no route"}`, want: `404 Not Found: {"error":"no route"}`},
		"long":          {status: 404, body: strings.Repeat("é", 5000), want: "404 Not Found: " + strings.Repeat("é", 100) + "…"},
		"redirect":      {status: 308, header: "https://evil.test/", want: `to "https://evil.test/": redirects are not followed`},
		"200, not JSON": {status: 200, body: "<html>", want: "decode answer to GET http://audit.test/v1/teams"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			c := newClient(t, inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				if tc.header != "" {
					w.Header().Set("Location", tc.header)
				}
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})})
			_, err := c.ListTeams(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			var e *auditdrain.Error
			if errors.As(err, &e) {
				t.Errorf("%v claims to be our server's", err)
			}
			if n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

// endless is a body that goes on for ever.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { return nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnswerIsBounded(t *testing.T) {
	body := &endless{}
	c := newClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: body, Request: r}, nil
	}))
	_, err := c.ListTeams(t.Context())
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
	if limit := auditdrain.MaxBodyBytes * 2; body.read > limit {
		t.Errorf("read %d bytes of an endless answer", body.read)
	}
}

// IDs that would make a path another route's never leave the client.
func TestPathSegments(t *testing.T) {
	var got string
	c := newClient(t, inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.EscapedPath()
		w.WriteHeader(http.StatusNoContent)
	})})
	for _, id := range []string{"", ".", ".."} {
		if err := c.DeleteDrain(t.Context(), "team_1", id); err == nil || got != "" {
			t.Errorf("DeleteDrain(%q): %v, sent to %q", id, err, got)
		}
	}
	if err := c.DeleteDrain(t.Context(), "team_1", "../teams?x=y"); err != nil {
		t.Fatal(err)
	}
	if want := "/v1/drains/..%2Fteams%3Fx=y"; got != want {
		t.Errorf("path %q, want %q", got, want)
	}
}

// A connection that breaks within the answer is a transport error as well.
func TestBrokenAnswerIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := newClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			n++
			var body io.Reader = strings.NewReader(`{"teams":[{"id":"team_1"}]}`)
			if n == 1 {
				body = io.MultiReader(strings.NewReader(`{"teams":`), errReader{})
			}
			return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
		}))
		teams, err := c.ListTeams(t.Context())
		if err != nil || n != 2 || len(teams) != 1 {
			t.Errorf("got %v, %v after %d calls, want one team after 2", teams, err, n)
		}
	})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestUserAgentAndAccept(t *testing.T) {
	leaktest.Check(t)
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		io.Copy(w, bytes.NewReader([]byte("{}")))
	}))
	defer server.Close()
	c, err := client.New(server.URL, token, client.WithUserAgent("acme/1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListTeams(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got.Get("User-Agent") != "acme/1" || got.Get("Accept") != "application/json" {
		t.Errorf("headers %v", got)
	}
}
