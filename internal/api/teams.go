package api

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) getTeam(c *call) (any, error) { return c.team, nil }

func (s *Server) listTeams(c *call) (any, error) {
	teams, err := s.Teams.Teams(c.Context())
	if err != nil {
		return nil, err
	}
	return auditdrain.TeamList{Teams: notNil(teams)}, nil
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
	if err := s.Teams.CreateTeam(c.Context(), team, nil); err != nil {
		return nil, err
	}
	return team, nil
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
	if err := s.Tokens.CreateToken(c.Context(), token, nil); err != nil {
		return nil, err
	}
	return auditdrain.NewToken{Token: token, Value: value}, nil
}

func (s *Server) deleteToken(c *call) (any, error) {
	if c.token.Role != auditdrain.RoleOperator {
		tokens, err := s.Tokens.Tokens(c.Context(), c.team.ID)
		if err != nil {
			return nil, err
		}
		for _, t := range tokens {
			if t.ID == c.PathValue("id") && !ownersTokens(t.Role) {
				// Nor must it be able to silence it.
				return nil, auditdrain.Errorf(auditdrain.CodeForbidden, "an owner cannot revoke tokens with role %q: ask the operator", t.Role)
			}
		}
	}
	return nil, s.Tokens.DeleteToken(c.Context(), c.team.ID, c.PathValue("id"), nil)
}

// ownersTokens reports whether a team's owners manage tokens of the role.
func ownersTokens(role auditdrain.Role) bool {
	return role == auditdrain.RoleOwner || role == auditdrain.RoleViewer
}

// notNil makes an empty list [] rather than null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
