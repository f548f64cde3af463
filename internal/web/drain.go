package web

import (
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// failuresShown is how many failures the page of a drain shows.
const failuresShown = 20

// drainPage is what the page of a drain shows.
type drainPage struct {
	auditdrain.Drain
	Now      time.Time
	Operator bool
	Owner    bool
	Team     auditdrain.Team // for operators
	LastHour uint64          // delivered
	Charts   charts
	Failures []failure
	Replay   *auditdrain.Replay // the last one, if there was one
	Account  auditdrain.Integrity
	Test     *testResult // made just now
	Live     string
}

// failure is one attempt that has failed.
type failure struct {
	auditdrain.Attempt
	Same bool // as the one before it, but for AWS's request ID
}

func failuresOf(attempts []auditdrain.Attempt) []failure {
	var failures []failure
	before := ""
	for _, a := range attempts {
		text := a.Error
		if a.RequestID != "" {
			text = strings.ReplaceAll(text, a.RequestID, "")
		}
		failures = append(failures, failure{a, text == before})
		before = text
	}
	return failures
}

// drainOf returns the drain that an address names.
func (s *Server) drainOf(v *visit) (auditdrain.Drain, error) {
	return s.client.GetDrain(v.Context(), v.session.TeamID, v.PathValue("id"))
}

func (s *Server) showDrain(v *visit) (reply, error) {
	page, err := s.drainPage(v)
	if err != nil {
		return reply{}, err
	}
	return page.reply(v), nil
}

func (p drainPage) reply(v *visit) reply {
	return reply{page: "drain", title: p.Name, data: p, visit: v}
}

func (s *Server) drainPage(v *visit) (drainPage, error) {
	d, err := s.drainOf(v)
	if err != nil {
		return drainPage{}, err
	}
	span := auditdrain.Span(v.URL.Query().Get("span"))
	if span == "" {
		span = auditdrain.SpanHour
	}
	if err := span.Validate(); err != nil {
		return drainPage{}, err
	}
	page := drainPage{
		Drain: d, Now: v.now, Operator: v.operator(), Owner: v.owner(),
		Live: "/drains/" + d.ID + "/live?" + url.Values{"span": {string(span)}}.Encode(),
	}
	if page.Operator {
		if page.Team, err = s.client.GetTeam(v.Context(), d.TeamID); err != nil {
			return page, err
		}
	}
	hour, err := s.series(v.Context(), d, auditdrain.SpanHour)
	if err != nil {
		return page, err
	}
	for _, p := range hour.Points {
		page.LastHour += p.Delivered
	}
	shown := hour
	if span != auditdrain.SpanHour {
		if shown, err = s.series(v.Context(), d, span); err != nil {
			return page, err
		}
	}
	page.Charts = newCharts("/drains/"+d.ID, shown, v.now)
	failed, err := s.client.ListAttempts(v.Context(), d.TeamID, d.ID, auditdrain.OutcomeFailed, failuresShown)
	if err != nil {
		return page, err
	}
	page.Failures = failuresOf(failed)
	if page.Account, err = s.client.Integrity(v.Context(), d.TeamID, d.ID); err != nil {
		return page, err
	}
	replay, err := s.client.GetReplay(v.Context(), d.TeamID, d.ID)
	switch {
	case err == nil:
		page.Replay = &replay
	case auditdrain.ErrorCode(err) != auditdrain.CodeNotFound:
		return page, err
	}
	return page, nil
}

// liveDrain keeps an open page of a drain up to date.
func (s *Server) liveDrain(v *visit) (map[string]template.HTML, error) {
	page, err := s.drainPage(v)
	if err != nil {
		return nil, err
	}
	parts := map[string]part{
		"state":    {"drain-badge", page},
		"sentence": {"drain-sentence", page},
		"why":      {"drain-why", page},
		"toggle":   {"drain-toggle", page},
		"progress": {"drain-progress", page},
		"failures": {"drain-failures", page},
		"replay":   {"drain-replay", page},
		"account":  {"drain-account", page.Account},
		"numbers":  {"numbers", page.Charts},
	}
	for _, c := range page.Charts.Charts {
		parts["chart-"+c.ID] = part{"chart", c}
	}
	return s.parts(parts)
}

// Since is when the drain came to have its status: Unix ms, or 0.
func (p drainPage) Since() int64 { return statusSince(p.Drain) }

// NextTry is when delivery tries again that waits.
func (p drainPage) NextTry() string {
	if p.Metadata == nil || p.Metadata.NextAttemptAt <= p.Now.UnixMilli() {
		return "now"
	}
	return "in " + span(time.UnixMilli(p.Metadata.NextAttemptAt).Sub(p.Now))
}

// PausedBy is who has paused it, as far as that is known.
func (p drainPage) PausedBy() string {
	switch p.DisabledReason {
	case "disabled-by-owner":
		return "an owner of the team"
	case "disabled-by-admin":
		return "the operator"
	}
	return "somebody"
}

// Refusal is what AWS refused the drain.
func (p drainPage) Refusal() testResult {
	return testResult{Result: auditdrain.DrainTestResult{Diagnosis: p.Diagnosis}, Delivery: p.Delivery}
}

// Refused is the ID of the event that keeps the drain from going on, or "".
func (p drainPage) Refused() string {
	if p.Status != auditdrain.StatusErrored || p.Metadata == nil || p.Metadata.BacklogEvents == 0 {
		return ""
	}
	return p.Metadata.LastErrorEvent
}
