package auditdrain

import (
	"fmt"
	"time"
)

// Instructions are what people have told a drain's delivery to do besides
// delivering what comes.
type Instructions struct {
	// Skips are those that end after the cursor, by From.
	Skips []Skip
	// Replay is the last one that was asked for, or nil. It is over when the
	// drain's DeliveryState says so.
	Replay *ReplayOrder
	// HideIPAddresses is what the drain's Team says.
	HideIPAddresses bool
}

// Skip records events that were given up: by an operator, or by resuming a
// paused drain from now. Nothing else makes a cursor pass an event that was
// not confirmed.
type Skip struct {
	From    uint64 `json:"from"` // sequence numbers, both included
	To      uint64 `json:"to"`
	EventID string `json:"eventId,omitempty"` // where it is one event
	Reason  string `json:"reason"`
	By      string `json:"by"` // id of the token
	At      int64  `json:"at"` // Unix ms
}

// Covers reports whether seq is given up.
func (s Skip) Covers(seq uint64) bool { return s.From <= seq && seq <= s.To }

// Events is how many events the skip gave up.
func (s Skip) Events() uint64 { return s.To + 1 - s.From }

// SkipInput is the body of POST /v1/drains/{id}/skips.
type SkipInput struct {
	EventID string `json:"eventId"`
	Reason  string `json:"reason"`
}

// Validate returns an *Error that lists every problem with in.
func (in SkipInput) Validate() error {
	var ps []Problem
	if !ValidEventID(in.EventID) {
		ps = append(ps, Problem{Field: "eventId", Message: fmt.Sprintf("%q is not the id of an event: use 1 to %d of A-Z, a-z, 0-9, _, - and .", in.EventID, MaxEventIDLen)})
	}
	if in.Reason == "" || len(in.Reason) > MaxReasonLen || !printable(in.Reason) {
		ps = append(ps, Problem{Field: "reason", Message: fmt.Sprintf("%q is not allowed: say why in 1 to %d bytes of printable text, which is kept", in.Reason, MaxReasonLen)})
	}
	return FieldErrors(ps)
}

// SkipList is the answer of GET /v1/drains/{id}/skips, the latest first.
type SkipList struct {
	Skips []Skip `json:"skips"`
}

// MaxReasonLen bounds the reason of a skip, in bytes.
const MaxReasonLen = 512

// ReplayInput is the body of POST /v1/drains/{id}/replay.
type ReplayInput struct {
	From int64 `json:"from"`         // Unix ms, when events were accepted, included
	To   int64 `json:"to,omitempty"` // excluded; 0 is now
}

// Validate returns an *Error that lists every problem with in.
func (in ReplayInput) Validate(now time.Time) error {
	var ps []Problem
	bad := func(field, format string, args ...any) {
		ps = append(ps, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	ms := now.UnixMilli()
	switch {
	case in.From == 0:
		bad("from", "missing: say from when on events were accepted that are to be delivered again, in Unix milliseconds")
	case in.From < 0 || in.From > ms:
		bad("from", "%d is not allowed: use Unix time in milliseconds, until now (%d)", in.From, ms)
	}
	switch {
	case in.To < 0 || in.To > ms:
		bad("to", "%d is not allowed: use Unix time in milliseconds, until now (%d), or leave it out for now", in.To, ms)
	case in.To != 0 && in.To <= in.From:
		bad("to", "%d is not after from, %d: use a later time, or leave it out for now", in.To, in.From)
	}
	return FieldErrors(ps)
}

// ReplayOrder is the wish to deliver again what was accepted in a time.
type ReplayOrder struct {
	ID        string `json:"id"`        // rpl_…
	From      int64  `json:"from"`      // Unix ms, when events were accepted, included
	To        int64  `json:"to"`        // excluded
	FirstSeq  uint64 `json:"firstSeq"`  // what that was in numbers when it was ordered
	LastSeq   uint64 `json:"lastSeq"`   // FirstSeq-1: there is nothing to deliver
	CreatedAt int64  `json:"createdAt"` // Unix ms
	By        string `json:"by"`        // id of the token
	Cancelled bool   `json:"cancelled,omitempty"`
}

// ReplayProgress is how far delivery has come with the replay of that ID. All
// up to Cursor has been written or was there already.
type ReplayProgress struct {
	ID         string `json:"id"`
	Cursor     uint64 `json:"cursor"`
	Written    uint64 `json:"written"`              // gaps that were filled
	Existed    uint64 `json:"existed"`              // objects that were there and stayed
	FinishedAt int64  `json:"finishedAt,omitempty"` // Unix ms
}

// Replay is a replay as REST shows it.
type Replay struct {
	ReplayOrder
	Status     ReplayStatus `json:"status"`
	Events     uint64       `json:"events"` // in all
	Done       uint64       `json:"done"`
	Written    uint64       `json:"written"`
	Existed    uint64       `json:"existed"`
	FinishedAt int64        `json:"finishedAt,omitempty"` // Unix ms
	// DrainStatus is that of its drain: a running replay waits unless it is
	// StatusEnabled.
	DrainStatus DrainStatus `json:"drainStatus,omitempty"`
}

// ReplayStatus is what a replay is doing.
type ReplayStatus string

// The statuses of a replay. A running one waits while its drain is errored or
// disabled.
const (
	ReplayRunning   ReplayStatus = "running"
	ReplayFinished  ReplayStatus = "finished"
	ReplayCancelled ReplayStatus = "cancelled"
)

// Shown puts an order and what has become of it together.
func (o ReplayOrder) Shown(p ReplayProgress) Replay {
	r := Replay{ReplayOrder: o, Status: ReplayRunning, Events: o.LastSeq + 1 - o.FirstSeq}
	if p.ID == o.ID {
		r.Written, r.Existed, r.FinishedAt = p.Written, p.Existed, p.FinishedAt
		r.Done = max(p.Cursor+1, o.FirstSeq) - o.FirstSeq
	}
	switch {
	case o.Cancelled:
		r.Status = ReplayCancelled
	case r.FinishedAt != 0:
		r.Status = ReplayFinished
	}
	return r
}
