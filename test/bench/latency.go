package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// latency measures how long it takes from an acknowledgement to the object,
// while events come on a fixed schedule.
type latency struct {
	maximum rates // the run whose rate is the most that can come
	load    load
	callers int
	paces   []pace
}

// pace is a schedule: so many events a second, or such a share of the maximum.
type pace struct {
	rate  float64
	share float64
	batch int
	lasts time.Duration // of the bare loop, too, but at most bareLasts
}

const bareLasts = 5 * time.Second

var recordLatency = latency{
	maximum: rates{events: 80_000, concurrency: 64, callers: 8},
	load:    load{drains: 100, batch: 100},
	callers: 64,
	paces: []pace{
		{rate: 10, batch: 1, lasts: 15 * time.Second},
		{rate: 1000, batch: 1, lasts: 8 * time.Second},
		{share: 0.7, batch: 10, lasts: 5 * time.Second},
	},
}

// What (c) aims at, at 1,000 events a second.
const (
	latencyAim     = 15 * time.Millisecond // p99
	latencyAimRate = 1000
)

func (p pace) String() string {
	if p.share > 0 {
		return fmt.Sprintf("%.0f %% of the maximum", 100*p.share)
	}
	return whole(p.rate) + " events/s"
}

// at is p as a rate.
func (p pace) at(maximum float64) float64 {
	if p.share > 0 {
		return p.share * maximum
	}
	return p.rate
}

// delays are those of one run, each sorted.
type delays struct {
	rate    float64         // that was reached
	ack     []time.Duration // from the acknowledgement to the object, less the server's own time
	sent    []time.Duration // from the sending of the event to the object, with all
	servers []time.Duration // the server's own time; of the bare loop, from sending a PUT to its answer
}

type latencyRound struct {
	maximum       result
	service, bare map[pace]delays
}

func (s latency) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []latencyRound
	for i := range b.rounds {
		round := latencyRound{service: make(map[pace]delays), bare: make(map[pace]delays)}
		maximum := run{"maximum", rateOf(&round.maximum, func() (result, error) { return s.maximum.deliver(ctx, b, s.load) })}
		if err := b.round(ctx, i, []run{maximum}); err != nil {
			return chapter{}, err
		}
		var runs []run
		for _, p := range s.paces {
			rate := p.at(round.maximum.rate())
			runs = append(runs,
				run{"bare loop, " + p.String(), func(ctx context.Context) (string, error) {
					d, err := s.bareLoop(ctx, b, rate, min(p.lasts, bareLasts))
					round.bare[p] = d
					return fmt.Sprintf("p99 %.1f ms", ms(percentile(d.servers, 0.99))), err
				}},
				run{p.String(), func(ctx context.Context) (string, error) {
					d, err := s.deliver(ctx, b, p, rate)
					round.service[p] = d
					return fmt.Sprintf("p99 %.1f ms", ms(percentile(d.ack, 0.99))), err
				}})
		}
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func (s latency) bareLoop(ctx context.Context, b *bench, rate float64, lasts time.Duration) (d delays, err error) {
	err = b.withRig(ctx, nullOptions{}, func(r *rig) error {
		log := filepath.Join(r.dir, "log")
		if _, err := r.run(ctx, task{producer: "put-bare", options: putOptions{
			Endpoint: r.endpoint, Events: max(1, int(rate*lasts.Seconds())), Concurrency: s.maximum.concurrency, Rate: rate, Log: log, Patience: b.stall,
		}}); err != nil {
			return err
		}
		puts, err := readLog[posting](log)
		for _, p := range puts {
			d.servers = append(d.servers, time.Duration(p.Acked-p.Sent))
		}
		slices.Sort(d.servers)
		return err
	})
	return d, err
}

func (s latency) deliver(ctx context.Context, b *bench, p pace, rate float64) (d delays, err error) {
	err = b.withRig(ctx, nullOptions{Log: true}, func(r *rig) error {
		if err := b.fresh(ctx, folder{teams: s.load.drains, drains: true}, r.dataPath()); err != nil {
			return err
		}
		if err := r.serve(ctx, r.dataPath()); err != nil {
			return err
		}
		_, d, err = r.delays(ctx, postOptions{
			Teams: s.load.drains, Warm: 1, Events: max(1, int(rate*p.lasts.Seconds())), Batch: p.batch, Callers: s.callers, Rate: rate,
		})
		return err
	})
	return d, err
}

// delays runs a poster and finds out how long each event took to its object.
func (r *rig) delays(ctx context.Context, o postOptions) (result, delays, error) {
	o = r.post(o)
	o.Log = filepath.Join(r.dir, "log")
	res, err := r.run(ctx, task{producer: "post", options: o})
	if err != nil {
		return res, delays{}, err
	}
	posted, err := readLog[posting](o.Log)
	if err != nil {
		return res, delays{}, err
	}
	var writes []write
	if err := getJSON(ctx, r.endpoint+"/_log", &writes); err != nil {
		return res, delays{}, err
	}
	d, err := delaysOf(posted, writes)
	return res, d, err
}

// delaysOf joins what the poster and the null S3 have noted, whose clock is
// the same.
func delaysOf(posted []posting, writes []write) (delays, error) {
	byID := make(map[string]write, len(writes))
	for _, w := range writes {
		byID[w.ID] = w
	}
	var d delays
	first, last := posted[0].Sent, posted[0].Acked
	for _, p := range posted {
		w, ok := byID[p.ID]
		if !ok {
			return d, fmt.Errorf("event %s was acknowledged, and no PUT was of it", p.ID)
		}
		// An object may be there before its acknowledgement has come through.
		d.ack = append(d.ack, max(0, time.Duration(w.Came-p.Acked)))
		d.sent = append(d.sent, time.Duration(w.Done-p.Sent))
		d.servers = append(d.servers, time.Duration(w.Done-w.Came))
		first, last = min(first, p.Sent), max(last, p.Acked)
	}
	d.rate = float64(len(posted)) / time.Duration(last-first).Seconds()
	for _, xs := range [][]time.Duration{d.ack, d.sent, d.servers} {
		slices.Sort(xs)
	}
	return d, nil
}

func (s latency) chapter(rounds []latencyRound) chapter {
	t := table{header: []string{"", "events/s", "p50 ms", "p99 ms", "p99.9 ms", "highest p99", "from sending, p50", "p99", "a PUT of the bare loop, p50", "p99", "our p99 to that"}}
	c := chapter{title: "Latency from the acknowledgement to the object"}
	for _, p := range s.paces {
		service := func(of func(delays) []time.Duration, share float64) []float64 {
			return over(rounds, func(r latencyRound) float64 { return ms(percentile(of(r.service[p]), share)) })
		}
		bare := func(share float64) []float64 {
			return over(rounds, func(r latencyRound) float64 { return ms(percentile(r.bare[p].servers, share)) })
		}
		ack := func(d delays) []time.Duration { return d.ack }
		sent := func(d delays) []time.Duration { return d.sent }
		p99 := service(ack, 0.99)
		t.row(p.String(),
			whole(medianOf(rounds, func(r latencyRound) float64 { return r.service[p].rate })),
			number(median(service(ack, 0.5)), 1),
			number(median(p99), 1),
			number(median(service(ack, 0.999)), 1),
			number(slices.Max(p99), 1),
			number(median(service(sent, 0.5)), 1),
			number(median(service(sent, 0.99)), 1),
			number(median(bare(0.5)), 1),
			number(median(bare(0.99)), 1),
			number(medianOf(rounds, func(r latencyRound) float64 {
				return float64(percentile(r.service[p].ack, 0.99)) / float64(percentile(r.bare[p].servers, 0.99))
			}), 1))
		if p.rate == latencyAimRate {
			c.aims = append(c.aims, atMost(p.String()+", p99 over the server's own time", ms(latencyAim), median(p99), 1, " ms"))
		}
	}
	own := medianOf(rounds, func(r latencyRound) float64 {
		return float64(percentile(r.service[s.paces[0]].servers, 0.99)) / float64(time.Microsecond)
	})
	c.parts = []part{{[]string{
		fmt.Sprintf("%s with a session each. Events come on a fixed schedule, whether earlier ones are answered or not: one a call, but %d a call at a share of the maximum, which is the rate of a run as in a) just before, %s events/s.",
			s.load, s.paces[len(s.paces)-1].batch, whole(medianOf(rounds, func(r latencyRound) float64 { return r.maximum.rate() }))),
		fmt.Sprintf("The time goes from when the poster has read the acknowledgement to when the null S3 has the PUT; both read the same clock, and events are matched by ID. "+
			"What the null S3 itself takes from then to its answer is left out: its p99 is %.0f µs. An object that is there before its acknowledgement was read counts as 0. "+
			"The bare loop makes PUTs on the same schedule; its time is from sending to the answer.", own),
	}, t}}
	return c
}
