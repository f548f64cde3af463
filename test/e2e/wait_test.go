package e2e

import (
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/client"
)

// eventually asks until ok, for what can only be seen by asking.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// awaitNoBacklog waits until all drains of the teams have delivered all.
func awaitNoBacklog(t *testing.T, api *client.Client, teams []*team) {
	t.Helper()
	for _, tm := range teams {
		for _, d := range tm.drains {
			eventually(t, "no backlog of "+d.Name, func() bool {
				now, err := api.GetDrain(t.Context(), tm.team, d.ID)
				if err != nil {
					t.Fatal(err)
				}
				return now.Metadata.BacklogEvents == 0
			})
		}
	}
}
