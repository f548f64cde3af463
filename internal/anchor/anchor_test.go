package anchor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/leaktest"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

// teams are those there are, with their receivers.
type teams map[string]string

func (ts teams) Team(_ context.Context, id string) (auditdrain.Team, error) {
	url, ok := ts[id]
	if !ok {
		return auditdrain.Team{}, auditdrain.Errorf(auditdrain.CodeNotFound, "there is no team %q", id)
	}
	return auditdrain.Team{ID: id, AnchorURL: url}, nil
}

func headOf(t *testing.T, d *manifesttest.Drain) manifest.SignedHead {
	t.Helper()
	number := d.Next.Number - 1
	content, err := os.ReadFile(filepath.Join(d.Dir, filepath.FromSlash(manifest.SignatureKey(d.Next.DrainID, number))))
	if err != nil {
		t.Fatal(err)
	}
	head, err := manifest.ParseSignedHead(content)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func presigned(head manifest.SignedHead) func(context.Context) (manifest.SignedHead, error) {
	return func(context.Context) (manifest.SignedHead, error) { return head, nil }
}

// A receiver appends what it gets to a file, and does no more. That file tells a chain
// that was cut or written anew, with the operator's key, from the one that was anchored.
func TestWhatAReceiverAppends(t *testing.T) {
	leaktest.Check(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "anchors.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(file, r.Body); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client := webhook.New(nil)
	defer client.CloseIdleConnections()
	p := New(server.URL, teams{"team_acme": ""}, client)

	dir := t.TempDir()
	d, other := manifesttest.New(t, dir, "drn_1"), manifesttest.New(t, dir, "drn_2")
	for hour := range 4 {
		d.Hour(2)
		other.Hour(1)
		for range 1 + hour%2 { // some of them twice
			for _, head := range []manifest.SignedHead{headOf(t, d), headOf(t, other)} {
				if kept, err := p.Anchor(t.Context(), "team_acme", presigned(head)); !kept || err != nil {
					t.Fatal(kept, err)
				}
			}
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	anchors, err := verify.ReadAnchors(file)
	if err != nil || len(anchors) != 12 {
		t.Fatal(len(anchors), err)
	}

	run := func(dir string) *verify.Report {
		t.Helper()
		r, err := verify.Run(t.Context(), verify.Options{
			Places: []verify.Place{verify.Dir{Path: dir}}, Keys: manifesttest.Keys(manifesttest.Key(0)), Anchors: anchors, Drains: []string{"drn_1"},
			Grace: 2 * time.Hour, Concurrency: 4, Now: func() time.Time { return manifesttest.Start.Add(4 * time.Hour) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(dir); !r.Verified {
		t.Errorf("what is as it was: %v", r.Findings)
	}

	rewritten := t.TempDir()
	w := manifesttest.New(t, rewritten, "drn_1")
	for _, events := range []int{2, 2, 1, 2} {
		w.Hour(events)
	}
	cut := t.TempDir()
	c := manifesttest.New(t, cut, "drn_1")
	for range 3 {
		c.Hour(2)
	}
	for name, tt := range map[string]struct {
		dir  string
		want []uint64 // manifests that were anchored otherwise
	}{
		"cut":       {cut, []uint64{4, 4}}, // it was posted twice
		"rewritten": {rewritten, []uint64{3, 4, 4}},
	} {
		r := run(tt.dir)
		var found []uint64
		for _, f := range r.Findings {
			if f.Kind == verify.Anchor {
				found = append(found, f.Manifest)
			}
		}
		if diff := cmp.Diff(tt.want, found); diff != "" || r.ExitCode() != 14 {
			t.Errorf("%s: exit code %d, want 14; findings (-want +got):\n%s%v", name, r.ExitCode(), diff, r.Findings)
		}
	}
}

// receivers are in memory. Each answers with a status, or not at all.
type receivers struct {
	mu     sync.Mutex
	status map[string]int // by host; 0: it hangs
	calls  map[string]int
}

func (rs *receivers) RoundTrip(req *http.Request) (*http.Response, error) {
	rs.mu.Lock()
	rs.calls[req.URL.Host]++
	status := rs.status[req.URL.Host]
	rs.mu.Unlock()
	if status == 0 {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader("no"))}, nil
}

func (rs *receivers) set(host string, status int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.status[host], rs.calls[host] = status, 0
}

func (rs *receivers) called(host string) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.calls[host]
}

func newReceivers() *receivers { return &receivers{status: map[string]int{}, calls: map[string]int{}} }

func TestWhoseReceiver(t *testing.T) {
	for name, tt := range map[string]struct {
		url, own, called string
	}{
		"nobody's":       {"", "", ""},
		"all teams'":     {"https://all.example/", "", "all.example"},
		"its own":        {"", "https://own.example/", "own.example"},
		"its own of two": {"https://all.example/", "https://own.example/", "own.example"},
	} {
		rs := newReceivers()
		rs.set("all.example", 200)
		rs.set("own.example", 204)
		p := New(tt.url, teams{"team_acme": tt.own}, webhook.New(rs))
		kept, err := p.Anchor(t.Context(), "team_acme", presigned(manifest.SignedHead{}))
		if err != nil || kept != (tt.called != "") {
			t.Errorf("%s: %v, %v", name, kept, err)
		}
		for _, host := range []string{"all.example", "own.example"} {
			if want := map[bool]int{true: 1}[host == tt.called]; rs.called(host) != want {
				t.Errorf("%s: %s was called %d times, want %d", name, host, rs.called(host), want)
			}
		}
	}
	if kept, err := New("https://all.example/", teams{}, webhook.New(newReceivers())).Anchor(t.Context(), "team_x", presigned(manifest.SignedHead{})); kept || auditdrain.ErrorCode(err) != auditdrain.CodeNotFound {
		t.Errorf("a team that is not known: %v, %v", kept, err)
	}
}

// A receiver that hangs is called by one at a time, and costs the others no time.
func TestReceiverInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		rs.set("good.example", 200)
		p := New("https://good.example/", teams{"bad": "https://bad.example/", "good": ""}, webhook.New(rs))
		anchor := func(team string) (took time.Duration, err error) {
			began := time.Now()
			kept, err := p.Anchor(t.Context(), team, presigned(manifest.SignedHead{}))
			if kept != (err == nil) {
				t.Errorf("kept %v, and %v", kept, err)
			}
			return time.Since(began), err
		}
		var callers sync.WaitGroup
		for range 16 { // before it is known
			callers.Go(func() {
				if took, err := anchor("bad"); err == nil || took != webhook.Timeout {
					t.Errorf("after %v: %v", took, err)
				}
			})
		}
		callers.Wait()
		if n := rs.called("bad.example"); n != 16 {
			t.Errorf("%d calls at first, want 16", n)
		}
		if took, err := anchor("bad"); took != 0 || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not called at present") {
			t.Errorf("after %v: %v, want the last failure at once", took, err)
		}

		rs.set("bad.example", 0)
		until := time.Now().Add(time.Hour)
		for range 8 {
			callers.Go(func() {
				for time.Now().Before(until) {
					_, _ = anchor("bad")
					time.Sleep(5 * time.Second)
				}
			})
		}
		callers.Wait()
		if n := rs.called("bad.example"); n < 15 || n > 20 {
			t.Errorf("%d calls in an hour", n)
		}
		if took, err := anchor("good"); took != 0 || err != nil {
			t.Errorf("another receiver: after %v, %v", took, err)
		}

		rs.set("bad.example", 200)
		time.Sleep(mostPause)
		if took, err := anchor("bad"); took != 0 || err != nil {
			t.Errorf("it is well again: after %v, %v", took, err)
		}
		for range 3 {
			if _, err := anchor("bad"); err != nil {
				t.Errorf("and stays so: %v", err)
			}
		}
		var m dto.Metric
		if err := p.posts.WithLabelValues("kept").Write(&m); err != nil || m.GetCounter().GetValue() != 5 {
			t.Errorf("%v posts are counted as kept, want 5 (%v)", m.GetCounter().GetValue(), err)
		}
	})
}

// What a receiver thinks of one head says nothing about the next.
func TestRefusals(t *testing.T) {
	for status, paused := range map[int]bool{302: false, 400: false, 403: false, 404: false, 413: false, 429: true, 500: true, 503: true} {
		rs := newReceivers()
		rs.set("all.example", status)
		p := New("https://all.example/", teams{"t": ""}, webhook.New(rs))
		for range 2 {
			kept, err := p.Anchor(t.Context(), "t", presigned(manifest.SignedHead{}))
			if kept || err == nil || !strings.Contains(err.Error(), `"no"`) {
				t.Errorf("%d: %v, %v", status, kept, err)
			}
		}
		want := 2
		if paused {
			want = 1
		}
		if n := rs.called("all.example"); n != want {
			t.Errorf("%d: %d calls, want %d", status, n, want)
		}
	}
}

// That we are being stopped is not the receiver's trouble.
func TestStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		p := New("https://all.example/", teams{"t": ""}, webhook.New(rs))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Anchor(ctx, "t", presigned(manifest.SignedHead{})); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		rs.set("all.example", 200)
		if kept, err := p.Anchor(t.Context(), "t", presigned(manifest.SignedHead{})); !kept || err != nil {
			t.Errorf("%v, %v", kept, err)
		}
	})
}

// What cannot be signed is not the receiver's trouble either, also not while it is in
// some; and for nobody nothing is signed, which may cost money.
func TestNotSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := newReceivers()
		rs.set("all.example", 500)
		p := New("https://all.example/", teams{"t": ""}, webhook.New(rs))
		if _, err := p.Anchor(t.Context(), "t", presigned(manifest.SignedHead{})); err == nil {
			t.Error("no error")
		}
		time.Sleep(mostPause)
		rs.set("all.example", 200)
		noKey := errors.New("no key")
		unsigned := func(context.Context) (manifest.SignedHead, error) { return manifest.SignedHead{}, noKey }
		if kept, err := p.Anchor(t.Context(), "t", unsigned); kept || !errors.Is(err, noKey) || rs.called("all.example") > 0 {
			t.Errorf("%v, %v", kept, err)
		}
		if kept, err := p.Anchor(t.Context(), "t", presigned(manifest.SignedHead{})); !kept || err != nil {
			t.Errorf("%v, %v", kept, err)
		}
		if kept, err := New("", teams{"t": ""}, webhook.New(rs)).Anchor(t.Context(), "t", unsigned); kept || err != nil {
			t.Errorf("%v, %v", kept, err)
		}
	})
}
