package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

func TestDrainLifeCycle(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	owner := s.token("team_a", auditdrain.RoleOwner)

	begin := time.Now().UnixMilli()
	created := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", `{
		"name":"archive","projects":"all","projectIds":null,"filter":null,"sampling":[],"transforms":null,
		"schemas":{"audit_log":{"version":"v1"}},"source":{"kind":"self-served"},
		"delivery":{"type":"s3","endpoint":"s3://acme-audit","encoding":"json","roleArn":"arn:aws:iam::123456789012:role/drain","region":"us-east-1","serverSideEncryption":"AES256"}}`)
	want := auditdrain.Drain{
		OwnerID: "team_a", TeamID: "team_a", Name: "archive", Projects: "all",
		Schemas: auditdrain.AuditLogSchemas(),
		Delivery: auditdrain.Delivery{
			Type: "s3", Endpoint: "s3://acme-audit", Encoding: "json", Compression: "none", FileStructure: "hive",
			RoleARN: "arn:aws:iam::123456789012:role/drain", Region: "us-east-1", ServerSideEncryption: "AES256",
		},
		Source:        auditdrain.Source{Kind: "self-served"},
		Status:        auditdrain.StatusEnabled,
		ProjectAccess: auditdrain.ProjectAccess{Access: "all", ManagedBy: "drain"},
		ExternalID:    "vercel-team:team_a",
	}
	unknowable := cmpopts.IgnoreFields(auditdrain.Drain{}, "ID", "CreatedAt", "UpdatedAt")
	if diff := cmp.Diff(want, created, unknowable); diff != "" {
		t.Errorf("created drain (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(created.ID, "drn_") || created.CreatedAt < begin || created.UpdatedAt != created.CreatedAt {
		t.Errorf("id %q, created %d, updated %d", created.ID, created.CreatedAt, created.UpdatedAt)
	}
	path := "/v1/drains/" + created.ID

	update := func(token, body string) auditdrain.Drain {
		t.Helper()
		got := s.do(token, "PATCH", path, body)
		var d auditdrain.Drain
		if err := json.Unmarshal([]byte(got.body), &d); err != nil || got.status != 200 {
			t.Fatalf("PATCH %s: %d %s", body, got.status, got.body)
		}
		return d
	}
	if d := update(owner, `{"name":"cold archive"}`); d.Name != "cold archive" || !cmp.Equal(d.Delivery, created.Delivery) {
		t.Errorf("rename: %+v", d)
	}
	if d := update(owner, `{"delivery":`+goodDelivery+`}`); d.Delivery.Endpoint != "s3://acme-audit/audit-logs" || d.Delivery.ServerSideEncryption != "" {
		t.Errorf("a delivery is replaced as a whole: %+v", d.Delivery)
	}
	if d := update(owner, `{"status":"disabled"}`); d.Status != auditdrain.StatusDisabled || d.DisabledAt < begin || d.DisabledBy == "" || d.DisabledReason != "disabled-by-owner" {
		t.Errorf("paused: %+v", d)
	}
	if d := update(owner, `{"status":"enabled"}`); d.Status != auditdrain.StatusEnabled || d.DisabledAt != 0 || d.DisabledBy != "" || d.DisabledReason != "" {
		t.Errorf("resumed: %+v", d)
	}
	if d := update(operatorToken, `{"status":"disabled"}`); d.DisabledReason != "disabled-by-admin" {
		t.Errorf("paused by the operator: %+v", d)
	}
	update(owner, `{"status":"enabled"}`)

	if got := s.do(owner, "DELETE", path, ""); got.status != 204 {
		t.Errorf("delete: %d %s", got.status, got.body)
	}
	if got := s.do(owner, "GET", path, ""); got.status != 404 {
		t.Errorf("after delete: %d %s", got.status, got.body)
	}
	if got := must[auditdrain.DrainList](s, "GET", "/v1/drains?teamId=team_a", ""); got.Drains == nil || len(got.Drains) != 0 {
		t.Errorf("list after delete: %+v, want []", got)
	}
	wantTold := make([]string, 8) // created, 6 changes, deleted
	for i := range wantTold {
		wantTold[i] = created.ID
	}
	if diff := cmp.Diff(wantTold, s.changed); diff != "" {
		t.Errorf("delivery was told of (-want +got):\n%s", diff)
	}
}

func TestDrainValidation(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	with := func(field, value string) string {
		var d map[string]any
		if err := json.Unmarshal([]byte(goodDelivery), &d); err != nil {
			t.Fatal(err)
		}
		d[field] = value
		doc, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return drainBody(string(doc))
	}
	add := func(field string) string { return strings.TrimSuffix(drainBody(goodDelivery), "}") + "," + field + "}" }
	for _, tt := range []struct {
		name, body string
		field      string   // what the first problem names
		says       []string // the value, and what is allowed
	}{
		{"endpoint", with("endpoint", "https://acme"), "delivery.endpoint", []string{"https://acme", "s3://bucket"}},
		{"bucket", with("endpoint", "s3://Acme_Audit"), "delivery.endpoint", []string{"Acme_Audit", "3 to 63"}},
		{"prefix", with("endpoint", "s3://acme/a//b"), "delivery.endpoint", []string{"s3://acme/a//b", "slash"}},
		{"encoding", with("encoding", "csv"), "delivery.encoding", []string{"csv", "ndjson"}},
		{"compression", with("compression", "gzip"), "delivery.compression", []string{"gzip", "none"}},
		{"file structure", with("fileStructure", "flat"), "delivery.fileStructure", []string{"flat", "hive"}},
		{"role", with("roleArn", "arn:aws:iam::1:role/x"), "delivery.roleArn", []string{"arn:aws:iam::1:role/x", "12 digits"}},
		{"region", with("region", "us-east-99"), "delivery.region", []string{"us-east-99"}},
		{"partition", with("region", "cn-north-1"), "delivery.roleArn", []string{"aws-cn"}},
		{"encryption", with("serverSideEncryption", "aws:kms:triple"), "delivery.serverSideEncryption", []string{"aws:kms:triple", "aws:kms:dsse"}},
		{"acl", with("objectAcl", "public-read"), "delivery.objectAcl", []string{"public-read", "bucket-owner-full-control"}},
		{"http", `{"name":"x","delivery":{"type":"http","endpoint":"https://x.example","headers":{"a":"b"}}}`, "delivery.type", []string{"not available yet"}},
		{"otlp", `{"name":"x","delivery":{"type":"otlphttp","endpoint":"https://x.example"}}`, "delivery.type", []string{"otlphttp", "s3"}},
		{"no delivery", `{"name":"x","schemas":{"audit_log":{"version":"v1"}}}`, "delivery", []string{"missing"}},
		{"no schemas", `{"name":"x","delivery":` + goodDelivery + `}`, "schemas", []string{"audit_log"}},
		{"other schema", `{"name":"x","schemas":{"log":{"version":"v1"}},"delivery":` + goodDelivery + `}`, "schemas", []string{"log", "audit_log"}},
		{"schema version", `{"name":"x","schemas":{"audit_log":{"version":"v2"}},"delivery":` + goodDelivery + `}`, "schemas.audit_log.version", []string{"v2", "v1"}},
		{"no name", `{"schemas":{"audit_log":{"version":"v1"}},"delivery":` + goodDelivery + `}`, "name", []string{"1 to 128"}},
		{"projects", strings.Replace(drainBody(goodDelivery), `"all"`, `"some"`, 1), "projects", []string{"some", "all"}},
		{"projectIds", add(`"projectIds":["prj_1"]`), "projectIds", []string{"prj_1", "not available for audit logs"}},
		{"filter", add(`"filter":{"version":"v2"}`), "filter", []string{"not available for audit logs"}},
		{"sampling", add(`"sampling":[{"type":"head_sampling","rate":0.5}]`), "sampling", []string{"0.5", "not available for audit logs"}},
		{"transforms", add(`"transforms":[{"id":"t"}]`), "transforms", []string{"not available for audit logs"}},
		{"source", add(`"source":{"kind":"integration"}`), "source.kind", []string{"integration", "self-served"}},
		{"startFrom", add(`"startFrom":-1`), "startFrom", []string{"-1", "milliseconds"}},
		{"startFrom ahead", add(`"startFrom":4102444800000`), "startFrom", []string{"4102444800000", "until now"}},
		{"headers", with("headers", "x"), "delivery.headers", []string{"s3"}},
		{"misspelt", add(`"startFom":1`), "startFom", []string{"not a known field", "startFrom"}},
		{"misspelt within", with("rolearn", "x"), "delivery.rolearn", []string{"not a known field", "roleArn"}},
		{"wrong type", add(`"startFrom":"now"`), "startFrom", []string{"whole number", "a string"}},
		{"twice", add(`"name":"y"`), "name", []string{"duplicate"}},
		{"not JSON", `{"name":`, "name", []string{"not valid JSON"}},
		{"nothing", "", "body", []string{"not valid JSON"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := s.do(operatorToken, "POST", "/v1/drains?teamId=team_a", tt.body)
			var body struct{ Error auditdrain.Error }
			if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 400 || body.Error.Code != "bad_request" {
				t.Fatalf("%d %s, want 400 bad_request", got.status, got.body)
			}
			if len(body.Error.Details) == 0 || body.Error.Details[0].Field != tt.field {
				t.Fatalf("details %+v, want field %q", body.Error.Details, tt.field)
			}
			for _, want := range tt.says {
				if !strings.Contains(body.Error.Message, want) {
					t.Errorf("message %q does not say %q", body.Error.Message, want)
				}
			}
		})
	}
	if got := must[auditdrain.DrainList](s, "GET", "/v1/drains?teamId=team_a", ""); len(got.Drains) != 0 {
		t.Errorf("a refused drain was created: %+v", got)
	}

	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	for body, field := range map[string]string{
		`{"status":"errored"}`:                     "status",
		`{"resumeFrom":"now"}`:                     "resumeFrom",
		`{"status":"enabled","resumeFrom":"1"}`:    "resumeFrom",
		`{"status":"disabled","resumeFrom":"now"}`: "resumeFrom",
		`{"name":""}`:                              "name",
		`{"filter":"x"}`:                           "filter",
		`{"schemas":{}}`:                           "schemas",
		`{"delivery":{"type":"s3"}}`:               "delivery.endpoint",
		`{"delivery":{"type":"http","url":"x"}}`:   "delivery.type",
	} {
		got := s.do(operatorToken, "PATCH", "/v1/drains/"+d.ID, body)
		if got.status != 400 || !strings.Contains(got.body, `"field":"`+field+`"`) {
			t.Errorf("PATCH %s: %d %s, want 400 that names %s", body, got.status, got.body, field)
		}
	}
	if got := must[auditdrain.Drain](s, "GET", "/v1/drains/"+d.ID, ""); !cmp.Equal(got, d) {
		t.Errorf("a refused change changed the drain: %s", cmp.Diff(d, got))
	}
}

// TestFieldsOfOtherTypes has what some clients send with every delivery.
func TestFieldsOfOtherTypes(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	delivery := strings.TrimSuffix(goodDelivery, "}") + `,"headers":null,"secret":""}`
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(delivery))
	if d.Delivery.Headers != nil || d.Delivery.Secret != nil {
		t.Errorf("kept: %+v", d.Delivery)
	}
}

func TestDrainLimit(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	for range auditdrain.MaxDrainsPerTeam {
		must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	}
	got := s.do(operatorToken, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	if got.status != 409 || !strings.Contains(got.body, "10") {
		t.Errorf("an eleventh drain: %d %s, want 409 that names the limit", got.status, got.body)
	}
}

func TestErroredDrainAndMetadata(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	begin := time.Now().UnixMilli()
	for i := range 3 {
		s.do(operatorToken, "POST", "/v1/events?teamId=team_a", strings.Replace(goodEvent, "uev_1", fmt.Sprintf("uev_%d", i), 1))
	}
	state := auditdrain.DeliveryState{DrainID: d.ID, Cursor: 1, Delivered: 1, Failed: 4, LastDeliveryAt: 1700000000000, FirstErrorAt: 1700000000001, LastError: "s3 PutObject: HTTP 403 AccessDenied"}
	if _, err := s.store.SaveProgress(t.Context(), []auditdrain.Progress{{State: state}}); err != nil {
		t.Fatal(err)
	}
	got := must[auditdrain.Drain](s, "GET", "/v1/drains/"+d.ID+"?includeMetadata=true", "")
	if got.Status != auditdrain.StatusErrored || got.FirstErrorTimestamp != 1700000000001 || got.LastError != state.LastError {
		t.Errorf("errored drain: %+v", got)
	}
	m := got.Metadata
	if m == nil || m.BacklogEvents != 2 || m.BacklogBytes == 0 || m.Delivered != 1 || m.Failed != 4 || m.LastDeliveryAt != 1700000000000 || m.OldestUndeliveredAt < begin {
		t.Errorf("metadata %+v", m)
	}
	if got := must[auditdrain.DrainList](s, "GET", "/v1/drains?teamId=team_a", ""); got.Drains[0].Metadata != nil || got.Drains[0].Status != auditdrain.StatusErrored {
		t.Errorf("list without metadata: %+v", got.Drains[0])
	}
	must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"status":"disabled"}`)
	if got := must[auditdrain.Drain](s, "GET", "/v1/drains/"+d.ID, ""); got.Status != auditdrain.StatusDisabled {
		t.Errorf("a paused drain is shown as %s", got.Status)
	}
}

func TestStartFrom(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.do(operatorToken, "POST", "/v1/events?teamId=team_a", goodEvent)
	backlog := func(startFrom int64) uint64 {
		body := strings.TrimSuffix(drainBody(goodDelivery), "}") + fmt.Sprintf(`,"startFrom":%d}`, startFrom)
		d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", body)
		return must[auditdrain.Drain](s, "GET", "/v1/drains/"+d.ID+"?includeMetadata=true", "").Metadata.BacklogEvents
	}
	for _, tt := range []struct {
		name string
		from int64
		want uint64
	}{
		{"after its creation", 0, 0},
		{"an hour ago", time.Now().Add(-time.Hour).UnixMilli(), 1},
	} {
		if got := backlog(tt.from); got != tt.want {
			t.Errorf("from %s: backlog %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestTestDelivery(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	input := `{"schemas":{"audit_log":{"version":"v1"}},"delivery":` + goodDelivery + `}`

	if got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", input); got.status != 200 || strings.TrimSpace(got.body) != "{}" {
		t.Errorf("a delivery that worked: %d %s, want {}", got.status, got.body)
	}
	for path, body := range map[string]string{
		"/v1/drains/" + d.ID + "/test":  "",
		"/v1/drains/test?teamId=team_a": strings.Replace(input, "{", `{"details":true,`, 1),
	} {
		result := must[auditdrain.DrainTestResult](s, "POST", path, body)
		if !strings.HasPrefix(result.Key, "audit-logs/test/schema=audit_log/version=v1/year=") || result.Error != "" || result.Duration == 0 {
			t.Errorf("%s that worked: %+v", path, result)
		}
	}
	if len(s.tested) != 3 || s.tested[0].ID != "" || s.tested[0].TeamID != "team_a" || s.tested[1].ID+s.tested[2].ID != d.ID {
		t.Errorf("tested %+v", s.tested)
	}

	s.testResult = auditdrain.DrainTestResult{
		Status: "error", Error: "S3 did not let us.", Endpoint: "s3://acme-audit/audit-logs", Duration: 12,
		AWS:       &auditdrain.AWSAnswer{Service: "s3", HTTPStatus: 403, Code: "AccessDenied", RequestID: "R1"},
		Steps:     []auditdrain.TestStep{{Name: "assumeRole", OK: true, Duration: 5}, {Name: "putObject", Duration: 7}},
		Diagnosis: &auditdrain.Diagnosis{Summary: "S3 did not let us.", Known: true},
	}
	s.roleCheck = auditdrain.RoleCheck{WithoutExternalID: auditdrain.RoleRefused, OtherExternalID: auditdrain.RoleRefused}
	want := s.testResult
	want.RoleCheck = &s.roleCheck
	for _, path := range []string{"/v1/drains/test?teamId=team_a", "/v1/drains/" + d.ID + "/test"} {
		if diff := cmp.Diff(want, must[auditdrain.DrainTestResult](s, "POST", path, input)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	if got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", `{"delivery":{"type":"s3"}}`); got.status != 400 || got.errorCode() != "bad_request" {
		t.Errorf("a test of nothing: %d %s", got.status, got.body)
	}
}

// A delivery that works through a role that others could use is told of, and
// clients that expect {} do not mind.
func TestTestDeliveryWarnsOfUnsafeRole(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.roleCheck = auditdrain.RoleCheck{Unsafe: true, WithoutExternalID: auditdrain.RoleAccepted, OtherExternalID: auditdrain.RoleRefused, Text: "unsafe"}
	got := must[auditdrain.DrainTestResult](s, "POST", "/v1/drains/test?teamId=team_a", `{"delivery":`+goodDelivery+`}`)
	if diff := cmp.Diff(auditdrain.DrainTestResult{RoleCheck: &s.roleCheck}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where the operator wants it, no drain starts to deliver through a role that
// others could use, or of which that cannot be found out. It is looked at when
// a drain starts, and when it gets another role, never else.
func TestUnsafeRoles(t *testing.T) {
	safe := auditdrain.RoleCheck{WithoutExternalID: auditdrain.RoleRefused, OtherExternalID: auditdrain.RoleRefused}
	unsafe := auditdrain.RoleCheck{Unsafe: true, WithoutExternalID: auditdrain.RoleAccepted, OtherExternalID: auditdrain.RoleAccepted, Text: "add the condition"}
	unknown := func(who auditdrain.Actor) auditdrain.RoleCheck {
		return auditdrain.RoleCheck{
			WithoutExternalID: auditdrain.RoleUnknown, OtherExternalID: auditdrain.RoleUnknown, Text: "not found out",
			Diagnosis: &auditdrain.Diagnosis{Summary: "STS did not let us.", Known: true, Causes: []auditdrain.Cause{{Who: who}}},
		}
	}
	otherRole := `{"delivery":` + strings.Replace(goodDelivery, "role/", "role/other-", 1) + `}`
	const disable, enable, rename = `{"status":"disabled"}`, `{"status":"enabled"}`, `{"name":"renamed"}`

	s := newService(t)
	s.team("team_a")
	s.roleCheck = unsafe
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	if len(s.checked) != 0 {
		t.Errorf("checked %d times by default, want never", len(s.checked))
	}

	s.api.RefuseUnsafeRoles = true
	path := "/v1/drains/" + d.ID
	for _, step := range []struct {
		name, method, path, body string
		role                     auditdrain.RoleCheck
		status, checks           int
	}{
		{"create", "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), unsafe, 400, 1},
		{"create, AWS is busy", "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), unknown(auditdrain.ActorNobody), 503, 1},
		{"create, we are in trouble", "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), unknown(auditdrain.ActorOperator), 503, 1},
		{"create, the ARN is none", "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), unknown(auditdrain.ActorTeamAdmin), 400, 1},
		{"create, safe", "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery), safe, 200, 1},
		{"rename", "PATCH", path, rename, unsafe, 200, 0},
		{"another role", "PATCH", path, otherRole, unsafe, 400, 1},
		{"pause", "PATCH", path, disable, unsafe, 200, 0},
		{"another role while paused", "PATCH", path, otherRole, unsafe, 200, 0},
		{"resume", "PATCH", path, enable, unsafe, 400, 1},
		{"resume, safe", "PATCH", path, enable, safe, 200, 1},
		{"resume again", "PATCH", path, enable, unsafe, 200, 0},
	} {
		s.roleCheck, s.checked = step.role, nil
		got := s.do(operatorToken, step.method, step.path, step.body)
		if got.status != step.status || len(s.checked) != step.checks {
			t.Errorf("%s: %d after %d checks, want %d after %d: %s", step.name, got.status, len(s.checked), step.status, step.checks, got.body)
		}
		if step.status == 400 && !strings.Contains(got.body, "delivery.roleArn: "+step.role.Text) {
			t.Errorf("%s: %s does not say what to do", step.name, got.body)
		}
	}
	if got := must[auditdrain.DrainList](s, "GET", "/v1/drains?teamId=team_a", ""); len(got.Drains) != 2 {
		t.Errorf("%d drains, want 2", len(got.Drains))
	}
}

// What was checked is what begins to deliver, whatever changes meanwhile.
func TestUnsafeRoleOfAnotherRequest(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	path := "/v1/drains/" + d.ID
	must[auditdrain.Drain](s, "PATCH", path, `{"status":"disabled"}`)
	s.api.RefuseUnsafeRoles = true
	s.roleCheck = auditdrain.RoleCheck{WithoutExternalID: auditdrain.RoleRefused, OtherExternalID: auditdrain.RoleRefused}
	s.duringCheck = func() {
		must[auditdrain.Drain](s, "PATCH", path, `{"delivery":`+strings.Replace(goodDelivery, "role/", "role/other-", 1)+`}`)
	}
	if got := s.do(operatorToken, "PATCH", path, `{"status":"enabled"}`); got.status != 409 || got.errorCode() != "conflict" {
		t.Errorf("%d %s, want 409", got.status, got.body)
	}
	if got := must[auditdrain.Drain](s, "GET", path, ""); got.Status != auditdrain.StatusDisabled {
		t.Errorf("status %s", got.Status)
	}
}

// One test of a team at a time, so that nobody spends the platform's quota of
// calls to AWS.
func TestOneTestAtATime(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	input := `{"delivery":` + goodDelivery + `}`
	during := 0
	s.duringTest = func() {
		during++
		if during > 1 {
			return // the other team's
		}
		if got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", input); got.status != 429 || got.errorCode() != "rate_limited" || got.header.Get("Retry-After") == "" {
			t.Errorf("a second test of the team: %d %s, want 429", got.status, got.body)
		}
		if got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_b", input); got.status != 200 {
			t.Errorf("a test of another team: %d %s", got.status, got.body)
		}
	}
	for range 2 { // and after it, again
		during = 0
		if got := s.do(operatorToken, "POST", "/v1/drains/test?teamId=team_a", input); got.status != 200 || during != 2 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

func TestSampleEventIsValid(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	e, err := s.api.sampleEvent("team_a")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Body), "ipAddress") {
		t.Errorf("%s has an IP address, which teams may hide", e.Body)
	}
	events, err := s.api.decoder.Decode("team_a", "application/json", e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]auditdrain.Event{e}, events); diff != "" {
		t.Errorf("the sample is not what ingest would store (-want +got):\n%s", diff)
	}
}
