package awssim_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Digests in headers that are wrong, of objectBody, whose CRC32 comes along.
func TestDigestRefusals(t *testing.T) {
	checkRefusals(t, []refusal{
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
			name:    "checksum of no algorithm",
			attempt: checksumHeader("X-Amz-Checksum-Crc33", "AAAAAA=="),
			status:  400, code: "InvalidRequest", message: "The algorithm type you specified in x-amz-checksum- header is invalid.",
		},
		{
			name:    "checksum that is not simulated",
			attempt: checksumHeader("X-Amz-Checksum-Xxhash64", "AAAAAAAAAAA="),
			status:  501, code: "NotImplemented", element: [2]string{"Header", "x-amz-checksum-xxhash64"},
		},
		{
			name:    "two checksums",
			attempt: header("X-Amz-Checksum-Sha1", base64.StdEncoding.EncodeToString(make([]byte, 20))),
			status:  400, code: "InvalidRequest", message: "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
		},
		{
			name:    "a checksum, and another after the body",
			attempt: header("X-Amz-Trailer", "x-amz-checksum-sha1"),
			status:  400, code: "InvalidRequest", message: "Expecting a single x-amz-checksum- header",
		},
		{
			name:    "another algorithm than said",
			attempt: header("X-Amz-Sdk-Checksum-Algorithm", "CRC32C"),
			status:  400, code: "InvalidRequest", message: "Value for x-amz-sdk-checksum-algorithm header is invalid.",
		},
		{
			name: "an algorithm and no checksum",
			attempt: func(a *attempt) {
				a.header.Del("X-Amz-Checksum-Crc32")
				a.header.Set("X-Amz-Sdk-Checksum-Algorithm", "CRC32")
			},
			status: 400, code: "InvalidRequest",
			message: "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
		},
		{
			name:    "MD5 does not match",
			attempt: header("Content-Md5", base64.StdEncoding.EncodeToString(make([]byte, 16))),
			status:  400, code: "BadDigest", message: "The Content-MD5 you specified did not match what we received.",
			element: [2]string{"ExpectedDigest", strings.Repeat("0", 32)},
		},
		{
			name:    "MD5 is empty",
			attempt: header("Content-Md5", ""),
			status:  400, code: "InvalidDigest", message: "The Content-MD5 you specified was invalid.",
		},
		{
			name: "chunks that are no object's",
			attempt: func(a *attempt) {
				a.path, a.hash = "/"+bucketName, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
			},
			status: 400, code: "InvalidRequest", message: "The value of x-amz-content-sha256 header is invalid.",
		},
		{
			name:    "too much metadata",
			attempt: header("X-Amz-Meta-Key", strings.Repeat("x", 2046)),
			status:  400, code: "MetadataTooLarge", message: "Your metadata headers exceed the maximum allowed metadata size",
			element: [2]string{"Size", "2049"},
		},
	})
	t.Run("as much metadata as there may be", func(t *testing.T) {
		a := newWorld(t).newPut()
		a.header.Set("X-Amz-Meta-Key", strings.Repeat("x", 2045))
		a.header.Set("X-Amz-Sdk-Checksum-Algorithm", "CRC32")
		if res := a.send(); res.StatusCode != 200 {
			t.Error(res.Status)
		}
	})
}

func checksumHeader(name, value string) func(*attempt) {
	return func(a *attempt) {
		a.header.Del("X-Amz-Checksum-Crc32")
		a.header.Set(name, value)
	}
}

// A trailer is believed no more than a header.
func TestTrailerIsVerified(t *testing.T) {
	for name, tt := range map[string]struct{ body, code string }{
		"right":             {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", ""},
		"wrong":             {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"},
		"no checksum":       {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:wrong\r\n\r\n", "InvalidRequest"},
		"none":              {"5\r\nhello\r\n0\r\n\r\n", "MalformedTrailerError"},
		"other":             {"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:NhCmhg==\r\n\r\n", "MalformedTrailerError"},
		"two":               {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "InvalidRequest"},
		"not ended":         {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n", "IncompleteBody"},
		"short":             {"4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "IncompleteBody"},
		"small chunks":      {"2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "InvalidChunkSizeError"},
		"chunk cut":         {"5\r\nhel", "IncompleteBody"},
		"chunk size absurd": {"7fffffff\r\nhello\r\n0\r\n\r\n", "IncompleteBody"},
		"chunk size none":   {"five\r\nhello\r\n0\r\n\r\n", "IncompleteBody"},
		"no last chunk":     {"5\r\nhello\r\n", "IncompleteBody"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newWorld(t).chunked(tt.body, 5)
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

// chunked is a PUT whose body comes in chunks, with a CRC32 after them.
func (w *world) chunked(body string, decoded int) *attempt {
	a := w.newPut()
	a.body, a.hash = body, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	a.header.Del("X-Amz-Checksum-Crc32")
	a.header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
	a.header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(decoded))
	a.header.Set("Content-Encoding", "aws-chunked")
	return a
}

func TestChunksAreJoined(t *testing.T) {
	w := newWorld(t)
	whole := strings.Repeat("0123456789abcdef", 1024) // two chunks of the least size, and nothing
	a := w.chunked(fmt.Sprintf("2000\r\n%s\r\n2000\r\n%s\r\n3\r\nend\r\n0\r\n\r\n", whole[:8192], whole[8192:]), len(whole)+3)
	a.header.Del("X-Amz-Trailer")
	if got := a.answer(); got.status != 200 {
		t.Fatal(got.body)
	}
	o, _, err := w.Object(bucketName, objectKey)
	must(t, err)
	body, err := o.Read()
	must(t, err)
	if string(body) != whole+"end" {
		t.Errorf("%d bytes", len(body))
	}
}

// S3 keeps a CRC64NVME of what comes without a checksum.
func TestDefaultChecksum(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	client := w.s3(admin, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	bucket, key := aws.String(bucketName), aws.String("hello")
	put, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader([]byte("hello world"))})
	must(t, err)
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
	must(t, err)
	const want = "jSnVw/bqjr4="
	if got := aws.ToString(put.ChecksumCRC64NVME); got != want {
		t.Errorf("PutObject answers %q, want %q", got, want)
	}
	if got := aws.ToString(head.ChecksumCRC64NVME); got != want || head.ChecksumType != types.ChecksumTypeFullObject {
		t.Errorf("HeadObject answers %q (%s), want %q", got, head.ChecksumType, want)
	}
}
