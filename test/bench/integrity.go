package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

// integrity measures what it takes to account for what is delivered: as rates
// does, and in the end all drains are paused, upon which their manifests are
// written.
type integrity struct {
	rates     // with one load
	again int // how often the drains go on and are paused again, with nothing to do
}

// Each drain has as many events as in an hour with 50 a minute.
var recordIntegrity = integrity{
	rates: rates{events: 300_000, concurrency: recordRates.concurrency, callers: recordRates.callers, loads: []load{{drains: 100, batch: 100}}},
	again: 5,
}

// integrityAim is what an event may cost with manifests, to one without.
const integrityAim = 1.05

type integrityRound struct {
	bare    result
	off, on accounted
}

// accounted is a run that ends with pauses.
type accounted struct {
	result
	pausing usage // of the service, from when all was delivered until it was calm
	again   usage // of going on and being paused again, with nothing to do
}

func (s integrity) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []integrityRound
	for i := range b.rounds {
		var round integrityRound
		runs := []run{{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.events/4, s.concurrency) })}}
		for _, side := range []struct {
			name string
			on   bool
			to   *accounted
		}{{"integrity off", false, &round.off}, {"integrity on", true, &round.on}} {
			runs = append(runs, run{side.name, func(ctx context.Context) (_ string, err error) {
				*side.to, err = s.deliver(ctx, b, side.on)
				return fmt.Sprintf("%s events/s, %.1f µs/event", whole(side.to.rate()), side.to.perEvent(side.to.client.cpu)), err
			}})
		}
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s integrity) deliver(ctx context.Context, b *bench, on bool) (a accounted, err error) {
	l := s.loads[0]
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		if err := r.fresh(ctx, folder{teams: l.drains, drains: true, integrity: on}, r.dataPath()); err != nil {
			return err
		}
		if err := r.serve(ctx, r.dataPath()); err != nil {
			return err
		}
		drains, err := r.accounts(ctx, l.drains)
		if err != nil {
			return err
		}
		defer drains.close()
		o := r.post(postOptions{Teams: l.drains, Warm: 1, Events: s.events, Batch: l.batch, Callers: s.callers})
		a.result, err = r.run(ctx, task{
			producer: "post", options: o,
			finish: func(ctx context.Context) (end time.Time, err error) {
				a.pausing, err = r.usageDuring(func() error {
					if err := drains.set(ctx, auditdrain.StatusDisabled); err != nil {
						return err
					}
					end = time.Now()
					return r.calmDown(ctx)
				})
				return end, err
			},
			then: func(ctx context.Context) error {
				stats, err := r.stats(ctx)
				if want := o.Teams*o.Warm + o.Events; err == nil && on && stats.Listed != int64(want) {
					err = fmt.Errorf("manifests list %d objects of %d events", stats.Listed, want)
				}
				if err != nil {
					return err
				}
				a.again, err = r.usageDuring(func() error { return s.goOn(ctx, drains) })
				return err
			},
		})
		return err
	})
	return a, err
}

// goOn has drains go on and pause again.
func (s integrity) goOn(ctx context.Context, drains *accounts) error {
	for range s.again {
		for _, status := range []auditdrain.DrainStatus{auditdrain.StatusEnabled, auditdrain.StatusDisabled} {
			if err := drains.set(ctx, status); err != nil {
				return err
			}
		}
	}
	return nil
}

// usageDuring is what the services use for what f has them do.
func (r *rig) usageDuring(f func() error) (usage, error) {
	before, err := r.servicesUsage()
	if err != nil {
		return usage{}, err
	}
	if err := f(); err != nil {
		return usage{}, err
	}
	after, err := r.servicesUsage()
	return after.since(before), err
}

// calmDown waits until the services do next to nothing: what events have left to do
// for compactions and the garbage collector is then done with and without manifests.
func (r *rig) calmDown(ctx context.Context) error {
	const look, little = 250 * time.Millisecond, 5 * time.Millisecond
	for began := time.Now(); time.Since(began) < r.stall; {
		used, err := r.usageDuring(func() error { return sleep(ctx, look) })
		if err != nil || used.cpu < little {
			return err
		}
	}
	return fmt.Errorf("the service did not calm down for %v", r.stall)
}

// accounts are drains that are paused and go on.
type accounts struct {
	*client.Client
	transport *http.Transport
	ids       []string // by team
	stall     time.Duration
}

const accountCallers = 8

// accounts finds the drains of so many teams.
func (r *rig) accounts(ctx context.Context, teams int) (*accounts, error) {
	a := &accounts{transport: &http.Transport{MaxIdleConnsPerHost: accountCallers}, stall: r.stall}
	var err error
	if a.Client, err = r.api(client.WithHTTPClient(&http.Client{Transport: a.transport, Timeout: r.stall})); err != nil {
		return nil, err
	}
	for i := range teams {
		drains, err := a.ListDrains(ctx, teamID(i))
		if err != nil {
			return nil, err
		}
		if len(drains) != 1 {
			return nil, fmt.Errorf("team %d has %d drains, want 1", i, len(drains))
		}
		a.ids = append(a.ids, drains[0].ID)
	}
	return a, nil
}

func (a *accounts) close() { a.transport.CloseIdleConnections() }

// set pauses all drains, or lets them go on, and returns when no manifest waits.
func (a *accounts) set(ctx context.Context, status auditdrain.DrainStatus) error {
	ctx, cancel := context.WithTimeout(ctx, a.stall)
	defer cancel()
	for _, do := range []func(ctx context.Context, team, id string) error{
		func(ctx context.Context, team, id string) error {
			_, err := a.UpdateDrain(ctx, team, id, auditdrain.DrainPatch{Status: &status})
			return err
		},
		a.settle,
	} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(accountCallers)
		for i, id := range a.ids {
			g.Go(func() error { return do(ctx, teamID(i), id) })
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("set drains %s: %w", status, err)
		}
	}
	return nil
}

// settle waits until none of a drain's manifests waits.
func (a *accounts) settle(ctx context.Context, team, id string) error {
	for {
		in, err := a.Integrity(ctx, team, id)
		switch {
		case err != nil:
			return err
		case in.LastError != "":
			return fmt.Errorf("manifest of %s: %s", id, in.LastError)
		case in.Waiting == 0:
			return nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s integrity) chapter(rounds []integrityRound) chapter {
	cpu := medianOf(rounds, func(r integrityRound) float64 { return r.on.client.cpu.Seconds() / r.off.client.cpu.Seconds() })
	rate := func(r integrityRound) float64 { return r.on.rate() / r.off.rate() }
	return chapter{
		title: "Manifests",
		parts: []part{s.runsPart(rounds, cpu, rate), s.accountingPart(rounds)},
		aims: []aim{
			// Runs differ by more than manifests take, so these are added to a run
			// without: that is the same, and much less uncertain.
			atMost("CPU per event, with its part of a manifest to without", integrityAim,
				medianOf(rounds, func(r integrityRound) float64 { return 1 + s.accounting(r)/r.off.perEvent(r.off.client.cpu) }), 3, ""),
			atLeast("events/s, with manifests to without", 1/integrityAim, medianOf(rounds, rate), 3, ""),
		},
	}
}

func (s integrity) runsPart(rounds []integrityRound, cpu float64, rate func(integrityRound) float64) part {
	t := table{header: []string{"", "events/s", "lowest–highest", "to the bare loop", "CPU µs/event", "from the pauses on", "null S3's µs", "poster's µs", "peak RSS MiB"}}
	row := func(title string, of func(integrityRound) result, pausing string) {
		figure := func(digits int, f func(result) float64) string {
			return number(medianOf(rounds, func(r integrityRound) float64 { return f(of(r)) }), digits)
		}
		t.row(title,
			figure(0, result.rate),
			spread(over(rounds, func(r integrityRound) float64 { return of(r).rate() }), 0),
			number(medianOf(rounds, func(r integrityRound) float64 { return of(r).rate() / r.bare.rate() }), 2),
			figure(1, func(r result) float64 { return r.perEvent(r.client.cpu) }),
			pausing,
			figure(1, func(r result) float64 { return r.perEvent(r.null.cpu) }),
			figure(1, func(r result) float64 { return r.perEvent(r.poster.cpu) }),
			figure(0, func(r result) float64 { return mib(float64(r.client.peakRSS)) }),
		)
	}
	row("bare loop of signed PUTs", func(r integrityRound) result { return r.bare }, "–")
	for _, side := range []struct {
		title string
		of    func(integrityRound) accounted
	}{
		{"integrity off", func(r integrityRound) accounted { return r.off }},
		{"integrity on", func(r integrityRound) accounted { return r.on }},
	} {
		row(side.title, func(r integrityRound) result { return side.of(r).result },
			number(medianOf(rounds, func(r integrityRound) float64 { return side.of(r).perEvent(side.of(r).pausing.cpu) }), 1))
	}
	t.row("on, to off", number(medianOf(rounds, rate), 3), spread(over(rounds, rate), 2), "–", number(cpu, 3), "–", "–", "–", "–")
	l := s.loads[0]
	return part{[]string{
		fmt.Sprintf("As in a), with %s events for %s, which are paused over REST once all are delivered. With `delivery.integrity` a manifest is then written for each, which lists %s objects, made from events that are read again, mostly from disk. "+
			"A run ends when none waits any more, and fails unless manifests list as many objects as there are events. Without integrity the drains are paused and asked about in the same way. CPU is counted until the service has nothing more to do.",
			whole(float64(s.events)), l, whole(s.listed())),
	}, t}
}

// listed is how many events a manifest lists.
func (s integrity) listed() float64 { return float64(s.events) / float64(s.loads[0].drains) }

func (s integrity) accountingPart(rounds []integrityRound) part {
	t := table{header: []string{"CPU of the service", "µs", "to an event's without"}}
	row := func(title string, digits int, of func(integrityRound) float64) {
		t.row(title, number(medianOf(rounds, of), digits),
			number(medianOf(rounds, func(r integrityRound) float64 { return of(r) / r.off.perEvent(r.off.client.cpu) }), 3))
	}
	row("a manifest that lists nothing", 0, s.perManifest)
	row(fmt.Sprintf("that, shared by %s events", whole(s.listed())), 2, func(r integrityRound) float64 { return s.perManifest(r) / s.listed() })
	row("each event that is listed", 2, func(r integrityRound) float64 { return s.accounting(r) - s.perManifest(r)/s.listed() })
	row("both, for each event", 2, s.accounting)
	return part{[]string{
		fmt.Sprintf("What is spent from the pauses on, more than without integrity. For what a manifest costs by itself, drains go on and are paused again %d times with nothing to do: "+
			"each time that is two manifests, of two PUTs, two commits and a session with STS each. One that lists something has one PUT more, of all that it lists; a drain that is at work has its session already.", s.again),
	}, t}
}

// accounting is what manifests cost, in µs of the service for each event.
func (s integrity) accounting(r integrityRound) float64 {
	return r.on.perEvent(r.on.pausing.cpu - r.off.pausing.cpu)
}

// perManifest is what a manifest costs that lists nothing, in µs of the service.
func (s integrity) perManifest(r integrityRound) float64 {
	manifests := 2 * s.again * s.loads[0].drains
	return float64(r.on.again.cpu-r.off.again.cpu) / float64(time.Microsecond) / float64(manifests)
}
