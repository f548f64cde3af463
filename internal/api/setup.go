package api

import (
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/setup"
)

// setupParams are the parameters of auditdrain.SetupQuery.
var setupParams = []param{
	{"endpoint", "Where the drain writes: s3://bucket or s3://bucket/prefix."},
	{"region", "AWS region of the bucket."},
	{"roleArn", "The team's IAM role that may write there, if it has one already or knows what to call it."},
	{"encoding", "Form of the objects: " + strings.Join(auditdrain.Encodings, " or ") + "."},
	{"encryption", "The drain's serverSideEncryption: " + strings.Join(auditdrain.Encryptions, ", ") + "."},
	{"kmsKeyArn", "The customer managed key that the bucket encrypts with, if it has one."},
	{"objectAcl", "The drain's objectAcl: " + strings.Join(auditdrain.ObjectACLs, ", ") + "."},
}

func (s *Server) getSetup(c *call) (any, error) {
	if err := checkQuery(c, setupParams); err != nil {
		return nil, err
	}
	q := auditdrain.ParseSetupQuery(c.URL.Query())
	if err := auditdrain.FieldErrors(q.Validate(s.PartitionOf)); err != nil {
		return nil, err
	}
	writer, err := s.writer(c.Context())
	if err != nil {
		return nil, err
	}
	for _, p := range q.Delivery().ValidateWriter(writer, s.PartitionOf) {
		p.Field = "region"
		return nil, auditdrain.FieldErrors([]auditdrain.Problem{p})
	}
	d := setup.DestinationOf(q.Delivery())
	d.WriterRoleARN = writer
	d.ExternalID = s.Namespace.ExternalID(c.team.ID)
	d.KMSKeyARN = q.KMSKeyARN
	return setup.Write(d, s.SetupTemplateURL), nil
}
