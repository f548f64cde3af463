package awssim_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

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

// The SDK's client, in the ways in which it can address a bucket and send a
// payload: over TLS it sends chunks with the checksum after the last.
func TestSDKClient(t *testing.T) {
	ctx := context.Background()
	keys := []string{objectKey, "audit-logs/a b+c&d=e'f(g)/ü€😀!*~@:,;.json"}
	w := newWorld(t)
	tlsServer := httptest.NewTLSServer(w.Handler())
	t.Cleanup(tlsServer.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(w.url, "http://"))
	must(t, err)

	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(w.url, "http://"))
	}
	loopback := &http.Client{Transport: &http.Transport{DialContext: dial}}
	t.Cleanup(loopback.CloseIdleConnections)

	styles := map[string]func(*s3.Options){
		"path": func(o *s3.Options) {},
		"path over TLS": func(o *s3.Options) {
			o.BaseEndpoint, o.HTTPClient = &tlsServer.URL, tlsServer.Client()
		},
		"virtual-hosted, localhost": func(o *s3.Options) {
			o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = aws.String("http://localhost:"+port), false, loopback
		},
		"virtual-hosted, AWS's host": func(o *s3.Options) {
			o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = aws.String("http://s3.eu-west-1.amazonaws.com"), false, loopback
		},
		"virtual-hosted, dual stack": func(o *s3.Options) {
			o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = aws.String("http://s3.dualstack.eu-west-1.amazonaws.com"), false, loopback
		},
	}
	algorithms := []types.ChecksumAlgorithm{
		"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme,
		types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256,
	}
	for style, opt := range styles {
		for _, algorithm := range algorithms {
			t.Run(style+" "+string(algorithm), func(t *testing.T) {
				client := w.s3(admin, opt)
				for _, key := range keys {
					body := style + string(algorithm)
					out, err := client.PutObject(ctx, &s3.PutObjectInput{
						Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader(body), ChecksumAlgorithm: algorithm,
						Metadata: map[string]string{"made-by": "test"},
					})
					must(t, err)
					got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
					must(t, err)
					if b := readAll(t, got.Body); b != body {
						t.Errorf("%s holds %q, want %q", key, b, body)
					}
					if *got.ETag != *out.ETag || got.Metadata["made-by"] != "test" {
						t.Errorf("%s: ETag %s then %s, metadata %v", key, *out.ETag, *got.ETag, got.Metadata)
					}
					file, err := os.ReadFile(filepath.Join(w.dir, bucketName, key))
					must(t, err)
					if string(file) != body {
						t.Errorf("file holds %q", file)
					}
				}
			})
		}
	}
	var trailers int
	for _, c := range w.calls.All("PutObject") {
		if c.Header.Get("X-Amz-Content-Sha256") == "STREAMING-UNSIGNED-PAYLOAD-TRAILER" {
			trailers++
		}
	}
	if trailers == 0 {
		t.Error("no payload came with a trailer, so that this is not tested")
	}
}

// A trailer is believed no more than a header.
func TestTrailerIsVerified(t *testing.T) {
	for name, tt := range map[string]struct{ body, code string }{
		"right":             {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", ""},
		"two chunks":        {"2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", ""},
		"wrong":             {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"},
		"none":              {"5\r\nhello\r\n0\r\n\r\n", "MalformedTrailerError"},
		"other":             {"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:NhCmhg==\r\n\r\n", "MalformedTrailerError"},
		"short":             {"4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "IncompleteBody"},
		"chunk cut":         {"5\r\nhel", "IncompleteBody"},
		"chunk size absurd": {"7fffffff\r\nhello\r\n0\r\n\r\n", "IncompleteBody"},
		"no last chunk":     {"5\r\nhello\r\n", "IncompleteBody"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newWorld(t).newPut()
			a.body, a.hash = tt.body, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
			a.header.Del("X-Amz-Checksum-Crc32")
			a.header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
			a.header.Set("X-Amz-Decoded-Content-Length", "5")
			a.header.Set("Content-Encoding", "aws-chunked")
			if got := a.answer(); got.elements["Code"] != tt.code {
				t.Fatalf("answered %d %s", got.status, got.body)
			}
			if tt.code == "" {
				o, ok, err := a.w.Object(bucketName, objectKey)
				must(t, err)
				if !ok || o.Size != 5 || o.ContentEncoding != "" {
					t.Errorf("object %+v", o)
				}
			}
		})
	}
}

// Buckets and objects through the SDK, by one who may do all.
func TestBucketsAndObjects(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(admin)
	name := aws.String("another-bucket")

	_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name})
	if s, _ := code(t, err); s != 404 {
		t.Errorf("HeadBucket before: %v", err)
	}
	create := &s3.CreateBucketInput{Bucket: name}
	_, err = client.CreateBucket(ctx, create)
	wantCode(t, err, 400, "IllegalLocationConstraintException")
	create.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraintEuWest1}
	_, err = client.CreateBucket(ctx, create)
	must(t, err)
	_, err = client.CreateBucket(ctx, create)
	wantCode(t, err, 409, "BucketAlreadyOwnedByYou")
	head, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name})
	must(t, err)
	if *head.BucketRegion != region {
		t.Errorf("bucket is in %s", *head.BucketRegion)
	}

	want := []string{"a", "b-c", "b/d", "b/e/f", "c=1/x", "c=1/y", "z"}
	for _, key := range want {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: &key, Body: strings.NewReader(key)})
		must(t, err)
	}
	var got []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: name, MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(t, err)
		if len(page.Contents) > 2 {
			t.Errorf("page of %d", len(page.Contents))
		}
		for _, o := range page.Contents {
			got = append(got, *o.Key)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("listed (-want +got):\n%s", d)
	}
	got = nil
	pages = s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: name, Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(t, err)
		for _, o := range page.Contents {
			got = append(got, *o.Key)
		}
		for _, p := range page.CommonPrefixes {
			got = append(got, *p.Prefix)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"a", "b-c", "b/", "c=1/", "z"}, got); d != "" {
		t.Errorf("listed with delimiter (-want +got):\n%s", d)
	}
	page, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: name, Prefix: aws.String("c=1/"), StartAfter: aws.String("c=1/x")})
	must(t, err)
	if len(page.Contents) != 1 || *page.Contents[0].Key != "c=1/y" || *page.Contents[0].Size != 5 {
		t.Errorf("listed with prefix: %+v", page.Contents)
	}

	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: aws.String("a")})
	must(t, err)
	_, err = client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: name, Key: aws.String("a")})
	if s, _ := code(t, err); s != 404 {
		t.Errorf("HeadObject after delete: %v", err)
	}
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("a")})
	wantCode(t, err, 404, "NoSuchKey")
	_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("z/under-a-file"), Body: strings.NewReader("")})
	wantCode(t, err, 501, "NotImplemented")
	_, err = client.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: name, Key: aws.String("z")})
	wantCode(t, err, 501, "NotImplemented")

	// The drain's role may do none of that.
	drain := w.s3(w.mustAssume())
	_, err = drain.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: aws.String(objectKey)})
	wantCode(t, err, 403, "AccessDenied")
	_, err = drain.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName)})
	wantCode(t, err, 403, "AccessDenied")
	_, err = drain.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: aws.String(objectKey)})
	wantCode(t, err, 403, "AccessDenied")
}

// What an encrypted object takes of its writer, by header and by default.
func TestEncryption(t *testing.T) {
	ctx := context.Background()
	aes, kms, dsse := types.ServerSideEncryptionAes256, types.ServerSideEncryptionAwsKms, types.ServerSideEncryptionAwsKmsDsse
	customer := awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	managed := awssim.Encryption{Algorithm: "aws:kms"}
	for _, tt := range []struct {
		name    string
		bucket  awssim.Encryption
		header  types.ServerSideEncryption
		key     string
		wantKey string // that the caller must be allowed to use, "" for none
	}{
		{"nothing", awssim.Encryption{}, "", "", ""},
		{"SSE-S3 asked for", customer, aes, "", ""},
		{"customer key by default", customer, "", "", keyARN},
		{"customer key by default, aws:kms asked for", customer, kms, "", keyARN},
		{"customer key by default, aws:kms:dsse asked for", customer, dsse, "", keyARN},
		{"aws/s3 by default", managed, "", "", ""},
		{"aws:kms asked for", awssim.Encryption{}, kms, "", ""},
		{"customer key asked for", awssim.Encryption{}, kms, keyARN, keyARN},
		{"customer key asked for by ID", awssim.Encryption{}, kms, keyARN[strings.LastIndexByte(keyARN, '/')+1:], keyARN},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.UpdateBucket(bucketName, func(b *awssim.Bucket) { b.Encryption = tt.bucket })
			client := w.s3(w.mustAssume())
			put := func(key string) (*s3.PutObjectOutput, error) {
				in := &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader("x"), ServerSideEncryption: tt.header}
				if tt.key != "" {
					in.SSEKMSKeyId = &tt.key
				}
				return client.PutObject(ctx, in)
			}
			out, err := put("audit-logs/1")
			must(t, err)
			if got := aws.ToString(out.SSEKMSKeyId); got != tt.wantKey {
				t.Errorf("encrypted with %q, want %q", got, tt.wantKey)
			}
			if tt.header != "" && out.ServerSideEncryption != tt.header {
				t.Errorf("encrypted by %q", out.ServerSideEncryption)
			}
			w.UpdateKey(keyARN, func(k *awssim.Key) { k.Policy = iam.MustParse(strings.Replace(keyPolicy, "Allow\"", "Deny\"", 1)) })
			_, err = put("audit-logs/2")
			if tt.wantKey == "" {
				must(t, err)
			} else {
				wantCode(t, err, 403, "AccessDenied")
			}
		})
	}
}

// A session policy takes away, and it is asked for the key as well.
func TestSessionPolicy(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	creds := w.mustAssume(func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + bucketName + `/audit-logs/here/*"}]}`)
	})
	for key, status := range map[string]int{"audit-logs/here/x": 0, "audit-logs/there/x": 403, "elsewhere": 403} {
		_, err := w.s3(creds).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader("x")})
		if got, _ := code(t, err); got != status {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A role can be assumed for longer than an hour by a user, but not by a
// session.
func TestSessionLength(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.UpdateRole(roleARN, func(r *awssim.Role) {
		r.MaxSession = 2 * time.Hour
		r.Trust = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}]}`)
	})
	in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("x1"), DurationSeconds: aws.Int32(7200)}
	out, err := w.sts(admin).AssumeRole(ctx, in)
	must(t, err)
	if left := time.Until(*out.Credentials.Expiration); left < 119*time.Minute {
		t.Errorf("expires in %s", left)
	}
	in.DurationSeconds = aws.Int32(7201)
	_, err = w.sts(admin).AssumeRole(ctx, in)
	wantCode(t, err, 400, "ValidationError")
	in.DurationSeconds = aws.Int32(3601)
	_, err = w.sts(w.writer()).AssumeRole(ctx, in)
	wantCode(t, err, 403, "AccessDenied") // not trusted now, and so not told about lengths
}

// Of many conditional writes of a key one succeeds, and its bytes are there.
func TestConditionalWritesRace(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(w.mustAssume())
	for round := range 10 {
		key := fmt.Sprintf("audit-logs/day=%d/x", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winners []string
		for i := range 16 {
			wg.Go(func() {
				body := strings.Repeat(fmt.Sprintf("%02d", i), 1000)
				_, err := client.PutObject(ctx, &s3.PutObjectInput{
					Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader(body), IfNoneMatch: aws.String("*"),
				})
				if err == nil {
					mu.Lock()
					winners = append(winners, body)
					mu.Unlock()
				} else if s, c := code(t, err); s != 412 || c != "PreconditionFailed" {
					t.Errorf("%d %s", s, c)
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d conditional writes succeeded", len(winners))
		}
		file, err := os.ReadFile(filepath.Join(w.dir, bucketName, key))
		must(t, err)
		if string(file) != winners[0] {
			t.Error("the file is not the winner's")
		}
	}
	if r := w.Rewrites(); len(r) != 0 {
		t.Errorf("rewrites: %+v", r)
	}
}

// A Sim on the same directory sees the objects, and knows when one that was
// there before is rewritten.
func TestRestart(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	put := func(w *world, body string, onlyNew bool) error {
		in := &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: aws.String(objectKey), Body: strings.NewReader(body)}
		if onlyNew {
			in.IfNoneMatch = aws.String("*")
		}
		_, err := w.s3(w.mustAssume()).PutObject(ctx, in)
		return err
	}
	w := newWorldAt(t, dir, nil)
	must(t, put(w, "one", true))
	before, _, err := w.Object(bucketName, objectKey)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, ".tmp", "left"), []byte("half an obj"), 0o600))

	w = newWorldAt(t, dir, nil)
	if left, _ := os.ReadDir(filepath.Join(dir, ".tmp")); len(left) != 0 {
		t.Errorf("temporary files stay: %v", left)
	}
	after, ok, err := w.Object(bucketName, objectKey)
	must(t, err)
	if !ok || after.SHA256 != before.SHA256 || after.ETag != before.ETag || after.Size != 3 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	wantCode(t, put(w, "two", true), 412, "PreconditionFailed")
	must(t, put(w, "one", false))
	if r := w.Rewrites(); len(r) != 0 {
		t.Errorf("same bytes count as a rewrite: %+v", r)
	}
	must(t, put(w, "two", false))
	r := w.Rewrites()
	if len(r) != 1 || r[0].Key != objectKey || r[0].Before != before.SHA256 || r[0].After == r[0].Before || r[0].Writer != customerSession {
		t.Errorf("rewrites: %+v", r)
	}
}

// Files may also be changed behind the Sim's back, as by `rm` in the demo.
func TestFilesAreTheTruth(t *testing.T) {
	w := newWorld(t)
	a := w.newPut()
	a.send()
	path := filepath.Join(w.dir, bucketName, objectKey)
	must(t, os.WriteFile(path, []byte("something longer than it was"), 0o600))
	o, _, err := w.Object(bucketName, objectKey)
	must(t, err)
	if o.Size != 28 {
		t.Errorf("object %+v", o)
	}
	must(t, os.Remove(path))
	if _, ok, err := w.Object(bucketName, objectKey); ok || err != nil {
		t.Errorf("still there: %v", err)
	}
	if res := a.send(); res.StatusCode != 200 {
		t.Errorf("conditional write after rm: %s", res.Status)
	}
}

func TestFaults(t *testing.T) {
	type outcome struct {
		status  int // 0: no answer
		written bool
	}
	for _, tt := range []struct {
		name  string
		fault awssim.Fault
		want  outcome
	}{
		{"none", awssim.Fault{}, outcome{200, true}},
		{"reset before", awssim.Fault{Reset: true}, outcome{0, false}},
		{"reset after", awssim.Fault{Reset: true, AfterEffect: true}, outcome{0, true}},
		{"hang before", awssim.Fault{Hang: true}, outcome{0, false}},
		{"hang after", awssim.Fault{Hang: true, AfterEffect: true}, outcome{0, true}},
		{"error before", awssim.Fault{Err: awssim.InternalError()}, outcome{500, false}},
		{"error after", awssim.Fault{Err: awssim.InternalError(), AfterEffect: true}, outcome{500, true}},
		{"latency", awssim.Fault{Delay: time.Millisecond}, outcome{200, true}},
		{"expired", awssim.Fault{Err: awssim.ExpiredSession("t")}, outcome{400, false}},
		{"truncated", awssim.Fault{Truncate: true}, outcome{200, true}},
		{"garbage", awssim.Fault{Garbage: true}, outcome{200, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
				if r.Service == "s3" && r.Op == "PutObject" && r.Bucket == bucketName && r.Key == objectKey {
					return tt.fault
				}
				return awssim.Fault{}
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			seen := make(chan struct{}, 1)
			w.Observe(func(c awssim.Call) { seen <- struct{}{} })
			creds := w.mustAssume()
			<-seen
			if tt.fault.Hang {
				if tt.fault.AfterEffect {
					go func() { <-seen; cancel() }()
				} else {
					w.SetFault(func(awssim.FaultRequest) awssim.Fault { go cancel(); return tt.fault })
				}
			}
			var raw rawStatus
			_, err := w.s3(creds, func(o *s3.Options) { o.HTTPClient = &raw }).PutObject(ctx, &s3.PutObjectInput{
				Bucket: aws.String(bucketName), Key: aws.String(objectKey), Body: bytes.NewReader([]byte(objectBody)),
			})
			_, written, oerr := w.Object(bucketName, objectKey)
			must(t, oerr)
			if got := (outcome{raw.status, written}); got != tt.want {
				t.Errorf("got %+v, want %+v (%v)", got, tt.want, err)
			}
		})
	}
}

// rawStatus is an HTTP client that keeps the last status.
type rawStatus struct{ status int }

func (c *rawStatus) Do(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		c.status = res.StatusCode
	}
	return res, err
}

func TestFaultyBodies(t *testing.T) {
	w := newWorld(t)
	a := w.newAssume(nil)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Garbage: true} })
	if _, err := w.assume(); err == nil {
		t.Error("the SDK has read garbage")
	}
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Truncate: true} })
	res := a.send()
	if _, err := io.ReadAll(res.Body); res.StatusCode != 200 || err != io.ErrUnexpectedEOF {
		t.Errorf("%s, then %v", res.Status, err)
	}
}

func TestServe(t *testing.T) {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	must(t, err)

	public, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	if err := sim.Serve(t.Context(), public); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("serves %s: %v", public.Addr(), err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	hanging := make(chan struct{})
	sim.SetFault(func(awssim.FaultRequest) awssim.Fault { close(hanging); return awssim.Fault{Hang: true} })
	served := make(chan error, 1)
	go func() { served <- sim.Serve(ctx, l) }()
	asked := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String() + "/b/k")
		if err == nil {
			res.Body.Close()
		}
		asked <- err
	}()
	<-hanging
	cancel()
	must(t, <-served)
	if err := <-asked; err == nil {
		t.Error("the hanging request was answered")
	}
}

// A handler on a public address answers nobody.
func TestHandlerRefusesPublicAddresses(t *testing.T) {
	w := newWorld(t)
	req := httptest.NewRequest("GET", "/", nil)
	req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}))
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, req)
	if rec.Code != 403 || len(w.calls.All("")) != 0 {
		t.Errorf("answered %d", rec.Code)
	}
}

func TestConfigurationIsValidated(t *testing.T) {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	must(t, err)
	for name, err := range map[string]error{
		"account":        sim.AddAccount(awssim.Account{ID: "1"}),
		"role":           sim.AddRole(awssim.Role{ARN: "arn:aws:iam::111122223333:user/x"}),
		"user":           sim.AddUser(awssim.User{ARN: "arn:aws:iam::111122223333:user/x"}),
		"key":            sim.AddKey(awssim.Key{ARN: "arn:aws:kms:eu-west-1:111122223333:alias/x"}),
		"bucket name":    sim.AddBucket(awssim.Bucket{Name: "../x", Account: customerAccount}),
		"bucket account": sim.AddBucket(awssim.Bucket{Name: "abc"}),
		"bucket region":  sim.AddBucket(awssim.Bucket{Name: "abc", Account: customerAccount, Region: "mars"}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := awssim.New(awssim.Options{}); err == nil {
		t.Error("no directory: accepted")
	}
	if sim.UpdateRole(roleARN, func(*awssim.Role) {}) {
		t.Error("updated a role that is not there")
	}
}
