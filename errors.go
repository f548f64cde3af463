package auditdrain

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code says what kind of error this is, for programs: clients branch on it,
// metrics are labelled with it. Messages are for people and may change.
type Code string

// The codes, each with the one HTTP status it is answered with.
const (
	CodeBadRequest   Code = "bad_request"            // 400
	CodeUnauthorized Code = "unauthorized"           // 401
	CodeForbidden    Code = "forbidden"              // 403
	CodeNotFound     Code = "not_found"              // 404
	CodeNoMethod     Code = "method_not_allowed"     // 405
	CodeConflict     Code = "conflict"               // 409
	CodeTooLarge     Code = "payload_too_large"      // 413
	CodeMediaType    Code = "unsupported_media_type" // 415
	CodeInvalidEvent Code = "invalid_event"          // 422
	CodeRateLimited  Code = "rate_limited"           // 429
	CodeInternal     Code = "internal_error"         // 500
	CodeUnavailable  Code = "unavailable"            // 503
)

var statusOf = map[Code]int{
	CodeBadRequest:   http.StatusBadRequest,
	CodeUnauthorized: http.StatusUnauthorized,
	CodeForbidden:    http.StatusForbidden,
	CodeNotFound:     http.StatusNotFound,
	CodeNoMethod:     http.StatusMethodNotAllowed,
	CodeConflict:     http.StatusConflict,
	CodeTooLarge:     http.StatusRequestEntityTooLarge,
	CodeMediaType:    http.StatusUnsupportedMediaType,
	CodeInvalidEvent: http.StatusUnprocessableEntity,
	CodeRateLimited:  http.StatusTooManyRequests,
	CodeInternal:     http.StatusInternalServerError,
	CodeUnavailable:  http.StatusServiceUnavailable,
}

// Status is the HTTP status that c is answered with.
func (c Code) Status() int {
	if s, ok := statusOf[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is an error that may be shown to the caller as it is. Anything that
// is not an *Error is an internal error: logged, and shown as no more than
// that.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`

	// Details lists every problem found, where there may be several.
	Details []Problem `json:"details,omitempty"`
	// IDs names the events that a conflict is about.
	IDs []string `json:"ids,omitempty"`
	// RetryAfter is sent as a header, in whole seconds, when it is not 0.
	RetryAfter time.Duration `json:"-"`
}

// Problem is one thing wrong with the input: where, and what is allowed.
type Problem struct {
	// Index is the place of the event in its batch, from 0; absent where the
	// input is not a batch.
	Index   *int   `json:"index,omitempty"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an *Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrors returns one error for all the problems found in a request, or
// nil if there are none.
func FieldErrors(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	msg := problems[0].Field + ": " + problems[0].Message
	if n := len(problems) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more, see details)", n)
	}
	return &Error{Code: CodeBadRequest, Message: msg, Details: problems}
}

// ErrorCode returns the code of err: CodeInternal if err is not one of ours,
// "" if it is nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
