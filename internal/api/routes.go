package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// route is one row of the API: what is served, to whom, and how it is
// documented.
type route struct {
	method, path string
	summary      string
	roles        []auditdrain.Role // who may call it; nil for raw routes, which are public
	team         teamRule
	query        []param
	in           any // a value of the body's type, or nil
	out          any // a value of the answer's type; nil means 204
	handle       func(c *call) (any, error)
	raw          http.Handler // instead of all of the above, for what is not REST
}

// teamRule says whether a route is about one team.
type teamRule int

const (
	noTeam       teamRule = iota
	theTeam               // named in the query or by the token
	optionalTeam          // without one, an operator means all teams
)

// param is a query parameter of a route, besides those that name the team.
type param struct{ name, doc string }

var (
	metadataParam = param{"includeMetadata", `"true" adds how each drain is doing: backlog, counts, last delivery and error, next attempt, window and session.`}
	projectParam  = param{"projectId", "Accepted for compatibility: audit log drains cover all projects of their team."}
)

var (
	operators = []auditdrain.Role{auditdrain.RoleOperator}
	owners    = []auditdrain.Role{auditdrain.RoleOperator, auditdrain.RoleOwner}
	readers   = []auditdrain.Role{auditdrain.RoleOperator, auditdrain.RoleOwner, auditdrain.RoleViewer}
	producers = []auditdrain.Role{auditdrain.RoleOperator, auditdrain.RoleProducer}
	everyone  = []auditdrain.Role{auditdrain.RoleOperator, auditdrain.RoleOwner, auditdrain.RoleViewer, auditdrain.RoleProducer}
)

// routes is everything that is served.
func (s *Server) routes() []route {
	return []route{
		{method: "POST", path: "/v1/events", team: theTeam, roles: producers,
			summary: "Accept audit events: all of them or none. They are durable when this answers 200. Sending an event again with the same id and bytes is harmless. An event without id or timestamp gets one from the server, which gives up that protection.",
			in:      eventDoc{}, out: auditdrain.EventsResult{}, handle: s.postEvents},

		{method: "GET", path: "/v1/drains", team: optionalTeam, roles: readers, query: listParams,
			summary: "List the team's drains; without a team, an operator gets those of all teams. With limit, search them and get one page.",
			out:     auditdrain.DrainList{}, handle: s.listDrains},
		{method: "POST", path: "/v1/drains", team: theTeam, roles: owners,
			summary: "Create a drain. It starts with events accepted from now on, or since startFrom.",
			in:      auditdrain.DrainInput{}, out: auditdrain.Drain{}, handle: s.createDrain},
		{method: "POST", path: "/v1/drains/test", team: theTeam, roles: owners,
			summary: "Try a delivery before a drain exists: assume the role and write one object under test/. The answer is {} when that worked (with details true: key, time taken and role check), else what AWS refused.",
			in:      auditdrain.DrainTestInput{}, out: auditdrain.DrainTestResult{}, handle: s.testDelivery},
		{method: "GET", path: "/v1/drains/{id}", team: optionalTeam, roles: readers, query: []param{metadataParam},
			summary: "Show a drain.",
			out:     auditdrain.Drain{}, handle: s.getDrain},
		{method: "PATCH", path: "/v1/drains/{id}", team: optionalTeam, roles: owners,
			summary: `Change a drain; what is absent stays. A delivery replaces the one that is there, but for integrity, which stays if it is absent, and may be sent alone. status "disabled" pauses it, "enabled" resumes where it stopped, or, with resumeFrom "now", gives up what it has not delivered, on record (givenUp).`,
			in:      auditdrain.DrainPatch{}, out: auditdrain.Drain{}, handle: s.updateDrain},
		{method: "DELETE", path: "/v1/drains/{id}", team: optionalTeam, roles: owners,
			summary: "Delete a drain. Objects already written stay.",
			handle:  s.deleteDrain},
		{method: "POST", path: "/v1/drains/{id}/test", team: optionalTeam, roles: owners,
			summary: "Try a delivery of a drain as it is configured.",
			out:     auditdrain.DrainTestResult{}, handle: s.testDrain},
		{method: "GET", path: "/v1/drains/{id}/attempts", team: optionalTeam, roles: readers, query: attemptParams,
			summary: fmt.Sprintf("List what a drain tried to write, the latest first. Kept are its last %d failures, and of its successes one a minute, the last %d.", auditdrain.MaxFailures, auditdrain.MaxSamples),
			out:     auditdrain.AttemptList{}, handle: s.listAttempts},
		{method: "GET", path: "/v1/drains/{id}/series", team: optionalTeam, roles: readers, query: seriesParams,
			summary: "Show what a drain did over time: events delivered, attempts failed, backlog, and how long events took from their acceptance until they were confirmed. There is a point for each step; the last one is of the step that is under way.",
			out:     auditdrain.Series{}, handle: s.getSeries},
		{method: "GET", path: "/v1/drains/{id}/integrity", team: optionalTeam, roles: readers,
			summary: "Show how far the account is that signed manifests keep of a drain with delivery.integrity: the last manifest and until when it covers, how many wait and why, and the command that proves by them that nothing is missing.",
			out:     auditdrain.Integrity{}, handle: s.getIntegrity},
		{method: "GET", path: "/v1/drains/{id}/skips", team: optionalTeam, roles: readers,
			summary: "List what a drain has given up, the latest first: who did that, when and why.",
			out:     auditdrain.SkipList{}, handle: s.listSkips},
		{method: "POST", path: "/v1/drains/{id}/skips", team: optionalTeam, roles: operators,
			summary: "Give up one event that the drain has not delivered: it goes on without it. That is on record for ever, and the answer is the record; of an event that was skipped before, the one that is there.",
			in:      auditdrain.SkipInput{}, out: auditdrain.Skip{}, handle: s.skipEvent},
		{method: "GET", path: "/v1/drains/{id}/replay", team: optionalTeam, roles: readers,
			summary: "Show the drain's last replay, and how far it is. 404 if there has never been one.",
			out:     auditdrain.Replay{}, handle: s.getReplay},
		{method: "POST", path: "/v1/drains/{id}/replay", team: optionalTeam, roles: owners,
			summary: "Deliver again what the drain had delivered of the events that were accepted from one time up to another. Objects that are there stay, gaps are filled. It runs beside what is new, one at a time (409), and waits while its drain is errored or disabled. Events that are not kept any more cannot be replayed: the answer says how many there are.",
			in:      auditdrain.ReplayInput{}, out: auditdrain.Replay{}, handle: s.startReplay},
		{method: "DELETE", path: "/v1/drains/{id}/replay", team: optionalTeam, roles: owners,
			summary: "Cancel the drain's running replay. What it has written stays.",
			out:     auditdrain.Replay{}, handle: s.cancelReplay},

		{method: "GET", path: "/v1/setup", team: theTeam, roles: readers, query: setupParams,
			summary: "Everything to set a drain up with: policies, a CloudFormation template and a link that fills it in, Terraform, an AWS CLI script, Athena and DuckDB. All with the values given; none is needed. 503 as long as AWS has not told what the service runs as.",
			out:     auditdrain.Setup{}, handle: s.getSetup},
		{method: "POST", path: "/v1/policies/check", team: theTeam, roles: readers,
			summary: "What policies mean for a drain, before or after it is created: whether each thing that it does is allowed, by which statement, what to change otherwise, and what they allow without need. Policies are IAM's JSON, with or without comments, or what AWS CLI commands print. AWS is not asked. 503 as long as AWS has not told what the service runs as.",
			in:      auditdrain.PolicyCheckInput{}, out: auditdrain.PolicyReport{}, handle: s.checkPolicies},

		{method: "GET", path: "/v2/teams/{idOrSlug}", team: theTeam, roles: everyone,
			summary: "Show a team.",
			out:     auditdrain.Team{}, handle: s.getTeam},
		{method: "GET", path: "/v1/teams", roles: operators, query: teamParams,
			summary: "List all teams, or those that are searched for.",
			out:     auditdrain.TeamList{}, handle: s.listTeams},
		{method: "POST", path: "/v1/teams", roles: operators,
			summary: "Create a team. The external ID that its roles must require is derived from its id.",
			in:      auditdrain.TeamInput{}, out: auditdrain.Team{}, handle: s.createTeam},

		{method: "PATCH", path: "/v1/teams/{idOrSlug}", team: theTeam, roles: owners,
			summary: "Change a team; what is absent stays. hideIpAddresses leaves ipAddress out of what the team's drains write from now on. anchorUrl is where the heads of its drains' manifests are posted to, instead of where the service posts those of all teams; empty: none of its own. Name and anchorUrl are the operator's to change.",
			in:      auditdrain.TeamPatch{}, out: auditdrain.Team{}, handle: s.updateTeam},
		{method: "POST", path: "/v1/portal-links", roles: operators,
			summary: "Make a link that lets one person in to the pages of one team, once, without a token. Its URL is shown this once.",
			in:      auditdrain.PortalLinkInput{}, out: auditdrain.NewPortalLink{}, handle: s.createPortalLink},
		{method: "GET", path: "/v1/activity", team: optionalTeam, roles: readers, query: activityParams,
			summary: "List who did what to the team's drains, tokens and settings, the latest first; without a team, an operator gets all. It is kept for ever, and each entry is also an event of team " + auditdrain.SystemTeam + ".",
			out:     auditdrain.ActivityList{}, handle: s.listActivity},

		{method: "GET", path: "/v1/tokens", team: optionalTeam, roles: owners,
			summary: "List the team's tokens; without a team, an operator gets all.",
			out:     auditdrain.TokenList{}, handle: s.listTokens},
		{method: "POST", path: "/v1/tokens", team: optionalTeam, roles: owners,
			summary: "Create a token. Its value is shown this once. An owner can make owner and viewer tokens for its team.",
			in:      auditdrain.TokenInput{}, out: auditdrain.NewToken{}, handle: s.createToken},
		{method: "DELETE", path: "/v1/tokens/{id}", team: optionalTeam, roles: owners,
			summary: "Revoke a token.",
			handle:  s.deleteToken},

		{method: "GET", path: "/v1/signing-keys", roles: everyone,
			summary: "List the keys that manifests are signed with, the latest first, by their fingerprints (RFC 7638), which can be pinned. One is active; next ones are published before they are, and retired ones for ever.",
			out:     auditdrain.SigningKeyList{}, handle: s.listSigningKeys},
		{method: "POST", path: "/v1/signing-keys", roles: operators,
			summary: "Create the next signing key. It is published at once, and signs after activeAfterHours, 24 without it, so that whoever keeps a copy of the keys gets it in time. 409 if the service was started without a key file or a key in AWS KMS, or if that key is one already.",
			in:      auditdrain.SigningKeyInput{}, out: auditdrain.SigningKeyInfo{}, handle: s.createSigningKey},
		{method: "GET", path: "/.well-known/jwks.json", raw: http.HandlerFunc(s.jwks), summary: "The public keys that manifests are checked with, as a JSON Web Key Set: all that there are or ever were."},

		{method: "GET", path: "/healthz", raw: http.HandlerFunc(s.healthz), summary: "The process is alive."},
		{method: "GET", path: "/readyz", raw: http.HandlerFunc(s.readyz), summary: "Events can be taken: the store is writable and the server is not shutting down. Otherwise 503."},
		{method: "GET", path: "/metrics", raw: s.metrics(), summary: "Metrics in the Prometheus text format."},
		{method: "GET", path: "/openapi.json", raw: http.HandlerFunc(s.openAPI), summary: "This document."},
	}
}

func (rt route) allows(role auditdrain.Role) bool { return slices.Contains(rt.roles, role) }

func (rt route) rolesText() string {
	names := make([]string, len(rt.roles))
	for i, r := range rt.roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}
