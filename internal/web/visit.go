package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/api"
)

// visit is one request, and who makes it.
type visit struct {
	*http.Request
	now     time.Time
	session auditdrain.Session // zero if nobody is logged in
}

// visit finds out who makes a request.
func (s *Server) visit(r *http.Request) (*visit, error) {
	v := &visit{Request: r, now: timeNow()}
	cookie, err := r.Cookie(s.cookie.Name)
	if err != nil {
		return v, nil // no cookie
	}
	session, err := s.Sessions.Session(r.Context(), auditdrain.HashToken(cookie.Value))
	switch {
	case auditdrain.ErrorCode(err) == auditdrain.CodeNotFound:
		return v, nil
	case err != nil:
		return v, err
	case session.Expired(v.now):
		return v, nil
	}
	token := auditdrain.Token{ID: session.ActorID, Name: session.Name, Role: session.Role, TeamID: session.TeamID}
	if session.TokenHash != (auditdrain.TokenHash{}) {
		token, err = s.API.Token(r.Context(), session.TokenHash)
		if auditdrain.ErrorCode(err) == auditdrain.CodeUnauthorized {
			return v, nil // revoked meanwhile
		}
		if err != nil {
			return v, err
		}
	}
	v.session = session
	v.Request = r.WithContext(api.WithIdentity(r.Context(), api.Identity{
		Token: token, Session: session.ID, Address: r.RemoteAddr, UserAgent: r.UserAgent(),
	}))
	return v, nil
}

// operator reports whether the visitor sees all teams.
func (v *visit) operator() bool { return v.session.Role == auditdrain.RoleOperator }

// owner reports whether the visitor may change something.
func (v *visit) owner() bool { return v.operator() || v.session.Role == auditdrain.RoleOwner }

// team is the ID or slug of the team that a page is about: the visitor's own,
// or for operators the one in the query, or "".
func (v *visit) team() string {
	if v.session.TeamID != "" {
		return v.session.TeamID
	}
	return strings.TrimSpace(v.FormValue("team"))
}

// activity is what is recorded of a log-in or log-out of the session.
func (v *visit) activity(action string, session auditdrain.Session) *auditdrain.Activity {
	return &auditdrain.Activity{
		ID:         auditdrain.NewID("uev_"),
		At:         v.now.UnixMilli(),
		TeamID:     session.TeamID,
		Actor:      auditdrain.ActivityActor{ID: session.ActorID, Name: session.Name, Role: session.Role, Session: session.ID},
		Action:     action,
		TargetID:   session.ID,
		TargetName: session.Name,
		IPAddress:  api.RemoteIP(v.Request),
		UserAgent:  api.UserAgent(v.Request),
	}
}

// begin makes a session, and returns the cookie for it.
func (s *Server) begin(ctx context.Context, v *visit, session auditdrain.Session) (*http.Cookie, error) {
	value := auditdrain.NewTokenValue()
	session.ID = auditdrain.NewID("ses_")
	session.Hash = auditdrain.HashToken(value)
	session.CreatedAt = v.now.UnixMilli()
	expires := v.now.Add(auditdrain.SessionLasts).UnixMilli()
	if session.ExpiresAt == 0 || session.ExpiresAt > expires {
		session.ExpiresAt = expires
	}
	if err := s.Sessions.CreateSession(ctx, session, v.activity(auditdrain.ActionLoggedIn, session)); err != nil {
		return nil, err
	}
	cookie := s.cookie
	cookie.Value = value
	cookie.Expires = time.UnixMilli(session.ExpiresAt)
	return &cookie, nil
}
