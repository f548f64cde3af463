package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain/internal/leaktest"
)

func TestPost(t *testing.T) {
	leaktest.Check(t)
	calls := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		calls <- strings.Join([]string{r.Method, r.URL.String(), r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), r.Header.Get("X-Id"), string(body)}, " ")
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/full":
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, " the \"disk\"\nis full"+strings.Repeat("!", 5000))
		case "/cut":
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	c := New(nil)
	defer c.CloseIdleConnections()
	full := `the receiver answered 507 Insufficient Storage: "the \"disk\"\nis full` + strings.Repeat("!", mostShown-len("the 'disk'.is full")) + `"`
	for path, want := range map[string]struct {
		err  string
		code int
	}{
		"/hook?to=pager": {},
		"/moved":         {"the receiver answered 307 Temporary Redirect", 307},
		"/full":          {full, 507},
		"/cut":           {"EOF", 0},
	} {
		err := c.Post(t.Context(), server.URL+path, http.Header{"X-Id": {"7"}}, []byte("{}"))
		var code int
		if answer, ok := errors.AsType[*StatusError](err); ok {
			code = answer.Code
		}
		if text := errorText(err); text != want.err || code != want.code {
			t.Errorf("%s: %d, error %q, want %d, %q", path, code, text, want.code, want.err)
		}
		if got, want := <-calls, "POST "+path+" application/json auditdrain 7 {}"; got != want {
			t.Errorf("call %q, want %q", got, want)
		}
		if len(calls) > 0 {
			t.Errorf("%s: another call: %q", path, <-calls)
		}
	}
	server.Close()
	if err := c.Post(t.Context(), server.URL+"/secret", nil, nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one without the address", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type silent struct{}

func (silent) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestReceiverThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := New(silent{}).Post(t.Context(), "https://example.com/", nil, nil)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != Timeout {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
