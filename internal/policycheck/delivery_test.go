package policycheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/leaktest"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// TestAgreesWithDeliveries makes policies as TestEditsOfAnything does, and delivers under them: what is said of them is
// what becomes of the deliveries.
func TestAgreesWithDeliveries(t *testing.T) {
	leaktest.Check(t)
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(srv.Close)
	assumeAny := iam.MustParse(`{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}`)
	if err := sim.AddRole(awssim.Role{ARN: writerARN, Identity: []*iam.Policy{assumeAny}}); err != nil {
		t.Fatal(err)
	}
	writer, err := sim.RoleSession(writerARN, "auditdrain", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client := s3.New(s3.Config{
		AWS: aws.Config{
			Region:       "eu-central-1",
			BaseEndpoint: &srv.URL,
			Credentials:  credentials.NewStaticCredentialsProvider(writer.AccessKeyID, writer.SecretKey, writer.SessionToken),
		},
		Namespace: auditdrain.DefaultNamespace,
	})
	t.Cleanup(client.Close)

	delivered := 0
	for seed := range uint64(60) {
		g := generator{rand.New(rand.NewPCG(seed, 2))}
		d := testDrain().with(g.one(nil, withKey, withACL, at("s3://acme"), at("s3://acme/a/b")))
		docs := g.policies(d).documents(d)
		for i := range docs {
			// The simulated AWS is without TLS here.
			docs[i].Document = strings.NewReplacer(`"aws:SecureTransport": "true"`, `"aws:ViaAWSService": "false"`,
				`"aws:SecureTransport": "false"`, `"aws:ViaAWSService": "true"`).Replace(docs[i].Document)
		}
		// As they are, which mostly fails, and with what is proposed.
		r := mustCheck(t, d, docs)
		for name, docs := range map[string][]auditdrain.PolicyDocument{"given": docs, "mended": apply(docs, r.Fixes)} {
			t.Run(fmt.Sprint(seed, name), func(t *testing.T) {
				r := mustCheck(t, d, docs)
				addToSim(t, sim, d, docs)
				refused := deliver(t.Context(), client, d, seed)
				if refused == "" {
					delivered++
				}
				if (r.Result == auditdrain.PolicyAllowed) != (refused == "") || (stepOf(t, r, "assumeRole").Result == auditdrain.PolicyAllowed) == (refused == "sts") {
					t.Errorf("result %s, delivery refused by %q: %+v", r.Result, refused, r.Steps)
					for _, doc := range docs {
						t.Logf("%s: %s", doc.Name, doc.Document)
					}
				}
			})
		}
	}
	if delivered < 50 {
		t.Errorf("only %d deliveries succeeded: the test tests little", delivered)
	}
}

func addToSim(t *testing.T, sim *awssim.Sim, d Drain, docs []auditdrain.PolicyDocument) {
	t.Helper()
	role := awssim.Role{ARN: roleARN}
	bucket := awssim.Bucket{Name: "acme", Account: "111122223333", Region: "eu-central-1", Ownership: awssim.BucketOwnerPreferred}
	key := awssim.Key{ARN: keyARN}
	if d.KMSKeyARN != "" {
		bucket.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	}
	for _, doc := range docs {
		plain, syntax := plainJSON(doc.Document)
		if syntax != nil {
			t.Fatal(syntax)
		}
		p := iam.MustParse(plain)
		switch doc.Kind {
		case auditdrain.PolicyTrust:
			role.Trust = p
		case auditdrain.PolicyPermissions:
			role.Identity = append(role.Identity, p)
		case auditdrain.PolicyBoundary:
			role.Boundary = p
		case auditdrain.PolicyBucket:
			bucket.Policy = p
		case auditdrain.PolicyKey:
			key.Policy = p
		}
	}
	if err := errors.Join(sim.AddRole(role), sim.AddBucket(bucket), sim.AddKey(key)); err != nil {
		t.Fatal(err)
	}
}

// deliver writes a production and a test object, and returns the service that refused one of them, or "".
func deliver(ctx context.Context, client *s3.Client, d Drain, seed uint64) string {
	for _, test := range []bool{false, true} {
		to, err := client.Open(auditdrain.Drain{ID: "drn_1", TeamID: "team_123", Delivery: d.Delivery}, s3.Options{Test: test})
		if err != nil {
			return err.Error()
		}
		defer to.Close()
		event := auditdrain.Event{ID: fmt.Sprintf("uev_%d", seed), Timestamp: d.Now.UnixMilli(), Body: []byte(`{}`)}
		if _, err := to.Put(ctx, event); err != nil {
			answer, ok := errors.AsType[*s3.Error](err)
			if !ok || answer.Answer.Code != "AccessDenied" {
				return err.Error()
			}
			return answer.Answer.Service
		}
	}
	return ""
}
