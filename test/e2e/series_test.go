package e2e

import (
	"testing"

	"github.com/auditdrain/auditdrain"
)

// TestSeries stops the service and starts it again: what a drain did before is
// still in its series, to the last event, and what a paused one is behind.
func TestSeries(t *testing.T) {
	s := newScene(t, 17)
	s.accept(20)
	s.aws.awaitObjects(20)
	disabled := auditdrain.StatusDisabled
	if _, err := s.api.UpdateDrain(t.Context(), s.tm.team, s.drain, auditdrain.DrainPatch{Status: &disabled}); err != nil {
		t.Fatal(err)
	}
	s.accept(5)
	s.stop()
	s.serve()
	for _, span := range auditdrain.Spans {
		series, err := s.api.Series(t.Context(), s.tm.team, s.drain, span)
		if err != nil {
			t.Fatal(err)
		}
		var delivered uint64
		var p50, p99 int64
		for _, p := range series.Points {
			delivered += p.Delivered
			p50, p99 = max(p50, p.P50), max(p99, p.P99)
		}
		if last := series.Points[len(series.Points)-1]; delivered != 20 || last.Backlog != 5 {
			t.Errorf("%s: %d delivered, a backlog of %d; want 20 and 5", span, delivered, last.Backlog)
		}
		if p50 == 0 || p99 < p50 {
			t.Errorf("%s: p50 %d ms, p99 %d ms", span, p50, p99)
		}
	}
}
