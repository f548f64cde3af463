package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/auditdrain/auditdrain/internal/pgtest"
)

const (
	nodesTeams   = 100
	nodesDrains  = 3  // of each team
	nodesBacklog = 20 // events of a team, about, that its producer may be ahead of delivery
	nodesLease   = 2 * time.Second
)

// nodesForm is how long a form of TestNodes is.
type nodesForm struct {
	rounds int
	life   time.Duration // between two blows, at most
}

var (
	nodesShort = nodesForm{6, time.Second}
	nodesLong  = nodesForm{30, 4 * time.Second}
)

// database is a schema that the nodes of a test share, as the test sees it.
type database struct {
	t    *testing.T
	url  string // for the nodes
	pool *pgxpool.Pool
}

// newDatabase connects to a schema.
func newDatabase(t *testing.T, url string) *database {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	return &database{t: t, url: url, pool: pool}
}

func (db *database) exec(sql string) {
	db.t.Helper()
	_, err := db.pool.Exec(db.t.Context(), sql)
	must(db.t, err)
}

func (db *database) count(sql string, args ...any) (n int) {
	db.t.Helper()
	must(db.t, db.pool.QueryRow(db.t.Context(), sql, args...).Scan(&n))
	return n
}

// watchFences has the database note what must never be: a cursor that goes back,
// an epoch that does, or is used twice, and progress that is saved by another
// than the drain's owner. The database knows by the name of a connection whose it
// is.
func (db *database) watchFences() {
	db.t.Helper()
	db.exec(`
CREATE TABLE violations (what text);
CREATE TABLE takeovers (drain_id text);
CREATE FUNCTION watch_fences() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.cursor < OLD.cursor THEN
        INSERT INTO violations VALUES (format('cursor of %s from %s to %s', OLD.drain_id, OLD.cursor, NEW.cursor));
    END IF;
    IF NEW.owner = OLD.owner AND current_setting('application_name') <> 'auditdrain ' || OLD.owner THEN
        INSERT INTO violations VALUES (format('%s of %s saved by %s', OLD.drain_id, OLD.owner, current_setting('application_name')));
    END IF;
    IF NEW.epoch <> OLD.epoch + (NEW.owner <> OLD.owner AND NEW.owner <> '')::int THEN
        INSERT INTO violations VALUES (format('epoch of %s from %s to %s', OLD.drain_id, OLD.epoch, NEW.epoch));
    END IF;
    IF NEW.owner <> OLD.owner AND NEW.owner <> '' AND OLD.owner <> '' THEN
        INSERT INTO takeovers VALUES (OLD.drain_id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER watch_fences BEFORE UPDATE ON delivery FOR EACH ROW EXECUTE FUNCTION watch_fences()`)
}

func (db *database) checkFences() {
	db.t.Helper()
	rows, err := db.pool.Query(db.t.Context(), `SELECT what FROM violations LIMIT 10`)
	must(db.t, err)
	for rows.Next() {
		var what string
		must(db.t, rows.Scan(&what))
		db.t.Errorf("violation: %s", what)
	}
	must(db.t, rows.Err())
}

// node is one of the processes that share a database.
type node struct {
	*process
	id, url string
}

var nodeRE = regexp.MustCompile(`is listening"?.*\bnode"?[=:]"?([a-z0-9-]+)`)

// startNode starts a process on the database, and waits until it answers.
func startNode(t *testing.T, aws *cloud, db *database, more ...string) *node {
	t.Helper()
	p := start(t, binary(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AUDITDRAIN_POSTGRES="+db.url),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--writer-role-arn", writerRole, "--lease", nodesLease.String(), "--node-name", "n",
			"--put-timeout", "1s", "--sts-timeout", "1s", "--shutdown-timeout", "10s"}, more...)...)
	n := &node{process: p, url: p.url()}
	n.id, _ = p.await(p.stderr, nodeRE)
	return n
}

// owned is how many drains the database says that the node has.
func (db *database) owned(n *node) int {
	db.t.Helper()
	return db.count(`SELECT count(*) FROM delivery WHERE owner = $1`, n.id)
}

// fleet is some nodes, and producers that send to any of them.
type fleet struct {
	db        *database
	aws       *cloud
	http      *http.Client
	producers []*crashProducer
	nodeArgs  []string // more than startNode's

	mu    sync.Mutex
	nodes []*node
}

// newFleet starts nodes, and sets up teams with drains on one of them.
func newFleet(t *testing.T, seed uint64, db *database, nodes, teams, drains int) *fleet {
	t.Helper()
	f := &fleet{db: db, aws: newCloud(t), http: newHTTPClient(t)}
	// A node that is stopped does not answer: what becomes of a request is not
	// known then.
	f.http.Timeout = nodesLease
	for range nodes {
		f.nodes = append(f.nodes, startNode(t, f.aws, db))
	}
	db.watchFences()
	api := newClient(t, f.http, f.nodes[0].url)
	for i := range teams {
		tm := &team{producer: producer{team: fmt.Sprintf("team_%03d", i)}}
		for j := range drains {
			tm.targets = append(tm.targets, target{
				account: fmt.Sprintf("%012d", 300_000_000_000+i), role: "drain-writer", region: "us-east-1", encoding: "json",
				bucket: fmt.Sprintf("nodes-%03d-%d", i, j), prefix: "audit",
			})
		}
		f.aws.addTargets("vercel-team:"+tm.team, tm.targets...)
		tm.setUp(t, f.http, api)
		r := newRand(seed, uint64(i))
		f.producers = append(f.producers, &crashProducer{
			team: tm, rng: r, source: newSource(r, tm.team), acked: make(chan struct{}, 1), pause: 30 * time.Second,
		})
	}
	return f
}

// any returns where one of the nodes answers.
func (f *fleet) any(rng *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[rng.IntN(len(f.nodes))].url
}

// send has all producers send to nodes, whatever becomes of these, until the
// function that it returns is called.
func (f *fleet) send(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for _, p := range f.producers {
		sending.Go(func() {
			for ctx.Err() == nil {
				// Once a request is under way its answer is waited for.
				b := p.next(f.aws.behind(p) < nodesBacklog)
				if err := p.sendBatch(context.WithoutCancel(ctx), f.any(p.rng), b); err != nil {
					t.Error(err)
					return
				}
				pause := time.NewTimer(time.Duration(p.rng.Int64N(int64(p.pause))))
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
				}
			}
		})
	}
	return func() { cancel(); sending.Wait() }
}

// settle waits until all nodes have drains, and all drains have nodes.
func (f *fleet) settle(t *testing.T) {
	t.Helper()
	eventually(t, "all drains are shared by all nodes", func() bool {
		have := 0
		for _, n := range f.nodes {
			own := f.db.owned(n)
			if own == 0 {
				return false
			}
			have += own
		}
		return have == len(f.producers)*len(f.producers[0].drains)
	})
}

// blow is what befalls a node.
type blow string

const (
	blowKill  blow = "killed"
	blowPause blow = "stopped for longer than the lease"
	blowTerm  blow = "ended in order"
)

// strike has a blow befall the ith node. The function that it returns has the node, or another one, come back.
func (f *fleet) strike(t *testing.T, i int, b blow) (heal func()) {
	t.Helper()
	n := f.nodes[i]
	again := func() {
		fresh := startNode(t, f.aws, f.db, f.nodeArgs...)
		f.mu.Lock()
		f.nodes[i] = fresh
		f.mu.Unlock()
	}
	switch b {
	case blowKill:
		n.kill()
	case blowPause:
		n.signal(syscall.SIGSTOP)
		again = func() { n.signal(syscall.SIGCONT) }
	case blowTerm:
		n.stop()
		if left := f.db.owned(n); left > 0 {
			t.Errorf("a node that has ended in order still owns %d drains", left)
		}
	}
	return again
}

// awaitDelivery waits until all is delivered, as long as there is progress.
func (f *fleet) awaitDelivery(t *testing.T) {
	t.Helper()
	const behind = ` FROM delivery d JOIN sequences q USING (team_id) WHERE q.last_seq > d.cursor`
	written := -1
	for {
		n, _ := f.aws.written()
		if n == written {
			t.Fatalf("nothing was delivered within %s, of %d drains that are behind", patience, f.db.count(`SELECT count(*)`+behind))
		}
		written = n
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if f.db.count(`SELECT count(*)`+behind) == 0 {
				return
			}
		}
	}
}

// finish has all that is not known sent again, and all delivered, and checks the
// buckets and the database.
func (f *fleet) finish(t *testing.T, last *node) {
	t.Helper()
	f.aws.SetFault(nil)
	for _, p := range f.producers {
		for _, b := range p.batches {
			if !b.unknown || !b.resend || b.stored {
				continue
			}
			eventually(t, "a batch of unknown outcome is stored", func() bool {
				if err := p.sendBatch(t.Context(), last.url, b); err != nil {
					t.Fatal(err)
				}
				return b.stored
			})
		}
	}
	f.awaitDelivery(t)
	last.stop()
	checkCrash(t, f.aws, f.producers)
	f.db.checkFences()
}

// TestNodes has three nodes share 300 drains while events come in and AWS has its
// troubles. In each round one or two of them are killed, stopped for longer than
// their lease, or ended. In the end all that was acknowledged is in the buckets,
// with the same bytes; and no node has ever saved what was not its own.
func TestNodes(t *testing.T) {
	form := nodesShort
	if *soakFlag {
		form = nodesLong
	}
	seed := newSeed(t)
	rng := newRand(seed, 1<<33)
	f := newFleet(t, seed, newDatabase(t, postgres(t).URL(postgres(t).NewSchema(t))), 3, nodesTeams, nodesDrains)
	stop := f.send(t)
	blows := map[blow]int{}
	kinds := []blow{blowKill, blowPause, blowTerm}
	for round := range form.rounds {
		f.settle(t)
		f.aws.SetFault(newTrouble(rng, crashShort).fault)
		<-time.After(time.Duration(rng.Int64N(int64(form.life))))
		var heals []func()
		var struck []*node
		for k, i := range rng.Perm(len(f.nodes))[:1+rng.IntN(2)] {
			b := kinds[rng.IntN(len(kinds))]
			if k == 0 {
				b = kinds[round%2] // each round has one of the worse
			}
			blows[b]++
			struck = append(struck, f.nodes[i])
			heals = append(heals, f.strike(t, i, b))
		}
		eventually(t, "others have taken over", func() bool {
			for _, n := range struck {
				if f.db.owned(n) > 0 {
					return false
				}
			}
			return true
		})
		for _, heal := range heals {
			heal()
		}
		if t.Failed() {
			break
		}
	}
	f.settle(t)
	stop()
	t.Logf("blows: %v; drains that changed hands without being given away: %d", blows, f.db.count(`SELECT count(*) FROM takeovers`))
	for _, n := range f.nodes[1:] {
		n.stop()
	}
	f.finish(t, f.nodes[0])
}

// TestFailover has the database's primary die under load. Its standby, which has
// all that was confirmed, takes its place, and the nodes find it by themselves.
func TestFailover(t *testing.T) {
	seed := newSeed(t)
	primary, err := pgtest.Start()
	must(t, err)
	t.Cleanup(primary.Stop)
	standby, err := primary.Standby(t.Context())
	must(t, err)
	t.Cleanup(standby.Stop)
	db := newDatabase(t, "postgres://auditdrain@"+primary.Address()+","+standby.Address()+"/postgres?sslmode=disable&target_session_attrs=read-write")
	f := newFleet(t, seed, db, 3, 20, nodesDrains)
	f.settle(t)
	stop := f.send(t)
	f.aws.awaitObjects(1000)
	primary.Stop()
	f.awaitReady(t, http.StatusServiceUnavailable)
	stop()
	for _, n := range f.nodes {
		p := f.producers[0]
		a, err := p.send(t.Context(), n.url, encode(p.rng, p.source.event()))
		if err != nil || a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
			t.Errorf("answer without a database: %v, Retry-After %q, %v", a, a.retryAfter, err)
		}
	}
	stop = f.send(t)
	must(t, standby.Promote(t.Context()))
	f.awaitReady(t, http.StatusOK)
	before, _ := f.aws.written()
	f.settle(t)
	f.aws.awaitObjects(before + 2500)
	stop()
	for _, n := range f.nodes[1:] {
		n.stop()
	}
	f.finish(t, f.nodes[0])
}

// awaitReady waits until all nodes say so, or say that they are not.
func (f *fleet) awaitReady(t *testing.T, status int) {
	t.Helper()
	for _, n := range f.nodes {
		eventually(t, fmt.Sprintf("/readyz answers %d", status), func() bool {
			resp, err := f.http.Get(n.url + "/readyz")
			if err != nil {
				return false // it takes its time to find out
			}
			resp.Body.Close()
			return resp.StatusCode == status
		})
	}
}
