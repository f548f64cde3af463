package pgstore

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Instructions returns the skips of a drain that end after its cursor, its last
// replay, running or not, and what its team wants. A drain that does not exist is
// CodeNotFound.
func (s *Store) Instructions(ctx context.Context, drainID string) (in auditdrain.Instructions, err error) {
	err = s.do(ctx, "read instructions", func(ctx context.Context, c *pgx.Conn) error {
		in = auditdrain.Instructions{}
		rows, err := c.Query(ctx, `
SELECT t.data, r.data, s.data FROM delivery d
JOIN teams t ON t.id = d.team_id
LEFT JOIN replays r USING (drain_id)
LEFT JOIN skips s ON s.drain_id = d.drain_id AND s.to_seq > d.cursor
WHERE d.drain_id = $1 ORDER BY s.from_seq, s.to_seq`, name(drainID))
		if err != nil {
			return err
		}
		found := false
		var team, order, skip []byte
		_, err = pgx.ForEachRow(rows, []any{&team, &order, &skip}, func() error {
			if !found {
				found = true
				if err := decodeInstructions(team, order, &in); err != nil {
					return err
				}
			}
			if skip == nil {
				return nil
			}
			in.Skips = append(in.Skips, auditdrain.Skip{})
			return json.Unmarshal(skip, &in.Skips[len(in.Skips)-1])
		})
		if err == nil && !found {
			err = noDrain(drainID)
		}
		return err
	})
	return in, err
}

// decodeInstructions has in say what its team and its replay, if there is one, do.
func decodeInstructions(team, order []byte, in *auditdrain.Instructions) error {
	var t auditdrain.Team
	if err := json.Unmarshal(team, &t); err != nil {
		return err
	}
	in.HideIPAddresses = t.HideIPAddresses
	if order == nil {
		return nil
	}
	in.Replay = &auditdrain.ReplayOrder{}
	return json.Unmarshal(order, in.Replay)
}

// SkipEvent records that a drain gives up the event with the ID of skip, and
// returns that record. An event that is given up already stays so for the reason
// that was given first: that record is returned. An event that the team does not
// have (any more) is CodeNotFound, as is a drain; one that the cursor has passed
// is CodeConflict.
func (s *Store) SkipEvent(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (record auditdrain.Skip, err error) {
	err = s.instruct(ctx, "skip event", drainID, act, func(ctx context.Context, tx pgx.Tx, d instructed) error {
		seqs, err := collect(ctx, tx, pgx.RowTo[uint64],
			`SELECT e.seq FROM events e JOIN sequences q USING (team_id) WHERE e.team_id = $1 AND e.id = $2 AND e.seq > q.gone`,
			d.teamID, name(skip.EventID))
		if err != nil {
			return err
		}
		if seqs == nil {
			return auditdrain.Errorf(auditdrain.CodeNotFound, "the team has no event %q, or has it no more: delivered events are kept for the time of --retain", skip.EventID)
		}
		seq := seqs[0]
		old, err := collect(ctx, tx, rowJSON[auditdrain.Skip],
			`SELECT data FROM skips WHERE drain_id = $1 AND from_seq <= $2 AND to_seq >= $2 ORDER BY from_seq, to_seq LIMIT 1`, drainID, seq)
		if err != nil {
			return err
		}
		if old != nil {
			record = old[0]
			return errNothing
		}
		if seq <= d.Cursor {
			return auditdrain.Errorf(auditdrain.CodeConflict, "event %q has been delivered already: it cannot be skipped", skip.EventID)
		}
		record = skip
		record.From, record.To = seq, seq
		return insertSkip(ctx, tx, drainID, record)
	})
	if err != nil {
		return auditdrain.Skip{}, err
	}
	return record, nil
}

// SkipBacklog gives up all events after a drain's cursor, and moves the cursor
// and the drain's count of skipped events accordingly. It returns the record of
// that, or a zero Skip if there was nothing to give up. A drain that does not
// exist is CodeNotFound.
func (s *Store) SkipBacklog(ctx context.Context, drainID string, skip auditdrain.Skip, act *auditdrain.Activity) (record auditdrain.Skip, err error) {
	err = s.instruct(ctx, "skip backlog", drainID, act, func(ctx context.Context, tx pgx.Tx, d instructed) error {
		record = auditdrain.Skip{}
		lasts, err := collect(ctx, tx, pgx.RowTo[uint64], `SELECT last_seq FROM sequences WHERE team_id = $1`, d.teamID)
		if err != nil {
			return err
		}
		if lasts == nil || lasts[0] <= d.Cursor {
			return errNothing
		}
		record = skip
		record.From, record.To = d.Cursor+1, lasts[0]
		// A backlog of one event may have been given up by its ID before.
		old, err := collect(ctx, tx, rowJSON[auditdrain.Skip],
			`SELECT data FROM skips WHERE drain_id = $1 AND from_seq = $2 AND to_seq = $3`, drainID, record.From, record.To)
		if err != nil {
			return err
		}
		if old != nil {
			record = old[0]
		} else if err := insertSkip(ctx, tx, drainID, record); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE delivery SET cursor = $2, skipped = skipped + $2 - cursor WHERE drain_id = $1`, drainID, record.To)
		return err
	})
	if err != nil {
		return auditdrain.Skip{}, err
	}
	return record, nil
}

// instructed is a drain that is told something.
type instructed struct {
	auditdrain.DeliveryState
	teamID string
}

// instruct runs f while the drain and its progress stand still, and has whoever
// delivers look at its instructions anew.
func (s *Store) instruct(ctx context.Context, what, drainID string, act *auditdrain.Activity, f func(context.Context, pgx.Tx, instructed) error) error {
	return s.change(ctx, what, act, func(ctx context.Context, tx pgx.Tx) error {
		teams, err := collect(ctx, tx, pgx.RowTo[string], `UPDATE drains SET version = version + 1 WHERE id = $1 RETURNING team_id`, name(drainID))
		if err != nil {
			return err
		}
		if teams == nil {
			return noDrain(drainID)
		}
		state, err := deliveryState(ctx, tx, drainID, "FOR UPDATE")
		if err != nil {
			return err
		}
		return f(ctx, tx, instructed{state, teams[0]})
	})
}

func insertSkip(ctx context.Context, tx pgx.Tx, drainID string, skip auditdrain.Skip) error {
	data, err := json.Marshal(skip)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO skips (drain_id, from_seq, to_seq, data) VALUES ($1, $2, $3, $4)`, drainID, skip.From, skip.To, string(data))
	return err
}

// Skips returns all that a drain has given up, the latest first. A drain that
// does not exist is CodeNotFound.
func (s *Store) Skips(ctx context.Context, drainID string) ([]auditdrain.Skip, error) {
	skips, err := ofDrain[auditdrain.Skip](ctx, s, "list skips", drainID,
		`SELECT s.data FROM delivery d LEFT JOIN skips s USING (drain_id) WHERE d.drain_id = $1`)
	slices.SortStableFunc(skips, func(a, b auditdrain.Skip) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.From, a.From))
	})
	return skips, err
}

// StartReplay stores the order to deliver again the events that were accepted
// in the time of order, are still kept and have been passed by the drain's
// cursor (the others are still to be delivered anyway), and returns it with
// their numbers. The events are kept until the replay has passed them, is
// finished or cancelled. A drain has one replay at a time: another one is
// CodeConflict. A drain that does not exist is CodeNotFound.
func (s *Store) StartReplay(ctx context.Context, drainID string, order auditdrain.ReplayOrder, act *auditdrain.Activity) (auditdrain.ReplayOrder, error) {
	err := s.change(ctx, "start replay", act, func(ctx context.Context, tx pgx.Tx) error {
		teams, err := collect(ctx, tx, pgx.RowTo[string], `SELECT team_id FROM drains WHERE id = $1`, name(drainID))
		if err != nil {
			return err
		}
		if teams == nil {
			return noDrain(drainID)
		}
		q, err := lockSequence(ctx, tx, teams[0]) // nothing is removed meanwhile
		if err != nil {
			return err
		}
		last, err := lastReplay(ctx, tx, drainID)
		if err != nil {
			return err
		}
		if last.running {
			return auditdrain.Errorf(auditdrain.CodeConflict, "replay %s of this drain is running: wait until it has finished, or cancel it", last.order.ID)
		}
		before, err := acceptedBefore(ctx, tx, teams[0], order.From, q.gone, last.cursor)
		if err != nil {
			return err
		}
		upTo, err := acceptedBefore(ctx, tx, teams[0], order.To, q.gone, last.cursor)
		if err != nil {
			return err
		}
		order.FirstSeq, order.LastSeq = before+1, max(before, upTo)
		order.Cancelled = false
		return saveReplay(ctx, tx, drainID, order)
	})
	if err != nil {
		return auditdrain.ReplayOrder{}, err
	}
	return order, nil
}

// CancelReplay ends a drain's replay where it is and returns its order. If there
// has never been one, or no such drain, it is CodeNotFound; if it is over,
// CodeConflict.
func (s *Store) CancelReplay(ctx context.Context, drainID string, act *auditdrain.Activity) (order auditdrain.ReplayOrder, err error) {
	err = s.change(ctx, "cancel replay", act, func(ctx context.Context, tx pgx.Tx) error {
		last, err := lastReplay(ctx, tx, drainID)
		switch {
		case err != nil:
			return err
		case last.order == nil:
			return auditdrain.Errorf(auditdrain.CodeNotFound, "drain %q has no replay", drainID)
		case !last.running:
			return auditdrain.Errorf(auditdrain.CodeConflict, "replay %s is over already", last.order.ID)
		}
		order = *last.order
		order.Cancelled = true
		return saveReplay(ctx, tx, drainID, order)
	})
	if err != nil {
		return auditdrain.ReplayOrder{}, err
	}
	return order, nil
}

// replay is the last one of a drain.
type replay struct {
	order   *auditdrain.ReplayOrder // nil: there was none
	running bool
	cursor  uint64 // of the drain
}

// lastReplay holds the drain, and returns what there is of its replay.
func lastReplay(ctx context.Context, tx pgx.Tx, drainID string) (r replay, err error) {
	tag, err := tx.Exec(ctx, `UPDATE drains SET version = version + 1 WHERE id = $1`, name(drainID))
	if err != nil {
		return r, err
	}
	if tag.RowsAffected() == 0 {
		return r, noDrain(drainID)
	}
	state, err := deliveryState(ctx, tx, drainID, "FOR UPDATE")
	if err != nil {
		return r, err
	}
	r.cursor = state.Cursor
	orders, err := collect(ctx, tx, rowJSON[auditdrain.ReplayOrder], `SELECT data FROM replays WHERE drain_id = $1`, drainID)
	if err != nil || orders == nil {
		return r, err
	}
	r.order = &orders[0]
	over := state.Replay != nil && state.Replay.ID == r.order.ID && state.Replay.FinishedAt != 0
	r.running = !r.order.Cancelled && !over
	return r, nil
}

func saveReplay(ctx context.Context, tx pgx.Tx, drainID string, order auditdrain.ReplayOrder) error {
	data, err := json.Marshal(order)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
INSERT INTO replays (drain_id, id, first_seq, last_seq, cancelled, data) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (drain_id) DO UPDATE SET id = excluded.id, first_seq = excluded.first_seq, last_seq = excluded.last_seq,
    cancelled = excluded.cancelled, data = excluded.data`,
		drainID, order.ID, order.FirstSeq, order.LastSeq, order.Cancelled, string(data))
	return err
}
