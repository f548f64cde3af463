package awssim

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// Error is a refusal as AWS words it.
type Error struct {
	Status  int
	Code    string
	Message string
	Detail  []Element   // further elements of S3's <Error>
	Header  http.Header // further headers of the answer
}

// Element is one element of an XML body.
type Element struct{ Name, Value string }

func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

func refusal(status int, code, message string, detail ...Element) *Error {
	return &Error{Status: status, Code: code, Message: message, Detail: detail}
}

func (e *Error) withHeader(name, value string) *Error {
	if e.Header == nil {
		e.Header = http.Header{}
	}
	e.Header.Set(name, value)
	return e
}

// Refusals that no request can bring about by itself, for Fault.Err.

// SlowDown is how S3 throttles.
func SlowDown() *Error {
	return refusal(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
}

// SlowDownKMS is how S3 answers when KMS throttles it.
func SlowDownKMS() *Error {
	return refusal(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate for operations involving AWS KMS.")
}

// Throttling is how STS throttles.
func Throttling() *Error {
	return refusal(http.StatusBadRequest, "Throttling", "Rate exceeded")
}

// InternalError is AWS's own fault.
func InternalError() *Error {
	return refusal(http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
}

// ServiceUnavailable is AWS's own fault, too.
func ServiceUnavailable() *Error {
	return refusal(http.StatusServiceUnavailable, "ServiceUnavailable", "Service is unable to handle request.")
}

// ConditionalRequestConflict is S3's answer when conditional writes of one key
// meet in a way that it cannot decide.
func ConditionalRequestConflict(key string) *Error {
	return refusal(http.StatusConflict, "ConditionalRequestConflict",
		"The conditional request cannot succeed due to a conflicting operation against this resource.",
		Element{"Condition", "If-None-Match"}, Element{"Key", key})
}

// ConditionNotImplemented is the answer of S3-compatible stores that do not
// know conditional writes.
func ConditionNotImplemented() *Error { return headerNotImplemented("If-None-Match") }

// ExpiredSession is S3's answer to credentials that have expired.
func ExpiredSession(token string) *Error {
	return refusal(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.", Element{"Token-0", token})
}

func headerNotImplemented(name string) *Error {
	return refusal(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented",
		Element{"Header", name})
}

// notSimulated refuses what AWS has and awssim has not.
func notSimulated(what string) *Error {
	return refusal(http.StatusNotImplemented, "NotImplemented", "awssim does not simulate "+what)
}

// accessDeniedPlain is S3's answer where it does not say why.
func accessDeniedPlain() *Error {
	return refusal(http.StatusForbidden, "AccessDenied", "Access Denied")
}

// refuse renders e as the service that c is for would.
func (c *call) refuse(e *Error) reply {
	h := c.answerHeader()
	for k, v := range e.Header {
		h[k] = v
	}
	if c.info.Service == "kms" {
		return kmsRefusal(e, h)
	}
	rep := reply{status: e.Status, code: e.Code, header: h}
	var b bytes.Buffer
	if c.info.Service == "sts" {
		rep.requestID = h.Get("X-Amzn-Requestid")
		h.Set("Content-Type", "text/xml")
		fault := "Sender"
		if e.Status >= 500 {
			fault = "Receiver"
		}
		b.WriteString(`<ErrorResponse xmlns="` + stsNamespace + `">` + "\n  <Error>\n")
		writeElements(&b, "    ", Element{"Type", fault}, Element{"Code", e.Code}, Element{"Message", e.Message})
		b.WriteString("  </Error>\n")
		writeElements(&b, "  ", Element{"RequestId", rep.requestID})
		b.WriteString("</ErrorResponse>\n")
	} else {
		rep.requestID = h.Get("X-Amz-Request-Id")
		h.Set("Content-Type", "application/xml")
		b.WriteString(xml.Header + "<Error>")
		writeElements(&b, "", Element{"Code", e.Code}, Element{"Message", e.Message})
		writeElements(&b, "", e.Detail...)
		writeElements(&b, "", Element{"RequestId", rep.requestID}, Element{"HostId", h.Get("X-Amz-Id-2")})
		b.WriteString("</Error>")
	}
	rep.body = b.Bytes()
	return rep
}

// writeElements writes one element a line, or all on one if indent is "".
func writeElements(b *bytes.Buffer, indent string, elements ...Element) {
	for _, e := range elements {
		b.WriteString(indent + "<" + e.Name + ">" + escapeText(e.Value) + "</" + e.Name + ">")
		if indent != "" {
			b.WriteByte('\n')
		}
	}
}

var textEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\r", "&#13;")

// escapeText escapes as AWS does, which leaves line ends and apostrophes as
// they are. What XML cannot hold becomes U+FFFD.
func escapeText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, s)
	return textEscaper.Replace(s)
}

// answerHeader returns the headers that every answer of the service has. The
// date is the server's, which is how clients notice that theirs is off.
func (c *call) answerHeader() http.Header {
	h := make(http.Header, 8)
	h.Set("Date", c.now.UTC().Format(http.TimeFormat))
	if c.info.Service != "s3" {
		h["X-Amzn-Requestid"] = []string{newUUID()}
	} else {
		h["Server"] = []string{"AmazonS3"}
		h["X-Amz-Request-Id"] = []string{strings.ToUpper(randomHex(8))}
		h["X-Amz-Id-2"] = []string{randomBase64(57)}
	}
	return h
}

// s3Reply is a success of S3.
func (c *call) s3Reply(status int, body []byte) reply {
	h := c.answerHeader()
	return reply{status: status, requestID: h.Get("X-Amz-Request-Id"), header: h, body: body}
}

// xmlReply is a success of S3 with a document.
func (c *call) xmlReply(doc any) (reply, error) {
	body, err := xml.Marshal(doc)
	if err != nil {
		return reply{}, fmt.Errorf("render answer: %w", err)
	}
	rep := c.s3Reply(http.StatusOK, append([]byte(xml.Header), body...))
	rep.header.Set("Content-Type", "application/xml")
	return rep, nil
}

const isoMillis = "2006-01-02T15:04:05.000Z"

func iso(t time.Time) string { return t.UTC().Format(isoMillis) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails since Go 1.24
	return b
}

func randomHex(n int) string    { return hex.EncodeToString(randomBytes(n)) }
func randomBase64(n int) string { return base64.StdEncoding.EncodeToString(randomBytes(n)) }

// randomBase32 returns n letters and digits.
func randomBase32(n int) string { return base32.StdEncoding.EncodeToString(randomBytes(n))[:n] }

func newUUID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
