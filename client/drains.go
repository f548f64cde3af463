package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

// ListDrains returns the team's drains with their Metadata; without a team,
// an operator gets those of all teams. It is repeated when that may help.
func (c *Client) ListDrains(ctx context.Context, team string) ([]auditdrain.Drain, error) {
	query := teamQuery(team)
	query.Set("includeMetadata", "true")
	var out auditdrain.DrainList
	err := c.call(ctx, get(query, "v1", "drains"), &out)
	return out.Drains, err
}

// FindDrains returns one page of the drains that search selects, with their
// Metadata. It is repeated when that may help.
func (c *Client) FindDrains(ctx context.Context, search auditdrain.DrainSearch) (auditdrain.DrainList, error) {
	query := teamQuery(search.TeamID)
	query.Set("includeMetadata", "true")
	query.Set("limit", strconv.Itoa(search.Limit))
	query.Set("offset", strconv.Itoa(search.Offset))
	if search.Text != "" {
		query.Set("search", search.Text)
	}
	if search.Status != "" {
		query.Set("status", string(search.Status))
	}
	var out auditdrain.DrainList
	err := c.call(ctx, get(query, "v1", "drains"), &out)
	return out, err
}

// Series returns what a drain did over time. It is repeated when that may
// help.
func (c *Client) Series(ctx context.Context, team, id string, span auditdrain.Span) (auditdrain.Series, error) {
	query := teamQuery(team)
	query.Set("span", string(span))
	var out auditdrain.Series
	err := c.call(ctx, get(query, "v1", "drains", id, "series"), &out)
	return out, err
}

// GetDrain returns one drain. It is repeated when that may help. A drain that
// does not exist, or is another team's, is auditdrain.CodeNotFound.
func (c *Client) GetDrain(ctx context.Context, team, id string) (auditdrain.Drain, error) {
	query := teamQuery(team)
	query.Set("includeMetadata", "true")
	var out auditdrain.Drain
	err := c.call(ctx, get(query, "v1", "drains", id), &out)
	return out, err
}

// CreateDrain makes a drain, durable on return. It is sent once: after an
// error that is not an *auditdrain.Error, the drain may exist, and
// ListDrains tells.
func (c *Client) CreateDrain(ctx context.Context, team string, in auditdrain.DrainInput) (auditdrain.Drain, error) {
	var out auditdrain.Drain
	err := c.post(ctx, teamQuery(team), in, &out, "v1", "drains")
	return out, err
}

// UpdateDrain changes what patch names, durably on return. It is sent once;
// sending the same patch again does no harm.
func (c *Client) UpdateDrain(ctx context.Context, team, id string, patch auditdrain.DrainPatch) (auditdrain.Drain, error) {
	r, err := request{method: http.MethodPatch, path: []string{"v1", "drains", id}, query: teamQuery(team)}.withJSON(patch)
	if err != nil {
		return auditdrain.Drain{}, err
	}
	var out auditdrain.Drain
	err = c.call(ctx, r, &out)
	return out, err
}

// DeleteDrain removes a drain, durably on return. Events that it had not
// delivered yet will not be delivered by it. It is sent once; when the drain
// is gone already, the error is auditdrain.CodeNotFound.
func (c *Client) DeleteDrain(ctx context.Context, team, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "drains", id}, query: teamQuery(team)}, nil)
}

// TestDelivery writes a sample event as in describes, without a drain. A
// delivery that fails is a result whose Status is "error", not an error. Each
// call writes an object when it works, and tells its key if in has Details; it
// is sent once.
func (c *Client) TestDelivery(ctx context.Context, team string, in auditdrain.DrainTestInput) (auditdrain.DrainTestResult, error) {
	var out auditdrain.DrainTestResult
	err := c.post(ctx, teamQuery(team), in, &out, "v1", "drains", "test")
	return out, err
}

// TestDrain writes a sample event to a drain's destination; otherwise it is
// as TestDelivery, and a success also tells key and duration.
func (c *Client) TestDrain(ctx context.Context, team, id string) (auditdrain.DrainTestResult, error) {
	var out auditdrain.DrainTestResult
	err := c.post(ctx, teamQuery(team), struct{}{}, &out, "v1", "drains", id, "test")
	return out, err
}
