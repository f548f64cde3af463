package e2e

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// TestFilledIn sends events that leave everything to the server that can be
// left to it: what it fills in follows the producer's own bytes, and the
// object's key is made of it.
func TestFilledIn(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s := serve(t, aws.url, t.TempDir())
	tm.setUp(t, s.http, s.api)
	begin := time.Now().UnixMilli()
	const own = `"payload":{"n":9007199254740993},"action":"x","actor":{"name":"x","id":"usr_1","type":"app"}`
	r := request{contentType: "application/x-ndjson", body: []byte("{" + own + "}\n{" + own + "}\n")}
	for n := range 2 { // without an id, the same again is something new
		if a := tm.post(t, s.url, r); a.status != 200 || a.Accepted != 2 || a.Duplicates != 0 {
			t.Fatalf("request %d: %v", n, a)
		}
	}
	aws.awaitObjects(4)
	s.stop()

	bodyRE := regexp.MustCompile(`^\{` + regexp.QuoteMeta(own) + fmt.Sprintf(
		`,"schema":"vercel\.audit_log\.v1","id":"(uev_[A-Za-z0-9]{24})","teamId":"%s","timestamp":(\d{13})\}\n$`, tm.team))
	objects, err := aws.Objects(tm.targets[0].bucket)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 4 {
		t.Errorf("%d objects, want 4", len(objects))
	}
	for _, o := range objects {
		body, err := o.Read()
		if err != nil {
			t.Fatal(err)
		}
		m := bodyRE.FindStringSubmatch(string(body))
		if m == nil {
			t.Errorf("object %s does not match %s", body, bodyRE)
			continue
		}
		ms, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || ms < begin || ms > time.Now().UnixMilli() {
			t.Errorf("timestamp %s is not when the event was sent", m[2])
		}
		if want := (event{id: m[1], ms: ms}).key(tm.targets[0]); o.Key != want {
			t.Errorf("key %s, want %s", o.Key, want)
		}
	}
}

// TestTestDelivery makes test deliveries that work, of a drain and without
// one: each writes one object, under test/ and nowhere else.
func TestTestDelivery(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s := serve(t, aws.url, t.TempDir())
	tm.setUp(t, s.http, s.api)
	result, err := s.api.TestDrain(t.Context(), tm.team, tm.drains[0].ID)
	if err != nil || result.Status != "" || result.Key == "" || result.Duration < 1 {
		t.Fatalf("test of the drain: %+v, %v", result, err)
	}
	delivery := auditdrain.DrainTestInput{Schemas: auditdrain.AuditLogSchemas(), Delivery: tm.targets[0].delivery()}
	if result, err := s.api.TestDelivery(t.Context(), tm.team, delivery); err != nil || !reflect.DeepEqual(result, auditdrain.DrainTestResult{}) {
		t.Fatalf("test without a drain: %+v, %v", result, err)
	}
	s.stop()
	objects, err := aws.Objects(tm.targets[0].bucket)
	if err != nil {
		t.Fatal(err)
	}
	keyRE := regexp.MustCompile(`^audit-logs/test/schema=audit_log/version=v1/year=\d{4}/month=\d\d/day=\d\d/\d{8}T\d{6}\.\d{3}Z_[A-Za-z0-9_.-]+\.jsonl$`)
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
		if !keyRE.MatchString(o.Key) {
			t.Errorf("key %s does not match %s", o.Key, keyRE)
		}
	}
	if len(keys) != 2 || !slices.Contains(keys, result.Key) {
		t.Errorf("objects %s, want two, and %s among them", strings.Join(keys, ", "), result.Key)
	}
}

// TestUnsafeRoles opens a team's role to everybody who can make the service
// assume it: test deliveries say so, and drains with such a role are refused
// where the operator wants that. Between these, nobody tries the role.
func TestUnsafeRoles(t *testing.T) {
	for _, mode := range []string{"warn", "refuse"} {
		t.Run(mode, func(t *testing.T) {
			aws := newCloud(t)
			tm := oneTeam(t, aws)
			s := serve(t, aws.url, t.TempDir(), "--unsafe-roles", mode)
			tm.setUp(t, s.http, s.api)
			id, role := tm.drains[0].ID, tm.targets[0].roleARN()
			aws.UpdateRole(role, func(r *awssim.Role) {
				r.Trust = iam.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + writerRole + `"},"Action":"sts:AssumeRole"}]}`)
			})

			// Deliveries try nothing.
			before := len(aws.refusals())
			for n := range 3 {
				r := request{contentType: "application/json", body: fmt.Appendf(nil, `{"id":"uev_%d","timestamp":1779444000123,"payload":{},"action":"x","actor":{"name":"x","id":"usr_1","type":"app"}}`, n)}
				if a := tm.post(t, s.url, r); a.status != 200 {
					t.Fatalf("%v", a)
				}
			}
			aws.awaitObjects(3)
			if tried := len(aws.refusals()) - before; tried != 0 {
				t.Errorf("%d AssumeRole calls were refused while events were delivered", tried)
			}

			result, err := s.api.TestDrain(t.Context(), tm.team, id)
			if err != nil || result.RoleCheck == nil || !result.RoleCheck.Unsafe || (result.Status == "") != (mode == "warn") {
				t.Fatalf("test delivery: %+v, %v", result, err)
			}
			if written, _ := aws.written(); written != 3+len(result.Steps)/2 { // AssumeRole and PutObject
				t.Errorf("%d objects written in %d steps", written, len(result.Steps))
			}
			pause, resume := auditdrain.StatusDisabled, auditdrain.StatusEnabled
			if _, err := s.api.UpdateDrain(t.Context(), tm.team, id, auditdrain.DrainPatch{Status: &pause}); err != nil {
				t.Fatal(err)
			}
			_, resumeErr := s.api.UpdateDrain(t.Context(), tm.team, id, auditdrain.DrainPatch{Status: &resume})
			_, createErr := s.api.CreateDrain(t.Context(), tm.team, auditdrain.DrainInput{
				Name: "another", Schemas: auditdrain.AuditLogSchemas(), Delivery: tm.targets[0].delivery(),
			})
			for what, err := range map[string]error{"resume": resumeErr, "create": createErr} {
				if mode == "warn" && err != nil {
					t.Errorf("%s: %v", what, err)
				}
				want := fmt.Sprintf("StringEquals sts:ExternalId %q", "vercel-team:"+tm.team)
				if mode == "refuse" && (auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s: %v, want it refused with what to add: %s", what, err, want)
				}
			}
			s.stop()
		})
	}
}
