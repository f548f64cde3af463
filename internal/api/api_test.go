package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/leaktest"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/signing"
)

// service is the API on a real store. Only AWS and the delivery loops are
// stood in for.
type service struct {
	t       *testing.T
	api     *Server
	handler http.Handler
	store   *pebblestore.Store
	log     *strings.Builder

	mu                      sync.Mutex
	changed                 []string // drains that delivery was told of
	tested, checked         []auditdrain.Drain
	testErr                 error // ours
	writerErr               error
	testResult              auditdrain.DrainTestResult
	roleCheck               auditdrain.RoleCheck
	duringTest, duringCheck func()
}

const operatorToken = "ad_operator0123456789abcdefghij"

func newService(t *testing.T) *service {
	t.Helper()
	leaktest.Check(t)
	s := &service{t: t, log: new(strings.Builder)}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	store, err := pebblestore.Open(t.TempDir(), pebblestore.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	committer := ingest.NewCommitter(store, func(string) {}, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- committer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
	s.store = store
	s.api = New(Config{
		Namespace:     auditdrain.DefaultNamespace,
		OperatorToken: auditdrain.HashToken(operatorToken),
		Teams:         store,
		Tokens:        store,
		Drains:        store,
		Finder:        store,
		Progress:      store,
		Skips:         store,
		Replays:       store,
		Attempts:      store,
		Series:        store,
		Chains:        store,
		Links:         store,
		Activities:    store,
		SigningKeys:   s.keyring(signing.Secret(strings.Repeat("x", 32))),
		PublicURL:     "https://audit.example.com/",
		Events:        committer,
		Tester:        s,
		Deliverer:     s,
		Writer:        s,
		PartitionOf:   s3.PartitionOf,
		Ready:         store.Check,
		Admit:         store.Admit,
		Registry:      prometheus.NewRegistry(),
		Log:           log,
		Version:       "test",
	})
	s.handler = s.api.Handler()
	return s
}

// keyring is of a process with a key file that holds secret, or with none.
func (s *service) keyring(secret signing.Secret) *signing.Keyring {
	return signing.New(signing.Options{Store: s.store, Secret: secret, SecretFile: "key-file", Log: slog.New(slog.DiscardHandler)})
}

func (s *service) Changed(drainID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, drainID)
}

func (s *service) Test(_ context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.DrainTestResult, error) {
	if s.duringTest != nil {
		s.duringTest()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tested = append(s.tested, d)
	result := s.testResult
	if result.Status == "" {
		result.Key, result.Duration = d.Delivery.ObjectKey(e, true), 1
	}
	result.RoleCheck = &s.roleCheck
	return result, s.testErr
}

func (s *service) CheckRole(_ context.Context, d auditdrain.Drain) auditdrain.RoleCheck {
	if s.duringCheck != nil {
		s.duringCheck()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = append(s.checked, d)
	return s.roleCheck
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// errorCode is the code of an answer in the error shape of the contract.
func (a answer) errorCode() string {
	var body struct {
		Error struct {
			Code, Message string
		}
	}
	if json.Unmarshal([]byte(a.body), &body) != nil || body.Error.Message == "" {
		return ""
	}
	return body.Error.Code
}

func (s *service) do(token, method, path, body string, header ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// must is do with the operator's token, for what has to work.
func must[T any](s *service, method, path, body string) T {
	s.t.Helper()
	a := s.do(operatorToken, method, path, body)
	if a.status/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	if a.body == "" {
		return *new(T)
	}
	return decode[T](s.t, a.body)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func (s *service) team(id string) {
	s.t.Helper()
	must[auditdrain.Team](s, "POST", "/v1/teams", `{"id":"`+id+`","slug":"`+strings.ReplaceAll(id, "_", "-")+`","name":"Team"}`)
}

func (s *service) token(team string, role auditdrain.Role) string {
	s.t.Helper()
	return must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"x","role":"`+string(role)+`","teamId":"`+team+`"}`).Value
}

const goodDelivery = `{"type":"s3","endpoint":"s3://acme-audit/audit-logs","encoding":"ndjson","compression":"none","fileStructure":"hive","roleArn":"arn:aws:iam::123456789012:role/path/drain","region":"eu-central-1"}`

func drainBody(delivery string) string {
	return `{"name":"archive","projects":"all","schemas":{"audit_log":{"version":"v1"}},"delivery":` + delivery + `}`
}

const goodEvent = `{"id":"uev_1","action":"login","timestamp":1750000000000,"actor":{"type":"user","id":"u","name":"n"}}`

// TestAccess is every route × every role × the own and another team.
func TestAccess(t *testing.T) {
	const (
		ok        = http.StatusOK
		forbidden = http.StatusForbidden
	)
	// What each caller gets, in the order of columns.
	columns := []string{"operator", "owner", "viewer", "producer", "other owner", "other viewer", "other producer", "expired", "unknown", "none"}
	type row struct {
		method, path, body string
		want               []int
	}
	const (
		noToken = http.StatusUnauthorized
		gone    = http.StatusNoContent
		absent  = http.StatusNotFound // and so it was looked for
	)
	rows := []row{
		{"POST", "/v1/events?teamId=team_a", goodEvent, []int{ok, forbidden, forbidden, ok, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/drains/test?teamId=team_a", `{"schemas":{"audit_log":{"version":"v1"}},"delivery":` + goodDelivery + `}`, []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"PATCH", "/v1/drains/{drain}?teamId=team_a", `{"name":"new"}`, []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"DELETE", "/v1/drains/{drain}?teamId=team_a", "", []int{gone, gone, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/drains/{drain}/test?teamId=team_a", "", []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}/attempts?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}/series?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}/integrity?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}/skips?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/drains/{drain}/skips?teamId=team_a", `{"eventId":"uev_0","reason":"x"}`, []int{absent, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/drains/{drain}/replay?teamId=team_a", "", []int{absent, absent, absent, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/drains/{drain}/replay?teamId=team_a", `{"from":1}`, []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"DELETE", "/v1/drains/{drain}/replay?teamId=team_a", "", []int{absent, absent, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/setup?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/policies/check?teamId=team_a", checkBody(goodDelivery), []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v2/teams/team_a", "", []int{ok, ok, ok, ok, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/teams", "", []int{ok, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/teams", `{"slug":"new","name":"New"}`, []int{ok, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"PATCH", "/v1/teams/team_a", `{"hideIpAddresses":true}`, []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/portal-links", `{"teamId":"team_a"}`, []int{ok, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/activity?teamId=team_a", "", []int{ok, ok, ok, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/tokens?teamId=team_a", "", []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"POST", "/v1/tokens?teamId=team_a", `{"name":"x","role":"viewer"}`, []int{ok, ok, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"DELETE", "/v1/tokens/{token}?teamId=team_a", "", []int{gone, gone, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/v1/signing-keys", "", []int{ok, ok, ok, ok, ok, ok, ok, noToken, noToken, noToken}},
		{"POST", "/v1/signing-keys", `{}`, []int{ok, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden, noToken, noToken, noToken}},
		{"GET", "/.well-known/jwks.json", "", []int{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok}},
		{"GET", "/healthz", "", []int{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok}},
		{"GET", "/readyz", "", []int{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok}},
		{"GET", "/metrics", "", []int{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok}},
		{"GET", "/openapi.json", "", []int{ok, ok, ok, ok, ok, ok, ok, ok, ok, ok}},
	}
	covered := map[string]bool{}
	for _, row := range rows {
		pattern := strings.NewReplacer("{drain}", "{id}", "{token}", "{id}", "/teams/team_a", "/teams/{idOrSlug}").Replace(row.path)
		pattern, _, _ = strings.Cut(pattern, "?")
		covered[row.method+" "+pattern] = true
		for i, column := range columns {
			t.Run(row.method+" "+pattern+" by "+column, func(t *testing.T) {
				s := newService(t)
				s.team("team_a")
				s.team("team_b")
				drain := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
				token := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"x","role":"viewer","teamId":"team_a"}`)
				bearer := ""
				switch column {
				case "operator":
					bearer = operatorToken
				case "expired":
					expired := auditdrain.Token{ID: "tok_old", Role: auditdrain.RoleOperator, ExpiresAt: time.Now().Add(-time.Second).UnixMilli(), Hash: auditdrain.HashToken("ad_old")}
					if err := s.store.CreateToken(t.Context(), expired, nil); err != nil {
						t.Fatal(err)
					}
					bearer = "ad_old"
				case "unknown":
					bearer = "ad_abcdefghijklmnopqrstuvwxyz"
				case "none":
				default:
					team, role := "team_a", column
					if other, ok := strings.CutPrefix(column, "other "); ok {
						team, role = "team_b", other
					}
					bearer = s.token(team, auditdrain.Role(role))
				}
				path := strings.NewReplacer("{drain}", drain.ID, "{token}", token.ID).Replace(row.path)
				got := s.do(bearer, row.method, path, row.body)
				if got.status != row.want[i] {
					t.Fatalf("status %d, want %d: %s", got.status, row.want[i], got.body)
				}
				if got.status >= 400 && got.errorCode() == "" {
					t.Errorf("not the error shape of the contract: %s", got.body)
				}
				if got.status == noToken && got.header.Get("WWW-Authenticate") != "Bearer" {
					t.Error("401 without WWW-Authenticate")
				}
			})
		}
	}
	for _, rt := range newService(t).api.table {
		if !covered[rt.method+" "+rt.path] {
			t.Errorf("%s %s has no row in this table", rt.method, rt.path)
		}
	}
}

// TestOtherTeamsDrain names a drain of another team in one's own team.
func TestOtherTeamsDrain(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	drain := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	token := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"x","role":"viewer","teamId":"team_a"}`)
	owner := s.token("team_b", auditdrain.RoleOwner)
	for _, query := range []string{"", "?teamId=team_b", "?slug=team-b"} {
		for _, r := range [][3]string{
			{"GET", "/v1/drains/" + drain.ID, ""},
			{"PATCH", "/v1/drains/" + drain.ID, `{"name":"mine now"}`},
			{"DELETE", "/v1/drains/" + drain.ID, ""},
			{"POST", "/v1/drains/" + drain.ID + "/test", ""},
			{"GET", "/v1/drains/" + drain.ID + "/attempts", ""},
			{"GET", "/v1/drains/" + drain.ID + "/series", ""},
			{"GET", "/v1/drains/" + drain.ID + "/skips", ""},
			{"GET", "/v1/drains/" + drain.ID + "/replay", ""},
			{"POST", "/v1/drains/" + drain.ID + "/replay", `{"from":1}`},
			{"DELETE", "/v1/drains/" + drain.ID + "/replay", ""},
			{"DELETE", "/v1/tokens/" + token.ID, ""},
		} {
			if got := s.do(owner, r[0], r[1]+query, r[2]); got.status != http.StatusNotFound || got.errorCode() != "not_found" {
				t.Errorf("%s %s%s: %d %s, want 404", r[0], r[1], query, got.status, got.body)
			}
		}
	}
	if got := must[auditdrain.Drain](s, "GET", "/v1/drains/"+drain.ID, ""); got.Name != "archive" {
		t.Errorf("the drain was changed: %+v", got)
	}
}

func TestUnknownTeamIs404Everywhere(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	drain := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	for _, rt := range s.api.table {
		if rt.team == noTeam {
			continue
		}
		path := strings.NewReplacer("{id}", drain.ID, "{idOrSlug}", "team_zzz").Replace(rt.path)
		for _, query := range []string{"?teamId=team_zzz", "?slug=zzz"} {
			if strings.Contains(rt.path, "{idOrSlug}") {
				query = ""
			}
			if got := s.do(operatorToken, rt.method, path+query, "{}"); got.status != http.StatusNotFound {
				t.Errorf("%s %s%s: %d %s, want 404", rt.method, path, query, got.status, got.body)
			}
		}
	}
}

func TestTeamOfRequest(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	owner := s.token("team_a", auditdrain.RoleOwner)
	for _, tt := range []struct {
		token, path string
		status      int
		code        string
	}{
		{owner, "/v1/drains", 200, ""},
		{owner, "/v1/drains?slug=team-a", 200, ""},
		{owner, "/v1/drains?teamId=team_a&slug=team-a", 200, ""},
		{owner, "/v1/drains?teamId=team-a", 200, ""}, // a slug where clients have one
		{owner, "/v1/drains?teamId=team_a&slug=team-b", 400, "bad_request"},
		{owner, "/v1/drains?slug=team-b", 403, "forbidden"},
		{operatorToken, "/v1/drains", 200, ""},
		{operatorToken, "/v2/teams/team-b", 200, ""},
	} {
		got := s.do(tt.token, "GET", tt.path, "")
		if got.status != tt.status || got.errorCode() != tt.code {
			t.Errorf("GET %s: %d %s, want %d %s", tt.path, got.status, got.body, tt.status, tt.code)
		}
	}
	if got := s.do(operatorToken, "POST", "/v1/drains", drainBody(goodDelivery)); got.status != 400 || !strings.Contains(got.body, "teamId") {
		t.Errorf("creating a drain for no team: %d %s, want 400 that names teamId", got.status, got.body)
	}
}

func TestNoSuchRoute(t *testing.T) {
	s := newService(t)
	if got := s.do(operatorToken, "GET", "/v1/nothing", ""); got.status != 404 || got.errorCode() != "not_found" {
		t.Errorf("unknown path: %d %s", got.status, got.body)
	}
	got := s.do(operatorToken, "PUT", "/v1/drains/drn_1", "{}")
	if got.status != 405 || got.errorCode() != "method_not_allowed" || got.header.Get("Allow") != "GET, PATCH, DELETE" {
		t.Errorf("unknown method: %d, Allow %q, %s", got.status, got.header.Get("Allow"), got.body)
	}
}

func TestOpenAPINamesEveryRoute(t *testing.T) {
	s := newService(t)
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	got := s.do("", "GET", "/openapi.json", "")
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q, want 3.1.0", doc.OpenAPI)
	}
	// What answers is what is described: ask the handler, not the table.
	described := 0
	for path, item := range doc.Paths {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			r := httptest.NewRequest(method, strings.NewReplacer("{id}", "x", "{idOrSlug}", "x").Replace(path), nil)
			_, pattern := s.handler.(*http.ServeMux).Handler(r)
			_, isDescribed := item[strings.ToLower(method)]
			if served := pattern == method+" "+path; served != isDescribed {
				t.Errorf("%s %s: served %t, described %t", method, path, served, isDescribed)
			}
			if isDescribed {
				described++
			}
		}
	}
	if routes := len(s.api.table); routes != described {
		t.Errorf("%d routes, %d described", routes, described)
	}
	if again := s.do("", "GET", "/openapi.json", ""); again.body != got.body {
		t.Error("the document differs from one request to the next")
	}
	for _, name := range []string{"Event", "Drain", "DrainInput", "Error"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("no schema %s; there are %v", name, slices.Collect(keys(doc.Components.Schemas)))
		}
	}
}

func keys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestInternalErrorsAreLoggedAndNotShown(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.testErr = errors.New("secret detail")
	got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", `{"delivery":`+goodDelivery+`}`)
	want := `{"error":{"code":"internal_error","message":"internal error; it has been logged"}}`
	if got.status != 500 || strings.TrimSpace(got.body) != want {
		t.Errorf("%d %s, want 500 %s", got.status, got.body, want)
	}
	if !strings.Contains(s.log.String(), "secret detail") {
		t.Errorf("not logged: %s", s.log)
	}
}

func TestRefuse(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	if got := s.do("", "GET", "/readyz", ""); got.status != 200 {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	s.api.Refuse()
	for _, r := range [][3]string{{"POST", "/v1/events?teamId=team_a", goodEvent}, {"GET", "/readyz", ""}} {
		got := s.do(operatorToken, r[0], r[1], r[2])
		if got.status != 503 || got.errorCode() != "unavailable" || got.header.Get("Retry-After") != "5" {
			t.Errorf("%s %s: %d, Retry-After %q, %s", r[0], r[1], got.status, got.header.Get("Retry-After"), got.body)
		}
	}
	if got := s.do("", "GET", "/healthz", ""); got.status != 200 {
		t.Errorf("healthz while shutting down: %d", got.status)
	}
	if got := s.do(operatorToken, "GET", "/v1/drains", ""); got.status != 200 {
		t.Errorf("reading while shutting down: %d", got.status)
	}
}

// TestEventsThatCannotBeTaken: when the store says that it takes none, nothing
// of a batch is decoded, and all else goes on.
func TestEventsThatCannotBeTaken(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.api.Admit = func() error {
		return &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the disk is nearly full", RetryAfter: 10 * time.Second}
	}
	body := strings.NewReader(strings.Repeat("no JSON at all\n", 1e5))
	r := httptest.NewRequest("POST", "/v1/events?teamId=team_a", body)
	r.Header.Set("Authorization", "Bearer "+operatorToken)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code != 503 || w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), "nearly full") {
		t.Errorf("%d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	if body.Len() > 0 {
		t.Errorf("%d bytes of the body were left: a client that still writes them misses the answer", body.Len())
	}
	if got := s.do(operatorToken, "GET", "/v1/drains?teamId=team_a", ""); got.status != 200 {
		t.Errorf("drains: %d %s", got.status, got.body)
	}
	s.api.Admit = s.store.Admit
	if got := s.do(operatorToken, "POST", "/v1/events?teamId=team_a", goodEvent); got.status != 200 {
		t.Errorf("events: %d %s", got.status, got.body)
	}
}

func TestMetricsCountByRouteAndCode(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.do(operatorToken, "POST", "/v1/events?teamId=team_a", goodEvent)
	s.do(operatorToken, "POST", "/v1/events?teamId=team_a", `{"id":"x"}`)
	s.do("", "POST", "/v1/events?teamId=team_a", goodEvent)
	got := s.do("", "GET", "/metrics", "")
	for _, line := range []string{
		`auditdrain_http_requests_total{code="ok",route="POST /v1/events"} 1`,
		`auditdrain_http_requests_total{code="invalid_event",route="POST /v1/events"} 1`,
		`auditdrain_http_requests_total{code="unauthorized",route="POST /v1/events"} 1`,
	} {
		if !strings.Contains(got.body, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestEvents(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	second := strings.Replace(goodEvent, "uev_1", "uev_2", 1)
	other := strings.Replace(goodEvent, "login", "logout", 1)
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"one", "application/json", goodEvent, 200, `{"accepted":1,"duplicates":0}`},
		{"again, spaced otherwise", "application/json; charset=utf-8", " " + strings.ReplaceAll(goodEvent, ",", " , "), 200, `{"accepted":0,"duplicates":1}`},
		{"array", "application/json", "[" + goodEvent + "," + second + "]", 200, `{"accepted":1,"duplicates":1}`},
		{"lines", "application/x-ndjson", goodEvent + "\n" + second + "\n", 200, `{"accepted":0,"duplicates":2}`},
		{"none", "application/json", "[]", 200, `{"accepted":0,"duplicates":0}`},
		{"same id, other bytes", "application/json", other, 409, `"ids":["uev_1"]`},
		{"bad event", "application/json", "[" + second + `,{"id":"uev_3","action":"a","actor":{"type":"robot","id":"r","name":"n"}}]`, 422, `{"index":1,"field":"actor.type"`},
		{"media type", "text/csv", "id\n1", 415, "text/csv"},
		{"empty", "application/json", " ", 400, "empty"},
	} {
		got := s.do(operatorToken, "POST", "/v1/events?teamId=team_a", tt.body, "Content-Type", tt.contentType)
		if got.status != tt.status || !strings.Contains(got.body, tt.want) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, got.status, got.body, tt.status, tt.want)
		}
	}
	if got := s.do(operatorToken, "POST", "/v1/events?teamId=team_a", goodEvent, "Content-Encoding", "br"); got.status != 415 {
		t.Errorf("Content-Encoding br: %d %s, want 415", got.status, got.body)
	}
	last, _, err := s.store.Last(t.Context(), "team_a")
	if err != nil || last != 2 {
		t.Errorf("%d events stored (%v), want 2", last, err)
	}
}

func TestReadBodyNeverHoldsMoreThanItMay(t *testing.T) {
	s := newService(t)
	r := httptest.NewRequest("POST", "/v1/teams", io.LimitReader(zeros{}, 1<<30))
	r.Header.Set("Authorization", "Bearer "+operatorToken)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if diff := cmp.Diff(http.StatusRequestEntityTooLarge, w.Code); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
