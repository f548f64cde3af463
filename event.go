package auditdrain

import "time"

// Event is one audit log event as it is stored and delivered. Body is the
// producer's compact JSON object, plus the fields that the server filled in;
// ID and Timestamp repeat two of its fields. An Event is never modified once
// it has been accepted.
type Event struct {
	ID        string
	Timestamp int64 // Unix milliseconds, the event's own time
	Body      []byte
}

// Batch is what one ingest call wants stored for one team: all or nothing.
type Batch struct {
	TeamID string
	Events []Event
}

// BatchResult is what became of a Batch. If Conflicts is not empty, nothing
// of the batch was stored.
type BatchResult struct {
	Accepted   int      // stored now
	Duplicates int      // stored before (or earlier in the batch) with the same bytes
	Conflicts  []string // IDs stored before (or earlier in the batch) with other bytes
}

// StoredEvent is an accepted event in its team's sequence, which starts at 1
// and has no gaps.
type StoredEvent struct {
	Event
	Seq        uint64
	AcceptedAt time.Time // never decreases with Seq, to the microsecond
	TotalBytes uint64    // of the bodies of this and all earlier events of the team
}

// ValidEventID reports whether id can name an event: 1 to MaxEventIDLen of
// A-Z, a-z, 0-9, _, - and . IDs become part of an object key, so nothing
// that S3, a shell or a file system gives a meaning to is allowed.
func ValidEventID(id string) bool {
	if id == "" || len(id) > MaxEventIDLen {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
