package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/auditdrain/auditdrain"
)

// demoEvents makes up events that are as different as real ones.
type demoEvents struct{ people []demoActor }

type demoActor struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

type demoEvent struct {
	Schema    string          `json:"schema"`
	ID        string          `json:"id"`
	TeamID    string          `json:"teamId"`
	ProjectID string          `json:"projectId,omitempty"`
	Action    string          `json:"action"`
	Timestamp int64           `json:"timestamp"`
	Actor     demoActor       `json:"actor"`
	Via       []demoActor     `json:"via,omitempty"`
	RequestID string          `json:"requestId,omitempty"`
	UserAgent string          `json:"userAgent,omitempty"`
	IPAddress string          `json:"ipAddress,omitempty"`
	TokenID   string          `json:"tokenId,omitempty"`
	Payload   json.RawMessage `json:"payload"`
}

func newDemoEvents() *demoEvents {
	return &demoEvents{people: []demoActor{
		{Type: "user", ID: "usr_8Kq2Lm4Np6Rs", Name: "Zoë Åkerström", Email: "zoe@acme.example"},
		{Type: "user", ID: "usr_1Ab3Cd5Ef7Gh", Name: "李小龍", Email: "xiaolong@acme.example"},
		{Type: "user", ID: "usr_9Zy8Xw7Vu6Ts", Name: "Ngozi \"NG\" Okafor", Email: "ngozi@acme.example"},
		{Type: "app", ID: "app_deploy_bot", Name: "Deploy Bot 🤖"},
		{Type: "integration", ID: "icfg_7QpLkJhGfD", Name: "Datadog"},
		{Type: "system", ID: "system", Name: "Platform"},
	}}
}

// demoAction is something that happens, and what it says about itself.
type demoAction struct {
	name    string
	project bool
	payload func() string
}

var demoActions = []demoAction{
	{"drain-created", false, func() string {
		return `{"drain":{"name":"Security archive","destination":{"type":"s3","bucket":"acme-audit-archive"}}}`
	}},
	{"project-created", true, func() string {
		return fmt.Sprintf(`{"name":"storefront-%d","framework":"nextjs","repo":{"host":"git.example","path":"acme/storefront"}}`, rand.N(100))
	}},
	{"deployment-promoted", true, func() string {
		// Beyond 2^53: a reader that goes through a float64 shows it here.
		return fmt.Sprintf(`{"deployment":{"id":"dpl_%s","buildNumber":%d},"durationMs":%d,"cost":0.1234567890123456789}`,
			auditdrain.RandomString(12), uint64(1)<<53+rand.Uint64N(1<<62), rand.N(90_000))
	}},
	{"env-variable-updated", true, func() string {
		return `{"key":"DATABASE_URL","target":["production","preview"],"previous":{"updatedAt":1718000000000,"by":{"id":"usr_1Ab3Cd5Ef7Gh"}},"note":"línea 1\nlínea 2\t<b>&amp;</b>"}`
	}},
	{"team-member-added", false, func() string {
		return `{"member":{"email":"renée@acme.example","role":"DEVELOPER","groups":[{"id":"grp_1","scopes":["read","deploy"]},{"id":"grp_2","scopes":[]}]}}`
	}},
	{"team-member-role-updated", false, func() string { return `{"from":"DEVELOPER","to":"OWNER","reason":null}` }},
	{"login", false, func() string {
		return fmt.Sprintf(`{"method":"saml","mfa":true,"attempts":%d,"geo":{"city":"Москва","lat":55.755826,"lon":37.6173}}`, 1+rand.N(3))
	}},
	{"firewall-rule-updated", true, func() string {
		return fmt.Sprintf(`{"rule":{"id":%d,"conditions":[{"any":[{"ip":"203.0.113.0/24"},{"path":{"startsWith":"/admin"}}]}],"action":"deny"}}`, rand.Uint64())
	}},
	{"api-token-revoked", false, func() string { return `{}` }},
	{"domain-transferred", false, func() string {
		return `{"domain":"bücher.example","punycode":"xn--bcher-kva.example","price":1.20e+1}`
	}},
}

// batch returns n events that happened just before now.
func (s *demoEvents) batch(n int, now time.Time) ([][]byte, error) {
	out := make([][]byte, n)
	for i := range out {
		action := demoActions[rand.N(len(demoActions))]
		e := demoEvent{
			Schema:    auditdrain.DefaultNamespace.Schema(),
			ID:        auditdrain.NewID("uev_"),
			TeamID:    demoTeam,
			Action:    action.name,
			Timestamp: now.Add(-rand.N(250 * time.Millisecond)).UnixMilli(),
			Actor:     s.people[rand.N(len(s.people))],
			Payload:   json.RawMessage(action.payload()),
		}
		if action.project {
			e.ProjectID = fmt.Sprintf("prj_%04d", rand.N(40))
		}
		switch e.Actor.Type {
		case "user":
			e.RequestID = "iad1::" + auditdrain.RandomString(20)
			e.UserAgent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"
			e.IPAddress = fmt.Sprintf("203.0.113.%d", rand.N(256))
		case "app", "integration":
			e.Via = []demoActor{s.people[rand.N(3)]}
			e.TokenID = "tok_" + auditdrain.RandomString(10)
			e.IPAddress = fmt.Sprintf("2001:db8::%x", rand.N(1<<16))
		}
		body, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("make an event: %w", err)
		}
		out[i] = body
	}
	return out, nil
}
