package pgstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// SaveProgress replaces what is kept of the drains' deliveries, in one round
// trip and one transaction: cursors move forward or stay, states are replaced
// (but for the count of events that SkipBacklog has given up since they were
// read), and attempts join those of their drain, of which the last MaxFailures
// failures and MaxSamples others are kept. The database does not wait for its
// disk: its crash may undo it, the last calls first, so that a cursor may lag,
// never lead. Only with failures among the attempts is it durable.
//
// Drains that do not exist (any more) are left out and returned. A cursor
// beyond the team's last event, or a drain that is named twice, is an error,
// and nothing is saved.
//
// It saves whoever owns the drain: it is for when no node delivers. See Node.
func (s *Store) SaveProgress(ctx context.Context, progress []auditdrain.Progress) (gone []string, err error) {
	missing, err := s.saveProgress(ctx, progress, fence{})
	for _, u := range missing {
		gone = append(gone, u.drainID)
	}
	return gone, err
}

// fence keeps from saving drains that are another's by now, and what was
// delivered of events that a failover may have taken back.
type fence struct {
	owner  string           // "": there is none
	epochs map[string]int64 // by drain ID
	server int64            // see serverSQL
}

// waitForNoDisk has its transaction's commit not wait for the disk.
const waitForNoDisk = `SELECT set_config('synchronous_commit', 'off', true)`

// serverSQL names the server that answers, and the time that it has run: a
// failover ends both, whatever is between it and us. What its predecessor showed
// may be gone, if that had not waited for a standby: an event that nobody was
// told is safe, but that a node has read, and whose number goes to another.
const serverSQL = `(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`

// unsaved is a drain that was left out.
type unsaved struct {
	drainID string
	exists  bool // so it is for the fence
}

func (s *Store) saveProgress(ctx context.Context, progress []auditdrain.Progress, f fence) (left []unsaved, err error) {
	if len(progress) == 0 {
		return nil, nil
	}
	v, err := newSaves(progress, f.epochs)
	if err != nil {
		return nil, fmt.Errorf("save progress: %w", err)
	}
	err = s.do(ctx, "save progress", func(ctx context.Context, c *pgx.Conn) error {
		left = nil
		b := &pgx.Batch{}
		if !v.failures {
			b.Queue(waitForNoDisk)
		}
		b.Queue(saveSQL, v.drains, v.cursors, v.skipped, v.errored, v.replays, v.replayCursors, v.finished, v.states,
			v.attempts.drains, v.attempts.failed, v.attempts.slots, v.attempts.data, v.epochs, f.owner, f.server,
		).Query(func(rows pgx.Rows) (err error) {
			left, err = readUnsaved(rows)
			return err
		})
		return pipeline(ctx, c, b)
	})
	return left, err
}

// saveSQL returns the drains that were not saved, and why: the number of the
// last event if it is because of that, else null; then there is no such drain, or
// the fence has kept it out. A change of owner that is under way is waited for.
const saveSQL = `
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::bigint[], $7::boolean[], $8::text[], $13::bigint[])
        AS i (drain_id, cursor, skipped, errored, replay_id, replay_cursor, replay_finished, state, epoch)
), ahead AS MATERIALIZED (
    SELECT i.drain_id, i.cursor, coalesce(q.last_seq, 0) AS last
    FROM input i JOIN delivery d ON d.drain_id = i.drain_id LEFT JOIN sequences q ON q.team_id = d.team_id
    WHERE i.cursor > coalesce(q.last_seq, 0) AND ($14 = '' OR $15 = ` + serverSQL + `)
), saved AS (
    UPDATE delivery d SET
        cursor = greatest(d.cursor, i.cursor),
        skipped = CASE WHEN i.cursor < d.cursor THEN greatest(d.skipped, i.skipped) ELSE i.skipped END,
        errored = i.errored, replay_id = i.replay_id, replay_cursor = i.replay_cursor, replay_finished = i.replay_finished,
        state = i.state
    FROM input i WHERE d.drain_id = i.drain_id AND NOT EXISTS (SELECT FROM ahead)
        AND ($14 = '' OR d.owner = $14 AND d.epoch = i.epoch AND $15 = ` + serverSQL + `)
    RETURNING d.drain_id
), tried AS (
    INSERT INTO attempts (drain_id, failed, slot, data)
    SELECT a.drain_id, a.failed, a.slot, a.data
    FROM unnest($9::text[], $10::boolean[], $11::int[], $12::text[]) AS a (drain_id, failed, slot, data)
    JOIN saved USING (drain_id)
    ON CONFLICT (drain_id, failed, slot) DO UPDATE SET data = excluded.data
)
SELECT drain_id, cursor, last, true AS exists FROM ahead
UNION ALL
SELECT i.drain_id, i.cursor, NULL, EXISTS (SELECT FROM delivery d WHERE d.drain_id = i.drain_id)
FROM input i LEFT JOIN saved s ON s.drain_id = i.drain_id
WHERE s.drain_id IS NULL AND NOT EXISTS (SELECT FROM ahead)
ORDER BY drain_id`

func readUnsaved(rows pgx.Rows) (left []unsaved, err error) {
	var u unsaved
	var cursor uint64
	var last *uint64
	var ahead error
	_, err = pgx.ForEachRow(rows, []any{&u.drainID, &cursor, &last, &u.exists}, func() error {
		if last != nil && ahead == nil {
			ahead = fmt.Errorf("drain %s cannot have delivered event %d: the last one is %d", u.drainID, cursor, *last)
		}
		left = append(left, u)
		return nil
	})
	if err = errors.Join(err, ahead); err != nil {
		return nil, err
	}
	return left, nil
}

// saves are columns of what is to be saved, ordered by drain, so that two nodes
// that save the same drains do not wait for each other.
type saves struct {
	drains        []string
	cursors       []int64
	skipped       []int64
	errored       []bool
	replays       []string
	replayCursors []int64
	finished      []bool
	states        []string
	epochs        []int64
	attempts      attemptRows
	failures      bool // among the attempts
}

type attemptRows struct {
	drains []string
	failed []bool
	slots  []int32
	data   []string
}

func newSaves(progress []auditdrain.Progress, epochs map[string]int64) (v saves, err error) {
	sorted := slices.Clone(progress)
	slices.SortFunc(sorted, func(a, b auditdrain.Progress) int { return cmp.Compare(a.State.DrainID, b.State.DrainID) })
	for i, p := range sorted {
		if i > 0 && p.State.DrainID == sorted[i-1].State.DrainID {
			return v, fmt.Errorf("drain %s is named twice", p.State.DrainID)
		}
		state, err := json.Marshal(p.State)
		if err != nil {
			return v, fmt.Errorf("drain %s: %w", p.State.DrainID, err)
		}
		var replay auditdrain.ReplayProgress
		if p.State.Replay != nil {
			replay = *p.State.Replay
		}
		v.drains = append(v.drains, name(p.State.DrainID))
		v.cursors = append(v.cursors, int64(p.State.Cursor))
		v.skipped = append(v.skipped, int64(p.State.Skipped))
		v.errored = append(v.errored, p.State.FirstErrorAt != 0)
		v.replays = append(v.replays, replay.ID)
		v.replayCursors = append(v.replayCursors, int64(replay.Cursor))
		v.finished = append(v.finished, replay.FinishedAt != 0)
		v.states = append(v.states, string(state))
		v.epochs = append(v.epochs, epochs[p.State.DrainID])
		if err := v.addAttempts(p); err != nil {
			return v, fmt.Errorf("drain %s: %w", p.State.DrainID, err)
		}
	}
	return v, nil
}

// addAttempts adds those of one drain that are to be kept: the last for each
// place in its ring.
func (v *saves) addAttempts(p auditdrain.Progress) error {
	type place struct {
		failed bool
		slot   int32
	}
	taken := map[place]bool{}
	for _, a := range slices.Backward(p.Attempts) {
		at := place{a.Outcome == auditdrain.OutcomeFailed, int32(a.Number % auditdrain.MaxSamples)}
		if at.failed {
			at.slot = int32(a.Number % auditdrain.MaxFailures)
			v.failures = true
		}
		if taken[at] {
			continue
		}
		taken[at] = true
		data, err := json.Marshal(a)
		if err != nil {
			return err
		}
		v.attempts.drains = append(v.attempts.drains, name(p.State.DrainID))
		v.attempts.failed = append(v.attempts.failed, at.failed)
		v.attempts.slots = append(v.attempts.slots, at.slot)
		v.attempts.data = append(v.attempts.data, string(data))
	}
	return nil
}

// DeliveryState returns what was last saved of a drain's delivery, and its
// cursor. A drain that does not exist is CodeNotFound.
func (s *Store) DeliveryState(ctx context.Context, drainID string) (state auditdrain.DeliveryState, err error) {
	err = s.do(ctx, "read delivery state", func(ctx context.Context, c *pgx.Conn) error {
		state, err = deliveryState(ctx, c, drainID, "")
		return err
	})
	return state, err
}

// deliveryState reads the row of a drain, and holds it if lock is "FOR UPDATE".
func deliveryState(ctx context.Context, q querier, drainID, lock string) (auditdrain.DeliveryState, error) {
	states, err := collect(ctx, q, func(row pgx.CollectableRow) (state auditdrain.DeliveryState, err error) {
		var data []byte
		var cursor, skipped uint64
		if err := row.Scan(&cursor, &skipped, &data); err != nil {
			return state, err
		}
		return decodeState(drainID, cursor, skipped, data)
	}, `SELECT cursor, skipped, state FROM delivery WHERE drain_id = $1 `+lock, name(drainID))
	if err != nil {
		return auditdrain.DeliveryState{}, err
	}
	if states == nil {
		return auditdrain.DeliveryState{}, noDrain(drainID)
	}
	return states[0], nil
}

func decodeState(drainID string, cursor, skipped uint64, data []byte) (state auditdrain.DeliveryState, err error) {
	err = json.Unmarshal(data, &state)
	state.DrainID, state.Cursor, state.Skipped = drainID, cursor, skipped
	return state, err
}

// Attempts returns what is kept of a drain's attempts, the latest first. A
// drain that does not exist is CodeNotFound.
func (s *Store) Attempts(ctx context.Context, drainID string) ([]auditdrain.Attempt, error) {
	attempts, err := ofDrain[auditdrain.Attempt](ctx, s, "list attempts", drainID,
		`SELECT a.data FROM delivery d LEFT JOIN attempts a USING (drain_id) WHERE d.drain_id = $1`)
	slices.SortFunc(attempts, func(a, b auditdrain.Attempt) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Number, a.Number), strings.Compare(a.Outcome, b.Outcome))
	})
	return attempts, err
}

// ofDrain returns what sql, a left join with delivery, finds of a drain. No row
// at all means that there is no such drain.
func ofDrain[T any](ctx context.Context, s *Store, what, drainID, sql string) ([]T, error) {
	rows, err := list(ctx, s, what, pgx.RowTo[[]byte], sql, name(drainID))
	if err != nil {
		return nil, err
	}
	if rows == nil {
		return nil, noDrain(drainID)
	}
	var all []T
	for _, data := range rows {
		if data == nil {
			continue
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", what, drainID, err)
		}
		all = append(all, v)
	}
	return all, nil
}
