package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// drainQuestion is what the pages show that ask before they do something to a
// drain.
type drainQuestion struct {
	auditdrain.Drain
	Now      time.Time
	values   map[string]string // what was typed, by field
	problems map[string]string // by field
}

// NowMs is when the page was made: Unix ms.
func (q drainQuestion) NowMs() int64 { return q.Now.UnixMilli() }

// Value is what was typed into a field.
func (q drainQuestion) Value(field string) string { return q.values[field] }

// Problem is what is wrong with a field.
func (q drainQuestion) Problem(field string) string { return q.problems[field] }

// drainPages are the pages of one drain.
func (s *Server) drainPages() map[string]handler {
	return map[string]handler{
		"GET /drains/{id}":                  s.showDrain,
		"POST /drains/{id}/test":            s.testDrain,
		"POST /drains/{id}/pause":           s.pauseDrain,
		"POST /drains/{id}/resume":          s.resumeDrain,
		"GET /drains/{id}/resume-from-now":  s.askDrain("drainresume", "Resume from now"),
		"POST /drains/{id}/resume-from-now": s.resumeFromNow,
		"GET /drains/{id}/replay":           s.askReplay,
		"POST /drains/{id}/replay":          s.startReplay,
		"POST /drains/{id}/replay/cancel":   s.cancelReplay,
		"GET /drains/{id}/skip":             s.askDrain("drainskip", "Give up an event"),
		"POST /drains/{id}/skip":            s.skipEvent,
		"GET /drains/{id}/delete":           s.askDrain("draindelete", "Delete"),
		"POST /drains/{id}/delete":          s.deleteDrain,
		"GET /drains/{id}/queries":          s.queries,
	}
}

// toDrain leads back to the page of a drain, and says there what was done.
func toDrain(v *visit, done string) reply {
	return redirect("/drains/" + v.PathValue("id") + "?done=" + done)
}

// testDrain tries a delivery. The result is on the page that answers: it is
// kept nowhere.
func (s *Server) testDrain(v *visit) (reply, error) {
	result, err := s.client.TestDrain(v.Context(), v.session.TeamID, v.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	page, err := s.drainPage(v)
	if err != nil {
		return reply{}, err
	}
	page.Test = &testResult{
		Result: result, At: v.now.UnixMilli(), Delivery: page.Delivery, Drain: page.Name + " " + page.ID, ExternalID: page.ExternalID,
	}
	return page.reply(v), nil
}

func (s *Server) setStatus(v *visit, patch auditdrain.DrainPatch, done string) (reply, error) {
	if _, err := s.client.UpdateDrain(v.Context(), v.session.TeamID, v.PathValue("id"), patch); err != nil {
		return reply{}, err
	}
	return toDrain(v, done), nil
}

func (s *Server) pauseDrain(v *visit) (reply, error) {
	return s.setStatus(v, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)}, "paused")
}

func (s *Server) resumeDrain(v *visit) (reply, error) {
	return s.setStatus(v, auditdrain.DrainPatch{Status: new(auditdrain.StatusEnabled)}, "resumed")
}

// ask shows a page that asks before it does something.
func (s *Server) ask(v *visit, page, title string, values, problems map[string]string) (reply, error) {
	d, err := s.drainOf(v)
	if err == nil {
		err = mayChange(v)
	}
	if err != nil {
		return reply{}, err
	}
	question := drainQuestion{Drain: d, Now: v.now, values: values, problems: problems}
	answer := reply{page: page, title: title + ": " + d.Name, data: question, visit: v}
	if len(problems) > 0 {
		answer.status = http.StatusBadRequest
	}
	return answer, nil
}

// askDrain is a page that asks, before anything was typed.
func (s *Server) askDrain(page, title string) handler {
	return func(v *visit) (reply, error) { return s.ask(v, page, title, nil, nil) }
}

func (s *Server) resumeFromNow(v *visit) (reply, error) {
	if v.PostFormValue("sure") != "yes" {
		return s.ask(v, "drainresume", "Resume from now", nil, map[string]string{"sure": "Say that you are sure, or go back: what is given up is never delivered by this drain."})
	}
	return s.setStatus(v, auditdrain.DrainPatch{Status: new(auditdrain.StatusEnabled), ResumeFrom: new("now")}, "resumed-from-now")
}

// inputTime is how browsers send a date and time with seconds, as long as these
// are not 0. It is taken as UTC.
const inputTime = sinceFormat + ":05"

func parseInputTime(text string) (ms int64, ok bool) {
	for _, format := range []string{inputTime, sinceFormat} {
		if at, err := time.Parse(format, text); err == nil {
			return at.UnixMilli(), true
		}
	}
	return 0, false
}

// askReplay asks for the time to replay, and proposes the last day.
func (s *Server) askReplay(v *visit) (reply, error) {
	from := v.now.Add(-24 * time.Hour).Truncate(time.Minute)
	return s.ask(v, "drainreplay", "Replay", map[string]string{"from": from.Format(inputTime)}, nil)
}

func (s *Server) startReplay(v *visit) (reply, error) {
	values := map[string]string{"from": strings.TrimSpace(v.PostFormValue("from")), "to": strings.TrimSpace(v.PostFormValue("to"))}
	problems := map[string]string{}
	const wantTime = "This is not a time: use one such as 2026-05-22T10:00, in UTC."
	from, ok := parseInputTime(values["from"])
	switch {
	case values["from"] == "":
		problems["from"] = "Say from when on events are to be delivered again."
	case !ok:
		problems["from"] = wantTime
	case from > v.now.UnixMilli():
		problems["from"] = "This is in the future: use a time until now."
	}
	to := int64(0)
	if values["to"] != "" {
		if to, ok = parseInputTime(values["to"]); !ok {
			problems["to"] = wantTime
		} else if to > v.now.UnixMilli() {
			problems["to"] = "This is in the future: use a time until now, or leave it empty."
		} else if problems["from"] == "" && to <= from {
			problems["to"] = "This is not after the beginning: use a later time, or leave it empty."
		}
	}
	if len(problems) == 0 {
		_, err := s.client.StartReplay(v.Context(), v.session.TeamID, v.PathValue("id"), auditdrain.ReplayInput{From: from, To: to})
		if err == nil {
			return toDrain(v, "replay"), nil
		}
		if auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
			return reply{}, err
		}
		problems["from"] = err.Error() // one is running, or events are not kept any more
	}
	return s.ask(v, "drainreplay", "Replay", values, problems)
}

func (s *Server) cancelReplay(v *visit) (reply, error) {
	if _, err := s.client.CancelReplay(v.Context(), v.session.TeamID, v.PathValue("id")); err != nil {
		return reply{}, err
	}
	return toDrain(v, "replay-cancelled"), nil
}

// skipEvent gives up the event that the form names: by now the drain may be
// refused another one.
func (s *Server) skipEvent(v *visit) (reply, error) {
	in := auditdrain.SkipInput{EventID: strings.TrimSpace(v.PostFormValue("eventId")), Reason: strings.TrimSpace(v.PostFormValue("reason"))}
	_, err := s.client.SkipEvent(v.Context(), v.session.TeamID, v.PathValue("id"), in)
	problems, err := problemsOf(err)
	if err != nil {
		return reply{}, err
	}
	if problems != nil {
		return s.ask(v, "drainskip", "Give up an event", map[string]string{"eventId": in.EventID, "reason": in.Reason}, problems)
	}
	return toDrain(v, "skipped"), nil
}

// deleteDrain deletes a drain whose name was typed.
func (s *Server) deleteDrain(v *visit) (reply, error) {
	d, err := s.drainOf(v)
	if err != nil {
		return reply{}, err
	}
	name := strings.TrimSpace(v.PostFormValue("name"))
	if name != strings.TrimSpace(d.Name) {
		return s.ask(v, "draindelete", "Delete", map[string]string{"name": name}, map[string]string{"name": "This is not the drain's name: type it as it is shown."})
	}
	if err := s.client.DeleteDrain(v.Context(), v.session.TeamID, d.ID); err != nil {
		return reply{}, err
	}
	return redirect("/drains?done=deleted"), nil
}
