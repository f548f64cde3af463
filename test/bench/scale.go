package main

import (
	"context"
	"fmt"
	"time"
)

// scale measures nodes that share a PostgreSQL database: as many events as they
// can deliver, and then many drains that have little to do.
type scale struct {
	rates // with callers for each node, and one load
	nodes []int
	warm  int // events of each drain before: connections to the database are slow at first
	many  many
}

// many is a run with many drains.
type many struct {
	drains, nodes int
	lease         time.Duration
	settle, lasts time.Duration
	busy          int // drains that have something to do
	rate          float64
}

var recordScale = scale{
	rates: rates{events: 40_000, concurrency: recordRates.concurrency, callers: recordRates.callers, loads: []load{{drains: 100, batch: 100}}},
	nodes: []int{1, 2, 3}, warm: 10,
	many: many{drains: 10_000, nodes: 3, lease: 15 * time.Second, settle: 4 * time.Second, lasts: 6 * time.Second, busy: 1000, rate: 1000},
}

// What (h) aims at.
const (
	// leaseAim is the share of statements that are for leases.
	leaseAim = 0.01
	// nodesAim is how much more an event may cost with the most nodes than with
	// one.
	nodesAim = 1.25
)

type scaleRound struct {
	bare, embedded result
	nodes          map[int]result
	idle, busy     spell
}

// spell is what nodes and their database have used for a while.
type spell struct {
	lasted          time.Duration
	nodes, database time.Duration // CPU
	statements      statements
}

func (s scale) measure(ctx context.Context, b *bench) (chapter, error) {
	db, err := startPostgres(ctx)
	if err != nil {
		return chapter{}, err
	}
	defer db.stop()
	var rounds []scaleRound
	for i := range b.rounds {
		round := scaleRound{nodes: make(map[int]result)}
		runs := []run{
			{"bare loop", rateOf(&round.bare, func() (result, error) { return b.bareLoop(ctx, s.events, s.concurrency) })},
			{"embedded engine", rateOf(&round.embedded, func() (result, error) { return s.deliver(ctx, b, s.loads[0]) })},
		}
		for _, n := range s.nodes {
			runs = append(runs, run{nodesName(n), func(ctx context.Context) (string, error) {
				res, err := s.onNodes(ctx, b, db, n)
				round.nodes[n] = res
				return fmt.Sprintf("%s events/s, %.0f µs/event", whole(res.rate()), res.nodesCost()), err
			}})
		}
		runs = append(runs, run{load{drains: s.many.drains}.String() + ", " + nodesName(s.many.nodes), func(ctx context.Context) (string, error) {
			err := s.many.watch(ctx, b, db, &round)
			return fmt.Sprintf("%.1f statements/s idle, %.2f %% for leases when busy", round.idle.perSecond(round.idle.statements.sum()), 100*round.busy.statements.shareOf(kindLeases)), err
		}})
		if err := b.round(ctx, i, runs); err != nil {
			return chapter{}, err
		}
		rounds = append(rounds, round)
	}
	return s.chapter(rounds), nil
}

func nodesName(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// nodesCost is the CPU of nodes and database, in µs per event.
func (r result) nodesCost() float64 { return r.perEvent(r.client.cpu + r.database) }

func (s scale) onNodes(ctx context.Context, b *bench, db *postgres, nodes int) (res result, err error) {
	l := s.loads[0]
	err = b.withNodes(ctx, db, nodes, l.drains, nil, func(r *rig) error {
		res, err = r.run(ctx, task{producer: "post", options: r.post(postOptions{
			Teams: l.drains, Warm: s.warm, Events: s.events, Batch: l.batch, Callers: nodes * s.callers,
		})})
		return err
	})
	return res, err
}

// watch looks at nodes with nothing to do, and then with a little.
func (s many) watch(ctx context.Context, b *bench, db *postgres, round *scaleRound) error {
	return b.withNodes(ctx, db, s.nodes, s.drains, []string{"--lease", s.lease.String()}, func(r *rig) (err error) {
		if err = sleep(ctx, s.settle); err != nil {
			return err
		}
		if round.idle, err = r.spell(ctx, s.lasts); err != nil {
			return err
		}
		o := postOptions{Teams: s.busy, Warm: 1, Events: int(s.rate * s.lasts.Seconds()), Batch: 1, Callers: 4 * s.nodes, Rate: s.rate}
		_, err = r.run(ctx, task{producer: "post", options: r.post(o), beside: func(ctx context.Context) (err error) {
			round.busy, err = r.spell(ctx, s.lasts)
			return err
		}})
		if err != nil {
			return err
		}
		all, err := r.database.counted(ctx)
		for _, k := range kinds {
			if err == nil && all[k].n == 0 {
				err = fmt.Errorf("no statement was one of %q: what marks them has changed", k)
			}
		}
		return err
	})
}

// spell looks at what is used from now on.
func (r *rig) spell(ctx context.Context, lasts time.Duration) (spell, error) {
	start, err := r.takeSnapshot(ctx, nil)
	if err != nil {
		return spell{}, err
	}
	if err := sleep(ctx, lasts); err != nil {
		return spell{}, err
	}
	end, err := r.takeSnapshot(ctx, nil)
	return spell{
		lasted:     end.at.Sub(start.at),
		nodes:      end.services.since(start.services).cpu,
		database:   end.database - start.database,
		statements: end.statements.since(start.statements),
	}, err
}

func (s spell) perSecond(c calls) float64 { return float64(c.n) / s.lasted.Seconds() }

// cores is how much of a core was busy.
func (s spell) cores(cpu time.Duration) float64 { return cpu.Seconds() / s.lasted.Seconds() }

func (s scale) chapter(rounds []scaleRound) chapter {
	first, last := s.nodes[0], s.nodes[len(s.nodes)-1]
	growth := func(n int) float64 {
		return medianOf(rounds, func(r scaleRound) float64 { return r.nodes[n].nodesCost() / r.nodes[first].nodesCost() })
	}
	return chapter{
		title: "Nodes that share a database",
		parts: []part{s.ratesPart(rounds, growth), s.many.part(rounds)},
		aims: []aim{
			atMost(fmt.Sprintf("CPU per event, %s to %s", nodesName(last), nodesName(first)), nodesAim, growth(last), 2, ""),
			atMost(fmt.Sprintf("%s drains, %s events/s, statements for leases", whole(float64(s.many.drains)), whole(s.many.rate)), 100*leaseAim,
				medianOf(rounds, func(r scaleRound) float64 { return 100 * r.busy.statements.shareOf(kindLeases) }), 2, " %"),
		},
	}
}

func (s scale) ratesPart(rounds []scaleRound, growth func(int) float64) part {
	t := table{header: []string{"", "events/s", "lowest–highest", "to the bare loop", "CPU µs/event: nodes", "database", "both, to 1 node", "null S3", "poster", "statements/event", "for leases", "peak RSS MiB, all nodes"}}
	row := func(title string, of func(scaleRound) result, growth string) {
		figure := func(digits int, f func(result) float64) string {
			return number(medianOf(rounds, func(r scaleRound) float64 { return f(of(r)) }), digits)
		}
		cells := []string{title,
			figure(0, result.rate),
			spread(over(rounds, func(r scaleRound) float64 { return of(r).rate() }), 0),
			number(medianOf(rounds, func(r scaleRound) float64 { return of(r).rate() / r.bare.rate() }), 2),
			figure(0, func(r result) float64 { return r.perEvent(r.client.cpu) }),
			"–", growth,
			figure(0, func(r result) float64 { return r.perEvent(r.null.cpu) }),
			figure(0, func(r result) float64 { return r.perEvent(r.poster.cpu) }),
			"–", "–",
			figure(0, func(r result) float64 { return mib(float64(r.client.peakRSS)) }),
		}
		if of(rounds[0]).statements != nil {
			cells[5] = figure(0, func(r result) float64 { return r.perEvent(r.database) })
			cells[9] = figure(3, func(r result) float64 { return float64(r.statements.sum().n) / float64(r.events) })
			cells[10] = figure(2, func(r result) float64 { return 100 * r.statements.shareOf(kindLeases) }) + " %"
		}
		t.row(cells...)
	}
	row("bare loop of signed PUTs", func(r scaleRound) result { return r.bare }, "–")
	row("embedded engine", func(r scaleRound) result { return r.embedded }, "–")
	for _, n := range s.nodes {
		row(nodesName(n), func(r scaleRound) result { return r.nodes[n] }, number(growth(n), 2))
	}
	l := s.loads[0]
	return part{[]string{
		"`auditdrain serve --postgres`: one PostgreSQL, with its own settings and 128 MiB of buffers, in which each run has a new database. It shares the machine's cores with the nodes and all else, so more nodes cannot deliver more: what counts is whether an event costs more with them.",
		fmt.Sprintf("As in a), with %s events for %s in batches of %d, and %d producers for each node. A node takes the events of all drains and delivers those of its own. "+
			"The database's CPU is that of all its processes; statements are counted by pg_stat_statements.",
			whole(float64(s.events)), l, l.batch, s.callers),
	}, t}
}

func (s many) part(rounds []scaleRound) part {
	t := table{header: []string{"", "idle: statements/s", "share", "ms/s in the database", "busy: statements/s", "share", "ms/s in the database"}}
	spells := []func(scaleRound) spell{
		func(r scaleRound) spell { return r.idle },
		func(r scaleRound) spell { return r.busy },
	}
	row := func(title string, cells func(of func(scaleRound) spell) []string) {
		line := []string{title}
		for _, of := range spells {
			line = append(line, cells(of)...)
		}
		t.row(line...)
	}
	count := func(of func(scaleRound) spell, calls func(statements) calls) []string {
		figure := func(digits int, f func(s spell) float64) string {
			return number(medianOf(rounds, func(r scaleRound) float64 { return f(of(r)) }), digits)
		}
		return []string{
			figure(1, func(s spell) float64 { return s.perSecond(calls(s.statements)) }),
			figure(2, func(s spell) float64 { return 100 * float64(calls(s.statements).n) / float64(s.statements.sum().n) }) + " %",
			figure(1, func(s spell) float64 { return ms(calls(s.statements).took) / s.lasted.Seconds() }),
		}
	}
	for _, k := range kinds {
		row(string(k), func(of func(scaleRound) spell) []string {
			return count(of, func(s statements) calls { return s[k] })
		})
	}
	row("all statements", func(of func(scaleRound) spell) []string { return count(of, statements.sum) })
	cores := func(title string, cpu func(spell) time.Duration) {
		row(title, func(of func(scaleRound) spell) []string {
			return []string{number(medianOf(rounds, func(r scaleRound) float64 { s := of(r); return 100 * s.cores(cpu(s)) }), 1), "", ""}
		})
	}
	cores(fmt.Sprintf("CPU of the %s, %% of a core", nodesName(s.nodes)), func(s spell) time.Duration { return s.nodes })
	cores("CPU of the database, % of a core", func(s spell) time.Duration { return s.database })
	return part{[]string{
		fmt.Sprintf("**%s drains on %s**, with a lease of %s: for %.0f s with nothing to do, from %.0f s after each node has its drains; then for %.0f s with %s events/s, one a call, for %s of them. "+
			"Time in the database is with waiting for locks and disks.",
			whole(float64(s.drains)), nodesName(s.nodes), s.lease, s.lasts.Seconds(), s.settle.Seconds(), s.lasts.Seconds(), whole(s.rate), whole(float64(s.busy))),
	}, t}
}
