package awssim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// FaultRequest is what a fault function can tell requests apart by. It has
// been read from the request, but nothing of it has been verified yet.
type FaultRequest struct {
	Service string // "s3", "sts" or "kms"
	Op      string // "PutObject", "AssumeRole", …; "" if there is no such operation
	Bucket  string
	Key     string
	RoleARN string      // of an AssumeRole
	Header  http.Header // not to be modified
}

// Fault is what is to go wrong with one request. The zero Fault is nothing.
// Faults can be combined.
type Fault struct {
	// Delay holds the request up before anything else is done with it.
	Delay time.Duration
	// Skew is how far AWS's clock is ahead for this request.
	Skew time.Duration

	// Hang answers nothing until the client gives up, or Serve ends.
	Hang bool
	// Reset tears the connection down, with a TCP reset where there is no TLS.
	Reset bool
	// Close reads the whole request and closes the connection, in good order
	// but without an answer.
	Close bool
	// Err is the answer.
	Err *Error
	// AfterEffect lets Hang, Reset, Close and Err happen once the request has
	// been carried out: the object is there, but the client does not hear of it.
	AfterEffect bool

	// Garbage replaces the answer's body by something that is no XML.
	Garbage bool
	// Truncate ends the connection in the middle of the answer.
	Truncate bool
	// TruncateHead ends it in the middle of the answer's headers.
	TruncateHead bool
	// Trickle is the pause before each byte of the answer's body.
	Trickle time.Duration
}

// SetFault has f asked for every request what is to go wrong with it. Nil ends
// the trouble. It may be called while requests are served, and f from many
// goroutines.
func (s *Sim) SetFault(f func(FaultRequest) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *Sim) faultFor(c *call) Fault {
	s.mu.RLock()
	f := s.fault
	s.mu.RUnlock()
	if f == nil {
		return Fault{}
	}
	return f(c.info)
}

// pause waits, and reports whether the client still does.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// before does the faults that keep a request from being carried out, and
// reports whether that was all.
func (f Fault) before(w http.ResponseWriter, r *http.Request) bool {
	return !f.AfterEffect && f.cut(w, r)
}

// after does those that keep its outcome from being known.
func (f Fault) after(w http.ResponseWriter, r *http.Request) bool {
	return f.AfterEffect && f.cut(w, r)
}

func (f Fault) cut(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case f.Hang:
		// The server notices a client's going away only while it reads: an
		// unread body would keep that from it.
		drain(r)
		<-r.Context().Done()
		abort(w)
	case f.Reset:
		abort(w)
	case f.Close:
		drain(r)
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

func drain(r *http.Request) {
	io.Copy(io.Discard, r.Body) // a failure is the client's having gone
}

// abort ends the connection without an answer.
func abort(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // close with a reset, not an orderly end
	}
	conn.Close()
}

const garbage = "<html><body><center><h1>upstream sent too big header & went away"

func (f Fault) write(w http.ResponseWriter, r *http.Request, rep reply) {
	if f.TruncateHead {
		truncateHead(w, rep.status)
		return
	}
	body := rep.body
	if f.Garbage {
		body = []byte(garbage)
	}
	h := w.Header()
	for k, v := range rep.header {
		h[k] = v
	}
	bodiless := r.Method == http.MethodHead || rep.status == http.StatusNoContent
	if !bodiless {
		// So that an empty body can be cut short or held up as well. XML may
		// end with spaces, which S3 sends to keep connections alive.
		if f.Truncate || f.Trickle > 0 {
			body = append(slices.Clip(body), bytes.Repeat([]byte(" "), 64)...)
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if f.Truncate {
			body = body[:(len(body)-64)/2]
		}
	}
	w.WriteHeader(rep.status)
	switch {
	case bodiless:
	case f.Trickle > 0:
		trickle(w, r, body, f.Trickle)
	default:
		w.Write(body) // a failure is the client's having gone
	}
	if f.Truncate {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// truncateHead begins an answer and ends the connection within a header.
func truncateHead(w http.ResponseWriter, status int) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 has no such thing as half a head
	}
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nx-amz-id-2: ", status, http.StatusText(status)) // a failure is the client's having gone
	conn.Close()
}

// trickle writes the body a byte at a time until the client has gone.
func trickle(w http.ResponseWriter, r *http.Request, body []byte, d time.Duration) {
	rc := http.NewResponseController(w)
	rc.Flush()
	for i := range body {
		if !pause(r.Context(), d) {
			panic(http.ErrAbortHandler)
		}
		w.Write(body[i : i+1])
		rc.Flush()
	}
}

// Call is one request that was answered, or carried out but not answered.
type Call struct {
	FaultRequest
	Time      time.Time // AWS's clock
	Caller    string    // ARN; "" if the request was not authenticated
	Region    string    // that the request was signed for, likewise
	Status    int
	Code      string // of the error, "" for success
	RequestID string
}

// Observe has f told of every call, in the goroutine that serves it.
func (s *Sim) Observe(f func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe = append(slices.Clip(s.observe), f)
}

// Calls collects calls: s.Observe(calls.Add). The zero Calls is ready to use,
// and safe for concurrent use.
type Calls struct {
	mu   sync.Mutex
	list []Call
}

// Add appends c.
func (cs *Calls) Add(c Call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.Header = c.Header.Clone()
	cs.list = append(cs.list, c)
}

// All returns the calls of the operation, or all calls if op is "".
func (cs *Calls) All(op string) []Call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var out []Call
	for _, c := range cs.list {
		if op == "" || c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

func (s *Sim) record(c *call, rep reply) {
	s.mu.RLock()
	observers := s.observe
	s.mu.RUnlock()
	call := Call{
		FaultRequest: c.info,
		Time:         c.now,
		Caller:       c.who.principal.ARN,
		Region:       c.scope.region,
		Status:       rep.status,
		Code:         rep.code,
		RequestID:    rep.requestID,
	}
	for _, f := range observers {
		f(call)
	}
	s.log.Debug("awssim", "service", call.Service, "op", call.Op, "bucket", call.Bucket, "key", call.Key,
		"caller", call.Caller, "status", call.Status, "code", call.Code)
}
