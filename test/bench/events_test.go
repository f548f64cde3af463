package main

import (
	"encoding/json"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// Events are what the service accepts, as large as the report says, and the
// ones of different seeds do not collide.
func TestEvents(t *testing.T) {
	seen := make(map[string]bool)
	var size int
	const n = 1000
	for seed := range uint64(3) {
		maker := newEventMaker(seed)
		for range n {
			e := maker.event(teamID(1))
			var fields struct {
				Schema, ID, TeamID string
				Timestamp          int64
				Payload            map[string]json.RawMessage
			}
			if err := json.Unmarshal(e.Body, &fields); err != nil {
				t.Fatal(err)
			}
			if seen[e.ID] || !auditdrain.ValidEventID(e.ID) {
				t.Errorf("id %q is not valid or not new", e.ID)
			}
			seen[e.ID] = true
			if fields.ID != e.ID || fields.Timestamp != e.Timestamp || fields.TeamID != teamID(1) || fields.Schema != "vercel.audit_log.v1" {
				t.Errorf("fields %+v of %s", fields, e.Body)
			}
			size += len(e.Body)
		}
	}
	if mean := size / len(seen); mean < 650 || mean > 750 {
		t.Errorf("%d bytes an event, want about 700", mean)
	}
	if a, b := newEventMaker(7).event(teamID(0)).ID, newEventMaker(7).event(teamID(0)).ID; a != b {
		t.Errorf("one seed gave %s and %s", a, b)
	}
}
