package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
)

const (
	maxLine = 8 << 10  // of an answer's head
	maxHead = 64 << 10 // with all 1xx before it
)

var (
	errTooLarge = errors.New("malformed answer: its head is too large")
	errNoCRLF   = errors.New("malformed answer: a line does not end with CRLF")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("malformed answer: "+format, args...)
}

// readAnswer reads the final answer to a PUT. reusable says that the
// connection is at the beginning of the next one.
func readAnswer(in *bufio.Reader, maxBody int) (a Answer, reusable bool, err error) {
	if _, err := in.Peek(1); err != nil {
		return Answer{}, false, unanswered{err}
	}
	left := maxHead
	for {
		h, err := readHead(in, &left)
		if err != nil {
			return Answer{}, false, err
		}
		switch {
		case h.status == http.StatusSwitchingProtocols:
			return Answer{}, false, malformed("it switches protocols, which nobody has asked for")
		case h.status < 200:
			continue // 100 Continue, mostly: nobody has asked for that either
		}
		a := Answer{Status: h.status, Header: h.header}
		var whole bool
		if h.header == nil {
			whole = h.skipBody(in, maxBody)
		} else {
			a.Body, whole, a.Err = h.readBody(in, maxBody)
		}
		return a, whole && !h.close && in.Buffered() == 0, nil
	}
}

// head is what precedes a body.
type head struct {
	status  int
	header  http.Header // nil for 1xx and 2xx: not kept
	length  int64       // of the body; -1 if it is not told
	chunked bool
	close   bool // the connection ends with this answer
}

// readHead reads a status line and headers, and takes as much from left.
func readHead(in *bufio.Reader, left *int) (head, error) {
	line, err := readLine(in, left)
	if err != nil {
		return head{}, err
	}
	h := head{length: -1}
	var oldHTTP bool
	if h.status, oldHTTP, err = parseStatusLine(line); err != nil {
		return head{}, err
	}
	h.close = oldHTTP
	if h.status >= 300 {
		h.header = http.Header{}
	}
	for {
		if line, err = readLine(in, left); err != nil {
			return head{}, err
		}
		if len(line) == 0 {
			break
		}
		name, value, err := parseField(line)
		if err != nil {
			return head{}, err
		}
		if err := h.note(name, value); err != nil {
			return head{}, err
		}
		if h.header != nil {
			key := textproto.CanonicalMIMEHeaderKey(string(name))
			h.header[key] = append(h.header[key], string(value))
		}
	}
	switch {
	case h.chunked && oldHTTP:
		return head{}, malformed("HTTP/1.0 has no Transfer-Encoding")
	case h.chunked && h.length >= 0:
		// Some server in between may have gone by the length.
		h.length, h.close = -1, true
	}
	if h.status < 200 || h.status == http.StatusNoContent || h.status == http.StatusNotModified {
		// They have no body, whatever else they say.
		h.length, h.chunked = 0, false
	}
	return h, nil
}

// readLine reads a line and returns it without its end. It is good until the
// next read.
func readLine(in *bufio.Reader, left *int) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	*left -= len(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull), *left < 0:
		return nil, errTooLarge
	case err == io.EOF:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, errNoCRLF
	}
	return line, nil
}

// parseStatusLine parses "HTTP/1.1 200 OK", the reason of which may be
// missing.
func parseStatusLine(line []byte) (status int, oldHTTP bool, err error) {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		oldHTTP = true
	default:
		return 0, false, malformed("it begins with %q, which is not HTTP/1.1", version[:min(len(version), 32)])
	}
	if len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' || rest[0] == '0' {
		return 0, false, malformed("no status")
	}
	for _, c := range rest[:3] {
		if c < '0' || c > '9' {
			return 0, false, malformed("no status")
		}
		status = status*10 + int(c-'0')
	}
	if !isText(rest[3:]) {
		return 0, false, malformed("a control character in the status line")
	}
	return status, oldHTTP, nil
}

// parseField parses a line of a header. One that continues the line before
// has no name.
func parseField(line []byte) (name, value []byte, err error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return nil, nil, malformed("a line of the header has no name")
	}
	value = bytes.Trim(value, " \t")
	if !isText(value) {
		return nil, nil, malformed("a control character in header %s", name)
	}
	return name, value, nil
}

// note takes over what a field says of the body and of the connection.
func (h *head) note(name, value []byte) error {
	switch len(name) { // few are of interest
	case len("Connection"):
		if equalFold(name, "Connection") {
			for token := range bytes.SplitSeq(value, []byte(",")) {
				h.close = h.close || equalFold(bytes.Trim(token, " \t"), "close")
			}
		}
	case len("Content-Length"):
		if equalFold(name, "Content-Length") {
			n, ok := parseLength(value)
			if !ok || h.length >= 0 && h.length != n {
				return malformed("its Content-Length is no number, or two")
			}
			h.length = n
		}
	case len("Transfer-Encoding"):
		if equalFold(name, "Transfer-Encoding") {
			if h.chunked || !equalFold(value, "chunked") {
				return malformed("a Transfer-Encoding that is not chunked")
			}
			h.chunked = true
		}
	}
	return nil
}

// skipBody reads a body that nobody wants, so that the connection can be used
// again. It gives up on long ones.
func (h *head) skipBody(in *bufio.Reader, maxBody int) (whole bool) {
	if !h.chunked {
		if h.length < 0 || h.length > int64(maxBody) {
			return false
		}
		_, err := in.Discard(int(h.length))
		return err == nil
	}
	n, err := io.CopyN(io.Discard, httputil.NewChunkedReader(in), int64(maxBody)+1)
	return n <= int64(maxBody) && err == io.EOF && skipTrailer(in)
}

// readBody returns the first maxBody bytes of a body. err is why there are
// fewer than the server has sent or announced; whole says that it ended where
// it should, and that all of it was read.
func (h *head) readBody(in *bufio.Reader, maxBody int) (body []byte, whole bool, err error) {
	body = []byte{}
	var r io.Reader = in
	switch {
	case h.length == 0:
		return body, true, nil
	case h.chunked:
		r = httputil.NewChunkedReader(in)
	case h.length > 0:
		r = io.LimitReader(in, h.length)
	}
	body, err = io.ReadAll(io.LimitReader(r, int64(maxBody)+1))
	switch {
	case len(body) > maxBody:
		return body[:maxBody], false, nil
	case err != nil:
		return body, false, err
	case int64(len(body)) < h.length:
		return body, false, io.ErrUnexpectedEOF
	case h.chunked:
		return body, skipTrailer(in), nil
	}
	return body, h.length >= 0, nil
}

// skipTrailer reads what follows the last chunk.
func skipTrailer(in *bufio.Reader) bool {
	left := maxHead
	for {
		line, err := readLine(in, &left)
		if err != nil {
			return false
		}
		if len(line) == 0 {
			return true
		}
		if _, _, err := parseField(line); err != nil {
			return false
		}
	}
}

// parseLength parses decimal digits, and nothing but digits.
func parseLength(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}

// equalFold compares with letters of ASCII only.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// isToken reports whether b can be the name of a field.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.!#$%&'*+^`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// isText reports whether b has no control characters but tabs.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
