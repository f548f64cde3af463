package awssim

import (
	"context"
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
	Service string // "s3" or "sts"
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
	// Err is the answer.
	Err *Error
	// AfterEffect lets Hang, Reset and Err happen once the request has been
	// carried out: the object is there, but the client does not hear of it.
	AfterEffect bool

	// Garbage replaces the answer's body by something that is no XML.
	Garbage bool
	// Truncate ends the connection in the middle of the answer.
	Truncate bool
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
	body := rep.body
	if f.Garbage {
		body = []byte(garbage)
	}
	h := w.Header()
	for k, v := range rep.header {
		h[k] = v
	}
	if r.Method != http.MethodHead && rep.status != http.StatusNoContent {
		n := len(body)
		if f.Truncate {
			n += 64 // so that an empty body can be cut short as well
			body = body[:len(body)/2]
		}
		h.Set("Content-Length", strconv.Itoa(n))
	}
	w.WriteHeader(rep.status)
	if r.Method != http.MethodHead {
		w.Write(body) // a failure is the client's having gone
	}
	if f.Truncate {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
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
