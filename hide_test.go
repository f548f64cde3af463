package auditdrain

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

func TestWithoutIPAddress(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"none", `{"id":"1","a":1}`, `{"id":"1","a":1}`},
		{"nothing at all", `{}`, `{}`},
		{"first", `{"ipAddress":"192.0.2.1","id":"1"}`, `{"id":"1"}`},
		{"last", `{"id":"1","ipAddress":"192.0.2.1"}`, `{"id":"1"}`},
		{"between", `{"id":"1","ipAddress":"192.0.2.1","n":1e400}`, `{"id":"1","n":1e400}`},
		{"alone", `{"ipAddress":"192.0.2.1"}`, `{}`},
		{"twice", `{"ipAddress":"1","id":"1","ipAddress":"2"}`, `{"id":"1"}`},
		{"twice, and nothing else", `{"ipAddress":"1","ipAddress":"2"}`, `{}`},
		{"escaped", `{"id":"1","ip\u0041ddress":"192.0.2.1","x":"\u00e9"}`, `{"id":"1","x":"\u00e9"}`},
		{"escaped as a whole", `{"\u0069\u0070\u0041\u0064\u0064\u0072\u0065\u0073\u0073":"192.0.2.1","id":"1"}`, `{"id":"1"}`},
		{"escaped otherwise", `{"ip\u0061ddress":"x","\\u0069pAddress":"y"}`, `{"ip\u0061ddress":"x","\\u0069pAddress":"y"}`},
		{"nested", `{"payload":{"ipAddress":"192.0.2.1"},"via":[{"ipAddress":"192.0.2.2"}],"id":"1"}`, `{"payload":{"ipAddress":"192.0.2.1"},"via":[{"ipAddress":"192.0.2.2"}],"id":"1"}`},
		{"in a value", `{"a":"\"ipAddress\":\"x\",","b":"ipAddress","ipAddress":"1","c":"}"}`, `{"a":"\"ipAddress\":\"x\",","b":"ipAddress","c":"}"}`},
		{"with another kind of value", `{"ipAddress":{"v4":["192.0.2.1",{}],"s":"]}\\"},"id":"1"}`, `{"id":"1"}`},
		{"null", `{"ipAddress":null,"id":"1"}`, `{"id":"1"}`},
		{"other names", `{"ipaddress":1,"IPAddress":2,"ipAddresses":3,"ipAddres":4,"":5}`, `{"ipaddress":1,"IPAddress":2,"ipAddresses":3,"ipAddres":4,"":5}`},
		{"with spaces", " { \"id\" : \"1\" ,\n \"ipAddress\" : \"x\" , \"b\" : 2 } ", " { \"id\" : \"1\" , \"b\" : 2 } "},
		{"cut off", `{"id":"1","ipAddress":"x`, `{"id":"1","ipAddress":"x`},
		{"no object", `["ipAddress"]`, `["ipAddress"]`},
	} {
		before := tt.body
		e := Event{ID: "1", Timestamp: 7, Body: []byte(tt.body)}
		got := e.WithoutIPAddress()
		if string(got.Body) != tt.want || got.ID != "1" || got.Timestamp != 7 {
			t.Errorf("%s: %s becomes %s, want %s", tt.name, tt.body, got.Body, tt.want)
		}
		if string(e.Body) != before {
			t.Errorf("%s: the event was changed to %s", tt.name, e.Body)
		}
	}
}

// FuzzWithoutMember compares with what decoding says: the other members, each
// with its bytes, in their order, and nothing between them but commas.
func FuzzWithoutMember(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"ipAddress":"1","id":"1"}`, `{"a":1,"ip\u0041ddress":[{"ipAddress":"}"}],"b":"\\\"","ipAddress":null}`, `{"\ud800":1,"ipAddress":2}`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got := withoutMember(slices.Clone(object), "ipAddress")
		var compact bytes.Buffer
		if json.Compact(&compact, object) != nil || compact.Bytes()[0] != '{' {
			return // nothing that is accepted; it must not panic
		}
		want := []byte{'{'}
		for _, m := range members(t, compact.Bytes()) {
			if m.name == "ipAddress" {
				continue
			}
			if len(want) > 1 {
				want = append(want, ',')
			}
			want = append(want, m.bytes...)
		}
		want = append(want, '}')
		if got := withoutMember(compact.Bytes(), "ipAddress"); !bytes.Equal(got, want) {
			t.Errorf("%s becomes %s, want %s", &compact, got, want)
		}
		// Spaces change nothing about it.
		var gotCompact bytes.Buffer
		if err := json.Compact(&gotCompact, got); err != nil || !bytes.Equal(gotCompact.Bytes(), want) {
			t.Errorf("%s becomes %s, %v, want %s but for spaces", object, got, err, want)
		}
	})
}

type member struct {
	name  string
	bytes []byte // name, colon and value
}

// members decodes an object without spaces.
func members(t *testing.T, object []byte) (all []member) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		begin := dec.InputOffset()
		if object[begin] == ',' {
			begin++
		}
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		all = append(all, member{name.(string), object[begin:dec.InputOffset()]})
	}
	return all
}

func BenchmarkWithoutIPAddress(b *testing.B) {
	body := []byte(`{"schema":"vercel.audit_log.v1","id":"uev_1","teamId":"team_1","action":"project.created","timestamp":1700000000000,"actor":{"type":"user","id":"u","name":"A. Person"},"ipAddress":"192.0.2.1","payload":{"a":[1,2,3],"text":"` + string(bytes.Repeat([]byte("x"), 500)) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		_ = Event{Body: body}.WithoutIPAddress()
	}
}
