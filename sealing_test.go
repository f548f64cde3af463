package auditdrain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCutSkips(t *testing.T) {
	skip := func(at int64, from, to uint64) Skip { return Skip{At: at, From: from, To: to, Reason: fmt.Sprint(at)} }
	for name, tc := range map[string]struct {
		in      []Skip
		stretch SeqRange
		want    []Skip
	}{
		"none":             {nil, SeqRange{1, 9}, nil},
		"outside":          {[]Skip{skip(1, 1, 4), skip(2, 10, 12)}, SeqRange{5, 10}, nil},
		"cut at both ends": {[]Skip{skip(1, 1, 20)}, SeqRange{5, 10}, []Skip{skip(1, 5, 9)}},
		"around others":    {[]Skip{skip(3, 2, 9), skip(1, 5, 5), skip(2, 7, 7)}, SeqRange{1, 20}, []Skip{skip(3, 2, 4), skip(1, 5, 5), skip(3, 6, 6), skip(2, 7, 7), skip(3, 8, 9)}},
		"within another":   {[]Skip{skip(1, 2, 9), skip(2, 5, 5)}, SeqRange{1, 20}, []Skip{skip(1, 2, 9)}},
		"twice":            {[]Skip{skip(1, 3, 3), skip(2, 3, 3)}, SeqRange{1, 20}, []Skip{skip(1, 3, 3)}},
		"overlapping":      {[]Skip{skip(1, 3, 6), skip(2, 5, 8)}, SeqRange{4, 8}, []Skip{skip(1, 4, 6), skip(2, 7, 7)}},
	} {
		if diff := cmp.Diff(tc.want, cutSkips(tc.in, tc.stretch)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// sealed is a drain whose chain a test makes.
type sealed struct {
	t     *testing.T
	chain Chain
	seals []Seal
	facts SealFacts
	now   int64
}

const nine = 1_779_440_400_000 // a full hour

func newSealed(t *testing.T) *sealed {
	return &sealed{t: t, now: nine, facts: SealFacts{
		DrainID: "drn_1", TeamID: "team_1",
		AcceptedAt: func(uint64) (int64, error) { return math.MaxInt64, nil },
	}}
}

// do seals, and returns the new seals in short.
func (s *sealed) do(req SealRequest) []string {
	s.t.Helper()
	req.At = s.now
	chain, seals, err := s.chain.Seal(req, s.facts)
	if err != nil {
		s.t.Fatal(err)
	}
	again, none, err := chain.Seal(req, s.facts)
	if err != nil || len(none) != 0 {
		s.t.Errorf("the same request again: %v, %v", none, err)
	}
	if diff := cmp.Diff(chain, again); diff != "" {
		s.t.Errorf("the same request again: (-first +second)\n%s", diff)
	}
	s.chain = chain
	var short []string
	for _, seal := range seals {
		s.seals = append(s.seals, seal)
		text := fmt.Sprintf("%d %s %d-%d", seal.Number, seal.Cause, seal.Sequence.From, seal.Sequence.To)
		for _, r := range seal.Uncertain {
			text += fmt.Sprintf(" ?%d-%d", r.From, r.To)
		}
		if seal.Gap != nil {
			text += fmt.Sprintf(" gap %d-%d", seal.Gap.Sequence.From, seal.Gap.Sequence.To)
		}
		if seal.EitherTo != 0 {
			text += fmt.Sprintf(" either %d", seal.EitherTo)
		}
		short = append(short, text)
	}
	return short
}

func (s *sealed) want(got []string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("(-want +got)\n%s", diff)
	}
}

func as(endpoint string) *DeliversAs {
	return &DeliversAs{Rendering: Rendering{Delivery: Delivery{Endpoint: endpoint, Encoding: "json", Integrity: true}}}
}

// with returns a with a change.
func (a DeliversAs) with(change func(*DeliversAs)) *DeliversAs {
	change(&a)
	return &a
}

const minute = 60_000

func TestSeal(t *testing.T) {
	s := newSealed(t)
	a := as("s3://one")
	s.facts.LastSeq, s.facts.State.Cursor = 20, 10

	s.want(s.do(SealRequest{Cause: SealHour})) // no chain yet
	s.want(s.do(SealRequest{As: a, KeyID: "key"}))
	s.now += 59 * minute
	s.facts.State.Cursor = 12
	s.want(s.do(SealRequest{Cause: SealHour})) // none is over
	s.now += 3 * minute
	s.want(s.do(SealRequest{Cause: SealHour}), "1 hour 11-13")
	if got, want := s.seals[0].Delivered, (TimeRange{nine, nine + hour}); got != want || s.seals[0].KeyID != "key" {
		t.Errorf("%v, want %v; key %q", got, want, s.seals[0].KeyID)
	}
	s.now += hour
	s.want(s.do(SealRequest{Cause: SealHour}), "2 hour 13-13") // empty
	s.now += 3 * hour
	s.want(s.do(SealRequest{Cause: SealHour}), "3 late 13-13")

	// A replay that is over by now, and its events gone.
	s.now += 20 * minute
	s.facts.AcceptedAt = func(uint64) (int64, error) { return 0, nil }
	s.want(s.do(SealRequest{As: a.with(func(a *DeliversAs) { a.Replay = &ReplayOrder{ID: "rpl_0", FirstSeq: 3, LastSeq: 9} })}))
	if s.chain.Replay != nil {
		t.Errorf("replay %+v is open", s.chain.Replay)
	}
	s.facts.AcceptedAt = func(uint64) (int64, error) { return math.MaxInt64, nil }

	// A replay, and what is written of it in two hours.
	b := a.with(func(a *DeliversAs) { a.Replay = &ReplayOrder{ID: "rpl_1", FirstSeq: 3, LastSeq: 9} })
	s.want(s.do(SealRequest{As: b}))
	s.facts.State.Replay = &ReplayProgress{ID: "rpl_1", Cursor: 5}
	began := s.now
	s.now += hour
	s.want(s.do(SealRequest{Cause: SealHour}), "4 hour 13-13", "5 replay 3-6")
	if got := s.seals[4]; got.OpenSince != min(began, got.Delivered.To) || got.ReplayID != "rpl_1" {
		t.Errorf("open since %d, want %d; replay %s", got.OpenSince, began, got.ReplayID)
	}
	s.facts.State.Replay = &ReplayProgress{ID: "rpl_1", Cursor: 9, FinishedAt: s.now}
	s.want(s.do(SealRequest{Cause: SealReplay}), "6 replay 6-10")
	s.want(s.do(SealRequest{As: b})) // a restart: it is over
	if s.chain.Replay != nil {
		t.Errorf("replay %+v is still open", s.chain.Replay)
	}

	// A change while events are under way, one after a crash.
	s.facts.State.Cursor = 15
	c := b.with(func(a *DeliversAs) { a.Delivery.Encoding = "ndjson" })
	s.want(s.do(SealRequest{As: c}), "7 changed 13-16 ?16-21")
	d := c.with(func(a *DeliversAs) { a.Delivery.Endpoint = "s3://two" })
	s.want(s.do(SealRequest{As: d}), "8 moved 16-16 ?16-21")
	if got := s.seals[7]; got.MovedTo != "s3://two" || got.As.Delivery.Endpoint != "s3://one" {
		t.Errorf("moved to %q, written to %q", got.MovedTo, got.As.Delivery.Endpoint)
	}

	// A backlog since before the hour, and a pause of hours, then a skip.
	s.facts.AcceptedAt = func(seq uint64) (int64, error) { return nine + int64(seq), nil }
	s.facts.State.Cursor = 16
	s.want(s.do(SealRequest{Cause: SealPaused}), "9 paused 16-17")
	if got := s.seals[8]; got.MovedFrom != "s3://one" || got.OpenSince != nine+17 {
		t.Errorf("moved from %q, open since %d", got.MovedFrom, got.OpenSince)
	}
	s.now += 5 * hour
	s.want(s.do(SealRequest{Cause: SealHour}))
	s.facts.State.Cursor, s.facts.Skips = 20, []Skip{{From: 17, To: 20}}
	s.want(s.do(SealRequest{As: d}), "10 resumed 17-21 ?17-21")
	s.facts.Skips = nil

	// IP addresses are hidden from now on.
	s.facts.LastSeq, s.facts.State.Cursor = 30, 22
	e := d.with(func(a *DeliversAs) { a.HideIPAddresses = true })
	s.facts.IPAddressesChanged = true
	s.want(s.do(SealRequest{As: e}), "11 changed 21-23 ?23-31")
	s.facts.State.Cursor = 23
	s.now += hour
	s.want(s.do(SealRequest{Cause: SealHour}), "12 hour 23-24 either 30")

	// Off, on again, and the end.
	off := e.with(func(a *DeliversAs) { a.Delivery.Integrity = false })
	s.facts.State.Cursor = 25
	s.want(s.do(SealRequest{As: off}), "13 off 24-26 ?26-31 either 30")
	s.facts.State.Cursor = 27
	s.now += 2 * hour
	s.want(s.do(SealRequest{Cause: SealHour}))
	s.want(s.do(SealRequest{As: e}))
	s.facts.State.Cursor = 28
	s.want(s.do(SealRequest{Cause: SealDeleted}), "14 late 26-29 gap 26-28 either 30", "15 deleted 29-29 ?29-31 either 30")
	s.want(s.do(SealRequest{Cause: SealDeleted}))
	if !s.chain.Wrote(s.seals[14], "abc", s.now).Ended() {
		t.Error("the chain has not ended")
	}
}

// TestSealLife has a drain live at random, writes what it writes to where it is told
// to, and holds the seals against that.
func TestSealLife(t *testing.T) {
	for seed := range uint64(300) {
		l := &life{sealed: newSealed(t), r: rand.New(rand.NewPCG(seed, 0)), written: map[object]bool{}, unseen: map[object]bool{}, skipped: map[uint64]bool{}}
		l.as = *as("s3://one")
		l.load()
		for range 200 {
			l.step()
		}
		if seed%2 == 0 || l.chain.State == ChainOff { // or it may be paused
			l.as.Delivery.Integrity = true
			l.load()
		}
		l.do(SealRequest{Cause: SealDeleted})
		if l.check(); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// object is what an event becomes; bytes are told apart by hidden.
type object struct {
	endpoint, encoding string
	seq                uint64
	hidden             bool
}

type life struct {
	*sealed
	r       *rand.Rand
	as      DeliversAs
	written map[object]bool
	unseen  map[object]bool // written while it was off
	skipped map[uint64]bool
	replays int
}

func (l *life) write(seq uint64) {
	o := object{l.as.Delivery.Endpoint, l.as.Delivery.Encoding, seq, l.as.HideIPAddresses}
	if l.chain.State != ChainOff { // then it is by its time that it is known to be in a gap
		l.written[o] = true
	} else if !l.written[o] {
		l.unseen[o] = true
	}
}

// load is a restart or a change.
func (l *life) load() { l.do(SealRequest{As: &DeliversAs{l.as.Rendering, l.as.Replay}}) }

func (l *life) step() {
	l.now += l.r.Int64N(20 * minute)
	state := &l.facts.State
	switch l.r.IntN(16) {
	case 0, 1, 2:
		l.facts.LastSeq += l.r.Uint64N(20)
	case 3, 4, 5: // some are written, in any order; the cursor passes those without a gap
		if l.chain.State == ChainPaused {
			return
		}
		to := min(state.Cursor+l.r.Uint64N(8), l.facts.LastSeq)
		for state.Cursor < to {
			state.Cursor++
			l.write(state.Cursor)
		}
		if last := min(to+l.r.Uint64N(5), l.facts.LastSeq); last > to {
			l.write(last)
		}
	case 6, 7:
		l.do(SealRequest{Cause: SealHour})
	case 8:
		l.as.Delivery.Endpoint = []string{"s3://one", "s3://two"}[l.r.IntN(2)]
		l.load()
	case 9:
		l.as.Delivery.Encoding = Encodings[l.r.IntN(2)]
		l.load()
	case 10:
		l.as.HideIPAddresses = !l.as.HideIPAddresses
		l.facts.IPAddressesChanged = true
		l.load()
	case 11:
		l.load()
	case 12:
		l.do(SealRequest{Cause: SealPaused})
		if l.r.IntN(2) == 0 && state.Cursor < l.facts.LastSeq {
			l.facts.Skips = append(l.facts.Skips, Skip{From: state.Cursor + 1, To: l.facts.LastSeq, At: l.now})
			for seq := state.Cursor + 1; seq <= l.facts.LastSeq; seq++ {
				l.skipped[seq] = true
			}
			state.Cursor = l.facts.LastSeq
		}
	case 13:
		if state.Cursor > 0 && l.chain.State == ChainOpen {
			first := 1 + l.r.Uint64N(state.Cursor)
			l.replays++
			l.as.Replay = &ReplayOrder{ID: fmt.Sprint("rpl_", l.replays), FirstSeq: first, LastSeq: first + l.r.Uint64N(state.Cursor-first+1)}
			l.load()
			state.Replay = &ReplayProgress{ID: l.as.Replay.ID, Cursor: first - 1}
		}
	case 14:
		o, p := l.as.Replay, state.Replay
		if o == nil || l.chain.State == ChainPaused || p.FinishedAt != 0 {
			return
		}
		for to := min(p.Cursor+l.r.Uint64N(8), o.LastSeq); p.Cursor < to; {
			p.Cursor++
			l.write(p.Cursor)
		}
		if last := min(p.Cursor+l.r.Uint64N(5), o.LastSeq); last > p.Cursor {
			l.write(last)
		}
		if p.Cursor == o.LastSeq {
			p.FinishedAt = l.now
			l.do(SealRequest{Cause: SealReplay})
		}
	case 15:
		if l.r.IntN(4) == 0 {
			l.as.Delivery.Integrity = !l.as.Delivery.Integrity
			l.load()
		}
	}
}

// check holds the seals against each other and against what was written.
func (l *life) check() {
	listed := map[object]bool{}
	uncertain := map[object]bool{}
	next := map[string]SeqRange{} // by replay, "" for none
	since := int64(0)
	for i, s := range l.seals {
		if s.Number != uint64(i+1) {
			l.t.Errorf("seal %d is number %d", i+1, s.Number)
		}
		if i > 0 && s.Delivered.From != since {
			l.t.Errorf("seal %d begins at %d, the one before ends at %d", s.Number, s.Delivered.From, since)
		}
		since = s.Delivered.To
		if d := s.Delivered; !s.Cause.Long() && d.To > d.From && d.From/hour != (d.To-1)/hour {
			l.t.Errorf("seal %d, %s: %v is in two hours", s.Number, s.Cause, d)
		}
		if before, ok := next[s.ReplayID]; ok && s.Sequence.From != before.To {
			l.t.Errorf("seal %d, %s: begins with %d, the one before ends at %d", s.Number, s.Cause, s.Sequence.From, before.To)
		}
		next[s.ReplayID] = s.Sequence
		if s.Cause == SealOff { // a replay may go on unseen
			next = map[string]SeqRange{"": s.Sequence}
		}
		if s.OpenSince > s.Delivered.To {
			l.t.Errorf("seal %d is open since %d, after %d", s.Number, s.OpenSince, s.Delivered.To)
		}
		for seq := afterGap(s.Sequence, s.Gap).From; seq < s.Sequence.To; seq++ {
			if seq < s.Needs() {
				l.t.Errorf("seal %d needs event %d, not only from %d", s.Number, seq, s.Needs())
			}
			o := object{s.As.Delivery.Endpoint, s.As.Delivery.Encoding, seq, s.As.HideIPAddresses}
			if s.ReplayID == "" && l.skipped[seq] {
				continue
			}
			other := o
			other.hidden = !o.hidden
			if either := seq <= s.EitherTo; !l.written[o] && !l.unseen[o] && !(either && (l.written[other] || l.unseen[other])) {
				l.t.Errorf("seal %d, %s: %v was not written", s.Number, s.Cause, o)
			} else if listed[o] = true; either {
				listed[other] = true
			}
		}
		for _, r := range s.Uncertain {
			for seq := r.From; seq < r.To; seq++ {
				uncertain[object{s.As.Delivery.Endpoint, s.As.Delivery.Encoding, seq, s.As.HideIPAddresses}] = true
			}
		}
	}
	for o := range l.written {
		if !listed[o] && !uncertain[o] {
			l.t.Errorf("%v was written, and no seal knows", o)
		}
	}
}
