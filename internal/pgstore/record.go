package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// What no other method shows, for who compares all with another store.

// LogRecord returns where a team's log begins and ends.
func (s *Store) LogRecord(ctx context.Context, teamID string) (log auditdrain.LogRecord, err error) {
	err = s.tx(ctx, "read log", func(ctx context.Context, tx pgx.Tx) error {
		log = auditdrain.LogRecord{TeamID: teamID}
		rows, err := tx.Query(ctx, `SELECT last_seq, gone, total_bytes, accepted_at FROM sequences WHERE team_id = $1`, name(teamID))
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&log.Last, &log.Gone, &log.TotalBytes, &log.AcceptedAt}, func() error { return nil })
		if err != nil {
			return err
		}
		log.Delivered, err = collect(ctx, tx, pgx.RowToStructByPos[auditdrain.DeliveredMark],
			`SELECT at, seq FROM delivered WHERE team_id = $1 ORDER BY at`, name(teamID))
		return err
	})
	return log, err
}

// Steps returns all that is kept of a drain's series, in no particular order;
// nothing of a drain that does not exist.
func (s *Store) Steps(ctx context.Context, drainID string) ([]auditdrain.SeriesStep, error) {
	return list(ctx, s, "read series", pgx.RowToStructByPos[auditdrain.SeriesStep],
		`SELECT span, start, delivered, failed, backlog, latency FROM series WHERE drain_id = $1`, name(drainID))
}
