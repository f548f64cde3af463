package awssim_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

const skewed = 16 * time.Minute // more than AWS tolerates

// What the tables break works when it is whole.
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

// The examples of "Authenticating Requests: Using the Authorization Header",
// with the signatures that AWS prints there:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func TestSignatureExamples(t *testing.T) {
	const (
		empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		user  = "arn:aws:iam::111122223333:user/example"
	)
	clock := time.Date(2013, 5, 24, 0, 0, 30, 0, time.UTC)
	tests := []struct {
		name, method, target, body string
		header                     map[string]string
		signed, signature          string
	}{
		{
			name: "GET Object", method: "GET", target: "/test.txt",
			header: map[string]string{"Range": "bytes=0-9", "X-Amz-Content-Sha256": empty},
			signed: "host;range;x-amz-content-sha256;x-amz-date", signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		},
		{
			name: "PUT Object", method: "PUT", target: "/test$file.text", body: "Welcome to Amazon S3.",
			header: map[string]string{
				"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY",
				"X-Amz-Content-Sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			},
			signed: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		},
		{
			name: "GET Bucket Lifecycle", method: "GET", target: "/?lifecycle",
			header: map[string]string{"X-Amz-Content-Sha256": empty},
			signed: "host;x-amz-content-sha256;x-amz-date", signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		},
		{
			name: "GET Bucket (List Objects)", method: "GET", target: "/?max-keys=2&prefix=J",
			header: map[string]string{"X-Amz-Content-Sha256": empty},
			signed: "host;x-amz-content-sha256;x-amz-date", signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorldAt(t, t.TempDir(), func() time.Time { return clock })
			must(t, w.AddUser(awssim.User{ARN: user, AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}))
			ask := func(signature string) string {
				req := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
				req.Host = "examplebucket.s3.amazonaws.com"
				for name, value := range tt.header {
					req.Header.Set(name, value)
				}
				req.Header.Set("X-Amz-Date", "20130524T000000Z")
				req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="+
					tt.signed+",Signature="+signature)
				w.Handler().ServeHTTP(httptest.NewRecorder(), req)
				all := w.calls.All("")
				return all[len(all)-1].Caller
			}
			if got := ask(tt.signature); got != user {
				t.Errorf("authenticated %q, want %q", got, user)
			}
			if got := ask(strings.Repeat("0", 64)); got != "" {
				t.Errorf("authenticated %q with a wrong signature", got)
			}
		})
	}
}

// A signature must cover the host: otherwise a request could be replayed
// elsewhere.
func TestHostMustBeSigned(t *testing.T) {
	w := newWorld(t)
	for _, a := range []*attempt{w.newPut(), w.newAssume(nil)} {
		a.tamper = func(r *http.Request) {
			// AWS's own signer always signs it, so this one is by hand.
			r.Header.Del("X-Amz-Security-Token")
			date := r.Header.Get("X-Amz-Date")
			hash := sha256.Sum256([]byte(a.body))
			canonical := a.method + "\n" + a.path + "\n\nx-amz-date:" + date + "\n\nx-amz-date\n" + hex.EncodeToString(hash[:])
			signed := "x-amz-date"
			if a.service == "s3" {
				r.Header = http.Header{"X-Amz-Date": {date}, "X-Amz-Content-Sha256": {hex.EncodeToString(hash[:])}}
				signed = "x-amz-content-sha256;x-amz-date"
				canonical = a.method + "\n" + a.path + "\n\nx-amz-content-sha256:" + hex.EncodeToString(hash[:]) + "\nx-amz-date:" + date +
					"\n\n" + signed + "\n" + hex.EncodeToString(hash[:])
			}
			scope := date[:8] + "/" + region + "/" + a.service + "/aws4_request"
			sum := sha256.Sum256([]byte(canonical))
			key := []byte("AWS4" + admin.SecretKey)
			for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hex.EncodeToString(sum[:])) {
				h := hmac.New(sha256.New, key)
				h.Write([]byte(part))
				key = h.Sum(nil)
			}
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+admin.AccessKeyID+"/"+scope+", SignedHeaders="+signed+
				", Signature="+hex.EncodeToString(key))
		}
		want := map[string]string{"s3": "There were headers present in the request which were not signed", "sts": "The request signature we calculated does not match"}
		if got := a.answer(); got.status != 403 || !strings.HasPrefix(got.elements["Message"], want[a.service]) {
			t.Errorf("%s: answered %d %s", a.service, got.status, got.body)
		}
	}
}

// Authorization headers that are wrong before any signature is looked at.
func TestAuthorizationRefusals(t *testing.T) {
	whole := func(header string) func(*attempt) {
		return func(a *attempt) { a.tamper = func(r *http.Request) { r.Header.Set("Authorization", header) } }
	}
	const malformed = "The authorization header is malformed; "
	var refusals []refusal
	for _, tt := range []struct {
		name, old, new string
		message        string
	}{
		{"two components", ", SignedHeaders", "; SignedHeaders", "the authorization header requires three components: Credential, SignedHeaders, and Signature."},
		{"a component without a value", "Signature=", "Signature-", ""},
		{"no credential", "Credential=", "Cred=", "missing Credential."},
		{"no signed headers", "SignedHeaders=", "Headers=", "missing SignedHeaders."},
		{"no signature", "Signature=", "Sig=", "missing Signature."},
		{"half a credential", "/s3/aws4_request", "/s3", `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`},
		{"terminal", "/aws4_request", "/aws5_request", `incorrect terminal "aws5_request". This endpoint uses "aws4_request".`},
		{"service", "/s3/", "/sts/", `incorrect service "sts". This endpoint belongs to "s3".`},
		{"date is none", "/DATE/", "/2026-11-22/", `incorrect date format "2026-11-22". This date in the credential must be in the format "yyyyMMdd".`},
		{"date is another", "/DATE/", "/20130524/", "Invalid credential date. Date is not the same as X-Amz-Date."},
	} {
		want := refusal{name: tt.name, status: 400, code: "AuthorizationHeaderMalformed", attempt: func(a *attempt) {
			a.tamper = replaceAuthorization(strings.ReplaceAll(tt.old, "DATE", a.time.UTC().Format("20060102")), tt.new)
		}}
		if tt.message != "" {
			want.message = malformed + tt.message
		}
		refusals = append(refusals, want)
	}
	checkRefusals(t, append(refusals, []refusal{
		{
			name: "no space", attempt: whole("secret"), status: 400, code: "InvalidArgument",
			message: "Authorization header is invalid -- one and only one ' ' (space) required", element: [2]string{"ArgumentValue", "secret"},
		},
		{
			name: "another mechanism", attempt: whole("Bearer secret"), status: 400, code: "InvalidArgument",
			message: "Unsupported Authorization Type", element: [2]string{"ArgumentValue", "Bearer secret"},
		},
		{
			name:    "payload's hash is none",
			attempt: func(a *attempt) { a.hash = "SIGNED-PAYLOAD" },
			status:  400, code: "InvalidArgument", element: [2]string{"ArgumentValue", "SIGNED-PAYLOAD"},
			message: "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, " +
				"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
		},
		{
			name: "STS: terminal", form: map[string][]string{},
			attempt: func(a *attempt) { a.tamper = replaceAuthorization("/aws4_request", "/aws5_request") },
			status:  403, code: "SignatureDoesNotMatch",
			message: "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ",
		},
	}...))
}

// Nothing that a request may say of itself gets it in, or brings the Sim down.
func FuzzUnsigned(f *testing.F) {
	const good = "AWS4-HMAC-SHA256 Credential=AKIAADMIN/20261122/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00"
	f.Add("PUT", "/b/k", "localhost", good, "20261122T000000Z", "x-amz-acl", "private", []byte("body"))
	f.Add("POST", "/", "sts.eu-west-1.amazonaws.com", strings.Replace(good, "/s3/", "/sts/", 1), "20261122T000000Z", "Content-Type", "application/x-www-form-urlencoded", []byte("Action=GetCallerIdentity&Version=2011-06-15"))
	f.Add("GET", "/?list-type=2&%zz", "b.s3.eu-west-1.amazonaws.com", "AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;;,Signature==", "Z", "Date", "", []byte{})
	f.Fuzz(func(t *testing.T, method, target, host, authorization, date, name, value string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || method == "" {
			return // net/http refuses it before us
		}
		w := newWorldAt(t, t.TempDir(), func() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) })
		req := httptest.NewRequest("GET", "/", bytes.NewReader(body))
		req.Method, req.URL, req.Host = method, u, host
		req.Header.Set("Authorization", authorization)
		req.Header.Set("X-Amz-Date", date)
		req.Header.Add(name, value)
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, req)
		if calls := w.calls.All(""); rec.Code < 300 || len(calls) != 1 || calls[0].Caller != "" {
			t.Errorf("answered %d: %s", rec.Code, rec.Body)
		}
	})
}
