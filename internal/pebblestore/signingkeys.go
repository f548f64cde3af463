package pebblestore

import (
	"context"
	"encoding/binary"
	"encoding/json"

	"github.com/auditdrain/auditdrain"
)

// SigningKeys returns the keys that manifests are signed with, in the order they
// were added.
func (s *Store) SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error) {
	return read(ctx, s, "list signing keys", func(e *engine) ([]auditdrain.SigningKey, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		return e.signingKeys()
	})
}

// AddSigningKey stores a key behind the one with the ID after, which must be the
// last one; empty, it must be the first of all. It is durable when AddSigningKey
// returns nil. If there is another last key by now, or if the key is there
// already, it is refused with CodeConflict.
func (s *Store) AddSigningKey(ctx context.Context, key auditdrain.SigningKey, after string, act *auditdrain.Activity) error {
	return s.run(ctx, "add signing key", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		keys, err := e.signingKeys()
		if err != nil {
			return err
		}
		last := ""
		for _, k := range keys {
			last = k.ID
			if k.ID == key.ID {
				return auditdrain.Errorf(auditdrain.CodeConflict, "signing key %s exists already", key.ID)
			}
		}
		if last != after {
			return auditdrain.Errorf(auditdrain.CodeConflict, "another signing key has been added meanwhile")
		}
		b := e.db.NewBatch()
		if err := setJSON(b, binary.BigEndian.AppendUint64([]byte(signingKeyPrefix), uint64(len(keys))+1), key); err != nil {
			return err
		}
		return e.commitWith(b, act)
	})
}

func (e *engine) signingKeys() (keys []auditdrain.SigningKey, err error) {
	err = e.scan(signingKeyPrefix, func(_ string, v []byte) error {
		var k auditdrain.SigningKey
		err := json.Unmarshal(v, &k)
		keys = append(keys, k)
		return err
	})
	return keys, err
}
