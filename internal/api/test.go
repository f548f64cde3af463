package api

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
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
		problems = append(problems, in.Delivery.ValidateWriter(s.Writer.KnownWriterARN(), s.PartitionOf)...)
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	result, err := s.test(c, auditdrain.Drain{TeamID: c.team.ID, Delivery: in.Delivery.WithDefaults()})
	if err != nil || result.Status != "" || in.Details {
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
	done, err := s.tests.begin(d.TeamID)
	if err != nil {
		return auditdrain.DrainTestResult{}, err
	}
	defer done()
	event, err := s.sampleEvent(d.TeamID)
	if err != nil {
		return auditdrain.DrainTestResult{}, err
	}
	result, err := s.Tester.Test(c.Context(), d, event)
	if err != nil {
		return result, err
	}
	outcome := "passed"
	if result.Status != "" {
		outcome = "failed"
	}
	made := []auditdrain.ActivityChange{set("result", outcome)}
	if d.ID == "" { // then this is all that tells what was tested
		made = append(made, deliveryChanges(auditdrain.Delivery{}, d.Delivery)...)
	}
	return result, s.Activities.Record(c.Context(), c.didToDrain(auditdrain.ActionDrainTested, d, made...))
}

// safeRole refuses to let a drain deliver through a role that others than its
// team could use, where the operator wants that.
func (s *Server) safeRole(ctx context.Context, d auditdrain.Drain) error {
	if !s.RefuseUnsafeRoles {
		return nil
	}
	done, err := s.tests.begin(d.TeamID)
	if err != nil {
		return err
	}
	defer done()
	check := s.Tester.CheckRole(ctx, d)
	message := check.Text
	if check.Diagnosis != nil {
		message += " " + check.Diagnosis.String()
	}
	refusal := auditdrain.FieldErrors([]auditdrain.Problem{{Field: "delivery.roleArn", Message: message}})
	switch {
	case check.Unsafe:
		return refusal
	case check.WithoutExternalID != auditdrain.RoleUnknown && check.OtherExternalID != auditdrain.RoleUnknown:
		return nil
	case check.Diagnosis == nil || !check.Diagnosis.Known:
		return refusal
	}
	switch check.Diagnosis.Causes[0].Who {
	case auditdrain.ActorNobody, auditdrain.ActorOperator: // not the caller's to mend
		return auditdrain.Errorf(auditdrain.CodeUnavailable, "delivery.roleArn: %s", message)
	}
	return refusal
}

const (
	// maxTests bounds the tests of all teams under way. Each makes up to a
	// dozen calls to AWS as the platform, whose quota of STS calls deliveries
	// need, too.
	maxTests = 16
	// maxChecks bounds the policy checks under way. What is made to take long
	// takes seconds of a core, which ingestion needs, too.
	maxChecks = 1
)

// trials are what people try out just now: one at a time of each team.
type trials struct {
	most  int
	mu    sync.Mutex
	teams map[string]bool
}

func newTrials(most int) *trials { return &trials{most: most, teams: map[string]bool{}} }

// begin begins a trial, which the function that it returns ends.
func (t *trials) begin(teamID string) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.teams[teamID] || len(t.teams) >= t.most {
		return nil, &auditdrain.Error{
			Code: auditdrain.CodeRateLimited, RetryAfter: 2 * time.Second,
			Message: fmt.Sprintf("one such call of this team is under way, or %d of others: try again when it has ended", t.most),
		}
	}
	t.teams[teamID] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.teams, teamID)
	}, nil
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
