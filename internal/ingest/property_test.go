package ingest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// An event's bytes are the producer's. Events are written token by token into
// two buffers: as a producer might, with white space anywhere, and without.
// The second is what must come out, plus the fields that were left out.
func TestEventBytesAreTheProducers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 1000 {
		mediaType, space := TypeJSON, " \t\r\n"
		if r.IntN(2) == 0 {
			mediaType, space = TypeNDJSON, " \t\r"
		}
		g := &generator{Rand: r, space: space}
		n := 1 + r.IntN(4)
		want := make([]func(id string) string, n)
		array := mediaType == TypeJSON && (n > 1 || r.IntN(2) == 0)
		for j := range n {
			switch {
			case array && j == 0:
				g.sent.WriteString("[")
			case array:
				g.sent.WriteString(",")
			case j > 0:
				g.sent.WriteString("\n")
			}
			want[j] = g.event(j)
		}
		if array {
			g.sent.WriteString("]")
		}

		d := testDecoder()
		events, err := d.Decode("team_a", mediaType, g.sent.Bytes())
		if err != nil {
			t.Fatalf("event set %d: %v\n%s", i, err, &g.sent)
		}
		if len(events) != n {
			t.Fatalf("event set %d: got %d events, want %d\n%s", i, len(events), n, &g.sent)
		}
		for j, e := range events {
			if want := want[j](e.ID); string(e.Body) != want {
				t.Fatalf("event set %d: from %s\ngot  %s\nwant %s", i, &g.sent, e.Body, want)
			}
			again, err := d.Decode("team_a", mediaType, e.Body)
			if err != nil {
				t.Fatalf("event set %d: decoded again: %v\n%s", i, err, e.Body)
			}
			if len(again) != 1 || !sameEvent(again[0], e) {
				t.Fatalf("event set %d: decoded again, %s becomes %q", i, e.Body, bodies(again))
			}
		}
	}
}

func sameEvent(a, b auditdrain.Event) bool {
	return a.ID == b.ID && a.Timestamp == b.Timestamp && bytes.Equal(a.Body, b.Body)
}

func bodies(events []auditdrain.Event) (bodies [][]byte) {
	for _, e := range events {
		bodies = append(bodies, e.Body)
	}
	return bodies
}

type generator struct {
	*rand.Rand
	space   string       // what may stand between tokens
	sent    bytes.Buffer // as the producer writes it
	compact bytes.Buffer // the current event without white space
	names   int
}

func (g *generator) token(s string) {
	g.blank()
	g.sent.WriteString(s)
	g.compact.WriteString(s)
	g.blank()
}

func (g *generator) blank() {
	for g.IntN(4) == 0 {
		g.sent.WriteByte(g.space[g.IntN(len(g.space))])
	}
}

// event writes the i-th event of a body, and returns what must become of it,
// given the ID that it has in the end.
func (g *generator) event(i int) (want func(id string) string) {
	g.compact.Reset()
	actor := func() {
		g.object(
			member{`"type"`, func() { g.pick(`"user"`, `"app"`, `"system"`, `"integration"`, `"us\u0065r"`) }},
			member{`"id"`, func() { g.pick(`"u_1"`, `" "`, `"\u0041\/"`) }},
			member{`"name"`, g.text},
			member{`"\u0065mail"`, g.text},
			g.unknown(),
		)
	}
	members := []member{
		{`"action"`, func() { g.pick(`"drain-created"`, `"a \" b"`, `"\n"`) }},
		{`"actor"`, actor},
		g.unknown(),
		g.unknown(),
	}
	var filled strings.Builder // what is not sent, in the order in which it is filled in
	optional := func(m member, fill string) {
		if g.IntN(3) > 0 {
			members = append(members, m)
		} else {
			filled.WriteString(fill)
		}
	}
	optional(member{`"schema"`, func() { g.pick(`"vercel.audit_log.v1"`, `"vercel.\u0061udit_log.v1"`) }}, `,"schema":"vercel.audit_log.v1"`)
	optional(member{`"id"`, func() { g.token(strconv.Quote(fmt.Sprintf("e_%d.%d", i, g.Uint32()))) }}, `,"id":"ID"`)
	optional(member{`"teamId"`, func() { g.token(`"team_a"`) }}, `,"teamId":"team_a"`)
	optional(member{`"\u0074imestamp"`, func() { g.token(fmt.Sprint(946684800000 + g.Int64N(800_000_000_000))) }}, fmt.Sprintf(`,"timestamp":%d`, testNow.UnixMilli()))
	optional(member{`"payload"`, func() { g.object(g.unknown(), g.unknown(), g.unknown()) }}, `,"payload":{}`)
	optional(member{`"ipAddress"`, g.text}, "")
	optional(member{`"via"`, func() { g.array(actor) }}, "")
	g.object(members...)

	compact := strings.TrimSuffix(g.compact.String(), "}")
	return func(id string) string {
		return compact + strings.Replace(filled.String(), `"ID"`, strconv.Quote(id), 1) + "}"
	}
}

type member struct {
	name  string // as it is written
	value func()
}

// object writes an object with these members in any order.
func (g *generator) object(members ...member) {
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	g.token("{")
	for i, m := range members {
		if i > 0 {
			g.token(",")
		}
		g.token(m.name)
		g.token(":")
		m.value()
	}
	g.token("}")
}

func (g *generator) array(element func()) {
	g.token("[")
	for i := range g.IntN(4) {
		if i > 0 {
			g.token(",")
		}
		element()
	}
	g.token("]")
}

// unknown is a member that no schema has, whose name nothing else has.
func (g *generator) unknown() member {
	g.names++
	name := strings.TrimSuffix(g.anyText(), `"`)
	return member{fmt.Sprintf(`%s~%d"`, name, g.names), func() { g.value(0) }}
}

func (g *generator) value(depth int) {
	switch n := g.IntN(10); {
	case n == 0 && depth < 4:
		g.array(func() { g.value(depth + 1) })
	case n == 1 && depth < 4:
		members := make([]member, g.IntN(4))
		for i := range members {
			members[i] = g.unknown()
			members[i].value = func() { g.value(depth + 1) }
		}
		g.object(members...)
	case n == 2 && depth == 0 && g.IntN(20) == 0:
		deep := 1 + g.IntN(500)
		for range deep {
			g.token("[")
		}
		for range deep {
			g.token("]")
		}
	case n < 5:
		g.text()
	case n < 6:
		g.pick("null", "true", "false")
	default:
		g.number()
	}
}

func (g *generator) number() {
	digits := func() string {
		return fmt.Sprintf("%d%0*d", 1+g.IntN(9), g.IntN(30), g.Uint32())
	}
	switch g.IntN(5) {
	case 0:
		g.pick("0", "-0", "0.0", "-0.0e-0", "9007199254740993", "-9223372036854775809", "18446744073709551616", "1e400", "1E-400", "0.10", "1e+2", "100e-02", "3.0000000000000000000001")
	case 1:
		g.token(digits())
	case 2:
		g.token("-" + digits() + "." + digits())
	case 3:
		g.token(digits() + "e+00" + digits())
	default:
		g.token("0.000" + digits() + "E-7")
	}
}

func (g *generator) text() { g.token(g.anyText()) }

func (g *generator) anyText() string {
	pieces := []string{
		"a", " ", "  ", ":", ",", "{", "}", "[", "]", "//", "'", "/*", "0",
		`\u0041`, `\u00e4`, `\u0000`, `\/`, `\\`, `\"`, `\b\f\n\r\t`, `\ud83d\ude00`, `\uD83D\uDE00`, `\u2028`, `\\u0041`,
		"ä", "日本語", "😀", "\u2028", "\u00a0", "\u200b", "\ufeff", "\x7f",
	}
	var s strings.Builder
	s.WriteByte('"')
	for range g.IntN(6) {
		s.WriteString(pieces[g.IntN(len(pieces))])
	}
	s.WriteByte('"')
	return s.String()
}

func (g *generator) pick(tokens ...string) { g.token(tokens[g.IntN(len(tokens))]) }
