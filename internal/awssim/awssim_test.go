package awssim_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The whole way of one event: the writer assumes the customer's role with the
// external ID, and puts an object, which is a plain file then.
func TestAssumeRoleAndPutObject(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	creds := w.mustAssume()

	who, err := w.sts(creds).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	must(t, err)
	if *who.Arn != customerSession || *who.Account != customerAccount {
		t.Errorf("caller is %s of %s", *who.Arn, *who.Account)
	}

	client := w.s3(creds)
	put := &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: aws.String(objectKey), Body: strings.NewReader(`{"id":"uev_1"}`),
		ContentType: aws.String("application/json"), IfNoneMatch: aws.String("*"), ExpectedBucketOwner: aws.String(customerAccount),
	}
	if _, err := client.PutObject(ctx, put); err != nil {
		t.Fatal(err)
	}
	put.Body = strings.NewReader(`{"id":"uev_1"}`)
	_, err = client.PutObject(ctx, put)
	wantCode(t, err, 412, "PreconditionFailed")

	file, err := os.ReadFile(filepath.Join(w.dir, bucketName, filepath.FromSlash(objectKey)))
	must(t, err)
	if string(file) != `{"id":"uev_1"}` {
		t.Errorf("file holds %q", file)
	}
	objects, err := w.Objects(bucketName)
	must(t, err)
	if len(objects) != 1 || objects[0].Key != objectKey || objects[0].ContentType != "application/json" || objects[0].Writer != customerSession {
		t.Errorf("objects: %+v", objects)
	}
	body, err := objects[0].Read()
	must(t, err)
	if !bytes.Equal(body, file) {
		t.Errorf("Read returns %q", body)
	}
	if n := len(w.calls.All("AssumeRole")); n != 1 {
		t.Errorf("%d AssumeRole calls seen", n)
	}
	if r := w.Rewrites(); len(r) != 0 {
		t.Errorf("rewrites: %+v", r)
	}
}
