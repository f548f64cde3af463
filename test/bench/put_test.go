package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type received struct {
	*http.Request
	body []byte
}

// record puts objects with newPutter, and returns the requests that a server
// got.
func record(t *testing.T, newPutter func(string, http.RoundTripper) (putter, error), n int) []received {
	t.Helper()
	var mu sync.Mutex
	var got []received
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, received{r, body})
	}))
	defer srv.Close()
	put, err := newPutter(srv.URL, new(http.Transport))
	if err != nil {
		t.Fatal(err)
	}
	loop := putLoop{putOptions{Events: n, Concurrency: 3}, put, newObjectMaker(), 5}
	if report, err := loop.run(t.Context()); err != nil || report.Events != n {
		t.Fatalf("%+v, %v", report, err)
	}
	slices.SortFunc(got, func(a, b received) int { return strings.Compare(a.RequestURI, b.RequestURI) })
	return got
}

// Both loops write the same objects with the same meaning, or their ratio
// would say nothing; and what they send would pass AWS's check.
func TestLoopsSendTheSame(t *testing.T) {
	const n = 20
	bare, sdk := record(t, newBarePutter, n), record(t, newSDKPutter, n)
	if len(bare) != n || len(sdk) != n {
		t.Fatalf("%d and %d requests, want %d each", len(bare), len(sdk), n)
	}
	paths := make(map[string]bool)
	for i := range bare {
		b, s := bare[i], sdk[i]
		if paths[b.RequestURI] {
			t.Errorf("%s was put twice", b.RequestURI)
		}
		paths[b.RequestURI] = true
		// The key's time is not that of the other loop's: only its form is
		// compared, the rest of the path as it is.
		if got, want := skeleton(b.RequestURI), skeleton(strings.TrimSuffix(s.RequestURI, "?x-id=PutObject")); got != want {
			t.Errorf("path\n%s, SDK\n%s", got, want)
		}
		if len(b.body) != len(s.body) || b.ContentLength != int64(len(b.body)) {
			t.Errorf("%d bytes, SDK %d", len(b.body), len(s.body))
		}
		for _, h := range []string{"Content-Type", "If-None-Match", "X-Amz-Expected-Bucket-Owner", "X-Amz-Security-Token"} {
			if diff := cmp.Diff(s.Header[h], b.Header[h]); diff != "" || len(b.Header[h]) != 1 {
				t.Errorf("%s (-SDK +bare):\n%s", h, diff)
			}
		}
		for _, r := range []received{b, s} {
			if err := verify(r); err != nil {
				t.Errorf("%s: %v", r.UserAgent(), err)
			}
		}
	}
}

func TestEveryObjectHasItsKey(t *testing.T) {
	m, keys := newObjectMaker(), make(map[string]bool)
	const n = 5000
	for i := range n {
		o := m.object(i)
		keys[o.bucket+"/"+o.key] = true
	}
	if len(keys) != n {
		t.Errorf("%d keys for %d objects", len(keys), n)
	}
}

// skeleton replaces digits by 0.
func skeleton(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0'
		}
		return r
	}, s)
}

// verify checks an S3 request's signature (Version 4), written from AWS's
// description and not from the signer's code.
func verify(r received) error {
	sum := sha256.Sum256(r.body)
	if got := r.Header.Get("X-Amz-Content-Sha256"); got != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("x-amz-content-sha256 is %q", got)
	}
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return fmt.Errorf("authorization %q", auth)
	}
	parts := make(map[string]string)
	for part := range strings.SplitSeq(auth, ", ") {
		k, v, _ := strings.Cut(part, "=")
		parts[k] = v
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	canonical := "PUT\n" + path + "\n" + query + "\n"
	for name := range strings.SplitSeq(parts["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + parts["SignedHeaders"] + "\n" + hex.EncodeToString(sum[:])
	canonicalSum := sha256.Sum256([]byte(canonical))

	date := r.Header.Get("X-Amz-Date")
	scope := date[:8] + "/" + region + "/s3/aws4_request"
	if got := parts["Credential"]; got != accessKeyID+"/"+scope {
		return fmt.Errorf("credential %q", got)
	}
	key := []byte("AWS4" + secretAccessKey)
	for step := range strings.SplitSeq(scope+"/", "/") {
		if step != "" {
			key = mac(key, step)
		}
	}
	want := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hex.EncodeToString(canonicalSum[:])))
	if parts["Signature"] != want {
		return fmt.Errorf("signature does not match that of\n%s", canonical)
	}
	return nil
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

func TestBareLoopFailsOnRefusal(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	for _, newPutter := range []func(string, http.RoundTripper) (putter, error){newBarePutter, newSDKPutter} {
		put, err := newPutter(srv.URL, new(http.Transport))
		if err != nil {
			t.Fatal(err)
		}
		loop := putLoop{putOptions{Events: 10, Concurrency: 2}, put, newObjectMaker(), 0}
		if _, err := loop.run(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("error %v, want one with 404", err)
		}
	}
}
