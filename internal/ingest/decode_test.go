package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// testNow is 1779444000123 in Unix milliseconds.
var testNow = time.Date(2026, 5, 22, 10, 0, 0, 123e6, time.UTC)

func testDecoder() *Decoder {
	return &Decoder{Namespace: "vercel", Now: func() time.Time { return testNow }}
}

const (
	whole = `{"schema":"vercel.audit_log.v1","id":"uev_1","teamId":"team_a","action":"drain-created","timestamp":1779444000123,"actor":{"type":"user","id":"u_1","name":"Ann"},"payload":{}}`
	other = `{"schema":"vercel.audit_log.v1","id":"uev_2","teamId":"team_a","action":"drain-deleted","timestamp":1779444000124,"actor":{"type":"app","id":"a_1","name":""},"payload":{"n":1}}`
)

// with returns whole with one field changed, or added at the end; an empty
// value removes it.
func with(field, value string) string {
	var old map[string]json.RawMessage
	if err := json.Unmarshal([]byte(whole), &old); err != nil {
		panic(err)
	}
	was, ok := old[field]
	switch member := fmt.Sprintf("%q:%s", field, was); {
	case !ok:
		return fmt.Sprintf("%s,%q:%s}", strings.TrimSuffix(whole, "}"), field, value)
	case value != "":
		return strings.Replace(whole, member, fmt.Sprintf("%q:%s", field, value), 1)
	case strings.Contains(whole, member+","):
		return strings.Replace(whole, member+",", "", 1)
	default:
		return strings.Replace(whole, ","+member, "", 1)
	}
}

func TestDecodeAccepts(t *testing.T) {
	day := (24 * time.Hour).Milliseconds()
	one := []string{whole}
	both := []string{whole, other}
	tests := []struct {
		name, mediaType, body string
		want                  []string
	}{
		{"one event", TypeJSON, whole, one},
		{"one event, white space around", TypeJSON, "\r\n\t " + whole + " \n", one},
		{"array", TypeJSON, "[" + whole + "," + other + "]", both},
		{"array, white space around", TypeJSON, " [ " + whole + "\n,\t" + other + " ] \r\n", both},
		{"array of one", TypeJSON, "[" + whole + "]", one},
		{"empty array", TypeJSON, "[]", nil},
		{"lines", TypeNDJSON, whole + "\n" + other + "\n", both},
		{"lines, no newline at the end", TypeNDJSON, whole + "\n" + other, both},
		{"lines, CRLF", TypeNDJSON, whole + "\r\n" + other + "\r\n", both},
		{"lines, blank ones between", TypeNDJSON, "\n\n" + whole + "\n \t\r\n\n" + other + "\n\n", both},
		{"lines, white space around", TypeNDJSON, "  " + whole + "\t\n " + other, both},
		{"no lines", TypeNDJSON, "", nil},
		{"blank lines only", TypeNDJSON, "\n \r\n", nil},

		{"white space within", TypeJSON, "{ \"id\" :\t\"uev_1\",\r\n\"schema\":\"vercel.audit_log.v1\", \"teamId\":\"team_a\",\"timestamp\":1779444000123,\"payload\":{ },\"action\":\"a b\",\"actor\":{\"type\":\"user\",\"id\":\" \",\"name\":\"\"} }",
			[]string{`{"id":"uev_1","schema":"vercel.audit_log.v1","teamId":"team_a","timestamp":1779444000123,"payload":{},"action":"a b","actor":{"type":"user","id":" ","name":""}}`}},
		{"quotes and backslashes before white space", TypeJSON, with("x", `[ "a\\" , "b\" \\\" " , "\\\\" , "" ]`), []string{with("x", `["a\\","b\" \\\" ","\\\\",""]`)}},
		{"escaped names of known fields", TypeJSON, strings.Replace(whole, `"id":"uev_1"`, `"\u0069d":"uev\u005f1"`, 1), []string{strings.Replace(whole, `"id":"uev_1"`, `"\u0069d":"uev\u005f1"`, 1)}},
		{"unknown fields", TypeJSON, with("x", `[null,true,{"id":1,"actor":2}]`), []string{with("x", `[null,true,{"id":1,"actor":2}]`)}},
		{"unknown fields of an actor", TypeJSON, with("actor", `{"x":null,"type":"system","id":"1","name":"n","email":"e"}`), []string{with("actor", `{"x":null,"type":"system","id":"1","name":"n","email":"e"}`)}},
		{"optional strings", TypeJSON, with("projectId", `"","requestId":"","userAgent":"","ipAddress":"","tokenId":""`), []string{with("projectId", `"","requestId":"","userAgent":"","ipAddress":"","tokenId":""`)}},
		{"via", TypeJSON, with("via", `[{"type":"integration","id":"i","name":""},{"type":"app","id":"a","name":"b"}]`), []string{with("via", `[{"type":"integration","id":"i","name":""},{"type":"app","id":"a","name":"b"}]`)}},
		{"empty via", TypeJSON, with("via", `[]`), []string{with("via", `[]`)}},
		{"big numbers", TypeJSON, with("payload", `{"n":[9007199254740993,-0,1e+2,0.10,1E400,123456789012345678901234567890]}`), []string{with("payload", `{"n":[9007199254740993,-0,1e+2,0.10,1E400,123456789012345678901234567890]}`)}},
		{"same names in different objects", TypeJSON, with("payload", `{"a":{"a":{"a":1}},"b":{"a":1}}`), []string{with("payload", `{"a":{"a":{"a":1}},"b":{"a":1}}`)}},
		{"surrogate pair", TypeJSON, with("x", `"\ud83d\ude00"`), []string{with("x", `"\ud83d\ude00"`)}},

		{"shortest id", TypeJSON, with("id", `"a"`), []string{with("id", `"a"`)}},
		{"longest id", TypeJSON, with("id", `"`+strings.Repeat("a", 128)+`"`), []string{with("id", `"`+strings.Repeat("a", 128)+`"`)}},
		{"all of an id's characters", TypeJSON, with("id", `"azAZ09_-."`), []string{with("id", `"azAZ09_-."`)}},
		{"first timestamp", TypeJSON, with("timestamp", "946684800000"), []string{with("timestamp", "946684800000")}},
		{"last timestamp", TypeJSON, with("timestamp", fmt.Sprint(testNow.UnixMilli()+day)), []string{with("timestamp", fmt.Sprint(testNow.UnixMilli()+day))}},

		{"schema filled in", TypeJSON, with("schema", ""), []string{strings.TrimSuffix(with("schema", ""), "}") + `,"schema":"vercel.audit_log.v1"}`}},
		{"teamId filled in", TypeJSON, with("teamId", ""), []string{strings.TrimSuffix(with("teamId", ""), "}") + `,"teamId":"team_a"}`}},
		{"payload filled in", TypeJSON, with("payload", ""), []string{strings.TrimSuffix(with("payload", ""), "}") + `,"payload":{}}`}},
		{"timestamp filled in", TypeJSON, with("timestamp", ""), []string{strings.TrimSuffix(with("timestamp", ""), "}") + `,"timestamp":1779444000123}`}},
		{"all but the id filled in", TypeJSON, `{ "action":"a", "id":"i", "actor":{"type":"user","id":"u","name":"n"} }`,
			[]string{`{"action":"a","id":"i","actor":{"type":"user","id":"u","name":"n"},"schema":"vercel.audit_log.v1","teamId":"team_a","timestamp":1779444000123,"payload":{}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			events, err := testDecoder().Decode("team_a", tt.mediaType, body)
			if err != nil {
				t.Fatal(err)
			}
			if string(body) != tt.body {
				t.Errorf("Decode has changed its input to %s", body)
			}
			clear(body) // the events must not share memory with it
			var want []auditdrain.Event
			for _, s := range tt.want {
				var e struct {
					ID        string
					Timestamp int64
				}
				if err := json.Unmarshal([]byte(s), &e); err != nil {
					t.Fatal(err)
				}
				want = append(want, auditdrain.Event{ID: e.ID, Timestamp: e.Timestamp, Body: []byte(s)})
			}
			if diff := cmp.Diff(want, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// What is filled in, apart from an id, depends on the request and the clock
// alone.
func TestDecodeFillsIn(t *testing.T) {
	const bare = `{"action":"a","actor":{"type":"user","id":"u","name":"n"}}`
	d := &Decoder{Namespace: "acme", Now: func() time.Time { return time.UnixMilli(1700000000000) }}
	seen := map[string]bool{}
	for range 3 {
		events, err := d.Decode("team_b", TypeNDJSON, []byte(bare+"\n"+bare))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			want := fmt.Sprintf(`{"action":"a","actor":{"type":"user","id":"u","name":"n"},"schema":"acme.audit_log.v1","id":%q,"teamId":"team_b","timestamp":1700000000000,"payload":{}}`, e.ID)
			if string(e.Body) != want {
				t.Errorf("got  %s\nwant %s", e.Body, want)
			}
			if !auditdrain.ValidEventID(e.ID) || !strings.HasPrefix(e.ID, "uev_") || len(e.ID) != 28 {
				t.Errorf("id %q is not uev_ and 24 characters", e.ID)
			}
			if seen[e.ID] {
				t.Errorf("id %q was given out twice", e.ID)
			}
			seen[e.ID] = true
			if e.Timestamp != 1700000000000 {
				t.Errorf("timestamp is %d", e.Timestamp)
			}
		}
	}
}

// An expected problem: a message that ends in … is the beginning of one.
type problem struct {
	index          int
	field, message string
}

func checkProblems(t *testing.T, err error, want []problem) {
	t.Helper()
	e, ok := err.(*auditdrain.Error)
	if !ok || e.Code != auditdrain.CodeInvalidEvent {
		t.Fatalf("got error %v, want one with code %s", err, auditdrain.CodeInvalidEvent)
	}
	var got []problem
	for i, p := range e.Details {
		message := p.Message
		if i < len(want) {
			if begin, ok := strings.CutSuffix(want[i].message, "…"); ok && strings.HasPrefix(message, begin) {
				message = want[i].message
			}
		}
		got = append(got, problem{*p.Index, p.Field, message})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(problem{})); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

const invalid = "not valid JSON at byte …"

func TestDecodeRefusesEvent(t *testing.T) {
	const (
		schemaRule    = ` is not allowed: use "vercel.audit_log.v1", or leave it out`
		teamRule      = ` is not the team of this request, "team_a": leave it out, or send the event to its own team`
		idRule        = ` is not allowed: use 1 to 128 of A-Z, a-z, 0-9, _, - and . (it becomes part of the object key)`
		timestampRule = ` is not allowed: use Unix time in milliseconds from 2000-01-01 to one day ahead (2026-05-23T10:00:00Z)`
		wholeRule     = ` is not allowed: use Unix time in whole milliseconds`
		typeRule      = ` is not allowed: use user, app, system or integration`
		long          = 300
	)
	clipped := strings.Repeat("a", 200) + "…"
	tests := []struct {
		name, event string
		field       string
		message     string
	}{
		{"null", `null`, "", "must be an object, not null"},
		{"boolean", `true`, "", "must be an object, not a boolean"},
		{"number", `17`, "", "must be an object, not a number"},
		{"string", `"{}"`, "", "must be an object, not a string"},

		{"schema of another namespace", with("schema", `"acme.audit_log.v1"`), "schema", `"acme.audit_log.v1"` + schemaRule},
		{"schema of another version", with("schema", `"vercel.audit_log.v2"`), "schema", `"vercel.audit_log.v2"` + schemaRule},
		{"schema empty", with("schema", `""`), "schema", `""` + schemaRule},
		{"schema long", with("schema", `"`+strings.Repeat("a", long)+`"`), "schema", `"` + clipped + `"` + schemaRule},
		{"schema null", with("schema", `null`), "schema", "must be a string, not null"},
		{"schema number", with("schema", `1`), "schema", "must be a string, not a number"},

		{"teamId of another team", with("teamId", `"team_b"`), "teamId", `"team_b"` + teamRule},
		{"teamId empty", with("teamId", `""`), "teamId", `""` + teamRule},
		{"teamId null", with("teamId", `null`), "teamId", "must be a string, not null"},
		{"teamId array", with("teamId", `["team_a"]`), "teamId", "must be a string, not an array"},

		{"id empty", with("id", `""`), "id", `""` + idRule},
		{"id too long", with("id", `"`+strings.Repeat("a", 129)+`"`), "id", `"` + strings.Repeat("a", 129) + `"` + idRule},
		{"id much too long", with("id", `"`+strings.Repeat("a", long)+`"`), "id", `"` + clipped + `"` + idRule},
		{"id with a slash", with("id", `"a/b"`), "id", `"a/b"` + idRule},
		{"id with an escaped slash", with("id", `"a\/b"`), "id", `"a/b"` + idRule},
		{"id with a space", with("id", `"a b"`), "id", `"a b"` + idRule},
		{"id with a newline", with("id", `"a\n"`), "id", `"a\n"` + idRule},
		{"id with a letter outside ASCII", with("id", `"ä"`), "id", `"ä"` + idRule},
		{"id null", with("id", `null`), "id", "must be a string, not null"},
		{"id number", with("id", `1`), "id", "must be a string, not a number"},

		{"action missing", with("action", ""), "action", `missing: say what was done, such as "drain-created"`},
		{"action empty", with("action", `""`), "action", "must not be empty"},
		{"action null", with("action", `null`), "action", "must be a string, not null"},
		{"action object", with("action", `{}`), "action", "must be a string, not an object"},

		{"timestamp too early", with("timestamp", "946684799999"), "timestamp", "946684799999" + timestampRule},
		{"timestamp in seconds", with("timestamp", "1779444000"), "timestamp", "1779444000" + timestampRule},
		{"timestamp too late", with("timestamp", "1779530400124"), "timestamp", "1779530400124" + timestampRule},
		{"timestamp negative", with("timestamp", "-1"), "timestamp", "-1" + timestampRule},
		{"timestamp beyond 64 bits", with("timestamp", "92233720368547758070"), "timestamp", "92233720368547758070" + wholeRule},
		{"timestamp with a fraction", with("timestamp", "1779444000123.5"), "timestamp", "1779444000123.5" + wholeRule},
		{"timestamp with a zero fraction", with("timestamp", "1779444000123.0"), "timestamp", "1779444000123.0" + wholeRule},
		{"timestamp with an exponent", with("timestamp", "1.779444e12"), "timestamp", "1.779444e12" + wholeRule},
		{"timestamp of many digits", with("timestamp", strings.Repeat("1", long)), "timestamp", strings.Repeat("1", 200) + "…" + wholeRule},
		{"timestamp string", with("timestamp", `"1779444000123"`), "timestamp", "must be a number, not a string"},
		{"timestamp null", with("timestamp", `null`), "timestamp", "must be a number, not null"},

		{"payload null", with("payload", `null`), "payload", "must be an object, not null"},
		{"payload array", with("payload", `[]`), "payload", "must be an object, not an array"},
		{"projectId null", with("projectId", `null`), "projectId", "must be a string, not null"},
		{"requestId number", with("requestId", `1`), "requestId", "must be a string, not a number"},
		{"userAgent boolean", with("userAgent", `false`), "userAgent", "must be a string, not a boolean"},
		{"ipAddress object", with("ipAddress", `{}`), "ipAddress", "must be a string, not an object"},
		{"tokenId array", with("tokenId", `[]`), "tokenId", "must be a string, not an array"},

		{"actor missing", with("actor", ""), "actor", `missing: say who did it, as {"type","id","name"}`},
		{"actor null", with("actor", `null`), "actor", "must be an object, not null"},
		{"actor string", with("actor", `"Ann"`), "actor", "must be an object, not a string"},
		{"actor's type missing", with("actor", `{"id":"1","name":"n"}`), "actor.type", "missing: use user, app, system or integration"},
		{"actor's type unknown", with("actor", `{"type":"User","id":"1","name":"n"}`), "actor.type", `"User"` + typeRule},
		{"actor's type empty", with("actor", `{"type":"","id":"1","name":"n"}`), "actor.type", `""` + typeRule},
		{"actor's type null", with("actor", `{"type":null,"id":"1","name":"n"}`), "actor.type", "must be a string, not null"},
		{"actor's id missing", with("actor", `{"type":"user","name":"n"}`), "actor.id", "missing: say which one it is"},
		{"actor's id empty", with("actor", `{"type":"user","id":"","name":"n"}`), "actor.id", "must not be empty"},
		{"actor's id number", with("actor", `{"type":"user","id":1,"name":"n"}`), "actor.id", "must be a string, not a number"},
		{"actor's name missing", with("actor", `{"type":"user","id":"1"}`), "actor.name", "missing: say what people call it"},
		{"actor's name null", with("actor", `{"type":"user","id":"1","name":null}`), "actor.name", "must be a string, not null"},
		{"actor's email null", with("actor", `{"type":"user","id":"1","name":"n","email":null}`), "actor.email", "must be a string, not null"},

		{"via null", with("via", `null`), "via", "must be an array, not null"},
		{"via object", with("via", `{"type":"app","id":"1","name":"n"}`), "via", "must be an array, not an object"},
		{"via of null", with("via", `[{"type":"app","id":"1","name":"n"},null]`), "via[1]", "must be an object, not null"},
		{"via's type", with("via", `[{"type":"x","id":"1","name":"n"}]`), "via[0].type", `"x"` + typeRule},
		{"via's id", with("via", `[{"type":"app","id":"1","name":"n"},{"type":"app","name":"n"}]`), "via[1].id", "missing: say which one it is"},

		{"duplicate name", with("x", `1,"x":1`), "x", invalid},
		{"duplicate name of a known field", with("x", `1,"id":"uev_1"`), "id", invalid},
		{"duplicate name, one escaped", with("x", `1,"\u0069d":"uev_1"`), "id", invalid},
		{"duplicate name in the actor", with("actor", `{"type":"user","id":"1","id":"2","name":"n"}`), "actor.id", invalid},
		{"duplicate name deep in the payload", with("payload", `{"a":[{"b":1},{"b":1,"c":2,"b":3}]}`), "payload.a[1].b", invalid},
		{"duplicate name deep in an unknown field", with("x", `[[{"b":1,"b":1}]]`), "x[0][0].b", invalid},
		{"invalid UTF-8 in a value", with("x", "\"\xff\""), "x", invalid},
		{"invalid UTF-8 in a name", strings.TrimSuffix(whole, "}") + ",\"\x80\":1}", "", invalid},
		{"UTF-8 of a surrogate", with("x", "\"\xed\xa0\x80\""), "x", invalid},
		{"lone high surrogate", with("x", `"\ud83d"`), "x", invalid},
		{"lone low surrogate", with("x", `"\ude00"`), "x", invalid},
		{"surrogates in the wrong order", with("x", `"\ude00\ud83d"`), "x", invalid},
		{"NaN", with("x", `NaN`), "x", invalid},
		{"Infinity", with("x", `-Infinity`), "x", invalid},
		{"leading zero", with("x", `01`), "", invalid},
		{"leading plus", with("x", `+1`), "x", invalid},
		{"no digit after the point", with("x", `1.`), "x", invalid},
		{"hexadecimal", with("x", `0x10`), "", invalid},
		{"single quotes", with("x", `'a'`), "x", invalid},
		{"control character in a string", with("x", "\"\x01\""), "x", invalid},
		{"bad escape", with("x", `"\x41"`), "x", invalid},
		{"trailing comma", with("x", `[1,]`), "x", invalid},
		{"comment", with("x", `1 /* one */`), "", invalid},
		{"vertical tab between tokens", with("x", "\v1"), "x", invalid},
		{"no-break space between tokens", with("x", "\u00a01"), "x", invalid},
		{"too deep", with("x", strings.Repeat("[", 10_001)+strings.Repeat("]", 10_001)), clip("x" + strings.Repeat("[0]", 10_000)), invalid},
		{"cut off", whole[:len(whole)-1], "", invalid},
		{"cut off in a name", whole[:4], "", invalid},
	}
	forms := []struct {
		name, mediaType, format string
		index                   int
	}{
		{"alone", TypeJSON, "%s", 0},
		{"in an array", TypeJSON, "[" + other + ",%s]", 1},
		{"in lines", TypeNDJSON, other + "\r\n\r\n%s\n", 1},
	}
	for _, tt := range tests {
		for _, form := range forms {
			t.Run(tt.name+" "+form.name, func(t *testing.T) {
				events, err := testDecoder().Decode("team_a", form.mediaType, fmt.Appendf(nil, form.format, tt.event))
				if events != nil {
					t.Errorf("got %d events besides the error", len(events))
				}
				checkProblems(t, err, []problem{{form.index, tt.field, tt.message}})
			})
		}
	}
}

func TestDecodeListsAllProblems(t *testing.T) {
	lines := []string{
		`{"schema":"x","id":"a b","teamId":"team_b","action":"","timestamp":1,"actor":{"type":"x"},"via":[{}],"payload":[]}`,
		whole,
		`{"id":1`,
		``,
		`[` + whole + `]`,
		whole + ` ` + other,
		whole + ` x`,
		"\xef\xbb\xbf" + whole,
		"\v" + whole,
		`{}`,
	}
	events, err := testDecoder().Decode("team_a", TypeNDJSON, []byte(strings.Join(lines, "\n")))
	if events != nil {
		t.Errorf("got %d events besides the error", len(events))
	}
	goesOn := "the line goes on after the event: put each event on a line of its own"
	checkProblems(t, err, []problem{
		{0, "schema", `"x" is not allowed…`},
		{0, "id", `"a b" is not allowed…`},
		{0, "teamId", `"team_b" is not the team…`},
		{0, "action", "must not be empty"},
		{0, "timestamp", "1 is not allowed…"},
		{0, "actor.type", `"x" is not allowed…`},
		{0, "actor.id", "missing…"},
		{0, "actor.name", "missing…"},
		{0, "via[0].type", "missing…"},
		{0, "via[0].id", "missing…"},
		{0, "via[0].name", "missing…"},
		{0, "payload", "must be an object, not an array"},
		{2, "id", "must be a string, not a number"},
		{2, "", invalid},
		{3, "", "must be an object, not an array"},
		{4, "", goesOn},
		{5, "", goesOn},
		{6, "", invalid},
		{7, "", invalid},
		{8, "action", "missing…"},
		{8, "actor", "missing…"},
	})
}

// In an array there is no telling where the next event begins once one is not
// JSON.
func TestDecodeArrayEndsAtSyntaxError(t *testing.T) {
	_, err := testDecoder().Decode("team_a", TypeJSON, []byte(`[`+with("id", "1")+`,`+whole+`,{"a":tru},{}]`))
	checkProblems(t, err, []problem{
		{0, "id", "must be a string, not a number"},
		{2, "a", invalid},
	})
}

func TestDecodeErrorJSON(t *testing.T) {
	tests := []struct {
		name, mediaType, body, want string
	}{
		{"a field", TypeNDJSON, whole + "\n" + with("via", `[{"type":"app","id":"1","name":"n"},{"type":7,"id":"1","name":"n"}]`),
			`{"code":"invalid_event","message":"nothing was stored: event 1: via[1].type: must be a string, not a number","details":[{"index":1,"field":"via[1].type","message":"must be a string, not a number"}]}`},
		{"the whole event", TypeJSON, `[null]`,
			`{"code":"invalid_event","message":"nothing was stored: event 0: must be an object, not null","details":[{"index":0,"field":"","message":"must be an object, not null"}]}`},
		{"several", TypeJSON, `[{"id":"a","action":"a"},7]`,
			`{"code":"invalid_event","message":"nothing was stored: event 0: actor: missing: say who did it, as {\"type\",\"id\",\"name\"}","details":[{"index":0,"field":"actor","message":"missing: say who did it, as {\"type\",\"id\",\"name\"}"},{"index":1,"field":"","message":"must be an object, not a number"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testDecoder().Decode("team_a", tt.mediaType, []byte(tt.body))
			got, jsonErr := json.Marshal(err)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestDecodeRefusesBody(t *testing.T) {
	const goesOn = "the body goes on after its JSON value"
	tests := []struct {
		name, mediaType, body string
		code                  auditdrain.Code
		message               string // its beginning
	}{
		{"empty", TypeJSON, "", auditdrain.CodeBadRequest, "the body is empty: send one event, or an array of events"},
		{"blank", TypeJSON, " \r\n\t", auditdrain.CodeBadRequest, "the body is empty: send one event, or an array of events"},
		{"two events", TypeJSON, whole + "\n" + whole, auditdrain.CodeBadRequest, goesOn},
		{"two arrays", TypeJSON, "[][]", auditdrain.CodeBadRequest, goesOn + ", at byte 2: send one event or one array, or use Content-Type: application/x-ndjson"},
		{"garbage after an event", TypeJSON, whole + "x", auditdrain.CodeBadRequest, goesOn},
		{"NUL after an event", TypeJSON, whole + "\x00", auditdrain.CodeBadRequest, goesOn},
		{"comma after an event", TypeJSON, whole + ",", auditdrain.CodeBadRequest, goesOn},
		{"bracket after an array", TypeJSON, "[" + whole + "]]", auditdrain.CodeBadRequest, goesOn},
		{"no array end", TypeJSON, "[" + whole, auditdrain.CodeInvalidEvent, "nothing was stored: event 1: not valid JSON"},
		{"comma before the array's end", TypeJSON, "[" + whole + ",]", auditdrain.CodeInvalidEvent, "nothing was stored: event 1: not valid JSON"},
		{"no comma in an array", TypeJSON, "[" + whole + whole + "]", auditdrain.CodeInvalidEvent, "nothing was stored: event 1: not valid JSON"},
		{"wrong bracket", TypeJSON, "[" + whole + "}", auditdrain.CodeInvalidEvent, "nothing was stored: event 1: not valid JSON"},
		{"array in an array", TypeJSON, "[[" + whole + "]]", auditdrain.CodeInvalidEvent, "nothing was stored: event 0: must be an object, not an array"},
		{"byte order mark", TypeJSON, "\xef\xbb\xbf" + whole, auditdrain.CodeInvalidEvent, "nothing was stored: event 0: not valid JSON at byte 0"},
		{"UTF-16", TypeJSON, "{\x00}\x00", auditdrain.CodeInvalidEvent, "nothing was stored: event 0: not valid JSON"},
		{"other media type", "text/plain", whole, auditdrain.CodeMediaType, `Content-Type: "text/plain" is not allowed`},
		{"no media type", "", whole, auditdrain.CodeMediaType, `Content-Type: "" is not allowed`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := testDecoder().Decode("team_a", tt.mediaType, []byte(tt.body))
			if events != nil {
				t.Errorf("got %d events besides the error", len(events))
			}
			if auditdrain.ErrorCode(err) != tt.code || !strings.HasPrefix(err.Error(), tt.message) {
				t.Errorf("got %q: %v", auditdrain.ErrorCode(err), err)
			}
		})
	}
}

func TestDecodeLimits(t *testing.T) {
	lines := func(n int) string { return strings.Repeat(whole+"\n", n) }
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(whole+",", n), ",") + "]" }
	// sized returns an event of n bytes once it is compact and filled in.
	sized := func(n int) string {
		const filled = `,"teamId":"team_a"}`
		begin := strings.TrimSuffix(with("teamId", ""), "}") + `,"x":"`
		return begin + strings.Repeat("x", n-len(begin)-len(`"`)-len(filled)) + `"}`
	}
	const (
		tooMany = "a batch may have at most 10000 events"
		tooBig  = "event 1 has 262145 bytes: an event may have at most 262144"
	)
	tests := []struct {
		name, mediaType, body string
		events                int
		message               string
	}{
		{"10,000 lines", TypeNDJSON, lines(10_000), 10_000, ""},
		{"10,001 lines", TypeNDJSON, lines(10_001), 0, tooMany},
		{"10,001 lines, one bad", TypeNDJSON, "{}\n" + lines(10_000), 0, tooMany},
		{"10,000 in an array", TypeJSON, array(10_000), 10_000, ""},
		{"10,001 in an array", TypeJSON, array(10_001), 0, tooMany},
		{"largest event", TypeNDJSON, whole + "\n" + sized(256<<10), 2, ""},
		{"largest event, more with white space", TypeJSON, strings.Repeat(" ", 1<<20) + strings.Replace(sized(256<<10), ",", strings.Repeat(" ", 1<<20)+",", 1), 1, ""},
		{"too large an event in lines", TypeNDJSON, whole + "\n" + sized(256<<10+1), 0, tooBig},
		{"too large an event in an array", TypeJSON, "[" + whole + "," + sized(256<<10+1) + "]", 0, tooBig},
		{"too large and bad", TypeNDJSON, "{}\n" + sized(256<<10+1), 0, tooBig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := testDecoder().Decode("team_a", tt.mediaType, []byte(tt.body))
			if len(events) != tt.events {
				t.Errorf("got %d events, want %d", len(events), tt.events)
			}
			switch {
			case tt.message == "" && err != nil:
				t.Error(err)
			case tt.message != "" && (auditdrain.ErrorCode(err) != auditdrain.CodeTooLarge || err.Error() != tt.message):
				t.Errorf("got %q: %v", auditdrain.ErrorCode(err), err)
			}
		})
	}
	t.Run("10,000 in an array that is cut off", func(t *testing.T) {
		_, err := testDecoder().Decode("team_a", TypeJSON, []byte(strings.TrimSuffix(array(10_000), "]")))
		checkProblems(t, err, []problem{{10_000, "", invalid}})
	})
}

// However bad a body is, the answer stays readable, and of bounded size.
func TestDecodeLimitsProblems(t *testing.T) {
	for _, body := range []string{
		strings.Repeat("{}\n", 5_000),
		strings.Repeat("nonsense\n", 5_000),
		`{"id":"a","action":"a","actor":{"type":"user","id":"u","name":"n"},"via":[` + strings.TrimSuffix(strings.Repeat("0,", 5_000), ",") + `]}`,
		`{"` + strings.Repeat("é", 100_000) + `":x}`,
		`{"id":"` + strings.Repeat("é", 100_000) + `"}`,
	} {
		_, err := testDecoder().Decode("team_a", TypeNDJSON, []byte(body))
		e, ok := err.(*auditdrain.Error)
		if !ok {
			t.Fatalf("%.20s…: got error %v", body, err)
		}
		if len(e.Details) > 100 || len(e.Details) > 10 && len(e.Details) != 100 {
			t.Errorf("%.20s…: got %d problems, want the first 100", body, len(e.Details))
		}
		answer, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer) > 32<<10 {
			t.Errorf("%.20s…: the answer has %d bytes", body, len(answer))
		}
		if strings.Contains(string(answer), `\ufffd`) || strings.Contains(string(answer), "�") || strings.Contains(string(answer), `\\x`) {
			t.Errorf("%.20s…: the answer has half a character: %s", body, answer)
		}
	}
}
