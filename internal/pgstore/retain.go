package pgstore

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// marksKept is into how many parts the time that events are kept is divided: how
// much longer they may stay, and about how much is noted of each team.
const marksKept = 32

// teamsAtOnce is of how many teams Retain holds the sequences at once.
const teamsAtOnce = 100

// Retain removes the events that every drain of their team, enabled or not,
// has delivered at least keep ago, and at most about a thirty-second part of
// keep later than that; of a team without drains, those accepted so long ago.
// What a running replay has still to read stays. It counts from the first call
// that finds an event delivered, so it is to be called often, by one node or by
// several. It returns how many events it has removed, also with an error. Their
// IDs may be used again, their sequence numbers are not.
//
// To remove events is to note their last number, however many they are: from
// then on nothing finds them. Their rows go with the partition of their day, so
// disk space is free up to a day later; see dropDays. Appends and reads go on
// meanwhile. Retain also makes the partitions of today and tomorrow.
func (s *Store) Retain(ctx context.Context, keep time.Duration) (removed int, err error) {
	now := s.opts.Now()
	for _, t := range []time.Time{now, now.Add(24 * time.Hour)} {
		if err := s.days.ensure(ctx, s, dayOf(t)); err != nil {
			return 0, err
		}
	}
	r := retaining{
		now:  now.UnixMicro(),
		step: max(keep.Microseconds()/marksKept, 1),
		old:  now.UnixMicro() - keep.Microseconds(),
	}
	teams, err := list(ctx, s, "look for delivered events", pgx.RowTo[string], dueSQL, r.now, keep.Microseconds())
	if err != nil {
		return 0, err
	}
	for some := range slices.Chunk(teams, teamsAtOnce) {
		var n int
		err := s.do(ctx, "remove events", func(ctx context.Context, c *pgx.Conn) (err error) {
			n, err = r.remove(ctx, c, some, keep)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		s.metrics.trimmed.Add(float64(n))
	}
	return removed, s.dropDays(ctx, now.Add(-keep), now)
}

// retaining is what one Retain goes by, in microseconds.
type retaining struct{ now, step, old int64 }

// dueSQL lists teams that have delivered more than is noted, or have a mark that
// is old enough.
const dueSQL = `
SELECT q.team_id FROM sequences q
WHERE q.gone < q.last_seq AND (
    coalesce((SELECT min(done) FROM needs n WHERE n.team_id = q.team_id), q.last_seq)
        > coalesce((SELECT seq FROM delivered d WHERE d.team_id = q.team_id ORDER BY at DESC LIMIT 1), 0)
    OR EXISTS (SELECT FROM delivered d WHERE d.team_id = q.team_id AND d.seq > q.gone
        AND d.at <= greatest($1, (SELECT max(at) FROM delivered WHERE team_id = q.team_id)) - $2))
ORDER BY q.team_id`

// remove does it for some teams, sorted by ID, in one round trip. A mark says up
// to which number a team's events were delivered at a time. Of the marks in one
// step of time the last stays, and of those that are old enough.
func (r retaining) remove(ctx context.Context, c *pgx.Conn, teams []string, keep time.Duration) (removed int, err error) {
	b := &pgx.Batch{}
	// Nothing is appended meanwhile, and no drain or replay begins that needs
	// what is removed.
	b.Queue(`SELECT team_id FROM sequences WHERE team_id = ANY ($1) ORDER BY team_id FOR UPDATE`, teams)
	b.Queue(`
INSERT INTO delivered (team_id, at, seq)
SELECT q.team_id, greatest($2, latest.at), done.seq FROM sequences q
LEFT JOIN LATERAL (SELECT at, seq FROM delivered WHERE team_id = q.team_id ORDER BY at DESC LIMIT 1) latest ON true
CROSS JOIN LATERAL (SELECT coalesce(min(done), q.last_seq) AS seq FROM needs WHERE team_id = q.team_id) done
WHERE q.team_id = ANY ($1) AND done.seq > coalesce(latest.seq, 0)
ON CONFLICT (team_id, at) DO UPDATE SET seq = excluded.seq`, teams, r.now)
	b.Queue(`
DELETE FROM delivered d USING delivered later
WHERE d.team_id = ANY ($1) AND later.team_id = d.team_id AND later.at > d.at
    AND (later.at / $2 = d.at / $2 OR later.at <= $3)`, teams, r.step, r.old)
	// The clock may have gone back since the latest mark, which counts as now.
	b.Queue(`
WITH due AS MATERIALIZED (
    SELECT q.team_id, q.gone AS before, least(
        (SELECT coalesce(max(seq), 0) FROM delivered d WHERE d.team_id = q.team_id
            AND d.at <= greatest($3, (SELECT max(at) FROM delivered WHERE team_id = q.team_id)) - $2),
        coalesce((SELECT min(done) FROM needs n WHERE n.team_id = q.team_id), q.last_seq)) AS gone
    FROM sequences q WHERE q.team_id = ANY ($1)
), removed AS (
    UPDATE sequences q SET gone = due.gone FROM due WHERE q.team_id = due.team_id AND due.gone > q.gone
    RETURNING due.gone - due.before AS n
)
SELECT coalesce(sum(n), 0)::bigint FROM removed`, teams, keep.Microseconds(), r.now).QueryRow(func(row pgx.Row) error { return row.Scan(&removed) })
	return removed, pipeline(ctx, c, b)
}
