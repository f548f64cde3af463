package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
)

// backlog measures a service that has much to deliver when it starts, and then
// how it removes what has been delivered.
type backlog struct {
	little      int // events that wait
	much        int
	drains      int
	warm        int // events that are delivered before it is measured
	events      int // and measured
	bareEvents  int
	concurrency int
	retention   retention
}

var recordBacklog = backlog{
	little: 50_000, much: 5_000_000, drains: 100, warm: 2_000, events: 45_000, bareEvents: 60_000, concurrency: 64,
	retention: recordRetention,
}

// What (e) aims at.
const (
	startUpAim = 3 * time.Second
	// memoryAim is how many times the memory of a little backlog much may take:
	// caches that a little one does not fill are no more than that.
	memoryAim = 1.25
)

// drained is one run on a backlog.
type drained struct {
	startUp time.Duration
	rate    float64
	cpu     float64 // µs per event
	ready   usage   // when it was ready
	end     usage
}

type backlogRound struct {
	bare         result
	little, much drained
}

func (s backlog) measure(ctx context.Context, b *bench) (chapter, error) {
	little, much := filepath.Join(b.dir, "little"), filepath.Join(b.dir, "much")
	defer os.RemoveAll(much)
	// Twice: a compaction writes before it removes.
	if err := needSpace(b.dir, 2*int64(s.much)*eventBytes); err != nil {
		return chapter{}, err
	}
	began := time.Now()
	if err := s.fill(ctx, b, much, s.much); err != nil {
		return chapter{}, fmt.Errorf("make a backlog: %w", err)
	}
	fmt.Fprintf(b.progress, "made a backlog of %s events in %.0f s\n", whole(float64(s.much)), time.Since(began).Seconds())

	var rounds []backlogRound
	var delivered int
	for i := range b.rounds {
		// Much lasts for all rounds, a little one is used up in one.
		if err := s.fill(ctx, b, little, s.little); err != nil {
			return chapter{}, fmt.Errorf("make a backlog: %w", err)
		}
		var round backlogRound
		err := b.round(ctx, i, []run{
			{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.bareEvents, s.concurrency) })},
			{"backlog of " + whole(float64(s.little)), func(ctx context.Context) (_ string, err error) {
				round.little, _, err = s.drain(ctx, b, little)
				return round.little.String(), err
			}},
			{"backlog of " + whole(float64(s.much)), func(ctx context.Context) (string, error) {
				d, n, err := s.drain(ctx, b, much)
				round.much, delivered = d, delivered+n
				return d.String(), err
			}},
		})
		if err := errors.Join(err, os.RemoveAll(little)); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	if err := s.check(ctx, b, much, s.much-delivered); err != nil {
		return chapter{}, err
	}
	removals, err := s.retention.measure(ctx, b, much, s.drains)
	if err != nil {
		return chapter{}, fmt.Errorf("retention: %w", err)
	}
	c := s.chapter(rounds)
	c.parts = append(c.parts, s.retention.part(removals))
	return c, nil
}

func (d drained) String() string {
	return fmt.Sprintf("%s events/s, ready after %.0f ms, %.0f MiB", whole(d.rate), ms(d.startUp), mib(float64(d.end.peakRSS)))
}

// deaf is a null S3 that lets nothing be delivered.
func (s backlog) deaf() nullOptions {
	return nullOptions{Sick: []sickness{{0, s.drains, sickHangs}}}
}

// fill puts so many undelivered events into a folder, through the front door,
// with all drains enabled.
func (s backlog) fill(ctx context.Context, b *bench, data string, events int) error {
	if err := b.fresh(ctx, folder{teams: s.drains, drains: true}, data); err != nil {
		return err
	}
	return b.withRig(ctx, s.deaf(), func(r *rig) error {
		if err := r.serve(ctx, data); err != nil {
			return err
		}
		if _, err := r.patchDrains(ctx, 0, s.drains, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)}); err != nil {
			return err
		}
		if err := r.feed(ctx, postOptions{Teams: s.drains, Events: events, Batch: min(1000, events/s.drains), Callers: 8}); err != nil {
			return err
		}
		_, err := r.patchDrains(ctx, 0, s.drains, auditdrain.DrainPatch{Status: new(auditdrain.StatusEnabled)})
		return err
	})
}

// patchDrains changes the drains of teams from to to-1 and returns the answers.
func (r *rig) patchDrains(ctx context.Context, from, to int, patch auditdrain.DrainPatch) ([]auditdrain.Drain, error) {
	api, err := r.api()
	if err != nil {
		return nil, err
	}
	drains := make([]auditdrain.Drain, to-from)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range drains {
		g.Go(func() error {
			of, err := api.ListDrains(ctx, teamID(from+i))
			if err != nil {
				return err
			}
			drains[i], err = api.UpdateDrain(ctx, teamID(from+i), of[0].ID, patch)
			return err
		})
	}
	return drains, g.Wait()
}

// drain starts the service on a backlog, lets it deliver some, and returns how
// many that were.
func (s backlog) drain(ctx context.Context, b *bench, data string) (d drained, delivered int, err error) {
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		if err := r.serve(ctx, data); err != nil {
			return err
		}
		d.startUp = r.startUp
		if d.ready, err = r.servicesUsage(); err != nil {
			return err
		}
		before, err := r.waitForPuts(ctx, s.warm)
		if err != nil {
			return err
		}
		began := time.Now()
		start, err := r.servicesUsage()
		if err != nil {
			return err
		}
		after, err := r.waitForPuts(ctx, s.warm+s.events)
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		if d.end, err = r.servicesUsage(); err != nil {
			return err
		}
		n := float64(after.Puts - before.Puts)
		d.rate = n / elapsed.Seconds()
		d.cpu = float64(d.end.since(start).cpu) / float64(time.Microsecond) / n
		if err := r.stopServices(ctx); err != nil {
			return err
		}
		last, err := r.stats(ctx)
		delivered = int(last.Puts)
		return err
	})
	return d, delivered, err
}

// check fails unless so many events are still to be delivered.
func (s backlog) check(ctx context.Context, b *bench, data string, want int) error {
	return b.withRig(ctx, s.deaf(), func(r *rig) error {
		if err := r.serve(ctx, data); err != nil {
			return err
		}
		api, err := r.api()
		if err != nil {
			return err
		}
		drains, err := api.ListDrains(ctx, "")
		if err != nil {
			return err
		}
		var waiting int
		for _, d := range drains {
			waiting += int(d.Metadata.BacklogEvents)
		}
		if waiting != want {
			return fmt.Errorf("%d events are still to be delivered, and %d should be, by the number of PUTs", waiting, want)
		}
		return nil
	})
}

func (s backlog) chapter(rounds []backlogRound) chapter {
	t := table{header: []string{"events that wait", "ready after ms", "events/s", "to the bare loop", "CPU µs/event", "RSS MiB when ready", "at its peak"}}
	add := func(events int, of func(backlogRound) drained) {
		figure := func(f func(drained) float64) float64 {
			return medianOf(rounds, func(r backlogRound) float64 { return f(of(r)) })
		}
		t.row(whole(float64(events)),
			number(figure(func(d drained) float64 { return ms(d.startUp) }), 0),
			whole(figure(func(d drained) float64 { return d.rate })),
			number(medianOf(rounds, func(r backlogRound) float64 { return of(r).rate / r.bare.rate() }), 2),
			number(figure(func(d drained) float64 { return d.cpu }), 0),
			number(figure(func(d drained) float64 { return mib(float64(d.ready.rss)) }), 0),
			number(figure(func(d drained) float64 { return mib(float64(d.end.peakRSS)) }), 0))
	}
	add(s.little, func(r backlogRound) drained { return r.little })
	add(s.much, func(r backlogRound) drained { return r.much })
	return chapter{
		title: "A backlog of " + whole(float64(s.much)) + " events",
		parts: []part{{[]string{
			fmt.Sprintf("The service is started on a folder with events that wait for %d drains, all enabled, and delivers from the first moment; the rate is that of %s events after the first %s. "+
				"Folders are filled through the API while nothing can be delivered. The one with %s events is used for all rounds, each going on where the last one has ended; then what still waits has to be what had no PUT.",
				s.drains, whole(float64(s.events)), whole(float64(s.warm)), whole(float64(s.much))),
		}, t}},
		aims: []aim{
			atMost("start-up", startUpAim.Seconds(), medianOf(rounds, func(r backlogRound) float64 { return r.much.startUp.Seconds() }), 2, " s"),
			atMost(fmt.Sprintf("peak RSS, to that with %s events", whole(float64(s.little))), memoryAim,
				medianOf(rounds, func(r backlogRound) float64 {
					return float64(r.much.end.peakRSS) / float64(r.little.end.peakRSS)
				}), 2, ""),
		},
	}
}
