package ingest

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// fields is what validation keeps of one event.
type fields struct {
	id        string
	timestamp int64
	has       struct {
		schema, id, teamID, timestamp, payload, action, actor bool
	}
}

// readFields reads one event, and returns its bytes with the white space in
// them. They are nil if it is not an object.
func (b *batch) readFields(e *fields) ([]byte, error) {
	if b.dec.PeekKind() != '{' {
		_, _, err := b.read('{')
		return nil, err
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return nil, err
	}
	start := b.dec.InputOffset() - 1
	for b.dec.PeekKind() != '}' {
		name, err := b.readName()
		if err != nil {
			return nil, err
		}
		switch string(name) {
		case "schema":
			e.has.schema = true
			err = b.readSchema()
		case "id":
			e.has.id = true
			e.id, err = b.readID()
		case "teamId":
			e.has.teamID = true
			err = b.readTeamID()
		case "action":
			e.has.action = true
			err = b.requireText()
		case "timestamp":
			e.has.timestamp = true
			e.timestamp, err = b.readTimestamp()
		case "actor":
			e.has.actor = true
			err = b.readActor()
		case "via":
			err = b.readVia()
		case "payload":
			e.has.payload = true
			_, _, err = b.read('{')
		case "projectId", "requestId", "userAgent", "ipAddress", "tokenId":
			_, _, err = b.read('"')
		default: // unknown fields are the producer's business
			_, err = b.dec.ReadValue()
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return nil, err
	}
	if !e.has.action {
		b.problem("action", `missing: say what was done, such as "drain-created"`)
	}
	if !e.has.actor {
		b.problem("actor", `missing: say who did it, as {"type","id","name"}`)
	}
	return b.src[start:b.dec.InputOffset()], nil
}

func (b *batch) readSchema() error {
	text, ok, err := b.readText()
	if ok && string(text) != b.schema {
		b.problem("", "%q is not allowed: use %q, or leave it out", clip(text), b.schema)
	}
	return err
}

func (b *batch) readID() (string, error) {
	text, ok, err := b.readText()
	if !ok {
		return "", err
	}
	id := string(text)
	if !auditdrain.ValidEventID(id) {
		b.problem("", "%q is not allowed: use 1 to 128 of A-Z, a-z, 0-9, _, - and . (it becomes part of the object key)", clip(id))
	}
	return id, nil
}

func (b *batch) readTeamID() error {
	text, ok, err := b.readText()
	if ok && string(text) != b.teamID {
		b.problem("", "%q is not the team of this request, %q: leave it out, or send the event to its own team", clip(text), b.teamID)
	}
	return err
}

// readTimestamp reads Unix milliseconds: a whole number, since a fraction
// would be lost in the object's key.
func (b *batch) readTimestamp() (int64, error) {
	raw, ok, err := b.read('0')
	if !ok {
		return 0, err
	}
	ms, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		b.problem("", "%s is not allowed: use Unix time in whole milliseconds", clip(raw))
		return 0, nil
	}
	latest := b.now.Add(auditdrain.MaxTimestampAhead)
	if ms < auditdrain.MinTimestamp.UnixMilli() || ms > latest.UnixMilli() {
		b.problem("", "%d is not allowed: use Unix time in milliseconds from %s to one day ahead (%s)",
			ms, auditdrain.MinTimestamp.Format(time.DateOnly), latest.UTC().Format(time.RFC3339))
	}
	return ms, nil
}

// readVia reads the delegation chain, an array of actors.
func (b *batch) readVia() error {
	if b.dec.PeekKind() != '[' {
		_, _, err := b.read('[')
		return err
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	for b.dec.PeekKind() != ']' {
		if err := b.readActor(); err != nil {
			return err
		}
	}
	_, err := b.dec.ReadToken()
	return err
}

// readActor reads {"type","id","name","email"?}.
func (b *batch) readActor() error {
	if b.dec.PeekKind() != '{' {
		_, _, err := b.read('{')
		return err
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	var hasType, hasID, hasName bool
	for b.dec.PeekKind() != '}' {
		name, err := b.readName()
		if err != nil {
			return err
		}
		switch string(name) {
		case "type":
			hasType = true
			err = b.readActorType()
		case "id":
			hasID = true
			err = b.requireText()
		case "name":
			hasName = true
			_, _, err = b.read('"')
		case "email":
			_, _, err = b.read('"')
		default:
			_, err = b.dec.ReadValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	if !hasType {
		b.problem("type", "missing: use user, app, system or integration")
	}
	if !hasID {
		b.problem("id", "missing: say which one it is")
	}
	if !hasName {
		b.problem("name", "missing: say what people call it")
	}
	return nil
}

func (b *batch) readActorType() error {
	text, ok, err := b.readText()
	if !ok {
		return err
	}
	switch string(text) {
	case "user", "app", "system", "integration":
	default:
		b.problem("", "%q is not allowed: use user, app, system or integration", clip(text))
	}
	return nil
}

// requireText reads a string that must not be empty.
func (b *batch) requireText() error {
	raw, ok, err := b.read('"')
	if ok && len(raw) == len(`""`) {
		b.problem("", "must not be empty")
	}
	return err
}

// readText reads a string and returns its text, which is valid until the next
// read. If the value is not a string, that is noted and ok is false.
func (b *batch) readText() (text []byte, ok bool, err error) {
	raw, ok, err := b.read('"')
	if !ok {
		return nil, false, err
	}
	text, err = unquote(raw)
	return text, err == nil, err
}

// readName reads the name of a member, which is valid until the next read.
func (b *batch) readName() ([]byte, error) {
	raw, err := b.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	return unquote(raw)
}

// unquote returns the text of a JSON string. It may share memory with it.
func unquote(raw jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	return jsontext.AppendUnquote(nil, raw)
}

// read reads the next value, which must be of the given kind: if not, that is
// noted and ok is false.
func (b *batch) read(kind jsontext.Kind) (raw jsontext.Value, ok bool, err error) {
	if raw, err = b.dec.ReadValue(); err != nil {
		return nil, false, err
	}
	if got := raw.Kind(); got != kind {
		b.problem("", "must be %s, not %s", kindName(kind), kindName(got))
		return nil, false, nil
	}
	return raw, true, nil
}
