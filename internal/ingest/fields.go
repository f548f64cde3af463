package ingest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// fields is what validation needs to know of one event.
type fields struct {
	names     int
	schema    string
	id        string
	teamID    string
	timestamp int64
	has       struct {
		schema, id, teamID, timestamp, payload, action, actor bool
	}
}

// readFields reads one object through b.dec, noting wrong types as problems.
// It returns the offset at which the object began.
func (b *batch) readFields(e *fields) (start int64, err error) {
	if _, err := b.dec.ReadToken(); err != nil {
		return 0, err
	}
	start = b.dec.InputOffset() - 1
	for b.dec.PeekKind() != '}' {
		tok, err := b.dec.ReadToken()
		if err != nil {
			return 0, err
		}
		e.names++
		switch name := tok.String(); name {
		case "schema":
			e.has.schema = true
			e.schema, err = b.readString("schema")
		case "id":
			e.has.id = true
			e.id, err = b.readString("id")
		case "teamId":
			e.has.teamID = true
			e.teamID, err = b.readString("teamId")
		case "action":
			e.has.action = true
			err = b.requireText("action")
		case "timestamp":
			e.has.timestamp = true
			e.timestamp, err = b.readTimestamp()
		case "actor":
			e.has.actor = true
			err = b.readActor("actor")
		case "via":
			err = b.readVia()
		case "payload":
			e.has.payload = true
			err = b.requireKind("payload", '{')
		case "projectId", "requestId", "userAgent", "ipAddress", "tokenId":
			err = b.requireKind(name, '"')
		default: // unknown fields are the producer's business
			err = b.dec.SkipValue()
		}
		if err != nil {
			return 0, err
		}
	}
	_, err = b.dec.ReadToken()
	return start, err
}

// check notes what is missing or not allowed, given what readFields found.
func (b *batch) check(e *fields) {
	if want := b.namespace.Schema(); e.has.schema && e.schema != wrongType && e.schema != want {
		b.problem("schema", "%q is not allowed: use %q, or leave it out", e.schema, want)
	}
	if e.has.teamID && e.teamID != wrongType && e.teamID != b.teamID {
		b.problem("teamId", "%q is not the team of this request, %q: leave it out, or send the event to its own team", e.teamID, b.teamID)
	}
	if e.has.id && e.id != wrongType && !auditdrain.ValidEventID(e.id) {
		b.problem("id", "%q is not allowed: use 1 to 128 of A-Z, a-z, 0-9, _, - and . (it becomes part of the object key)", clip(e.id))
	}
	if !e.has.action {
		b.problem("action", "missing: say what was done, such as \"drain-created\"")
	}
	if !e.has.actor {
		b.problem("actor", `missing: say who did it, as {"type","id","name"}`)
	}
}

// readTimestamp reads Unix milliseconds: a whole number, since a fraction
// would be lost in the object's key.
func (b *batch) readTimestamp() (int64, error) {
	if kind := b.dec.PeekKind(); kind != '0' {
		return 0, b.wrongKind("timestamp", kind, "a number: Unix time in milliseconds")
	}
	raw, err := b.dec.ReadValue()
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		b.problem("timestamp", "%s is not allowed: use Unix time in whole milliseconds", clip(string(raw)))
		return 0, nil
	}
	latest := b.now.Add(auditdrain.MaxTimestampAhead)
	if ms < auditdrain.MinTimestamp.UnixMilli() || ms > latest.UnixMilli() {
		b.problem("timestamp", "%d is not allowed: use Unix time in milliseconds from %s to one day ahead (%s)",
			ms, auditdrain.MinTimestamp.Format(time.DateOnly), latest.UTC().Format(time.RFC3339))
		return 0, nil
	}
	return ms, nil
}

// readVia reads the delegation chain, an array of actors.
func (b *batch) readVia() error {
	if kind := b.dec.PeekKind(); kind != '[' {
		return b.wrongKind("via", kind, "an array of actors")
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	for i := 0; b.dec.PeekKind() != ']'; i++ {
		if err := b.readActor(fmt.Sprintf("via[%d]", i)); err != nil {
			return err
		}
	}
	_, err := b.dec.ReadToken()
	return err
}

// readActor reads {"type","id","name","email"?}.
func (b *batch) readActor(field string) error {
	if kind := b.dec.PeekKind(); kind != '{' {
		return b.wrongKind(field, kind, `an object {"type","id","name"}`)
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	var hasType, hasID, hasName bool
	for b.dec.PeekKind() != '}' {
		tok, err := b.dec.ReadToken()
		if err != nil {
			return err
		}
		switch tok.String() {
		case "type":
			hasType = true
			err = b.readActorType(field + ".type")
		case "id":
			hasID = true
			err = b.requireText(field + ".id")
		case "name":
			hasName = true
			err = b.requireKind(field+".name", '"')
		case "email":
			err = b.requireKind(field+".email", '"')
		default:
			err = b.dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := b.dec.ReadToken(); err != nil {
		return err
	}
	if !hasType {
		b.problem(field+".type", "missing: use user, app, system or integration")
	}
	if !hasID {
		b.problem(field+".id", "missing")
	}
	if !hasName {
		b.problem(field+".name", "missing")
	}
	return nil
}

func (b *batch) readActorType(field string) error {
	typ, err := b.readString(field)
	if err != nil {
		return err
	}
	switch typ {
	case "user", "app", "system", "integration":
	case wrongType:
	default:
		b.problem(field, "%q is not allowed: use user, app, system or integration", clip(typ))
	}
	return nil
}

// wrongType is what readString returns for a value that is not a string; it
// has already been noted as a problem, and is not valid UTF-8, so that no
// string in a body can be mistaken for it.
const wrongType = "\xff"

func (b *batch) readString(field string) (string, error) {
	if kind := b.dec.PeekKind(); kind != '"' {
		return wrongType, b.wrongKind(field, kind, "a string")
	}
	tok, err := b.dec.ReadToken()
	if err != nil {
		return "", err
	}
	return tok.String(), nil
}

// requireText skips a string that must not be empty.
func (b *batch) requireText(field string) error {
	if kind := b.dec.PeekKind(); kind != '"' {
		return b.wrongKind(field, kind, "a string")
	}
	raw, err := b.dec.ReadValue()
	if err != nil {
		return err
	}
	if string(raw) == `""` {
		b.problem(field, "must not be empty")
	}
	return nil
}

func (b *batch) requireKind(field string, want jsontext.Kind) error {
	if kind := b.dec.PeekKind(); kind != want {
		return b.wrongKind(field, kind, kindName(want))
	}
	return b.dec.SkipValue()
}

// wrongKind skips a value of the wrong type and notes it.
func (b *batch) wrongKind(field string, got jsontext.Kind, want string) error {
	if err := b.dec.SkipValue(); err != nil {
		return err
	}
	b.problem(field, "must be %s, not %s", want, kindName(got))
	return nil
}

// clip keeps error messages readable when the value is not.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
