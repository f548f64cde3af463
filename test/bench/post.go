package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/auditdrain/auditdrain"
	"golang.org/x/sync/errgroup"
)

// postOptions are what the poster is started with.
type postOptions struct {
	URL      string
	Token    string
	Events   int
	Senders  int
	Patience time.Duration // with one answer
}

// poster stands for the platform whose events are drained: it makes teams and
// drains, then posts events.
type poster struct {
	postOptions
	http *http.Client
}

// runPost makes the teams and drains, and all batches before the work begins,
// so that making them takes nothing from the service. One event per drain
// warms up the service's sessions and connections.
func runPost(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("want 1 argument, have %d", len(args))
	}
	var p poster
	if err := json.Unmarshal([]byte(args[0]), &p.postOptions); err != nil {
		return err
	}
	p.http = &http.Client{Timeout: p.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: p.Senders}}

	warm, work := makeBatches(1, drains, 1), makeBatches(2, p.Events, batchEvents)
	return produce(stdin, stdout,
		func() (int, error) {
			for i := range drains {
				if err := p.createDrain(ctx, i); err != nil {
					return 0, err
				}
			}
			return p.postAll(ctx, warm)
		},
		func() (int, error) { return p.postAll(ctx, work) })
}

type batch struct {
	teamID string
	events int
	body   []byte // NDJSON
}

// makeBatches makes batches of size events, for one team after the other.
func makeBatches(seed uint64, events, size int) []batch {
	maker := newEventMaker(seed)
	batches := make([]batch, 0, events/size)
	for i := range events / size {
		b := batch{teamID: teamID(i % drains), events: size}
		for range size {
			b.body = append(append(b.body, maker.event(b.teamID).Body...), '\n')
		}
		batches = append(batches, b)
	}
	return batches
}

func (p *poster) createDrain(ctx context.Context, i int) error {
	id := teamID(i)
	team := map[string]string{"id": id, "slug": fmt.Sprintf("bench-%03d", i), "name": fmt.Sprintf("Bench %d", i)}
	if err := p.postJSON(ctx, "/v1/teams", team); err != nil {
		return err
	}
	return p.postJSON(ctx, "/v1/drains?teamId="+id, map[string]any{
		"name":     "bench",
		"projects": "all",
		"schemas":  auditdrain.AuditLogSchemas(),
		"delivery": deliveryOf(i),
		"source":   auditdrain.Source{Kind: "self-served"},
	})
}

// postAll posts the batches, Senders at a time, and returns the number of
// events that the service has acknowledged.
func (p *poster) postAll(ctx context.Context, batches []batch) (int, error) {
	var next, accepted atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range p.Senders {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					return nil
				}
				b := batches[i]
				answer, err := p.post(ctx, "/v1/events?teamId="+b.teamID, "application/x-ndjson", b.body)
				if err != nil {
					return err
				}
				var ack struct{ Accepted, Duplicates int }
				if err := json.Unmarshal(answer, &ack); err != nil {
					return fmt.Errorf("answer to a batch: %w", err)
				}
				if ack.Accepted != b.events || ack.Duplicates != 0 {
					return fmt.Errorf("batch of %d new events: %s", b.events, answer)
				}
				accepted.Add(int64(ack.Accepted))
			}
		})
	}
	err := g.Wait()
	return int(accepted.Load()), err
}

func (p *poster) postJSON(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = p.post(ctx, path, "application/json", body)
	return err
}

// post returns the body of a 2xx answer.
func (p *poster) post(ctx context.Context, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	req.Header.Set("Content-Type", contentType)
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("POST %s: %s: %s", path, resp.Status, answer)
	}
	return answer, nil
}
