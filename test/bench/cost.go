package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/pprof/profile"
)

// cost measures what an event's way takes of the machine: as rates does, with
// a profile taken meanwhile.
type cost struct {
	rates
	profile time.Duration // whole seconds, less than a run takes
}

var recordCost = cost{
	rates: rates{
		events: 200_000, concurrency: recordRates.concurrency, callers: recordRates.callers,
		loads: []load{{drains: 100, batch: 100}, {drains: 10_000, batch: 4}},
	},
	profile: 5 * time.Second,
}

type costRound struct {
	bare    result
	service map[load]costed
}

// costed is a run with its profile.
type costed struct {
	result
	shares map[stage]float64
}

func (c costed) perEvent() float64 { return c.result.perEvent(c.client.cpu) }

func (s cost) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []costRound
	for i := range b.rounds {
		round := costRound{service: make(map[load]costed)}
		runs := []run{{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.events/2, s.concurrency) })}}
		for _, l := range s.loads {
			runs = append(runs, run{l.String() + ", with a profile", func(ctx context.Context) (string, error) {
				c, err := s.deliver(ctx, b, l)
				round.service[l] = c
				return fmt.Sprintf("%.0f µs/event", c.perEvent()), err
			}})
		}
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s cost) deliver(ctx context.Context, b *bench, l load) (c costed, err error) {
	debug, err := freeAddr()
	if err != nil {
		return c, err
	}
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		t, err := s.task(ctx, r, l, "--debug-listen", debug)
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
			c.shares, err = shares(p)
			return err
		}
		c.result, err = r.run(ctx, t)
		return err
	})
	return c, err
}

func (s cost) chapter(rounds []costRound) chapter {
	bare := func(r costRound) float64 { return r.bare.perEvent(r.bare.client.cpu) }
	cpu := table{header: []string{"CPU µs/event"}}
	rest := table{header: []string{""}}
	row := func(t *table, title string, cells func(l load) []string) {
		line := []string{title}
		for _, l := range s.loads {
			line = append(line, cells(l)...)
		}
		t.row(line...)
	}
	for _, l := range s.loads {
		cpu.header = append(cpu.header, l.String(), "share", "to the bare loop's")
		rest.header = append(rest.header, l.String(), "to the bare loop's")
	}
	for _, st := range stages {
		row(&cpu, string(st), func(l load) []string {
			share := func(r costRound) float64 { return r.service[l].shares[st] }
			return []string{
				number(medianOf(rounds, func(r costRound) float64 { return share(r) * r.service[l].perEvent() }), 1),
				percent(medianOf(rounds, share)),
				number(medianOf(rounds, func(r costRound) float64 { return share(r) * r.service[l].perEvent() / bare(r) }), 2),
			}
		})
	}
	row(&cpu, "auditdrain", func(l load) []string {
		return []string{
			number(medianOf(rounds, func(r costRound) float64 { return r.service[l].perEvent() }), 1), "100 %",
			number(medianOf(rounds, func(r costRound) float64 { return r.service[l].perEvent() / bare(r) }), 2),
		}
	})
	row(&cpu, "the bare loop", func(load) []string { return []string{number(medianOf(rounds, bare), 1), "", "1.00"} })

	row(&rest, "bytes written to disk, for each byte of an event", func(l load) []string {
		return []string{number(medianOf(rounds, func(r costRound) float64 {
			return float64(r.service[l].client.written) / float64(r.service[l].bytes)
		}), 2), "–"}
	})
	memory := func(title string, of func(usage) int64) {
		row(&rest, title, func(l load) []string {
			return []string{
				number(medianOf(rounds, func(r costRound) float64 { return mib(float64(of(r.service[l].client))) }), 0),
				number(medianOf(rounds, func(r costRound) float64 {
					return float64(of(r.service[l].client)) / float64(of(r.bare.client))
				}), 1),
			}
		})
	}
	memory("RSS at the end of the run, MiB", func(u usage) int64 { return u.rss })
	memory("RSS at its peak, MiB", func(u usage) int64 { return u.peakRSS })
	return chapter{
		title: "What an event costs",
		parts: []part{
			{[]string{fmt.Sprintf("As in a), with %s events, and a CPU profile of the first %.0f s. The profile gives the shares, the kernel's clock of the process the sum. "+
				"Time in the kernel is part of the stage that made the call: most of HTTP is reading from and writing to sockets.", whole(float64(s.events)), s.profile.Seconds())}, cpu},
			{[]string{"Written bytes are what the process has caused to be sent to the disk until the last PUT was answered: the log, sorted files, and their compaction."}, rest},
		},
	}
}
