package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/auditdrain/auditdrain"
)

// settingsPage is what the page of a team's settings and tokens shows; without
// a team, that of the operators' tokens.
type settingsPage struct {
	Team     auditdrain.Team // zero: none
	Asked    string          // the parameter team, for addresses
	Operator bool
	Owner    bool
	Tokens   []auditdrain.Token // nil for viewers
	Now      int64

	// SigningKeys are shown to operators, where no team is; JWKS is where the keys
	// themselves are.
	SigningKeys []auditdrain.SigningKeyInfo
	JWKS        string

	Token    tokenForm
	NewToken *auditdrain.NewToken // made just now

	Link    linkForm
	NewLink *auditdrain.NewPortalLink // made just now

	Problems map[string]string // by field
}

// tokenForm is what was typed to make a token.
type tokenForm struct {
	Name string
	Role auditdrain.Role
	Days string // until it expires; "" is never
}

// linkForm is what was typed to make a portal link.
type linkForm struct {
	UserName string
	Role     auditdrain.Role
	Minutes  string
}

func (s *Server) settings(v *visit) (reply, error) {
	page, err := s.settingsOf(v)
	if err != nil {
		return reply{}, err
	}
	return s.settingsReply(v, page), nil
}

func (s *Server) settingsReply(v *visit, page settingsPage) reply {
	answer := reply{page: "settings", title: "Settings", data: page, visit: v}
	if len(page.Problems) > 0 {
		answer.status = http.StatusBadRequest
	}
	return answer
}

func (s *Server) settingsOf(v *visit) (settingsPage, error) {
	page := settingsPage{
		Asked: v.FormValue("team"), Operator: v.operator(), Owner: v.owner(), Now: v.now.UnixMilli(),
		Token: tokenForm{Role: auditdrain.RoleViewer, Days: "90"}, Link: linkForm{Role: auditdrain.RoleOwner, Minutes: strconv.Itoa(auditdrain.DefaultPortalMinutes)},
	}
	team := v.team()
	if team != "" {
		var err error
		if page.Team, err = s.client.GetTeam(v.Context(), team); err != nil {
			return page, err
		}
	} else {
		page.Token.Role = auditdrain.RoleOperator
		var err error
		if page.SigningKeys, err = s.client.ListSigningKeys(v.Context()); err != nil {
			return page, err
		}
		page.JWKS = s.public.JoinPath("/.well-known/jwks.json").String()
	}
	if !page.Owner {
		return page, nil
	}
	tokens, err := s.client.ListTokens(v.Context(), team)
	if err != nil {
		return page, err
	}
	for _, t := range tokens {
		if t.TeamID == page.Team.ID { // without a team: those of operators
			page.Tokens = append(page.Tokens, t)
		}
	}
	return page, nil
}

// back is the address of the settings that a form came from.
func (v *visit) back(done string) string {
	query := url.Values{"done": {done}}
	if team := v.FormValue("team"); team != "" {
		query.Set("team", team)
	}
	return "/settings?" + query.Encode()
}

func (s *Server) saveSettings(v *visit) (reply, error) {
	hide := v.PostFormValue("hideIpAddresses") == "yes"
	if _, err := s.client.UpdateTeam(v.Context(), v.team(), auditdrain.TeamPatch{HideIPAddresses: &hide}); err != nil {
		return reply{}, err
	}
	return redirect(v.back("settings")), nil
}

func (s *Server) makeToken(v *visit) (reply, error) {
	form := tokenForm{Name: v.PostFormValue("name"), Role: auditdrain.Role(v.PostFormValue("role")), Days: v.PostFormValue("days")}
	in := auditdrain.TokenInput{Name: form.Name, Role: form.Role, TeamID: v.team()}
	var made auditdrain.NewToken
	var err error
	if form.Days != "" {
		days, convErr := strconv.Atoi(form.Days)
		if convErr != nil || days < 1 || days > 3650 {
			err = auditdrain.FieldErrors([]auditdrain.Problem{{Field: "days", Message: strconv.Quote(form.Days) + " is not allowed: use 1 to 3650 days, or leave it empty"}})
		}
		in.ExpiresAt = v.now.Add(time.Duration(days) * 24 * time.Hour).UnixMilli()
	}
	if err == nil {
		made, err = s.client.CreateToken(v.Context(), in)
	}
	page, err := s.settingsAfter(v, err)
	if err != nil {
		return reply{}, err
	}
	if page.Problems == nil {
		page.NewToken = &made
	} else {
		page.Token = form
	}
	return s.settingsReply(v, page), nil
}

func (s *Server) revokeToken(v *visit) (reply, error) {
	if err := s.client.DeleteToken(v.Context(), v.team(), v.PathValue("id")); err != nil {
		return reply{}, err
	}
	return redirect(v.back("revoked")), nil
}

func (s *Server) makeLink(v *visit) (reply, error) {
	form := linkForm{UserName: v.PostFormValue("userName"), Role: auditdrain.Role(v.PostFormValue("role")), Minutes: v.PostFormValue("validMinutes")}
	minutes, err := strconv.Atoi(form.Minutes)
	if err != nil {
		minutes = -1 // which is refused, and says what is allowed
	}
	made, err := s.client.CreatePortalLink(v.Context(), auditdrain.PortalLinkInput{
		TeamID: v.team(), Role: form.Role, UserName: form.UserName, ValidMinutes: minutes,
	})
	page, err := s.settingsAfter(v, err)
	if err != nil {
		return reply{}, err
	}
	if page.Problems == nil {
		page.NewLink = &made
	} else {
		page.Link = form
	}
	return s.settingsReply(v, page), nil
}

// settingsAfter returns the page again after a form that makes something has had
// an error, or none: its Problems tell what is wrong with the fields.
func (s *Server) settingsAfter(v *visit, err error) (settingsPage, error) {
	problems, err := problemsOf(err)
	if err != nil {
		return settingsPage{}, err
	}
	page, err := s.settingsOf(v)
	page.Problems = problems
	return page, err
}

// problemsOf returns what is wrong with the fields of a form, each in a
// sentence, or an error that is about something else.
func problemsOf(err error) (map[string]string, error) {
	var e *auditdrain.Error
	if !errors.As(err, &e) || len(e.Details) == 0 {
		return nil, err
	}
	problems := map[string]string{}
	for _, p := range e.Details {
		if problems[p.Field] == "" {
			problems[p.Field] = p.Message
		}
	}
	return problems, nil
}
