package auditdrain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// How many activities are looked at for one seal, and for what switched integrity
// on.
const (
	MaxSealActivities   = 2000
	FirstSealActivities = 100
)

// Seal accounts for what the drain has done since the last seal, as far as the
// request asks for it. It returns the chain and the seals that are to be stored
// together, in one commit that is as durable as the cursor of facts. It is a pure
// function of its arguments, but for facts.AcceptedAt, whose errors it returns.
//
// A chain begins with the first request that has an As with integrity. Requests
// that find nothing to do change nothing, so each can be repeated.
func (c Chain) Seal(req SealRequest, facts SealFacts) (Chain, []Seal, error) {
	if c.State == ChainDeleted {
		return c, nil, nil
	}
	s := sealing{Chain: c, req: req, facts: facts, at: max(req.At, c.Since), to: max(facts.State.Cursor+1, c.Sequence)}
	if req.KeyID != "" {
		s.KeyID = req.KeyID
	}
	var err error
	switch {
	case c.DrainID == "" && (req.As == nil || !req.As.Delivery.Integrity):
		return c, nil, nil
	case c.DrainID == "" || c.State == ChainOff:
		err = s.begin()
	case req.As != nil:
		err = s.deliverAs(*req.As)
	default:
		err = s.because(req.Cause)
	}
	if err != nil {
		return c, nil, err
	}
	return s.Chain, s.seals, nil
}

const hour = 60 * 60 * 1000 // ms

// sealing is a Chain while it is being sealed.
type sealing struct {
	Chain
	req   SealRequest
	facts SealFacts
	at    int64
	to    uint64 // all before has been delivered
	told  bool   // of facts.Activities
	seals []Seal
}

// begin begins a chain, or goes on with one that was off.
func (s *sealing) begin() error {
	as := s.req.As
	switch {
	case s.req.Cause == SealDeleted && s.State == ChainOff:
		s.State = ChainDeleted
		return nil
	case as == nil || !as.Delivery.Integrity:
		return nil
	case s.DrainID == "":
		s.DrainID, s.TeamID = s.facts.DrainID, s.facts.TeamID
		s.Sequence, s.Since = s.to, s.at
		s.Activity = s.before()
	default:
		if s.Sequence < s.to {
			s.Gap = &Gap{Sequence: SeqRange{s.Sequence, s.to}, Delivered: TimeRange{s.Since, s.at}}
		}
		if s.As.Delivery.Endpoint != as.Delivery.Endpoint {
			s.MovedFrom = s.As.Delivery.Endpoint
		}
	}
	s.State, s.As = ChainOpen, as.Rendering
	if s.facts.IPAddressesChanged {
		s.EitherTo = s.ahead()
	}
	return s.beginReplay(as.Replay)
}

// before returns the number of the activity before the last one that is about the
// drain: by that, integrity was switched on.
func (s *sealing) before() uint64 {
	var last uint64
	for _, a := range slices.Backward(s.facts.Activities) {
		if last = max(last, a.Number); a.TargetID == s.DrainID {
			return a.Number - 1
		}
	}
	return last
}

// deliverAs seals what was delivered otherwise.
func (s *sealing) deliverAs(as DeliversAs) error {
	moved := s.As.Delivery.Endpoint != as.Delivery.Endpoint
	hidden := s.As.HideIPAddresses != as.HideIPAddresses
	changed := hidden || s.As.Delivery.Encoding != as.Delivery.Encoding
	off := !as.Delivery.Integrity
	over := s.Replay != nil && (as.Replay == nil || as.Replay.ID != s.Replay.ID || as.Replay.Cancelled)

	if s.State == ChainPaused {
		if err := s.live(SealResumed, s.at, false); err != nil {
			return err
		}
		s.State = ChainOpen
	}
	if moved || changed || off || over {
		if err := s.closeHours(); err != nil {
			return err
		}
		if err := s.replayed(over || off, true); err != nil {
			return err
		}
	}
	switch {
	case off:
		s.State = ChainOff // what was under way may have been written long before
		return s.live(SealOff, s.at, true)
	case moved:
		if err := s.live(SealMoved, s.at, true); err != nil {
			return err
		}
		s.seals[len(s.seals)-1].MovedTo = as.Delivery.Endpoint
		s.MovedFrom = s.As.Delivery.Endpoint
	case changed:
		if err := s.live(SealChanged, s.at, true); err != nil {
			return err
		}
	}
	if hidden {
		s.EitherTo = max(s.EitherTo, s.ahead())
	}
	s.As = as.Rendering
	return s.beginReplay(as.Replay)
}

// because seals for a cause that changes nothing about how events are written.
func (s *sealing) because(cause SealCause) error {
	switch {
	case s.State == ChainPaused && cause != SealDeleted: // all has been sealed
		return nil
	case cause == SealHour && s.Since >= s.at-s.at%hour: // none is over
		return nil
	}
	if err := s.closeHours(); err != nil {
		return err
	}
	if err := s.replayed(cause == SealDeleted, cause == SealDeleted); err != nil {
		return err
	}
	switch cause {
	case SealPaused:
		s.State = ChainPaused
		return s.live(SealPaused, s.at, false)
	case SealDeleted:
		// Also of a drain that is paused: its cursor may have stopped before some
		// that were written.
		s.State = ChainDeleted
		return s.live(SealDeleted, s.at, true)
	}
	return nil
}

// closeHours seals the hours that are over.
func (s *sealing) closeHours() error {
	full := s.at - s.at%hour
	switch {
	case s.Since >= full:
		return nil
	case s.State == ChainPaused:
		return s.live(SealResumed, full, false)
	case s.Since < full-hour:
		return s.live(SealLate, full, false)
	default:
		return s.live(SealHour, full, false)
	}
}

// live seals what the cursor has passed. inFlight says that events after it may have
// been written, too, as the next seal will not have it.
func (s *sealing) live(cause SealCause, until int64, inFlight bool) error {
	seal := s.next(cause, SeqRange{s.Sequence, s.to}, until)
	seal.Gap, s.Gap = s.Gap, nil
	seal.Skips = cutSkips(s.facts.Skips, afterGap(seal.Sequence, seal.Gap))
	for _, skip := range seal.Skips {
		// It was given up while its writing was under way, perhaps.
		seal.Uncertain = append(seal.Uncertain, SeqRange{skip.From, min(skip.To+1, skip.From+MaxAhead)})
	}
	if last := s.ahead(); inFlight && last >= s.to {
		seal.Uncertain = append(seal.Uncertain, SeqRange{s.to, last + 1})
	}
	if s.EitherTo >= s.Sequence {
		seal.EitherTo = s.EitherTo
	}
	s.Sequence = s.to
	return s.add(seal)
}

// replayed seals what a replay has passed. It is over, or it goes on; inFlight says
// that events after it may have been written, too, and the next seal will not have
// it.
func (s *sealing) replayed(over, inFlight bool) error {
	r := s.Replay
	if r == nil {
		return nil
	}
	next := r.Next
	if p := s.facts.State.Replay; p != nil && p.ID == r.ID {
		next = max(next, min(p.Cursor, r.Last)+1)
		over = over || p.FinishedAt != 0
	}
	seal := s.next(SealReplay, SeqRange{r.Next, next}, s.Since)
	seal.ReplayID = r.ID
	if seal.EitherTo = s.EitherTo; s.facts.IPAddressesChanged {
		seal.EitherTo = math.MaxUint64
	}
	if last := min(next+MaxAhead-1, r.Last); inFlight && last >= next {
		seal.Uncertain = []SeqRange{{next, last + 1}}
	}
	if s.Replay = nil; !over {
		s.Replay = &ChainReplay{ID: r.ID, Next: next, Last: r.Last, Since: r.Since}
	}
	if r.Next == next && seal.Uncertain == nil {
		return nil
	}
	return s.add(seal)
}

func (s *sealing) beginReplay(o *ReplayOrder) error {
	if s.Replay != nil || o == nil || o.Cancelled || o.LastSeq < o.FirstSeq {
		return nil
	}
	r := ChainReplay{ID: o.ID, Next: o.FirstSeq, Last: o.LastSeq, Since: s.at}
	if p := s.facts.State.Replay; p != nil && p.ID == o.ID {
		if p.FinishedAt != 0 {
			return nil
		}
		r.Next = max(r.Next, p.Cursor+1)
	}
	// It may have been cancelled since it was read, and its events removed.
	accepted, err := s.facts.AcceptedAt(r.Next)
	if err != nil {
		return fmt.Errorf("event %d: %w", r.Next, err)
	}
	if accepted != 0 {
		s.Replay = &r
	}
	return nil
}

// ahead returns the last event that may have been begun to be written.
func (s *sealing) ahead() uint64 { return min(s.to-1+MaxAhead, s.facts.LastSeq) }

func (s *sealing) next(cause SealCause, stretch SeqRange, until int64) Seal {
	return Seal{
		DrainID: s.DrainID, TeamID: s.TeamID, Number: s.Sealed + 1, Cause: cause, As: s.As,
		Sequence: stretch, Delivered: TimeRange{s.Since, until}, KeyID: s.KeyID,
	}
}

// add adds a seal to those of the chain.
func (s *sealing) add(seal Seal) error {
	// What is written and not listed yet was accepted no earlier than the first
	// event that is to come, or is of a replay.
	seal.OpenSince = seal.Delivered.To
	if s.Replay != nil {
		seal.OpenSince = min(seal.OpenSince, s.Replay.Since)
	}
	accepted, err := s.facts.AcceptedAt(s.Sequence)
	if err != nil {
		return fmt.Errorf("event %d: %w", s.Sequence, err)
	}
	if accepted != 0 {
		seal.OpenSince = min(seal.OpenSince, accepted)
	}
	if !s.told {
		s.told = true
		seal.Changes = s.changes()
	}
	seal.MovedFrom, s.MovedFrom = s.MovedFrom, ""
	s.Sealed, s.Since = seal.Number, seal.Delivered.To
	s.seals = append(s.seals, seal)
	return nil
}

// changes returns what was done to the drain, and to whether its team hides IP
// addresses, and notes that it was told.
func (s *sealing) changes() []Activity {
	var told []Activity
	for _, a := range s.facts.Activities {
		if a.Number <= s.Activity {
			continue
		}
		s.Activity = a.Number
		if a.Action == ActionDrainTested || a.TargetID != s.DrainID && a.Action != ActionTeamUpdated {
			continue
		}
		a.IPAddress, a.UserAgent = "", ""
		told = append(told, a)
	}
	return told
}

// cutSkips returns the parts of skips that are in a stretch, in its order. What was
// given up twice was so by the first.
func cutSkips(skips []Skip, stretch SeqRange) []Skip {
	var cut []Skip
	byTime := slices.SortedStableFunc(slices.Values(skips), func(a, b Skip) int { return cmp.Compare(a.At, b.At) })
	for _, s := range byTime {
		from, to := max(s.From, stretch.From), min(s.To+1, stretch.To)
		i, _ := slices.BinarySearchFunc(cut, from, func(o Skip, from uint64) int { return cmp.Compare(o.To, from) })
		for from < to { // between those that are there already
			end := to
			if i < len(cut) {
				end = min(to, cut[i].From)
			}
			if from < end {
				s.From, s.To = from, end-1
				cut = slices.Insert(cut, i, s)
				i++
			}
			if end == to {
				break
			}
			from = cut[i].To + 1
			i++
		}
	}
	return cut
}
