package auditdrain

// PutResult is how an object came to be where it is.
type PutResult struct {
	Key string
	// Existed: the object had been written before; it was left as it is.
	Existed bool
	// Unconditional: the store does not implement If-None-Match, so that the
	// object was written over whatever was there: the same bytes.
	Unconditional bool
}

// FailureClass is what delivery does about a failure. Errors tell theirs by a
// method Class() FailureClass.
type FailureClass int

const (
	// Transient failures pass: repeat with backoff.
	Transient FailureClass = iota
	// Throttled is Transient, and says that we are too fast.
	Throttled
	// Blocked lasts until a person mends the destination, or our own setup:
	// park the backlog and probe.
	Blocked
)

// String is the class as metrics call it.
func (c FailureClass) String() string {
	switch c {
	case Throttled:
		return "throttled"
	case Blocked:
		return "blocked"
	}
	return "transient"
}
