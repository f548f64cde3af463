package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

// ndjson returns n events with ids uev_0, uev_1, …
func ndjson(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"uev_%d","timestamp":1779444000000,"action":"drain-created","n":18446744073709551617}`+"\n", i)
	}
	return b.String()
}

func TestSendAndSendAgain(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte(ndjson(2500)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := cli(t, url, "", "events", "send", file, "--team", "acme")
	if r.code != 0 || r.stdout != "accepted 2500, duplicates 0\n" || r.stderr != "" {
		t.Errorf("first: %+v", r)
	}
	if diff := cmp.Diff([]int{1000, 1000, 500}, f.batches); diff != "" {
		t.Error(diff)
	}
	if got, want := f.events["uev_2499"], `{"id":"uev_2499","timestamp":1779444000000,"action":"drain-created","n":18446744073709551617}`; got != want {
		t.Errorf("the last event arrived as %s", got)
	}
	r = cli(t, url, "", "events", "send", file, "--team", "acme", "--batch", "10000", "-o", "json")
	var got auditdrain.EventsResult
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || got != (auditdrain.EventsResult{Duplicates: 2500}) {
		t.Errorf("again: %+v", r)
	}
	for _, id := range f.teamIDs {
		if id != "acme" {
			t.Errorf("sent for team %q", id)
		}
	}
}

func TestSendReadsAnyLines(t *testing.T) {
	const a, b = `{"id":"a","timestamp":1}`, `{"id":"b","timestamp":2}`
	long := `{"id":"a","timestamp":1,"x":"` + strings.Repeat("x", 200_000) + `"}`
	wide := `{"id":"a",` + strings.Repeat(" ", auditdrain.MaxEventBytes) + `"timestamp":1}`
	for name, tc := range map[string]struct {
		input string
		want  []string
	}{
		"nothing":             {"", nil},
		"blank lines only":    {"\n \r\n\n", nil},
		"no line feed at end": {a + "\n" + b, []string{a, b}},
		"CRLF and blanks":     {"\r\n  " + a + "\t\r\n\r\n" + b + "\r\n", []string{a, b}},
		"longer than buffers": {long, []string{long}},
		"large white space":   {wide, []string{wide}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeService()
			var got []string
			f.refuse = func(lines [][]byte) *auditdrain.Error {
				for _, l := range lines {
					got = append(got, string(l))
				}
				return nil
			}
			r := cli(t, f.start(t), tc.input, "events", "send", "-")
			if want := fmt.Sprintf("accepted %d, duplicates 0\n", len(tc.want)); r.code != 0 || r.stdout != want {
				t.Errorf("%+v", r)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Batches end by bytes as well as by number, and nothing is lost between them.
func TestBatchesByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		for i := range 100 {
			fmt.Fprintf(&b, `{"id":"uev_%02d","timestamp":1,"x":"%s"}`+"\n", i, strings.Repeat("x", 2000))
		}
		long := fmt.Sprintf(`{"id":"long","timestamp":1,"x":"%s"}`+"\n", strings.Repeat("x", 60_000))
		f := newFakeService()
		s := newSender(t, throughFake(f))
		s.batchBytes = 50_000
		if err := s.send(t.Context(), strings.NewReader(b.String()+long+`{"id":"last","timestamp":1}`), false); err != nil {
			t.Fatal(err)
		}
		if want := (auditdrain.EventsResult{Accepted: 102}); s.total != want {
			t.Errorf("got %+v, want %+v", s.total, want)
		}
		if diff := cmp.Diff([]int{24, 24, 24, 24, 4, 1, 1}, f.batches); diff != "" {
			t.Error(diff)
		}
	})
}

// A line that cannot be sent stops the transfer there: what was before it has
// been sent, what comes after it has not.
func TestLineAtFault(t *testing.T) {
	for name, tc := range map[string]struct{ line, want string }{
		"no id":         {`{"action":"x","timestamp":1}`, "line 5: no id: sending the event again would deliver it twice; complete it, or use --allow-incomplete"},
		"no timestamp":  {`{"id":"a","action":"x"}`, "line 5: no timestamp: sending the event again would be refused; complete it, or use --allow-incomplete"},
		"neither":       {`{"action":"x"}`, "line 5: no id and no timestamp: sending the event again would deliver it twice; complete it, or use --allow-incomplete"},
		"nested":        {`{"payload":{"id":"a","timestamp":1}}`, "line 5: no id and no timestamp"},
		"other case":    {`{"ID":"a","Id":"b","Timestamp":1}`, "line 5: no id and no timestamp"},
		"number":        {`{"id":7}`, "line 5: id 7 is not allowed: use 1 to 128"},
		"null":          {`{"id":null}`, "line 5: id null is not allowed"},
		"empty":         {`{"id":""}`, `line 5: id "" is not allowed`},
		"slash":         {`{"id":"a/b"}`, `line 5: id "a/b" is not allowed`},
		"not JSON":      {`{"id":`, "line 5: not a JSON object: unexpected end of JSON input"},
		"array":         {`[{"id":"a"}]`, "line 5: not a JSON object: "},
		"null line":     {`null`, "line 5: not a JSON object: null"},
		"trailing":      {`{"id":"a"} {"id":"b"}`, "line 5: not a JSON object: "},
		"event too big": {`{"id":"a","x":"` + strings.Repeat("x", auditdrain.MaxEventBytes) + `"}`, "line 5: an event has at most 262144 bytes"},
		"line too long": {strings.Repeat("x", auditdrain.MaxBodyBytes+1), "line 5: longer than 33554432 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeService()
			r := cli(t, f.start(t), "\n"+ndjson(3)+tc.line+"\n"+`{"id":"after","timestamp":1}`+"\n", "events", "send", "-")
			if r.code != 1 || r.stdout != "accepted 3, duplicates 0\n" || !strings.HasPrefix(r.stderr, "auditdrain: -: "+tc.want) {
				t.Errorf("%+v, want %q", r, tc.want)
			}
			if len(f.events) != 3 {
				t.Errorf("%d events arrived, want 3", len(f.events))
			}
		})
	}
}

func TestAllowIncomplete(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	input := `{"action":"x"}` + "\n" + `{"action":"x","timestamp":1}` + "\n" + `{"id":"a"}` + "\n" + `{"id":"b","timestamp":1}`
	r := cli(t, url, input, "events", "send", "-", "--allow-incomplete")
	if r.code != 0 || r.stdout != "accepted 4, duplicates 0\n" {
		t.Errorf("%+v", r)
	}
	// An id that can never be accepted is refused all the same.
	r = cli(t, url, `{"id":7}`, "events", "send", "-", "--allow-incomplete")
	if r.code != 1 || !strings.Contains(r.stderr, "line 1: id 7 is not allowed") {
		t.Errorf("%+v", r)
	}
}

// A batch with an event that is not the same the second time is never sent
// twice, whatever happens.
func TestIncompleteIsSentOnce(t *testing.T) {
	const complete = `{"id":"a","timestamp":1}` + "\n"
	for input, want := range map[string]int{
		complete:                            sendAttempts,
		`{"action":"x"}`:                    1,
		`{"action":"x","timestamp":1}`:      1,
		`{"id":"b"}`:                        1,
		complete + `{"id":"b"}`:             1,
		`{"id":"b"}` + "\n" + complete:      1,
		`{"timestamp":1}` + "\n" + complete: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			s := newSender(t, func(*http.Request) (*http.Response, error) {
				n++
				return nil, io.ErrUnexpectedEOF
			})
			if err := s.send(t.Context(), strings.NewReader(input), true); err == nil {
				t.Error("no error")
			}
			if n != want {
				t.Errorf("%s was sent %d times, want %d", input, n, want)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newSender returns a sender whose network is f, so that time is synctest's.
func newSender(t *testing.T, f roundTripper) *sender {
	t.Helper()
	api, err := client.New("http://audit.test", testToken, client.WithHTTPClient(&http.Client{Transport: f}), client.WithAttempts(sendAttempts))
	if err != nil {
		t.Fatal(err)
	}
	return &sender{api: api, source: "-", batchEvents: 1000, batchBytes: maxBatchBytes}
}

// throughFake is a network that ends at f.
func throughFake(f *fakeService) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		f.ServeHTTP(rec, r)
		return rec.Result(), nil
	}
}

// Events from a pipe do not wait for their batch to fill.
func TestSlowPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeService()
		s := newSender(t, throughFake(f))
		in, producer := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.send(t.Context(), in, false) }()

		io.WriteString(producer, ndjson(3))
		time.Sleep(linger / 2) // synctest's clock
		synctest.Wait()
		if sent := f.sent(); len(sent) != 0 {
			t.Errorf("sent %v at once", sent)
		}
		time.Sleep(linger)
		synctest.Wait()
		if diff := cmp.Diff([]int{3}, f.sent()); diff != "" {
			t.Error(diff)
		}
		io.WriteString(producer, `{"id":"last","timestamp":1}`)
		producer.Close()
		if err := <-done; err != nil || s.total.Accepted != 4 {
			t.Errorf("%v, %+v", err, s.total)
		}
	})
}

func TestInterruptedWhileWaitingForInput(t *testing.T) {
	for input, want := range map[string]string{
		"":            "run it again to go on",
		ndjson(1):     "run it again to go on",
		"{\"n\":1}\n": "not safe to send again",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSender(t, throughFake(newFakeService()))
			in, producer := io.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.send(ctx, in, true) }()
			io.WriteString(producer, input)
			time.Sleep(2 * linger) // synctest's clock
			cancel()
			if err := <-done; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			producer.Close() // lets the reader end, which nothing else could
		})
	}
}

// Places in a batch mean nothing to who wrote the file: lines do.
func TestRefusalNamesLines(t *testing.T) {
	first, third := 0, 2
	f := newFakeService()
	f.refuse = func(lines [][]byte) *auditdrain.Error {
		if !bytes.Contains(lines[0], []byte("uev_4")) {
			return nil
		}
		return &auditdrain.Error{Code: auditdrain.CodeInvalidEvent, Message: "2 of 4 events are not valid", Details: []auditdrain.Problem{
			{Index: &first, Field: "action", Message: "missing"},
			{Index: &third, Field: "actor.type", Message: "bad"},
		}}
	}
	// A blank line before the second batch, and one within it.
	events := strings.SplitAfter(strings.TrimSuffix(ndjson(8), "\n"), "\n")
	input := strings.Join(events[:4], "") + "\n" + events[4] + "\n" + strings.Join(events[5:], "")
	r := cli(t, f.start(t), input, "events", "send", "-", "--batch", "4")
	want := ran{
		code:   1,
		stdout: "accepted 4, duplicates 0\n",
		stderr: "auditdrain: -, lines 6 to 10: refused, and none of them stored: 2 problems\n" +
			"  line 6: action: missing\n" +
			"  line 9: actor.type: bad\n",
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
}

func TestConflictNamesLines(t *testing.T) {
	f := newFakeService()
	f.refuse = func([][]byte) *auditdrain.Error {
		return &auditdrain.Error{Code: auditdrain.CodeConflict, Message: "1 id was accepted before with other bytes", IDs: []string{"uev_1"}}
	}
	r := cli(t, f.start(t), ndjson(3), "events", "send", "-")
	want := ran{
		code:   1,
		stdout: "accepted 0, duplicates 0\n",
		stderr: "auditdrain: -, lines 1 to 3: refused, and none of them stored: 1 problem\n" +
			"  line 2: id: uev_1 was accepted before with other bytes\n",
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
}

func TestOtherRefusals(t *testing.T) {
	f := newFakeService()
	f.refuse = func([][]byte) *auditdrain.Error {
		return auditdrain.Errorf(auditdrain.CodeForbidden, "role viewer may not")
	}
	r := cli(t, f.start(t), ndjson(1), "events", "send", "-")
	if r.code != 1 || r.stderr != "auditdrain: -, lines 1 to 1: role viewer may not\n" {
		t.Errorf("%+v", r)
	}
}

func TestSendUsage(t *testing.T) {
	url := newFakeService().start(t)
	for _, n := range []string{"0", "10001"} {
		if r := cli(t, url, "", "events", "send", "-", "--batch", n); r.code != 2 || !strings.Contains(r.stderr, "use 1 to 10000") {
			t.Errorf("--batch %s: %+v", n, r)
		}
	}
	if r := cli(t, url, "", "events", "send", filepath.Join(t.TempDir(), "none")); r.code != 1 || !strings.Contains(r.stderr, "no such file") {
		t.Errorf("%+v", r)
	}
}

func TestProgressText(t *testing.T) {
	sent := auditdrain.EventsResult{Accepted: 1500, Duplicates: 500}
	for want, got := range map[string]string{
		"2000 events (500 duplicates), 1000/s":                                  progressText(1000, 0, sent, 2*time.Second),
		"[############            ]  50%  2000 events (500 duplicates), 1000/s": progressText(500, 1000, sent, 2*time.Second),
		"[########################] 100%  10 events":                            progressText(1000, 1000, auditdrain.EventsResult{Accepted: 10}, 0),
		"[########################] 100%  11 events":                            progressText(2000, 1000, auditdrain.EventsResult{Accepted: 11}, 0), // the file grew
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
