package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/pprof/profile"
)

// cost measures what an event's way takes of the machine: as rates does with
// one load, with a profile taken meanwhile.
type cost struct {
	rates
	load    load
	profile time.Duration // whole seconds, less than the run takes
}

var recordCost = cost{
	rates:   rates{events: 200_000, concurrency: recordRates.concurrency, callers: recordRates.callers},
	load:    load{drains: 100, batch: 100},
	profile: 5 * time.Second,
}

type costRound struct {
	bare, service result
	shares        map[stage]float64
}

func (s cost) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []costRound
	for i := range b.rounds {
		var round costRound
		err := b.round(ctx, i, []run{
			{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.events/2, s.concurrency) })},
			{s.load.String() + ", with a profile", rateOf(&round.service, func() (res result, err error) {
				res, round.shares, err = s.deliver(ctx, b)
				return res, err
			})},
		})
		if err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s cost) deliver(ctx context.Context, b *bench) (res result, of map[stage]float64, err error) {
	debug, err := freeAddr()
	if err != nil {
		return res, nil, err
	}
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		t, err := s.task(ctx, r, s.load, "--debug-listen", debug)
		if err != nil {
			return err
		}
		t.beside = func(ctx context.Context) error {
			body, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", debug, s.profile.Seconds()))
			if err != nil {
				return err
			}
			p, err := profile.Parse(bytes.NewReader(body))
			if err != nil {
				return err
			}
			of, err = shares(p)
			return err
		}
		res, err = r.run(ctx, t)
		return err
	})
	return res, of, err
}

func (s cost) chapter(rounds []costRound) chapter {
	perEvent := func(r costRound) float64 { return r.service.perEvent(r.service.client.cpu) }
	bare := func(r costRound) float64 { return r.bare.perEvent(r.bare.client.cpu) }

	cpu := table{header: []string{"", "CPU µs/event", "share", "to the bare loop's CPU"}}
	for _, st := range stages {
		cpu.row(string(st),
			number(medianOf(rounds, func(r costRound) float64 { return r.shares[st] * perEvent(r) }), 1),
			percent(medianOf(rounds, func(r costRound) float64 { return r.shares[st] })),
			number(medianOf(rounds, func(r costRound) float64 { return r.shares[st] * perEvent(r) / bare(r) }), 2))
	}
	cpu.row("auditdrain", number(medianOf(rounds, perEvent), 1), "100 %",
		number(medianOf(rounds, func(r costRound) float64 { return perEvent(r) / bare(r) }), 2))
	cpu.row("the bare loop", number(medianOf(rounds, bare), 1), "", "1.00")

	rest := table{header: []string{"", "", "to the bare loop's"}}
	rest.row("bytes written to disk, for each byte of an event",
		number(medianOf(rounds, func(r costRound) float64 { return float64(r.service.client.written) / float64(r.service.bytes) }), 2), "–")
	rest.row("RSS at the end of the run, MiB",
		number(medianOf(rounds, func(r costRound) float64 { return mib(float64(r.service.client.rss)) }), 0),
		number(medianOf(rounds, func(r costRound) float64 { return float64(r.service.client.rss) / float64(r.bare.client.rss) }), 1))
	rest.row("RSS at its peak, MiB",
		number(medianOf(rounds, func(r costRound) float64 { return mib(float64(r.service.client.peakRSS)) }), 0),
		number(medianOf(rounds, func(r costRound) float64 { return float64(r.service.client.peakRSS) / float64(r.bare.client.peakRSS) }), 1))

	return chapter{
		title: "What an event costs",
		parts: []part{
			{[]string{fmt.Sprintf("As in a), with %s, %s events, and a CPU profile of the first %.0f s. The profile gives the shares, the kernel's clock of the process the sum. "+
				"Time in the kernel is part of the stage that made the call: most of HTTP is reading from and writing to sockets.", s.load, whole(float64(s.events)), s.profile.Seconds())}, cpu},
			{[]string{"Written bytes are what the process has caused to be sent to the disk until the last PUT was answered: the log, sorted files, and their compaction."}, rest},
		},
	}
}
