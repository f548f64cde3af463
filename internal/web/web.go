// Package web serves the pages on which a team's admin sets drains up and
// operators see which of them are in trouble.
//
// Pages are rendered here, from templates in the binary, and work without
// script, which adds live updates and copy buttons. They ask the REST API for
// everything and have it do everything, so that nobody can do here what they
// could not do there; of their own they have sessions only.
//
// It guarantees, whatever a team, AWS or a platform puts into a name or an
// answer, that it is shown as text: templates escape by context
// (html/template), and the Content-Security-Policy lets nothing run or load
// that is not embedded here.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/api"
)

// SessionStore keeps sessions, by hash. An Activity is recorded with them.
type SessionStore interface {
	CreateSession(ctx context.Context, s auditdrain.Session, act *auditdrain.Activity) error
	Session(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Session, error)
	DeleteSession(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) error
}

// LinkStore keeps portal links, by hash.
type LinkStore interface {
	PortalLink(ctx context.Context, h auditdrain.TokenHash) (auditdrain.PortalLink, error)
	// TakePortalLink removes a link: of all who ask for it, one gets it.
	TakePortalLink(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) (auditdrain.PortalLink, error)
}

// Config is what a Server is made of. All of it is needed.
type Config struct {
	API      *api.Server
	Sessions SessionStore
	Links    LinkStore
	// Regions are those of AWS that a bucket may be in.
	Regions []string
	// PublicURL is where people reach the service.
	PublicURL string
	Log       *slog.Logger
	Version   string
}

// Server serves the pages.
type Server struct {
	Config
	public  *url.URL       // PublicURL
	client  *client.Client // the API, in this process
	pages   *template.Template
	static  map[string]asset
	cookie  http.Cookie // as it is set, without a value
	streams chan struct{}

	stopOnce sync.Once
	stopping chan struct{} // closed by Stop
}

// asset is a static file, under a name that changes with its content.
type asset struct {
	contentType string
	content     []byte
}

//go:embed templates static
var files embed.FS

// New returns a Server. It serves once it is registered.
func New(cfg Config) (*Server, error) {
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	s := &Server{Config: cfg, public: public, streams: make(chan struct{}, maxStreams), stopping: make(chan struct{})}
	inside := &http.Client{Transport: api.Inside(cfg.API.Handler())}
	// Who makes a call is in its context; the token says nothing.
	if s.client, err = client.New("http://inside", "inside", client.WithHTTPClient(inside), client.WithAttempts(1)); err != nil {
		return nil, err
	}
	s.cookie = http.Cookie{Name: "auditdrain", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if public.Scheme == "https" {
		// Browsers take this name from the host itself only, over TLS.
		s.cookie.Name, s.cookie.Secure = "__Host-auditdrain", true
	}
	names, err := s.loadStatic()
	if err != nil {
		return nil, err
	}
	s.pages, err = parsePages(names)
	if err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	return s, nil
}

// parsePages reads the templates. Static files have their paths by name.
func parsePages(static map[string]string) (*template.Template, error) {
	funcs := template.FuncMap{"static": func(name string) string { return static[name] }}
	return template.New("").Funcs(funcs).Funcs(pageFuncs).Option("missingkey=error").ParseFS(files, "templates/*.html")
}

// loadStatic reads the static files. It returns the path of each by its name.
func (s *Server) loadStatic() (paths map[string]string, err error) {
	s.static = map[string]asset{}
	paths = map[string]string{}
	types := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		content, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		base, ext, _ := strings.Cut(e.Name(), ".")
		sum := sha256.Sum256(content)
		path := "/static/" + base + "-" + hex.EncodeToString(sum[:6]) + "." + ext
		s.static[path] = asset{types[ext], content}
		paths[e.Name()] = path
	}
	return paths, nil
}

// Stop ends live updates, which would otherwise keep a shutdown waiting. Pages
// are served as before.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

// Register adds the pages to mux.
func (s *Server) Register(mux *http.ServeMux) error {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(s.refuseCrossOrigin))
	// A proxy in between may ask us by another name than the browser asks it.
	if err := guard.AddTrustedOrigin(s.public.Scheme + "://" + s.public.Host); err != nil {
		return fmt.Errorf("public URL: %w", err)
	}
	handle := func(pattern string, h http.Handler) { mux.Handle(pattern, s.secure(guard.Handler(h))) }

	handle("GET /static/{name}", http.HandlerFunc(s.serveStatic))
	for pattern, h := range s.publicPages() {
		handle(pattern, s.serve(h, false))
	}
	for _, pages := range []map[string]handler{s.memberPages(), s.drainPages()} {
		for pattern, h := range pages {
			handle(pattern, s.serve(h, true))
		}
	}
	for pattern, h := range s.liveFeeds() {
		handle(pattern, s.serveLive(h))
	}
	return nil
}

// publicPages are for who is not logged in, too.
func (s *Server) publicPages() map[string]handler {
	return map[string]handler{
		"GET /login":           s.loginPage,
		"POST /login":          s.logIn,
		"GET /portal/{value}":  s.portalPage,
		"POST /portal/{value}": s.openPortal,
	}
}

// memberPages are for who is logged in.
func (s *Server) memberPages() map[string]handler {
	return map[string]handler{
		"GET /{$}":                          s.home,
		"POST /logout":                      s.logOut,
		"GET /drains":                       s.drainList,
		"GET /activity":                     s.activityList,
		"GET /settings":                     s.settings,
		"POST /settings":                    s.saveSettings,
		"POST /settings/tokens":             s.makeToken,
		"POST /settings/tokens/{id}/revoke": s.revokeToken,
		"POST /settings/portal-links":       s.makeLink,
		"GET /drains/new":                   s.newDrainPage,
		"POST /drains/new":                  s.newDrainPage,
		"GET /drains/new/kit/{file}":        s.kitFile,
		"GET /drains/{id}/edit":             s.editDrainPage,
		"POST /drains/{id}/edit":            s.editDrainPage,
	}
}

// liveFeeds are what pages that are open are kept up to date with.
func (s *Server) liveFeeds() map[string]liveFeed {
	return map[string]liveFeed{
		"GET /drains/live":      s.liveDrains,
		"GET /drains/{id}/live": s.liveDrain,
	}
}

func (s *Server) home(*visit) (reply, error) { return redirect("/drains"), nil }

func (s *Server) serveStatic(w http.ResponseWriter, r *http.Request) {
	a, ok := s.static[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.content) // fails only if the client has gone
}

// secure has browsers do no more with a page than it needs.
func (s *Server) secure(h http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if s.cookie.Secure {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) refuseCrossOrigin(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, s.failure(nil, auditdrain.Errorf(auditdrain.CodeForbidden, "this form was sent from another site: open the page here, and send it again")))
}

// maxFormBytes bounds what a form may send: policies are the largest.
const maxFormBytes = 1 << 20

// handler answers one request. The visit has no session on public pages of who
// is not logged in. Errors that are not *auditdrain.Error are logged and shown
// as internal.
type handler func(v *visit) (reply, error)

// serve wraps a handler with what all have in common.
func (s *Server) serve(h handler, members bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		v, err := s.visit(r)
		if err == nil && members && v.session.ID == "" {
			err = auditdrain.Errorf(auditdrain.CodeUnauthorized, "log in first")
		}
		if err == nil && r.Method == http.MethodPost {
			if parseErr := v.ParseForm(); parseErr != nil {
				err = auditdrain.Errorf(auditdrain.CodeBadRequest, "the form cannot be read: %v", parseErr)
			}
		}
		var answer reply
		if err == nil {
			answer, err = h(v)
		}
		if err != nil {
			answer = s.failure(v, err)
		}
		s.write(w, r, answer)
	})
}

// failure is the reply to what went wrong.
func (s *Server) failure(v *visit, err error) reply {
	code := auditdrain.ErrorCode(err)
	if code == auditdrain.CodeUnauthorized && v != nil {
		return redirect("/login?" + url.Values{"next": {v.URL.RequestURI()}}.Encode())
	}
	message := err.Error()
	if code == auditdrain.CodeInternal && !isShown(err) {
		path := ""
		if v != nil {
			path = v.URL.Path
		}
		s.Log.Error("page failed", "path", path, "err", err)
		message = "Something went wrong here. It has been logged."
	}
	title := errorTitles[code]
	return reply{page: "error", title: title, data: problem{title, message}, status: code.Status(), visit: v}
}

// problem is what the page of an error shows.
type problem struct{ Title, Message string }

// timeNow is the time of a visit: all of a page is of one moment.
func timeNow() time.Time { return time.Now().UTC() }
