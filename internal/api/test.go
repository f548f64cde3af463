package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) testDelivery(c *call) (any, error) {
	var in auditdrain.DrainTestInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	problems := checkFixed("", in.Schemas, nil)
	if in.Delivery == nil {
		problems = append(problems, missingDelivery)
	} else {
		problems = append(problems, in.Delivery.WithDefaults().Validate(s.PartitionOf)...)
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	result, err := s.test(c, auditdrain.Drain{TeamID: c.team.ID, Delivery: in.Delivery.WithDefaults()})
	if err != nil || result.Status != "" {
		return result, err
	}
	// Clients of the reference system expect {} after a success.
	answer := auditdrain.DrainTestResult{}
	if result.RoleCheck.Unsafe {
		answer.RoleCheck = result.RoleCheck
	}
	return answer, nil
}

func (s *Server) testDrain(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	return s.test(c, d)
}

// test tries a delivery. The error is ours; what AWS refused is a result.
func (s *Server) test(c *call, d auditdrain.Drain) (auditdrain.DrainTestResult, error) {
	event, err := s.sampleEvent(d.TeamID)
	if err != nil {
		return auditdrain.DrainTestResult{}, err
	}
	return s.Tester.Test(c.Context(), d, event)
}

// safeRole refuses to let a drain deliver through a role that others than its
// team could use, where the operator wants that.
func (s *Server) safeRole(ctx context.Context, d auditdrain.Drain) error {
	if !s.RefuseUnsafeRoles {
		return nil
	}
	check := s.Tester.CheckRole(ctx, d)
	switch {
	case check.Unsafe:
		return auditdrain.FieldErrors([]auditdrain.Problem{{Field: "delivery.roleArn", Message: check.Text}})
	case check.WithoutExternalID == auditdrain.RoleUnknown || check.OtherExternalID == auditdrain.RoleUnknown:
		return auditdrain.Errorf(auditdrain.CodeUnavailable, "delivery.roleArn: %s AWS STS did not answer as it should: try again", check.Text)
	}
	return nil
}

// sampleEvent is what a test delivery writes: a valid event that nobody can
// take for a real one.
func (s *Server) sampleEvent(teamID string) (auditdrain.Event, error) {
	now := time.Now().UnixMilli()
	id := auditdrain.NewID("uev_test_")
	body, err := json.Marshal(eventDoc{
		Schema:    s.Namespace.Schema(),
		ID:        id,
		TeamID:    teamID,
		Action:    "drain-tested",
		Timestamp: now,
		Actor:     actorDoc{Type: "system", ID: "auditdrain", Name: "auditdrain test delivery"},
		Payload:   map[string]any{"test": true},
	})
	return auditdrain.Event{ID: id, Timestamp: now, Body: body}, err
}
