package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) getTeam(c *call) (any, error) { return c.team, nil }

var teamParams = []param{
	{"search", "Only teams that have this in their ID, slug or name; case does not matter."},
	{"limit", fmt.Sprintf("List so many at most, 1 to %d, and tell how many there are.", auditdrain.MaxPage)},
}

func (s *Server) listTeams(c *call) (any, error) {
	if err := checkQuery(c, teamParams); err != nil {
		return nil, err
	}
	query := c.URL.Query()
	limit, err := strconv.Atoi(query.Get("limit"))
	if query.Has("limit") && (err != nil || limit < 1 || limit > auditdrain.MaxPage) {
		return nil, auditdrain.FieldErrors([]auditdrain.Problem{{Field: "limit", Message: fmt.Sprintf("%q is not allowed: use 1 to %d", query.Get("limit"), auditdrain.MaxPage)}})
	}
	teams, err := s.Teams.Teams(c.Context())
	if err != nil {
		return nil, err
	}
	if text := strings.ToLower(query.Get("search")); text != "" {
		teams = slices.DeleteFunc(teams, func(t auditdrain.Team) bool {
			return !strings.Contains(strings.ToLower(t.ID+"\n"+t.Slug+"\n"+t.Name), text)
		})
	}
	list := auditdrain.TeamList{Teams: notNil(teams)}
	if matches := len(teams); query.Has("limit") {
		list.Teams, list.Matches = list.Teams[:min(limit, matches)], &matches
	}
	return list, nil
}

func (s *Server) createTeam(c *call) (any, error) {
	var in auditdrain.TeamInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	team := auditdrain.Team{ID: in.ID, Slug: in.Slug, Name: in.Name, CreatedAt: time.Now().UnixMilli()}
	if team.ID == "" {
		team.ID = auditdrain.NewID("team_")
	}
	if err := team.Validate(); err != nil {
		return nil, err
	}
	act := c.did(auditdrain.ActionTeamCreated, team.ID, team.ID, team.Name, set("slug", team.Slug))
	if err := s.Teams.CreateTeam(c.Context(), team, act); err != nil {
		return nil, err
	}
	return team, nil
}

func (s *Server) updateTeam(c *call) (any, error) {
	var in auditdrain.TeamPatch
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	if in.Name != nil && c.token.Role != auditdrain.RoleOperator {
		return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "name: a team's name is the operator's to change")
	}
	if in.AnchorURL != nil && c.token.Role != auditdrain.RoleOperator {
		return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "anchorUrl: where a team's manifests are anchored is the operator's to change")
	}
	act := c.did("", c.team.ID, c.team.ID, "")
	team, err := s.Teams.UpdateTeam(c.Context(), c.team.ID, func(t *auditdrain.Team) error {
		before := *t
		if in.Name != nil {
			t.Name = *in.Name
		}
		if in.HideIPAddresses != nil {
			t.HideIPAddresses = *in.HideIPAddresses
		}
		if t.HideIPAddresses != before.HideIPAddresses {
			t.HideIPAddressesChangedAt = time.Now().UnixMilli()
		}
		if in.AnchorURL != nil {
			t.AnchorURL = *in.AnchorURL
		}
		if err := t.Validate(); err != nil {
			return err
		}
		var made changes
		made.add("name", before.Name, t.Name)
		made.add("hideIpAddresses", strconv.FormatBool(before.HideIPAddresses), strconv.FormatBool(t.HideIPAddresses))
		made.add("anchorUrl", before.AnchorURL, t.AnchorURL)
		if made != nil {
			act.Action, act.TargetName, act.Changes = auditdrain.ActionTeamUpdated, t.Name, made
		}
		return nil
	}, act)
	if err != nil || in.HideIPAddresses == nil {
		return team, err
	}
	drains, err := s.Drains.Drains(c.Context(), auditdrain.DrainQuery{TeamID: team.ID})
	for _, d := range drains {
		s.Deliverer.Changed(d.ID)
	}
	return team, err
}

func (s *Server) listTokens(c *call) (any, error) {
	tokens, err := s.Tokens.Tokens(c.Context(), c.team.ID)
	if err != nil {
		return nil, err
	}
	return auditdrain.TokenList{Tokens: notNil(tokens)}, nil
}

func (s *Server) createToken(c *call) (any, error) {
	var in auditdrain.TokenInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	// The team of the query, or of the owner's own token, is the default.
	if in.TeamID == "" && in.Role != auditdrain.RoleOperator {
		in.TeamID = c.team.ID
	}
	now := time.Now()
	value := auditdrain.NewTokenValue()
	token := auditdrain.Token{
		ID:        auditdrain.NewID("tok_"),
		Name:      in.Name,
		Role:      in.Role,
		TeamID:    in.TeamID,
		CreatedAt: now.UnixMilli(),
		ExpiresAt: in.ExpiresAt,
		Hash:      auditdrain.HashToken(value),
	}
	if err := token.Validate(now); err != nil {
		return nil, err
	}
	if token.TeamID != "" {
		team, err := s.Teams.Team(c.Context(), token.TeamID)
		if err != nil {
			return nil, err
		}
		token.TeamID = team.ID // it may have been named by its slug
		if c.token.Role == auditdrain.RoleOperator && c.team.ID != "" && c.team.ID != team.ID {
			return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "teamId: %q is not the team of the query, %q: name one team", in.TeamID, c.team.ID)
		}
	}
	if c.token.Role != auditdrain.RoleOperator {
		switch {
		case !ownersTokens(token.Role):
			// A customer that could send events could forge its own log.
			return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "an owner cannot make tokens with role %q: use owner or viewer", token.Role)
		case token.TeamID != c.token.TeamID:
			return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "this token is not for team %q", in.TeamID)
		case c.token.ExpiresAt != 0 && (token.ExpiresAt == 0 || token.ExpiresAt > c.token.ExpiresAt):
			return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "expiresAt: a token that ends at %d cannot make one that lives longer", c.token.ExpiresAt)
		}
	}
	if token.TeamID == auditdrain.SystemTeam && token.Role == auditdrain.RoleProducer {
		return nil, errSystemEvents
	}
	made := changes{set("role", string(token.Role))}
	made.add("expiresAt", "", moment(token.ExpiresAt))
	act := c.did(auditdrain.ActionTokenCreated, token.TeamID, token.ID, token.Name, made...)
	if err := s.Tokens.CreateToken(c.Context(), token, act); err != nil {
		return nil, err
	}
	return auditdrain.NewToken{Token: token, Value: value}, nil
}

func (s *Server) deleteToken(c *call) (any, error) {
	id := c.PathValue("id")
	tokens, err := s.Tokens.Tokens(c.Context(), c.team.ID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tokens, func(t auditdrain.Token) bool { return t.ID == id })
	if i < 0 {
		return nil, auditdrain.Errorf(auditdrain.CodeNotFound, "there is no token %q", id)
	}
	token := tokens[i]
	if c.token.Role != auditdrain.RoleOperator && !ownersTokens(token.Role) {
		// Nor must it be able to silence it.
		return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "an owner cannot revoke tokens with role %q: ask the operator", token.Role)
	}
	return nil, s.Tokens.DeleteToken(c.Context(), c.team.ID, id, c.did(auditdrain.ActionTokenRevoked, token.TeamID, id, token.Name))
}

// ownersTokens reports whether a team's owners manage tokens of the role.
func ownersTokens(role auditdrain.Role) bool {
	return role == auditdrain.RoleOwner || role == auditdrain.RoleViewer
}

// errSystemEvents keeps the log of what was done to auditdrain from being
// forged.
var errSystemEvents = auditdrain.Errorf(auditdrain.CodeForbidden, "team %q is auditdrain's own: nobody else can send its events", auditdrain.SystemTeam)

// notNil makes an empty list [] rather than null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
