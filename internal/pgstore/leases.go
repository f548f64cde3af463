package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// The leases: what Run of a Node does with the tables nodes and delivery. All
// times are the database's, so that clocks of nodes need not agree; a node only
// measures how long ago its own beat was sent.
//
// All is on a connection whose commits do not wait for the disk. A beat that is
// lost in a crash of the database makes a node look dead earlier, and a change of
// owner that is lost has not taken place: who saves is compared with what the
// database says.

const (
	// claimMost and leaveMost are how many drains change hands at once: a node
	// has to read the state of each.
	claimMost = 1000
	leaveMost = 1000
	// A node gives drains away if it has a twentieth more than its share, at two
	// beats in a row: so that a node that starts and dies again and again, or one
	// drain more, moves nothing.
	slackShare = 20
)

// now is the database's, in Unix ms; aliveSQL whether a row of nodes is of one that is
// alive at t.now. A beat in the future is of a time before a failover, on a
// machine with another clock.
const (
	nowSQL   = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`
	aliveSQL = `abs(t.now - n.beat) < n.term`
)

// beatSQL renews the lease of node $1, or begins it, and returns how things are.
const beatSQL = `
WITH t AS MATERIALIZED (
    SELECT ` + nowSQL + ` AS now
), before AS MATERIALIZED (
    SELECT n.joined FROM t JOIN nodes n ON n.id = $1 AND ` + aliveSQL + `
), me AS MATERIALIZED (
    SELECT coalesce((SELECT joined FROM before), t.now) AS joined FROM t
), beaten AS (
    INSERT INTO nodes (id, joined, beat, term) SELECT $1, me.joined, t.now, $2 FROM t, me
    ON CONFLICT (id) DO UPDATE SET joined = excluded.joined, beat = excluded.beat, term = excluded.term
), others AS MATERIALIZED (
    SELECT n.id, n.joined, ` + aliveSQL + ` AS alive, t.now - n.beat AS age FROM t JOIN nodes n ON n.id <> $1
)
SELECT
    EXISTS (SELECT FROM before),
    (SELECT count(*) FROM others WHERE alive) + 1,
    (SELECT count(*) FROM others WHERE NOT alive),
    (SELECT count(*) FROM delivery),
    (SELECT count(*) FROM delivery WHERE owner = $1),
    NOT EXISTS (SELECT FROM others o, me WHERE o.alive AND (o.joined, o.id) < (me.joined, $1)),
    (SELECT coalesce(max(age), 0) FROM others WHERE alive)`

// overview is how things are at a beat.
type overview struct {
	went        bool // the lease had not run out before
	alive, dead int  // nodes
	drains, own int
	senior      bool          // no other node that is alive has been there for longer
	oldest      time.Duration // beat of another node that is alive
}

// beat renews the lease, and tells what there is to do.
func (n *Node) beat(ctx context.Context, d Deliverer) error {
	sent := time.Now()
	var c overview
	var oldest int64
	err := n.own.do(ctx, "renew lease", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, beatSQL, n.id, n.times.term.Milliseconds()).
			Scan(&c.went, &c.alive, &c.dead, &c.drains, &c.own, &c.senior, &oldest)
	})
	if err != nil {
		return err
	}
	c.oldest = time.Duration(oldest) * time.Millisecond
	// What was delivered under a lease that has run out ends first.
	n.expire(d, time.Now())
	n.renew(sent)
	n.duty.set(c.senior)
	n.metrics.beaten(sent, c)
	n.beatAt, n.last = sent, c
	n.unsure = n.unsure || c.own != n.holdings()
	if surplus := c.own - share(c); surplus > max(1, share(c)/slackShare) {
		if n.surplus > 0 {
			n.hand(d, min(surplus, leaveMost))
		}
		n.surplus = surplus
	} else {
		n.surplus = 0
	}
	return nil
}

// share is how many drains a node should have.
func share(c overview) int { return (c.drains + c.alive - 1) / c.alive }

// hand ends the delivery of so many drains, which are given away after that.
func (n *Node) hand(d Deliverer, surplus int) {
	n.mu.Lock()
	var drains []string
	for id, h := range n.held {
		if len(drains) == surplus {
			break
		}
		if h.phase == holdingIt {
			h.phase = leaving
			drains = append(drains, id)
		}
	}
	n.mu.Unlock()
	n.log.Info("other nodes have fewer drains: giving some away", "node", n.id, "drains", len(drains))
	changed(d, drains)
}

// claimSQL has node $1 own drains that nobody owns, or, if $3 says so, whose
// owner is dead, up to its share, $2 at most. It claims nothing for a node that is
// dead itself.
const claimSQL = `
WITH t AS MATERIALIZED (
    SELECT ` + nowSQL + ` AS now
), living AS MATERIALIZED (
    SELECT n.id FROM t JOIN nodes n ON ` + aliveSQL + `
), due AS MATERIALIZED (
    SELECT least($2, greatest(0, ceil((SELECT count(*) FROM delivery)::numeric / (SELECT count(*) FROM living))
        - (SELECT count(*) FROM delivery WHERE owner = $1)))::bigint AS most
    WHERE EXISTS (SELECT FROM living WHERE id = $1)
), free AS MATERIALIZED (
    SELECT drain_id FROM delivery
    WHERE owner = '' OR $3 AND owner IN (SELECT id FROM nodes EXCEPT SELECT id FROM living)
    LIMIT coalesce((SELECT most FROM due), 0) FOR UPDATE SKIP LOCKED
)
UPDATE delivery d SET owner = $1, epoch = d.epoch + 1 FROM free WHERE d.drain_id = free.drain_id`

// buried are nodes that are dead and own nothing: they are forgotten. As long as
// a drain has an owner, the owner has a row.
const buriedSQL = `
DELETE FROM nodes n USING (SELECT ` + nowSQL + ` AS now) t
WHERE NOT ` + aliveSQL + ` AND n.id <> $1 AND NOT EXISTS (SELECT FROM delivery WHERE owner = n.id)`

// claim takes drains that are nobody's, up to the node's share.
//
// What dead nodes had it takes only if it was heard itself at its last two beats:
// when the database was away, all nodes look dead to the first that comes back,
// and the others are to have the time to come back, too.
func (n *Node) claim(ctx context.Context) error {
	var claimed int64
	err := n.own.do(ctx, "claim drains", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, claimSQL, n.id, claimMost, n.last.went)
		claimed = tag.RowsAffected()
		return err
	})
	n.unsure = n.unsure || err != nil || claimed > 0
	if err != nil || claimed > 0 || n.last.dead == 0 {
		return err
	}
	n.last.dead = 0 // what they have is others' to take, until the next beat
	if !n.last.went {
		return nil
	}
	return n.own.exec(ctx, "forget dead nodes", buriedSQL, n.id)
}

// holdings is how many drains the node takes for its own.
func (n *Node) holdings() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	own := 0
	for _, h := range n.held {
		if h.phase != losing {
			own++
		}
	}
	return own
}

// giveAway has those drains be nobody's whose delivery has ended for others.
func (n *Node) giveAway(ctx context.Context) error {
	n.mu.Lock()
	drains := n.ids(left)
	n.mu.Unlock()
	if len(drains) == 0 {
		return nil
	}
	err := n.own.exec(ctx, "give drains away", `UPDATE delivery SET owner = '' WHERE drain_id = ANY ($1) AND owner = $2`, drains, n.id)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range drains {
		delete(n.held, id)
	}
	return nil
}

// sayGoodbye has all drains of the node be nobody's, and the node be no more.
func (n *Node) sayGoodbye(ctx context.Context) error {
	return n.own.do(ctx, "leave", func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(`UPDATE delivery SET owner = '' WHERE owner = $1`, n.id)
		b.Queue(`DELETE FROM nodes WHERE id = $1`, n.id)
		return pipeline(ctx, c, b)
	})
}

// look compares what the node holds with what the database says that it owns,
// and at which version, and has the difference take effect.
func (n *Node) look(ctx context.Context, d Deliverer) error {
	type row struct {
		server         int64
		id             string // "" if it owns none
		epoch, version int64
	}
	rows, err := list(ctx, n.own, "list owned drains", func(r pgx.CollectableRow) (o row, err error) {
		return o, r.Scan(&o.server, &o.id, &o.epoch, &o.version)
	}, `SELECT s.server, coalesce(o.drain_id, ''), coalesce(o.epoch, 0), coalesce(o.version, 0)
FROM (SELECT `+serverSQL+` AS server) s LEFT JOIN (
    SELECT d.drain_id, d.epoch, r.version FROM delivery d JOIN drains r ON r.id = d.drain_id WHERE d.owner = $1
) o ON true`, n.id)
	if err != nil {
		return err
	}
	var news []string
	server := rows[0].server
	if rows[0].id == "" {
		rows = nil
	}
	n.mu.Lock()
	moved := n.server != 0 && n.server != server
	if n.server = server; moved {
		clear(n.told)
	}
	n.recheck = false
	owned := make(map[string]bool, len(rows))
	for _, r := range rows {
		owned[r.id] = true
		switch h := n.held[r.id]; {
		case h == nil:
			n.held[r.id] = &holding{epoch: r.epoch, version: r.version}
		case (moved || h.epoch != r.epoch) && h.phase != losing:
			h.phase = losing
			n.metrics.lost.Inc()
		case h.phase == holdingIt && h.version < r.version:
			h.version = r.version
		default:
			continue
		}
		news = append(news, r.id)
	}
	for id, h := range n.held {
		if !owned[id] && h.phase != losing {
			h.phase = losing
			news = append(news, id)
			n.metrics.lost.Inc()
		}
	}
	n.mu.Unlock()
	n.lookedAt, n.unsure = time.Now(), false
	changed(d, news)
	return nil
}
