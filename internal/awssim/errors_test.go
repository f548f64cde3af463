package awssim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// answer is a refusal, taken apart.
type answer struct {
	status   int
	header   http.Header
	elements map[string]string // of the <Error>, and RequestId
	root     string
	body     string
}

// attempt is one request that is to be made, with everything right. Tests
// break one thing of it, or of the world.
type attempt struct {
	w       *world
	creds   awssim.Credentials
	time    time.Time
	region  string
	service string
	method  string
	host    string // "" for the server's own
	path    string // escaped
	header  http.Header
	body    string
	hash    string // of the payload, "" for the right one
	tamper  func(*http.Request)
}

func (w *world) newPut() *attempt {
	w.t.Helper()
	sum := crc32.ChecksumIEEE([]byte(objectBody))
	return &attempt{
		w: w, creds: w.mustAssume(), time: time.Now(), region: region, service: "s3", method: http.MethodPut,
		path: "/" + bucketName + "/" + strings.ReplaceAll(objectKey, "=", "%3D"), body: objectBody,
		header: http.Header{
			"Content-Type":                {"application/json"},
			"If-None-Match":               {"*"},
			"X-Amz-Expected-Bucket-Owner": {customerAccount},
			"X-Amz-Checksum-Crc32":        {base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))},
		},
	}
}

func (w *world) newAssume(form url.Values) *attempt {
	w.t.Helper()
	all := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"},
		"RoleArn": {roleARN}, "RoleSessionName": {"auditdrain-drn_1"}, "ExternalId": {externalID},
	}
	for name, values := range form {
		if all[name] = values; values == nil {
			delete(all, name)
		}
	}
	return &attempt{
		w: w, creds: w.writer(), time: time.Now(), region: region, service: "sts", method: http.MethodPost, path: "/",
		body: all.Encode(), header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

const objectBody = `{"id":"uev_1"}`

func (a *attempt) send() *http.Response {
	t := a.w.t
	t.Helper()
	req, err := http.NewRequest(a.method, a.w.url+a.path, strings.NewReader(a.body))
	must(t, err)
	req.Header = a.header.Clone()
	req.Host = a.host
	hash := a.hash
	if hash == "" {
		sum := sha256.Sum256([]byte(a.body))
		hash = hex.EncodeToString(sum[:])
	}
	if a.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = a.service == "s3" })
	must(t, signer.SignHTTP(context.Background(), aws.Credentials{
		AccessKeyID: a.creds.AccessKeyID, SecretAccessKey: a.creds.SecretKey, SessionToken: a.creds.SessionToken,
	}, req, hash, a.service, a.region, a.time))
	if a.tamper != nil {
		a.tamper(req)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // not a Client: it would follow redirects
	must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func (a *attempt) answer() answer {
	t := a.w.t
	t.Helper()
	res := a.send()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	ans := answer{status: res.StatusCode, header: res.Header, elements: map[string]string{}, body: string(body)}
	dec := xml.NewDecoder(bytes.NewReader(body))
	var name string
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return ans
		}
		must(t, err)
		switch tok := tok.(type) {
		case xml.StartElement:
			if name = tok.Name.Local; ans.root == "" {
				ans.root = tok.Name.Space + " " + name
			}
		case xml.CharData:
			if name != "" {
				ans.elements[name] += string(tok)
			}
		case xml.EndElement:
			name = ""
		}
	}
}

const skewed = 16 * time.Minute

// Every row of "How AWS refuses", each brought about by breaking one thing of
// what works otherwise. Expired sessions are in TestExpiredSession.
func TestRefusals(t *testing.T) {
	user := "User: " + customerSession + " is not authorized to perform: "
	object := `"arn:aws:s3:::` + bucketName + "/" + objectKey + `"`
	policy := func(doc string) *iam.Policy { return iam.MustParse(doc) }
	statement := func(effect, principal, action string) *iam.Policy {
		return policy(`{"Version": "2012-10-17", "Statement": [{"Effect": "` + effect + `", ` + principal + `"Action": "` + action + `", "Resource": "*"}]}`)
	}
	everyone := `"Principal": "*", `
	role := func(change func(*awssim.Role)) func(*world) {
		return func(w *world) { w.UpdateRole(roleARN, change) }
	}
	bucket := func(change func(*awssim.Bucket)) func(*world) {
		return func(w *world) { w.UpdateBucket(bucketName, change) }
	}
	account := func(id string, change func(*awssim.Account)) func(*world) {
		return func(w *world) { w.UpdateAccount(id, change) }
	}
	encrypted := bucket(func(b *awssim.Bucket) { b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN} })
	key := func(change func(*awssim.Key)) func(*world) {
		return func(w *world) { encrypted(w); w.UpdateKey(keyARN, change) }
	}
	header := func(name, value string) func(*attempt) {
		return func(a *attempt) { a.header.Set(name, value) }
	}
	fault := func(f awssim.Fault) func(*attempt) {
		return func(a *attempt) { a.w.SetFault(func(awssim.FaultRequest) awssim.Fault { return f }) }
	}

	tests := []struct {
		name    string
		form    url.Values     // non-nil: AssumeRole, not PutObject
		world   func(*world)   // before the session is there
		attempt func(*attempt) // after it
		status  int
		code    string
		message string
		header  [2]string
		element [2]string
	}{
		// STS
		{
			name: "AssumeRole: principal not trusted", form: url.Values{},
			world: role(func(r *awssim.Role) {
				r.Trust = policy(strings.ReplaceAll(trustPolicy, writerARN, "arn:aws:iam::977805900156:role/other"))
			}),
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: " + roleARN,
		},
		{
			name: "AssumeRole: external ID not trusted", form: url.Values{"ExternalId": {"vercel-team:other"}},
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: " + roleARN,
		},
		{
			name: "AssumeRole: no external ID", form: url.Values{"ExternalId": nil},
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: " + roleARN,
		},
		{
			name: "AssumeRole: role does not exist", form: url.Values{"RoleArn": {"arn:aws:iam::111122223333:role/none"}},
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/none",
		},
		{
			name: "AssumeRole: not trusted, within an organization", form: url.Values{"ExternalId": {"vercel-team:other"}},
			world: func(w *world) {
				w.UpdateAccount(writerAccount, func(a *awssim.Account) { a.Organization = "o-1" })
				w.UpdateAccount(customerAccount, func(a *awssim.Account) { a.Organization = "o-1" })
			},
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: " + roleARN +
				" because no role trust policy allows the sts:AssumeRole action",
		},
		{
			name: "AssumeRole: writer's own policy does not allow", form: url.Values{},
			world:  func(w *world) { w.UpdateRole(writerARN, func(r *awssim.Role) { r.Identity = nil }) },
			status: 403, code: "AccessDenied",
			message: "User: arn:aws:sts::977805900156:assumed-role/vercel-drains-s3-writer/auditdrain is not authorized to perform: sts:AssumeRole on resource: " + roleARN,
		},
		{
			name: "AssumeRole: bad ARN", form: url.Values{"RoleArn": {"arn:aws:iam::1111:role/writer"}},
			status: 400, code: "ValidationError", message: "arn:aws:iam::1111:role/writer is invalid",
		},
		{
			name: "AssumeRole: bad session name", form: url.Values{"RoleSessionName": {"a b"}},
			status: 400, code: "ValidationError",
			message: `1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`,
		},
		{
			name: "AssumeRole: two bad inputs", form: url.Values{"ExternalId": {"x"}, "DurationSeconds": {"899"}},
			status: 400, code: "ValidationError",
			message: "2 validation errors detected: Value 'x' at 'externalId' failed to satisfy constraint: Member must have length greater than or equal to 2; " +
				"Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
		},
		{
			name: "AssumeRole: no session name", form: url.Values{"RoleSessionName": nil},
			status: 400, code: "ValidationError",
			message: "1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "AssumeRole: session policy too long", form: url.Values{"Policy": {strings.Repeat(" ", 2049)}},
			status: 400, code: "ValidationError",
			message: "1 validation error detected: Value '" + strings.Repeat(" ", 2049) + "' at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048",
		},
		{
			name: "AssumeRole: session policy with a principal", form: url.Values{"Policy": {keyPolicy}},
			status: 400, code: "MalformedPolicyDocument", message: "Policy document should not specify a principal.",
		},
		{
			name: "AssumeRole: too long for a chained session", form: url.Values{"DurationSeconds": {"3601"}},
			world:  role(func(r *awssim.Role) { r.MaxSession = 12 * time.Hour }),
			status: 400, code: "ValidationError",
			message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
		},
		{
			name: "STS not active in the region", form: url.Values{},
			world:  account(customerAccount, func(a *awssim.Account) { a.DisabledSTS = []string{region} }),
			status: 403, code: "RegionDisabledException",
			message: "STS is not activated in this region for account:111122223333. Your account administrator can activate STS in this region using the IAM Console.",
		},
		{
			name: "STS: unknown key", form: url.Values{}, attempt: func(a *attempt) { a.creds.AccessKeyID = "ASIAUNKNOWN" },
			status: 403, code: "InvalidClientTokenId", message: "The security token included in the request is invalid.",
		},
		{
			name: "STS: bad signature", form: url.Values{}, attempt: func(a *attempt) { a.creds.SecretKey += "x" },
			status: 403, code: "SignatureDoesNotMatch",
			message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
		},
		{
			name: "STS: body is not what was signed", form: url.Values{},
			attempt: func(a *attempt) {
				a.tamper = func(r *http.Request) {
					forged := strings.Replace(a.body, "team_demo", "team_evil", 1)
					r.Body = io.NopCloser(strings.NewReader(forged))
				}
			},
			status: 403, code: "SignatureDoesNotMatch",
		},
		{
			name: "STS: throttled", form: url.Values{}, attempt: fault(awssim.Fault{Err: awssim.Throttling()}),
			status: 400, code: "Throttling", message: "Rate exceeded",
		},
		{
			name: "STS: unknown action", form: url.Values{"Action": {"Frobnicate"}},
			status: 400, code: "InvalidAction", message: "Could not find operation Frobnicate for version 2011-06-15",
		},
		{
			name: "STS: not simulated", form: url.Values{"PolicyArns.member.1.arn": {"arn:aws:iam::aws:policy/AdministratorAccess"}},
			status: 501, code: "NotImplemented",
		},

		// Who may
		{
			name:   "PutObject: identity policy does not allow",
			world:  role(func(r *awssim.Role) { r.Identity = nil }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " because no identity-based policy allows the s3:PutObject action",
		},
		{
			name:   "PutObject: no permissions boundary",
			world:  role(func(r *awssim.Role) { r.Boundary = statement("Allow", "", "s3:GetObject") }),
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
			world:  bucket(func(b *awssim.Bucket) { b.Policy = statement("Deny", everyone, "s3:PutObject") }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name: "PutObject: bucket policy demands TLS",
			world: bucket(func(b *awssim.Bucket) {
				b.Policy = policy(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
					"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`)
			}),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name: "PutObject: bucket policy demands another network",
			world: bucket(func(b *awssim.Bucket) {
				b.Policy = policy(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
					"Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}]}`)
			}),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a resource-based policy",
		},
		{
			name:   "PutObject: explicit deny in an SCP",
			world:  account(customerAccount, func(a *awssim.Account) { a.SCP = []*iam.Policy{statement("Deny", "", "s3:PutObject")} }),
			status: 403, code: "AccessDenied",
			message: user + "s3:PutObject on resource: " + object + " with an explicit deny in a service control policy",
		},
		{
			name: "PutObject: explicit deny in an RCP",
			world: account(customerAccount, func(a *awssim.Account) {
				a.RCP = []*iam.Policy{statement("Allow", everyone, "*"), statement("Deny", everyone, "s3:PutObject")}
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
				r.Identity = []*iam.Policy{policy(strings.Replace(permissionsPolicy, `, "s3:PutObjectAcl"`, "", 1))}
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
				w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = []*iam.Policy{statement("Allow", "", "s3:*")} })
				w.UpdateKey(keyARN, func(k *awssim.Key) {
					k.Policy = statement("Allow", `"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, `, "kms:*")
				})
			},
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no identity-based policy allows the kms:GenerateDataKey action",
		},
		{
			name: "KMS: key policy does not allow",
			world: key(func(k *awssim.Key) {
				k.Policy = policy(strings.Replace(keyPolicy, roleARN, "arn:aws:iam::111122223333:role/other", 1))
			}),
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no resource-based policy allows the kms:GenerateDataKey action",
		},
		{
			name:   "KMS: key policy is for another service",
			world:  key(func(k *awssim.Key) { k.Policy = policy(strings.Replace(keyPolicy, "s3.eu-west-1", "s3.us-east-1", 1)) }),
			status: 403, code: "AccessDenied",
			message: user + "kms:GenerateDataKey on resource: " + keyARN + " because no resource-based policy allows the kms:GenerateDataKey action",
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
				b.Account, b.Policy = "444455556666", statement("Allow", everyone, "s3:*")
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
			name:    "checksum does not match",
			attempt: header("X-Amz-Checksum-Crc32", "AAAAAA=="),
			status:  400, code: "BadDigest", message: "The CRC32 you specified did not match the calculated checksum.",
		},
		{
			name:    "checksum is none",
			attempt: header("X-Amz-Checksum-Crc32", "AAAA"),
			status:  400, code: "InvalidRequest", message: "Value for x-amz-checksum-crc32 header is invalid.",
		},
		{
			name:    "two checksums",
			attempt: header("X-Amz-Checksum-Sha1", base64.StdEncoding.EncodeToString(make([]byte, 20))),
			status:  400, code: "InvalidRequest", message: "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
		},
		{
			name:    "MD5 does not match",
			attempt: header("Content-Md5", base64.StdEncoding.EncodeToString(make([]byte, 16))),
			status:  400, code: "BadDigest", message: "The Content-MD5 you specified did not match what we received.",
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
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.world != nil {
				tt.world(w)
			}
			var a *attempt
			if tt.form != nil {
				a = w.newAssume(tt.form)
			} else {
				a = w.newPut()
			}
			if tt.attempt != nil {
				tt.attempt(a)
			}
			got := a.answer()
			if got.status != tt.status || got.elements["Code"] != tt.code {
				t.Fatalf("answered %d %s, want %d %s\n%s", got.status, got.elements["Code"], tt.status, tt.code, got.body)
			}
			if tt.message != "" && got.elements["Message"] != tt.message {
				t.Errorf("message\n%s\nwant\n%s", got.elements["Message"], tt.message)
			}
			if tt.header[0] != "" && got.header.Get(tt.header[0]) != tt.header[1] {
				t.Errorf("header %s: %q, want %q", tt.header[0], got.header.Get(tt.header[0]), tt.header[1])
			}
			if tt.element[0] != "" && got.elements[tt.element[0]] != tt.element[1] {
				t.Errorf("element %s: %q, want %q", tt.element[0], got.elements[tt.element[0]], tt.element[1])
			}
			checkShape(t, got, tt.form != nil)
			if tt.name != "already there" {
				objects, err := w.Objects(bucketName)
				must(t, err)
				if len(objects) > 0 {
					t.Errorf("refused, and yet there is an object")
				}
			}
		})
	}
}

// checkShape checks what all refusals of a service have.
func checkShape(t *testing.T, got answer, isSTS bool) {
	t.Helper()
	if isSTS {
		if got.root != "https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse" || got.elements["Type"] != "Sender" && got.status < 500 {
			t.Errorf("not an error of STS: %s", got.body)
		}
		if id := got.header.Get("X-Amzn-Requestid"); id == "" || id != got.elements["RequestId"] {
			t.Errorf("request ID %q in the header, %q in the body", id, got.elements["RequestId"])
		}
		return
	}
	if got.root != " Error" || got.header.Get("Content-Type") != "application/xml" {
		t.Errorf("not an error of S3: %s", got.body)
	}
	for header, element := range map[string]string{"X-Amz-Request-Id": "RequestId", "X-Amz-Id-2": "HostId"} {
		if id := got.header.Get(header); id == "" || id != got.elements[element] {
			t.Errorf("%s %q in the header, %q in the body", element, id, got.elements[element])
		}
	}
}

func replaceAuthorization(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
	}
}

// session assumes the customer's role with further parameters.
func (w *world) session(form url.Values) awssim.Credentials {
	w.t.Helper()
	ans := w.newAssume(form).answer()
	if ans.status != 200 {
		w.t.Fatal(ans.body)
	}
	return awssim.Credentials{
		AccessKeyID: ans.elements["AccessKeyId"], SecretKey: ans.elements["SecretAccessKey"], SessionToken: ans.elements["SessionToken"],
	}
}

// What the table breaks works when it is whole.
func TestNothingBroken(t *testing.T) {
	w := newWorld(t)
	w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
		b.ObjectLock = true
		b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	})
	a := w.newPut()
	a.header.Set("X-Amz-Acl", "bucket-owner-full-control")
	if res := a.send(); res.StatusCode != 200 || res.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != keyARN {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	o, ok, err := w.Object(bucketName, objectKey)
	must(t, err)
	if !ok || o.Encryption != "aws:kms" || o.KMSKeyARN != keyARN || o.ACL != "bucket-owner-full-control" {
		t.Errorf("object %+v", o)
	}
}

// A refused signature shows what it should have been made over.
func TestSignatureDoesNotMatchShowsItsInput(t *testing.T) {
	a := newWorld(t).newPut()
	a.creds.SecretKey += "x"
	got := a.answer()
	canonical := got.elements["CanonicalRequest"]
	sum := sha256.Sum256([]byte(canonical))
	want := "AWS4-HMAC-SHA256\n" + a.time.UTC().Format("20060102T150405Z") + "\n" + a.time.UTC().Format("20060102") +
		"/eu-west-1/s3/aws4_request\n" + hex.EncodeToString(sum[:])
	if got.elements["StringToSign"] != want {
		t.Errorf("StringToSign\n%s\nwant\n%s", got.elements["StringToSign"], want)
	}
	if !strings.HasPrefix(canonical, "PUT\n"+a.path+"\n\n") || !strings.Contains(a.path, "year%3D2026") {
		t.Errorf("CanonicalRequest\n%s", canonical)
	}
	if got.elements["SignatureProvided"] == "" || got.elements["AWSAccessKeyId"] != a.creds.AccessKeyID {
		t.Errorf("%s", got.body)
	}
}

// Sessions end when they said they would, by AWS's clock.
func TestExpiredSession(t *testing.T) {
	now := time.Now()
	w := newWorldAt(t, t.TempDir(), func() time.Time { return now })
	put, assume := w.newPut(), w.newAssume(nil)
	put.time = now
	if creds := w.mustAssume(); creds.Expires.Sub(now) > time.Hour || creds.Expires.Sub(now) < time.Hour-time.Second {
		t.Errorf("expires in %s", creds.Expires.Sub(now))
	}
	now = now.Add(time.Hour)
	put.time, assume.time = now, now
	got := put.answer()
	if got.status != 400 || got.elements["Code"] != "ExpiredToken" || got.elements["Message"] != "The provided token has expired." ||
		got.elements["Token-0"] != put.creds.SessionToken {
		t.Errorf("S3: %d %s", got.status, got.body)
	}
	got = assume.answer()
	if got.status != 403 || got.elements["Code"] != "ExpiredToken" || got.elements["Message"] != "The security token included in the request is expired" {
		t.Errorf("STS: %d %s", got.status, got.body)
	}
}

// Whoever's clock is off can set it by the answer.
func TestSkewTellsServerTime(t *testing.T) {
	w := newWorld(t)
	w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" {
			return awssim.Fault{Skew: skewed}
		}
		return awssim.Fault{}
	})
	a := w.newPut()
	got := a.answer()
	if got.elements["Code"] != "RequestTimeTooSkewed" {
		t.Fatal(got.body)
	}
	server, err := time.Parse(time.RFC3339, got.elements["ServerTime"])
	must(t, err)
	date, err := http.ParseTime(got.header.Get("Date"))
	must(t, err)
	if !server.Equal(date) {
		t.Errorf("ServerTime %s, Date %s", server, date)
	}
	a.time = server
	if res := a.send(); res.StatusCode != 200 {
		t.Errorf("signed with the server's time: %s", res.Status)
	}
	w.SetFault(nil)

	sts := w.newAssume(nil)
	sts.time = sts.time.Add(-skewed)
	if got := sts.answer(); got.status != 403 || got.elements["Code"] != "SignatureDoesNotMatch" ||
		!strings.HasPrefix(got.elements["Message"], "Signature expired: "+sts.time.UTC().Format("20060102T150405Z")+" is now earlier than ") {
		t.Errorf("STS: %s", got.body)
	}
	sts.time = sts.time.Add(2 * skewed)
	if got := sts.answer(); !strings.HasPrefix(got.elements["Message"], "Signature not yet current: ") {
		t.Errorf("STS: %s", got.body)
	}
}
