package awssim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options configure a Sim.
type Options struct {
	// Dir holds the objects, as Dir/<bucket>/<key>. It is created if missing.
	// Only one Sim at a time may use it. Creating files is what costs most: on
	// a tmpfs it takes two to three times as many objects a second as on a disk.
	Dir string
	// Clock is AWS's clock, time.Now if nil.
	Clock func() time.Time
	// Logger gets one debug line a call. Nil discards them.
	Logger *slog.Logger
}

// Sim is one simulated AWS. All its methods are safe for concurrent use, and
// changes made by them are seen by the next request.
type Sim struct {
	clock   func() time.Time
	log     *slog.Logger
	objects *objectStore

	mu       sync.RWMutex
	accounts map[string]Account // by ID
	users    map[string]User    // by access key ID
	roles    map[string]Role    // by ARN
	keys     map[string]Key     // by ARN
	buckets  map[string]Bucket  // by name
	sessions map[string]session // by access key ID
	swept    time.Time          // when long-expired sessions were last forgotten
	fault    func(FaultRequest) Fault
	observe  []func(Call)
}

// New returns a Sim without accounts, users or buckets. It starts nothing.
func New(opts Options) (*Sim, error) {
	if opts.Dir == "" {
		return nil, errors.New("awssim: Options.Dir is missing")
	}
	objects, err := openObjectStore(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("awssim: %w", err)
	}
	s := &Sim{
		clock:    opts.Clock,
		log:      cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		objects:  objects,
		accounts: map[string]Account{},
		users:    map[string]User{},
		roles:    map[string]Role{},
		keys:     map[string]Key{},
		buckets:  map[string]Bucket{},
		sessions: map[string]session{},
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s, nil
}

// shutdownGrace is how long Serve waits for answers that are being written.
const shutdownGrace = 5 * time.Second

// Serve answers requests on l until ctx ends, then closes l, ends hanging
// requests, and returns nil once all are done. It refuses a listener that is
// not on loopback.
func (s *Sim) Serve(ctx context.Context, l net.Listener) error {
	if !loopback(l.Addr()) {
		l.Close()
		return fmt.Errorf("awssim: %s is not a loopback address", l.Addr())
	}
	// Not derived from ctx: requests in flight when it ends may finish.
	base, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	srv := &http.Server{
		Handler:           s.Handler(),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("awssim: serve: %w", err)
	case <-ctx.Done():
	}
	hangUp()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	<-served
	return nil
}

// loopback reports whether a is an address that only this machine can reach.
func loopback(a net.Addr) bool {
	if a.Network() == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Handler returns the handler for all services, for callers with a server of
// their own, such as one with TLS. Requests that arrive on any address but
// loopback get 403.
func (s *Sim) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

func (s *Sim) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && !loopback(a) {
		http.Error(w, "awssim serves loopback only", http.StatusForbidden)
		return
	}
	c := newCall(s, r)
	fault := s.faultFor(c)
	c.now = c.now.Add(fault.Skew)
	if !pause(r.Context(), fault.Delay) {
		abort(w) // to return without an answer would be a 200
		return
	}
	if fault.before(w, r) {
		return
	}
	var rep reply
	if fault.Err != nil && !fault.AfterEffect {
		rep = c.refuse(fault.Err)
	} else {
		var err error
		if rep, err = c.do(); err != nil {
			rep = c.refuse(s.asError(c, err))
		}
		if fault.Err != nil {
			rep = c.refuse(fault.Err)
		}
	}
	s.record(c, rep)
	if fault.after(w, r) {
		return
	}
	// net/http closes a connection whose request it has not read, and the
	// client might then see a reset and not the answer.
	drain(r)
	fault.write(w, r, rep)
}

// asError returns the *Error in err's chain. Anything else is our own trouble,
// such as a full disk, and is answered as AWS answers its own.
func (s *Sim) asError(c *call, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	s.log.Error("awssim: "+c.info.Op, "error", err)
	return InternalError()
}

// call is one request on its way to an answer.
type call struct {
	sim  *Sim
	req  *http.Request
	now  time.Time
	info FaultRequest

	s3    s3Target // for S3
	form  formRead // for STS and KMS
	who   caller   // set once the request is authenticated
	scope scope    // of the credential, likewise
}

func newCall(s *Sim, r *http.Request) *call {
	c := &call{sim: s, req: r, now: s.clock()}
	c.info.Header = r.Header
	if op, ok := kmsOperation(r); ok {
		c.info.Service, c.info.Op = "kms", op
		c.form.body, c.form.err = readBody(r, maxForm)
	} else if isSTS(r) {
		c.info.Service = "sts"
		c.form = readForm(r)
		c.info.Op = c.form.values.Get("Action")
		c.info.RoleARN = c.form.values.Get("RoleArn")
	} else {
		c.info.Service = "s3"
		c.s3 = s.parseS3(r)
		c.info.Op, c.info.Bucket, c.info.Key = c.s3.op, c.s3.bucket, c.s3.key
	}
	return c
}

func (c *call) do() (reply, error) {
	switch c.info.Service {
	case "sts":
		return c.doSTS()
	case "kms":
		return c.doKMS()
	}
	return c.doS3()
}

// reply is an answer before faults have been at it.
type reply struct {
	status    int
	code      string // of the error, for observers
	requestID string
	header    http.Header
	body      []byte
}

// isSTS tells STS's requests from S3's, as they arrive on the same port: STS
// has its own host names and takes forms.
func isSTS(r *http.Request) bool {
	return strings.HasPrefix(r.Host, "sts.") && !s3HostRE.MatchString(hostname(r)) ||
		r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") ||
		r.URL.Query().Has("Action")
}

// hostname is the request's host without a port.
func hostname(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// errTooLarge is returned by readBody for a body beyond its limit.
var errTooLarge = errors.New("body too large")

func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	var body []byte
	var err error
	if r.ContentLength >= 0 {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
	}
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, errTooLarge
	}
	return body, nil
}
