package deliver

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

// tallyDelivered and tallyFailed count what TakeTallies returns. mu is held.
func (d *drain) tallyDelivered(took time.Duration) {
	t := d.ownTally()
	if t.Latency == nil {
		t.Latency = &auditdrain.LatencyHistogram{}
	}
	t.Delivered++
	t.Latency.Add(took)
}

func (d *drain) tallyFailed() { d.ownTally().Failed++ }

// ownTally returns the drain's tally, which is there only while there is
// something in it: ten thousand idle drains need none, and none is looked for.
func (d *drain) ownTally() *auditdrain.Tally {
	if d.tally == nil {
		d.tally = &auditdrain.Tally{DrainID: d.config.ID}
		d.tallying.Lock()
		d.tallied = append(d.tallied, d)
		d.tallying.Unlock()
	}
	return d.tally
}

// TakeTallies returns what each drain has done since the last call, for those
// that have done anything, in no order and without their backlogs. What was
// done before a drain was changed, or deleted, is among it.
func (d *Deliverer) TakeTallies() []auditdrain.Tally {
	d.tallying.Lock()
	drains := d.tallied
	d.tallied = nil
	d.tallying.Unlock()
	tallies := make([]auditdrain.Tally, 0, len(drains))
	index := make(map[string]int, len(drains))
	for _, dr := range drains {
		dr.mu.Lock()
		t := *dr.tally
		dr.tally = nil
		dr.mu.Unlock()
		if i, ok := index[t.DrainID]; ok { // as it was before a change, and after
			tallies[i].Add(t)
			continue
		}
		index[t.DrainID] = len(tallies)
		tallies = append(tallies, t)
	}
	return tallies
}
