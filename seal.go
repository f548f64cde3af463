package auditdrain

import "math"

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

// MaxAhead is how many events after its saved cursor a drain, or its replay, may
// have begun to write.
const MaxAhead = 4096

// Rendering is what decides which objects a drain's events become: the same events
// and Rendering are the same keys and bytes.
type Rendering struct {
	Delivery        Delivery `json:"delivery"`
	HideIPAddresses bool     `json:"hideIpAddresses,omitempty"`
}

// AppendBody appends the bytes of the object that e becomes to b.
func (r Rendering) AppendBody(b []byte, e Event) []byte {
	if r.HideIPAddresses {
		e = e.WithoutIPAddress()
	}
	return r.Delivery.AppendBody(b, e)
}

// SeqRange is a half-open stretch of a team's sequence: From is in it, To is not.
type SeqRange struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// TimeRange is half-open, in Unix ms.
type TimeRange struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Seal is what one manifest says, but for what follows from the events: their
// objects. It is made once, by Chain.Seal, and never changes: so a manifest that is
// written again has the same bytes.
type Seal struct {
	DrainID   string    `json:"drainId"`
	TeamID    string    `json:"teamId"`
	Number    uint64    `json:"number"`
	Cause     SealCause `json:"cause"`
	ReplayID  string    `json:"replayId,omitempty"`  // of SealReplay
	MovedFrom string    `json:"movedFrom,omitempty"` // the endpoint of the manifest before, if another
	MovedTo   string    `json:"movedTo,omitempty"`   // of SealMoved: the endpoint of the next
	// As is how the events of Sequence were written, and where the manifest goes.
	As        Rendering `json:"as"`
	Sequence  SeqRange  `json:"sequence"`
	Delivered TimeRange `json:"delivered"`
	OpenSince int64     `json:"openSince"` // Unix ms
	// EitherTo is up to which number events may have been written with their IP
	// addresses or without.
	EitherTo uint64 `json:"eitherTo,omitempty"`
	// Skips are those in Sequence, cut to it, without overlaps, by From. Gap is
	// what no manifest accounts for at its beginning, or nil.
	Skips []Skip `json:"skips,omitempty"`
	Gap   *Gap   `json:"gap,omitempty"`
	// Uncertain are events whose objects may be there or not.
	Uncertain []SeqRange `json:"uncertain,omitempty"`
	// Changes are what was done to the drain, without addresses and browsers.
	Changes []Activity `json:"changes,omitempty"`
	// KeyID is the key to sign with; empty if none was known.
	KeyID string `json:"keyId,omitempty"`
}

// Gap is what was delivered while integrity was off.
type Gap struct {
	Sequence  SeqRange  `json:"sequence"`
	Delivered TimeRange `json:"delivered"`
}

// Needs is the number of the first event that the manifest is made from; the
// greatest number if there is none.
func (s Seal) Needs() uint64 {
	needs := uint64(math.MaxUint64)
	for _, r := range append(s.Uncertain, afterGap(s.Sequence, s.Gap)) {
		if r.From < r.To {
			needs = min(needs, r.From)
		}
	}
	return needs
}

// Listed returns the stretches of Sequence that became objects, in order. Some may be
// empty.
func (s Seal) Listed() []SeqRange {
	var stretches []SeqRange
	rest := afterGap(s.Sequence, s.Gap)
	for _, skip := range s.Skips {
		stretches = append(stretches, SeqRange{rest.From, skip.From})
		rest.From = skip.To + 1
	}
	return append(stretches, rest)
}

func afterGap(r SeqRange, g *Gap) SeqRange {
	if g != nil {
		r.From = max(r.From, g.Sequence.To)
	}
	return r
}

// Chain is how far the account is that is kept of a drain with Delivery.Integrity:
// its manifests are numbered from 1, and each begins where the one before ends. The
// zero Chain is that of a drain that never had one.
type Chain struct {
	DrainID string     `json:"drainId"`
	TeamID  string     `json:"teamId"`
	State   ChainState `json:"state,omitempty"`
	Sealed  uint64     `json:"sealed"`          // the number of the last seal
	KeyID   string     `json:"keyId,omitempty"` // that seals get

	// What the next seal begins with.
	As        Rendering    `json:"as"`       // how events from Sequence on are written
	Sequence  uint64       `json:"sequence"` // the first event that is not accounted for
	Since     int64        `json:"since"`    // Unix ms
	Activity  uint64       `json:"activity"` // the last that was told of
	EitherTo  uint64       `json:"eitherTo,omitempty"`
	Gap       *Gap         `json:"gap,omitempty"`
	MovedFrom string       `json:"movedFrom,omitempty"`
	Replay    *ChainReplay `json:"replay,omitempty"` // that is not accounted for, or nil

	// What has been written. Head is the SHA-256 of manifest Written, in
	// hexadecimal; CoveredTo is where its time ends.
	Written   uint64 `json:"written"`
	Head      string `json:"head,omitempty"`
	WrittenAt int64  `json:"writtenAt,omitempty"` // Unix ms
	CoveredTo int64  `json:"coveredTo,omitempty"` // Unix ms
	// Anchored is the last manifest whose head is known to be kept elsewhere.
	Anchored uint64 `json:"anchored,omitempty"`
	// LastError is why manifest Written+1 could not be written, if it has been
	// tried.
	LastError   string `json:"lastError,omitempty"`
	LastErrorAt int64  `json:"lastErrorAt,omitempty"` // Unix ms
}

// ChainState is what keeps a chain from being sealed.
type ChainState string

// The states.
const (
	ChainOpen    ChainState = ""
	ChainPaused  ChainState = "paused"
	ChainOff     ChainState = "off"     // integrity is switched off
	ChainDeleted ChainState = "deleted" // as is its drain
)

// ChainReplay is a replay whose objects are being accounted for.
type ChainReplay struct {
	ID    string `json:"id"`
	Next  uint64 `json:"next"`  // the first event that is not accounted for
	Last  uint64 `json:"last"`  // of the replay
	Since int64  `json:"since"` // Unix ms, when it began or before
}

// Needs is the number of the first event that seals to come are made from; the
// greatest number if there is none.
func (c Chain) Needs() uint64 {
	needs := uint64(math.MaxUint64)
	if c.State == ChainOpen || c.State == ChainPaused {
		needs = afterGap(SeqRange{From: c.Sequence}, c.Gap).From
	}
	if c.Replay != nil {
		needs = min(needs, c.Replay.Next)
	}
	return needs
}

// Ended reports whether the chain's drain is deleted, and all has been written.
func (c Chain) Ended() bool { return c.State == ChainDeleted && c.Written == c.Sealed }

// Wrote returns the chain once the manifest of s has been written, whose SHA-256 is
// head.
func (c Chain) Wrote(s Seal, head string, at int64) Chain {
	c.Written, c.Head, c.WrittenAt, c.CoveredTo = s.Number, head, at, s.Delivered.To
	c.LastError, c.LastErrorAt = "", 0
	return c
}

// SealRequest says what to seal, and why.
type SealRequest struct {
	// Cause is SealHour, SealReplay, SealPaused or SealDeleted; or it is empty,
	// and As is set.
	Cause SealCause
	At    int64 // Unix ms
	// As is how the drain delivers from now on: nothing may have been written so
	// yet, and nothing may be written as before any more.
	As    *DeliversAs
	KeyID string // to sign with
}

// DeliversAs is what delivery goes by.
type DeliversAs struct {
	Rendering
	Replay *ReplayOrder // the last that was ordered, or nil
}

// SealFacts is what a store knows at the moment of sealing.
type SealFacts struct {
	DrainID string
	TeamID  string
	State   DeliveryState
	LastSeq uint64 // the team's last event
	// Skips are those of the drain that cover events from the chain's Sequence to
	// State's Cursor; others do no harm.
	Skips []Skip
	// Activities are the team's after the chain's Activity, in order: of more than
	// MaxSealActivities the last ones, and of more than FirstSealActivities for a
	// chain that is to begin.
	Activities []Activity
	// IPAddressesChanged is whether the team's HideIPAddresses ever has.
	IPAddressesChanged bool
	// AcceptedAt says when an event was accepted, in Unix ms; 0 if there is none.
	AcceptedAt func(seq uint64) (int64, error)
}
