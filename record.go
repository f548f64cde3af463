package auditdrain

// What stores keep beside what their other methods show, for moving all of it
// from one to another.

// LogRecord is where a team's log of events begins and ends.
type LogRecord struct {
	TeamID     string
	Last       uint64 // the number of the last event, removed or not; 0 if there never was one
	Gone       uint64 // events up to this number have been removed
	TotalBytes uint64 // of all bodies up to Last
	AcceptedAt int64  // of the last event, Unix µs
	// Delivered says since when events have been delivered, the oldest mark
	// first: what is kept goes by it.
	Delivered []DeliveredMark
}

// DeliveredMark says up to which number a team's events were delivered at a time.
type DeliveredMark struct {
	At  int64 // Unix µs
	Seq uint64
}

// DrainRecord is a drain with all that is kept of its delivery.
type DrainRecord struct {
	Drain    Drain
	State    DeliveryState
	Attempts []Attempt
	Skips    []Skip
	Replay   *ReplayOrder // the last that was ordered, or nil
	Notified Notified
	Steps    []SeriesStep
}

// ChainRecord is the chain of a drain, which may be deleted, with the seals that
// have not been written, by number.
type ChainRecord struct {
	Chain Chain
	Seals []Seal
}

// Needs is the number of the first event that manifests to come are made from; the
// greatest number if there is none.
func (r ChainRecord) Needs() uint64 {
	needs := r.Chain.Needs()
	for _, s := range r.Seals {
		needs = min(needs, s.Needs())
	}
	return needs
}

// SeriesStep is what a drain did in one step of a span, as Series makes a Point
// of it.
type SeriesStep struct {
	Span      Span
	Start     int64 // Unix ms
	Delivered uint64
	Failed    uint64
	Backlog   uint64
	Latency   []byte // a LatencyHistogram, in binary; nil if there is none
}
