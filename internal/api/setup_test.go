package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/setup"
)

const testWriter = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"

func (s *service) WriterARN(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return testWriter, s.writerErr
}

func (s *service) KnownWriterARN() string {
	writer, err := s.WriterARN(context.Background())
	if err != nil {
		return ""
	}
	return writer
}

func TestSetup(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	s := newService(t)
	s.team("team_a")
	s.api.SetupTemplateURL = "https://platform.s3.amazonaws.com/drain.yaml"
	for name, tc := range map[string]struct {
		query auditdrain.SetupQuery
		want  setup.Destination
	}{
		"nothing": {},
		"all": {
			auditdrain.SetupQuery{
				Endpoint: "s3://acme-audit/a & b+c", Region: "eu-central-1", RoleARN: "arn:aws:iam::123456789012:role/w", Encoding: "json",
				Encryption: "aws:kms", KMSKeyARN: key, ObjectACL: "private",
			},
			setup.Destination{
				Grant: iam.Grant{RoleARN: "arn:aws:iam::123456789012:role/w", Bucket: "acme-audit", Prefix: "a & b+c",
					Region: "eu-central-1", KMSKeyARN: key, ObjectACL: true},
				Encoding: "json", Encryption: "aws:kms", ACL: "private",
			},
		},
		"only a key": {
			auditdrain.SetupQuery{KMSKeyARN: key},
			setup.Destination{Grant: iam.Grant{Region: "eu-central-1", KMSKeyARN: key}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			query := tc.query.Values()
			query.Set("teamId", "team_a")
			got := must[auditdrain.Setup](s, "GET", "/v1/setup?"+query.Encode(), "")
			tc.want.WriterRoleARN, tc.want.ExternalID = testWriter, "vercel-team:team_a"
			if diff := cmp.Diff(setup.Write(tc.want, s.api.SetupTemplateURL), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is given is checked as a drain's fields are, and named as in the query. What is not given is no problem.
func TestSetupRefused(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	for query, want := range map[string][]string{
		"endpoint=acme":                 {`endpoint: "acme" is not allowed: use s3://bucket or s3://bucket/prefix`},
		"region=nowhere":                {`region: "nowhere" is not a region`},
		"roleArn=x":                     {`roleArn: "x" is not an IAM role ARN`},
		"encoding=xml":                  {`encoding: "xml" is not allowed: use one of ["json" "ndjson"]`},
		"encryption=rot13":              {`encryption: "rot13" is not allowed: use one of ["AES256"`},
		"objectAcl=public-read":         {`objectAcl: "public-read" is not allowed`},
		"kmsKeyArn=nonsense":            {`kmsKeyArn: "nonsense" is not the ARN of a KMS key`},
		"endpoint=acme&region=nowhere":  {"endpoint: ", `"field":"region"`},
		"encoding=xml&encryption=rot13": {"encoding: ", `"field":"encryption"`},
		"kmsKeyArn=arn:aws:kms:eu-central-1:123456789012:alias/a":                                         {"kmsKeyArn: ", "alias", "use the key's own ARN"},
		"kmsKeyArn=arn:aws:kms:cn-north-1:123456789012:key/a":                                             {`kmsKeyArn: `, `there is no "cn-north-1" in partition "aws"`},
		"region=eu-west-1&kmsKeyArn=arn:aws:kms:eu-central-1:123456789012:key/a":                          {"kmsKeyArn: ", `region "eu-central-1"`},
		"encryption=AES256&kmsKeyArn=arn:aws:kms:eu-central-1:123456789012:key/a":                         {"kmsKeyArn: ", `"AES256"`},
		"region=cn-north-1&roleArn=arn:aws:iam::123456789012:role/w":                                      {`roleArn: `, `"aws-cn"`},
		"roleArn=arn:aws:iam::123456789012:role/w&kmsKeyArn=arn:aws-cn:kms:cn-north-1:123456789012:key/a": {"roleArn: ", `"aws-cn"`},
	} {
		a := s.do(operatorToken, "GET", "/v1/setup?teamId=team_a&"+query, "")
		if a.status != http.StatusBadRequest || a.errorCode() != "bad_request" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
		for _, part := range want {
			if !strings.Contains(strings.ReplaceAll(a.body, `\"`, `"`), part) {
				t.Errorf("%s: no %q in %s", query, part, a.body)
			}
		}
	}
}

// Without an answer of AWS there is no trust policy, rather than one that trusts somebody else.
func TestSetupWithoutAWS(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.writerErr = errors.New("dial tcp: lookup sts.eu-central-1.amazonaws.com: no such host")
	a := s.do(operatorToken, "GET", "/v1/setup?"+url.Values{"teamId": {"team_a"}}.Encode(), "")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "no such host") || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
