package pgstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Seal seals what a drain has done, as auditdrain.Chain.Seal says, and returns
// its chain as it is stored then. The chain and the new seals are one transaction,
// durable when Seal returns nil; if there is nothing to seal, nothing is written.
// It can be repeated. A drain that does not exist is CodeNotFound.
//
// It seals whoever owns the drain: it is for when no node delivers. See Node.
func (s *Store) Seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error) {
	return s.seal(ctx, drainID, req, fence{})
}

// errNotOwned is what the fence answers.
func errNotOwned(drainID string) error {
	return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q is another node's, or may be", drainID)
}

func (s *Store) seal(ctx context.Context, drainID string, req auditdrain.SealRequest, f fence) (auditdrain.Chain, error) {
	var k sealing
	err := s.tx(ctx, "seal", func(ctx context.Context, tx pgx.Tx) error {
		k = sealing{drainID: drainID, req: req, fence: f}
		b := &pgx.Batch{}
		if req.As != nil {
			// A chain, or its account of a replay, may begin: no event is removed
			// until that is seen to need some. One that goes on needs no more than
			// it did before.
			b.Queue(`INSERT INTO sequences (team_id) SELECT team_id FROM drains WHERE id = $1 ON CONFLICT DO NOTHING`, name(drainID))
			b.Queue(`SELECT FROM sequences WHERE team_id = (SELECT team_id FROM drains WHERE id = $1) FOR UPDATE`, name(drainID))
		}
		k.hold(b)
		k.read(b)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		switch {
		case !k.exists:
			return noDrain(drainID)
		case !k.owned:
			return errNotOwned(drainID)
		}
		written, err := k.seal(ctx, tx)
		if err == nil && !written {
			err = errNothing // and no commit, which would wait for the disk
		}
		return err
	})
	if err != nil && !errors.Is(err, errNothing) {
		return auditdrain.Chain{}, err
	}
	return k.chain, nil
}

// sealing is one Seal in a transaction. First the drain is held, so that its
// cursor, its skips and its chain stand still, then the facts are read.
type sealing struct {
	drainID string
	req     auditdrain.SealRequest
	fence   fence

	exists, owned bool
	stored        []byte // the chain, as JSON; nil if there is none
	chain         auditdrain.Chain
	facts         auditdrain.SealFacts
}

// hold queues what holds the drain.
func (k *sealing) hold(b *pgx.Batch) {
	b.Queue(`
SELECT team_id, cursor, skipped, state, $2 = '' OR owner = $2 AND epoch = $3 AND $4 = `+serverSQL+`
FROM delivery WHERE drain_id = $1 FOR UPDATE`,
		name(k.drainID), k.fence.owner, k.fence.epochs[k.drainID], k.fence.server).Query(func(rows pgx.Rows) error {
		var cursor, skipped uint64
		var state []byte
		_, err := pgx.ForEachRow(rows, []any{&k.facts.TeamID, &cursor, &skipped, &state, &k.owned}, func() (err error) {
			k.exists = true
			k.facts.State, err = decodeState(k.drainID, cursor, skipped, state)
			return err
		})
		return err
	})
	b.Queue(`SELECT data FROM chains WHERE drain_id = $1 FOR UPDATE`, name(k.drainID)).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&k.stored}, func() error { return json.Unmarshal(k.stored, &k.chain) })
		return err
	})
}

// read queues what reads the facts of a drain that is held by then.
func (k *sealing) read(b *pgx.Batch) {
	id := name(k.drainID)
	b.Queue(`
SELECT coalesce((SELECT last_seq FROM sequences q WHERE q.team_id = d.team_id), 0), t.data
FROM delivery d JOIN teams t ON t.id = d.team_id WHERE d.drain_id = $1`, id).Query(func(rows pgx.Rows) error {
		var data []byte
		_, err := pgx.ForEachRow(rows, []any{&k.facts.LastSeq, &data}, func() error {
			var team auditdrain.Team
			err := json.Unmarshal(data, &team)
			k.facts.IPAddressesChanged = team.HideIPAddressesChangedAt != 0
			return err
		})
		return err
	})
	into(b.Queue(`
SELECT s.data FROM skips s JOIN delivery d USING (drain_id) JOIN chains c USING (drain_id)
WHERE s.drain_id = $1 AND s.to_seq >= c.sequence AND s.from_seq <= d.cursor ORDER BY s.from_seq, s.to_seq`, id),
		rowJSON[auditdrain.Skip], &k.facts.Skips)
	into(b.Queue(`
SELECT number, data FROM activities
WHERE team_id = (SELECT team_id FROM delivery WHERE drain_id = $1)
    AND number > coalesce((SELECT activity FROM chains WHERE drain_id = $1), 0)
ORDER BY number DESC LIMIT CASE WHEN EXISTS (SELECT FROM chains WHERE drain_id = $1) THEN $2::bigint ELSE $3 END`,
		id, auditdrain.MaxSealActivities, auditdrain.FirstSealActivities), rowActivity, &k.facts.Activities)
}

// into has a queued query fill in its rows.
func into[T any](q *pgx.QueuedQuery, row pgx.RowToFunc[T], all *[]T) {
	q.Query(func(rows pgx.Rows) (err error) {
		*all, err = pgx.CollectRows(rows, row)
		return err
	})
}

// seal seals by the facts that were read, and stores what is new, if anything is.
func (k *sealing) seal(ctx context.Context, tx pgx.Tx) (written bool, err error) {
	k.facts.DrainID = k.drainID
	slices.Reverse(k.facts.Activities)
	k.facts.AcceptedAt = func(seq uint64) (int64, error) {
		at, err := collect(ctx, tx, pgx.RowTo[int64], `
SELECT e.accepted_at / 1000 FROM events e JOIN sequences q USING (team_id) WHERE e.team_id = $1 AND e.seq = $2 AND e.seq > q.gone`, k.facts.TeamID, int64(seq))
		if err != nil || at == nil {
			return 0, err
		}
		return at[0], nil
	}
	chain, seals, err := k.chain.Seal(k.req, k.facts)
	if err != nil || chain.DrainID == "" {
		return false, err
	}
	data, err := json.Marshal(chain)
	if err != nil || bytes.Equal(data, k.stored) {
		return false, err
	}
	k.chain = chain
	if chain.Ended() { // there is nothing that would have to be written
		_, err := tx.Exec(ctx, `DELETE FROM chains WHERE drain_id = $1`, chain.DrainID)
		return true, err
	}
	b := &pgx.Batch{}
	b.Queue(`
INSERT INTO chains (drain_id, team_id, sequence, activity, needs, data) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (drain_id) DO UPDATE SET sequence = excluded.sequence, activity = excluded.activity, needs = excluded.needs, data = excluded.data`,
		chain.DrainID, chain.TeamID, chain.Sequence, chain.Activity, neededFrom(chain.Needs()), string(data))
	for _, seal := range seals {
		data, err := json.Marshal(seal)
		if err != nil {
			return false, err
		}
		b.Queue(`INSERT INTO seals (drain_id, number, team_id, needs, data) VALUES ($1, $2, $3, $4, $5)`,
			seal.DrainID, seal.Number, seal.TeamID, neededFrom(seal.Needs()), string(data))
	}
	return true, tx.SendBatch(ctx, b).Close()
}

// neededFrom is the number of the first event that is needed, or null.
func neededFrom(seq uint64) *uint64 {
	if seq == math.MaxUint64 {
		return nil
	}
	return &seq
}

// sealDeleted seals the chain of a drain that is being deleted, if it has one, and
// records who deletes it, as that seal tells.
func (s *Store) sealDeleted(ctx context.Context, tx pgx.Tx, drainID string, act *auditdrain.Activity) (recorded bool, err error) {
	k := sealing{drainID: drainID, req: auditdrain.SealRequest{Cause: auditdrain.SealDeleted, At: s.opts.Now().UnixMilli()}}
	b := &pgx.Batch{}
	k.hold(b)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, err
	}
	if recorded, err = record(ctx, tx, act); err != nil || k.stored == nil {
		return recorded, err
	}
	b = &pgx.Batch{}
	k.read(b)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, err
	}
	_, err = k.seal(ctx, tx)
	return recorded, err
}
