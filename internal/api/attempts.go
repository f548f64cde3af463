package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/auditdrain/auditdrain"
)

const maxAttempts = auditdrain.MaxFailures + auditdrain.MaxSamples

var outcomes = []string{auditdrain.OutcomeFailed, auditdrain.OutcomeWritten, auditdrain.OutcomeExisted}

var attemptParams = []param{
	{"outcome", "Only those with this outcome: " + strings.Join(outcomes, ", ") + "."},
	{"limit", fmt.Sprintf("How many at most, 1 to %d; all without it.", maxAttempts)},
}

func (s *Server) listAttempts(c *call) (any, error) {
	if err := checkQuery(c, attemptParams); err != nil {
		return nil, err
	}
	query := c.URL.Query()
	var problems []auditdrain.Problem
	outcome := query.Get("outcome")
	if query.Has("outcome") && !slices.Contains(outcomes, outcome) {
		problems = append(problems, auditdrain.Problem{Field: "outcome", Message: fmt.Sprintf("%q is not allowed: use one of %q", outcome, outcomes)})
	}
	limit := maxAttempts
	if query.Has("limit") {
		var err error
		if limit, err = strconv.Atoi(query.Get("limit")); err != nil || limit < 1 || limit > maxAttempts {
			problems = append(problems, auditdrain.Problem{Field: "limit", Message: fmt.Sprintf("%q is not allowed: use 1 to %d", query.Get("limit"), maxAttempts)})
		}
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	attempts, err := s.Attempts.Attempts(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	if outcome != "" {
		attempts = slices.DeleteFunc(attempts, func(a auditdrain.Attempt) bool { return a.Outcome != outcome })
	}
	return auditdrain.AttemptList{Attempts: notNil(attempts[:min(limit, len(attempts))])}, nil
}
