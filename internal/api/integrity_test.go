package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// What a client that does not know of integrity sends with a delivery must not end
// a drain's account, and who only wants it need not know the rest.
func TestIntegrityInPatch(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	other := strings.Replace(goodDelivery, `"eu-central-1"`, `"eu-west-1","serverSideEncryption":"AES256"`, 1)
	on := strings.TrimSuffix(goodDelivery, "}") + `,"integrity":true}`
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(on))
	if !d.Delivery.Integrity {
		t.Fatalf("created without: %+v", d.Delivery)
	}
	for _, tt := range []struct {
		delivery         string
		region           string
		encrypted, after bool
	}{
		{other, "eu-west-1", true, true},
		{`{"integrity":false}`, "eu-west-1", true, false},
		{goodDelivery, "eu-central-1", false, false},
		{`{"integrity":true}`, "eu-central-1", false, true},
		{strings.TrimSuffix(other, "}") + `,"integrity":false}`, "eu-west-1", true, false},
		{on, "eu-central-1", false, true},
	} {
		got := must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+d.ID, `{"delivery":`+tt.delivery+`}`).Delivery
		if got.Integrity != tt.after || got.Region != tt.region || (got.ServerSideEncryption != "") != tt.encrypted {
			t.Errorf("after %s: %+v", tt.delivery, got)
		}
	}
	for delivery, field := range map[string]string{
		`{}`:                                "delivery.type",
		`{"integrity":null}`:                "delivery.type",
		`{"integrity":"yes"}`:               "delivery.integrity",
		`{"integrity":true,"region":"x"}`:   "delivery.type",
		`{"integrity":true,"type":"s3"}`:    "delivery.endpoint",
		`{"integrity":true,"Integrity":1}`:  "delivery.Integrity",
		`{"integrity":true,"delivery":{}}`:  "delivery.delivery",
		`{"integrity":true,"type":"http"}`:  "delivery.type",
		`{"integrity":true,"integrity":{}}`: "delivery.integrity",
	} {
		got := s.do(operatorToken, "PATCH", "/v1/drains/"+d.ID, `{"delivery":`+delivery+`}`)
		if got.status != 400 || !strings.Contains(got.body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s, want 400 that names %s", delivery, got.status, got.body, field)
		}
	}

	var doc struct {
		Components struct {
			Schemas struct {
				Drain, DrainPatch struct {
					Properties struct {
						Delivery struct{ Properties map[string]any }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(s.do("", "GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc.Components.Schemas
	names := func(of map[string]any) []string { return slices.Sorted(maps.Keys(of)) }
	want := names(schemas.Drain.Properties.Delivery.Properties)
	if d := cmp.Diff(want, names(schemas.DrainPatch.Properties.Delivery.Properties)); d != "" || !slices.Contains(want, "integrity") {
		t.Errorf("fields of a delivery and of its patch in OpenAPI (-want +got):\n%s", d)
	}
}

// What is shown is what the store knows of the chain, and what people have asked for.
func TestIntegrity(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	path := "/v1/drains/" + d.ID
	shown := func() auditdrain.Integrity {
		t.Helper()
		return must[auditdrain.Integrity](s, "GET", path+"/integrity", "")
	}
	if diff := cmp.Diff(auditdrain.Integrity{State: auditdrain.IntegrityOff}, shown()); diff != "" {
		t.Errorf("of a drain that never had it (-want +got):\n%s", diff)
	}

	// At once, although delivery has not begun a chain yet.
	d = must[auditdrain.Drain](s, "PATCH", path, `{"delivery":{"integrity":true}}`)
	want := auditdrain.Integrity{
		State:  auditdrain.IntegrityOn,
		Folder: "s3://acme-audit/audit-logs/manifest/" + d.ID + "/",
		Verify: "auditdrain verify s3://acme-audit/audit-logs --key https://audit.example.com/.well-known/jwks.json --drain " + d.ID,
	}
	if diff := cmp.Diff(want, shown()); diff != "" {
		t.Errorf("switched on (-want +got):\n%s", diff)
	}

	const hour = 60 * 60 * 1000
	for _, req := range []auditdrain.SealRequest{
		{At: 10 * hour, As: &auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: d.Delivery}}, KeyID: "key_1"},
		{At: 11 * hour, Cause: auditdrain.SealHour},
		{At: 12 * hour, Cause: auditdrain.SealHour},
	} {
		if _, err := s.store.Seal(t.Context(), d.ID, req); err != nil {
			t.Fatal(err)
		}
	}
	want.Waiting, want.KeyID = 2, "key_1"
	if diff := cmp.Diff(want, shown()); diff != "" {
		t.Errorf("sealed (-want +got):\n%s", diff)
	}
	head := strings.Repeat("ab", 32)
	for _, err := range []error{
		s.store.SealWritten(t.Context(), d.ID, 1, head, 11*hour+5),
		s.store.SealAnchored(t.Context(), d.ID, 1),
		s.store.SealFailed(t.Context(), d.ID, "S3 did not let us.", 12*hour+7),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want.Manifests, want.Head, want.CoveredUntil, want.WrittenAt, want.Waiting = 1, head, 11*hour, 11*hour+5, 1
	want.Anchored, want.LastError, want.LastErrorAt = 1, "S3 did not let us.", 12*hour+7
	for _, change := range []struct {
		status  auditdrain.DrainStatus
		state   auditdrain.IntegrityState
		waiting uint64 // with what delivery is about to seal
	}{
		{auditdrain.StatusDisabled, auditdrain.IntegrityPaused, 2},
		{auditdrain.StatusEnabled, auditdrain.IntegrityOn, 1},
	} {
		must[auditdrain.Drain](s, "PATCH", path, `{"status":"`+string(change.status)+`"}`)
		want.State, want.Waiting = change.state, change.waiting
		if diff := cmp.Diff(want, shown()); diff != "" {
			t.Errorf("of a drain that is %s (-want +got):\n%s", change.status, diff)
		}
	}
	// Switched off, there is still something to verify, and something to write.
	must[auditdrain.Drain](s, "PATCH", path, `{"delivery":{"integrity":false}}`)
	want.State, want.Waiting = auditdrain.IntegrityOff, 2
	if diff := cmp.Diff(want, shown()); diff != "" {
		t.Errorf("switched off (-want +got):\n%s", diff)
	}
}

func TestIntegrityVerifyCommand(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	for _, tt := range []struct{ endpoint, word string }{
		{"s3://acme-audit", "s3://acme-audit"},
		{"s3://acme-audit/a/b=c", "'s3://acme-audit/a/b=c'"},
		{"s3://acme-audit/it's Ac;me", `'s3://acme-audit/it'\''s Ac;me'`},
		{"s3://acme-audit/~é", "'s3://acme-audit/~é'"},
	} {
		delivery := strings.Replace(strings.Replace(goodDelivery, "s3://acme-audit/audit-logs", tt.endpoint, 1), "}", `,"integrity":true}`, 1)
		d := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(delivery))
		got := must[auditdrain.Integrity](s, "GET", "/v1/drains/"+d.ID+"/integrity", "")
		if !strings.HasPrefix(got.Verify, "auditdrain verify "+tt.word+" --key ") || got.Folder != tt.endpoint+"/manifest/"+d.ID+"/" {
			t.Errorf("%s: %s, %s", tt.endpoint, got.Verify, got.Folder)
		}
	}
}

// On a service that cannot sign, nobody can switch on what would never be written;
// but what is on stays, and can be switched off.
func TestIntegrityNeedsKey(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	on := strings.TrimSuffix(goodDelivery, "}") + `,"integrity":true}`
	has := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(on))
	not := must[auditdrain.Drain](s, "POST", "/v1/drains?teamId=team_a", drainBody(goodDelivery))
	s.api.SigningKeys = s.keyring(nil)
	for what, got := range map[string]answer{
		"create": s.do(operatorToken, "POST", "/v1/drains?teamId=team_a", drainBody(on)),
		"update": s.do(operatorToken, "PATCH", "/v1/drains/"+not.ID, `{"delivery":{"integrity":true}}`),
	} {
		if got.status != 400 || !strings.Contains(got.body, `"field":"delivery.integrity"`) || !strings.Contains(got.body, "--key-file or --kms-key") {
			t.Errorf("%s: %d %s, want 400 that says what the operator has to do", what, got.status, got.body)
		}
	}
	for _, body := range []string{`{"delivery":` + on + `}`, `{"delivery":{"integrity":true}}`, `{"delivery":` + goodDelivery + `}`} {
		if d := must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+has.ID, body); !d.Delivery.Integrity {
			t.Errorf("%s switched it off", body)
		}
	}
	if d := must[auditdrain.Drain](s, "PATCH", "/v1/drains/"+has.ID, `{"delivery":{"integrity":false}}`); d.Delivery.Integrity {
		t.Error("could not be switched off")
	}
}
