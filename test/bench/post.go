package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// postOptions are what the poster is started with. Its events go to the teams
// First to First+Teams-1 in turn.
type postOptions struct {
	Addrs    []string // of the service, or of its nodes, over which the callers are spread
	Token    string
	First    int
	Teams    int
	Warm     int // events of each team to warm up with
	Events   int
	Batch    int // events of one call
	Callers  int
	Rate     float64 // events per second on a fixed schedule; 0: as fast as the answers come
	Seed     uint64
	Log      string        // file for when each event was sent and acknowledged, or ""
	Patience time.Duration // with one answer
}

// posting is one event in the poster's log, with times in Unix ns.
type posting struct {
	ID          string
	Sent, Acked int64
}

// poster stands for the platform whose events are drained. It has one
// connection and one goroutine for each caller, and its HTTP is its own: the
// service shares the machine with it, and net/http's client would cost as much
// as the service spends on a small call.
type poster struct {
	postOptions
	callers []*caller
	refused atomic.Int64
}

// runPost posts a few events of each team to warm up sessions and
// connections, and then the ones that count.
func runPost(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	var p poster
	if err := argument(args, &p.postOptions); err != nil {
		return err
	}
	if err := p.dial(ctx); err != nil {
		return err
	}
	defer p.close()
	return produce(stdin, stdout,
		func() (producerReport, error) { return p.post(ctx, p.Teams*p.Warm, 1, 0, "") },
		func() (producerReport, error) { return p.post(ctx, p.Events, p.Batch, p.Rate, p.Log) })
}

func (p *poster) dial(ctx context.Context) error {
	events := newEventMaker(p.Seed)
	for i := range p.Callers {
		c := &caller{poster: p, addr: p.Addrs[i%len(p.Addrs)], events: events.fork(uint64(i))}
		if err := c.dial(ctx); err != nil {
			p.close()
			return err
		}
		p.callers = append(p.callers, c)
	}
	return nil
}

func (p *poster) close() {
	for _, c := range p.callers {
		c.conn.Close()
	}
}

// post posts events in batches, for one team after the other, and returns when
// all are acknowledged.
func (p *poster) post(ctx context.Context, events, batch int, rate float64, log string) (producerReport, error) {
	var next, acked atomic.Int64
	report := producerReport{Start: time.Now()}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range p.callers {
		c.log = nil
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i*batch >= events {
					return nil
				}
				if rate > 0 {
					if err := sleep(ctx, time.Until(due(report.Start, i*batch, rate))); err != nil {
						return err
					}
				}
				n := min(batch, events-i*batch)
				if err := c.call(ctx, teamID(p.First+i%p.Teams), n, log != ""); err != nil {
					return err
				}
				acked.Add(int64(n))
			}
		})
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	report.End = time.Now()
	report.Events, report.Refused = int(acked.Load()), int(p.refused.Load())
	if log == "" {
		return report, nil
	}
	var all []posting
	for _, c := range p.callers {
		all = append(all, c.log...)
	}
	return report, writeLog(log, all)
}

// caller makes one call after the other.
type caller struct {
	*poster
	addr   string
	conn   net.Conn
	r      *bufio.Reader
	events *eventMaker
	head   []byte // of the request
	body   []byte
	log    []posting

	refusal string // the last one
}

func (c *caller) dial(ctx context.Context) (err error) {
	var d net.Dialer
	if c.conn, err = d.DialContext(ctx, "tcp", c.addr); err == nil {
		c.r = bufio.NewReader(c.conn)
	}
	return err
}

// call posts a batch of new events until the service takes it: as a producer
// should, it repeats what was refused for now.
func (c *caller) call(ctx context.Context, team string, events int, log bool) error {
	now := time.Now()
	c.body = c.body[:0]
	for range events {
		var id []byte
		c.body, id = c.events.appendEvent(c.body, team, now)
		c.body = append(c.body, '\n')
		if log {
			c.log = append(c.log, posting{ID: string(id), Sent: now.UnixNano()})
		}
	}
	c.head = append(c.head[:0], "POST /v1/events?teamId="...)
	c.head = append(append(c.head, team...), " HTTP/1.1\r\nHost: "...)
	c.head = append(append(c.head, c.addr...), "\r\nAuthorization: Bearer "...)
	c.head = append(append(c.head, c.Token...), "\r\nContent-Type: application/x-ndjson\r\nContent-Length: "...)
	c.head = append(strconv.AppendInt(c.head, int64(len(c.body)), 10), "\r\n\r\n"...)
	for {
		if time.Since(now) > c.Patience {
			return fmt.Errorf("POST /v1/events: put off for %s: %s", c.Patience, c.refusal)
		}
		again, err := c.try(ctx, events)
		if err != nil {
			return fmt.Errorf("POST /v1/events: %w", err)
		}
		if again == 0 {
			break
		}
		c.refused.Add(1)
		if err := sleep(ctx, again); err != nil {
			return err
		}
	}
	if log {
		acked := time.Now().UnixNano()
		for i := len(c.log) - events; i < len(c.log); i++ {
			c.log[i].Acked = acked
		}
	}
	return nil
}

// try sends the request. If it was refused for now, it returns after how long
// to send it again.
func (c *caller) try(ctx context.Context, events int) (again time.Duration, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.Patience)); err != nil {
		return 0, err
	}
	var a answer
	request := net.Buffers{c.head, c.body}
	if _, err = request.WriteTo(c.conn); err == nil {
		a, err = readAnswer(c.r)
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		// A service that refuses a large body does not read it to its end. Its
		// answer may be lost with the connection.
		c.conn.Close()
		c.refusal = err.Error()
		return time.Second, c.dial(ctx)
	}
	if err != nil {
		return 0, err
	}
	if a.close {
		c.conn.Close()
		if err := c.dial(ctx); err != nil {
			return 0, err
		}
	}
	switch {
	case (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests) && a.retryAfter > 0:
		c.refusal = a.String()
		return a.retryAfter, nil
	case a.status != http.StatusOK:
		return 0, errors.New(a.String())
	}
	want := strconv.AppendInt([]byte(`{"accepted":`), int64(events), 10)
	if want = append(want, `,"duplicates":0}`...); !bytes.Equal(bytes.TrimSpace(a.body), want) {
		return 0, fmt.Errorf("%d new events: %s", events, bytes.TrimSpace(a.body))
	}
	return 0, nil
}

// answer is the part of an answer that matters here.
type answer struct {
	status     int
	retryAfter time.Duration
	close      bool // the connection
	body       []byte
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s: %s", a.status, http.StatusText(a.status), bytes.TrimSpace(a.body))
}

// readAnswer reads an answer. All that the poster can get have a length.
func readAnswer(r *bufio.Reader) (answer, error) {
	var a answer
	line, err := r.ReadSlice('\n')
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	status, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	if a.status, err = strconv.Atoi(string(status)); err != nil || string(version) != "HTTP/1.1" {
		return a, fmt.Errorf("not a status line of HTTP/1.1: %q", line)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return a, fmt.Errorf("read the answer's headers: %w", err)
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			break // the empty line
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, fmt.Errorf("Content-Length %q", value)
			}
		case bytes.EqualFold(name, []byte("Connection")):
			a.close = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Retry-After")):
			seconds, err := strconv.Atoi(string(value))
			if err != nil {
				return a, fmt.Errorf("Retry-After %q", value)
			}
			a.retryAfter = time.Duration(seconds) * time.Second
		}
	}
	if length < 0 {
		return a, fmt.Errorf("an answer without Content-Length (status %d)", a.status)
	}
	a.body = make([]byte, length)
	if _, err := io.ReadFull(r, a.body); err != nil {
		return a, fmt.Errorf("read the answer's body: %w", err)
	}
	return a, nil
}

// due is when number i is due on a schedule.
func due(start time.Time, i int, rate float64) time.Time {
	return start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
}

// sleep waits for d, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// writeLog writes what readLog reads.
func writeLog[T any](path string, entries []T) error {
	b, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func readLog[T any](path string) (entries []T, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return entries, json.Unmarshal(b, &entries)
}
