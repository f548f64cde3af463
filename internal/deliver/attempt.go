package deliver

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// sampleEvery is how often a success is kept as an attempt.
const sampleEvery = time.Minute

func classOf(err error) auditdrain.FailureClass {
	var e interface {
		Class() auditdrain.FailureClass
	}
	if errors.As(err, &e) {
		return e.Class()
	}
	return auditdrain.Transient
}

// answerOf is what AWS answered, if err comes from a call to it.
func answerOf(err error) (auditdrain.AWSAnswer, bool) {
	var e interface{ AWSAnswer() auditdrain.AWSAnswer }
	if errors.As(err, &e) {
		return e.AWSAnswer(), true
	}
	return auditdrain.AWSAnswer{}, false
}

// keepFailure notes a failed write for people to look at. mu is held.
func (d *drain) keepFailure(f *flight, err error, class auditdrain.FailureClass, now time.Time) {
	a := auditdrain.Attempt{
		Number:   d.state.Failed,
		At:       now.UnixMilli(),
		EventID:  f.ev.ID,
		Outcome:  auditdrain.OutcomeFailed,
		Duration: now.Sub(f.begunAt).Milliseconds(),
		Replay:   f.lane.ends(),
		Class:    class.String(),
		Error:    clip(err.Error(), 1024),
	}
	if answer, ok := answerOf(err); ok {
		a.Operation, a.Status, a.Code, a.RequestID = answer.Operation, answer.HTTPStatus, answer.Code, answer.RequestID
	}
	d.attempts = append(d.attempts, a)
	d.boundAttempts()
}

// sampleSuccess notes a success, if it is time for one. mu is held.
func (d *drain) sampleSuccess(f *flight, put auditdrain.PutResult, now time.Time) {
	if now.Sub(d.lastSample) < sampleEvery {
		return
	}
	d.lastSample = now
	d.state.Sampled++
	outcome := auditdrain.OutcomeWritten
	if put.Existed {
		outcome = auditdrain.OutcomeExisted
	}
	d.attempts = append(d.attempts, auditdrain.Attempt{
		Number:    d.state.Sampled,
		At:        now.UnixMilli(),
		EventID:   f.ev.ID,
		Outcome:   outcome,
		Duration:  now.Sub(f.begunAt).Milliseconds(),
		Replay:    f.lane.ends(),
		Operation: "PutObject",
	})
}

// boundAttempts keeps what waits to be saved from growing.
func (d *drain) boundAttempts() {
	if n := len(d.attempts) - auditdrain.MaxFailures; n > 0 {
		d.attempts = slices.Delete(d.attempts, 0, n)
	}
}

// clip bounds what a destination can make us store.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
