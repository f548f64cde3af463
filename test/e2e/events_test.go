package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// event is what a producer sends, and what must come of it.
type event struct {
	id     string
	ms     int64
	tokens []string // the JSON as it is sent, but for the white space
	body   string   // the JSON as it must be stored
}

// key is the object that the event must become.
func (e event) key(g target) string {
	d := dateOf(e.ms)
	key := fmt.Sprintf("schema=audit_log/version=v1/year=%04d/month=%02d/day=%02d/%04d%02d%02dT%02d%02d%02d.%03dZ_%s.json",
		d.year, d.month, d.day, d.year, d.month, d.day, d.hour, d.minute, d.second, d.milli, e.id)
	if g.encoding == "ndjson" {
		key += "l"
	}
	if g.prefix == "" {
		return key
	}
	return g.prefix + "/" + key
}

// object is the bytes of that object.
func (e event) object(g target) string {
	if g.encoding == "ndjson" {
		return e.body + "\n"
	}
	return e.body
}

type date struct{ year, month, day, hour, minute, second, milli int }

// dateOf counts the calendar up from 1970, in UTC.
func dateOf(ms int64) date {
	leap := func(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }
	days, rest := int(ms/day), int(ms%day)
	d := date{year: 1970, month: 1}
	for {
		n := 365
		if leap(d.year) {
			n = 366
		}
		if days < n {
			break
		}
		days -= n
		d.year++
	}
	for _, n := range []int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
		if d.month == 2 && leap(d.year) {
			n = 29
		}
		if days < n {
			break
		}
		days -= n
		d.month++
	}
	d.day = days + 1
	d.hour, d.minute, d.second, d.milli = rest/3_600_000, rest/60_000%60, rest/1000%60, rest%1000
	return d
}

// edges are the moments at which dates go wrong.
var edges = []struct {
	ms   int64
	date date
}{
	{946684800000, date{2000, 1, 1, 0, 0, 0, 0}}, // the earliest that is accepted
	{951782399999, date{2000, 2, 28, 23, 59, 59, 999}},
	{951782400000, date{2000, 2, 29, 0, 0, 0, 0}}, // a leap day in a century
	{951868799999, date{2000, 2, 29, 23, 59, 59, 999}},
	{951868800000, date{2000, 3, 1, 0, 0, 0, 0}},
	{1677628799999, date{2023, 2, 28, 23, 59, 59, 999}},
	{1677628800000, date{2023, 3, 1, 0, 0, 0, 0}}, // no leap day
	{1704067199999, date{2023, 12, 31, 23, 59, 59, 999}},
	{1704067200000, date{2024, 1, 1, 0, 0, 0, 0}},
	{1709164800000, date{2024, 2, 29, 0, 0, 0, 0}},
	{1709251199999, date{2024, 2, 29, 23, 59, 59, 999}},
	{1709251200000, date{2024, 3, 1, 0, 0, 0, 0}},
	{1735689599001, date{2024, 12, 31, 23, 59, 59, 1}},
	{1735689600000, date{2025, 1, 1, 0, 0, 0, 0}},
}

func TestOracleDates(t *testing.T) {
	for _, e := range edges {
		if got := dateOf(e.ms); got != e.date {
			t.Errorf("%d: %v, want %v", e.ms, got, e.date)
		}
	}
}

// source makes up the events of one team.
type source struct {
	rng  *rand.Rand
	team string
	now  int64 // Unix ms
	days []int64
	made int
}

const day = 86_400_000 // ms

// newSource returns a source whose events lie on a few days since 2000: each
// day is a folder of each bucket, and folders are what costs time here.
func newSource(rng *rand.Rand, team string) *source {
	s := &source{rng: rng, team: team, now: time.Now().UnixMilli()}
	for range 20 {
		s.days = append(s.days, edges[0].ms+day*rng.Int64N((s.now-edges[0].ms)/day))
	}
	return s
}

// event returns an event unlike all before: in time, content, order of
// members, and in which members it leaves to the server.
func (s *source) event() event {
	ms := s.days[s.rng.IntN(len(s.days))] + s.rng.Int64N(day)
	switch {
	case s.made < len(edges):
		ms = edges[s.made].ms
	case s.rng.IntN(10) == 0:
		ms = s.now + s.rng.Int64N(23*3_600_000)
	}
	return s.eventAt(ms, s.newID())
}

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

// newID returns an ID of 5 to 128 characters.
func (s *source) newID() string {
	s.made++
	id := []byte("uev_" + strconv.Itoa(s.made) + "_")
	n := s.rng.IntN(24)
	if s.rng.IntN(20) == 0 {
		n = 128 - len(id)
	}
	for range n {
		id = append(id, idLetters[s.rng.IntN(len(idLetters))])
	}
	return string(id)
}

func (s *source) eventAt(ms int64, id string) event {
	members := [][]string{
		member("id", quote(id)),
		member("timestamp", strconv.FormatInt(ms, 10)),
		member("action", pick(s.rng, `"drain-created"`, `"login"`, `"domain-transferred"`, `"équipe-créée"`, `"a\u0062c"`)),
		member("actor", s.actor()...),
	}
	if s.rng.IntN(3) > 0 {
		members = append(members, member("requestId", pick(s.rng, `"iad1::x"`, `"with \"quotes\" \\ and \/"`, `" spaces  stay "`)))
	}
	if s.rng.IntN(3) == 0 {
		members = append(members, member("via", list(s.actor(), s.actor())...))
	}
	if s.rng.IntN(4) == 0 {
		members = append(members, member("x-unknown", s.value(3)...), member("ipAddress", `"2001:db8::1"`))
	}
	// What is absent comes at the end, in this order.
	var filled string
	if s.rng.IntN(3) > 0 {
		members = append(members, member("schema", `"vercel.audit_log.v1"`))
	} else {
		filled += `,"schema":"vercel.audit_log.v1"`
	}
	if s.rng.IntN(3) > 0 {
		members = append(members, member("teamId", quote(s.team)))
	} else {
		filled += `,"teamId":` + quote(s.team)
	}
	if s.rng.IntN(8) > 0 {
		members = append(members, member("payload", s.payload()...))
	} else {
		filled += `,"payload":{}`
	}
	s.rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	tokens := record(members...)
	compact := strings.Join(tokens, "")
	return event{id: id, ms: ms, tokens: tokens, body: strings.TrimSuffix(compact, "}") + filled + "}"}
}

func (s *source) actor() []string {
	members := [][]string{
		member("type", pick(s.rng, `"user"`, `"app"`, `"system"`, `"integration"`)),
		member("id", `"usr_1"`),
		member("name", pick(s.rng, `"Zoë Åkerström"`, `"李小龍"`, `"\ud83e\udd16 bot"`, `"🤖"`, `""`)),
	}
	if s.rng.IntN(2) == 0 {
		members = append(members, member("email", `"zoe@acme.example"`))
	}
	return record(members...)
}

func (s *source) payload() []string {
	switch s.rng.IntN(200) {
	case 0: // as large as events get, or nearly
		return record(member("blob", quote(strings.Repeat("0123456789abcdef", 14<<10))))
	case 1: // deep
		deep := []string{`"core"`}
		for range 200 {
			deep = list(deep)
		}
		return record(member("deep", deep...))
	}
	var members [][]string
	for i := range s.rng.IntN(6) {
		members = append(members, member("m"+strconv.Itoa(i), s.value(3)...))
	}
	return record(members...)
}

// value returns any JSON value, with what a careless reader would change.
func (s *source) value(depth int) []string {
	if depth > 0 {
		switch s.rng.IntN(4) {
		case 0:
			return list(s.value(depth-1), s.value(depth-1))
		case 1:
			return record(member("z", s.value(depth-1)...), member("a", s.value(depth-1)...), member("", "1"))
		}
	}
	return []string{pick(s.rng,
		"9007199254740993", "18446744073709551616000", "-0", "1.20e+1", "0.1234567890123456789", "1E400", "-1e-7",
		"true", "false", "null", `""`, `"\u00e9"`, `"é"`, `"e\u0301"`, `"\u0000"`, `"\n\t  {}[],:"`, `"<b>&amp;</b>"`, `"\u2028"`, `"\/"`, "[]", "{}",
	)}
}

func pick(rng *rand.Rand, values ...string) string { return values[rng.IntN(len(values))] }

// quote makes a JSON string of text that has nothing to escape.
func quote(s string) string { return `"` + s + `"` }

func member(name string, value ...string) []string {
	return append([]string{quote(name), ":"}, value...)
}

func record(members ...[]string) []string { return enclose("{", "}", members) }

func list(values ...[]string) []string { return enclose("[", "]", values) }

func enclose(open, end string, parts [][]string) []string {
	out := []string{open}
	for i, p := range parts {
		if i > 0 {
			out = append(out, ",")
		}
		out = append(out, p...)
	}
	return append(out, end)
}
