package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// The platform's own AWS account, and a customer's.
const (
	homeRegion = "us-east-1"
	accessKey  = "AKIABROWSERBROWSER00"
	secretKey  = "opens/nothing-but-awssim"
	writerARN  = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	userARN    = "arn:aws:iam::977805900156:user/auditdrain"
	platform   = "977805900156"
	customer   = "111122223333"
)

// cloud is an AWS on loopback.
type cloud struct {
	*awssim.Sim
	t       *testing.T
	url     string
	dir     string // of the objects' files
	wrapper atomic.Pointer[func(http.ResponseWriter) http.ResponseWriter]
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	dir := t.TempDir()
	sim, err := awssim.New(awssim.Options{Dir: dir})
	must(t, err)
	mayAssume := []*iam.Policy{iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)}
	must(t,
		sim.AddUser(awssim.User{ARN: userARN, AccessKeyID: accessKey, SecretKey: secretKey, Identity: mayAssume}),
		sim.AddRole(awssim.Role{ARN: writerARN, Identity: mayAssume,
			Trust: iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + userARN + `"},"Action":"sts:AssumeRole"}]}`)}),
	)
	c := &cloud{Sim: sim, t: t, dir: dir}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrap := c.wrapper.Load(); wrap != nil {
			w = (*wrap)(w)
		}
		sim.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// wrap changes answers on their way.
func (c *cloud) wrap(w func(http.ResponseWriter) http.ResponseWriter) { c.wrapper.Store(&w) }

// delivery is to a bucket of the customer's.
func delivery(bucket string) auditdrain.Delivery {
	return auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://" + bucket + "/audit-logs", Encoding: "json",
		RoleARN: "arn:aws:iam::" + customer + ":role/" + bucket, Region: "eu-west-1",
	}
}

// setUp adds the bucket and the role of d, with the policies that we generate.
func (c *cloud) setUp(teamID string, d auditdrain.Delivery) {
	c.t.Helper()
	grant := iam.GrantFor(d)
	grant.WriterRoleARN, grant.ExternalID = writerARN, "vercel-team:"+teamID
	account := strings.Split(d.RoleARN, ":")[4]
	must(c.t,
		c.AddBucket(awssim.Bucket{Name: grant.Bucket, Account: account, Region: d.Region}),
		c.AddRole(awssim.Role{ARN: d.RoleARN, Trust: iam.MustParse(grant.TrustPolicy()), Identity: []*iam.Policy{iam.MustParse(grant.PermissionsPolicy())}}),
	)
}

// keys are the objects in a bucket.
func (c *cloud) keys(bucket string) []string {
	c.t.Helper()
	objects, err := c.Objects(bucket)
	must(c.t, err)
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}
