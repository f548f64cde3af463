package auditdrain

// SealCause is why a manifest was sealed when it was.
type SealCause string

// The causes. Whatever the cause, a manifest covers all since the one before.
const (
	SealHour    SealCause = "hour"    // a full hour is over
	SealPaused  SealCause = "paused"  // the drain was paused
	SealResumed SealCause = "resumed" // it goes on: this covers the pause, in which nothing was delivered
	SealLate    SealCause = "late"    // the service did not run when the hour was over
	SealReplay  SealCause = "replay"  // of objects that a replay has written or found
	SealChanged SealCause = "changed" // what objects look like was changed: the encoding, or whether IP addresses are hidden
	SealMoved   SealCause = "moved"   // objects and manifests go elsewhere from now on
	SealOff     SealCause = "off"     // integrity was switched off; a later manifest has a gap
	SealDeleted SealCause = "deleted" // the drain was deleted: the last manifest
)

// SealCauses are all of them.
var SealCauses = []SealCause{SealHour, SealPaused, SealResumed, SealLate, SealReplay, SealChanged, SealMoved, SealOff, SealDeleted}

// Long reports whether a manifest with that cause may cover more than an hour.
func (c SealCause) Long() bool { return c == SealResumed || c == SealLate }
