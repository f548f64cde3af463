package auditdrain

// Notice is what the operator is told of a drain by webhook: the JSON body.
type Notice struct {
	Type   NoticeType  `json:"type"`
	At     int64       `json:"at"`    // Unix ms, as of when everything below is
	Since  int64       `json:"since"` // Unix ms, when the trouble began that this tells of, or whose end
	Drain  NoticeDrain `json:"drain"`
	Status DrainStatus `json:"status"`

	LastError string           `json:"lastError,omitempty"`
	Diagnosis *NoticeDiagnosis `json:"diagnosis,omitempty"` // of LastError, where that came from AWS

	BacklogEvents uint64 `json:"backlogEvents"`
	BacklogBytes  uint64 `json:"backlogBytes"`
	// OldestUndelivered is the age of the oldest event to deliver, in seconds.
	OldestUndelivered int64 `json:"oldestUndeliveredSeconds"`
}

// NoticeType is what has happened to the drain.
type NoticeType string

// The types: two kinds of trouble, and their ends. A drain that is disabled
// has neither.
const (
	NoticeErrored   NoticeType = "drain.errored"
	NoticeRecovered NoticeType = "drain.recovered"
	NoticeDelayed   NoticeType = "drain.delayed"
	NoticeCaughtUp  NoticeType = "drain.caught-up"
)

// NoticeDrain says which drain a Notice is about.
type NoticeDrain struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	TeamID   string `json:"teamId"`
	Endpoint string `json:"endpoint"`
}

// NoticeDiagnosis is the Diagnosis in short, with the likeliest cause.
type NoticeDiagnosis struct {
	Summary   string `json:"summary"`
	Who       Actor  `json:"who,omitempty"` // must act
	Fix       string `json:"fix,omitempty"` // what to do
	RequestID string `json:"requestId,omitempty"`
}

// Notified is what the operator has been told of a drain, as it is kept across
// restarts. The zero value is: of no trouble.
type Notified struct {
	Errored NoticeMark `json:"errored,omitzero"`
	Delayed NoticeMark `json:"delayed,omitzero"`
}

// NoticeMark is what the operator knows of one kind of trouble.
type NoticeMark struct {
	Since int64       `json:"since"` // Unix ms
	Phase NoticePhase `json:"phase"`
}

// NoticePhase is how far the telling has come.
type NoticePhase string

// The phases. In NoticeTelling and NoticeEnding the receiver may have heard or
// not.
const (
	NoticeNone    NoticePhase = ""
	NoticeTelling NoticePhase = "telling" // of the trouble
	NoticeTold    NoticePhase = "told"    // and confirmed by the receiver
	NoticeEnding  NoticePhase = "ending"  // of its end
)
