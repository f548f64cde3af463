package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/auditdrain/auditdrain"
)

// maxAnswer bounds how much of an answer's body is kept.
const maxAnswer = 64 << 10

// Class is what delivery does about a failure.
type Class int

const (
	// Transient failures pass: repeat with backoff.
	Transient Class = iota
	// Throttled is Transient, and says that we are too fast.
	Throttled
	// Blocked lasts until a person mends the destination, or our own setup:
	// park the backlog and probe.
	Blocked
)

// String is the class as metrics call it.
func (c Class) String() string {
	switch c {
	case Throttled:
		return "throttled"
	case Blocked:
		return "blocked"
	}
	return "transient"
}

// Error is a call to AWS that failed, with AWS's answer, or with the reason
// why none came.
type Error struct {
	Answer auditdrain.AWSAnswer
	cause  error // why there was no answer, or nil
}

func (e *Error) Error() string {
	a := &e.Answer
	if a.HTTPStatus == 0 {
		return fmt.Sprintf("%s %s: no answer from AWS: %s", a.Service, a.Operation, a.Message)
	}
	s := fmt.Sprintf("%s %s: HTTP %d", a.Service, a.Operation, a.HTTPStatus)
	if a.Code != "" {
		s += " " + a.Code
	}
	if a.Message != "" {
		s += ": " + a.Message
	}
	if a.RequestID != "" {
		s += " (AWS request id " + a.RequestID + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.cause }

// Class tells what to do about e. It goes by status and code; messages differ
// between AWS and stores that are compatible with it.
func (e *Error) Class() Class {
	switch code := e.Answer.Code; code {
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "RequestThrottled":
		return Throttled
	case "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch",
		"OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed":
		return Transient
	}
	switch status := e.Answer.HTTPStatus; {
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return Throttled
	case status == 0, status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict,
		status == http.StatusTemporaryRedirect: // a new bucket whose name has not spread yet
		return Transient
	}
	return Blocked
}

// ClassOf is the class of any error that Put returns. One that is not AWS's
// passes or is a bug; in neither case may an event be given up.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class()
	}
	return Transient
}

// errorBody is S3's <Error>, and the inside of STS's <ErrorResponse>.
type errorBody struct {
	Code       string
	Message    string
	RequestID  string `xml:"RequestId"`
	HostID     string `xml:"HostId"`
	ServerTime string
}

// newS3Error keeps an answer of S3 that is not a success.
func newS3Error(resp *http.Response, body []byte, now time.Time) *Error {
	var parsed errorBody
	// A body that is not XML is shown as it is; status and headers decide.
	_ = xml.Unmarshal(body, &parsed)
	e := &Error{Answer: auditdrain.AWSAnswer{
		Service:           "s3",
		Operation:         "PutObject",
		HTTPStatus:        resp.StatusCode,
		Code:              parsed.Code,
		Message:           parsed.Message,
		RequestID:         resp.Header.Get("x-amz-request-id"),
		ExtendedRequestID: resp.Header.Get("x-amz-id-2"),
		Time:              now.UnixMilli(),
		Headers:           maps.Clone(resp.Header),
		Body:              redact(body),
	}}
	if e.Answer.RequestID == "" {
		e.Answer.RequestID = parsed.RequestID
	}
	if e.Answer.ExtendedRequestID == "" {
		e.Answer.ExtendedRequestID = parsed.HostID
	}
	if e.Answer.Message == "" {
		e.Answer.Message = http.StatusText(resp.StatusCode)
	}
	return e
}

// serverTime is the clock of the server that sent e.
func serverTime(e *Error) (time.Time, bool) {
	var parsed errorBody
	if xml.Unmarshal([]byte(e.Answer.Body), &parsed) == nil {
		if t, err := time.Parse(time.RFC3339, parsed.ServerTime); err == nil {
			return t, true
		}
	}
	t, err := http.ParseTime(http.Header(e.Answer.Headers).Get("Date"))
	return t, err == nil
}

// noAnswer is a call that got none.
func noAnswer(service, operation string, err error, now time.Time) *Error {
	return &Error{
		Answer: auditdrain.AWSAnswer{Service: service, Operation: operation, Message: plain(err), Time: now.UnixMilli()},
		cause:  err,
	}
}

// stsError keeps what STS answered, from the recording of the SDK's call.
func (c *Client) stsError(operation string, rec *recording, err error) *Error {
	if rec.status == 0 {
		e := noAnswer("sts", operation, err, c.now())
		e.Answer.Host = rec.host
		return e
	}
	e := &Error{cause: err, Answer: auditdrain.AWSAnswer{
		Service:    "sts",
		Operation:  operation,
		HTTPStatus: rec.status,
		RequestID:  rec.header.Get("x-amzn-RequestId"),
		Time:       c.now().UnixMilli(),
		Headers:    rec.header,
		Body:       redact(rec.body),
		Host:       rec.host,
	}}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Answer.Code, e.Answer.Message = api.ErrorCode(), api.ErrorMessage()
	} else {
		e.Answer.Message = plain(err)
	}
	c.mu.Lock()
	e.Answer.CallerARN = c.identity
	c.mu.Unlock()
	return e
}

// secrets are the elements in which S3 echoes what a request was signed with.
var secrets = regexp.MustCompile(`(?s)<(Token-\d+|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes|SignatureProvided)>.*?(</|$)`)

// redact takes credentials out of an answer's body.
func redact(body []byte) string {
	return strings.ToValidUTF8(secrets.ReplaceAllString(string(body), "<$1>[redacted]$2"), "�")
}

// plain is the innermost reason of a transport error: the wrappers of
// net/http and the SDK repeat the operation and hide the point.
func plain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timed out: " + err.Error()
	}
	return err.Error()
}

// recording is what came back for one call that the SDK made.
type recording struct {
	host   string
	status int
	header http.Header
	body   []byte
}

type recordingKey struct{}

// record returns a context in which the SDK's call is recorded.
func record(ctx context.Context) (context.Context, *recording) {
	rec := new(recording)
	return context.WithValue(ctx, recordingKey{}, rec), rec
}

// recorder is an HTTP client for the SDK that keeps the raw answer where the
// context asks for it: the SDK's errors drop headers and body.
type recorder struct{ client *http.Client }

func (r recorder) Do(req *http.Request) (*http.Response, error) {
	rec, _ := req.Context().Value(recordingKey{}).(*recording)
	if rec != nil {
		rec.host = req.URL.Host
	}
	resp, err := r.client.Do(req)
	if err != nil || rec == nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the answer (HTTP %d): %w", resp.StatusCode, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	rec.status, rec.header, rec.body = resp.StatusCode, resp.Header.Clone(), body
	return resp, nil
}

// AWSAnswer is what AWS answered, for people.
func (e *Error) AWSAnswer() auditdrain.AWSAnswer { return e.Answer }
