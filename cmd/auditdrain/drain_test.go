package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

const testRole = "arn:aws:iam::123456789012:role/audit-log-writer"

func createArgs(more ...string) []string {
	return append([]string{"drain", "create", "--team", "acme", "--name", "archive", "--endpoint", "s3://acme-audit/logs",
		"--role-arn", testRole, "--region", "eu-central-1"}, more...)
}

func TestDrainCreate(t *testing.T) {
	base := auditdrain.Delivery{
		Type: "s3", Endpoint: "s3://acme-audit/logs", Encoding: "ndjson", Compression: "none", FileStructure: "hive",
		RoleARN: testRole, Region: "eu-central-1",
	}
	full := base
	full.Encoding, full.ServerSideEncryption, full.ObjectACL, full.Integrity = "json", "aws:kms", "bucket-owner-full-control", true
	for name, tc := range map[string]struct {
		args      []string
		delivery  auditdrain.Delivery
		startFrom int64
	}{
		"defaults":   {nil, base, 0},
		"everything": {[]string{"--encoding", "json", "--encryption", "aws:kms", "--object-acl", "bucket-owner-full-control", "--integrity", "--start-from", "2026-05-22T10:00:00Z"}, full, 1779444000000},
		"none":       {[]string{"--encryption", "none", "--object-acl", "none"}, base, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeService()
			r := cli(t, f.start(t), "", createArgs(tc.args...)...)
			if r.code != 0 {
				t.Fatal(r.stderr)
			}
			want := auditdrain.DrainInput{Name: "archive", Projects: "all", Schemas: auditdrain.AuditLogSchemas(), Delivery: &tc.delivery, StartFrom: tc.startFrom}
			if diff := cmp.Diff(want, f.created); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"acme"}, f.teamIDs); diff != "" {
				t.Error(diff)
			}
			for _, s := range []string{"ID:", "drn_1", "External ID:", "vercel-team:acme", "s3://acme-audit/logs"} {
				if !strings.Contains(r.stdout, s) {
					t.Errorf("stdout does not have %q:\n%s", s, r.stdout)
				}
			}
		})
	}
}

func TestDrainCreateRefused(t *testing.T) {
	r := cli(t, newFakeService().start(t), "", "drain", "create", "--team", "team_1", "--name", "x",
		"--endpoint", "s3://A", "--role-arn", "nonsense", "--region", "eu-central-1")
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	if r.code != 1 || len(lines) != 3 || !strings.HasPrefix(lines[1], `  delivery.endpoint: "s3://A"`) || !strings.HasPrefix(lines[2], `  delivery.roleArn: "nonsense"`) {
		t.Errorf("code %d, stderr\n%s", r.code, r.stderr)
	}
}

// An update changes what it was asked to and keeps all the rest, although the
// API replaces a delivery as a whole.
func TestDrainUpdate(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		change func(*auditdrain.Drain)
	}{
		"name":     {[]string{"--name", "new"}, func(d *auditdrain.Drain) { d.Name = "new" }},
		"endpoint": {[]string{"--endpoint", "s3://other"}, func(d *auditdrain.Drain) { d.Delivery.Endpoint = "s3://other" }},
		"encoding": {[]string{"--encoding", "json"}, func(d *auditdrain.Drain) { d.Delivery.Encoding = "json" }},
		"default":  {[]string{"--encoding", "ndjson"}, func(*auditdrain.Drain) {}},
		"no sse":   {[]string{"--encryption", "none"}, func(d *auditdrain.Drain) { d.Delivery.ServerSideEncryption = "" }},
		"on":       {[]string{"--integrity"}, func(d *auditdrain.Drain) { d.Delivery.Integrity = true }},
		"off":      {[]string{"--integrity=false", "--encoding", "json"}, func(d *auditdrain.Drain) { d.Delivery.Encoding, d.Delivery.Integrity = "json", false }},
		"stays":    {[]string{"--integrity=true", "--region", "us-east-1"}, func(d *auditdrain.Drain) { d.Delivery.Region, d.Delivery.Integrity = "us-east-1", true }},
		"several": {[]string{"--name", "n", "--object-acl", "private", "--region", "us-east-1"}, func(d *auditdrain.Drain) {
			d.Name, d.Delivery.ObjectACL, d.Delivery.Region = "n", "private", "us-east-1"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeService()
			url := f.start(t)
			if r := cli(t, url, "", createArgs("--encryption", "AES256")...); r.code != 0 {
				t.Fatal(r.stderr)
			}
			want := f.drains[0]
			tc.change(&want)
			if r := cli(t, url, "", append([]string{"drain", "update", "drn_1"}, tc.args...)...); r.code != 0 {
				t.Fatal(r.stderr)
			}
			if diff := cmp.Diff(want, f.drains[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		f := newFakeService()
		r := cli(t, f.start(t), "", "drain", "update", "drn_1")
		if r.code != 2 || !strings.Contains(r.stderr, "nothing to change") {
			t.Errorf("%+v", r)
		}
	})
}

func TestDrainPauseResumeDelete(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	for _, step := range []struct {
		command string
		want    auditdrain.DrainStatus
	}{{"pause", auditdrain.StatusDisabled}, {"resume", auditdrain.StatusEnabled}} {
		if r := cli(t, url, "", "drain", step.command, "drn_1"); r.code != 0 || f.drains[0].Status != step.want {
			t.Errorf("after %s: %v %s", step.command, f.drains[0].Status, r.stderr)
		}
	}
	// Without a terminal, nobody can have meant yes.
	if r := cli(t, url, "y\n", "drain", "delete", "drn_1"); r.code != 2 || !strings.Contains(r.stderr, "use --yes") || len(f.drains) != 1 {
		t.Errorf("without --yes: %+v, %d drains left", r, len(f.drains))
	}
	if r := cli(t, url, "", "drain", "delete", "drn_1", "--yes"); r.code != 0 || len(f.drains) != 0 {
		t.Errorf("with --yes: %+v, %d drains left", r, len(f.drains))
	}
}

func TestDrainList(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	f.drains[0].Status = auditdrain.StatusErrored
	f.drains[0].LastError = "AccessDenied:\x1b[31m no"
	f.drains[0].Metadata = &auditdrain.DrainMetadata{
		BacklogEvents: 12345, OldestUndeliveredAt: time.Now().Add(-90 * time.Minute).UnixMilli(), NextAttemptAt: time.Now().Add(20*time.Hour + 30*time.Second).UnixMilli(),
	}

	r := cli(t, url, "", "drain", "list", "--team", "acme")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "ID ") {
		t.Fatalf("got\n%s%s", r.stdout, r.stderr)
	}
	for _, s := range []string{"drn_1", "archive", "errored", "s3://acme-audit/logs", "12345", "1h30m", "20h0m", "AccessDenied:\uFFFD[31m no"} {
		if !strings.Contains(lines[1], s) {
			t.Errorf("no %q in %q", s, lines[1])
		}
	}

	r = cli(t, url, "", "drain", "list", "-o", "json")
	var got auditdrain.DrainList
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(auditdrain.DrainList{Drains: f.drains}, got); diff != "" {
		t.Error(diff)
	}
}

// A diagnosis stands in for the error that it explains.
func TestDrainDiagnosis(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)
	d := &f.drains[0]
	d.Status = auditdrain.StatusErrored
	d.Diagnosis = &auditdrain.Diagnosis{
		Summary: "S3 did not let us.", Known: true, Answer: "403 AccessDenied no",
		Causes: []auditdrain.Cause{{Text: "The region is wrong.", Who: auditdrain.ActorTeamAdmin, Fix: "Set it."}},
	}
	d.LastError = d.Diagnosis.String()

	if r := cli(t, url, "", "drain", "list"); !strings.Contains(r.stdout, "The region is wrong.") || strings.Contains(r.stdout, "let us") {
		t.Errorf("list:\n%s", r.stdout)
	}
	want := "\nS3 did not let us.\n\n1. The region is wrong.\n   Set it. To be done by the administrator of the drain.\n\nAWS said: 403 AccessDenied no\n"
	if r := cli(t, url, "", "drain", "show", "drn_1"); !strings.HasSuffix(r.stdout, want) || strings.Contains(r.stdout, "Last error") {
		t.Errorf("show:\n%s", r.stdout)
	}
}

func TestDrainTest(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	cli(t, url, "", createArgs()...)

	f.test = auditdrain.DrainTestResult{
		Key: "logs/test/x.jsonl", Duration: 1234,
		Steps:     []auditdrain.TestStep{{Name: "assumeRole", OK: true, Duration: 1000}, {Name: "putObject", OK: true, Duration: 234}},
		RoleCheck: &auditdrain.RoleCheck{WithoutExternalID: auditdrain.RoleRefused, OtherExternalID: auditdrain.RoleRefused},
	}
	r := cli(t, url, "", "drain", "test", "drn_1")
	want := `Delivered:   logs/test/x.jsonl
Took:        1.234s
AssumeRole:  ok, 1s
PutObject:   ok, 234ms
Role check:  refuses callers without this team's external ID
`
	if diff := cmp.Diff(want, r.stdout); r.code != 0 || diff != "" {
		t.Errorf("code %d, %s", r.code, diff)
	}

	f.test.RoleCheck = &auditdrain.RoleCheck{
		Unsafe: true, WithoutExternalID: auditdrain.RoleAccepted, OtherExternalID: auditdrain.RoleAccepted, Text: "Add the condition.",
		Change: &auditdrain.Change{Where: "trust policy of " + testRole, Statement: "{\n  \"Effect\": \"Allow\"\n}"},
	}
	r = cli(t, url, "", "drain", "test", "drn_1")
	want = "Role check:  UNSAFE. Add the condition.\nIn trust policy of " + testRole + ":\n  {\n    \"Effect\": \"Allow\"\n  }\n"
	if !strings.HasSuffix(r.stdout, want) || r.code != 0 {
		t.Errorf("code %d:\n%s", r.code, r.stdout)
	}

	f.test = auditdrain.DrainTestResult{
		Status: "error", Error: "AccessDenied", Endpoint: "s3://acme-audit/logs",
		AWS: &auditdrain.AWSAnswer{
			Service: "s3", Operation: "PutObject", HTTPStatus: 403, Code: "AccessDenied", Message: "User: … is not authorized",
			RequestID: "REQ1", ExtendedRequestID: "EXT1", Time: 1779444000123,
			Headers: http.Header{"X-Amz-Id-2": {"EXT1"}, "Content-Type": {"application/xml"}},
			Body:    "<Error>\n\t<Code>AccessDenied</Code>\x1b[2J\r\n</Error>", Host: "acme-audit.s3.eu-central-1.amazonaws.com",
			Key: "logs/test/x.jsonl", RoleARN: testRole, CallerARN: "arn:aws:sts::123456789012:assumed-role/audit-log-writer/auditdrain-drn_1",
		},
	}
	r = cli(t, url, "", "drain", "test", "drn_1")
	want = `Endpoint:     s3://acme-audit/logs
Service:      s3
Operation:    PutObject
HTTP status:  403
Code:         AccessDenied
Message:      User: … is not authorized
Request ID:   REQ1
Extended ID:  EXT1
Time:         2026-05-22T10:00:00.123Z
Role:         arn:aws:iam::123456789012:role/audit-log-writer
Caller:       arn:aws:sts::123456789012:assumed-role/audit-log-writer/auditdrain-drn_1
Host:         acme-audit.s3.eu-central-1.amazonaws.com
Key:          logs/test/x.jsonl
Headers:
  Content-Type: application/xml
  X-Amz-Id-2: EXT1
Body:
  <Error>
      <Code>AccessDenied</Code>` + "\uFFFD" + `[2J
  </Error>
`
	if diff := cmp.Diff(want, r.stdout); diff != "" {
		t.Error(diff)
	}
	if r.code != 1 || r.stderr != "auditdrain: test delivery failed: AccessDenied\n" {
		t.Errorf("code %d, stderr %q", r.code, r.stderr)
	}

	f.test.Diagnosis = &auditdrain.Diagnosis{
		Summary: "S3 did not let us.", Known: true, Docs: "https://docs.aws.amazon.com/x",
		Causes: []auditdrain.Cause{
			{Text: "The region is wrong.", Confirmed: true, Who: auditdrain.ActorTeamAdmin, Fix: "Set it.", Change: &auditdrain.Change{Where: "the drain", Field: "delivery.region", Value: "us-west-2"}},
			{Text: "The ACL is wrong.", Who: auditdrain.ActorTeamAdmin, Fix: "Unset it.", Change: &auditdrain.Change{Where: "the drain", Field: "delivery.objectAcl", Unset: true}},
			{Text: "It is denied.", Who: auditdrain.ActorBucketOwner, Fix: "Except it.", Change: &auditdrain.Change{Where: "the Deny statement", Condition: `"ArnNotEquals": {}`}},
			{Text: "Something \x1b[31melse.", Who: auditdrain.ActorKeyAdmin, Fix: "Enable it.", Change: &auditdrain.Change{Where: "KMS key k"}},
		},
		CloudTrail: &auditdrain.CloudTrailLookup{EventSource: "sts.amazonaws.com", EventName: "AssumeRole", RequestID: "REQ1", Account: "123456789012",
			From: 1779444000000, To: 1779444600000, Note: "Look there.", Command: "aws cloudtrail lookup-events"},
	}
	r = cli(t, url, "", "drain", "test", "drn_1")
	want = `Endpoint:  s3://acme-audit/logs

S3 did not let us.

1. The region is wrong. (certain)
   Set it. To be done by the administrator of the drain.
   In the drain: delivery.region = us-west-2

2. The ACL is wrong.
   Unset it. To be done by the administrator of the drain.
   In the drain: leave out delivery.objectAcl

3. It is denied.
   Except it. To be done by the owner of the bucket.
   In the Deny statement, add inside its Condition:
     "ArnNotEquals": {}

4. Something ` + "\uFFFD" + `[31melse.
   Enable it. To be done by the administrator of the KMS key.
   It is about: KMS key k

In CloudTrail of account 123456789012: AssumeRole of sts.amazonaws.com, request id REQ1, from 2026-05-22T10:00:00Z to 2026-05-22T10:10:00Z.
Look there.
  aws cloudtrail lookup-events

See https://docs.aws.amazon.com/x

AWS's answer
Service:      s3
`
	if !strings.HasPrefix(r.stdout, want) {
		t.Error(cmp.Diff(want, r.stdout))
	}

	r = cli(t, url, "", "drain", "test", "drn_1", "-o", "json")
	var got auditdrain.DrainTestResult
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 1 {
		t.Fatalf("code %d, %v", r.code, err)
	}
	if diff := cmp.Diff(f.test, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\r\n": true, "y": true, "n\n": false, "\n": false, "": false, "yeah\n": false} {
		var asked strings.Builder
		err := confirm(t.Context(), strings.NewReader(answer), &asked, "Delete?")
		if (err == nil) != want {
			t.Errorf("answer %q: %v", answer, err)
		}
		if asked.String() != "Delete? [y/N] " {
			t.Errorf("asked %q", asked.String())
		}
	}
}

func TestDeleteQuestion(t *testing.T) {
	d := auditdrain.Drain{Name: "archive", Delivery: auditdrain.Delivery{Endpoint: "s3://b"}, Metadata: &auditdrain.DrainMetadata{BacklogEvents: 3}}
	if got, want := deleteQuestion(d), `Delete drain "archive" (s3://b) with 3 undelivered events?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTeams(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	if r := cli(t, url, "", "team", "create", "--slug", "globex"); r.code != 0 || f.teams[1].Name != "globex" {
		t.Errorf("%+v %+v", r, f.teams)
	}
	r := cli(t, url, "", "team", "list")
	want := "ID      SLUG    NAME       CREATED               IP ADDRESSES  ANCHOR\n" +
		"team_1  acme    Acme Inc.  2026-05-22T10:00:00Z  written       -\n" +
		"team_2  globex  globex     2026-05-22T10:00:00Z  written       -\n"
	if diff := cmp.Diff(want, r.stdout); diff != "" {
		t.Error(diff)
	}
}

func TestTokens(t *testing.T) {
	f := newFakeService()
	url := f.start(t)
	r := cli(t, url, "", "token", "create", "--team", "acme", "--role", "producer", "--name", "app", "--expires", "2026-05-22")
	if r.code != 0 || r.stdout != "ad_value\n" {
		t.Errorf("a script would get %q, code %d", r.stdout, r.code)
	}
	if want := "token tok_1: producer of acme, until 2026-05-22T00:00:00Z; it is not shown again\n"; r.stderr != want {
		t.Errorf("stderr %q, want %q", r.stderr, want)
	}
	var created auditdrain.NewToken
	r = cli(t, url, "", "token", "create", "--role", "operator", "--name", "op", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &created); err != nil || created.Value != "ad_value" || created.Role != "operator" || created.TeamID != "" || r.stderr != "" {
		t.Errorf("%+v %v", r, err)
	}
	r = cli(t, url, "", "token", "list", "--team", "team_1")
	want := "ID     NAME  ROLE      TEAM  CREATED               EXPIRES\n" +
		"tok_1  app   producer  acme  2026-05-22T10:00:00Z  2026-05-22T00:00:00Z\n" +
		"tok_1  op    operator  -     2026-05-22T10:00:00Z  -\n"
	if diff := cmp.Diff(want, r.stdout); diff != "" {
		t.Error(diff)
	}
	if r := cli(t, url, "", "token", "revoke", "tok_1", "--team", "acme"); r.code != 0 || len(f.tokens) != 0 {
		t.Errorf("%+v, left %v", r, f.tokens)
	}
}

func TestTimeFlag(t *testing.T) {
	for s, want := range map[string]string{
		"2026-05-22T10:00:00Z":      "2026-05-22T10:00:00Z",
		"2026-05-22T12:00:00+02:00": "2026-05-22T10:00:00Z",
		"2026-05-22":                "2026-05-22T00:00:00Z",
		"1779444000000":             "2026-05-22T10:00:00Z",
	} {
		var f timeFlag
		if err := f.Set(s); err != nil || when(f.unixMilli()) != want {
			t.Errorf("%s: %v, %s; want %s", s, err, when(f.unixMilli()), want)
		}
	}
	for _, past := range []bool{true, false} {
		f := timeFlag{past: past}
		if err := f.Set("24h"); err != nil {
			t.Fatal(err)
		}
		if d := time.Until(f.at); (d < 0) != past || d.Abs() < 23*time.Hour || d.Abs() > 25*time.Hour {
			t.Errorf("past %v: 24h is %v from now", past, d)
		}
	}
	for _, s := range []string{"", "yesterday", "-24h", "-5", "12x", "1e9", "2026-13-01"} {
		if err := new(timeFlag).Set(s); err == nil {
			t.Errorf("%q was taken for a time", s)
		}
	}
}
