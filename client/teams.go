package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

// CreateTeam makes a team, durable on return. It is sent once; when in has an
// ID, sending it again is auditdrain.CodeConflict and makes no second team.
func (c *Client) CreateTeam(ctx context.Context, in auditdrain.TeamInput) (auditdrain.Team, error) {
	var out auditdrain.Team
	err := c.post(ctx, nil, in, &out, "v1", "teams")
	return out, err
}

// ListTeams returns the teams that the token may see. It is repeated when
// that may help.
func (c *Client) ListTeams(ctx context.Context) ([]auditdrain.Team, error) {
	var out auditdrain.TeamList
	err := c.call(ctx, get(nil, "v1", "teams"), &out)
	return out.Teams, err
}

// FindTeams returns up to limit (1 to auditdrain.MaxPage) of the teams that have
// text in their ID, slug or name, and how many there are. It is repeated when
// that may help.
func (c *Client) FindTeams(ctx context.Context, text string, limit int) (auditdrain.TeamList, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if text != "" {
		query.Set("search", text)
	}
	var out auditdrain.TeamList
	err := c.call(ctx, get(query, "v1", "teams"), &out)
	return out, err
}

// GetTeam returns the team with this ID or slug. It is repeated when that may
// help. An unknown team is auditdrain.CodeNotFound.
func (c *Client) GetTeam(ctx context.Context, idOrSlug string) (auditdrain.Team, error) {
	var out auditdrain.Team
	err := c.call(ctx, get(nil, "v2", "teams", idOrSlug), &out)
	return out, err
}

// UpdateTeam changes what patch names, durably on return. It is sent once;
// sending the same patch again does no harm.
func (c *Client) UpdateTeam(ctx context.Context, idOrSlug string, patch auditdrain.TeamPatch) (auditdrain.Team, error) {
	r, err := request{method: http.MethodPatch, path: []string{"v1", "teams", idOrSlug}}.withJSON(patch)
	if err != nil {
		return auditdrain.Team{}, err
	}
	var out auditdrain.Team
	err = c.call(ctx, r, &out)
	return out, err
}

// CreatePortalLink makes a link that lets one person in to a team's pages,
// once. Its URL is in the answer and can never be had again. It is sent once.
func (c *Client) CreatePortalLink(ctx context.Context, in auditdrain.PortalLinkInput) (auditdrain.NewPortalLink, error) {
	var out auditdrain.NewPortalLink
	err := c.post(ctx, nil, in, &out, "v1", "portal-links")
	return out, err
}

// ListSigningKeys returns the keys that manifests are signed with, the latest
// first. It is repeated when that may help.
func (c *Client) ListSigningKeys(ctx context.Context) ([]auditdrain.SigningKeyInfo, error) {
	var out auditdrain.SigningKeyList
	err := c.call(ctx, get(nil, "v1", "signing-keys"), &out)
	return out.SigningKeys, err
}

// CreateSigningKey makes the next signing key, durable on return. It is sent once:
// after an error that is not an *auditdrain.Error, look whether there is a new one.
func (c *Client) CreateSigningKey(ctx context.Context, in auditdrain.SigningKeyInput) (auditdrain.SigningKeyInfo, error) {
	var out auditdrain.SigningKeyInfo
	err := c.post(ctx, nil, in, &out, "v1", "signing-keys")
	return out, err
}

// ListActivity returns who did what, the latest first; without a team, an
// operator gets what was done to all. It is repeated when that may help.
func (c *Client) ListActivity(ctx context.Context, q auditdrain.ActivityQuery) (auditdrain.ActivityList, error) {
	query := teamQuery(q.TeamID)
	if q.Before != 0 {
		query.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	var out auditdrain.ActivityList
	err := c.call(ctx, get(query, "v1", "activity"), &out)
	return out, err
}

// CreateToken makes a token, durable on return. Its value is in the answer
// and can never be had again. It is sent once: after an error that is not an
// *auditdrain.Error, a token may exist that nobody knows the value of.
func (c *Client) CreateToken(ctx context.Context, in auditdrain.TokenInput) (auditdrain.NewToken, error) {
	var out auditdrain.NewToken
	err := c.post(ctx, teamQuery(in.TeamID), in, &out, "v1", "tokens")
	return out, err
}

// ListTokens returns the team's tokens, without their values; without a team,
// an operator gets all. It is repeated when that may help.
func (c *Client) ListTokens(ctx context.Context, team string) ([]auditdrain.Token, error) {
	var out auditdrain.TokenList
	err := c.call(ctx, get(teamQuery(team), "v1", "tokens"), &out)
	return out.Tokens, err
}

// DeleteToken makes a token invalid, durably on return. It is sent once; when
// the token is gone already, the error is auditdrain.CodeNotFound.
func (c *Client) DeleteToken(ctx context.Context, team, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "tokens", id}, query: teamQuery(team)}, nil)
}
