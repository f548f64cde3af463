package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain/internal/pgtest"
)

// postgres is a server that counts statements, in which each run has a database
// of its own.
type postgres struct {
	server *pgtest.Server
	admin  *pgx.Conn      // to a database that no run has
	made   map[int]string // databases to copy, by number of teams
	runs   int
}

func startPostgres(ctx context.Context) (*postgres, error) {
	server, err := pgtest.Start("shared_preload_libraries=pg_stat_statements")
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	p := &postgres{server: server, made: make(map[int]string)}
	if p.admin, err = pgx.Connect(ctx, server.URL("")); err == nil {
		_, err = p.admin.Exec(ctx, `CREATE EXTENSION pg_stat_statements`)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *postgres) stop() {
	if p.admin != nil {
		p.admin.Close(context.Background())
	}
	p.server.Stop()
}

// database is the one of a run.
type database struct {
	*postgres
	name string
}

func (d *database) url() (string, error) {
	u, err := url.Parse(d.server.URL(""))
	if err != nil {
		return "", err
	}
	u.Path = d.name
	return u.String(), nil
}

// withNodes starts so many nodes on a database with teams that have a drain each,
// and waits until they share the drains; then it is as withRig. The teams are
// made by the service once, and copied for every run.
func (b *bench) withNodes(ctx context.Context, p *postgres, nodes, teams int, flags []string, f func(*rig) error) error {
	if p.made[teams] == "" {
		began, name := time.Now(), fmt.Sprintf("teams%d", teams)
		if err := b.makeDatabase(ctx, &database{p, name}, teams); err != nil {
			return fmt.Errorf("make %d teams: %w", teams, err)
		}
		p.made[teams] = name
		fmt.Fprintf(b.progress, "made a database with %s teams in %.0f s\n", whole(float64(teams)), time.Since(began).Seconds())
	}
	p.runs++
	d := &database{p, fmt.Sprintf("run%d", p.runs)}
	// What an earlier run has left to be written must not be this one's to write.
	if err := p.do(ctx, "CREATE DATABASE "+d.name+" TEMPLATE "+p.made[teams], "CHECKPOINT"); err != nil {
		return err
	}
	err := b.withRig(ctx, nullOptions{}, func(r *rig) error {
		r.database = d
		if err := r.serveNodes(ctx, nodes, flags...); err != nil {
			return err
		}
		if err := d.share(ctx, nodes, r.stall); err != nil {
			return err
		}
		return f(r)
	})
	return errors.Join(err, p.do(ctx, "DROP DATABASE "+d.name+" WITH (FORCE)"))
}

func (b *bench) makeDatabase(ctx context.Context, d *database, teams int) error {
	if err := d.do(ctx, "CREATE DATABASE "+d.name); err != nil {
		return err
	}
	err := b.withRig(ctx, nullOptions{}, func(r *rig) error {
		r.database = d
		if err := r.serveNodes(ctx, 1); err != nil {
			return err
		}
		return r.fill(ctx, folder{teams: teams, drains: true})
	})
	if err != nil {
		return err
	}
	return d.connected(ctx, func(c *pgx.Conn) error {
		for _, sql := range []string{
			// Nobody can claim a drain of an owner that is no node, dead or alive: so
			// the first node to start does not take all; see share.
			`UPDATE delivery SET owner = 'none'`,
			// What was just done is not to become events of the system's team now.
			`UPDATE counters SET value = (SELECT value FROM counters WHERE name = 'activities') WHERE name = 'forwarded'`,
			`VACUUM (ANALYZE)`,
		} {
			if _, err := c.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// serveNodes starts so many nodes at once and waits until they are ready.
func (r *rig) serveNodes(ctx context.Context, nodes int, flags ...string) error {
	url, err := r.database.url()
	if err != nil {
		return err
	}
	for i := range nodes {
		if err := r.startService(ctx, append([]string{"--postgres", url, "--node-name", fmt.Sprintf("node%d", i+1)}, flags...)...); err != nil {
			return err
		}
	}
	return r.ready(ctx)
}

// share has the nodes take the drains once all of them are there, and waits until
// each has its part.
func (d *database) share(ctx context.Context, nodes int, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.connected(ctx, func(c *pgx.Conn) error {
		until := func(condition string) error {
			for reached := false; !reached; {
				if err := c.QueryRow(ctx, `SELECT `+condition, nodes).Scan(&reached); err != nil {
					return fmt.Errorf("wait for the nodes to share the drains: %w", err)
				}
				if err := sleep(ctx, 20*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		}
		if err := until(`count(*) = $1 FROM nodes`); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, `UPDATE delivery SET owner = ''`); err != nil {
			return err
		}
		return until(`count(DISTINCT owner) = $1 AND bool_and(owner <> '') FROM delivery`)
	})
}

// connected runs f with a connection to the database.
func (d *database) connected(ctx context.Context, f func(*pgx.Conn) error) error {
	url, err := d.url()
	if err != nil {
		return err
	}
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return f(c)
}

func (p *postgres) do(ctx context.Context, commands ...string) error {
	for _, sql := range commands {
		if _, err := p.admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// cpu is the CPU time that all processes of the server have used.
func (d *database) cpu() (time.Duration, error) { return cpuOfAll(d.server.PID()) }

// kind is a kind of statement, by what it is for. The last one is for the rest.
type kind string

const (
	kindLeases  kind = "leases: heartbeats, claims, what a node owns"
	kindNews    kind = "news: are there events, changes, drains without a node"
	kindAppends kind = "appends of events"
	kindReads   kind = "reads of events"
	kindSaves   kind = "saves of cursors and states"
	kindSeries  kind = "series for charts"
	kindTeams   kind = "teams and tokens of requests"
	kindElse    kind = "all else"
)

var kinds = []kind{kindLeases, kindNews, kindAppends, kindReads, kindSaves, kindSeries, kindTeams, kindElse}

// kindMarks tell statements of internal/pgstore apart: the first that is in one
// decides. PostgreSQL shows them as they are, but for values, which it leaves out.
var kindMarks = []struct {
	mark string
	kind kind
}{
	{"INTO nodes", kindLeases}, {"FROM nodes", kindLeases}, {"JOIN nodes", kindLeases},
	{"UPDATE delivery SET owner", kindLeases}, {"d.epoch, r.version FROM delivery", kindLeases},
	{"SELECT value, EXISTS (SELECT FROM delivery", kindNews}, {"q.last_seq > d.cursor", kindNews},
	{"INTO events", kindAppends}, {"INTO sequences", kindAppends}, {"FROM sequences WHERE team_id = ANY", kindAppends},
	{"FROM events", kindReads},
	{"replay_cursor = i.replay_cursor", kindSaves}, {"set_config('synchronous_commit'", kindSaves}, {"set_config($", kindSaves},
	{"series", kindSeries}, {"FROM drains WHERE id = ANY", kindSeries},
	{"FROM teams", kindTeams}, {"FROM team_names", kindTeams}, {"FROM tokens", kindTeams},
}

func kindOf(sql string) kind {
	for _, m := range kindMarks {
		if strings.Contains(sql, m.mark) {
			return m.kind
		}
	}
	return kindElse
}

// calls is how often statements of a kind were executed, and how long that took,
// with waiting for locks and disks.
type calls struct {
	n    int64
	took time.Duration
}

type statements map[kind]calls

// counted are the statements of the database since its run began.
func (d *database) counted(ctx context.Context) (statements, error) {
	rows, err := d.admin.Query(ctx, `
SELECT s.query, s.calls, s.total_exec_time
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1`, d.name)
	if err != nil {
		return nil, err
	}
	counted := make(statements)
	var sql string
	var n int64
	var ms float64
	_, err = pgx.ForEachRow(rows, []any{&sql, &n, &ms}, func() error {
		k := kindOf(sql)
		c := counted[k]
		counted[k] = calls{c.n + n, c.took + time.Duration(ms*float64(time.Millisecond))}
		return nil
	})
	return counted, err
}

func (s statements) since(start statements) statements {
	diff := make(statements, len(s))
	for k, c := range s {
		diff[k] = calls{c.n - start[k].n, c.took - start[k].took}
	}
	return diff
}

func (s statements) sum() (sum calls) {
	for _, c := range s {
		sum.n, sum.took = sum.n+c.n, sum.took+c.took
	}
	return sum
}

// shareOf is the share of all statements that are of a kind.
func (s statements) shareOf(k kind) float64 { return float64(s[k].n) / float64(s.sum().n) }
