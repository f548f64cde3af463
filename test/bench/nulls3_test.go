package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// startNull serves a null S3 in this process until the test ends.
func startNull(t *testing.T, o nullOptions) (*nullS3, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, done := &nullS3{nullOptions: o}, make(chan error)
	go func() { done <- s.serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, "http://" + ln.Addr().String()
}

func static() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(accessKeyID, secretAccessKey, "")
}

func TestNullS3TakesSDKPuts(t *testing.T) {
	null, url := startNull(t, nullOptions{})
	client := s3.New(s3.Options{
		Region: region, Credentials: static(), BaseEndpoint: aws.String(url), UsePathStyle: true,
		RetryMaxAttempts: 1,
	})
	var total int64
	// From nothing to beyond the size from which the SDK sends
	// Expect: 100-continue.
	for _, size := range []int{0, 1, 700, 1 << 16, 3 << 20} {
		out, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("bucket-1"), Key: aws.String("a/year=2026/b c"), Body: bytes.NewReader(make([]byte, size)),
		})
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if aws.ToString(out.ETag) == "" {
			t.Errorf("%d bytes: no ETag", size)
		}
		total += int64(size)
	}
	if got := null.puts.Load(); got != 5 {
		t.Errorf("%d PUTs counted, want 5", got)
	}
	if got := null.putBytes.Load(); got != total {
		t.Errorf("%d bytes counted, want %d", got, total)
	}
}

// A manifest is no PUT, and counts for what it says that there is.
func TestNullS3TakesManifests(t *testing.T) {
	null, url := startNull(t, nullOptions{})
	var parts int
	b := manifest.NewBuilder(manifest.Manifest{
		DrainID: "drn_1", TeamID: "team_1", Number: 1, Cause: auditdrain.SealHour, Sequence: manifest.Range{From: 1, To: 4},
	}, func(key string, part []byte) error {
		parts++
		put(t, url+"/"+bucketOf(3)+"/audit-logs/"+key, string(part))
		return nil
	})
	for _, key := range []string{"a", "b", "c"} {
		if err := b.Add(manifest.Object{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	body, _, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	put(t, url+"/"+bucketOf(3)+"/audit-logs/"+manifest.SignatureKey("drn_1", 1), "{}")
	if got := null.listed.Load(); got != 0 || parts != 1 {
		t.Errorf("%d objects of %d parts count before their manifest", got, parts)
	}
	put(t, url+"/"+bucketOf(3)+"/audit-logs/"+manifest.Key("drn_1", 1), string(body))
	if listed, puts := null.listed.Load(), null.puts.Load(); listed != 3 || puts != 0 {
		t.Errorf("%d objects listed and %d PUTs, want 3 and 0", listed, puts)
	}
}

func TestNullS3AnswersSTS(t *testing.T) {
	null, url := startNull(t, nullOptions{})
	client := sts.New(sts.Options{Region: region, Credentials: static(), BaseEndpoint: aws.String(url), RetryMaxAttempts: 1})

	who, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(who.Account); got != account {
		t.Errorf("account %q", got)
	}
	if got := aws.ToString(who.Arn); got != "arn:aws:iam::"+account+":user/bench" {
		t.Errorf("caller ARN %q", got)
	}

	out, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn:         aws.String("arn:aws:iam::" + account + ":role/drain"),
		RoleSessionName: aws.String("auditdrain-drn_1"),
		ExternalId:      aws.String("vercel-team:team_1"),
		Policy:          aws.String(`{"Version":"2012-10-17","Statement":[]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := aws.ToString(out.AssumedRoleUser.Arn), "arn:aws:sts::"+account+":assumed-role/drain/auditdrain-drn_1"; got != want {
		t.Errorf("assumed role %q, want %q", got, want)
	}
	c := out.Credentials
	if aws.ToString(c.AccessKeyId) != accessKeyID || aws.ToString(c.SecretAccessKey) != secretAccessKey || aws.ToString(c.SessionToken) != sessionToken {
		t.Errorf("credentials %+v are not the loops' ones", c)
	}
	if left := time.Until(aws.ToTime(c.Expiration)); left < 59*time.Minute || left > time.Hour {
		t.Errorf("credentials expire in %v, want about an hour", left)
	}
	if got := null.sts.Load(); got != 2 {
		t.Errorf("%d calls of STS counted, want 2", got)
	}
	if got := null.puts.Load(); got != 0 {
		t.Errorf("%d PUTs counted, want none", got)
	}
}

func TestNullS3Stats(t *testing.T) {
	null, url := startNull(t, nullOptions{})
	before := time.Now()
	put(t, url+"/b/k", "some body")
	var stats nullStats
	if err := getJSON(t.Context(), url+"/_stats", &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Puts != 1 || stats.PutBytes != 9 || stats.CPU <= 0 || stats.PeakRSS <= 0 {
		t.Errorf("stats: %+v", stats)
	}
	if last := time.Unix(0, stats.LastPut); last.Before(before) || last.After(time.Now()) {
		t.Errorf("last PUT at %v", last)
	}
	if got := null.puts.Load(); got != 1 {
		t.Errorf("/_stats counted as a PUT: %d", got)
	}
}

// What is kept of each PUT: its bucket's count, and if asked for the log.
func TestNullS3KeepsCountsAndLog(t *testing.T) {
	_, url := startNull(t, nullOptions{Log: true})
	before := time.Now().UnixNano()
	event := newEventMaker(1).event(teamID(3))
	delivery := deliveryOf(3)
	put(t, url+"/"+bucketOf(3)+"/"+delivery.ObjectKey(event, false), "x")
	put(t, url+"/"+bucketOf(0)+"/k", "x")
	put(t, url+"/"+bucketOf(maxBuckets)+"/k", "x")
	put(t, url+"/bucket/k", "x")

	var counts []int
	if err := getJSON(t.Context(), url+"/_buckets", &counts); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 0, 0, 1}, counts); diff != "" {
		t.Errorf("PUTs by bucket (-want +got):\n%s", diff)
	}
	var log []write
	if err := getJSON(t.Context(), url+"/_log", &log); err != nil {
		t.Fatal(err)
	}
	if len(log) != 4 || log[0].ID != event.ID {
		t.Fatalf("log %+v, want one of %s first", log, event.ID)
	}
	for _, w := range log {
		if w.Came < before || w.Done < w.Came || w.Done > time.Now().UnixNano() {
			t.Errorf("times of %+v", w)
		}
	}
}

func put(t *testing.T, url, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("PUT: %s", resp.Status)
	}
	return resp
}

// A connection as clients use it: what is sent, and what must come back.
func TestNullS3HTTP(t *testing.T) {
	const ok = "HTTP/1.1 200 OK"
	for _, tc := range []struct {
		name  string
		send  string
		want  []string // status lines, in order
		close bool     // the server ends the connection
	}{
		{name: "keep-alive and pipelining",
			send: strings.Repeat("PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 3),
			want: []string{ok, ok, ok}},
		{name: "header names in any case",
			send: "PUT /b/k HTTP/1.1\r\ncONTENT-lENGTH:3\r\n\r\nabcPUT /b/k HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
			want: []string{ok, ok}},
		{name: "connection: close",
			send: "PUT /b/k HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
			want: []string{ok}, close: true},
		{name: "expect: 100-continue",
			send: "PUT /b/k HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na",
			want: []string{"HTTP/1.1 100 Continue", ok}},
		{name: "no length, as S3 answers it",
			send: "PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
			want: []string{"HTTP/1.1 411 Length Required"}, close: true},
		{name: "what it does not do",
			send: "GET /b/k HTTP/1.1\r\n\r\nDELETE /b/k HTTP/1.1\r\n\r\nPUT /b/k HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
			want: []string{"HTTP/1.1 501 Not Implemented", "HTTP/1.1 501 Not Implemented", ok}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := net.Pipe()
			done := make(chan error, 1)
			go func() {
				defer server.Close()
				done <- new(nullS3).serveConn(server)
			}()
			go io.WriteString(client, tc.send)

			r := bufio.NewReader(client)
			seen := make(map[string]bool)
			for _, want := range tc.want {
				line, err := r.Peek(len(want) + 2)
				if err != nil || string(line) != want+"\r\n" {
					t.Fatalf("status line %q, %v; want %q", line, err, want)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode == http.StatusContinue {
					continue
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
					t.Errorf("Date: %v", err)
				}
				if id := resp.Header.Get("x-amz-request-id"); id == "" || seen[id] {
					t.Errorf("request id %q is empty or not new", id)
				} else {
					seen[id] = true
				}
				if resp.StatusCode == http.StatusOK && (resp.Header.Get("ETag") == "" || resp.Header.Get("x-amz-id-2") == "") {
					t.Errorf("headers of a PUT: %v", resp.Header)
				}
			}
			if !tc.close {
				client.Close()
			} else if n, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the end: %d bytes, %v", n, err)
			}
			if err := <-done; err != nil {
				t.Errorf("serveConn: %v", err)
			}
			client.Close()
		})
	}
}

func TestNullS3RefusesGarbage(t *testing.T) {
	for name, send := range map[string]string{
		"not HTTP":        "hello\r\n\r\n",
		"cut in the line": "PUT /b/k",
		"cut in headers":  "PUT /b/k HTTP/1.1\r\nHost: x\r\n",
		"cut in the body": "PUT /b/k HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
		"bad length":      "PUT /b/k HTTP/1.1\r\nContent-Length: -3\r\n\r\nab",
		"no such action":  "POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			go func() {
				io.WriteString(client, send)
				client.Close()
			}()
			defer server.Close()
			s := new(nullS3)
			if err := s.serveConn(server); err == nil {
				t.Error("no error")
			}
			if n := s.puts.Load(); n != 0 {
				t.Errorf("%d PUTs counted", n)
			}
		})
	}
}

// The child's whole life: URL, work, end with stdin.
func TestRunNullS3EndsWithStdin(t *testing.T) {
	stdinR, stdinW := io.Pipe()
	stdoutR, stdoutW := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- runNullS3(context.Background(), []string{"{}"}, stdinR, stdoutW) }()
	url, err := bufio.NewReader(stdoutR).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	put(t, url+"/b/k", "x")
	body, err := get(t.Context(), url+"/_stats")
	if err != nil || !json.Valid(body) {
		t.Errorf("stats: %s, %v", body, err)
	}
	stdinW.Close()
	if err := <-done; err != nil {
		t.Errorf("runNullS3: %v", err)
	}
}
