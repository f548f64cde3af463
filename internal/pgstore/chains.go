package pgstore

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Chain returns the chain of a drain, which may be deleted; the zero Chain if it
// has none.
func (s *Store) Chain(ctx context.Context, drainID string) (auditdrain.Chain, error) {
	chains, err := list(ctx, s, "read chain", rowJSON[auditdrain.Chain], `SELECT data FROM chains WHERE drain_id = $1`, name(drainID))
	if err != nil || chains == nil {
		return auditdrain.Chain{}, err
	}
	return chains[0], nil
}

// Chains returns all chains, by drain: also those of deleted drains whose last
// manifest has not been written.
func (s *Store) Chains(ctx context.Context) ([]auditdrain.Chain, error) {
	return list(ctx, s, "list chains", rowJSON[auditdrain.Chain], `SELECT data FROM chains ORDER BY drain_id`)
}

// Seals returns the seals of a drain, which may be deleted, whose manifests have
// not been written, by number.
func (s *Store) Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error) {
	return list(ctx, s, "list seals", rowJSON[auditdrain.Seal], `SELECT data FROM seals WHERE drain_id = $1 ORDER BY number`, name(drainID))
}

// SealWritten notes that a manifest has been written, whose SHA-256 is head, and
// removes its seal; with the last one of a deleted drain also the chain. It is
// durable when SealWritten returns nil. What has been noted before, or is of a
// chain that is there no more, it leaves as it is; a number that is not the next
// of those sealed is CodeConflict.
func (s *Store) SealWritten(ctx context.Context, drainID string, number uint64, head string, at int64) error {
	return s.changeChain(ctx, "note manifest", drainID, func(ctx context.Context, tx pgx.Tx, c *auditdrain.Chain) error {
		if number <= c.Written {
			return errNothing
		}
		if number != c.Written+1 || number > c.Sealed {
			return auditdrain.Errorf(auditdrain.CodeConflict, "manifest %d of drain %q cannot have been written: of %d sealed, %d are", number, drainID, c.Sealed, c.Written)
		}
		seals, err := collect(ctx, tx, rowJSON[auditdrain.Seal], `DELETE FROM seals WHERE drain_id = $1 AND number = $2 RETURNING data`, drainID, number)
		if err != nil {
			return err
		}
		if seals == nil {
			return errors.New("the seal is not there")
		}
		*c = c.Wrote(seals[0], head, at)
		return nil
	})
}

// SealFailed notes why the next manifest of a drain could not be written. The
// database does not wait for its disk.
func (s *Store) SealFailed(ctx context.Context, drainID, message string, at int64) error {
	return s.changeChain(ctx, "note failed manifest", drainID, func(ctx context.Context, tx pgx.Tx, c *auditdrain.Chain) error {
		c.LastError, c.LastErrorAt = message, at
		_, err := tx.Exec(ctx, waitForNoDisk)
		return err
	})
}

// SealAnchored notes up to which manifest the heads of a drain's chain are known
// to be kept elsewhere. It never goes back. The database does not wait for its
// disk.
func (s *Store) SealAnchored(ctx context.Context, drainID string, number uint64) error {
	return s.changeChain(ctx, "note anchor", drainID, func(ctx context.Context, tx pgx.Tx, c *auditdrain.Chain) error {
		if number <= c.Anchored {
			return errNothing
		}
		c.Anchored = number
		_, err := tx.Exec(ctx, waitForNoDisk)
		return err
	})
}

// changeChain changes what f changes of a chain, if it is there, while nobody else
// does, and removes it if it has ended.
func (s *Store) changeChain(ctx context.Context, what, drainID string, f func(context.Context, pgx.Tx, *auditdrain.Chain) error) error {
	err := s.tx(ctx, what, func(ctx context.Context, tx pgx.Tx) error {
		chains, err := collect(ctx, tx, rowJSON[auditdrain.Chain], `SELECT data FROM chains WHERE drain_id = $1 FOR UPDATE`, name(drainID))
		if err != nil {
			return err
		}
		if chains == nil {
			return errNothing
		}
		c := chains[0]
		if err := f(ctx, tx, &c); err != nil {
			return err
		}
		if c.Ended() {
			_, err = tx.Exec(ctx, `DELETE FROM chains WHERE drain_id = $1`, drainID)
			return err
		}
		data, err := json.Marshal(c)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE chains SET data = $2 WHERE drain_id = $1`, drainID, string(data))
		return err
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}
