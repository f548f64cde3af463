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
// that were absent and that the server fills in. They do not share memory
// with body. If any event is bad, the error is an *auditdrain.Error that lists
// what is wrong with each (CodeInvalidEvent, the first 100 problems), and no
// event is returned. A batch that is too large is CodeTooLarge.
func (d *Decoder) Decode(teamID, mediaType string, body []byte) ([]auditdrain.Event, error) {
	b := &batch{
		schema: d.Namespace.Schema(),
		teamID: teamID,
		now:    d.Now(),
		dec:    decoders.Get().(*jsontext.Decoder),
	}
	defer b.release()

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
		where := fmt.Sprintf("event %d", *first.Index)
		if first.Field != "" {
			where += ": " + first.Field
		}
		more := ""
		if len(b.problems) == maxProblems {
			more = fmt.Sprintf(" (details lists the first %d problems)", maxProblems)
		}
		return nil, &auditdrain.Error{
			Code:    auditdrain.CodeInvalidEvent,
			Message: fmt.Sprintf("nothing was stored: %s: %s%s", where, first.Message, more),
			Details: b.problems,
		}
	}
	return b.events, nil
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// batch is the state of decoding one body.
type batch struct {
	schema string
	teamID string
	now    time.Time

	dec      *jsontext.Decoder
	src      []byte       // what dec reads: the body, or a line of it
	input    bytes.Buffer // src, as dec wants it
	inArray  bool         // dec's values are elements of an array
	index    int          // of the event that is being read
	scratch  []byte       // the event in its final form
	events   []auditdrain.Event
	problems []auditdrain.Problem
}

func (b *batch) reset(src []byte) {
	b.src = src
	b.input = *bytes.NewBuffer(src)
	b.dec.Reset(&b.input) // does not copy, given a bytes.Buffer
}

func (b *batch) release() {
	b.dec.Reset(new(bytes.Buffer)) // or the pool would keep the body
	decoders.Put(b.dec)
}

// space is what JSON calls white space.
const space = " \t\r\n"

func (b *batch) readJSON(body []byte) error {
	if len(bytes.Trim(body, space)) == 0 {
		return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body is empty: send one event, or an array of events")
	}
	b.reset(body)
	var err error
	if b.dec.PeekKind() == '[' {
		err = b.readArray()
	} else {
		err = b.readEvent()
	}
	if err != nil {
		return b.syntaxProblem(err)
	}
	if end := b.dec.InputOffset(); !b.atEnd() {
		return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body goes on after its JSON value, at byte %d: send one event or one array, or use Content-Type: %s", end, TypeNDJSON)
	}
	return nil
}

func (b *batch) readArray() error {
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	b.inArray = true
	for ; b.dec.PeekKind() != ']'; b.index++ {
		if err := b.readEvent(); err != nil {
			return err
		}
	}
	_, err := b.dec.ReadToken()
	return err
}

func (b *batch) readLines(body []byte) error {
	for line := range bytes.Lines(body) {
		line = bytes.Trim(line, space)
		if len(line) == 0 {
			continue
		}
		b.reset(line)
		if err := b.readEvent(); err != nil {
			if err := b.syntaxProblem(err); err != nil {
				return err
			}
		} else if !b.atEnd() {
			b.problem("", "the line goes on after the event: put each event on a line of its own")
		}
		b.index++
	}
	return nil
}

// atEnd reports whether nothing but white space is left.
func (b *batch) atEnd() bool {
	_, err := b.dec.ReadToken()
	return errors.Is(err, io.EOF)
}

// readEvent reads one event. The error is a syntax error or a limit; what
// else is wrong with the event is noted as problems.
func (b *batch) readEvent() error {
	before := len(b.problems)
	var e fields
	raw, err := b.readFields(&e)
	if err != nil {
		return err
	}
	if b.index == auditdrain.MaxBatchEvents {
		return auditdrain.Errorf(auditdrain.CodeTooLarge, "a batch may have at most %d events", auditdrain.MaxBatchEvents)
	}
	if len(b.problems) > before {
		return nil
	}
	b.scratch = appendCompact(b.scratch[:0], raw)
	b.fill(&e)
	if len(b.scratch) > auditdrain.MaxEventBytes {
		return auditdrain.Errorf(auditdrain.CodeTooLarge, "event %d has %d bytes: an event may have at most %d", b.index, len(b.scratch), auditdrain.MaxEventBytes)
	}
	b.events = append(b.events, auditdrain.Event{ID: e.id, Timestamp: e.timestamp, Body: bytes.Clone(b.scratch)})
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

// fill adds the fields that the producer left out at the end of a good event,
// in a fixed order.
func (b *batch) fill(e *fields) {
	out := b.scratch[:len(b.scratch)-1] // without the closing brace
	add := func(name string) {
		out = append(out, `,"`...) // there are fields before it: some are required
		out = append(out, name...)
		out = append(out, `":`...)
	}
	// Schemas, event IDs and team IDs have no character that JSON escapes.
	addText := func(name, value string) {
		add(name)
		out = append(out, '"')
		out = append(out, value...)
		out = append(out, '"')
	}
	if !e.has.schema {
		addText("schema", b.schema)
	}
	if !e.has.id {
		e.id = auditdrain.NewID("uev_")
		addText("id", e.id)
	}
	if !e.has.teamID {
		addText("teamId", b.teamID)
	}
	if !e.has.timestamp {
		e.timestamp = b.now.UnixMilli()
		add("timestamp")
		out = strconv.AppendInt(out, e.timestamp, 10)
	}
	if !e.has.payload {
		add("payload")
		out = append(out, "{}"...)
	}
	b.scratch = append(out, '}')
}
