package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// maxProblems is how many problems one answer lists; more help nobody.
const maxProblems = 100

// Decoder turns request bodies into events of one namespace.
// It is safe for concurrent use.
type Decoder struct {
	Namespace auditdrain.Namespace
	Now       func() time.Time
}

// Media types of ingest bodies.
const (
	TypeJSON   = "application/json"     // one event, or an array of events
	TypeNDJSON = "application/x-ndjson" // one event a line
)

// Decode validates a body of one of the media types above and returns its
// events, whose bytes are the producer's, white space aside, plus the fields
// that were absent and that the server fills in. If any event is bad, the
// error is an *auditdrain.Error that lists what is wrong with each
// (CodeInvalidEvent), and no event is returned. A batch that is too large is
// CodeTooLarge.
func (d *Decoder) Decode(teamID, mediaType string, body []byte) ([]auditdrain.Event, error) {
	b := &batch{
		namespace: d.Namespace,
		teamID:    teamID,
		now:       d.Now(),
		dec:       decoders.Get().(*jsontext.Decoder),
		// One buffer for all bodies: each event is a slice of it.
		arena: make([]byte, 0, len(body)+64),
	}
	defer decoders.Put(b.dec)

	var err error
	switch mediaType {
	case TypeJSON:
		err = b.readJSON(body)
	case TypeNDJSON:
		err = b.readLines(body)
	default:
		err = auditdrain.Errorf(auditdrain.CodeMediaType, "Content-Type: %q is not allowed: use %s (one event, or an array) or %s (one event a line)", mediaType, TypeJSON, TypeNDJSON)
	}
	if err != nil {
		return nil, err
	}
	if len(b.problems) > 0 {
		first := b.problems[0]
		return nil, &auditdrain.Error{
			Code:    auditdrain.CodeInvalidEvent,
			Message: fmt.Sprintf("nothing was stored: event %d: %s: %s", *first.Index, first.Field, first.Message),
			Details: b.problems,
		}
	}
	return b.events, nil
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// batch is the state of decoding one body.
type batch struct {
	namespace auditdrain.Namespace
	teamID    string
	now       time.Time
	dec       *jsontext.Decoder
	arena     []byte
	events    []auditdrain.Event
	problems  []auditdrain.Problem
	count     int // events begun, good or bad
}

func (b *batch) problem(field, format string, args ...any) {
	if len(b.problems) < maxProblems {
		index := b.count - 1
		b.problems = append(b.problems, auditdrain.Problem{Index: &index, Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// begin counts one more event.
func (b *batch) begin() error {
	if b.count == auditdrain.MaxBatchEvents {
		return auditdrain.Errorf(auditdrain.CodeTooLarge, "a batch may have at most %d events", auditdrain.MaxBatchEvents)
	}
	b.count++
	return nil
}

func (b *batch) readJSON(body []byte) error {
	b.dec.Reset(bytes.NewBuffer(body))
	switch b.dec.PeekKind() {
	case '[':
		if _, err := b.dec.ReadToken(); err != nil {
			return notJSON(err)
		}
		for b.dec.PeekKind() != ']' {
			if err := b.begin(); err != nil {
				return err
			}
			if err := b.readEvent(body); err != nil {
				return b.syntaxProblem(err)
			}
		}
		if _, err := b.dec.ReadToken(); err != nil {
			return notJSON(err)
		}
	default:
		if err := b.begin(); err != nil {
			return err
		}
		if err := b.readEvent(body); err != nil {
			if len(bytes.TrimSpace(body)) == 0 {
				return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body is empty: send one event, or an array of events")
			}
			return b.syntaxProblem(err)
		}
	}
	if _, err := b.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body goes on after its JSON value, at byte %d: send one event or one array, or use Content-Type: %s", b.dec.InputOffset(), TypeNDJSON)
	}
	return nil
}

func (b *batch) readLines(body []byte) error {
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if err := b.begin(); err != nil {
			return err
		}
		b.dec.Reset(bytes.NewBuffer(line))
		if err := b.readEvent(line); err != nil {
			if err := b.syntaxProblem(err); err != nil {
				return err
			}
			continue
		}
		if _, err := b.dec.ReadToken(); !errors.Is(err, io.EOF) {
			b.problem("", "the line goes on after the event: put each event on a line of its own")
		}
	}
	return nil
}

// syntaxProblem notes an event that is not JSON. Errors about limits pass.
func (b *batch) syntaxProblem(err error) error {
	var limit *auditdrain.Error
	if errors.As(err, &limit) {
		return err
	}
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		b.problem(string(syn.JSONPointer), "not valid JSON at byte %d: %v", syn.ByteOffset, syn.Err)
	} else {
		b.problem("", "not valid JSON: %v", err)
	}
	return nil
}

func notJSON(err error) error {
	return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body is not valid JSON: %v", err)
}

// readEvent reads one event from b.dec, whose input is src. The error is a
// syntax error or a limit; what else is wrong with the event is noted as
// problems.
func (b *batch) readEvent(src []byte) error {
	before := len(b.problems)
	if kind := b.dec.PeekKind(); kind != '{' {
		if err := b.dec.SkipValue(); err != nil {
			return err
		}
		b.problem("", "an event must be a JSON object, not %s", kindName(kind))
		return nil
	}
	var e fields
	start, err := b.readFields(&e)
	if err != nil {
		return err
	}
	raw := src[start:b.dec.InputOffset()]
	b.check(&e)

	from := len(b.arena)
	b.arena = appendCompact(b.arena, raw)
	b.fill(&e)
	body := b.arena[from:len(b.arena):len(b.arena)]
	if len(body) > auditdrain.MaxEventBytes {
		return auditdrain.Errorf(auditdrain.CodeTooLarge, "event %d has %d bytes: an event may have at most %d", b.count-1, len(body), auditdrain.MaxEventBytes)
	}
	if len(b.problems) == before {
		b.events = append(b.events, auditdrain.Event{ID: e.id, Timestamp: e.timestamp, Body: body})
	}
	return nil
}

// appendCompact appends src, which is valid JSON, without insignificant white
// space. Nothing else changes: not the spelling of numbers or strings, nor
// the order of names.
func appendCompact(dst, src []byte) []byte {
	copied := 0 // src[:copied] is in dst
	for i := 0; i < len(src); i++ {
		switch src[i] {
		case '"':
			for i++; src[i] != '"'; i++ {
				if src[i] == '\\' {
					i++
				}
			}
		case ' ', '\t', '\n', '\r':
			dst = append(dst, src[copied:i]...)
			copied = i + 1
		}
	}
	return append(dst, src[copied:]...)
}

// fill appends the fields that the producer left out to the event at the end
// of the arena, in a fixed order.
func (b *batch) fill(e *fields) {
	b.arena = b.arena[:len(b.arena)-1] // the closing brace
	first := e.names == 0
	add := func(name, value string) {
		if !first {
			b.arena = append(b.arena, ',')
		}
		first = false
		b.arena = append(b.arena, '"')
		b.arena = append(b.arena, name...)
		b.arena = append(b.arena, `":`...)
		b.arena = append(b.arena, value...)
	}
	// Namespaces, team IDs and event IDs have no character that JSON escapes.
	if !e.has.schema {
		add("schema", `"`+b.namespace.Schema()+`"`)
	}
	if !e.has.id {
		e.id = auditdrain.NewID("uev_")
		add("id", `"`+e.id+`"`)
	}
	if !e.has.teamID {
		add("teamId", `"`+b.teamID+`"`)
	}
	if !e.has.timestamp {
		e.timestamp = b.now.UnixMilli()
		add("timestamp", strconv.FormatInt(e.timestamp, 10))
	}
	if !e.has.payload {
		add("payload", "{}")
	}
	b.arena = append(b.arena, '}')
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "something else"
}
