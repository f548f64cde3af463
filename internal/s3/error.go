package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/auditdrain/auditdrain"
)

// maxAnswer bounds how much of an answer's body is kept.
const maxAnswer = 64 << 10

// Error is a call to AWS that failed, with AWS's answer, or with the reason
// why none came. It holds no credentials.
type Error struct {
	Answer auditdrain.AWSAnswer
	cause  error // why there is no answer, or not all of it
}

// AWSAnswer is what AWS answered, for people.
func (e *Error) AWSAnswer() auditdrain.AWSAnswer { return e.Answer }

func (e *Error) Error() string {
	a := &e.Answer
	s := a.Service + " " + a.Operation
	if a.Operation == "AssumeRole" && a.RoleARN != "" {
		s += " of " + a.RoleARN // which may be the writer role
	}
	switch {
	case a.HTTPStatus == 0 && a.Host == "":
		return s + ": not sent: " + a.Message
	case a.HTTPStatus == 0:
		return s + ": no answer from " + a.Host + ": " + a.Message
	}
	s += fmt.Sprintf(": HTTP %d", a.HTTPStatus)
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

// Unwrap gives what ended the call, where that was not AWS: context.Canceled,
// for one.
func (e *Error) Unwrap() error { return e.cause }

// Class tells what to do about e. It goes by status and code; messages differ
// between AWS and stores that are compatible with it.
func (e *Error) Class() auditdrain.FailureClass {
	code := e.Answer.Code
	if _, ok := retry.DefaultThrottleErrorCodes[strings.TrimPrefix(code, "KMS.")]; ok {
		return auditdrain.Throttled
	}
	switch code {
	case "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch",
		"OperationAborted", "ConditionalRequestConflict",
		// A new session, or the server's clock, has been tried at once.
		"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestTimeTooSkewed":
		return auditdrain.Transient
	case "":
		if e.cause != nil {
			return auditdrain.Transient // whatever the rest of the answer said
		}
	}
	switch status := e.Answer.HTTPStatus; {
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return auditdrain.Throttled
	case status == http.StatusNotImplemented:
		return auditdrain.Blocked
	case status == 0, status/100 == 2, status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict,
		status == http.StatusTemporaryRedirect: // a new bucket whose name has not spread yet
		return auditdrain.Transient
	}
	return auditdrain.Blocked
}

// errorBody is S3's <Error>, or STS's <ErrorResponse> with an <Error> in it.
type errorBody struct {
	Code       string
	Message    string
	RequestID  string `xml:"RequestId"`
	HostID     string `xml:"HostId"`
	ServerTime string
	Error      struct{ Code, Message string }
}

func parseBody(body []byte) errorBody {
	var b errorBody
	// A body that is not XML, or not all of it, is shown as it is; status and
	// headers decide.
	_ = xml.Unmarshal(body, &b)
	if b.Code == "" && b.Message == "" {
		b.Code, b.Message = b.Error.Code, b.Error.Message
	}
	return b
}

// newAnswer keeps an answer that is not a success, less the credentials that
// the call was signed with.
func newAnswer(service, operation string, status int, header http.Header, body []byte, now time.Time, creds aws.Credentials) *Error {
	parsed := parseBody(body)
	kept := make(map[string][]string, len(header))
	for name, values := range header {
		for _, v := range values {
			kept[name] = append(kept[name], clean(v, creds))
		}
	}
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return clean(v, creds)
			}
		}
		return ""
	}
	return &Error{Answer: auditdrain.AWSAnswer{
		Service:           service,
		Operation:         operation,
		HTTPStatus:        status,
		Code:              clip(first(parsed.Code)),
		Message:           first(parsed.Message, http.StatusText(status)),
		RequestID:         clip(first(header.Get("x-amz-request-id"), header.Get("x-amzn-requestid"), parsed.RequestID)),
		ExtendedRequestID: clip(first(header.Get("x-amz-id-2"), parsed.HostID)),
		Time:              now.UnixMilli(),
		Headers:           kept,
		Body:              clean(redact(body), creds),
	}}
}

// clip bounds what AWS has short ones of.
func clip(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// brokeOff notes that not all of the answer could be read, if err is why.
func (e *Error) brokeOff(err error) {
	if err == nil {
		return
	}
	e.cause = err
	if e.Answer.Code == "" {
		e.Answer.Message = "the answer broke off: " + plain(err)
	}
}

// noAnswer is a call that got none.
func noAnswer(service, operation string, err error, now time.Time) *Error {
	return &Error{
		Answer: auditdrain.AWSAnswer{Service: service, Operation: operation, Message: plain(err), Time: now.UnixMilli()},
		cause:  err,
	}
}

// serverTime is the clock of the server that sent e.
func serverTime(e *Error) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, parseBody([]byte(e.Answer.Body)).ServerTime); err == nil {
		return t, true
	}
	t, err := http.ParseTime(http.Header(e.Answer.Headers).Get("Date"))
	return t, err == nil
}
