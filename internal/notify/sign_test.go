package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// The example of the specification's libraries.
func TestSignatureOfKnownMessage(t *testing.T) {
	secrets, err := ParseSecrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := signatures(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
}

// hmacSHA256 is written from RFC 2104, for keys of up to 64 bytes.
func hmacSHA256(key, message []byte) []byte {
	pad := func(b byte) []byte {
		k := bytes.Repeat([]byte{b}, 64)
		for i := range key {
			k[i] ^= key[i]
		}
		return k
	}
	inner := sha256.Sum256(append(pad(0x36), message...))
	outer := sha256.Sum256(append(pad(0x5c), inner[:]...))
	return outer[:]
}

// A receiver on a real connection checks each call, with either secret.
func TestReceiverVerifies(t *testing.T) {
	leaktest.Check(t)
	raw := []string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("old"), 8)), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("new "), 16))}
	calls := make(chan auditdrain.Notice, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		id, timestamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
		at, err := strconv.ParseInt(timestamp, 10, 64)
		if age := time.Since(time.Unix(at, 0)); err != nil || age < -time.Second || age > time.Minute {
			t.Errorf("webhook-timestamp %q: %v", timestamp, err)
		}
		given := strings.Split(r.Header.Get("webhook-signature"), " ")
		if len(given) != len(raw) {
			t.Errorf("signatures %q, want %d", given, len(raw))
		}
		for i, text := range raw {
			secret, _ := base64.StdEncoding.DecodeString(text)
			if want := "v1," + base64.StdEncoding.EncodeToString(hmacSHA256(secret, []byte(id+"."+timestamp+"."+string(body)))); given[i] != want {
				t.Errorf("signature %q, want %q", given[i], want)
			}
		}
		if got := r.Method + " " + r.URL.String() + " " + r.Header.Get("Content-Type"); got != "POST /hook?to=pager application/json" {
			t.Errorf("request %q", got)
		}
		var notice auditdrain.Notice
		if err := json.Unmarshal(body, &notice); err != nil {
			t.Error(err)
		}
		if want := "a_errored_" + strconv.FormatInt(notice.Since, 10); id != want {
			t.Errorf("webhook-id %q, want %q", id, want)
		}
		calls <- notice
	}))
	defer server.Close()
	secrets, err := ParseSecrets("whsec_" + raw[0] + " whsec_" + raw[1])
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.addDrain("a")
	w.fail("a")
	n := New(Config{URL: server.URL + "/hook?to=pager", Secrets: secrets, Store: w, Drains: w, Log: slog.New(slog.DiscardHandler)})
	stop := runNotifier(t, n)
	if notice := <-calls; notice.Drain.ID != "a" {
		t.Errorf("notice %+v", notice)
	}
	stop()
}

// A notice goes to nobody but the receiver that was configured.
func TestRedirectsAreNotFollowed(t *testing.T) {
	leaktest.Check(t)
	called := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called <- r.URL.Path
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	n := New(Config{URL: server.URL + "/hook", Secrets: [][]byte{make([]byte, 24)}, Log: slog.New(slog.DiscardHandler)})
	unsure, err := n.call(t.Context(), auditdrain.Notice{})
	if unsure || err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("unsure %v, error %v", unsure, err)
	}
	close(called)
	for path := range called {
		if path != "/hook" {
			t.Errorf("%s was called", path)
		}
	}
	n.client.CloseIdleConnections()
}

// Whether a receiver may have heard is known on real connections, too.
func TestWhatIsUnsure(t *testing.T) {
	leaktest.Check(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(code)
	}))
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	defer server.Close()
	for url, want := range map[string]bool{
		server.URL + "/cut": true, server.URL + "/502": true, server.URL + "/504": true,
		server.URL + "/500": false, server.URL + "/503": false, server.URL + "/404": false, closed.URL: false,
	} {
		n := New(Config{URL: url, Secrets: [][]byte{make([]byte, 24)}, Log: slog.New(slog.DiscardHandler)})
		unsure, err := n.call(t.Context(), auditdrain.Notice{})
		if unsure != want || err == nil || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: unsure is %v (%v), want %v and an error without the address", url, unsure, err, want)
		}
		n.client.CloseIdleConnections()
	}
}

func TestParseSecrets(t *testing.T) {
	long := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), n)) }
	for value, want := range map[string]int{
		long(24): 1, long(64): 1, " " + long(32) + "  " + long(24) + " ": 2,
		"": 0, " ": 0, long(23): 0, long(65): 0, "whsec_" + strings.Repeat("!", 32): 0,
		strings.TrimPrefix(long(32), "whsec_"): 0, long(32) + " x": 0,
	} {
		got, err := ParseSecrets(value)
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d secrets, %v, want %d", value, len(got), err, want)
		}
		if text := strings.TrimSpace(value); err != nil && len(text) > 1 && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
