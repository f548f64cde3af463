package storetest

import (
	"slices"
	"time"

	"github.com/auditdrain/auditdrain"
)

type modelDrain struct {
	auditdrain.Drain
	// saved is what there was at first, and all that was saved since: a crash
	// leaves one of these.
	saved []savedProgress
	skips []auditdrain.Skip // the latest last
	order *auditdrain.ReplayOrder
}

// savedProgress is a state with the attempts that were known then, the latest
// first.
type savedProgress struct {
	state    auditdrain.DeliveryState
	attempts []auditdrain.Attempt
}

func (d *modelDrain) latest() savedProgress           { return d.saved[len(d.saved)-1] }
func (d *modelDrain) state() auditdrain.DeliveryState { return d.latest().state }
func (d *modelDrain) cursor() uint64                  { return d.state().Cursor }

func (d *modelDrain) save(p auditdrain.Progress) {
	p.State.Cursor = max(p.State.Cursor, d.cursor())
	attempts := slices.Clone(p.Attempts)
	slices.Reverse(attempts)
	d.saved = append(d.saved, savedProgress{p.State, append(attempts, d.latest().attempts...)})
}

// running returns the order of the replay that is running, or nil.
func (d *modelDrain) running() *auditdrain.ReplayOrder {
	r := d.state().Replay
	if d.order == nil || d.order.Cancelled || r != nil && r.ID == d.order.ID && r.FinishedAt != 0 {
		return nil
	}
	return d.order
}

// replayed returns how far the running replay has come.
func (d *modelDrain) replayed() uint64 {
	if r := d.state().Replay; r != nil && r.ID == d.order.ID {
		return max(r.Cursor, d.order.FirstSeq-1)
	}
	return d.order.FirstSeq - 1
}

// done returns the number up to which the drain needs no event any more.
func (d *modelDrain) done() uint64 {
	if o := d.running(); o != nil && d.replayed() < o.LastSeq {
		return min(d.cursor(), d.replayed())
	}
	return d.cursor()
}

// look is what one Retain found of a team.
type look struct {
	at   time.Time // which never decreases
	done uint64    // up to here events were delivered
	sure bool      // it is remembered: there was no crash since
}

// keep is how long Retain keeps events in a history.
const keep = 20 * time.Second

// retain notes what Retain finds, and widens what may be left to what it may
// remove. It returns, for each team, what must be gone.
func (m *model) retain(now time.Time) map[string]uint64 {
	must := map[string]uint64{}
	for team, l := range m.logs {
		done := l.last()
		for _, d := range m.teamDrains(team) {
			done = min(done, d.done())
		}
		for _, r := range m.chains {
			if r.Chain.TeamID == team {
				done = min(done, r.Needs()-1)
			}
		}
		at := now.Truncate(time.Microsecond)
		if n := len(l.looks); n > 0 && l.looks[n-1].at.After(at) {
			at = l.looks[n-1].at
		}
		l.looks = append(l.looks, look{at, done, true})
		var may uint64
		for _, k := range l.looks {
			age := at.Sub(k.at)
			if age >= keep {
				may = max(may, k.done)
			}
			if age >= keep+keep/32 && k.sure {
				must[team] = max(must[team], k.done)
			}
		}
		l.most = max(l.first, min(may, done)+1)
		must[team] = min(must[team], done)
	}
	return must
}
