package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// Chains and seals are written while engine.catalog is held for reading and
// engine.saving until the write is durable, or catalog for writing: so cursors and
// instructions stand still meanwhile, and whoever holds these sees what is durable.

// Seal accounts for what a drain has done, as far as req asks for it: see
// auditdrain.Chain.Seal. It returns the drain's chain as it is stored then. The
// chain and its new seals are durable when Seal returns nil, in one commit, and so
// is all that SaveProgress has saved before, so that no cursor is behind a seal
// after a crash. If there is nothing to account for, nothing is written. A drain
// that does not exist is CodeNotFound.
func (s *Store) Seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error) {
	return write(ctx, s, "seal", func(e *engine) (auditdrain.Chain, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		e.saving.Lock()
		defer e.saving.Unlock()
		p, err := e.drain("", drainID)
		if err != nil {
			return auditdrain.Chain{}, err
		}
		b := e.db.NewBatch()
		r, err := e.stageSeal(b, p, req, nil)
		if err != nil {
			return auditdrain.Chain{}, errors.Join(err, b.Close())
		}
		if b.Empty() {
			return r.Chain, b.Close()
		}
		if err := e.commit(b); err != nil {
			return auditdrain.Chain{}, err
		}
		e.noteChain(r)
		return r.Chain, nil
	})
}

// stageSeal puts into b what is to be stored for req, and returns what there is
// then. act is an activity that is to have the next number and is stored by the
// same commit, or nil.
func (e *engine) stageSeal(b *pebble.Batch, p *drainPos, req auditdrain.SealRequest, act *auditdrain.Activity) (r auditdrain.ChainRecord, err error) {
	if r, err = e.chainRecord(p.id); err != nil {
		return r, err
	}
	facts, err := e.sealFacts(p, r.Chain)
	if err != nil {
		return r, err
	}
	if act != nil && act.Action != "" && act.TeamID == p.teamID {
		a := *act
		a.Number = e.activities + 1
		facts.Activities = append(facts.Activities, a)
	}
	before, err := json.Marshal(r.Chain)
	if err != nil {
		return r, err
	}
	chain, seals, err := r.Chain.Seal(req, facts)
	if err != nil {
		return r, err
	}
	after, err := json.Marshal(chain)
	if err != nil || bytes.Equal(before, after) {
		return r, err
	}
	r = auditdrain.ChainRecord{Chain: chain, Seals: append(r.Seals, seals...)}
	if err := b.Set(key(chainPrefix, p.id), after, nil); err != nil {
		return r, err
	}
	for _, seal := range seals {
		if err := setJSON(b, sealKey(p.id, seal.Number), seal); err != nil {
			return r, err
		}
	}
	return r, nil
}

// sealFacts returns what there is to know of a drain with that chain.
func (e *engine) sealFacts(p *drainPos, c auditdrain.Chain) (facts auditdrain.SealFacts, err error) {
	q, err := e.sequence(p.teamID)
	if err != nil {
		return facts, err
	}
	facts = auditdrain.SealFacts{
		DrainID: p.id, TeamID: p.teamID, LastSeq: q.durable.Load().seq,
		IPAddressesChanged: e.teamDrains[p.teamID].ipChanged,
	}
	facts.AcceptedAt = func(seq uint64) (int64, error) {
		if seq > facts.LastSeq {
			return 0, nil
		}
		return e.acceptedAt(p.teamID, seq)
	}
	if facts.State, err = e.state(p.id); err != nil {
		return facts, err
	}
	skips, err := e.skips(p.id)
	if err != nil {
		return facts, err
	}
	for _, skip := range skips {
		if skip.To >= c.Sequence && skip.From <= facts.State.Cursor {
			facts.Skips = append(facts.Skips, skip)
		}
	}
	most := auditdrain.MaxSealActivities
	if c.DrainID == "" {
		most = auditdrain.FirstSealActivities
	}
	facts.Activities, err = e.latestActivities(string(teamActivities(p.teamID)), c.Activity, 0, most)
	slices.Reverse(facts.Activities)
	return facts, err
}

// acceptedAt returns when an event was accepted, in Unix ms, or 0 if it is not
// there.
func (e *engine) acceptedAt(teamID string, seq uint64) (int64, error) {
	k := appendEventKey(nil, teamID, seq)
	v, closer, err := e.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	r, err := decodeEvent(k, v)
	return r.acceptedAt / 1000, errors.Join(err, closer.Close())
}

// SealWritten notes that manifest number of a drain has been written at a time
// (Unix ms), and that its SHA-256 is head; the seal goes, as does the chain of a
// deleted drain with its last one. It is durable when SealWritten returns nil. One
// that was noted before changes nothing, also if there is no chain any more; one
// that is not the next is CodeConflict.
func (s *Store) SealWritten(ctx context.Context, drainID string, number uint64, head string, at int64) error {
	return s.changeChain(ctx, "note a written manifest", drainID, func(e *engine, b *pebble.Batch, r *auditdrain.ChainRecord) error {
		switch {
		case number <= r.Chain.Written:
			return nil
		case number > r.Chain.Written+1 || len(r.Seals) == 0:
			return auditdrain.Errorf(auditdrain.CodeConflict, "manifest %d of drain %q cannot have been written: the last one was %d of %d",
				number, drainID, r.Chain.Written, r.Chain.Sealed)
		}
		r.Chain, r.Seals = r.Chain.Wrote(r.Seals[0], head, at), r.Seals[1:]
		if err := b.Delete(sealKey(drainID, number), nil); err != nil {
			return err
		}
		if r.Chain.Ended() {
			return b.Delete(key(chainPrefix, drainID), nil)
		}
		return setJSON(b, key(chainPrefix, drainID), r.Chain)
	}, pebble.Sync)
}

// SealFailed notes why a drain's next manifest could not be written. A crash may
// undo it. Without a chain there is nothing to note.
func (s *Store) SealFailed(ctx context.Context, drainID string, message string, at int64) error {
	return s.changeChain(ctx, "note a manifest that failed", drainID, func(_ *engine, b *pebble.Batch, r *auditdrain.ChainRecord) error {
		r.Chain.LastError, r.Chain.LastErrorAt = message, at
		return setJSON(b, key(chainPrefix, drainID), r.Chain)
	}, pebble.NoSync)
}

// SealAnchored notes that the head of manifest number of a drain, and so of all
// before, is kept elsewhere. A crash may undo it. Without a chain there is nothing
// to note.
func (s *Store) SealAnchored(ctx context.Context, drainID string, number uint64) error {
	return s.changeChain(ctx, "note an anchor", drainID, func(_ *engine, b *pebble.Batch, r *auditdrain.ChainRecord) error {
		if number <= r.Chain.Anchored {
			return nil
		}
		r.Chain.Anchored = number
		return setJSON(b, key(chainPrefix, drainID), r.Chain)
	}, pebble.NoSync)
}

// changeChain has stage put a change of a chain into a batch, and change r
// accordingly. Without a chain it does nothing.
func (s *Store) changeChain(ctx context.Context, what, drainID string, stage func(*engine, *pebble.Batch, *auditdrain.ChainRecord) error, durable *pebble.WriteOptions) error {
	return s.run(ctx, what, func(e *engine) error {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		e.saving.Lock()
		defer e.saving.Unlock()
		r, err := e.chainRecord(drainID)
		if err != nil || r.Chain.DrainID == "" {
			return err
		}
		b := e.db.NewBatch()
		if err := stage(e, b, &r); err != nil {
			return errors.Join(err, b.Close())
		}
		if !b.Empty() {
			if err := e.db.Apply(b, durable); err != nil {
				return err
			}
			e.noteChain(r)
		}
		return b.Close()
	})
}

// Seals returns a drain's seals whose manifests have not been written, by number;
// also of a drain that is deleted, and none of one that does not exist.
func (s *Store) Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error) {
	r, err := s.readChain(ctx, drainID)
	return r.Seals, err
}

// Chain returns a drain's chain; also of a drain that is deleted, until its last
// manifest is written. If there is none, it is the zero Chain.
func (s *Store) Chain(ctx context.Context, drainID string) (auditdrain.Chain, error) {
	r, err := s.readChain(ctx, drainID)
	return r.Chain, err
}

func (s *Store) readChain(ctx context.Context, drainID string) (auditdrain.ChainRecord, error) {
	return read(ctx, s, "read chain", func(e *engine) (auditdrain.ChainRecord, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		e.saving.Lock()
		defer e.saving.Unlock()
		return e.chainRecord(drainID)
	})
}

// Chains returns the chains of all drains that have one, ordered by drain; those of
// deleted drains, too, whose last manifest is not written.
func (s *Store) Chains(ctx context.Context) ([]auditdrain.Chain, error) {
	return read(ctx, s, "list chains", func(e *engine) ([]auditdrain.Chain, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		e.saving.Lock()
		defer e.saving.Unlock()
		return e.chains()
	})
}

func (e *engine) chains() (chains []auditdrain.Chain, err error) {
	err = e.scan(chainPrefix, func(id string, v []byte) error {
		var c auditdrain.Chain
		if err := json.Unmarshal(v, &c); err != nil {
			return fmt.Errorf("chain of drain %s: %w", id, err)
		}
		chains = append(chains, c)
		return nil
	})
	return chains, err
}

// chainRecord reads a drain's chain, which may be zero, and its seals.
func (e *engine) chainRecord(drainID string) (r auditdrain.ChainRecord, err error) {
	found, err := e.getJSON(key(chainPrefix, drainID), &r.Chain)
	if err != nil {
		return r, fmt.Errorf("chain of drain %s: %w", drainID, err)
	}
	if !found || r.Chain.Written == r.Chain.Sealed {
		return r, nil
	}
	err = e.scan(string(ofDrain(sealPrefix, drainID)), func(_ string, v []byte) error {
		var seal auditdrain.Seal
		err := json.Unmarshal(v, &seal)
		r.Seals = append(r.Seals, seal)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("seals of drain %s: %w", drainID, err)
	}
	return r, nil
}

func sealKey(drainID string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(ofDrain(sealPrefix, drainID), number)
}

// loadChains finds out which events manifests are still to be made from.
func (e *engine) loadChains() error {
	chains, err := e.chains()
	if err != nil {
		return err
	}
	for _, c := range chains {
		r, err := e.chainRecord(c.DrainID)
		if err != nil {
			return err
		}
		e.noteChain(r)
	}
	return nil
}

// noteChain notes which events a chain needs, once it is stored.
func (e *engine) noteChain(r auditdrain.ChainRecord) {
	team := e.needed[r.Chain.TeamID]
	if r.Chain.Ended() {
		delete(team, r.Chain.DrainID)
		return
	}
	if team == nil {
		team = map[string]uint64{}
		e.needed[r.Chain.TeamID] = team
	}
	team[r.Chain.DrainID] = r.Needs()
}
