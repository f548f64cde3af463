package api

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/auditdrain/auditdrain"
)

// answered is an error that carries what AWS said.
type answered interface {
	error
	AWSAnswer() auditdrain.AWSAnswer
}

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
	if err != nil || result.Error == "" {
		// Clients of the reference system expect {} after a success.
		return auditdrain.DrainTestResult{}, err
	}
	return result, nil
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
	start := time.Now()
	key, err := s.Tester.Test(c.Context(), d, event)
	if err == nil {
		return auditdrain.DrainTestResult{Key: key, Duration: max(time.Since(start).Milliseconds(), 1)}, nil
	}
	result := auditdrain.DrainTestResult{Status: "error", Error: err.Error(), Endpoint: d.Delivery.Endpoint}
	var aws answered
	if !errors.As(err, &aws) {
		return auditdrain.DrainTestResult{}, err
	}
	answer := aws.AWSAnswer()
	result.AWS = &answer
	return result, nil
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
