package awssim_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

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

// If-Match writes over the object that it names and over no other, for those
// who may also read it.
func TestIfMatch(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	put := func(creds awssim.Credentials, key, body, ifMatch, ifNoneMatch string) (string, error) {
		in := &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: strings.NewReader(body)}
		if ifMatch != "" {
			in.IfMatch = &ifMatch
		}
		if ifNoneMatch != "" {
			in.IfNoneMatch = &ifNoneMatch
		}
		out, err := w.s3(creds).PutObject(ctx, in)
		if err != nil {
			return "", err
		}
		return *out.ETag, nil
	}
	one, err := put(admin, objectKey, "one", "", "")
	must(t, err)
	_, err = put(w.mustAssume(), objectKey, "two", one, "")
	wantCode(t, err, 403, "AccessDenied")
	_, err = put(admin, objectKey, "two", `"`+strings.Repeat("0", 32)+`"`, "")
	wantCode(t, err, 412, "PreconditionFailed")
	_, err = put(admin, objectKey+"2", "two", one, "")
	wantCode(t, err, 404, "NoSuchKey")
	_, err = put(admin, objectKey, "two", one, "*")
	wantCode(t, err, 501, "NotImplemented")
	_, err = put(admin, objectKey, "two", "*", "")
	wantCode(t, err, 501, "NotImplemented")
	if len(w.Rewrites()) != 0 {
		t.Errorf("rewrites: %+v", w.Rewrites())
	}
	two, err := put(admin, objectKey, "two", one, "")
	must(t, err)
	_, err = put(admin, objectKey, "three", strings.Trim(two, `"`), "")
	must(t, err)
	if r := w.Rewrites(); len(r) != 2 {
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

// Signed PUTs of 700 bytes over loopback, each a new key. Clients and server
// share the processors, and the file system has its part in it.
func BenchmarkPutObject(b *testing.B) {
	w := newWorldAt(b, b.TempDir(), nil)
	proto := w.newPut()
	proto.body = strings.Repeat("x", 700)
	proto.header.Del("X-Amz-Checksum-Crc32")
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a := *proto
			a.path = fmt.Sprintf("/%s/audit-logs/day%%3D01/%d", bucketName, n.Add(1))
			if res := a.send(); res.StatusCode != 200 {
				b.Error(res.Status)
				return
			}
		}
	})
}
