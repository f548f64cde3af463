package web_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/signing"
	"github.com/auditdrain/auditdrain/internal/web"
)

const operatorToken = "ad_OPERATOR0000000000000000000000000"

// site is the pages on a real store, as a browser without script sees them.
// Nothing is delivered, and AWS cannot be reached.
type site struct {
	testing.TB
	url      string
	store    *pebblestore.Store
	pages    *web.Server
	mux      *http.ServeMux
	operator *client.Client
}

// newSite makes a site. Each of change may have the API made otherwise.
func newSite(t testing.TB, change ...func(*api.Config)) *site {
	t.Helper()
	store, err := pebblestore.Open(t.TempDir(), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.DiscardHandler)
	committer := ingest.NewCommitter(store, func(string) {}, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- committer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := api.Config{
		Namespace:     auditdrain.DefaultNamespace,
		OperatorToken: auditdrain.HashToken(operatorToken),
		Teams:         store, Tokens: store, Drains: store, Finder: store, Progress: store, Skips: store, Replays: store, Attempts: store, Series: store, Chains: store,
		Links: store, Activities: store, PublicURL: server.URL,
		SigningKeys: signing.New(signing.Options{Store: store, Secret: signing.Secret(signing.NewSecret()), SecretFile: "key-file", Log: log}),
		Events:      committer,
		Tester:      noTester{},
		Deliverer:   noDeliverer{},
		Writer:      writer{},
		PartitionOf: s3.PartitionOf,
		Ready:       store.Check,
		Admit:       store.Admit,
		Registry:    prometheus.NewRegistry(),
		Log:         log,
		Version:     "test",
	}
	for _, c := range change {
		c(&config)
	}
	rest := api.New(config)
	mux.Handle("/", rest.Handler())
	pages, err := web.New(web.Config{API: rest, Sessions: store, Links: store, Regions: s3.Regions(), PublicURL: server.URL, Log: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pages.Stop)
	if err := pages.Register(mux); err != nil {
		t.Fatal(err)
	}
	operator, err := client.New(server.URL, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t, server.URL, store, pages, mux, operator}
	for _, team := range []auditdrain.TeamInput{
		{ID: "team_1", Slug: "acme", Name: "Acme <b>Inc.</b>"},
		{ID: "team_2", Slug: "other", Name: "Other Inc."},
	} {
		_, err := operator.CreateTeam(t.Context(), team)
		s.must(err)
	}
	return s
}

type noTester struct{}

func (noTester) Test(context.Context, auditdrain.Drain, auditdrain.Event) (auditdrain.DrainTestResult, error) {
	return auditdrain.DrainTestResult{}, nil
}

func (noTester) CheckRole(context.Context, auditdrain.Drain) auditdrain.RoleCheck {
	return auditdrain.RoleCheck{}
}

type noDeliverer struct{}

func (noDeliverer) Changed(string) {}

type writer struct{}

func (writer) WriterARN(context.Context) (string, error) { return writer{}.KnownWriterARN(), nil }
func (writer) KnownWriterARN() string                    { return "arn:aws:iam::999999999999:role/writer" }

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// browser keeps cookies and follows redirections.
type browser struct {
	*site
	http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	s.must(err)
	return &browser{s, http.Client{Jar: jar}}
}

// page is what was answered.
type page struct {
	*http.Response
	path string // after redirections
	body string
}

func (b *browser) do(r *http.Request) page {
	b.Helper()
	resp, err := b.Do(r)
	b.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	b.must(err)
	return page{resp, resp.Request.URL.RequestURI(), string(body)}
}

func (b *browser) get(path string) page {
	b.Helper()
	r, err := http.NewRequest("GET", b.url+path, nil)
	b.must(err)
	return b.do(r)
}

func (b *browser) post(path string, form url.Values) page {
	b.Helper()
	r, err := http.NewRequest("POST", b.url+path, strings.NewReader(form.Encode()))
	b.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.url)
	return b.do(r)
}

// logIn returns a browser that is logged in with a token.
func (s *site) logIn(token string) *browser {
	s.Helper()
	b := s.browser()
	if p := b.post("/login", url.Values{"token": {token}}); p.StatusCode >= 500 || strings.HasPrefix(p.path, "/login") {
		s.Fatalf("log-in ended at %s with %d: %s", p.path, p.StatusCode, p.body)
	}
	return b
}

// token makes a token and returns its value.
func (s *site) token(role auditdrain.Role, team string) string {
	s.Helper()
	token, err := s.operator.CreateToken(s.Context(), auditdrain.TokenInput{Name: "Ann", Role: role, TeamID: team})
	s.must(err)
	return token.Value
}

func (p page) want(t *testing.T, status int, texts ...string) {
	t.Helper()
	if p.StatusCode != status {
		t.Errorf("%s: status %d, want %d", p.path, p.StatusCode, status)
	}
	for _, text := range texts {
		if !strings.Contains(p.body, text) {
			t.Errorf("%s: no %q in\n%s", p.path, text, p.body)
		}
	}
}
