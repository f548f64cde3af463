package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// No AWS knows a principal of another: what cannot work is refused wherever a
// destination is named, as soon as it is known who writes.
func TestOtherPartition(t *testing.T) {
	const china = `{"type":"s3","endpoint":"s3://acme-audit","encoding":"json","roleArn":"arn:aws-cn:iam::123456789012:role/drain","region":"cn-north-1"}`
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	for what, got := range map[string]answer{
		"create": s.do(operatorToken, "POST", "/v1/drains?teamId=team_a", drainBody(china)),
		"update": s.do(operatorToken, "PATCH", "/v1/drains/"+d.ID, `{"delivery":`+china+`}`),
		"test":   s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", `{"delivery":`+china+`}`),
		"setup":  s.do(operatorToken, "GET", "/v1/setup?teamId=team_a&region=cn-north-1", ""),
		"check":  s.do(operatorToken, "POST", "/v1/policies/check?teamId=team_a", `{"delivery":`+china+`,"policies":[{"document":"{}"}]}`),
	} {
		if got.status != 400 || got.errorCode() != "bad_request" {
			t.Errorf("%s: %d %s, want 400", what, got.status, got.body)
		}
		for _, part := range []string{"region", "cn-north-1", "aws-cn", testWriter} {
			if !strings.Contains(got.body, part) {
				t.Errorf("%s: %s does not name %s", what, got.body, part)
			}
		}
	}
	// Until AWS has told who we are, nothing is said of it; and whatever a
	// drain is, it can be renamed.
	s.writerErr = errors.New("no answer")
	d = must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(china))
	s.writerErr = nil
	must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"name":"renamed"}`)
}

// A parameter that is misspelt, or given twice, must not be ignored.
func TestUnknownParameters(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	for query, want := range map[string]string{
		"objectACL=private":                 "objectACL: is not a known parameter: use teamId, slug, endpoint, region, ",
		"region=us-east-1&region=us-west-2": "region: is there 2 times: give it once",
	} {
		if got := s.do(operatorToken, "GET", "/v1/setup?teamId=team_a&"+query, ""); got.status != 400 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s, want 400 and %s", query, got.status, got.body, want)
		}
	}
	if got := s.do(operatorToken, "POST", "/v1/policies/check?teamId=team_a&strict=1", `{}`); got.status != 400 || !strings.Contains(got.body, "strict: is not a known parameter: use teamId, slug") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
