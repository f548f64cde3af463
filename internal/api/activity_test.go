package api

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

// latest returns the latest activities, the first of them first.
func (s *service) latest(n int) []auditdrain.Activity {
	s.t.Helper()
	list := must[auditdrain.ActivityList](s, "GET", fmt.Sprintf("/v1/activity?limit=%d", max(n, 1)), "").Activities
	list = list[:min(n, len(list))]
	slices.Reverse(list)
	return list
}

// lastNumber is that of the last activity, 0 if there is none.
func (s *service) lastNumber() uint64 {
	s.t.Helper()
	for _, a := range s.latest(1) {
		return a.Number
	}
	return 0
}

// short is an activity in a line.
func short(a auditdrain.Activity) string {
	line := a.Action + " " + a.TeamID + " " + a.TargetName
	for _, c := range a.Changes {
		line += fmt.Sprintf(" %s:%q>%q", c.Field, c.From, c.To)
	}
	return line
}

// Everything that changes something is recorded, once, and tells what.
func TestEveryChangeIsRecorded(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	s.send(1, 3)
	s.save(auditdrain.DeliveryState{DrainID: d.ID, Cursor: 1})
	token := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"ci","role":"viewer","teamId":"team_a"}`)
	now := time.Now().UnixMilli()
	drain, seen := "/v1/drains/"+d.ID, s.lastNumber()
	const created = ` delivery.type:"">"s3" delivery.endpoint:"">"s3://acme-audit/audit-logs" delivery.encoding:"">"ndjson" delivery.compression:"">"none" delivery.fileStructure:"">"hive" delivery.roleArn:"">"arn:aws:iam::123456789012:role/path/drain" delivery.region:"">"eu-central-1"`
	for _, tt := range []struct {
		method, path, body string
		want               []string
	}{
		{"POST", "/v1/teams", `{"id":"team_b","slug":"b","name":"B"}`, []string{`team-created team_b B slug:"">"b"`}},
		{"PATCH", "/v1/teams/b", `{"name":"Beta","hideIpAddresses":true}`, []string{`team-updated team_b Beta name:"B">"Beta" hideIpAddresses:"false">"true"`}},
		{"PATCH", "/v1/teams/b", `{"name":"Beta"}`, nil},
		{"PATCH", "/v1/teams/b", `{"anchorUrl":"https://a.example/"}`, []string{`team-updated team_b Beta anchorUrl:"">"https://a.example/"`}},
		{"POST", "/v1/tokens", fmt.Sprintf(`{"name":"new","role":"owner","teamId":"b","expiresAt":%d}`, now+1e6), []string{fmt.Sprintf(`token-created team_b new role:"">"owner" expiresAt:"">"%d"`, now+1e6)}},
		{"POST", "/v1/tokens", `{"name":"all","role":"operator"}`, []string{`token-created  all role:"">"operator"`}},
		{"DELETE", "/v1/tokens/" + token.ID, "", []string{`token-revoked team_a ci`}},
		{"POST", "/v1/drains?teamId=team_b", drainBody(goodDelivery), []string{`drain-created team_b archive name:"">"archive" status:"">"enabled"` + created}},
		{"PATCH", drain, `{"name":"new"}`, []string{`drain-updated team_a new name:"archive">"new"`}},
		{"PATCH", drain, `{"name":"new"}`, nil},
		{"PATCH", drain, `{"delivery":` + strings.Replace(goodDelivery, `"eu-central-1"`, `"eu-west-1","serverSideEncryption":"AES256"`, 1) + `}`,
			[]string{`drain-updated team_a new delivery.region:"eu-central-1">"eu-west-1" delivery.serverSideEncryption:"">"AES256"`}},
		{"POST", drain + "/skips", `{"eventId":"uev_2","reason":"poison"}`, []string{`drain-event-skipped team_a new eventId:"">"uev_2" reason:"">"poison"`}},
		{"POST", drain + "/skips", `{"eventId":"uev_2","reason":"again"}`, nil},
		{"POST", drain + "/replay", `{"from":1,"to":2}`, []string{`drain-replay-started team_a new from:"">"1" to:"">"2"`}},
		{"PATCH", drain, `{"status":"disabled"}`, []string{`drain-paused team_a new status:"enabled">"disabled"`}},
		{"PATCH", drain, `{"status":"enabled","resumeFrom":"now","name":"newer"}`, []string{
			`drain-backlog-given-up team_a new reason:"">"resumed from now"`,
			`drain-resumed team_a newer name:"new">"newer" status:"disabled">"enabled"`,
		}},
		{"POST", drain + "/test", "", []string{`drain-tested team_a newer result:"">"passed"`}},
		{"POST", "/v1/drains/test?teamId=team_a", `{"schemas":{"audit_log":{"version":"v1"}},"delivery":` + goodDelivery + `}`,
			[]string{`drain-tested team_a  result:"">"passed"` + created}},
		{"DELETE", drain, "", []string{`drain-deleted team_a newer`}},
		{"POST", "/v1/events?teamId=team_a", goodEvent, nil},
		{"POST", "/v1/policies/check?teamId=team_a", checkBody(goodDelivery), nil},
	} {
		if got := s.do(operatorToken, tt.method, tt.path, tt.body); got.status/100 != 2 {
			t.Fatalf("%s %s %s: %d %s", tt.method, tt.path, tt.body, got.status, got.body)
		}
		var got []string
		for _, a := range s.latest(int(s.lastNumber() - seen)) {
			seen = a.Number
			got = append(got, short(a))
			if a.TargetName != "" && a.TargetID == "" || a.TargetID == "" && a.Action != auditdrain.ActionDrainTested {
				t.Errorf("%s %s: no target: %+v", tt.method, tt.path, a)
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", tt.method, tt.path, tt.body, d)
		}
	}
}

// What is refused is not recorded, nor is what cannot be done.
func TestRefusedIsNotRecorded(t *testing.T) {
	s := newService(t)
	d := s.newDrain(2, 1)
	viewer, owner := s.token("team_a", auditdrain.RoleViewer), s.token("team_a", auditdrain.RoleOwner)
	before := s.lastNumber()
	s.testErr = auditdrain.Errorf(auditdrain.CodeUnavailable, "AWS does not know us")
	for _, tt := range []struct{ token, method, path, body string }{
		{operatorToken, "POST", "/v1/teams", `{"id":"team_a","slug":"x","name":"x"}`},
		{operatorToken, "POST", "/v1/drains?teamId=team_a", drainBody(strings.Replace(goodDelivery, "ndjson", "csv", 1))},
		{viewer, "DELETE", "/v1/drains/" + d.ID, ""},
		{viewer, "PATCH", "/v1/teams/team_a", `{"hideIpAddresses":true}`},
		{owner, "PATCH", "/v1/teams/team_a", `{"name":"mine","hideIpAddresses":true}`},
		{operatorToken, "PATCH", "/v1/teams/team_a", `{"name":""}`},
		{operatorToken, "PATCH", "/v1/drains/" + d.ID, `{"name":""}`},
		{operatorToken, "POST", "/v1/drains/" + d.ID + "/skips", `{"eventId":"uev_1","reason":"delivered"}`},
		{operatorToken, "POST", "/v1/drains/" + d.ID + "/test", ""},
		{operatorToken, "DELETE", "/v1/drains/" + d.ID + "/replay", ""},
		{operatorToken, "DELETE", "/v1/tokens/tok_none", ""},
		{owner, "POST", "/v1/tokens", `{"name":"x","role":"producer"}`},
		{operatorToken, "POST", "/v1/portal-links", `{"teamId":"team_zzz"}`},
	} {
		if got := s.do(tt.token, tt.method, tt.path, tt.body); got.status < 400 {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, got.status, got.body)
		}
		if after := s.lastNumber(); after != before {
			t.Fatalf("%s %s %s: recorded as %s", tt.method, tt.path, tt.body, short(s.latest(1)[0]))
		}
	}
	if team := must[auditdrain.Team](s, "GET", "/v2/teams/team_a", ""); team.HideIPAddresses || team.Name != "Team" {
		t.Errorf("the team was changed: %+v", team)
	}
}

// Who did it, and from where.
func TestActor(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	owner := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"Ann","role":"owner","teamId":"team_a"}`)
	began := time.Now().UnixMilli()
	if got := s.do(owner.Value, "PATCH", "/v1/teams/team_a", `{"hideIpAddresses":true}`, "User-Agent", "curl/8 \x01"+strings.Repeat("x", 1000)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	want := auditdrain.Activity{
		Number: 3, TeamID: "team_a", Action: auditdrain.ActionTeamUpdated, TargetID: "team_a", TargetName: "Team",
		Actor:     auditdrain.ActivityActor{ID: owner.ID, Name: "Ann", Role: auditdrain.RoleOwner},
		IPAddress: "192.0.2.1", // of httptest
		UserAgent: "curl/8 " + strings.Repeat("x", 248),
		Changes:   []auditdrain.ActivityChange{{Field: "hideIpAddresses", From: "false", To: "true"}},
	}
	got := s.latest(1)[0]
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(auditdrain.Activity{}, "ID", "At")); d != "" {
		t.Errorf("by a token (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(got.ID, "uev_") || got.At < began || got.At > time.Now().UnixMilli() {
		t.Errorf("ID %q at %d", got.ID, got.At)
	}

	// From the pages: who is logged in, in the team of the session.
	ctx := WithIdentity(t.Context(), Identity{
		Token:   auditdrain.Token{ID: "lnk_1", Name: "Bob", Role: auditdrain.RoleOwner, TeamID: "team_a"},
		Session: "ses_1", Address: "[2001:db8::1]:4711", UserAgent: "Firefox",
	})
	r, err := http.NewRequestWithContext(ctx, "PATCH", "http://inside/v1/teams/team_a", strings.NewReader(`{"hideIpAddresses":false}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Inside(s.handler).RoundTrip(r)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %+v", err, resp)
	}
	want.Number, want.IPAddress, want.UserAgent = 4, "2001:db8::1", "Firefox"
	want.Actor = auditdrain.ActivityActor{ID: "lnk_1", Name: "Bob", Role: auditdrain.RoleOwner, Session: "ses_1"}
	want.Changes = []auditdrain.ActivityChange{{Field: "hideIpAddresses", From: "true", To: "false"}}
	if d := cmp.Diff(want, s.latest(1)[0], cmpopts.IgnoreFields(auditdrain.Activity{}, "ID", "At")); d != "" {
		t.Errorf("from the pages (-want +got):\n%s", d)
	}
}

func TestListActivity(t *testing.T) {
	s := newService(t)
	s.team("team_a") // 1
	s.team("team_b") // 2
	viewer := s.token("team_a", auditdrain.RoleViewer)
	for i := range 3 {
		must[auditdrain.Team](s, "PATCH", "/v1/teams/team_a", fmt.Sprintf(`{"name":"A%d"}`, i)) // 4 to 6
	}
	for _, tt := range []struct {
		token, query string
		want         []uint64
		next         uint64
	}{
		{operatorToken, "", []uint64{6, 5, 4, 3, 2, 1}, 0},
		{operatorToken, "?limit=6", []uint64{6, 5, 4, 3, 2, 1}, 0},
		{operatorToken, "?limit=2", []uint64{6, 5}, 5},
		{operatorToken, "?limit=2&before=5", []uint64{4, 3}, 3},
		{operatorToken, "?limit=2&before=3", []uint64{2, 1}, 0},
		{operatorToken, "?before=1", []uint64{}, 0},
		{operatorToken, "?teamId=team-b", []uint64{2}, 0},
		{viewer, "", []uint64{6, 5, 4, 3, 1}, 0},
		{viewer, "?limit=3", []uint64{6, 5, 4}, 4},
		{viewer, "?limit=3&before=4", []uint64{3, 1}, 0},
	} {
		got := s.do(tt.token, "GET", "/v1/activity"+tt.query, "")
		list := decode[auditdrain.ActivityList](t, got.body)
		numbers := []uint64{}
		for _, a := range list.Activities {
			numbers = append(numbers, a.Number)
		}
		if d := cmp.Diff(tt.want, numbers); d != "" || list.Next != tt.next {
			t.Errorf("%q: next %d, want %d (-want +got):\n%s%s", tt.query, list.Next, tt.next, d, got.body)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?limit=x", "?before=-1", "?before=x", "?after=1"} {
		name, _, _ := strings.Cut(query[1:], "=")
		if got := s.do(operatorToken, "GET", "/v1/activity"+query, ""); got.status != 400 || !strings.Contains(got.body, `"field":"`+name+`"`) {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
}

// A field that a drain gets must not be missing from its history.
func TestDrainChangesKnowEveryField(t *testing.T) {
	ofOtherTypes := []string{"headers", "secret"}
	var after auditdrain.Drain
	after.Name, after.Status = "x", auditdrain.StatusEnabled
	want := []string{"name", "status"}
	v := reflect.ValueOf(&after.Delivery).Elem()
	for i := range v.NumField() {
		name := jsonName(v.Type().Field(i))
		switch f := v.Field(i); {
		case slices.Contains(ofOtherTypes, name):
			continue
		case f.Kind() == reflect.String:
			f.SetString("x")
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		default:
			t.Errorf("delivery.%s is a %s: give it a value here", name, f.Kind())
		}
		want = append(want, "delivery."+name)
	}
	var got []string
	for _, c := range drainChanges(auditdrain.Drain{}, after) {
		got = append(got, c.Field)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}
