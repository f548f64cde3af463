package web

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

// reply is what a handler answers: a page, a file, or a redirection.
type reply struct {
	page   string // template of the main part
	title  string
	data   any
	status int // 200 if 0
	visit  *visit

	location string
	cookie   *http.Cookie

	file        string // name to download it by
	contentType string
	content     string
}

func redirect(to string) reply { return reply{location: to} }

// layout is what the frame around a page is made from.
type layout struct {
	Title    string
	Page     string
	Main     template.HTML
	Session  auditdrain.Session
	Operator bool
	Owner    bool
	Notice   string
	Version  string
}

// notices are what a page says about what was just done, by the parameter done
// of its address.
var notices = map[string]string{
	"created":          "The drain was created. It delivers what is accepted from now on.",
	"saved":            "The drain was changed.",
	"paused":           "The drain is paused. Events are kept until it is resumed.",
	"resumed":          "The drain is resumed. It goes on where it stopped.",
	"resumed-from-now": "The drain is resumed from now. What it had not delivered was given up, on record.",
	"replay":           "The replay has begun.",
	"replay-cancelled": "The replay was cancelled. What it has written stays.",
	"deleted":          "The drain was deleted. Objects that it has written stay in the bucket.",
	"revoked":          "The token was revoked.",
	"settings":         "The settings were saved.",
	"skipped":          "The event was given up, on record.",
}

var errorTitles = map[auditdrain.Code]string{
	auditdrain.CodeBadRequest:  "That cannot be done",
	auditdrain.CodeForbidden:   "You may not do this",
	auditdrain.CodeNotFound:    "Not found",
	auditdrain.CodeConflict:    "That cannot be done now",
	auditdrain.CodeTooLarge:    "That is too much",
	auditdrain.CodeRateLimited: "One moment",
	auditdrain.CodeInternal:    "Something went wrong",
	auditdrain.CodeUnavailable: "Not available right now",
}

// isShown reports whether err is meant for people.
func isShown(err error) bool {
	var e *auditdrain.Error
	return errors.As(err, &e) && e.Code != auditdrain.CodeInternal
}

// write sends a reply.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a reply) {
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	switch {
	case a.location != "":
		http.Redirect(w, r, a.location, http.StatusSeeOther)
	case a.file != "":
		w.Header().Set("Content-Type", a.contentType)
		w.Header().Set("Content-Disposition", "attachment; filename="+strconv.Quote(a.file))
		_, _ = w.Write([]byte(a.content)) // fails only if the client has gone
	default:
		s.writePage(w, a)
	}
}

func (s *Server) writePage(w http.ResponseWriter, a reply) {
	page, err := s.render(a)
	if err != nil {
		s.Log.Error("page cannot be rendered", "page", a.page, "err", err)
		http.Error(w, "internal error; it has been logged", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(page) // fails only if the client has gone
}

// render returns a page, whole: one that fails halfway is not sent.
func (s *Server) render(a reply) ([]byte, error) {
	main, err := s.fragment(a.page, a.data)
	if err != nil {
		return nil, err
	}
	l := layout{Title: a.title, Page: a.page, Main: main, Version: s.Version}
	if a.visit != nil {
		l.Session, l.Operator, l.Owner = a.visit.session, a.visit.operator(), a.visit.owner()
		l.Notice = notices[a.visit.URL.Query().Get("done")]
	}
	var b bytes.Buffer
	err = s.pages.ExecuteTemplate(&b, "layout", l)
	return b.Bytes(), err
}

// fragment returns one template with data.
func (s *Server) fragment(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil // escaped by the template
}
