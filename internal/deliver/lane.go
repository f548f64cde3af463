package deliver

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/auditdrain/auditdrain"
)

// lane is a stretch of a team's sequence that a drain delivers: what comes
// after its cursor, or what is to be replayed. Its drain's mu guards it.
type lane struct {
	cursor uint64 // all up to here has been confirmed, or given up
	read   uint64 // the last number that was read
	last   uint64 // where it ends
	saved  uint64 // the cursor that is stored

	queue   []*flight // read and not under way, in order
	pending []*flight // begun and not yet passed by the cursor, in order
	more    bool      // there may be events after read
	wakes   int       // how often it was told that there are
	reading bool
}

// flight is an event on its way.
type flight struct {
	ev        auditdrain.StoredEvent
	lane      *lane
	turn      int       // which of its drain's writes it is, the last time
	begunAt   time.Time // likewise
	begun     bool      // and so in pending
	underWay  bool
	overdue   bool // under way for so long that it holds no place any more
	confirmed bool
	skipped   bool // confirmed by nobody, but given up
}

func newLane(cursor, last uint64) lane {
	return lane{cursor: cursor, read: cursor, saved: cursor, last: last, more: cursor < last}
}

func (l *lane) ends() bool { return l.last != math.MaxUint64 }

// done reports whether all of it has been confirmed.
func (l *lane) done() bool { return l.cursor >= l.last }

// wake says that there may be more events than have been read.
func (l *lane) wake() {
	l.more = true
	l.wakes++
}

// readable reports whether events should be read now.
func (l *lane) readable() bool { return l.more && !l.reading && len(l.queue) == 0 }

// add takes over what was read. whole says that there was no more when the
// lane had been woken wakes times.
func (l *lane) add(events []auditdrain.StoredEvent, whole bool, wakes int) {
	if whole && wakes == l.wakes {
		l.more = false
	}
	flights := make([]flight, 0, len(events))
	for i := range events {
		if events[i].Seq > l.last {
			whole = true
			break
		}
		flights = append(flights, flight{ev: events[i], lane: l})
		l.queue = append(l.queue, &flights[len(flights)-1])
		l.read = events[i].Seq
	}
	if l.ends() && (whole || l.read >= l.last) {
		// What is missing at the end of a replay is no longer kept.
		if l.more = false; len(l.queue) == 0 && len(l.pending) == 0 {
			l.cursor = l.last
		}
	}
}

// mayBegin reports whether the next event may be begun: not if so many have been
// since the cursor that the oldest must be confirmed first, which bounds memory, nor
// if it is too far after the cursor that is stored, which bounds what is repeated
// after a crash, and what may have been written as the drain was before a change.
func (l *lane) mayBegin(most int) bool {
	f := l.queue[0]
	return f.begun || len(l.pending) < most && f.ev.Seq <= l.saved+auditdrain.MaxAhead
}

// lags reports whether the cursor should be stored at once.
func (l *lane) lags() bool { return l.cursor >= l.saved+auditdrain.MaxAhead/2 }

// take returns the next event to begin, or nil if there is none or it may not be
// begun yet.
func (l *lane) take(most int) *flight {
	if len(l.queue) == 0 {
		return nil
	}
	if !l.mayBegin(most) {
		return nil
	}
	f := l.queue[0]
	l.queue = l.queue[1:]
	if !f.begun {
		f.begun = true
		l.pending = append(l.pending, f)
	}
	return f
}

// putBack makes f, which was not delivered, the next again, before all that
// comes later.
func (l *lane) putBack(f *flight) {
	at, _ := slices.BinarySearchFunc(l.queue, f.ev.Seq, func(f *flight, seq uint64) int { return cmp.Compare(f.ev.Seq, seq) })
	l.queue = slices.Insert(l.queue, at, f)
}

// unread forgets what was read and not begun, so that a drain in trouble
// holds little memory.
func (l *lane) unread() {
	n := len(l.queue)
	for n > 0 && !l.queue[n-1].begun {
		n--
	}
	if n == len(l.queue) {
		return
	}
	l.read = l.queue[n].ev.Seq - 1
	clear(l.queue[n:])
	l.queue = l.queue[:n]
	l.more = true
}

// confirm notes that f is there, or has been given up, and moves the cursor
// over all of which that is known, without a gap. It returns how many events
// the cursor has passed.
func (l *lane) confirm(f *flight) (delivered, skipped uint64) {
	f.confirmed = true
	f.ev.Body = nil // it may have to wait for the cursor
	n := 0
	for ; n < len(l.pending) && l.pending[n].confirmed; n++ {
		l.cursor = l.pending[n].ev.Seq
		if l.pending[n].skipped {
			skipped++
		} else {
			delivered++
		}
	}
	l.pending = slices.Delete(l.pending, 0, n)
	if l.ends() && !l.more && !l.reading && len(l.queue) == 0 && len(l.pending) == 0 {
		l.cursor = l.last
	}
	return delivered, skipped
}
