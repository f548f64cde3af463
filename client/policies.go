package client

import (
	"context"
	"net/http"

	"github.com/auditdrain/auditdrain"
)

// CheckPolicies says what policies mean for a drain of the team, which need
// not exist. Nothing is stored, and it is repeated when that may help.
func (c *Client) CheckPolicies(ctx context.Context, team string, in auditdrain.PolicyCheckInput) (auditdrain.PolicyReport, error) {
	r, err := request{method: http.MethodPost, path: []string{"v1", "policies", "check"}, query: teamQuery(team), mayRetry: true}.withJSON(in)
	if err != nil {
		return auditdrain.PolicyReport{}, err
	}
	var out auditdrain.PolicyReport
	err = c.call(ctx, r, &out)
	return out, err
}
