package pgstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Notified returns what the operator has been told of drains, by ID; those of
// which there is nothing to tell are missing.
func (s *Store) Notified(ctx context.Context) (map[string]auditdrain.Notified, error) {
	all := map[string]auditdrain.Notified{}
	err := s.do(ctx, "read what was notified", func(ctx context.Context, c *pgx.Conn) error {
		clear(all)
		rows, err := c.Query(ctx, `SELECT drain_id, data FROM notified`)
		if err != nil {
			return err
		}
		var id string
		var data []byte
		_, err = pgx.ForEachRow(rows, []any{&id, &data}, func() error {
			var n auditdrain.Notified
			err := json.Unmarshal(data, &n)
			all[id] = n
			return err
		})
		return err
	})
	return all, err
}

// SaveNotified replaces what the operator has been told of a drain. It is
// durable when SaveNotified returns nil, and goes when the drain is deleted. A
// drain that does not exist is CodeNotFound.
func (s *Store) SaveNotified(ctx context.Context, drainID string, n auditdrain.Notified) error {
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("save what was notified: %w", err)
	}
	return s.tx(ctx, "save what was notified", func(ctx context.Context, tx pgx.Tx) error {
		found, err := collect(ctx, tx, pgx.RowTo[string], `SELECT id FROM drains WHERE id = $1 FOR UPDATE`, name(drainID))
		if err != nil {
			return err
		}
		if found == nil {
			return noDrain(drainID)
		}
		if n == (auditdrain.Notified{}) {
			_, err = tx.Exec(ctx, `DELETE FROM notified WHERE drain_id = $1`, drainID)
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO notified (drain_id, data) VALUES ($1, $2) ON CONFLICT (drain_id) DO UPDATE SET data = excluded.data`, drainID, string(data))
		return err
	})
}
