package client

import (
	"context"
	"net/http"

	"github.com/auditdrain/auditdrain"
)

// compressFrom is the size from which a body is worth compressing.
const compressFrom = 4 << 10

// SendEvents sends a batch of events, one JSON object a line (as json.Encoder
// writes them), and returns once all of them are durable. A batch is accepted
// whole or not at all; its limits are auditdrain.MaxBatchEvents,
// MaxBodyBytes and MaxEventBytes.
//
// Every event must have an id and a timestamp, for an event is idempotent by
// its id and its bytes: after a transport error, and when the server is busy,
// the batch is sent again, and events that had been accepted count as
// Duplicates. After an error the caller may send the same bytes again just as
// well, for as long as the server keeps what it accepted. Use SendEventsOnce
// for events that lack one of the two: the server fills them in, differently
// each time.
//
// Events that are not valid are auditdrain.CodeInvalidEvent, with their index
// in the batch in Details; ids that were accepted before with other bytes are
// auditdrain.CodeConflict, with IDs.
func (c *Client) SendEvents(ctx context.Context, team string, ndjson []byte) (auditdrain.EventsResult, error) {
	return c.sendEvents(ctx, team, ndjson, true)
}

// SendEventsOnce is SendEvents without repeats, for batches with events that
// lack an id or a timestamp. They are not idempotent: sent again, an event
// without an id is accepted a second time, and one with an id but without a
// timestamp is auditdrain.CodeConflict. After an error that is not an
// *auditdrain.Error, the batch may have been accepted.
func (c *Client) SendEventsOnce(ctx context.Context, team string, ndjson []byte) (auditdrain.EventsResult, error) {
	return c.sendEvents(ctx, team, ndjson, false)
}

func (c *Client) sendEvents(ctx context.Context, team string, ndjson []byte, mayRetry bool) (auditdrain.EventsResult, error) {
	r := request{
		method:   http.MethodPost,
		path:     []string{"v1", "events"},
		query:    teamQuery(team),
		header:   http.Header{"Content-Type": {"application/x-ndjson"}},
		body:     ndjson,
		mayRetry: mayRetry,
	}
	if len(ndjson) >= compressFrom {
		r.body = c.compressor.EncodeAll(ndjson, make([]byte, 0, len(ndjson)/4))
		r.header.Set("Content-Encoding", "zstd")
	}
	var out auditdrain.EventsResult
	err := c.call(ctx, r, &out)
	return out, err
}
