package ingest

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "[]", whole, "[" + whole + "," + other + "]", whole + "\r\n\n" + other, "\xef\xbb\xbf" + whole, whole + "x", "[" + whole,
		`{"action":"a","actor":{"type":"user","id":"u","name":"n"}}`,
		`{ "\u0061ction" : "a" , "id":"a\u002fb","actor":{"type":"user","id":"u","name":"n"},"via":[{}],"x":[1e+2,-0,"\ud83d\ude00"]}`,
		with("x", `1,"x":2`), with("x", "\"\xff\""), with("timestamp", "1e12"), with("payload", `{"a":[[{"b":"\\"}]]}`),
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		mediaType := TypeJSON
		parts := [][]byte{body}
		if lines {
			mediaType = TypeNDJSON
			parts = slices.DeleteFunc(bytes.Split(body, []byte("\n")), func(line []byte) bool {
				return len(bytes.Trim(line, " \t\r")) == 0
			})
		}
		before := bytes.Clone(body)
		d := testDecoder()
		events, err := d.Decode("team_a", mediaType, body)
		if !bytes.Equal(body, before) {
			t.Fatalf("Decode has changed its input to %q", body)
		}
		if err != nil {
			checkRefusal(t, events, err)
			return
		}
		// What we take, encoding/json takes; not the other way round.
		for _, part := range parts {
			if !json.Valid(part) {
				t.Fatalf("accepted %q, which is not JSON", part)
			}
		}
		if lines && len(events) != len(parts) {
			t.Fatalf("%d events from %d lines", len(events), len(parts))
		}
		for _, e := range events {
			checkEvent(t, e)
			checkDeliverable(t, e)
			again, err := d.Decode("team_a", mediaType, e.Body)
			if err != nil {
				t.Fatalf("decoded again: %v\n%s", err, e.Body)
			}
			if len(again) != 1 || !sameEvent(again[0], e) {
				t.Fatalf("decoded again, %s becomes %q", e.Body, bodies(again))
			}
		}
	})
}

func checkRefusal(t *testing.T, events []auditdrain.Event, err error) {
	t.Helper()
	if events != nil {
		t.Fatalf("%d events besides error %v", len(events), err)
	}
	e, ok := err.(*auditdrain.Error)
	if !ok {
		t.Fatalf("error %v is not for people", err)
	}
	switch e.Code {
	case auditdrain.CodeBadRequest, auditdrain.CodeTooLarge:
	case auditdrain.CodeInvalidEvent:
		if len(e.Details) == 0 {
			t.Fatalf("error %v has no details", err)
		}
		for i, p := range e.Details {
			if p.Index == nil || p.Message == "" || i > 0 && *p.Index < *e.Details[i-1].Index {
				t.Fatalf("details %+v", e.Details)
			}
		}
	default:
		t.Fatalf("error %v has code %q", err, e.Code)
	}
	if _, err := json.Marshal(e); err != nil {
		t.Fatal(err)
	}
}

func checkEvent(t *testing.T, e auditdrain.Event) {
	t.Helper()
	if !auditdrain.ValidEventID(e.ID) {
		t.Fatalf("id %q", e.ID)
	}
	if e.Timestamp < auditdrain.MinTimestamp.UnixMilli() || e.Timestamp > testNow.Add(auditdrain.MaxTimestampAhead).UnixMilli() {
		t.Fatalf("timestamp %d", e.Timestamp)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, e.Body); err != nil || !bytes.Equal(compact.Bytes(), e.Body) {
		t.Fatalf("%q is not compact JSON (error %v)", e.Body, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(e.Body, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"schema", "id", "teamId", "action", "timestamp", "actor", "payload"} {
		if fields[name] == nil {
			t.Fatalf("%s has no %s", e.Body, name)
		}
	}
	var id string
	var timestamp int64
	if err := json.Unmarshal(fields["id"], &id); err != nil || id != e.ID {
		t.Fatalf("id is %q, but in the body %s", e.ID, fields["id"])
	}
	if err := json.Unmarshal(fields["timestamp"], &timestamp); err != nil || timestamp != e.Timestamp {
		t.Fatalf("timestamp is %d, but in the body %s", e.Timestamp, fields["timestamp"])
	}
}

func FuzzReadBody(f *testing.F) {
	for _, s := range []string{"", whole, strings.Repeat(whole, 100)} {
		f.Add("", []byte(s), int64(len(s)))
		f.Add("gzip", gzipped([]byte(s)), int64(-1))
		f.Add("zstd", zstandard(f, []byte(s)), int64(-1))
		f.Add("gzip", append(gzipped([]byte(s)), gzipped([]byte(whole))...), int64(0))
		f.Add("zstd", append(zstandard(f, []byte(s)), zstandard(f, []byte(whole))...), int64(1<<60))
	}
	f.Fuzz(func(t *testing.T, encoding string, body []byte, sizeHint int64) {
		got, err := readWhole(bytes.NewReader(body), encoding, sizeHint)
		if err != nil {
			if code := auditdrain.ErrorCode(err); got != nil || code != auditdrain.CodeBadRequest && code != auditdrain.CodeTooLarge && code != auditdrain.CodeMediaType {
				t.Fatalf("%d bytes, error %v", len(got), err)
			}
			return
		}
		if len(got) > auditdrain.MaxBodyBytes {
			t.Fatalf("got %d bytes", len(got))
		}
		// Decoders differ in what they refuse, but not in what they read.
		want := body
		switch strings.ToLower(encoding) {
		case "gzip":
			zr, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				return
			}
			if want, err = io.ReadAll(zr); err != nil {
				return
			}
		case "zstd":
			zr, err := zstd.NewReader(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer zr.Close()
			if want, err = zr.DecodeAll(body, nil); err != nil {
				return
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
