package main

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want answer
		err  string
	}{
		"success":    {"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\n{}HTTP", answer{status: 200, body: []byte("{}")}, ""},
		"put off":    {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", answer{status: 503, retryAfter: 2 * time.Second, close: true, body: []byte{}}, ""},
		"no length":  {"HTTP/1.1 200 OK\r\n\r\n", answer{}, "without Content-Length"},
		"bad length": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", answer{}, `Content-Length "x"`},
		"a date":     {"HTTP/1.1 503 x\r\nRetry-After: Fri, 22 May\r\n\r\n", answer{}, `Retry-After "Fri, 22 May"`},
		"not HTTP":   {"hello\r\n", answer{}, "not a status line"},
		"nothing":    {"", answer{}, "EOF"},
		"cut":        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", answer{}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAnswer(bufio.NewReader(strings.NewReader(tc.text)))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDue(t *testing.T) {
	start := time.Now()
	for i, want := range map[int]time.Duration{0: 0, 1: 4 * time.Millisecond, 250: time.Second} {
		if got := due(start, i, 250).Sub(start); got != want {
			t.Errorf("number %d of 250 a second is due after %s, want %s", i, got, want)
		}
	}
}
