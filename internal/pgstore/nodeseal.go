package pgstore

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Seal is that of the Store, for a drain that the node owns, by what it has read
// from the server that answers; else it is CodeConflict, and nothing is changed:
// a node that has lost a drain must not say how it is delivered from now on, nor
// that it is paused. It does not end the drain's delivery, which the node finds
// out about by itself. A drain that does not exist is CodeNotFound.
func (n *Node) Seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error) {
	n.mu.Lock()
	f := fence{owner: n.id, server: n.server}
	h := n.held[drainID]
	owned := h != nil && h.phase != losing && h.phase != left
	if owned {
		f.epochs = map[string]int64{drainID: h.epoch}
	}
	n.mu.Unlock()
	if !owned {
		return auditdrain.Chain{}, n.notOwned(ctx, drainID)
	}
	chain, err := n.store.seal(ctx, drainID, req, f)
	if auditdrain.ErrorCode(err) == auditdrain.CodeConflict {
		n.mu.Lock()
		n.recheck = true
		n.mu.Unlock()
	}
	return chain, err
}

// notOwned is why the node cannot seal a drain that it does not own. Nobody owns one
// that is deleted: any node may write what was sealed by that.
func (n *Node) notOwned(ctx context.Context, drainID string) error {
	chain, err := n.store.Chain(ctx, drainID)
	switch {
	case err != nil:
		return err
	case chain.State == auditdrain.ChainDeleted:
		return noDrain(drainID)
	}
	return errNotOwned(drainID)
}

// Chains returns the chains of the drains that the node delivers, by drain, and,
// if it is on duty, those of deleted drains, which nobody owns.
func (n *Node) Chains(ctx context.Context) ([]auditdrain.Chain, error) {
	type row struct {
		deleted bool
		chain   auditdrain.Chain
	}
	onDuty, _ := n.duty.state()
	rows, err := list(ctx, n.store, "list own chains", func(r pgx.CollectableRow) (found row, err error) {
		var data []byte
		if err := r.Scan(&found.deleted, &data); err != nil {
			return found, err
		}
		return found, json.Unmarshal(data, &found.chain)
	}, `
SELECT d.drain_id IS NULL, c.data FROM chains c LEFT JOIN delivery d USING (drain_id)
WHERE d.owner = $1 OR d.drain_id IS NULL AND $2 ORDER BY c.drain_id`, n.id, onDuty)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var own []auditdrain.Chain
	for _, r := range rows {
		if h := n.held[r.chain.DrainID]; r.deleted || h != nil && h.phase == holdingIt {
			own = append(own, r.chain)
		}
	}
	return own, nil
}

// What follows needs no fence: whoever writes a manifest, the same seal and the
// same events make the same bytes, and what is noted of it is noted by its number,
// once.

// Chain is that of the Store.
func (n *Node) Chain(ctx context.Context, drainID string) (auditdrain.Chain, error) {
	return n.store.Chain(ctx, drainID)
}

// Seals is that of the Store.
func (n *Node) Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error) {
	return n.store.Seals(ctx, drainID)
}

// SealWritten is that of the Store.
func (n *Node) SealWritten(ctx context.Context, drainID string, number uint64, head string, at int64) error {
	return n.store.SealWritten(ctx, drainID, number, head, at)
}

// SealFailed is that of the Store.
func (n *Node) SealFailed(ctx context.Context, drainID, message string, at int64) error {
	return n.store.SealFailed(ctx, drainID, message, at)
}

// SealAnchored is that of the Store.
func (n *Node) SealAnchored(ctx context.Context, drainID string, number uint64) error {
	return n.store.SealAnchored(ctx, drainID, number)
}
