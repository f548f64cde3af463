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
