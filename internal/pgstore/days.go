package pgstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A day of events is a partition. Those of today and of tomorrow are made ahead;
// what is missing nevertheless is made when an event is to go into it.

const microsOfDay = 24 * 60 * 60 * 1e6

// leftoverDay is that of the partition for what is left of days that have gone.
const leftoverDay = 0

// dayOf counts days since 1970, in UTC.
func dayOf(t time.Time) int { return int(t.UnixMicro() / microsOfDay) }

// partitionOf names the partition of a day.
func partitionOf(day int) string {
	return "events_" + time.UnixMicro(int64(day)*microsOfDay).UTC().Format("20060102")
}

// days remembers which days have a partition, as far as this node knows.
type days struct {
	mu    sync.Mutex
	known map[int]bool
}

// ensure makes the partition of a day, if need be.
func (d *days) ensure(ctx context.Context, s *Store, day int) error {
	d.mu.Lock()
	known := d.known[day]
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := s.createDay(ctx, day); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[int]bool{}
	}
	d.known[day] = true
	return nil
}

// ensureOf makes the partitions that teams go on with, also those that are
// thought to be there.
func (d *days) ensureOf(ctx context.Context, s *Store, teams []string) error {
	d.forget()
	all, err := list(ctx, s, "list days", pgx.RowTo[int64],
		`SELECT DISTINCT accepted_at / 86400000000 FROM sequences WHERE team_id = ANY ($1) AND accepted_at > 0`, teams)
	if err != nil {
		return err
	}
	for _, day := range all {
		if err := d.ensure(ctx, s, int(day)); err != nil {
			return err
		}
	}
	return nil
}

func (d *days) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

// createDay makes the partition of a day. Of many who do so at once, one does
// and the others wait. To attach a table disturbs nobody who reads or appends,
// as to create it as a partition would.
func (s *Store) createDay(ctx context.Context, day int) error {
	return s.tx(ctx, "create partition", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO days (day) VALUES ($1) ON CONFLICT DO NOTHING`, day)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		table := partitionOf(day)
		b := &pgx.Batch{}
		b.Queue(fmt.Sprintf(`CREATE TABLE %s (LIKE events)`, table))
		b.Queue(fmt.Sprintf(`ALTER TABLE events ATTACH PARTITION %s FOR VALUES IN (%d)`, table, day))
		return tx.SendBatch(ctx, b).Close()
	})
}

// dayChunk is how many events are moved in one transaction.
const dayChunk = 1000

// dropDays removes the partitions of days that ended at or before a time, whose
// events have all been removed. Where that is so for at least half of them, the
// others move to the partition of leftovers first; a day of which more is needed
// stays.
func (s *Store) dropDays(ctx context.Context, until, now time.Time) error {
	all, err := list(ctx, s, "list days", pgx.RowTo[int], `SELECT day FROM days WHERE day < $1 AND day < $2 ORDER BY day`, dayOf(until), dayOf(now))
	if err != nil {
		return err
	}
	for _, day := range all {
		if err := s.dropDay(ctx, day); err != nil {
			return fmt.Errorf("remove events of day %s: %w", partitionOf(day), err)
		}
	}
	return s.sweepLeftovers(ctx)
}

// part is what a team has in one partition.
type part struct {
	teamID      string
	first, last uint64 // that are still needed
	all         uint64
}

// parts returns what teams that need something have in a day, and how many
// events the day has.
func (s *Store) parts(ctx context.Context, day int) (needed []part, count, all uint64, err error) {
	found, err := list(ctx, s, "look at day", func(row pgx.CollectableRow) (p part, err error) {
		var first, gone uint64
		err = row.Scan(&p.teamID, &first, &p.last, &gone)
		p.first, p.all = max(first, gone+1), p.last-first+1
		return p, err
	}, `
SELECT q.team_id, f.seq, l.seq, q.gone FROM sequences q
CROSS JOIN LATERAL (SELECT seq FROM events WHERE day = $1 AND team_id = q.team_id ORDER BY seq LIMIT 1) f
CROSS JOIN LATERAL (SELECT seq FROM events WHERE day = $1 AND team_id = q.team_id ORDER BY seq DESC LIMIT 1) l`, day)
	for _, p := range found {
		all += p.all
		if p.first <= p.last {
			needed = append(needed, p)
			count += p.last - p.first + 1
		}
	}
	return needed, count, all, err
}

func (s *Store) dropDay(ctx context.Context, day int) error {
	needed, count, all, err := s.parts(ctx, day)
	if err != nil || count > all/2 {
		return err
	}
	for _, p := range needed {
		for first := p.first; first <= p.last; first += dayChunk {
			err := s.exec(ctx, "move events", `UPDATE events SET day = $1 WHERE day = $2 AND team_id = $3 AND seq >= $4 AND seq < $5 AND seq <= $6`,
				leftoverDay, day, p.teamID, first, first+dayChunk, p.last)
			if err != nil {
				return err
			}
		}
	}
	err = s.tx(ctx, "drop partition", func(ctx context.Context, tx pgx.Tx) error {
		// Nobody appends to it from here on (a node whose clock is a day late
		// might), nor drops it.
		if _, err := tx.Exec(ctx, `LOCK TABLE `+partitionOf(day)+` IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		var isNeeded bool
		err := tx.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM sequences q
    WHERE EXISTS (SELECT FROM events e WHERE e.day = $1 AND e.team_id = q.team_id AND e.seq > q.gone))`, day).Scan(&isNeeded)
		if err != nil || isNeeded {
			return err // next time
		}
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM days WHERE day = $1`, day)
		b.Queue(`DROP TABLE ` + partitionOf(day))
		return tx.SendBatch(ctx, b).Close()
	})
	s.days.forget()
	if code(err) == codeUndefinedTable {
		return nil // another node has dropped it
	}
	return err
}

// sweepLeftovers deletes the leftovers that are no longer needed. They are few.
func (s *Store) sweepLeftovers(ctx context.Context) error {
	return s.exec(ctx, "delete leftovers", `
DELETE FROM events e USING sequences q
WHERE e.day = $1 AND q.team_id = e.team_id AND e.seq <= q.gone AND EXISTS (SELECT FROM events WHERE day = $1)`, leftoverDay)
}
