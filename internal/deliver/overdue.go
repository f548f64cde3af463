package deliver

import (
	"context"
	"time"
)

const (
	// overdueAfter is how long a write may hold a place that others wait for.
	// S3 takes tens of milliseconds.
	overdueAfter = 500 * time.Millisecond
	// overdueMost, times the number of places, is how many writes may be
	// overdue, besides one of each drain: they hold connections and memory.
	overdueMost = 4
)

// watchOverdue gives back the places of writes that take long, until ctx
// ends.
func (d *Deliverer) watchOverdue(ctx context.Context) {
	ticker := time.NewTicker(overdueAfter / 2)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			if d.line.inUse() == 0 {
				continue
			}
			most := overdueMost*d.line.places - int(d.metrics.overdueNow.Load())
			for _, dr := range d.snapshot() {
				dr.markOverdue(now.Add(-overdueAfter), &most)
			}
		case <-ctx.Done():
			return
		}
	}
}

// markOverdue gives back the places of writes that have been under way for
// too long, as far as more are allowed: most counts those beyond the first of
// each drain.
func (d *drain) markOverdue(before time.Time, most *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inFlight == d.overdue {
		return
	}
	lanes := [...]*lane{&d.live, d.replay}
	for _, l := range lanes {
		if l == nil {
			continue
		}
		for _, f := range l.pending {
			if !f.underWay || f.overdue || f.begunAt.After(before) {
				continue
			}
			if d.overdue > 0 {
				if *most <= 0 {
					return
				}
				*most--
			}
			f.overdue = true
			d.overdue++
			d.workers--
			d.metrics.overdueNow.Add(1)
			d.line.giveBack()
		}
	}
	d.count()
}
