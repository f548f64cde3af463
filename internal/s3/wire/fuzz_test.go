package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzAnswer holds what we read of an answer against net/http, which takes
// more: whatever we accept, it must accept and read in the same way, and what
// we leave to the next answer is what it leaves.
func FuzzAnswer(f *testing.F) {
	for _, tt := range answers {
		if len(tt.raw) < 2000 {
			f.Add([]byte(tt.raw))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		const maxBody = 64
		in := bufio.NewReaderSize(bytes.NewReader(raw), maxLine)
		got, reusable, err := readAnswer(in, maxBody)
		if err != nil {
			if reusable {
				t.Fatalf("%v, and reusable", err)
			}
			return
		}
		if len(got.Body) > maxBody || got.Status < 200 || reusable && in.Buffered() > 0 || reusable && got.Err != nil {
			t.Fatalf("%+v, reusable %t", got, reusable)
		}

		theirs := bufio.NewReaderSize(bytes.NewReader(raw), maxLine)
		var resp *http.Response
		for resp == nil || resp.StatusCode < 200 {
			if resp, err = http.ReadResponse(theirs, &http.Request{Method: http.MethodPut}); err != nil {
				t.Fatalf("net/http refuses what we take for %+v: %v", got, err)
			}
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != got.Status {
			t.Fatalf("status %d, net/http has %d", got.Status, resp.StatusCode)
		}
		if reusable && (err != nil || resp.Close) {
			t.Fatalf("reusable, but for net/http it is not: %v, close %t", err, resp.Close)
		}
		if got.Status/100 == 2 {
			return
		}
		if want := body[:min(len(body), maxBody)]; !bytes.Equal(got.Body, want) {
			t.Fatalf("body %q, net/http has %q", got.Body, want)
		}
		if len(body) < maxBody && (err != nil) != (got.Err != nil) && !strings.Contains(strings.ToLower(string(raw)), "chunked") {
			t.Fatalf("error %v, net/http has %v", got.Err, err)
		}
		// net/http takes these out.
		for _, name := range []string{"Transfer-Encoding", "Trailer", "Content-Length"} {
			got.Header.Del(name)
			resp.Header.Del(name)
		}
		if d := cmp.Diff(resp.Header, got.Header); d != "" {
			t.Fatalf("header (-net/http +ours):\n%s", d)
		}
	})
}
