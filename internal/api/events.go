package api

import (
	"io"
	"mime"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/ingest"
)

// eventDoc is an event as /openapi.json describes it. Ingest itself reads
// events without such a type, so that their bytes stay the producer's.
type eventDoc struct {
	Schema    string         `json:"schema,omitempty" jsonschema:"<namespace>.audit_log.v1; filled in when absent"`
	ID        string         `json:"id,omitempty" jsonschema:"1 to 128 of A-Z a-z 0-9 _ - . ; made by the server when absent, which gives up idempotence"`
	TeamID    string         `json:"teamId,omitempty" jsonschema:"must be the team of the request; filled in when absent"`
	ProjectID string         `json:"projectId,omitempty"`
	Action    string         `json:"action"`
	Timestamp int64          `json:"timestamp,omitempty" jsonschema:"Unix milliseconds, from 2000-01-01 to one day ahead; set by the server when absent, which gives up idempotence"`
	Actor     actorDoc       `json:"actor"`
	Via       []actorDoc     `json:"via,omitempty"`
	RequestID string         `json:"requestId,omitempty"`
	UserAgent string         `json:"userAgent,omitempty"`
	IPAddress string         `json:"ipAddress,omitempty"`
	TokenID   string         `json:"tokenId,omitempty"`
	Payload   map[string]any `json:"payload,omitempty" jsonschema:"action-specific; {} when absent"`
}

type actorDoc struct {
	Type  string `json:"type" jsonschema:"user, app, system or integration"`
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

func (s *Server) postEvents(c *call) (any, error) {
	if c.team.ID == auditdrain.SystemTeam {
		discardBody(c)
		return nil, errSystemEvents
	}
	if err := s.admit(); err != nil {
		discardBody(c)
		return nil, err
	}
	contentType := c.Header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = contentType // the decoder refuses it by name
	}
	if contentType == "" {
		mediaType = ingest.TypeJSON
	}
	body, release, err := s.bodies.ReadBody(c.Body, c.Header.Get("Content-Encoding"), c.ContentLength)
	defer release()
	if auditdrain.ErrorCode(err) == auditdrain.CodeTooLarge {
		discardBody(c)
	}
	if err != nil {
		return nil, err
	}
	events, err := s.decoder.Decode(c.team.ID, mediaType, body)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return auditdrain.EventsResult{}, nil
	}
	result, err := s.Events.Commit(c.Context(), auditdrain.Batch{TeamID: c.team.ID, Events: events})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// admit tells whether events can be taken, before anything is read of them.
func (s *Server) admit() error {
	if s.draining.Load() {
		return shuttingDown()
	}
	return s.Admit()
}

// discardBody reads what is left of a body that is refused: clients that write
// all before they read would meet a closed connection instead of our answer.
func discardBody(c *call) {
	if c.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, c.Body, 3*auditdrain.MaxBodyBytes)
	}
}
