package pgstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// CreateDrain stores a drain together with its cursor, which is before the
// first event that was accepted at startFrom (Unix ms) or later, or, if
// startFrom is 0, after all that are stored. An unknown team is CodeNotFound; an
// ID that exists, or that a deleted drain's chain has, or one drain too many,
// CodeConflict.
func (s *Store) CreateDrain(ctx context.Context, d auditdrain.Drain, startFrom int64, act *auditdrain.Activity) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("create drain: %w", err)
	}
	return s.change(ctx, "create drain", act, func(ctx context.Context, tx pgx.Tx) error {
		if err := requireTeam(ctx, tx, d.TeamID); err != nil {
			return err
		}
		// From here on nothing of the team is appended or removed, nor is another
		// drain created.
		q, err := lockSequence(ctx, tx, d.TeamID)
		if err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM drains WHERE team_id = $1`, d.TeamID).Scan(&n); err != nil {
			return err
		}
		cursor := q.last
		if startFrom != 0 {
			if cursor, err = acceptedBefore(ctx, tx, d.TeamID, startFrom, q.gone, q.last); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `
INSERT INTO drains (id, team_id, created_at, disabled, search, version, data) VALUES ($1, $2, $3, $4, $5, 1, $6)
ON CONFLICT DO NOTHING`, d.ID, d.TeamID, d.CreatedAt, disabled(d), drainText(d), string(data))
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q exists already", d.ID)
		case n >= auditdrain.MaxDrainsPerTeam:
			return auditdrain.Errorf(auditdrain.CodeConflict, "the team has %d drains, which is the limit: delete one first", n)
		}
		// Numbers of manifests would come twice.
		tag, err = tx.Exec(ctx, `
INSERT INTO delivery (drain_id, team_id, cursor) SELECT $1, $2, $3
WHERE NOT EXISTS (SELECT FROM chains WHERE drain_id = $1)`, d.ID, d.TeamID, cursor)
		if err == nil && tag.RowsAffected() == 0 {
			err = auditdrain.Errorf(auditdrain.CodeConflict, "drain %q was deleted, and its last manifest is not written yet", d.ID)
		}
		return err
	})
}

func disabled(d auditdrain.Drain) bool { return d.Status == auditdrain.StatusDisabled }

// drainText is what searches look at of a drain.
func drainText(d auditdrain.Drain) string { return searchText(d.Name, d.ID, d.Delivery.Endpoint) }

func noDrain(id string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no drain %q", id)
}

// Drains returns the drains that query selects, ordered by creation.
func (s *Store) Drains(ctx context.Context, query auditdrain.DrainQuery) ([]auditdrain.Drain, error) {
	const what, row = "list drains", `SELECT data FROM drains `
	id, team := name(query.ID), name(query.TeamID)
	switch {
	case id != "":
		return list(ctx, s, what, rowJSON[auditdrain.Drain], row+`WHERE id = $1 AND ($2 = '' OR team_id = $2)`, id, team)
	case team != "":
		return list(ctx, s, what, rowJSON[auditdrain.Drain], row+`WHERE team_id = $1 ORDER BY created_at, id`, team)
	}
	return list(ctx, s, what, rowJSON[auditdrain.Drain], row+`ORDER BY created_at, id`)
}

// UpdateDrain changes a drain of the team, or of any team if teamID is empty,
// and returns it as it is then. Updates take place one after the other. An error
// of update is returned as it is, and nothing is changed; update may fill in
// what act points to, and must not change the drain's ID or team, nor call the
// store; it may be called again. A drain that does not exist is CodeNotFound.
func (s *Store) UpdateDrain(ctx context.Context, teamID, id string, update func(*auditdrain.Drain) error, act *auditdrain.Activity) (auditdrain.Drain, error) {
	var d auditdrain.Drain
	err := s.change(ctx, "update drain", act, func(ctx context.Context, tx pgx.Tx) error {
		d = auditdrain.Drain{}
		err := getJSON(ctx, tx, &d, noDrain(id),
			`SELECT data FROM drains WHERE id = $1 AND ($2 = '' OR team_id = $2) FOR UPDATE`, name(id), name(teamID))
		if err != nil {
			return err
		}
		team := d.TeamID
		if err := update(&d); err != nil {
			return refusal{err}
		}
		if d.ID != id || d.TeamID != team {
			return fmt.Errorf("drain %s of team %s cannot become drain %s of team %s", id, team, d.ID, d.TeamID)
		}
		data, err := json.Marshal(d)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE drains SET disabled = $2, search = $3, data = $4, version = version + 1 WHERE id = $1`,
			id, disabled(d), drainText(d), string(data))
		return err
	})
	if err != nil {
		return auditdrain.Drain{}, err
	}
	return d, nil
}

// DeleteDrain removes a drain of the team, or of any team if teamID is empty,
// with all that was kept of its delivery. If it has a chain, that is sealed for
// the last time with it, and stays with its seals until SealWritten has had them
// all. A drain that does not exist is CodeNotFound.
func (s *Store) DeleteDrain(ctx context.Context, teamID, id string, act *auditdrain.Activity) error {
	var recorded bool
	err := s.tx(ctx, "delete drain", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM drains WHERE id = $1 AND ($2 = '' OR team_id = $2)`, name(id), name(teamID))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return noDrain(id)
		}
		if recorded, err = s.sealDeleted(ctx, tx, id, act); err != nil {
			return err
		}
		// What others write of the drain they write with one of these two rows in
		// hand: it is here, or never will be.
		b := &pgx.Batch{}
		for _, table := range []string{"delivery", "attempts", "series", "skips", "replays", "notified"} {
			b.Queue(`DELETE FROM `+table+` WHERE drain_id = $1`, id)
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err == nil && recorded {
		s.tell()
	}
	return err
}

// sequence is where a team's log begins and ends.
type sequence struct{ last, gone uint64 }

// lockSequence holds a team's sequence until the transaction ends. Whoever needs
// rows of several tables takes them in this order: sequences, drains, delivery,
// chains, counters; and of one table by name.
func lockSequence(ctx context.Context, tx pgx.Tx, teamID string) (q sequence, err error) {
	if _, err := tx.Exec(ctx, `INSERT INTO sequences (team_id) VALUES ($1) ON CONFLICT DO NOTHING`, teamID); err != nil {
		return q, err
	}
	err = tx.QueryRow(ctx, `SELECT last_seq, gone FROM sequences WHERE team_id = $1 FOR UPDATE`, teamID).Scan(&q.last, &q.gone)
	return q, err
}

// acceptedBefore returns the number of the last event, of those up to last, that
// was accepted before a time (Unix ms) or has been removed. The team's sequence
// must be locked.
func acceptedBefore(ctx context.Context, tx pgx.Tx, teamID string, ms int64, gone, last uint64) (uint64, error) {
	// Times of acceptance never decrease, so the first event that is late enough
	// can be searched for: it is in from+1 to to, or there is none.
	from, to := min(gone, last), last
	for from < to {
		middle := from + (to-from)/2 + 1 // from+1 to to
		var at int64
		if err := tx.QueryRow(ctx, `SELECT accepted_at FROM events WHERE team_id = $1 AND seq = $2`, teamID, middle).Scan(&at); err != nil {
			return 0, fmt.Errorf("event %d of team %s: %w", middle, teamID, err)
		}
		if at < ms*1000 {
			from = middle
		} else {
			to = middle - 1
		}
	}
	return from, nil
}
