package client

import (
	"context"

	"github.com/auditdrain/auditdrain"
)

// Setup returns everything that the team needs to set up a drain of which q is
// known. It is repeated when that may help. As long as AWS has not told the
// server whom roles must trust, the error is auditdrain.CodeUnavailable.
func (c *Client) Setup(ctx context.Context, team string, q auditdrain.SetupQuery) (auditdrain.Setup, error) {
	query := teamQuery(team)
	for name, values := range q.Values() {
		query[name] = values
	}
	var out auditdrain.Setup
	err := c.call(ctx, get(query, "v1", "setup"), &out)
	return out, err
}
