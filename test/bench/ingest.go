package main

import (
	"context"
	"fmt"
	"slices"
)

// ingest measures what it takes to make events durable, without deliveries.
type ingest struct {
	teams       int
	concurrency int // of the bare loop
	bareEvents  int
	loads       []ingestLoad
}

type ingestLoad struct{ batch, callers, events int }

var recordIngest = ingest{
	teams: 100, concurrency: 64, bareEvents: 60_000,
	loads: []ingestLoad{
		{1, 1, 8_000}, {1, 64, 60_000}, {1, 256, 80_000},
		{100, 1, 100_000}, {100, 64, 250_000}, {100, 256, 250_000},
		{1000, 1, 150_000}, {1000, 64, 300_000}, {1000, 256, 512_000},
	},
}

// What (b) aims at, in events/s.
const (
	batchesAim = 120_000 // in batches of 1,000
	singlesAim = 30_000  // one event a call, 256 callers
)

type ingestRound struct {
	bare    result
	service map[ingestLoad]result
}

func (s ingest) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []ingestRound
	for i := range b.rounds {
		round := ingestRound{service: make(map[ingestLoad]result)}
		runs := []run{{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.bareEvents, s.concurrency) })}}
		for _, l := range s.loads {
			runs = append(runs, run{fmt.Sprintf("batches of %d, %d callers", l.batch, l.callers), func(ctx context.Context) (string, error) {
				res, err := s.post(ctx, b, l)
				round.service[l] = res
				return whole(res.rate()) + " events/s", err
			}})
		}
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s ingest) post(ctx context.Context, b *bench, l ingestLoad) (res result, err error) {
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		if err := b.fresh(ctx, folder{teams: s.teams}, r.dataPath()); err != nil {
			return err
		}
		if err := r.serve(ctx, r.dataPath()); err != nil {
			return err
		}
		res, err = r.run(ctx, task{producer: "post", undelivered: true, options: r.post(postOptions{
			Teams: s.teams, Warm: 1, Events: l.events, Batch: l.batch, Callers: l.callers,
		})})
		return err
	})
	return res, err
}

func (s ingest) chapter(rounds []ingestRound) chapter {
	t := table{header: []string{"events a call", "callers", "events/s", "lowest–highest", "to the bare loop", "CPU µs/event", "poster's µs", "peak RSS MiB", "put off"}}
	figure := func(l ingestLoad, f func(result) float64) float64 {
		return medianOf(rounds, func(r ingestRound) float64 { return f(r.service[l]) })
	}
	var best, singles ingestLoad
	for _, l := range s.loads {
		t.row(whole(float64(l.batch)), whole(float64(l.callers)),
			whole(figure(l, result.rate)),
			spread(over(rounds, func(r ingestRound) float64 { return r.service[l].rate() }), 0),
			number(medianOf(rounds, func(r ingestRound) float64 { return r.service[l].rate() / r.bare.rate() }), 2),
			number(figure(l, func(x result) float64 { return x.perEvent(x.client.cpu) }), 1),
			number(figure(l, func(x result) float64 { return x.perEvent(x.poster.cpu) }), 1),
			number(figure(l, func(x result) float64 { return mib(float64(x.client.peakRSS)) }), 0),
			number(figure(l, func(x result) float64 { return float64(x.refused) }), 0))
		switch {
		case l.batch == 1 && l.callers > singles.callers:
			singles = l
		case l.batch == slices.MaxFunc(s.loads, func(a, b ingestLoad) int { return a.batch - b.batch }).batch &&
			(best == ingestLoad{} || figure(l, result.rate) > figure(best, result.rate)):
			best = l
		}
	}
	return chapter{
		title: "Ingest alone",
		parts: []part{{[]string{
			fmt.Sprintf("%d teams without drains; a call has events of one team, and is acknowledged after an fsync. The poster is a process of its own, with one goroutine and one connection for each caller, "+
				"an HTTP client of its own that costs a fraction of net/http's, and events that are copies of a thousand with a new ID, team and time: its CPU is in its own column. "+
				"Runs take from %s to %s events.", s.teams,
				whole(float64(slices.MinFunc(s.loads, func(a, b ingestLoad) int { return a.events - b.events }).events)),
				whole(float64(slices.MaxFunc(s.loads, func(a, b ingestLoad) int { return a.events - b.events }).events))),
			"*Put off* are calls that were answered 503 with `Retry-After`, because too many bodies were in memory, and were repeated after that time.",
		}, t}},
		aims: []aim{
			atLeast(fmt.Sprintf("durable events/s in batches of %s (%d callers)", whole(float64(best.batch)), best.callers), batchesAim, figure(best, result.rate), 0, ""),
			atLeast(fmt.Sprintf("durable events/s, one a call, %d callers", singles.callers), singlesAim, figure(singles, result.rate), 0, ""),
		},
	}
}
