package auditdrain_test

import (
	"testing"

	"github.com/auditdrain/auditdrain"
)

func TestClassNames(t *testing.T) {
	for class, want := range map[auditdrain.FailureClass]string{auditdrain.Transient: "transient", auditdrain.Throttled: "throttled", auditdrain.Blocked: "blocked"} {
		if got := class.String(); got != want {
			t.Errorf("class %d is called %q, want %q", class, got, want)
		}
	}
}
