package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/auditdrain/auditdrain"
)

// retention measures what callers notice of the removal of old events.
type retention struct {
	rate    float64 // of events that come meanwhile
	batch   int
	callers int
	lasts   time.Duration
}

var recordRetention = retention{rate: 10_000, batch: 10, callers: 64, lasts: 8 * time.Second}

// appends is how long calls took.
type appends struct {
	calls  []time.Duration // sorted
	stalls float64         // of the store's writes
}

// removal is a run with retention at work, beside one without.
type removal struct {
	without, with appends
	removed       float64 // events
	took          time.Duration
}

// measure removes a part of the drains' events in each round: their backlog
// has been given up, which is as good as delivered.
func (s retention) measure(ctx context.Context, b *bench, data string, drains int) ([]removal, error) {
	var rounds []removal
	for i := range b.rounds {
		var round removal
		err := b.round(ctx, i, []run{
			{"appends, nothing to remove", func(ctx context.Context) (_ string, err error) {
				round.without, err = s.run(ctx, b, data, drains, "168h", nil)
				return fmt.Sprintf("p99 %.1f ms", ms(percentile(round.without.calls, 0.99))), err
			}},
			{"appends beside retention", func(ctx context.Context) (_ string, err error) {
				round.with, err = s.run(ctx, b, data, drains, "0s", func(ctx context.Context, r *rig) (err error) {
					round.removed, round.took, err = s.remove(ctx, r, i*drains/b.rounds, (i+1)*drains/b.rounds)
					return err
				})
				return fmt.Sprintf("p99 %.1f ms, %s events removed in %.1f s", ms(percentile(round.with.calls, 0.99)), whole(round.removed), round.took.Seconds()), err
			}},
		})
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, round)
	}
	return rounds, nil
}

// run posts events on a schedule while something else happens.
func (s retention) run(ctx context.Context, b *bench, data string, drains int, retain string, meanwhile func(context.Context, *rig) error) (a appends, err error) {
	err = b.withRig(ctx, backlog{drains: drains}.deaf(), func(r *rig) error {
		if err := r.serve(ctx, data, "--retain", retain); err != nil {
			return err
		}
		o := r.post(postOptions{
			Teams: drains, Events: int(s.rate * s.lasts.Seconds()), Batch: s.batch, Callers: s.callers, Rate: s.rate,
			Log: filepath.Join(r.dir, "log"),
		})
		t := task{producer: "post", options: o, undelivered: true}
		if meanwhile != nil {
			t.beside = func(ctx context.Context) error { return meanwhile(ctx, r) }
		}
		t.then = func(ctx context.Context) (err error) {
			a.stalls, err = r.metric(ctx, "auditdrain_store_write_stalls_total")
			return err
		}
		if _, err := r.run(ctx, t); err != nil {
			return err
		}
		posted, err := readLog[posting](o.Log)
		for i := 0; i < len(posted); i += s.batch {
			a.calls = append(a.calls, time.Duration(posted[i].Acked-posted[i].Sent))
		}
		slices.Sort(a.calls)
		return err
	})
	return a, err
}

// remove makes the events of drains from to to-1 such that nobody needs them,
// and waits until they are gone.
func (s retention) remove(ctx context.Context, r *rig, from, to int) (removed float64, took time.Duration, err error) {
	if _, err := r.patchDrains(ctx, from, to, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)}); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	drains, err := r.patchDrains(ctx, from, to, auditdrain.DrainPatch{Status: new(auditdrain.StatusEnabled), ResumeFrom: new("now")})
	if err != nil {
		return 0, 0, err
	}
	var givenUp float64
	for _, d := range drains {
		if d.GivenUp != nil {
			givenUp += float64(d.GivenUp.To - d.GivenUp.From + 1)
		}
	}
	for moved := began; removed < givenUp; {
		if time.Since(moved) > r.stall {
			return removed, 0, fmt.Errorf("%.0f of %.0f events were removed, and none for %s", removed, givenUp, r.stall)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return removed, 0, err
		}
		now, err := r.metric(ctx, "auditdrain_store_trimmed_events_total")
		if err != nil {
			return removed, 0, err
		}
		if now == removed {
			continue
		}
		moved = time.Now()
		if removed == 0 {
			began = moved // more or less
		}
		removed = now
	}
	return removed, time.Since(began), nil
}

// metric is the value of a metric without labels.
func (r *rig) metric(ctx context.Context, name string) (float64, error) {
	text, err := get(ctx, "http://"+r.addrs[0]+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

func (s retention) part(rounds []removal) part {
	t := table{header: []string{"calls that append", "p50 ms", "p99 ms", "longest ms", "write stalls"}}
	for _, side := range []struct {
		name string
		of   func(removal) appends
	}{
		{"nothing to remove", func(r removal) appends { return r.without }},
		{"beside retention", func(r removal) appends { return r.with }},
	} {
		p := func(share float64) string {
			return number(medianOf(rounds, func(r removal) float64 { return ms(percentile(side.of(r).calls, share)) }), 1)
		}
		t.row(side.name, p(0.5), p(0.99), p(1), number(medianOf(rounds, func(r removal) float64 { return side.of(r).stalls }), 0))
	}
	return part{[]string{fmt.Sprintf("**Retention.** On the same folder, with %s events/s coming in calls of %d: first with nothing to remove, then while retention removes a part of the backlog, which was given up a moment before and so is as good as delivered. "+
		"It removed %s events a round, %s a second.",
		whole(s.rate), s.batch,
		whole(medianOf(rounds, func(r removal) float64 { return r.removed })),
		whole(medianOf(rounds, func(r removal) float64 { return r.removed / r.took.Seconds() })))}, t}
}
