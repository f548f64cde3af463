package awssim_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

// Sessions that have ended, whichever way, are refused by both services, each
// in its own words, and new ones are as good as ever.
func TestRevokedSessions(t *testing.T) {
	for name, tt := range map[string]struct {
		revoke          func(*world)
		s3Status        int
		s3Code, stsCode string
	}{
		"expired":   {func(w *world) { w.ExpireSessions(roleARN) }, 400, "ExpiredToken", "ExpiredToken"},
		"forgotten": {func(w *world) { w.ForgetSessions(roleARN) }, 403, "InvalidAccessKeyId", "InvalidClientTokenId"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old, writer := w.mustAssume(), w.writer()
			tt.revoke(w)
			wantCode(t, w.put(old), tt.s3Status, tt.s3Code)
			_, err := w.sts(old).GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
			wantCode(t, err, 403, tt.stsCode)
			if _, err := w.sts(writer).GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{}); err != nil {
				t.Errorf("another role's session: %v", err)
			}
			must(t, w.put(w.mustAssume()))
		})
	}
}

func TestRemoveUser(t *testing.T) {
	w := newWorld(t)
	must(t, w.put(admin))
	w.RemoveUser(admin.AccessKeyID)
	wantCode(t, w.put(admin), 403, "InvalidAccessKeyId")
}

func (w *world) put(creds awssim.Credentials) error {
	_, err := w.s3(creds).PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: aws.String(objectKey), Body: strings.NewReader(objectBody),
	})
	return err
}
