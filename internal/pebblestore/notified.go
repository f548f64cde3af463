package pebblestore

import (
	"context"
	"encoding/json"

	"github.com/auditdrain/auditdrain"
)

// Notified returns what the operator has been told of drains, by ID; those of
// which there is nothing to tell are missing.
func (s *Store) Notified(ctx context.Context) (map[string]auditdrain.Notified, error) {
	return read(ctx, s, "read what was notified", func(e *engine) (map[string]auditdrain.Notified, error) {
		all := map[string]auditdrain.Notified{}
		err := e.scan(notifiedPrefix, func(id string, v []byte) error {
			var n auditdrain.Notified
			err := json.Unmarshal(v, &n)
			all[id] = n
			return err
		})
		return all, err
	})
}

// SaveNotified replaces what the operator has been told of a drain. It is
// durable when SaveNotified returns nil, and goes when the drain is deleted. A
// drain that does not exist is CodeNotFound.
func (s *Store) SaveNotified(ctx context.Context, drainID string, n auditdrain.Notified) error {
	return s.run(ctx, "save what was notified", func(e *engine) error {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		if _, err := e.drain("", drainID); err != nil {
			return err
		}
		if n == (auditdrain.Notified{}) {
			return e.commitDelete(nil, key(notifiedPrefix, drainID))
		}
		b := e.db.NewBatch()
		if err := setJSON(b, key(notifiedPrefix, drainID), n); err != nil {
			return err
		}
		return e.commit(b)
	})
}
