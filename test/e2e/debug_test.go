package e2e

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var profilesRE = regexp.MustCompile(`profiles are served" url=(http://127\.0\.0\.1:\d+)/debug/pprof/`)

// Profiles are on a listener of their own, and only if somebody asked for it.
func TestDebugListen(t *testing.T) {
	s := serve(t, "", t.TempDir(), "--debug-listen", "127.0.0.1:0")
	url, ok := s.await(s.stderr, profilesRE)
	if !ok {
		t.Fatal("the service has ended")
	}
	for path, want := range map[string]string{
		"/debug/pprof/":                  "heap",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/profile?seconds=1": "", // gzip
	} {
		resp, err := s.http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(resp.Body)
		if want == "" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		text, err := io.ReadAll(body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d, %v: %.200q", path, resp.StatusCode, err, text)
		}
	}
	if status, _, _ := s.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("the API's address answers %d, want 404", status)
	}
	s.stop()
}

func TestDebugAddressInUse(t *testing.T) {
	data := t.TempDir()
	s := serve(t, "", data)
	other := t.TempDir()
	p := run(t, environment(t, ""), serveArgs(other, "--debug-listen", strings.TrimPrefix(s.url, "http://"))...)
	if code, last := p.code(), lastLine(p.stderr.String()); code != 1 || !strings.HasPrefix(last, "auditdrain: listen for profiles: ") {
		t.Errorf("code %d, stderr %q", code, p.stderr)
	}
	serve(t, "", other).stop() // the folder is free again
}
