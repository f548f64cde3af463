package main

import (
	"context"
	"fmt"
	"strings"
)

// rates measures one object per event, end to end: events are posted, fsynced
// and acknowledged, while they are delivered.
type rates struct {
	events      int // of a run; a loop of the SDK's PutObject gets a quarter
	concurrency int // PUTs in flight in the loops
	callers     int // ingest requests in flight
	loads       []load
}

// load is how the events are spread.
type load struct {
	drains int
	batch  int // events of one call, all of one team
}

var recordRates = rates{
	events: 80_000, concurrency: 64, callers: 8,
	loads: []load{{drains: 1, batch: 100}, {drains: 100, batch: 100}, {drains: 1000, batch: 20}, {drains: 10_000, batch: 4}},
}

// What (a) aims at, as ratios to the bare loop, by number of drains; and to
// the loop of the SDK's PutObject, at most of them.
var rateAims = map[int]float64{100: 0.85, 10_000: 0.75}

const sdkAim = 2.3

// ratesRound has a result of each run, by drains for the service.
type ratesRound struct {
	bare, sdk result
	service   map[int]result
}

func (s rates) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []ratesRound
	for i := range b.rounds {
		round := ratesRound{service: make(map[int]result)}
		runs := []run{
			{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.events, s.concurrency) })},
			{"loop of the SDK's PutObject", rateOf(&round.sdk, func() (result, error) { return b.loop(ctx, "put-sdk", s.events/4, s.concurrency) })},
		}
		for _, l := range s.loads {
			runs = append(runs, run{l.String(), func(ctx context.Context) (string, error) {
				res, err := s.deliver(ctx, b, l)
				round.service[l.drains] = res
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

func (l load) String() string {
	if l.drains == 1 {
		return "1 drain"
	}
	return whole(float64(l.drains)) + " drains"
}

// rateOf makes a run of something that has a rate.
func rateOf(to *result, measure func() (result, error)) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		var err error
		*to, err = measure()
		return whole(to.rate()) + " events/s", err
	}
}

// bareLoop runs the loop that all else is compared to.
func (b *bench) bareLoop(ctx context.Context, events, concurrency int) (result, error) {
	return b.loop(ctx, "put-bare", events, concurrency)
}

func (b *bench) loop(ctx context.Context, name string, events, concurrency int) (res result, err error) {
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		res, err = r.run(ctx, task{producer: name, options: putOptions{
			Endpoint: r.endpoint, Events: events, Concurrency: concurrency, Patience: b.stall,
		}})
		return err
	})
	return res, err
}

func (s rates) deliver(ctx context.Context, b *bench, l load) (res result, err error) {
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		t, err := s.task(ctx, r, l)
		if err == nil {
			res, err = r.run(ctx, t)
		}
		return err
	})
	return res, err
}

// task starts a service with the load's drains and returns what is to be done
// with it.
func (s rates) task(ctx context.Context, r *rig, l load, flags ...string) (task, error) {
	if err := r.fresh(ctx, folder{teams: l.drains, drains: true}, r.dataPath()); err != nil {
		return task{}, err
	}
	if err := r.serve(ctx, r.dataPath(), flags...); err != nil {
		return task{}, err
	}
	return task{producer: "post", options: r.post(postOptions{
		Teams: l.drains, Warm: 1, Events: s.events, Batch: l.batch, Callers: s.callers,
	})}, nil
}

func (s rates) chapter(rounds []ratesRound) chapter {
	t := table{header: []string{"", "events/s", "lowest–highest", "to the bare loop", "to the SDK's", "CPU µs/event", "null S3's µs", "poster's µs", "peak RSS MiB"}}
	add := func(title string, of func(ratesRound) result) {
		figure := func(f func(result) float64) float64 {
			return medianOf(rounds, func(r ratesRound) float64 { return f(of(r)) })
		}
		t.row(title,
			whole(figure(result.rate)),
			spread(over(rounds, func(r ratesRound) float64 { return of(r).rate() }), 0),
			number(medianOf(rounds, func(r ratesRound) float64 { return of(r).rate() / r.bare.rate() }), 2),
			number(medianOf(rounds, func(r ratesRound) float64 { return of(r).rate() / r.sdk.rate() }), 2),
			number(figure(func(x result) float64 { return x.perEvent(x.client.cpu) }), 0),
			number(figure(func(x result) float64 { return x.perEvent(x.null.cpu) }), 0),
			number(figure(func(x result) float64 { return x.perEvent(x.poster.cpu) }), 0),
			number(figure(func(x result) float64 { return mib(float64(x.client.peakRSS)) }), 0),
		)
	}
	add("bare loop of signed PUTs", func(r ratesRound) result { return r.bare })
	add("loop of the SDK's PutObject", func(r ratesRound) result { return r.sdk })
	c := chapter{title: "One object per event"}
	var spreads []string
	for _, l := range s.loads {
		of := func(r ratesRound) result { return r.service[l.drains] }
		add("auditdrain, "+l.String(), of)
		spreads = append(spreads, fmt.Sprintf("%d events with %s", l.batch, l))
		if wanted, ok := rateAims[l.drains]; ok {
			c.aims = append(c.aims,
				atLeast(l.String()+", ratio to the bare loop", wanted, medianOf(rounds, func(r ratesRound) float64 { return of(r).rate() / r.bare.rate() }), 2, ""),
				atLeast(l.String()+", ratio to the SDK's loop", sdkAim, medianOf(rounds, func(r ratesRound) float64 { return of(r).rate() / r.sdk.rate() }), 2, ""))
		}
	}
	c.parts = []part{{[]string{
		fmt.Sprintf("%s events a run (%s in the loop of the SDK's PutObject), %d PUTs in flight in the loops. For auditdrain, %d producers post batches over teams in turn, and a run lasts from the first request to the answer to the last PUT. A batch has %s.",
			whole(float64(s.events)), whole(float64(s.events/4)), s.concurrency, s.callers, strings.Join(spreads, ", ")),
		"Teams and drains are there before, and one event of each drain has opened its session. CPU and memory are the loop's or the service's own.",
	}, t}}
	return c
}
