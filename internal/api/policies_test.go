package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// checkBody checks a trust policy that trusts us for another team.
func checkBody(delivery string) string {
	trust := iam.Grant{WriterRoleARN: testWriter, ExternalID: "vercel-team:team_b"}.TrustPolicy()
	return checkBodyOf(delivery, auditdrain.PolicyDocument{Name: "trust.json", Document: trust})
}

func checkBodyOf(delivery string, docs ...auditdrain.PolicyDocument) string {
	policies, err := json.Marshal(docs)
	if err != nil {
		panic(err)
	}
	return `{"delivery":` + delivery + `,"policies":` + string(policies) + `}`
}

func TestCheckPolicies(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	check := func(team string) auditdrain.PolicyReport {
		return must[auditdrain.PolicyReport](s, "POST", "/v1/policies/check?teamId="+team, checkBody(goodDelivery))
	}
	r := check("team_a")
	if r.Result != auditdrain.PolicyDenied || r.Steps[0].Step != "assumeRole" || r.Steps[0].Result != auditdrain.PolicyDenied {
		t.Errorf("for another team: %s %+v", r.Result, r.Steps)
	}
	if len(r.Fixes) != 1 || !strings.Contains(r.Fixes[0].Patch, `+          "sts:ExternalId": "vercel-team:team_a"`) {
		t.Errorf("fixes %+v", r.Fixes)
	}
	r = check("team_b")
	if r.Result != auditdrain.PolicyUnknown || r.Steps[0].Result != auditdrain.PolicyAllowed || r.Warnings != nil {
		t.Errorf("for the team: %s %+v %+v", r.Result, r.Steps, r.Warnings)
	}
}

func TestCheckPoliciesRefused(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	broken := auditdrain.PolicyDocument{Name: "trust.json", Document: "{\n  \"Version\": 1}"}
	for name, tc := range map[string]struct{ body, want string }{
		"no delivery":     {`{"policies":[]}`, "delivery: missing"},
		"delivery":        {checkBody(strings.Replace(goodDelivery, "eu-central-1", "nowhere", 1)), `delivery.region: \"nowhere\" is not a region`},
		"key":             {strings.Replace(checkBody(goodDelivery), "{", `{"kmsKeyArn":"x",`, 1), `kmsKeyArn: \"x\" is not the ARN of a KMS key`},
		"no policies":     {checkBodyOf(goodDelivery), "policies: missing: give at least one policy"},
		"broken policies": {checkBodyOf(goodDelivery, broken, broken), `policies.0.document: trust.json, line 2, column 14: Version must be a string, not 1 (and 1 more, see details)`},
		"kind":            {checkBodyOf(goodDelivery, auditdrain.PolicyDocument{Kind: "x"}), `policies.0.kind: \"x\" is not allowed`},
		"misspelt name":   {strings.Replace(checkBody(goodDelivery), `"document"`, `"documents"`, 1), "policies.0.documents: is not a known field: use kind, name, document"},
	} {
		a := s.do(operatorToken, "POST", "/v1/policies/check?teamId=team_a", tc.body)
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, tc.want) {
			t.Errorf("%s: %d %s\nwant %s", name, a.status, a.body, tc.want)
		}
	}
}

func TestCheckPoliciesWithoutAWS(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.writerErr = errors.New("no such host")
	a := s.do(operatorToken, "POST", "/v1/policies/check?teamId=team_a", checkBody(goodDelivery))
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "no such host") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
