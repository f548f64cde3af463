package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestSeries(t *testing.T) {
	s := newService(t)
	d := s.newDrain(3, 1)
	s.team("team_b")
	tally := auditdrain.Tally{DrainID: d.ID, Delivered: 1, Failed: 2, Backlog: 2, Latency: &auditdrain.LatencyHistogram{}}
	tally.Latency.Add(time.Second)
	if err := s.store.AddTallies(t.Context(), time.Now(), []auditdrain.Tally{tally}); err != nil {
		t.Fatal(err)
	}
	path := "/v1/drains/" + d.ID + "/series"
	for _, span := range auditdrain.Spans {
		got := must[auditdrain.Series](s, "GET", path+"?span="+string(span), "")
		n, step := span.Steps()
		if got.Span != span || got.StepMs != step.Milliseconds() || len(got.Points) != n {
			t.Fatalf("span %q, %d points of %d ms; want %q, %d of %s", got.Span, len(got.Points), got.StepMs, span, n, step)
		}
		var sum auditdrain.Point
		for i, p := range got.Points {
			if i > 0 && p.At != got.Points[i-1].At+got.StepMs {
				t.Errorf("%s: point %d is of %d, the one before of %d", span, i, p.At, got.Points[i-1].At)
			}
			sum.Delivered += p.Delivered
			sum.Failed += p.Failed
			sum.P99 += p.P99
		}
		if sum.Delivered != 1 || sum.Failed != 2 || sum.P99 < 1000 || sum.P99 > 1200 || got.Points[n-1].Backlog != 2 {
			t.Errorf("%s: %+v in all, last %+v", span, sum, got.Points[n-1])
		}
	}
	if got := must[auditdrain.Series](s, "GET", path, ""); got.Span != auditdrain.SpanHour {
		t.Errorf("without a span: %q", got.Span)
	}
	for _, query := range []string{"?span=", "?span=2h", "?span=1h&span=7d", "?span=1h&step=1m"} {
		got := s.do(operatorToken, "GET", path+query, "")
		if got.status != 400 || !strings.Contains(got.body, `"field":"s`) {
			t.Errorf("%q: %d %s, want 400 that names the parameter", query, got.status, got.body)
		}
	}
	for _, tt := range []struct {
		team   string
		role   auditdrain.Role
		status int
	}{
		{"team_a", auditdrain.RoleViewer, http.StatusOK},
		{"team_a", auditdrain.RoleProducer, http.StatusForbidden},
		{"team_b", auditdrain.RoleOwner, http.StatusNotFound},
	} {
		if got := s.do(s.token(tt.team, tt.role), "GET", path+"?span=1h", ""); got.status != tt.status {
			t.Errorf("%s of %s: %d %s, want %d", tt.role, tt.team, got.status, got.body, tt.status)
		}
	}
}
