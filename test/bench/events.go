package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	account = "123456789012"
	region  = "us-east-1"
)

// Teams have numbers: their IDs, slugs and buckets follow from them.
func teamID(i int) string { return fmt.Sprintf("team_bench%05d", i) }

const bucketPrefix = "bucket-"

func bucketOf(i int) string { return bucketPrefix + strconv.Itoa(i) }

// deliveryOf is the destination of team i.
func deliveryOf(i int) auditdrain.Delivery {
	return auditdrain.Delivery{
		Type:     "s3",
		Endpoint: "s3://" + bucketOf(i) + "/audit-logs",
		Encoding: "ndjson",
		RoleARN:  "arn:aws:iam::" + account + ":role/drain",
		Region:   region,
	}.WithDefaults()
}

var actions = []string{
	"project-created", "project-env-variable-updated", "member-invited", "deployment-promoted",
	"drain-created", "domain-transfer-requested", "access-group-updated", "token-revoked",
}

var people = []struct{ name, email string }{
	{"Zoë Hartmann", "zoe.hartmann@example.com"},
	{"Kwame Mensah", "kwame.mensah@example.com"},
	{"李 小龙", "xiaolong.li@example.com"},
	{"Siobhán O'Neill", "siobhan.oneill@example.com"},
}

type actor struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

// eventMaker makes audit events of about 700 bytes. The same seed gives the
// same events, apart from their time.
//
// To make one must cost next to nothing beside what the service does with it:
// it is a copy of one of a thousand, picked at random, in which ID, team and
// time are replaced. So few in the same block of the store are alike.
type eventMaker struct {
	rand     *rand.Rand
	stencils []stencil
}

// stencil is an event with places for what differs, all of fixed length.
type stencil struct {
	body           []byte
	id, team, time int // where they begin
}

const (
	stencils     = 1000
	idLetters    = 24 // after the prefix
	idPrefix     = "uev_"
	eventIDLen   = len(idPrefix) + idLetters
	eventBytes   = 700 // about
	stencilTime  = 1_000_000_000_001
	timestampLen = 13
)

func newEventMaker(seed uint64) *eventMaker {
	m := &eventMaker{rand: rand.New(rand.NewPCG(seed, 0))}
	for range stencils {
		m.stencils = append(m.stencils, m.stencil())
	}
	return m
}

// fork returns a maker of other events, for use beside m.
func (m *eventMaker) fork(n uint64) *eventMaker {
	return &eventMaker{rand: rand.New(rand.NewPCG(m.rand.Uint64(), n)), stencils: m.stencils}
}

func (m *eventMaker) stencil() stencil {
	id, team := idPrefix+strings.Repeat("#", idLetters), teamID(0)
	person := people[m.rand.IntN(len(people))]
	e := map[string]any{
		"schema":    auditdrain.DefaultNamespace.Schema(),
		"id":        id,
		"teamId":    team,
		"projectId": "prj_" + m.letters(24),
		"action":    actions[m.rand.IntN(len(actions))],
		"timestamp": stencilTime,
		"actor":     actor{Type: "user", ID: "usr_" + m.letters(24), Name: person.name, Email: person.email},
		"requestId": "req_" + m.letters(20),
		"userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"ipAddress": fmt.Sprintf("198.51.%d.%d", m.rand.IntN(256), m.rand.IntN(256)),
		"payload": map[string]any{
			"revision": m.rand.Uint64() | 1<<62, // beyond what a float64 holds
			"target":   map[string]any{"kind": "project", "name": "storefront-" + m.letters(6), "url": "https://example.com/" + m.letters(12)},
			"changes":  []map[string]any{{"field": "framework", "from": nil, "to": "nextjs"}},
		},
	}
	if m.rand.IntN(4) == 0 {
		e["via"] = []actor{{Type: "integration", ID: "icfg_" + m.letters(24), Name: "Deploy bot"}}
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // maps, strings and integers always marshal
	}
	place := func(s string) int { return bytes.Index(body, []byte(s)) }
	return stencil{body: body, id: place(id), team: place(team), time: place(strconv.Itoa(stencilTime))}
}

// appendEvent appends one more event of a team to b, and returns its ID as a
// part of that.
func (m *eventMaker) appendEvent(b []byte, teamID string, at time.Time) (all, id []byte) {
	s := &m.stencils[m.rand.IntN(len(m.stencils))]
	b = append(b, s.body...)
	e := b[len(b)-len(s.body):]
	id = e[s.id : s.id+eventIDLen]
	m.fill(id[len(idPrefix):])
	copy(e[s.team:], teamID)
	strconv.AppendInt(e[s.time:s.time:s.time+timestampLen], at.UnixMilli(), 10)
	return b, id
}

func (m *eventMaker) event(teamID string) auditdrain.Event {
	now := time.Now()
	body, id := m.appendEvent(nil, teamID, now)
	return auditdrain.Event{ID: string(id), Timestamp: now.UnixMilli(), Body: body}
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (m *eventMaker) letters(n int) string {
	b := make([]byte, n)
	m.fill(b)
	return string(b)
}

// fill puts random letters into b, ten out of each number.
func (m *eventMaker) fill(b []byte) {
	var x uint64
	for i := range b {
		if i%10 == 0 {
			x = m.rand.Uint64()
		}
		b[i] = alphabet[x%uint64(len(alphabet))]
		x /= uint64(len(alphabet))
	}
}
