package auditdrain

// Attempt is one write that a drain tried, kept for people to look at: the
// last MaxFailures failures, and a sample of the successes.
type Attempt struct {
	// Number counts the drain's failures from 1, or its sampled successes.
	Number    uint64 `json:"number"`
	At        int64  `json:"at"` // Unix ms, when it ended
	EventID   string `json:"eventId"`
	Outcome   string `json:"outcome"` // "written", "existed" or "failed"
	Duration  int64  `json:"durationMs"`
	Replay    bool   `json:"replay,omitempty"` // part of a replay
	Class     string `json:"class,omitempty"`  // of a failure: transient, throttled or blocked
	Operation string `json:"operation,omitempty"`
	Status    int    `json:"httpStatus,omitempty"` // 0: no answer
	Code      string `json:"awsCode,omitempty"`
	RequestID string `json:"requestId,omitempty"` // AWS's
	Error     string `json:"error,omitempty"`
}

// What is kept of a drain's attempts.
const (
	MaxFailures = 1000
	MaxSamples  = 200 // of successes, one a minute at most
)

// Outcomes of an attempt.
const (
	OutcomeWritten = "written"
	OutcomeExisted = "existed"
	OutcomeFailed  = "failed"
)

// AttemptList is the answer of GET /v1/drains/{id}/attempts, the latest first.
type AttemptList struct {
	Attempts []Attempt `json:"attempts"`
}

// Progress is what delivery has a store remember of one drain: its state with
// the cursor, and the attempts since the last time.
type Progress struct {
	State    DeliveryState
	Attempts []Attempt
}
