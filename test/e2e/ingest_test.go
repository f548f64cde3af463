package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
)

// request is one ingest request on the wire.
type request struct {
	contentType, contentEncoding string
	body                         []byte
}

// encode puts events in one of the shapes that a producer can send.
func encode(rng *rand.Rand, events ...event) request {
	var r request
	var b strings.Builder
	switch n := rng.IntN(3); {
	case n == 0 && len(events) == 1:
		r.contentType = pick(rng, "", "application/json", "application/json; charset=utf-8")
		writeSpaced(&b, rng, events[0].tokens, " ", "\t", "\n", "\r\n")
	case n == 1:
		r.contentType = pick(rng, "application/json", "Application/JSON")
		var all [][]string
		for _, e := range events {
			all = append(all, e.tokens)
		}
		writeSpaced(&b, rng, list(all...), " ", "\t", "\n", "\r\n")
	default:
		r.contentType = "application/x-ndjson"
		end := pick(rng, "\n", "\r\n", "\n\n", "\n  \n")
		for i, e := range events {
			if i > 0 {
				b.WriteString(end)
			}
			writeSpaced(&b, rng, e.tokens, " ", "\t")
		}
		b.WriteString(pick(rng, "", end))
	}
	return compress(rng, r, []byte(b.String()))
}

// writeSpaced writes JSON with white space where it does not matter.
func writeSpaced(b *strings.Builder, rng *rand.Rand, tokens []string, spaces ...string) {
	often := rng.IntN(4) // never, rarely, …
	for _, t := range tokens {
		if rng.IntN(8) < often {
			b.WriteString(pick(rng, spaces...))
		}
		b.WriteString(t)
		if rng.IntN(8) < often {
			b.WriteString(pick(rng, spaces...))
		}
	}
}

func compress(rng *rand.Rand, r request, plain []byte) request {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch r.contentEncoding = pick(rng, "", "gzip", "zstd"); r.contentEncoding {
	case "":
		r.body = plain
		return r
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		zw, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err) // the options are constants
		}
		w = zw
	}
	_, _ = w.Write(plain) // a bytes.Buffer takes all
	_ = w.Close()
	r.body = buf.Bytes()
	return r
}

// answer is what came of an ingest request.
type answer struct {
	status     int
	retryAfter string
	auditdrain.EventsResult
	Error *auditdrain.Error `json:"error"`
}

func (a answer) String() string {
	if a.Error != nil {
		return fmt.Sprintf("%d %s: %s", a.status, a.Error.Code, a.Error.Message)
	}
	return fmt.Sprintf("%d accepted %d, duplicates %d", a.status, a.Accepted, a.Duplicates)
}

// producer sends the events of one team.
type producer struct {
	http  *http.Client
	team  string
	token string
}

// newHTTPClient returns a client whose connections end with the test.
func newHTTPClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// send posts r once. After an error the outcome is unknown.
func (p producer) send(ctx context.Context, url string, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events?teamId="+p.team, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil // so that the transport never sends it twice
	req.Header.Set("Authorization", "Bearer "+p.token)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.contentEncoding != "" {
		req.Header.Set("Content-Encoding", r.contentEncoding)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("answer %d %q: %w", resp.StatusCode, body, err)
	}
	return a, nil
}

// post is send where the service must answer.
func (p producer) post(t *testing.T, url string, r request) answer {
	t.Helper()
	a, err := p.send(t.Context(), url, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// plainly is the simplest request with these events.
func plainly(events ...event) request {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(strings.Join(e.tokens, "") + "\n")
	}
	return request{contentType: "application/x-ndjson", body: []byte(b.String())}
}
