package main

import (
	"context"
	"fmt"
	"time"
)

// isolation measures what healthy drains lose to sick ones beside them.
type isolation struct {
	healthy     int // teams 0 to healthy-1
	sick        []sickness
	backlog     int           // events of each sick drain, before
	settle      time.Duration // from that to the measurement
	batch       int           // of the runs for throughput
	events      int
	callers     int
	rate        float64 // of the runs for latency, one event a call
	lasts       time.Duration
	bareEvents  int
	concurrency int
}

var recordIsolation = isolation{
	healthy: 849,
	sick:    []sickness{{849, 899, sickHangs}, {899, 949, sickForbids}, {949, 999, sickBusy}, {999, 1000, sickSlow}},
	backlog: 400, settle: 3 * time.Second,
	batch: 20, events: 80_000, callers: 8,
	rate: 2000, lasts: 8 * time.Second,
	bareEvents: 60_000, concurrency: 64,
}

// isolationAim is how much of p99 and throughput may be lost.
const isolationAim = 0.1

// beside is what the healthy drains came to, with or without the sick.
type beside struct {
	rate    result
	latency delays
	sick    nullStats // of the run for throughput
}

type isolationRound struct {
	bare          result
	with, without beside
}

func (s isolation) measure(ctx context.Context, b *bench) (chapter, error) {
	var rounds []isolationRound
	for i := range b.rounds {
		var round isolationRound
		runs := []run{{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.bareEvents, s.concurrency) })}}
		for _, side := range []struct {
			name string
			sick []sickness
			to   *beside
		}{{"without the sick", nil, &round.without}, {"with the sick", s.sick, &round.with}} {
			runs = append(runs,
				run{"throughput " + side.name, rateOf(&side.to.rate, func() (result, error) {
					res, _, err := s.deliver(ctx, b, side.sick, postOptions{Events: s.events, Batch: s.batch, Callers: s.callers}, side.to)
					return res, err
				})},
				run{"latency " + side.name, func(ctx context.Context) (_ string, err error) {
					_, side.to.latency, err = s.deliver(ctx, b, side.sick, postOptions{Events: int(s.rate * s.lasts.Seconds()), Batch: 1, Callers: s.concurrency, Rate: s.rate}, side.to)
					return fmt.Sprintf("p99 %.1f ms", ms(percentile(side.to.latency.ack, 0.99))), err
				}})
		}
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

// deliver gives work to the healthy drains, which is measured, after some to
// the sick, if there are any.
func (s isolation) deliver(ctx context.Context, b *bench, sick []sickness, o postOptions, to *beside) (res result, d delays, err error) {
	last := s.sick[len(s.sick)-1].To
	err = b.withRig(ctx, nullOptions{Log: o.Rate > 0, Sick: sick}, func(r *rig) error {
		if err := b.fresh(ctx, folder{teams: last, drains: true}, r.dataPath()); err != nil {
			return err
		}
		if err := r.serve(ctx, r.dataPath()); err != nil {
			return err
		}
		if sick != nil {
			if err := r.feed(ctx, postOptions{First: s.healthy, Teams: last - s.healthy, Events: (last - s.healthy) * s.backlog, Batch: s.batch, Callers: s.callers}); err != nil {
				return err
			}
		}
		if err := sleep(ctx, s.settle); err != nil {
			return err
		}
		o.Teams, o.Warm = s.healthy, 1
		if o.Rate > 0 {
			res, d, err = r.delays(ctx, o)
			return err
		}
		if res, err = r.run(ctx, task{producer: "post", options: r.post(o)}); err != nil {
			return err
		}
		to.sick, err = r.stats(ctx)
		return err
	})
	return res, d, err
}

// feed posts events that are not measured.
func (r *rig) feed(ctx context.Context, o postOptions) error {
	poster, err := r.start(ctx, "post", r.post(o))
	if err != nil {
		return err
	}
	defer poster.kill()
	if _, err := poster.report(); err != nil {
		return err
	}
	if _, err := poster.stdin.Write([]byte("go\n")); err != nil {
		return err
	}
	if _, err := poster.report(); err != nil {
		return err
	}
	return poster.stop(false)
}

func (s isolation) chapter(rounds []isolationRound) chapter {
	p := func(share float64) func(beside) float64 {
		return func(x beside) float64 { return ms(percentile(x.latency.ack, share)) }
	}
	throughput := func(x beside) float64 { return x.rate.rate() }
	ratio := func(of func(beside) float64) float64 {
		return medianOf(rounds, func(r isolationRound) float64 { return of(r.with) / of(r.without) })
	}
	t := table{header: []string{"of the healthy drains", "without the sick", "with the sick", "with to without", "with, to the bare loop"}}
	add := func(title string, digits int, of func(beside) float64, toBare string) {
		t.row(title,
			number(medianOf(rounds, func(r isolationRound) float64 { return of(r.without) }), digits),
			number(medianOf(rounds, func(r isolationRound) float64 { return of(r.with) }), digits),
			number(ratio(of), 2), toBare)
	}
	add("events/s, as many as can be", 0, throughput,
		number(medianOf(rounds, func(r isolationRound) float64 { return r.with.rate.rate() / r.bare.rate() }), 2))
	at := fmt.Sprintf(" ms at %s events/s", whole(s.rate))
	add("p50"+at, 2, p(0.5), "–")
	add("p99"+at, 2, p(0.99), "–")
	add("p99.9"+at, 2, p(0.999), "–")

	all := s.sick[len(s.sick)-1].To
	var sick string
	names := map[string]string{
		sickHangs:   "never get an answer",
		sickForbids: "get 403",
		sickBusy:    "get 503 half the time",
		sickSlow:    fmt.Sprintf("get an answer after %.0f s", slowAnswer.Seconds()),
	}
	for _, x := range s.sick {
		sick += fmt.Sprintf("; %d %s", x.To-x.From, names[x.What])
	}
	return chapter{
		title: "Healthy drains beside sick ones",
		parts: []part{{[]string{
			fmt.Sprintf("%s drains, of which %d are healthy%s. The sick have %d events each to deliver, posted %.0f s before the measurement begins, and go on trying during it; %s of their objects are written meanwhile. "+
				"Without the sick, nothing is posted for them. Only the healthy drains' events are counted.",
				whole(float64(all)), s.healthy, sick, s.backlog, s.settle.Seconds(),
				whole(medianOf(rounds, func(r isolationRound) float64 { return float64(r.with.sick.SickPuts) }))),
			fmt.Sprintf("Throughput: as in a), %s events in batches of %d. Latency: as in c), one event a call.", whole(float64(s.events)), s.batch),
		}, t}},
		aims: []aim{
			atLeast("throughput of the healthy, with to without the sick", 1-isolationAim, ratio(throughput), 2, ""),
			atMost("p99 of the healthy, with to without the sick", 1+isolationAim, ratio(p(0.99)), 2, ""),
		},
	}
}
