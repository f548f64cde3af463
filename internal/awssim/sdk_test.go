package awssim_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

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
}

// What the drain's role may not do, and what asks for more than one permission.
func TestReadPermissions(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
		b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	})
	if res := w.newPut().send(); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	client := w.s3(w.mustAssume())
	bucket, key := aws.String(bucketName), aws.String(objectKey)
	get := func(key *string) error {
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
		if err == nil {
			got.Body.Close()
		}
		return err
	}
	list := func() error {
		_, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("audit-logs/")})
		return err
	}
	wantCode(t, get(key), 403, "AccessDenied")
	wantCode(t, list(), 403, "AccessDenied")
	_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	wantCode(t, err, 403, "AccessDenied")
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket:                    aws.String("drains-bucket"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraintEuWest1},
	})
	wantCode(t, err, 403, "AccessDenied")
	_, err = client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket})
	if status, _ := code(t, err); status != 403 {
		t.Errorf("HeadBucket: %v", err)
	}

	grant := func(statements string) {
		w.UpdateRole(roleARN, func(r *awssim.Role) {
			r.Identity = []*iam.Policy{iam.MustParse(`{"Version": "2012-10-17", "Statement": [` + statements + `]}`)}
		})
	}
	grant(`{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}`)
	wantCode(t, get(key), 403, "AccessDenied") // for want of kms:Decrypt
	wantCode(t, get(aws.String("none")), 403, "AccessDenied")
	w.UpdateKey(keyARN, func(k *awssim.Key) {
		k.Policy = iam.MustParse(strings.Replace(keyPolicy, "kms:GenerateDataKey", "kms:Decrypt", 1))
	})
	must(t, get(key))

	grant(`{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
		{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::` + bucketName + `",
		 "Condition": {"StringEqualsIfExists": {"s3:prefix": "audit-logs/"}}}`)
	wantCode(t, get(aws.String("none")), 404, "NoSuchKey")
	must(t, list())
	_, err = client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("other/")})
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
