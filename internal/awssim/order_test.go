package awssim_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Who sends a wrong checksum learns whether the write would have been
// permitted, and nothing is written: a permission that is missing is answered
// first, whoever's it is, and the checksum comes before what is there already.
func TestOrderOfRefusals(t *testing.T) {
	const digest = "X-Amz-Checksum-Sha256"
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 32))
	acl := header("X-Amz-Acl", "private")
	tests := []struct {
		name    string
		world   func(*world)
		attempt func(*attempt)
		status  int
		code    string
	}{
		{"permitted", func(*world) {}, nil, 400, "BadDigest"},
		{"permitted, with a key", encrypted, nil, 400, "BadDigest"},
		{"permitted, with an ACL", bucket(func(b *awssim.Bucket) { b.Ownership = awssim.ObjectWriter }), acl, 400, "BadDigest"},
		{"permitted, with Object Lock", bucket(func(b *awssim.Bucket) { b.ObjectLock = true }), nil, 400, "BadDigest"},

		{"role", role(func(r *awssim.Role) { r.Identity = nil }), nil, 403, "AccessDenied"},
		{"role, ACL", role(func(r *awssim.Role) { r.Identity = []*iam.Policy{policyOf("Allow", "", "s3:PutObject")} }), acl, 403, "AccessDenied"},
		{"bucket", bucket(func(b *awssim.Bucket) { b.Policy = policyOf("Deny", `"Principal": "*", `, "s3:PutObject") }), nil, 403, "AccessDenied"},
		{"bucket, ACL", func(*world) {}, acl, 400, "AccessControlListNotSupported"},
		{"bucket's owner", bucket(func(b *awssim.Bucket) { b.Account = "444455556666" }), nil, 403, "AccessDenied"},
		{"bucket's region", bucket(func(b *awssim.Bucket) { b.Region = "us-west-2" }), nil, 400, "AuthorizationHeaderMalformed"},
		{"no bucket", func(w *world) { w.RemoveBucket(bucketName) }, nil, 404, "NoSuchBucket"},
		{"key", key(func(k *awssim.Key) { k.Policy = nil }), nil, 403, "AccessDenied"},
		{"key disabled", key(func(k *awssim.Key) { k.State = awssim.KeyDisabled }), nil, 400, "KMS.DisabledException"},
		{"no key", func(w *world) { encrypted(w); w.RemoveKey(keyARN) }, nil, 400, "KMS.NotFoundException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.world(w)
			a := w.newPut()
			a.header.Del("X-Amz-Checksum-Crc32")
			a.header.Set(digest, wrong)
			if tt.attempt != nil {
				tt.attempt(a)
			}
			if got := a.answer(); got.status != tt.status || got.elements["Code"] != tt.code {
				t.Errorf("answered %d %s, want %d %s", got.status, got.body, tt.status, tt.code)
			}
			objects, err := w.Objects(bucketName)
			must(t, err)
			if len(objects) > 0 {
				t.Error("an object was written")
			}
		})
	}

	t.Run("over an object", func(t *testing.T) {
		w := newWorld(t)
		a := w.newPut()
		if res := a.send(); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		a.header.Del("X-Amz-Checksum-Crc32")
		a.header.Set(digest, wrong)
		if got := a.answer(); got.elements["Code"] != "BadDigest" {
			t.Errorf("answered %s", got.body)
		}
	})
	t.Run("Object Lock is content with a trailer", func(t *testing.T) {
		w := newWorld(t)
		w.UpdateBucket(bucketName, func(b *awssim.Bucket) { b.ObjectLock = true })
		if got := w.chunked("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", 5).answer(); got.status != 200 {
			t.Errorf("answered %s", got.body)
		}
	})
	t.Run("payload of another hash", func(t *testing.T) {
		w := newWorld(t)
		w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = nil })
		a := w.newPut()
		a.hash = strings.Repeat("0", 64)
		if got := a.answer(); got.elements["Code"] != "AccessDenied" {
			t.Errorf("answered %s", got.body)
		}
	})
}
