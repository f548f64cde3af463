package versitygw

import (
	"bytes"
	"context"
	"path"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// place is what `auditdrain verify` makes of a Reader.
type place struct{ *s3.Reader }

func (p place) List(ctx context.Context, prefix string, found func(verify.Entry) error) error {
	return p.Reader.List(ctx, prefix, func(l s3.Listed) error { return found(verify.Entry(l)) })
}

// TestVerify verifies a bucket whose listings have more than one page, then with one
// object deleted, one altered and one added.
func TestVerify(t *testing.T) {
	const objects = 1500 // in one folder, and 1,000 in one page
	g := startGateway(t)
	bucket, prefix := "verified", "audit-logs"
	g.addBucket(t, bucket)
	put := func(key string, body []byte) error {
		key = prefix + "/" + key
		_, err := g.admin.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	}
	d := manifesttest.New(t, "", "drn_1")
	uploads := new(errgroup.Group)
	uploads.SetLimit(16)
	d.Store = func(key string, body []byte) { uploads.Go(func() error { return put(key, body) }) }
	some := d.Deliver(objects)
	d.Hour(0)
	d.Seal(auditdrain.SealDeleted, manifesttest.Start.Add(100*time.Minute)) // so nothing may be added
	if err := uploads.Wait(); err != nil {
		t.Fatal(err)
	}

	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": g.s3URL, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": rootSecret,
	} {
		t.Setenv(name, value)
	}
	cfg, err := s3.LoadConfig(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s3.OpenReader(t.Context(), cfg, "s3://"+bucket+"/"+prefix, 16)
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	folder := path.Dir(some[0].Key) + "/"
	if err := r.List(t.Context(), folder, func(s3.Listed) error { listed++; return nil }); err != nil || listed != objects {
		t.Fatalf("%d objects are in %s, %v; want %d", listed, folder, err, objects)
	}
	o := verify.Options{Places: []verify.Place{place{r}}, Keys: manifesttest.Keys(d.Key), Drains: []string{"drn_1"}, Concurrency: 16}
	report, err := verify.Run(t.Context(), o)
	if err != nil || !report.Verified || report.Read != objects {
		t.Fatalf("untouched: %d verified, %v, %v", report.Read, err, report.Findings)
	}

	lost, altered, added := some[1], some[len(some)-2], "schema=audit_log/added & “quoted”.json"
	key := prefix + "/" + lost.Key
	if _, err := g.admin.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
	for key, body := range map[string]string{altered.Key: "{}", added: "{}"} {
		if err := put(key, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if report, err = verify.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Findings {
		got = append(got, string(f.Kind)+" "+f.Key)
	}
	if diff := cmp.Diff([]string{"missing " + lost.Key, "altered " + altered.Key, "unexpected " + added}, got); diff != "" {
		t.Error(diff)
	}
}
