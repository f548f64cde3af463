package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Read returns a team's events after a sequence number, in order and without a
// gap: at most maxEvents, and no more than maxBytes of bodies, but at least one,
// if there is one and maxEvents is not 0. Events that were removed are passed
// over. Each is durable, and belongs to the caller.
func (s *Store) Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error) {
	if maxEvents <= 0 {
		return nil, ctx.Err()
	}
	// The numbers have no gaps, so a bound on the numbers is one on the events;
	// and total_bytes makes one on the bytes of them.
	return list(ctx, s, "read events", rowEvent, `
WITH first AS MATERIALIZED (
    SELECT seq, total_bytes - octet_length(body) AS before FROM events
    WHERE team_id = $1 AND seq > greatest($2, (SELECT gone FROM sequences WHERE team_id = $1))
    ORDER BY seq LIMIT 1
)
SELECT e.seq, e.id, e.timestamp, e.accepted_at, e.total_bytes, e.body
FROM first JOIN events e ON e.team_id = $1 AND e.seq >= first.seq AND e.seq < first.seq + $3
WHERE e.seq = first.seq OR e.total_bytes - first.before <= $4
ORDER BY e.seq`, name(teamID), int64(after), int64(maxEvents), int64(maxBytes))
}

func rowEvent(row pgx.CollectableRow) (e auditdrain.StoredEvent, err error) {
	var acceptedAt int64
	err = row.Scan(&e.Seq, &e.ID, &e.Timestamp, &acceptedAt, &e.TotalBytes, &e.Body)
	e.AcceptedAt = time.UnixMicro(acceptedAt).UTC()
	return e, err
}

// Last returns the number of a team's last event, removed or not, and the bytes
// of all bodies up to it; 0 if it never had one.
func (s *Store) Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error) {
	err = s.do(ctx, "read last number", func(ctx context.Context, c *pgx.Conn) error {
		seq, totalBytes = 0, 0
		rows, err := c.Query(ctx, `SELECT last_seq, total_bytes FROM sequences WHERE team_id = $1`, name(teamID))
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&seq, &totalBytes}, func() error { return nil })
		return err
	})
	return seq, totalBytes, err
}
