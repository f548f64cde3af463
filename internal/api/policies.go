package api

import (
	"context"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/policycheck"
)

// checkPolicies says what policies mean for a drain of the team, which need
// not exist. It asks AWS for nothing but what the service itself is.
func (s *Server) checkPolicies(c *call) (any, error) {
	var in auditdrain.PolicyCheckInput
	if err := checkQuery(c, nil); err != nil {
		return nil, err
	}
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	if in.Delivery == nil {
		return nil, auditdrain.FieldErrors([]auditdrain.Problem{missingDelivery})
	}
	delivery := in.Delivery.WithDefaults()
	problems := delivery.Validate(s.PartitionOf)
	if in.KMSKeyARN != "" {
		problems = append(problems, delivery.ValidateKMSKeyARN(in.KMSKeyARN)...)
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	writer, err := s.writer(c.Context())
	if err != nil {
		return nil, err
	}
	if err := auditdrain.FieldErrors(delivery.ValidateWriter(writer, s.PartitionOf)); err != nil {
		return nil, err
	}
	done, err := s.checks.begin(c.team.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	return policycheck.Check(policycheck.Drain{
		Delivery:      delivery,
		WriterRoleARN: writer,
		ExternalID:    s.Namespace.ExternalID(c.team.ID),
		KMSKeyARN:     in.KMSKeyARN,
		Now:           time.Now(),
	}, in.Policies)
}

// writer is whom trust policies must name. To guess would have a customer
// trust somebody else.
func (s *Server) writer(ctx context.Context) (string, error) {
	arn, err := s.Writer.WriterARN(ctx)
	if err != nil {
		return "", auditdrain.Errorf(auditdrain.CodeUnavailable, "AWS has not told what this service runs as, whom the trust policy must name: %v", err)
	}
	return arn, nil
}
