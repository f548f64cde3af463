package main

import (
	"context"
	"fmt"
	"time"
)

// idle measures what drains take that have nothing to do.
type idle struct {
	drains      int
	settle      time.Duration // before it counts as idle
	lasts       time.Duration
	after       time.Duration // how long after a delivery is looked at
	bareEvents  int
	concurrency int
}

var recordIdle = idle{drains: 10_000, settle: 5 * time.Second, lasts: 20 * time.Second, after: 10 * time.Second, bareEvents: 60_000, concurrency: 64}

// What (f) aims at.
const (
	idleMemoryAim = 200   // MiB
	idleCPUAim    = 0.005 // of a core
)

// rest is a time without anything to do.
type rest struct {
	rss int64
	cpu float64 // share of a core
}

type idleRound struct {
	bare    result
	startUp time.Duration
	fresh   rest // since its start
	served  rest // since each drain has delivered one event
}

func (s idle) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []idleRound
	for i := range b.rounds {
		var round idleRound
		err := b.round(ctx, i, []run{
			{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.bareEvents, s.concurrency) })},
			{load{drains: s.drains}.String() + ", idle", func(ctx context.Context) (string, error) {
				err := s.watch(ctx, b, &round)
				return fmt.Sprintf("%.0f MiB, %.2f %% of a core, ready after %.0f ms", mib(float64(round.fresh.rss)), 100*round.fresh.cpu, ms(round.startUp)), err
			}},
		})
		if err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s idle) watch(ctx context.Context, b *bench, round *idleRound) error {
	return b.withRig(ctx, nullOptions{}, func(r *rig) error {
		if err := b.fresh(ctx, folder{teams: s.drains, drains: true}, r.dataPath()); err != nil {
			return err
		}
		if err := r.serve(ctx, r.dataPath()); err != nil {
			return err
		}
		round.startUp = r.startUp
		var err error
		if round.fresh, err = r.rest(ctx, s.settle, s.lasts); err != nil {
			return err
		}
		_, err = r.run(ctx, task{producer: "post", options: r.post(postOptions{Teams: s.drains, Events: s.drains, Batch: 1, Callers: 64}),
			then: func(ctx context.Context) error {
				round.served, err = r.rest(ctx, s.settle, s.after)
				return err
			}})
		return err
	})
}

// rest measures the service while nobody asks anything of it.
func (r *rig) rest(ctx context.Context, settle, lasts time.Duration) (rest, error) {
	if err := sleep(ctx, settle); err != nil {
		return rest{}, err
	}
	began := time.Now()
	start, err := r.servicesUsage()
	if err != nil {
		return rest{}, err
	}
	if err := sleep(ctx, lasts); err != nil {
		return rest{}, err
	}
	end, err := r.servicesUsage()
	return rest{rss: end.rss, cpu: end.since(start).cpu.Seconds() / time.Since(began).Seconds()}, err
}

func (s idle) chapter(rounds []idleRound) chapter {
	t := table{header: []string{"", "", "to the bare loop"}}
	for _, state := range []struct {
		name string
		of   func(idleRound) rest
	}{
		{"since its start", func(r idleRound) rest { return r.fresh }},
		{"since each has delivered an event", func(r idleRound) rest { return r.served }},
	} {
		t.row("RSS "+state.name+", MiB",
			number(medianOf(rounds, func(r idleRound) float64 { return mib(float64(state.of(r).rss)) }), 0),
			number(medianOf(rounds, func(r idleRound) float64 { return float64(state.of(r).rss) / float64(r.bare.client.rss) }), 1)+" × its RSS")
		t.row("CPU "+state.name+", % of a core",
			number(medianOf(rounds, func(r idleRound) float64 { return 100 * state.of(r).cpu }), 2),
			"as much as "+number(medianOf(rounds, func(r idleRound) float64 {
				return state.of(r).cpu * 1e6 / r.bare.perEvent(r.bare.client.cpu)
			}), 0)+" of its PUTs a second")
	}
	startUp := medianOf(rounds, func(r idleRound) float64 { return ms(r.startUp) })
	t.row("from exec to /readyz, ms", number(startUp, 0),
		"as long as "+number(medianOf(rounds, func(r idleRound) float64 { return r.startUp.Seconds() * r.bare.rate() }), 0)+" of its PUTs")
	return chapter{
		title: whole(float64(s.drains)) + " drains that have nothing to do",
		parts: []part{{[]string{fmt.Sprintf("The service is started on a folder with %s teams and drains that nothing was ever sent to, and looked at for %.0f s, %.0f s after it was ready; "+
			"then again for %.0f s, %.0f s after each drain has got and delivered one event, so that each has a session.",
			whole(float64(s.drains)), s.lasts.Seconds(), s.settle.Seconds(), s.after.Seconds(), s.settle.Seconds())}, t}},
		aims: []aim{
			atMost("RSS", idleMemoryAim, medianOf(rounds, func(r idleRound) float64 { return mib(float64(r.fresh.rss)) }), 0, " MiB"),
			atMost("CPU, of a core", 100*idleCPUAim, medianOf(rounds, func(r idleRound) float64 { return 100 * r.fresh.cpu }), 2, " %"),
		},
	}
}
