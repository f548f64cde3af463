package awssim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

func TestFaults(t *testing.T) {
	type outcome struct {
		status  int // 0: no answer
		written bool
	}
	for _, tt := range []struct {
		name  string
		fault awssim.Fault
		want  outcome
	}{
		{"none", awssim.Fault{}, outcome{200, true}},
		{"reset before", awssim.Fault{Reset: true}, outcome{0, false}},
		{"reset after", awssim.Fault{Reset: true, AfterEffect: true}, outcome{0, true}},
		{"hang before", awssim.Fault{Hang: true}, outcome{0, false}},
		{"hang after", awssim.Fault{Hang: true, AfterEffect: true}, outcome{0, true}},
		{"error before", awssim.Fault{Err: awssim.InternalError()}, outcome{500, false}},
		{"error after", awssim.Fault{Err: awssim.InternalError(), AfterEffect: true}, outcome{500, true}},
		{"latency", awssim.Fault{Delay: time.Millisecond}, outcome{200, true}},
		{"expired", awssim.Fault{Err: awssim.ExpiredSession("t")}, outcome{400, false}},
		{"close before", awssim.Fault{Close: true}, outcome{0, false}},
		{"close after", awssim.Fault{Close: true, AfterEffect: true}, outcome{0, true}},
		{"truncated", awssim.Fault{Truncate: true}, outcome{200, true}},
		{"truncated head", awssim.Fault{TruncateHead: true}, outcome{0, true}},
		{"trickle", awssim.Fault{Trickle: time.Microsecond}, outcome{200, true}},
		{"garbage", awssim.Fault{Garbage: true}, outcome{200, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.SetFault(func(r awssim.FaultRequest) awssim.Fault {
				if r.Service == "s3" && r.Op == "PutObject" && r.Bucket == bucketName && r.Key == objectKey {
					return tt.fault
				}
				return awssim.Fault{}
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			seen := make(chan struct{}, 1)
			w.Observe(func(c awssim.Call) { seen <- struct{}{} })
			creds := w.mustAssume()
			<-seen
			if tt.fault.Hang {
				if tt.fault.AfterEffect {
					go func() { <-seen; cancel() }()
				} else {
					w.SetFault(func(awssim.FaultRequest) awssim.Fault { go cancel(); return tt.fault })
				}
			}
			var raw rawStatus
			_, err := w.s3(creds, func(o *s3.Options) { o.HTTPClient = &raw }).PutObject(ctx, &s3.PutObjectInput{
				Bucket: aws.String(bucketName), Key: aws.String(objectKey), Body: bytes.NewReader([]byte(objectBody)),
			})
			_, written, oerr := w.Object(bucketName, objectKey)
			must(t, oerr)
			if got := (outcome{raw.status, written}); got != tt.want {
				t.Errorf("got %+v, want %+v (%v)", got, tt.want, err)
			}
		})
	}
}

// rawStatus is an HTTP client that keeps the last status.
type rawStatus struct{ status int }

func (c *rawStatus) Do(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		c.status = res.StatusCode
	}
	return res, err
}

func TestFaultyBodies(t *testing.T) {
	w := newWorld(t)
	a := w.newAssume(nil)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Garbage: true} })
	if _, err := w.assume(); err == nil {
		t.Error("the SDK has read garbage")
	}
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Truncate: true} })
	res := a.send()
	if _, err := io.ReadAll(res.Body); res.StatusCode != 200 || err != io.ErrUnexpectedEOF {
		t.Errorf("%s, then %v", res.Status, err)
	}
}

// Half a head is there to be read, and then the connection's end.
func TestTruncatedHead(t *testing.T) {
	w := newWorld(t)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{TruncateHead: true} })
	if got, err := raw(t, w); err != nil || got != "HTTP/1.1 403 Forbidden\r\nx-amz-id-2: " {
		t.Errorf("answered %q, %v", got, err)
	}
}

// Unlike a reset, a close is the connection's orderly end.
func TestCloseIsNoReset(t *testing.T) {
	w := newWorld(t)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Close: true} })
	if got, err := raw(t, w); err != nil || got != "" {
		t.Errorf("answered %q, %v", got, err)
	}
}

// An answer that trickles is whole for who waits, and its head is there at
// once.
func TestTrickle(t *testing.T) {
	w := newWorld(t)
	a := w.newAssume(nil)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Trickle: time.Microsecond} })
	if body := readAll(t, a.send().Body); !strings.HasSuffix(strings.TrimRight(body, " "), "</AssumeRoleResponse>\n") {
		t.Errorf("read %q", body)
	}
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Trickle: time.Hour} })
	res := a.send() // returns, though no byte of the body will ever come
	if err := res.Body.Close(); res.StatusCode != 200 || err != nil {
		t.Errorf("%s, %v", res.Status, err)
	}
}

// raw sends a request that S3 refuses and returns all that comes back.
func raw(t *testing.T, w *world) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /"+bucketName+"/k HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	got, err := io.ReadAll(conn)
	return string(got), err
}

func TestServeRefusesPublicAddresses(t *testing.T) {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	must(t, err)

	public, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	if err := sim.Serve(t.Context(), public); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("serves %s: %v", public.Addr(), err)
	}
}

// A handler on a public address answers nobody.
func TestHandlerRefusesPublicAddresses(t *testing.T) {
	w := newWorld(t)
	req := httptest.NewRequest("GET", "/", nil)
	req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}))
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, req)
	if rec.Code != 403 || len(w.calls.All("")) != 0 {
		t.Errorf("answered %d", rec.Code)
	}
}

func TestConfigurationIsValidated(t *testing.T) {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	must(t, err)
	for name, err := range map[string]error{
		"account":        sim.AddAccount(awssim.Account{ID: "1"}),
		"role":           sim.AddRole(awssim.Role{ARN: "arn:aws:iam::111122223333:user/x"}),
		"user":           sim.AddUser(awssim.User{ARN: "arn:aws:iam::111122223333:user/x"}),
		"key":            sim.AddKey(awssim.Key{ARN: "arn:aws:kms:eu-west-1:111122223333:alias/x"}),
		"bucket name":    sim.AddBucket(awssim.Bucket{Name: "../x", Account: customerAccount}),
		"bucket account": sim.AddBucket(awssim.Bucket{Name: "abc"}),
		"bucket default": sim.AddBucket(awssim.Bucket{Name: "abc", Account: customerAccount, Encryption: awssim.Encryption{Algorithm: "AES256", KMSKeyARN: keyARN}}),
		"bucket region":  sim.AddBucket(awssim.Bucket{Name: "abc", Account: customerAccount, Region: "mars"}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := awssim.New(awssim.Options{}); err == nil {
		t.Error("no directory: accepted")
	}
	if sim.UpdateRole(roleARN, func(*awssim.Role) {}) {
		t.Error("updated a role that is not there")
	}
}

// A reset is one, not an orderly end of the connection.
func TestResetIsAReset(t *testing.T) {
	w := newWorld(t)
	w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Reset: true} })
	if _, err := raw(t, w); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

// Whoever waits in vain when the Sim ends gets no answer, and above all no 200.
func TestServeEndsWhatIsHeldUp(t *testing.T) {
	for name, fault := range map[string]awssim.Fault{"hang": {Hang: true}, "latency": {Delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			leaktest.Check(t)
			sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
			must(t, err)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			held := make(chan struct{})
			sim.SetFault(func(awssim.FaultRequest) awssim.Fault { close(held); return fault })
			served := make(chan error, 1)
			go func() { served <- sim.Serve(ctx, l) }()
			asked := make(chan error, 1)
			go func() {
				res, err := http.Get("http://" + l.Addr().String() + "/b/k")
				if err == nil {
					res.Body.Close()
				}
				asked <- err
			}()
			<-held
			cancel()
			must(t, <-served)
			if err := <-asked; err == nil {
				t.Error("the request was answered")
			}
		})
	}
}
