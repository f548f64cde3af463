package web_test

import (
	"testing"

	"github.com/auditdrain/auditdrain"
)

// drain makes a drain of a team.
func (s *site) drain(team, name string) auditdrain.Drain {
	s.Helper()
	d, err := s.operator.CreateDrain(s.Context(), team, auditdrain.DrainInput{
		Name: name, Schemas: auditdrain.AuditLogSchemas(),
		Delivery: &auditdrain.Delivery{
			Type: "s3", Endpoint: "s3://acme-audit/logs", Encoding: "json", Region: "eu-west-1",
			RoleARN: "arn:aws:iam::111122223333:role/audit-drain",
		},
	})
	s.must(err)
	return d
}

func TestDrainsOfATeam(t *testing.T) {
	s := newSite(t)
	d := s.drain("team_1", "Archive <b>")
	s.drain("team_2", "Theirs")
	b := s.logIn(s.token(auditdrain.RoleOwner, "team_1"))
	b.get("/drains").want(t, 200, "Archive &lt;b&gt;", "s3://acme-audit/logs", "Delivering", `href="/drains/new"`)
	b.get("/drains/"+d.ID).want(t, 200, "Archive &lt;b&gt;", "no event in the last hour, nothing waits")
}
