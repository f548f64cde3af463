package awssim_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

// What a new bucket may be told is done or refused, never ignored.
func TestCreateBucketConfiguration(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(admin, func(o *s3.Options) { o.Region = "us-east-1" })
	west := types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraintUsWest2}
	for name, tt := range map[string]struct {
		change func(*s3.CreateBucketInput)
		status int
		code   string
	}{
		"nothing":        {func(*s3.CreateBucketInput) {}, 0, ""},
		"region":         {func(in *s3.CreateBucketInput) { in.CreateBucketConfiguration = &west }, 0, ""},
		"no Object Lock": {func(in *s3.CreateBucketInput) { in.ObjectLockEnabledForBucket = aws.Bool(false) }, 0, ""},
		"Object Lock":    {func(in *s3.CreateBucketInput) { in.ObjectLockEnabledForBucket = aws.Bool(true) }, 501, "NotImplemented"},
		"the region that is said by saying nothing": {func(in *s3.CreateBucketInput) {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: "us-east-1"}
		}, 400, "InvalidLocationConstraint"},
		"tags": {func(in *s3.CreateBucketInput) {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
		}, 501, "NotImplemented"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &s3.CreateBucketInput{Bucket: aws.String(strings.ToLower(strings.ReplaceAll(name, " ", "-")))}
			tt.change(in)
			out, err := client.CreateBucket(ctx, in)
			wantCode(t, err, tt.status, tt.code)
			if err == nil && aws.ToString(out.BucketArn) != "arn:aws:s3:::"+*in.Bucket {
				t.Errorf("ARN %q", aws.ToString(out.BucketArn))
			}
		})
	}
}

func TestDeleteBucket(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(admin)
	bucket, key := aws.String(bucketName), aws.String("a/b/c")
	remove := func() error {
		_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
		return err
	}
	put := func() error {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")})
		return err
	}
	must(t, put())
	wantCode(t, remove(), 409, "BucketNotEmpty")
	_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, BypassGovernanceRetention: aws.Bool(true)})
	must(t, err)
	_, err = w.s3(w.mustAssume()).DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	wantCode(t, err, 403, "AccessDenied")
	must(t, remove())
	wantCode(t, remove(), 404, "NoSuchBucket")
	wantCode(t, put(), 404, "NoSuchBucket")
	if _, err := os.Stat(filepath.Join(w.dir, bucketName)); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	must(t, w.AddBucket(awssim.Bucket{Name: bucketName, Account: customerAccount, Region: region}))
	must(t, put())
}

// A bucket goes with no object in it, whatever arrives meanwhile: each object
// is either refused or keeps the bucket.
func TestDeleteBucketRace(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(admin)
	for round := range 30 {
		must(t, w.AddBucket(awssim.Bucket{Name: "short-lived", Account: customerAccount, Region: region}))
		var putErr, removeErr error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, putErr = client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("short-lived"), Key: aws.String("a/b"), Body: strings.NewReader("x")})
		})
		wg.Go(func() {
			_, removeErr = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("short-lived")})
		})
		wg.Wait()
		_, putCode := code(t, putErr)
		_, removeCode := code(t, removeErr)
		kept := putCode == "" && removeCode == "BucketNotEmpty"
		gone := putCode == "NoSuchBucket" && removeCode == ""
		if !kept && !gone {
			t.Fatalf("round %d: PutObject answered %q, DeleteBucket %q", round, putCode, removeCode)
		}
		if gone {
			if _, err := os.Stat(filepath.Join(w.dir, "short-lived")); !os.IsNotExist(err) {
				t.Fatalf("the directory of a bucket that is gone: %v", err)
			}
			continue
		}
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("short-lived"), Key: aws.String("a/b")})
		must(t, err)
	}
}
