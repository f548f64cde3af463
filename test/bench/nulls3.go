package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/auditdrain/auditdrain/internal/manifest"
)

// nullS3 answers S3's PutObject and STS's AssumeRole and GetCallerIdentity
// with success, unless it is told to be sick in some buckets. It checks
// nothing, and keeps nothing but counters and, if asked to, a log.
//
// It shares the machine with the client that is measured, so what it spends
// is taken from the limit. Its HTTP/1.1 is therefore its own, and only as
// much as clients of S3 use: keep-alive, pipelining, Content-Length bodies
// and Expect: 100-continue. It costs about a third of net/http's server.
type nullS3 struct {
	nullOptions
	puts     atomic.Int64 // that were answered with success, to buckets that are well
	sickPuts atomic.Int64 // those to buckets that are sick
	listed   atomic.Int64 // objects that manifests list
	putBytes atomic.Int64
	lastPut  atomic.Int64 // Unix ns
	sts      atomic.Int64
	requests atomic.Uint64 // all, for request ids
	buckets  [maxBuckets]atomic.Int32

	mu       sync.Mutex
	writes   []write               // the log
	kept     map[net.Conn]struct{} // of clients that are to get no answer, or not yet
	released bool                  // there are to be no more of them
}

// maxBuckets is how many buckets are counted, those of teams 0 and up.
const maxBuckets = 10_000

// nullOptions are what the null S3 is started with.
type nullOptions struct {
	Log  bool // keep when each PUT came and was answered
	Sick []sickness
}

// write is one PUT in the null S3's log, with times in Unix ns.
type write struct {
	ID         string // of the event
	Came, Done int64  // its head had been read, its answer was written
}

// nullStats is the answer to GET /_stats.
type nullStats struct {
	Puts     int64 // to buckets that are well, as are the next two
	PutBytes int64
	LastPut  int64 // Unix ns of the newest PUT's answer
	SickPuts int64
	Listed   int64 // objects that manifests list; manifests are no PUTs
	STS      int64
	CPU      time.Duration // of the whole process
	PeakRSS  int64         // bytes
}

func (s nullStats) usage() usage { return usage{cpu: s.CPU, peakRSS: s.PeakRSS} }

func (s *nullS3) stats() (nullStats, error) {
	u, err := usageOf(os.Getpid())
	return nullStats{
		Puts: s.puts.Load(), PutBytes: s.putBytes.Load(), LastPut: s.lastPut.Load(),
		SickPuts: s.sickPuts.Load(), Listed: s.listed.Load(), STS: s.sts.Load(),
		CPU: u.cpu, PeakRSS: u.peakRSS,
	}, err
}

// runNullS3 listens on a free port of loopback, prints the URL, and serves
// until stdin ends, so that it never outlives the bench.
func runNullS3(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	s := new(nullS3)
	if err := argument(args, &s.nullOptions); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, stdin)
		cancel()
	}()
	if _, err := fmt.Fprintf(stdout, "http://%s\n", ln.Addr()); err != nil {
		return err
	}
	return s.serve(ctx, ln)
}

// serve answers connections until ctx ends. It closes ln, and returns when
// all connections are closed.
func (s *nullS3) serve(ctx context.Context, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			if err := s.serveConn(c); err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "null S3: %v\n", err)
			}
		})
	}
}

// request is the part of a request's head that matters here.
type request struct {
	method, path   string
	contentLength  int64
	hasLength      bool
	chunked        bool
	expectContinue bool
	close          bool
}

// nullConn is one client connection, with its buffers.
type nullConn struct {
	*nullS3
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer

	out     []byte // the head being written
	date    []byte // the Date header for second dateSec
	dateSec int64
}

// serveConn answers requests until the client closes the connection, which is
// not an error between two requests.
func (s *nullS3) serveConn(conn net.Conn) error {
	c := &nullConn{nullS3: s, conn: conn, r: bufio.NewReaderSize(conn, 8<<10), w: bufio.NewWriterSize(conn, 2<<10)}
	for {
		req, err := c.readHead()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = c.answer(&req)
		}
		if err != nil {
			return err
		}
		// Flush when the client waits; a pipelined request is answered first.
		if c.r.Buffered() == 0 || req.close {
			if err := c.w.Flush(); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		}
		if req.close {
			return nil
		}
	}
}

// readHead reads request line and headers. It returns io.EOF, and nothing
// else, when the connection ends between two requests, in whatever way.
func (c *nullConn) readHead() (request, error) {
	var req request
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		if len(line) == 0 {
			return req, io.EOF
		}
		return req, fmt.Errorf("read request line: %w", err)
	}
	method, rest, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || string(version) != "HTTP/1.1" {
		return req, fmt.Errorf("not a request line of HTTP/1.1: %q", line)
	}
	req.method, req.path = string(method), string(target)
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return req, fmt.Errorf("read headers of %s %s: %w", req.method, req.path, err)
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return req, nil // the empty line
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			req.hasLength = true
			if req.contentLength, err = strconv.ParseInt(string(value), 10, 32); err != nil || req.contentLength < 0 {
				return req, fmt.Errorf("Content-Length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			req.chunked = true
		case bytes.EqualFold(name, []byte("Expect")):
			req.expectContinue = true
		case bytes.EqualFold(name, []byte("Connection")):
			req.close = bytes.EqualFold(value, []byte("close"))
		}
	}
}

// answer reads the body and writes the response.
func (c *nullConn) answer(req *request) error {
	if req.chunked || (!req.hasLength && (req.method == "PUT" || req.method == "POST")) {
		// As S3 does. What follows of the body cannot be told from the next
		// request, so the connection ends here.
		req.close = true
		return c.respondError("411 Length Required", "MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	if req.expectContinue && req.contentLength > 0 {
		if _, err := c.w.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
		if err := c.w.Flush(); err != nil {
			return err
		}
	}
	path, _, _ := strings.Cut(req.path, "?")
	switch {
	case req.method == "PUT":
		return c.answerPut(req)
	case req.method == "POST" && path == "/":
		return c.answerSTS(req)
	}
	if _, err := c.r.Discard(int(req.contentLength)); err != nil {
		return fmt.Errorf("read body of %s %s: %w", req.method, req.path, err)
	}
	if req.method == "GET" {
		switch path {
		case "/_stats":
			stats, err := c.stats()
			if err != nil {
				return err
			}
			return c.respondJSON(stats)
		case "/_buckets":
			return c.respondJSON(c.bucketCounts())
		case "/_release":
			c.release()
			return c.respondJSON("released")
		case "/_log":
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.respondJSON(c.writes)
		}
	}
	if req.method == "HEAD" {
		// An answer to HEAD has no body, whatever its status.
		return c.respond("501 Not Implemented", time.Now(), "", nil)
	}
	return c.respondError("501 Not Implemented", "NotImplemented", "The null S3 does not do this.")
}

func (c *nullConn) answerPut(req *request) error {
	var came time.Time
	if c.Log {
		came = time.Now()
	}
	if _, key, ok := strings.Cut(req.path, "/"+manifest.Root); ok {
		return c.takeManifest(req, manifest.Root+key)
	}
	if _, err := c.r.Discard(int(req.contentLength)); err != nil {
		return fmt.Errorf("read body of PUT %s: %w", req.path, err)
	}
	bucket, numbered := bucketNumber(req.path)
	if sick := c.sicknessOf(bucket); numbered && sick != "" {
		return c.fallSick(sick, req)
	}
	if numbered {
		c.buckets[bucket].Add(1)
	}
	c.puts.Add(1)
	c.putBytes.Add(req.contentLength)
	now := time.Now()
	c.lastPut.Store(now.UnixNano())
	if c.Log {
		c.mu.Lock()
		c.writes = append(c.writes, write{ID: eventOf(req.path), Came: came.UnixNano(), Done: now.UnixNano()})
		c.mu.Unlock()
	}
	return c.respond("200 OK", now, etagHeader, nil)
}

// takeManifest counts what a manifest says that there is. Its parts and signature
// say nothing that is counted.
func (c *nullConn) takeManifest(req *request, key string) error {
	body := make([]byte, min(req.contentLength, manifest.MaxDocument))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return fmt.Errorf("read body of PUT %s: %w", req.path, err)
	}
	if _, _, _, kind := manifest.ParseKey(key); kind == manifest.Document {
		m, err := manifest.Parse(body)
		if err != nil {
			return fmt.Errorf("PUT %s: %w", req.path, err)
		}
		c.listed.Add(int64(m.Count))
	}
	return c.respond("200 OK", time.Now(), etagHeader, nil)
}

// bucketNumber returns the team whose bucket a path is in.
func bucketNumber(path string) (n int, ok bool) {
	rest, ok := strings.CutPrefix(path, "/"+bucketPrefix)
	if !ok {
		return 0, false
	}
	name, _, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0 && n < maxBuckets
}

// eventOf returns the ID of the event whose object a path names.
func eventOf(path string) string {
	_, id, _ := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], "Z_")
	id, _, _ = strings.Cut(id, ".")
	return id
}

// bucketCounts are the PUTs of each team's bucket, up to the last that has any.
func (s *nullS3) bucketCounts() []int {
	var counts []int
	for i := range s.buckets {
		if n := s.buckets[i].Load(); n > 0 {
			counts = append(append(counts, make([]int, i-len(counts))...), int(n))
		}
	}
	return counts
}

const etagHeader = "ETag: \"9b2cf535f27731c974343645a3985328\"\r\n"

// maxSTSBody bounds what is read into memory; session policies have 2,048
// characters at most.
const maxSTSBody = 64 << 10

func (c *nullConn) answerSTS(req *request) error {
	if req.contentLength > maxSTSBody {
		return fmt.Errorf("body of %d bytes for STS", req.contentLength)
	}
	body := make([]byte, req.contentLength)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return fmt.Errorf("read body for STS: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return fmt.Errorf("body for STS: %w", err)
	}
	now := time.Now()
	action := form.Get("Action")
	var result string
	switch action {
	case "AssumeRole":
		_, role, _ := strings.Cut(form.Get("RoleArn"), ":role/")
		session := form.Get("RoleSessionName")
		result = fmt.Sprintf(`<AssumedRoleUser><AssumedRoleId>AROANULLS30000000000:%s</AssumedRoleId><Arn>arn:aws:sts::%s:assumed-role/%s/%s</Arn></AssumedRoleUser>`+
			`<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>`,
			session, account, role, session, accessKeyID, secretAccessKey, sessionToken, now.Add(time.Hour).UTC().Format(time.RFC3339))
	case "GetCallerIdentity":
		result = fmt.Sprintf(`<Arn>arn:aws:iam::%s:user/bench</Arn><UserId>AIDANULLS30000000000</UserId><Account>%s</Account>`, account, account)
	default:
		return c.respondError("501 Not Implemented", "NotImplemented", "The null S3 does not do this.")
	}
	c.sts.Add(1)
	answer := fmt.Sprintf(`<%sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%sResult>%s</%sResult>`+
		`<ResponseMetadata><RequestId>%016X</RequestId></ResponseMetadata></%sResponse>`,
		action, action, result, action, c.requests.Load(), action)
	return c.respond("200 OK", now, "Content-Type: text/xml\r\n", []byte(answer))
}

func (c *nullConn) respondJSON(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.respond("200 OK", time.Now(), "Content-Type: application/json\r\n", body)
}

func (c *nullConn) respondError(status, code, message string) error {
	body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
	return c.respond(status, time.Now(), "Content-Type: application/xml\r\n", []byte(body))
}

// respond writes one response. headers are whole lines, each with its CRLF.
func (c *nullConn) respond(status string, now time.Time, headers string, body []byte) error {
	if sec := now.Unix(); sec != c.dateSec {
		c.dateSec = sec
		c.date = now.UTC().AppendFormat(append(c.date[:0], "Date: "...), http.TimeFormat)
	}
	b := append(c.out[:0], "HTTP/1.1 "...)
	b = append(b, status...)
	b = append(b, "\r\nServer: null S3\r\n"...)
	b = append(b, c.date...)
	b = append(b, "\r\nx-amz-id-2: bnVsbCBTMyBhbnN3ZXJzIGV2ZXJ5dGhpbmcgd2l0aCBzdWNjZXNzCg==\r\nx-amz-request-id: NULL"...)
	b = appendHex12(b, c.requests.Add(1))
	b = append(b, "\r\n"...)
	b = append(b, headers...)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	c.out = b
	if _, err := c.w.Write(b); err != nil {
		return err
	}
	_, err := c.w.Write(body)
	return err
}

// appendHex12 appends the low 48 bits of n as 12 digits.
func appendHex12(b []byte, n uint64) []byte {
	for shift := 44; shift >= 0; shift -= 4 {
		b = append(b, "0123456789ABCDEF"[n>>shift&15])
	}
	return b
}
