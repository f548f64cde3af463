package client_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Whatever the encoding on the way, the server reads what the caller gave.
func TestSendEventsBody(t *testing.T) {
	small := []byte(`{"id":"a"}` + "\n")
	large := bytes.Repeat([]byte(`{"id":"uev_1","action":"drain-created","n":18446744073709551617}`+"\n"), 1000)
	for name, tc := range map[string]struct {
		body     []byte
		encoding string
	}{
		"small": {small, ""},
		"large": {large, "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if h := r.Header.Get("Content-Type"); h != "application/x-ndjson" {
					t.Errorf("Content-Type %q", h)
				}
				if h := r.Header.Get("Content-Encoding"); h != tc.encoding {
					t.Errorf("Content-Encoding %q, want %q", h, tc.encoding)
				}
				body := io.Reader(r.Body)
				if tc.encoding == "zstd" {
					d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
					if err != nil {
						t.Error(err)
						return
					}
					defer d.Close()
					body = d
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, tc.body) {
					t.Errorf("%d bytes arrived, %v; want the %d that were sent", len(got), err, len(tc.body))
				}
				if tc.encoding != "" && r.ContentLength >= int64(len(tc.body))/4 {
					t.Errorf("%d bytes on the way for %d", r.ContentLength, len(tc.body))
				}
				io.Copy(w, strings.NewReader(`{"accepted":1,"duplicates":0}`))
			})})
			if _, err := c.SendEvents(t.Context(), "team_1", tc.body); err != nil {
				t.Error(err)
			}
		})
	}
}
