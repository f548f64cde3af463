package s3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// The example of a PUT in "Authenticating Requests: Using the Authorization
// Header" of the S3 API reference.
func TestSignPublishedExample(t *testing.T) {
	f := &form{path: "/", region: "us-east-1", fields: []field{
		{signed: "date:", value: []byte("Fri, 24 May 2013 00:00:00 GMT")},
		{signed: "host:", value: []byte("examplebucket.s3.amazonaws.com")},
		{signed: "x-amz-content-sha256:", kind: bodySHA256Hex},
		{signed: "x-amz-date:", kind: signingTime},
		{signed: "x-amz-storage-class:", value: []byte("REDUCED_REDUNDANCY")},
	}}
	creds := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	var r request
	got, err := r.build(f, &signingKeys{}, creds, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), "test$file.text", []byte("Welcome to Amazon S3."), false)
	if err != nil {
		t.Fatal(err)
	}
	const want = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
		"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, " +
		"Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\r\n"
	if !strings.HasSuffix(string(got.Header), want) || string(got.Path) != "/test%24file.text" {
		t.Errorf("%s\n%s\nwant %s", got.Path, got.Header, want)
	}
}

// signed is a PUT as a server reads it, and as the SDK would have signed it.
func signed(t *testing.T, f *form, host string, creds aws.Credentials, now time.Time, key string, body []byte, unconditional bool) (ours, theirs http.Header) {
	t.Helper()
	var r request
	got, err := r.build(f, &signingKeys{}, creds, now, key, body, unconditional)
	if err != nil {
		t.Fatal(err)
	}
	raw := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n%s", got.Path, host, len(body), got.Header, body)
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	if sent, err := io.ReadAll(req.Body); err != nil || !bytes.Equal(sent, body) {
		t.Errorf("body %q, %v", sent, err)
	}
	ours = req.Header.Clone()
	for name := range req.Header {
		switch name {
		case "Authorization", "X-Amz-Date", "X-Amz-Security-Token":
			req.Header.Del(name)
		}
	}
	req.URL.Scheme, req.URL.Host = "http", host
	digest := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(digest[:]), "s3", f.region, now,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	return ours, req.Header
}

// Every PUT is signed as the SDK would.
func TestSignAsSDK(t *testing.T) {
	now := time.Date(2026, 5, 22, 23, 59, 59, 0, time.UTC)
	for _, sse := range append([]string{""}, auditdrain.Encryptions...) {
		for _, acl := range append([]string{""}, auditdrain.ObjectACLs...) {
			for i := range 16 {
				rehearsal, unconditional, token, ndjson := i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0
				creds := aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "a/b+c="}
				if token {
					creds.SessionToken = strings.Repeat("t/+=", 200)
				}
				d := drain(func(d *auditdrain.Delivery) {
					d.ServerSideEncryption, d.ObjectACL = sse, acl
					if ndjson {
						d.Encoding = "ndjson"
					}
				}).Delivery
				of := kind{contentType: d.ContentType(), rehearsal: rehearsal}
				if unconditional {
					of.metadata = map[string]string{"manifest-signature": "a_b-c", "manifest-key-id": "=d=", "z": "1"}
				}
				f, err := newForm(d, "h.example:9000", "/bucket", account, of)
				if err != nil {
					t.Fatal(err)
				}
				ours, theirs := signed(t, f, "h.example:9000", creds, now, d.ObjectKey(event("uev_1"), false), []byte("body"), unconditional)
				if d := cmp.Diff(theirs, ours); d != "" {
					t.Fatalf("%q %q %04b (-SDK +ours):\n%s", sse, acl, i, d)
				}
			}
		}
	}
}

// A key is derived once a day, and anew when the session is another one.
func TestSigningKeys(t *testing.T) {
	var keys signingKeys
	get := func(day, id, secret, token string) *signingKey {
		k, err := keys.get(aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, []byte(day), region)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := get("20260522", "a", "b", "c")
	if get("20260522", "a", "b", "c") != first {
		t.Error("derived again")
	}
	for _, other := range [][4]string{{"20260523", "a", "b", "c"}, {"20260522", "x", "b", "c"}, {"20260522", "a", "x", "c"}, {"20260522", "a", "b", "x"}} {
		get("20260522", "a", "b", "c")
		if k := get(other[0], other[1], other[2], other[3]); k.scope[:8] != other[0] || k.id != other[1] || k.secret != other[2] || string(k.token) != other[3] {
			t.Errorf("%q was given the key of another", other)
		}
	}
	for _, creds := range []aws.Credentials{{AccessKeyID: "a\r\nb", SecretAccessKey: "c"}, {AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "c\r\nX-Evil: 1"}, {SecretAccessKey: "b"}} {
		if _, err := keys.get(creds, []byte("20260522"), region); err == nil {
			t.Errorf("%+v is sent in a header", creds)
		}
	}
}

func TestFormRefuses(t *testing.T) {
	for _, change := range []func(*auditdrain.Delivery){
		func(d *auditdrain.Delivery) { d.ObjectACL = "private\r\nX-Evil: 1" },
		func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aws: kms" },
	} {
		if _, err := newForm(drain(change).Delivery, "h", "/", account, kind{contentType: "text/plain"}); err == nil || !strings.Contains(err.Error(), "cannot be sent in a header") {
			t.Errorf("%v", err)
		}
	}
	if _, err := newForm(drain().Delivery, "h", "/", account, kind{contentType: "text/plain", metadata: map[string]string{"a": "b\r\nX-Evil: 1"}}); err == nil {
		t.Error("metadata of two lines is taken")
	}
}

// Building a request costs the key's memory, which the result has.
func TestRequestAllocations(t *testing.T) {
	d := mustOpen(t, (&world{url: "http://127.0.0.1"}).client(t))
	e := event("uev_1")
	var r request
	key := d.delivery.ObjectKey(e, false)
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.build(d.form, d.keys, benchCreds, now, key, d.delivery.ObjectBody(e), false); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzSign holds our signature against the SDK's, whatever the key.
func FuzzSign(f *testing.F) {
	f.Add("audit-logs/schema=audit_log/x_uev_1.json", "/bucket", "eu-west-1", "secret", "token", []byte("{}"), int64(1779444000), false)
	f.Add("a b+c%/ж/🪵/~*'()!", "", "us-east-1", "s/+=", "", []byte("x"), int64(0), true)
	f.Add("\x00\xff?#&=//../.", "/s3/", "cn-north-1", "", "\x7f", []byte("\r\n"), int64(253402300799), true)
	f.Fuzz(func(t *testing.T, key, path, region, secret, token string, body []byte, at int64, unconditional bool) {
		creds := aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: secret, SessionToken: token}
		switch {
		case len(body) == 0, at < 0, at > 253402300799, strings.Contains(region, "/"), !printable([]byte("r" + region)),
			token != "" && !printable([]byte(token)), path != "" && path[0] != '/':
			return // cannot come to be
		}
		if strings.HasPrefix(path+key, "/") && strings.HasPrefix(strings.TrimSuffix(path, "/")+"/"+key, "//") {
			return // reads as a host where a server, and the SDK, parse it
		}
		d := drain(func(d *auditdrain.Delivery) { d.Region = region }).Delivery
		form, err := newForm(d, "h.example", path, account, kind{contentType: d.ContentType()})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := signed(t, form, "h.example", creds, time.Unix(at, 0), key, body, unconditional)
		if d := cmp.Diff(theirs, ours); d != "" {
			t.Errorf("(-SDK +ours):\n%s", d)
		}
	})
}
