package pebblestore

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// Sessions and portal links are guarded by engine.catalog as teams are.

// CreateSession stores a session. It is durable when CreateSession returns nil.
// A hash that exists is refused with CodeConflict, a team that does not exist
// with CodeNotFound.
func (s *Store) CreateSession(ctx context.Context, session auditdrain.Session, act *auditdrain.Activity) error {
	return s.run(ctx, "create session", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		return e.createHashed(sessionPrefix, session.Hash, session.TeamID, session, act)
	})
}

// Session returns the session with this hash, expired or not, or CodeNotFound.
// The hash is compared in constant time.
func (s *Store) Session(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Session, error) {
	return read(ctx, s, "look up session", func(e *engine) (auditdrain.Session, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		return e.session(h)
	})
}

func (e *engine) session(h auditdrain.TokenHash) (auditdrain.Session, error) {
	session := auditdrain.Session{Hash: h}
	found, err := e.getHashed(sessionPrefix, h, &session)
	if err == nil && !found {
		err = auditdrain.Errorf(auditdrain.CodeNotFound, "there is no such session")
	}
	return session, err
}

// DeleteSession removes the session with this hash. It is durable when
// DeleteSession returns nil. A session that does not exist is CodeNotFound.
func (s *Store) DeleteSession(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) error {
	return s.run(ctx, "delete session", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		if _, err := e.session(h); err != nil {
			return err
		}
		return e.commitDelete(act, hashKey(sessionPrefix, h))
	})
}

// CreatePortalLink stores a portal link. It is durable when CreatePortalLink
// returns nil. A hash that exists is refused with CodeConflict, a team that does
// not exist with CodeNotFound.
func (s *Store) CreatePortalLink(ctx context.Context, l auditdrain.PortalLink, act *auditdrain.Activity) error {
	return s.run(ctx, "create portal link", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		return e.createHashed(portalLinkPrefix, l.Hash, l.TeamID, l, act)
	})
}

// PortalLink returns the portal link with this hash, expired or not, or
// CodeNotFound. The hash is compared in constant time.
func (s *Store) PortalLink(ctx context.Context, h auditdrain.TokenHash) (auditdrain.PortalLink, error) {
	return read(ctx, s, "look up portal link", func(e *engine) (auditdrain.PortalLink, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		return e.portalLink(h)
	})
}

func (e *engine) portalLink(h auditdrain.TokenHash) (auditdrain.PortalLink, error) {
	l := auditdrain.PortalLink{Hash: h}
	found, err := e.getHashed(portalLinkPrefix, h, &l)
	if err == nil && !found {
		err = auditdrain.Errorf(auditdrain.CodeNotFound, "there is no such portal link")
	}
	return l, err
}

// TakePortalLink removes the portal link with this hash and returns it: of all
// who ask for one, exactly one gets it, even if the process is killed in
// between. It is durable when TakePortalLink returns nil. A link that does not
// exist, was taken or has expired is CodeNotFound.
func (s *Store) TakePortalLink(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) (auditdrain.PortalLink, error) {
	return write(ctx, s, "take portal link", func(e *engine) (auditdrain.PortalLink, error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		l, err := e.portalLink(h)
		if err != nil {
			return auditdrain.PortalLink{}, err
		}
		if l.Expired(e.now()) {
			return auditdrain.PortalLink{}, auditdrain.Errorf(auditdrain.CodeNotFound, "the portal link has expired")
		}
		if err := e.commitDelete(act, hashKey(portalLinkPrefix, h)); err != nil {
			return auditdrain.PortalLink{}, err
		}
		return l, nil
	})
}

// DeleteExpired removes the sessions and portal links that are over at now. It
// is durable when DeleteExpired returns nil.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) error {
	return s.run(ctx, "delete expired sessions", func(e *engine) error {
		over, err := e.expired(now)
		if err != nil || over == nil {
			return err
		}
		// Nobody can have made one of them valid again.
		e.catalog.Lock()
		defer e.catalog.Unlock()
		return e.commitDelete(nil, over...)
	})
}

// expired returns the keys of the sessions and portal links that are over.
func (e *engine) expired(now time.Time) (over [][]byte, err error) {
	e.catalog.RLock()
	defer e.catalog.RUnlock()
	for _, prefix := range []string{sessionPrefix, portalLinkPrefix} {
		err := e.scan(prefix, func(name string, v []byte) error {
			var l struct{ ExpiresAt int64 }
			if err := json.Unmarshal(v, &l); err != nil {
				return err
			}
			if now.UnixMilli() >= l.ExpiresAt {
				over = append(over, key(prefix, name))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return over, nil
}

// createHashed stores what is looked up by the hash of a secret, unless the
// hash exists, or the team, if there is one, does not.
func (e *engine) createHashed(prefix string, h auditdrain.TokenHash, teamID string, v any, act *auditdrain.Activity) error {
	if teamID != "" {
		if err := e.requireTeam(teamID); err != nil {
			return err
		}
	}
	k := hashKey(prefix, h)
	old, err := e.get(k)
	if err != nil {
		return err
	}
	if old != nil {
		return auditdrain.Errorf(auditdrain.CodeConflict, "this secret is in use already")
	}
	b := e.db.NewBatch()
	if err := setJSON(b, k, v); err != nil {
		return err
	}
	return e.commitWith(b, act)
}

// getHashed decodes into v what is stored under the hash of a secret, and
// reports whether there is something.
//
// The search by hash takes a time that depends on the hashes stored, which
// tells nothing about the values that they are hashes of. The comparison in
// constant time is on top of that.
func (e *engine) getHashed(prefix string, h auditdrain.TokenHash, v any) (bool, error) {
	k := hashKey(prefix, h)
	iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: k, UpperBound: end([]byte(prefix))})
	if err != nil {
		return false, err
	}
	defer iter.Close()
	if !iter.First() || subtle.ConstantTimeCompare(iter.Key(), k) != 1 {
		return false, iter.Error()
	}
	data, err := iter.ValueAndErr()
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, v)
}

// hashKey is where what is looked up by the hash of a secret is stored.
func hashKey(prefix string, h auditdrain.TokenHash) []byte {
	return hex.AppendEncode([]byte(prefix), h[:])
}
