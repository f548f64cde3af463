package pgstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// SigningKeys returns the keys that manifests are signed with, in the order they
// were added.
func (s *Store) SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error) {
	return list(ctx, s, "list signing keys", rowJSON[auditdrain.SigningKey], `SELECT data FROM signing_keys ORDER BY number`)
}

// AddSigningKey stores a key behind the one with the ID after, which must be the
// last one; empty, it must be the first of all. It is durable when AddSigningKey
// returns nil. If there is another last key by now, or if the key is there
// already, it is refused with CodeConflict.
func (s *Store) AddSigningKey(ctx context.Context, key auditdrain.SigningKey, after string, act *auditdrain.Activity) error {
	data, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("add signing key: %w", err)
	}
	return s.change(ctx, "add signing key", act, func(ctx context.Context, tx pgx.Tx) error {
		// Of many who take the same number the first gets it; the others wait for
		// it here.
		tag, err := tx.Exec(ctx, `
INSERT INTO signing_keys (number, id, data)
SELECT coalesce(max(number), 0) + 1, $1, $2 FROM signing_keys
HAVING coalesce((SELECT id FROM signing_keys ORDER BY number DESC LIMIT 1), '') = $3
ON CONFLICT DO NOTHING`, key.ID, string(data), name(after))
		if err == nil && tag.RowsAffected() == 0 {
			err = auditdrain.Errorf(auditdrain.CodeConflict, "another signing key has been added meanwhile, or signing key %s exists already", key.ID)
		}
		return err
	})
}
