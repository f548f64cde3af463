// Package api serves the REST API: events in, and everything that configures
// drains.
//
// One table (routes.go) says for every route who may call it, what it takes
// and what it answers; the handlers, the access checks, /openapi.json and the
// metrics of API requests all come from it. One function turns errors into answers:
// an *auditdrain.Error is shown as it is, everything else is logged and shown
// as an internal error.
package api

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// TeamStore keeps teams.
type TeamStore interface {
	CreateTeam(ctx context.Context, t auditdrain.Team, act *auditdrain.Activity) error
	Team(ctx context.Context, idOrSlug string) (auditdrain.Team, error)
	Teams(ctx context.Context) ([]auditdrain.Team, error)
	// UpdateTeam's update may fill in act.
	UpdateTeam(ctx context.Context, id string, update func(*auditdrain.Team) error, act *auditdrain.Activity) (auditdrain.Team, error)
}

// TokenStore keeps tokens, by hash.
type TokenStore interface {
	CreateToken(ctx context.Context, t auditdrain.Token, act *auditdrain.Activity) error
	TokenByHash(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Token, error)
	// Tokens lists those of one team, or with "" all.
	Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error)
	// DeleteToken deletes one of the team's, or with "" of any team.
	DeleteToken(ctx context.Context, teamID, id string, act *auditdrain.Activity) error
}

// LinkStore keeps portal links, by hash.
type LinkStore interface {
	CreatePortalLink(ctx context.Context, l auditdrain.PortalLink, act *auditdrain.Activity) error
}

// ActivityStore keeps who did what. Methods of other stores that change
// something take an activity too, and keep it in the same commit; one without
// an action they do not keep.
type ActivityStore interface {
	// Record keeps what changes nothing that is stored.
	Record(ctx context.Context, act *auditdrain.Activity) error
	// Activities returns the latest first.
	Activities(ctx context.Context, q auditdrain.ActivityQuery) ([]auditdrain.Activity, error)
}

// DrainStore keeps drains.
type DrainStore interface {
	// CreateDrain also sets the cursor: behind the events accepted before
	// startFrom, or before now if that is 0.
	CreateDrain(ctx context.Context, d auditdrain.Drain, startFrom int64, act *auditdrain.Activity) error
	Drains(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Drain, error)
	// UpdateDrain's update may fill in act.
	UpdateDrain(ctx context.Context, teamID, id string, update func(*auditdrain.Drain) error, act *auditdrain.Activity) (auditdrain.Drain, error)
	DeleteDrain(ctx context.Context, teamID, id string, act *auditdrain.Activity) error
}

// DrainFinder searches drains, fast enough for every look at a page.
type DrainFinder interface {
	// FindDrains returns a page, how many drains there are on all pages, and
	// how many of each status without search.Status.
	FindDrains(ctx context.Context, search auditdrain.DrainSearch) (found []auditdrain.Drain, matches int, counts auditdrain.DrainCounts, err error)
}

// ProgressStore tells how far deliveries have come.
type ProgressStore interface {
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
	Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error)
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
}

// SkipStore keeps what was given up.
type SkipStore interface {
	// SkipEvent gives one event up, and SkipBacklog all that a drain has not
	// delivered. Both return what is on record; there is none (a zero Skip)
	// where there was no backlog.
	SkipEvent(ctx context.Context, drainID string, s auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error)
	SkipBacklog(ctx context.Context, drainID string, s auditdrain.Skip, act *auditdrain.Activity) (auditdrain.Skip, error)
	Skips(ctx context.Context, drainID string) ([]auditdrain.Skip, error)
}

// ReplayStore keeps the last replay of each drain.
type ReplayStore interface {
	// StartReplay returns the order with the numbers of its events.
	StartReplay(ctx context.Context, drainID string, order auditdrain.ReplayOrder, act *auditdrain.Activity) (auditdrain.ReplayOrder, error)
	CancelReplay(ctx context.Context, drainID string, act *auditdrain.Activity) (auditdrain.ReplayOrder, error)
	Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error)
}

// AttemptStore keeps what drains tried to write.
type AttemptStore interface {
	// Attempts returns the latest first.
	Attempts(ctx context.Context, drainID string) ([]auditdrain.Attempt, error)
}

// SeriesStore keeps what drains did over time.
type SeriesStore interface {
	Series(ctx context.Context, drainID string, span auditdrain.Span, now time.Time) (auditdrain.Series, error)
}

// SigningKeys are the keys that manifests are signed with.
type SigningKeys interface {
	// Available reports whether manifests can be signed.
	Available() bool
	// Keys returns all, in the order they were added, and Public what they are
	// checked with.
	Keys(ctx context.Context) ([]auditdrain.SigningKey, error)
	Public(ctx context.Context) (manifest.Keys, error)
	// Rotate adds a key that signs from a time on. It sets act's target.
	Rotate(ctx context.Context, activeFrom time.Time, act *auditdrain.Activity) (auditdrain.SigningKey, error)
}

// ChainStore keeps how far the accounts of drains are.
type ChainStore interface {
	// Chain returns the zero Chain for a drain that never had Delivery.Integrity.
	Chain(ctx context.Context, drainID string) (auditdrain.Chain, error)
}

// Committer makes events durable.
type Committer interface {
	Commit(ctx context.Context, b auditdrain.Batch) (auditdrain.EventsResult, error)
}

// Tester tries deliveries out.
type Tester interface {
	// Test writes e as a test object, by the code path of real deliveries with
	// a session of its own. What AWS refused is in the result.
	Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (auditdrain.DrainTestResult, error)
	// CheckRole tries whether others than the team could use the drain's role.
	CheckRole(ctx context.Context, d auditdrain.Drain) auditdrain.RoleCheck
}

// Writer is what the service writes as.
type Writer interface {
	// WriterARN tells whom customers' trust policies must name. It may have to
	// ask AWS.
	WriterARN(ctx context.Context) (string, error)
	// KnownWriterARN is the same without a call, "" as long as AWS has not told.
	KnownWriterARN() string
}

// Deliverer is told of changes to drains, and to what they are to do.
type Deliverer interface {
	Changed(drainID string)
}

// Config is what a Server is made of. All of it is needed.
type Config struct {
	Namespace     auditdrain.Namespace
	OperatorToken auditdrain.TokenHash
	Teams         TeamStore
	Tokens        TokenStore
	Drains        DrainStore
	Finder        DrainFinder
	Progress      ProgressStore
	Skips         SkipStore
	Replays       ReplayStore
	Attempts      AttemptStore
	Series        SeriesStore
	Chains        ChainStore
	Links         LinkStore
	Activities    ActivityStore
	SigningKeys   SigningKeys
	Events        Committer
	Tester        Tester
	// RefuseUnsafeRoles refuses to let a drain deliver through a role that
	// others than its team could use. Otherwise tests only warn of it.
	RefuseUnsafeRoles bool
	Deliverer         Deliverer
	Writer            Writer
	// SetupTemplateURL is where the operator has put the CloudFormation
	// template, or "": the one field that may be missing.
	SetupTemplateURL string
	// PublicURL is where people reach the service's pages.
	PublicURL string
	// PartitionOf is as for auditdrain.Delivery.Validate.
	PartitionOf func(region string) (string, bool)
	// Ready reports why the store cannot take events, if it cannot. It may
	// take its time; Admit, which is asked for each request, must not.
	Ready    func(ctx context.Context) error
	Admit    func() error
	Registry *prometheus.Registry
	Log      *slog.Logger
	Version  string
}

// Server answers the REST API.
type Server struct {
	Config
	decoder  ingest.Decoder
	bodies   *ingest.Budget
	table    []route
	draining atomic.Bool
	tests    *trials
	checks   *trials
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// bodyMemory bounds what the bodies of events take together. Batches of a
// sensible size never meet it; a few of the largest at a time do.
const bodyMemory = 512 << 20

// New returns a Server.
func New(cfg Config) *Server {
	s := &Server{
		Config:  cfg,
		decoder: ingest.Decoder{Namespace: cfg.Namespace, Now: time.Now},
		bodies:  ingest.NewBudget(bodyMemory),
		tests:   newTrials(maxTests),
		checks:  newTrials(maxChecks),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "auditdrain_http_requests_total",
			Help: "Requests by route and error code (ok if none).",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "auditdrain_http_request_seconds",
			Help:    "Duration of requests by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10),
		}, []string{"route"}),
	}
	s.table = s.routes()
	cfg.Registry.MustRegister(s.requests, s.seconds)
	return s
}

// Refuse makes the server refuse new events with 503 and report that it is
// not ready, while all else goes on: the first step of a shutdown.
func (s *Server) Refuse() { s.draining.Store(true) }

// Handler returns the handler of all routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.table {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
	}
	const rest = "/"
	mux.HandleFunc(rest, func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
			other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
			if _, pattern := mux.Handler(other); pattern != rest {
				allowed = append(allowed, method)
			}
		}
		if allowed == nil {
			s.writeError(w, r, auditdrain.Errorf(auditdrain.CodeNotFound, "there is nothing at %s: see /openapi.json for what there is", r.URL.Path))
			return
		}
		allow := strings.Join(allowed, ", ")
		w.Header().Set("Allow", allow)
		s.writeError(w, r, auditdrain.Errorf(auditdrain.CodeNoMethod, "%s is not available at %s: use %s", r.Method, r.URL.Path, allow))
	})
	return mux
}

// call is one request that has passed the access checks of its route.
type call struct {
	*http.Request
	token   auditdrain.Token
	session string          // ID, if it comes from the web pages
	team    auditdrain.Team // zero where the route is not about one team
}

// serve wraps a route with what all routes share.
func (s *Server) serve(rt route) http.Handler {
	if rt.raw != nil {
		return rt.raw
	}
	name := rt.method + " " + rt.path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		code := "ok"
		answer, err := s.answer(rt, r)
		switch {
		case err != nil:
			code = string(s.writeError(w, r, err))
		case answer == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, answer)
		}
		s.requests.WithLabelValues(name, code).Inc()
		s.seconds.WithLabelValues(name).Observe(time.Since(start).Seconds())
	})
}

func (s *Server) answer(rt route, r *http.Request) (any, error) {
	c := &call{Request: r}
	var err error
	if id, ok := r.Context().Value(identityKey{}).(Identity); ok {
		c.token, c.session = id.Token, id.Session
	} else if c.token, err = s.authenticate(r); err != nil {
		return nil, err
	}
	if rt.team != noTeam {
		if c.team, err = s.teamOf(c, rt.team); err != nil {
			return nil, err
		}
	}
	if !rt.allows(c.token.Role) {
		return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "a token with role %q may not do this: use one with role %s", c.token.Role, rt.rolesText())
	}
	return rt.handle(c)
}

// authenticate finds the token of a request.
func (s *Server) authenticate(r *http.Request) (auditdrain.Token, error) {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || value == "" {
		return auditdrain.Token{}, auditdrain.Errorf(auditdrain.CodeUnauthorized, "no token: send the header Authorization: Bearer TOKEN")
	}
	return s.Token(r.Context(), auditdrain.HashToken(strings.TrimSpace(value)))
}

// Token returns the token with this hash, if it may be used now, and otherwise
// CodeUnauthorized.
func (s *Server) Token(ctx context.Context, hash auditdrain.TokenHash) (auditdrain.Token, error) {
	if subtle.ConstantTimeCompare(hash[:], s.OperatorToken[:]) == 1 {
		return auditdrain.Token{ID: "tok_operator", Name: "operator", Role: auditdrain.RoleOperator, Hash: hash}, nil
	}
	token, err := s.Tokens.TokenByHash(ctx, hash)
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound || err == nil && token.Expired(time.Now()) {
		return auditdrain.Token{}, auditdrain.Errorf(auditdrain.CodeUnauthorized, "this token is not known, was revoked, or has expired")
	}
	return token, err
}

// teamOf finds the team that a request is about: the one that it names, else
// the token's own.
func (s *Server) teamOf(c *call, rule teamRule) (auditdrain.Team, error) {
	name := c.PathValue("idOrSlug")
	if name == "" {
		name = c.URL.Query().Get("teamId")
	}
	slug := c.URL.Query().Get("slug")
	if name == "" {
		name = slug
	}
	if name == "" {
		name = c.token.TeamID
	}
	if name == "" {
		if rule == optionalTeam {
			return auditdrain.Team{}, nil
		}
		return auditdrain.Team{}, auditdrain.Errorf(auditdrain.CodeBadRequest, "teamId: missing: name the team in the query, ?teamId=")
	}
	team, err := s.Teams.Team(c.Context(), name)
	if err != nil {
		return auditdrain.Team{}, err
	}
	if slug != "" && team.Slug != slug && team.ID != slug {
		return auditdrain.Team{}, auditdrain.Errorf(auditdrain.CodeBadRequest, "slug: %q is not the slug of team %q: send one of teamId and slug", slug, team.ID)
	}
	if c.token.TeamID != "" && c.token.TeamID != team.ID {
		return auditdrain.Team{}, auditdrain.Errorf(auditdrain.CodeForbidden, "this token is not for team %q", name)
	}
	return team, nil
}

// writeError is the one place where errors become answers. It returns the
// code that was answered.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) auditdrain.Code {
	var e *auditdrain.Error
	switch {
	case errors.As(err, &e):
	case r.Context().Err() != nil: // the client has gone; nobody reads this
		e = auditdrain.Errorf(auditdrain.CodeUnavailable, "the request was given up")
	default:
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		e = auditdrain.Errorf(auditdrain.CodeInternal, "internal error; it has been logged")
	}
	retryAfter := e.RetryAfter
	if retryAfter == 0 && e.Code == auditdrain.CodeUnavailable {
		retryAfter = time.Second // clients honour it, and count on it
	}
	if retryAfter > 0 {
		seconds := int((retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	if e.Code == auditdrain.CodeUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, e.Code.Status(), struct {
		Error *auditdrain.Error `json:"error"`
	}{e})
	return e.Code
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // policies and AWS's XML are for people to read
	_ = enc.Encode(v)        // fails only if the client has gone
}

// healthz says that the process is alive.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyTimeout is how long a disk may take before events had better go
// elsewhere.
const readyTimeout = 2 * time.Second

// readyz says whether events can be taken.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		s.writeError(w, r, shuttingDown())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		notReady := auditdrain.Errorf(auditdrain.CodeUnavailable, "events cannot be taken: %v", err)
		if e := (*auditdrain.Error)(nil); errors.As(err, &e) {
			notReady.RetryAfter = e.RetryAfter
		}
		s.writeError(w, r, notReady)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) metrics() http.Handler {
	return promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{Registry: s.Registry})
}

func shuttingDown() error {
	return &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the server is shutting down; send this again", RetryAfter: 5 * time.Second}
}
