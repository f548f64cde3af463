package awssim_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Every row of "How AWS refuses" that is S3's or KMS's, each brought about by
// breaking one thing of what works otherwise. Expired sessions are in
// TestExpiredSession.
func TestS3Refusals(t *testing.T) {
	user := "User: " + customerSession + " is not authorized to perform: "
	object := `"arn:aws:s3:::` + bucketName + "/" + objectKey + `"`
	everyone := `"Principal": "*", `
	checkRefusals(t, []refusal{
		// Who may
		{
			name:   "PutObject: identity policy does not allow",
			world:  role(func(r *awssim.Role) { r.Identity = nil }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " because no identity-based policy allows the s3:PutObject action",
		},
		{
			name:   "PutObject: no permissions boundary",
			world:  role(func(r *awssim.Role) { r.Boundary = policyOf("Allow", "", "s3:GetObject") }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " because no permissions boundary allows the s3:PutObject action",
		},
		{
			name: "PutObject: no session policy",
			attempt: func(a *attempt) {
				form := url.Values{"Policy": {`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + bucketName + `/other/*"}]}`}}
				a.creds = a.w.session(form)
			},
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " because no session policy allows the s3:PutObject action",
		},
		{
			name: "PutObject: no resource-based policy, within an organization",
			world: func(w *world) {
				for _, id := range []string{customerAccount, writerAccount} {
					w.UpdateAccount(id, func(a *awssim.Account) { a.Organization = "o-1" })
				}
				w.UpdateBucket(bucketName, func(b *awssim.Bucket) { b.Account = writerAccount })
			},
			attempt: header("X-Amz-Expected-Bucket-Owner", writerAccount),
			status:  403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " because no resource-based policy allows the s3:PutObject action",
		},
		{
			name:   "PutObject: explicit deny in the bucket policy",
			world:  bucket(func(b *awssim.Bucket) { b.Policy = policyOf("Deny", everyone, "s3:PutObject") }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name: "PutObject: bucket policy demands TLS",
			world: bucket(func(b *awssim.Bucket) {
				b.Policy = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
					"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`)
			}),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name: "PutObject: bucket policy demands another network",
			world: bucket(func(b *awssim.Bucket) {
				b.Policy = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
					"Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}]}`)
			}),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name:   "PutObject: explicit deny in an SCP",
			world:  account(func(a *awssim.Account) { a.SCP = []*iam.Policy{policyOf("Deny", "", "s3:PutObject")} }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a service control policy",
		},
		{
			name: "PutObject: explicit deny in an RCP",
			world: account(func(a *awssim.Account) {
				a.RCP = []*iam.Policy{policyOf("Allow", everyone, "*"), policyOf("Deny", everyone, "s3:PutObject")}
			}),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource control policy",
		},
		{
			name:    "PutObject: caller outside the organization",
			world:   bucket(func(b *awssim.Bucket) { b.Account = "444455556666" }),
			attempt: header("X-Amz-Expected-Bucket-Owner", "444455556666"),
			status:  403, code: "AccessDenied", message: "Access Denied",
		},
		{
			name: "PutObject: ACL without s3:PutObjectAcl",
			world: role(func(r *awssim.Role) {
				r.Identity = []*iam.Policy{iam.MustParse(strings.Replace(permissionsPolicy, `, "s3:PutObjectAcl"`, "", 1))}
			}),
			attempt: header("X-Amz-Acl", "bucket-owner-full-control"),
			status:  403, code: "AccessDenied",
			message: user + "s3:PutObjectAcl on resource: " + object + " because no identity-based policy allows the s3:PutObjectAcl action",
		},

		// KMS
		{
			name: "KMS: identity policy does not allow",
			world: func(w *world) {
				encrypted(w)
				w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = []*iam.Policy{policyOf("Allow", "", "s3:*")} })
				w.UpdateKey(keyARN, func(k *awssim.Key) {
					k.Policy = policyOf("Allow", `"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, `, "kms:*")
				})
			},
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no identity-based policy allows the kms:GenerateDataKey action",
		},
		{
			name: "KMS: key policy does not allow",
			world: key(func(k *awssim.Key) {
				k.Policy = iam.MustParse(strings.Replace(keyPolicy, roleARN, "arn:aws:iam::111122223333:role/other", 1))
			}),
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no resource-based policy allows the kms:GenerateDataKey action",
		},
		{
			name: "KMS: key policy is for another service",
			world: key(func(k *awssim.Key) {
				k.Policy = iam.MustParse(strings.Replace(keyPolicy, "s3.eu-west-1", "s3.us-east-1", 1))
			}),
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no resource-based policy allows the kms:GenerateDataKey action",
		},
		{
			name: "KMS: key policy asks for the caller's address, which KMS does not see",
			world: key(func(k *awssim.Key) {
				k.Policy = iam.MustParse(strings.Replace(keyPolicy, `"Condition": {`, `"Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}, `, 1))
			}),
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no resource-based policy allows the kms:GenerateDataKey action",
		},
		{
			name: "KMS: key of another region",
			attempt: func(a *attempt) {
				a.header.Set("X-Amz-Server-Side-Encryption", "aws:kms")
				a.header.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", strings.Replace(keyARN, region, "us-east-1", 1))
			},
			status: 400, code: "KMS.NotFoundException", message: "Invalid arn us-east-1",
		},
		{
			name:  "KMS: session policy does not allow",
			world: encrypted,
			attempt: func(a *attempt) {
				a.creds = a.w.session(url.Values{"Policy": {`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}`}})
			},
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no session policy allows the kms:GenerateDataKey action",
		},
		{
			name:   "KMS: key disabled",
			world:  key(func(k *awssim.Key) { k.State = awssim.KeyDisabled }),
			status: 400, code: "KMS.DisabledException", message: keyARN + " is disabled.",
		},
		{
			name:   "KMS: key pending deletion",
			world:  key(func(k *awssim.Key) { k.State = awssim.KeyPendingDeletion }),
			status: 400, code: "KMS.KMSInvalidStateException", message: keyARN + " is pending deletion.",
		},
		{
			name:   "KMS: key missing",
			world:  func(w *world) { encrypted(w); w.RemoveKey(keyARN) },
			status: 400, code: "KMS.NotFoundException", message: "Key '" + keyARN + "' does not exist",
		},

		// Where
		{
			name:   "bucket missing",
			world:  func(w *world) { w.RemoveBucket(bucketName) },
			status: 404, code: "NoSuchBucket", message: "The specified bucket does not exist",
			element: [2]string{"BucketName", bucketName},
		},
		{
			name:   "bucket of another account",
			world:  bucket(func(b *awssim.Bucket) { b.Account = "444455556666" }),
			status: 403, code: "AccessDenied", message: "Access Denied",
		},
		{
			name: "bucket of another account that would let us write",
			world: bucket(func(b *awssim.Bucket) {
				b.Account, b.Policy = "444455556666", policyOf("Allow", everyone, "s3:*")
			}),
			status: 403, code: "AccessDenied", message: "Access Denied",
		},
		{
			name: "wrong regional endpoint",
			attempt: func(a *attempt) {
				a.host, a.path, a.region = bucketName+".s3.us-west-2.amazonaws.com", strings.TrimPrefix(a.path, "/"+bucketName), "us-west-2"
			},
			status: 301, code: "PermanentRedirect",
			message: "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
			header:  [2]string{"X-Amz-Bucket-Region", region},
			element: [2]string{"Endpoint", bucketName + ".s3.eu-west-1.amazonaws.com"},
		},
		{
			name:    "signed for the wrong region",
			attempt: func(a *attempt) { a.region = "us-east-1" },
			status:  400, code: "AuthorizationHeaderMalformed",
			message: "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
			header:  [2]string{"X-Amz-Bucket-Region", region}, element: [2]string{"Region", region},
		},
		{
			name:    "signed for the wrong service",
			attempt: func(a *attempt) { a.tamper = replaceAuthorization("/s3/", "/sts/") },
			status:  400, code: "AuthorizationHeaderMalformed",
			message: `The authorization header is malformed; incorrect service "sts". This endpoint belongs to "s3".`,
		},

		// What
		{
			name:    "ACLs disabled on the bucket",
			attempt: header("X-Amz-Acl", "bucket-owner-read"),
			status:  400, code: "AccessControlListNotSupported", message: "The bucket does not allow ACLs",
		},
		{
			name:    "Object Lock bucket, no digest sent",
			world:   bucket(func(b *awssim.Bucket) { b.ObjectLock = true }),
			attempt: func(a *attempt) { a.header.Del("X-Amz-Checksum-Crc32") },
			status:  400, code: "InvalidRequest",
			message: "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
		},
		{
			name:    "payload is not the one that was signed",
			attempt: func(a *attempt) { a.hash = strings.Repeat("0", 64) },
			status:  400, code: "XAmzContentSHA256Mismatch", message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
			element: [2]string{"ClientComputedContentSHA256", strings.Repeat("0", 64)},
		},
		{
			name:    "key too long",
			attempt: func(a *attempt) { a.path += strings.Repeat("x", 1024) },
			status:  400, code: "KeyTooLongError", message: "Your key is too long", element: [2]string{"MaxSizeAllowed", "1024"},
		},
		{
			name:    "header that is not simulated",
			attempt: header("X-Amz-Tagging", "a=b"),
			status:  501, code: "NotImplemented", message: "A header you provided implies functionality that is not implemented",
			element: [2]string{"Header", "X-Amz-Tagging"},
		},
		{
			name:    "condition that is not simulated",
			attempt: func(a *attempt) { a.header.Set("If-None-Match", `"etag"`) },
			status:  501, code: "NotImplemented", element: [2]string{"Header", "If-None-Match"},
		},
		{
			name:    "path out of the bucket",
			attempt: func(a *attempt) { a.path = "/" + bucketName + "/audit-logs/../../../escape" },
			status:  501, code: "NotImplemented",
		},
		{
			name: "path out of the bucket, encoded",
			attempt: func(a *attempt) {
				a.path = "/" + bucketName + "/audit-logs/../../escape"
				a.tamper = func(r *http.Request) { r.URL.RawPath = "/" + bucketName + "/audit-logs/%2E%2E/%2E%2E%2Fescape" }
			},
			status: 501, code: "NotImplemented",
		},

		// Who we are
		{
			name:    "session not valid there",
			attempt: func(a *attempt) { a.creds.SessionToken = "other" },
			status:  400, code: "InvalidToken", message: "The provided token is malformed or otherwise invalid.", element: [2]string{"Token-0", "other"},
		},
		{
			name:    "opt-in region not enabled in the caller's account",
			world:   bucket(func(b *awssim.Bucket) { b.Region = "af-south-1" }),
			attempt: func(a *attempt) { a.region = "af-south-1" },
			status:  400, code: "InvalidToken", message: "The provided token is malformed or otherwise invalid.",
		},
		{
			name: "session of the global endpoint in an opt-in region",
			world: func(w *world) {
				w.UpdateBucket(bucketName, func(b *awssim.Bucket) { b.Region = "af-south-1" })
				w.UpdateAccount(customerAccount, func(a *awssim.Account) { a.OptedIn = []string{"af-south-1"} })
			},
			attempt: func(a *attempt) {
				assume := a.w.newAssume(nil)
				assume.host, assume.region = "sts.amazonaws.com", "us-east-1"
				a.creds, a.region = assume.credentials(), "af-south-1"
			},
			status: 400, code: "InvalidToken", message: "The provided token is malformed or otherwise invalid.",
		},
		{
			name:    "unknown key",
			attempt: func(a *attempt) { a.creds.AccessKeyID = "ASIAUNKNOWN" },
			status:  403, code: "InvalidAccessKeyId", message: "The AWS Access Key Id you provided does not exist in our records.",
			element: [2]string{"AWSAccessKeyId", "ASIAUNKNOWN"},
		},
		{
			name:    "session key without its token",
			attempt: func(a *attempt) { a.creds.SessionToken = "" },
			status:  403, code: "InvalidAccessKeyId", message: "The AWS Access Key Id you provided does not exist in our records.",
		},
		{
			name:    "bad signature",
			attempt: func(a *attempt) { a.creds.SecretKey += "x" },
			status:  403, code: "SignatureDoesNotMatch",
			message: "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		},
		{
			name:    "path signed as it is, with = not encoded",
			attempt: func(a *attempt) { a.path = "/" + bucketName + "/" + objectKey },
			status:  403, code: "SignatureDoesNotMatch",
			message: "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		},
		{
			name: "header added after signing",
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }
			},
			status: 403, code: "AccessDenied", message: "There were headers present in the request which were not signed",
			element: [2]string{"HeadersNotSigned", "x-amz-acl"},
		},
		{
			name: "header changed after signing",
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Expected-Bucket-Owner", "444455556666") }
			},
			status: 403, code: "SignatureDoesNotMatch",
		},
		{
			name:    "refused before a large body is read",
			attempt: func(a *attempt) { a.creds.AccessKeyID, a.body = "ASIAUNKNOWN", strings.Repeat("x", 4<<20) },
			status:  403, code: "InvalidAccessKeyId",
		},
		{
			name: "no date",
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }
			},
			status: 403, code: "AccessDenied", message: "AWS authentication requires a valid Date or x-amz-date header",
		},
		{
			name:    "another way of signing",
			attempt: func(a *attempt) { a.tamper = replaceAuthorization("AWS4-HMAC-SHA256", "AWS") },
			status:  400, code: "InvalidRequest",
			message: "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
		},
		{
			name:    "anonymous",
			attempt: func(a *attempt) { a.tamper = func(r *http.Request) { r.Header.Del("Authorization") } },
			status:  403, code: "AccessDenied", message: "Access Denied",
		},
		{
			name:    "clock behind",
			attempt: func(a *attempt) { a.time = a.time.Add(-skewed) },
			status:  403, code: "RequestTimeTooSkewed", message: "The difference between the request time and the current time is too large.",
			element: [2]string{"MaxAllowedSkewMilliseconds", "900000"},
		},
		{
			name:    "clock ahead",
			attempt: func(a *attempt) { a.time = a.time.Add(skewed) },
			status:  403, code: "RequestTimeTooSkewed", message: "The difference between the request time and the current time is too large.",
		},

		// Nobody's fault
		{
			name:    "throttled",
			attempt: fault(awssim.Fault{Err: awssim.SlowDown()}),
			status:  503, code: "SlowDown", message: "Please reduce your request rate.",
		},
		{
			name:    "KMS throttled",
			attempt: fault(awssim.Fault{Err: awssim.SlowDownKMS()}),
			status:  503, code: "SlowDown", message: "Please reduce your request rate for operations involving AWS KMS.",
		},
		{
			name:    "AWS's own fault",
			attempt: fault(awssim.Fault{Err: awssim.InternalError()}),
			status:  500, code: "InternalError", message: "We encountered an internal error. Please try again.",
		},
		{
			name:    "AWS not there",
			attempt: fault(awssim.Fault{Err: awssim.ServiceUnavailable()}),
			status:  503, code: "ServiceUnavailable",
		},
		{
			name: "already there",
			attempt: func(a *attempt) {
				if res := a.send(); res.StatusCode != 200 {
					a.w.t.Errorf("first PutObject: %s", res.Status)
				}
			},
			status: 412, code: "PreconditionFailed", message: "At least one of the pre-conditions you specified did not hold",
			element: [2]string{"Condition", "If-None-Match"},
		},
		{
			name:    "concurrent write of the same key",
			attempt: fault(awssim.Fault{Err: awssim.ConditionalRequestConflict(objectKey)}),
			status:  409, code: "ConditionalRequestConflict",
			message: "The conditional request cannot succeed due to a conflicting operation against this resource.",
		},
		{
			name:    "store without conditional writes",
			attempt: fault(awssim.Fault{Err: awssim.ConditionNotImplemented()}),
			status:  501, code: "NotImplemented", message: "A header you provided implies functionality that is not implemented",
			element: [2]string{"Header", "If-None-Match"},
		},
	})
}
