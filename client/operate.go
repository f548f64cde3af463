package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

// ListAttempts returns what a drain tried to write, the latest first: those
// with the outcome, or all if that is "", and limit of them, or all if that is
// 0. It is repeated when that may help.
func (c *Client) ListAttempts(ctx context.Context, team, id, outcome string, limit int) ([]auditdrain.Attempt, error) {
	query := teamQuery(team)
	if outcome != "" {
		query.Set("outcome", outcome)
	}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var out auditdrain.AttemptList
	err := c.call(ctx, get(query, "v1", "drains", id, "attempts"), &out)
	return out.Attempts, err
}

// Integrity returns how far the account is that signed manifests keep of a drain. It
// is repeated when that may help.
func (c *Client) Integrity(ctx context.Context, team, id string) (auditdrain.Integrity, error) {
	var out auditdrain.Integrity
	err := c.call(ctx, get(teamQuery(team), "v1", "drains", id, "integrity"), &out)
	return out, err
}

// ListSkips returns what a drain has given up, the latest first. It is
// repeated when that may help.
func (c *Client) ListSkips(ctx context.Context, team, id string) ([]auditdrain.Skip, error) {
	var out auditdrain.SkipList
	err := c.call(ctx, get(teamQuery(team), "v1", "drains", id, "skips"), &out)
	return out.Skips, err
}

// SkipEvent gives up an event that a drain has not delivered, durably on
// return. It is sent once; sending it again does no harm, and returns the
// record that is there. An event that was delivered is
// auditdrain.CodeConflict, one that the team does not have
// auditdrain.CodeNotFound.
func (c *Client) SkipEvent(ctx context.Context, team, id string, in auditdrain.SkipInput) (auditdrain.Skip, error) {
	var out auditdrain.Skip
	err := c.post(ctx, teamQuery(team), in, &out, "v1", "drains", id, "skips")
	return out, err
}

// StartReplay has a drain deliver again what in describes, durably on return;
// GetReplay tells how far it is. It is sent once: while a replay is running,
// another one is auditdrain.CodeConflict.
func (c *Client) StartReplay(ctx context.Context, team, id string, in auditdrain.ReplayInput) (auditdrain.Replay, error) {
	var out auditdrain.Replay
	err := c.post(ctx, teamQuery(team), in, &out, "v1", "drains", id, "replay")
	return out, err
}

// GetReplay returns a drain's last replay. It is repeated when that may help.
// If there has never been one, the error is auditdrain.CodeNotFound.
func (c *Client) GetReplay(ctx context.Context, team, id string) (auditdrain.Replay, error) {
	var out auditdrain.Replay
	err := c.call(ctx, get(teamQuery(team), "v1", "drains", id, "replay"), &out)
	return out, err
}

// CancelReplay ends a drain's running replay, durably on return. It is sent
// once; when the replay is over already, the error is auditdrain.CodeConflict.
func (c *Client) CancelReplay(ctx context.Context, team, id string) (auditdrain.Replay, error) {
	var out auditdrain.Replay
	err := c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "drains", id, "replay"}, query: teamQuery(team)}, &out)
	return out, err
}
