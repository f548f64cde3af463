package web

import (
	"net/http"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// loginForm is what the log-in page shows.
type loginForm struct {
	Next    string
	Problem string
}

func (s *Server) loginPage(v *visit) (reply, error) {
	if v.session.ID != "" {
		return redirect("/drains"), nil
	}
	return s.login(v, ""), nil
}

func (s *Server) login(v *visit, problem string) reply {
	answer := reply{page: "login", title: "Log in", data: loginForm{Next: v.FormValue("next"), Problem: problem}, visit: v}
	if problem != "" {
		answer.status = http.StatusUnauthorized
	}
	return answer
}

func (s *Server) logIn(v *visit) (reply, error) {
	value := strings.TrimSpace(v.PostFormValue("token"))
	if value == "" {
		return s.login(v, "Enter a token. Who runs this service can make one for you."), nil
	}
	hash := auditdrain.HashToken(value)
	token, err := s.API.Token(v.Context(), hash)
	switch {
	case auditdrain.ErrorCode(err) == auditdrain.CodeUnauthorized:
		return s.login(v, "This token is not known, was revoked, or has expired."), nil
	case err != nil:
		return reply{}, err
	case token.Role == auditdrain.RoleProducer:
		return s.login(v, "This token is for sending events only. Log in with one of role operator, owner or viewer."), nil
	}
	cookie, err := s.begin(v.Context(), v, auditdrain.Session{
		Name: token.Name, Role: token.Role, TeamID: token.TeamID, ActorID: token.ID, TokenHash: hash, ExpiresAt: token.ExpiresAt,
	})
	if err != nil {
		return reply{}, err
	}
	answer := redirect(localPath(v.PostFormValue("next")))
	answer.cookie = cookie
	return answer, nil
}

// localPath is a path of ours that somebody is sent to, never another site.
func localPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n") {
		return "/drains"
	}
	return p
}

func (s *Server) logOut(v *visit) (reply, error) {
	cookie, err := v.Cookie(s.cookie.Name)
	if err != nil {
		return redirect("/login"), nil
	}
	err = s.Sessions.DeleteSession(v.Context(), auditdrain.HashToken(cookie.Value), v.activity(auditdrain.ActionLoggedOut, v.session))
	if err != nil && auditdrain.ErrorCode(err) != auditdrain.CodeNotFound {
		return reply{}, err
	}
	gone := s.cookie
	gone.MaxAge = -1
	answer := redirect("/login")
	answer.cookie = &gone
	return answer, nil
}

// portal is what the page of a portal link shows.
type portal struct {
	Team auditdrain.Team
	Link auditdrain.PortalLink
}

// portalPage only shows what a link opens: mail scanners and previews get what
// a link leads to, and must not use it up.
func (s *Server) portalPage(v *visit) (reply, error) {
	link, err := s.Links.PortalLink(v.Context(), auditdrain.HashToken(v.PathValue("value")))
	if err == nil && link.Expired(v.now) {
		err = errLinkGone
	}
	if err != nil {
		return reply{}, linkError(err)
	}
	team, err := s.API.Teams.Team(v.Context(), link.TeamID)
	if err != nil {
		return reply{}, err
	}
	return reply{page: "portal", title: "Open " + team.Name, data: portal{team, link}, visit: v}, nil
}

func (s *Server) openPortal(v *visit) (reply, error) {
	hash := auditdrain.HashToken(v.PathValue("value"))
	link, err := s.Links.TakePortalLink(v.Context(), hash, nil)
	if err == nil && link.Expired(v.now) {
		err = errLinkGone
	}
	if err != nil {
		return reply{}, linkError(err)
	}
	cookie, err := s.begin(v.Context(), v, auditdrain.Session{
		Name: link.UserName, Role: link.Role, TeamID: link.TeamID, ActorID: link.ID,
	})
	if err != nil {
		return reply{}, err
	}
	answer := redirect("/drains")
	answer.cookie = cookie
	return answer, nil
}

var errLinkGone = auditdrain.Errorf(auditdrain.CodeNotFound, "This link has been used or has expired. Go back to where you found it, and open it from there again.")

func linkError(err error) error {
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
		return errLinkGone
	}
	return err
}
