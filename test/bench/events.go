package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// The shape of the load: teams with one drain each.
const (
	drains      = 100
	batchEvents = 100

	account = "123456789012"
	region  = "us-east-1"
)

func teamID(i int) string { return fmt.Sprintf("team_bench%03d", i) }

// deliveryOf is the destination of team i.
func deliveryOf(i int) auditdrain.Delivery {
	return auditdrain.Delivery{
		Type:     "s3",
		Endpoint: fmt.Sprintf("s3://bucket-%d/audit-logs", i),
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
type eventMaker struct {
	rand *rand.Rand
	now  time.Time
}

func newEventMaker(seed uint64) *eventMaker {
	return &eventMaker{rand: rand.New(rand.NewPCG(seed, 0)), now: time.Now().Truncate(time.Millisecond)}
}

func (m *eventMaker) event(teamID string) auditdrain.Event {
	m.now = m.now.Add(time.Millisecond)
	person := people[m.rand.IntN(len(people))]
	e := map[string]any{
		"schema":    auditdrain.DefaultNamespace.Schema(),
		"id":        "uev_" + m.id(24),
		"teamId":    teamID,
		"projectId": "prj_" + m.id(24),
		"action":    actions[m.rand.IntN(len(actions))],
		"timestamp": m.now.UnixMilli(),
		"actor":     actor{Type: "user", ID: "usr_" + m.id(24), Name: person.name, Email: person.email},
		"requestId": "req_" + m.id(20),
		"userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"ipAddress": fmt.Sprintf("198.51.%d.%d", m.rand.IntN(256), m.rand.IntN(256)),
		"payload": map[string]any{
			"revision": m.rand.Uint64() | 1<<62, // beyond what a float64 holds
			"target":   map[string]any{"kind": "project", "name": "storefront-" + m.id(6), "url": "https://example.com/" + m.id(12)},
			"changes":  []map[string]any{{"field": "framework", "from": nil, "to": "nextjs"}},
		},
	}
	if m.rand.IntN(4) == 0 {
		e["via"] = []actor{{Type: "integration", ID: "icfg_" + m.id(24), Name: "Deploy bot"}}
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // maps, strings and integers always marshal
	}
	return auditdrain.Event{ID: e["id"].(string), Timestamp: m.now.UnixMilli(), Body: body}
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (m *eventMaker) id(n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(letters[m.rand.IntN(len(letters))])
	}
	return b.String()
}
