// Package series has a store remember what drains do over time: what charts are
// drawn from, across restarts.
//
// Nothing depends on it: what cannot be stored is missing in a chart, and a
// crash takes the last seconds with it.
package series

import (
	"context"
	"log/slog"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// takeEvery is how often what was delivered is stored. It divides a minute,
	// so that nothing counts for a minute that it was not done in.
	takeEvery = 10 * time.Second
	// lookEvery is how often the backlogs of all other drains are stored: one
	// that is paused or parked delivers nothing while its backlog grows.
	lookEvery = time.Minute
)

// Source counts what drains do.
type Source interface {
	// TakeTallies returns what each drain has done since the last call, without
	// its backlog.
	TakeTallies() []auditdrain.Tally
}

// Store keeps series.
type Store interface {
	// AddTallies adds to the steps that at is in. Drains that do not exist are
	// left out.
	AddTallies(ctx context.Context, at time.Time, tallies []auditdrain.Tally) error
	// Backlogs returns those of all drains that have one.
	Backlogs(ctx context.Context) (map[string]uint64, error)
}

// Recorder carries what a Source counts to a Store.
type Recorder struct {
	source Source
	store  Store
	log    *slog.Logger

	since  time.Time           // what was done before is stored
	looked time.Time           // when the backlogs of all drains were last stored
	behind map[string]struct{} // drains whose last stored backlog is not 0
	failed bool                // the last time
}

// New returns a Recorder. Nothing is stored until Run.
func New(source Source, store Store, log *slog.Logger) *Recorder {
	return &Recorder{source: source, store: store, log: log, behind: map[string]struct{}{}}
}

// Run stores what drains do until ctx ends, and then what is left: deliveries
// must have ended by then. It returns nil. It is called once.
func (r *Recorder) Run(ctx context.Context) error {
	r.since = time.Now()
	for {
		now := time.Now()
		next := time.NewTimer(now.Truncate(takeEvery).Add(takeEvery).Sub(now))
		select {
		case <-next.C:
			now = time.Now()
			r.record(ctx, now, now.Truncate(lookEvery).After(r.looked.Truncate(lookEvery)))
		case <-ctx.Done():
			next.Stop()
			r.record(context.WithoutCancel(ctx), time.Now(), true)
			return nil
		}
	}
}

// record stores what has been done since the last time, or loses it; with look,
// also the backlogs of drains that have done nothing.
func (r *Recorder) record(ctx context.Context, now time.Time, look bool) {
	since := r.since
	r.since = now
	tallies := r.source.TakeTallies()
	if len(tallies) == 0 && !look {
		return
	}
	err := r.add(ctx, since, tallies, look)
	if err != nil && !r.failed {
		r.log.Error("what drains do could not be stored; charts have gaps until it can", "err", err)
	}
	r.failed = err != nil
	if err == nil && look {
		r.looked = now
	}
}

func (r *Recorder) add(ctx context.Context, at time.Time, tallies []auditdrain.Tally, look bool) error {
	backlogs, err := r.store.Backlogs(ctx)
	if err != nil {
		return err
	}
	for i := range tallies {
		tallies[i].Backlog = backlogs[tallies[i].DrainID]
	}
	if look {
		tallies = append(tallies, r.others(tallies, backlogs)...)
	}
	if err := r.store.AddTallies(ctx, at, tallies); err != nil {
		return err
	}
	for _, t := range tallies {
		if t.Backlog > 0 {
			r.behind[t.DrainID] = struct{}{}
		} else {
			delete(r.behind, t.DrainID)
		}
	}
	return nil
}

// others returns tallies of the drains that have a backlog, and of those whose
// backlog has gone since it was stored, besides those in tallies.
func (r *Recorder) others(tallies []auditdrain.Tally, backlogs map[string]uint64) []auditdrain.Tally {
	done := make(map[string]struct{}, len(tallies))
	for _, t := range tallies {
		done[t.DrainID] = struct{}{}
	}
	var others []auditdrain.Tally
	add := func(id string) {
		if _, ok := done[id]; !ok {
			done[id] = struct{}{}
			others = append(others, auditdrain.Tally{DrainID: id, Backlog: backlogs[id]})
		}
	}
	for id := range backlogs {
		add(id)
	}
	for id := range r.behind {
		add(id)
	}
	return others
}
