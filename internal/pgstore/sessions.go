package pgstore

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// CreateSession stores a session. A hash that exists is refused with
// CodeConflict, a team that does not exist with CodeNotFound.
func (s *Store) CreateSession(ctx context.Context, session auditdrain.Session, act *auditdrain.Activity) error {
	return s.createHashed(ctx, "create session", `INSERT INTO sessions (hash, expires_at, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		session.Hash, session.TeamID, session.ExpiresAt, session, act)
}

// Session returns the session with this hash, expired or not, or CodeNotFound.
// The hash is compared in constant time.
func (s *Store) Session(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Session, error) {
	session := auditdrain.Session{Hash: h}
	err := s.do(ctx, "look up session", func(ctx context.Context, c *pgx.Conn) error {
		return getHashed(ctx, c, &session, h, "session", `SELECT hash, data FROM sessions WHERE hash = $1`)
	})
	return session, err
}

// DeleteSession removes the session with this hash. A session that does not
// exist is CodeNotFound.
func (s *Store) DeleteSession(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) error {
	return s.change(ctx, "delete session", act, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM sessions WHERE hash = $1`, h[:])
		if err == nil && tag.RowsAffected() == 0 {
			err = auditdrain.Errorf(auditdrain.CodeNotFound, "there is no such session")
		}
		return err
	})
}

// CreatePortalLink stores a portal link. A hash that exists is refused with
// CodeConflict, a team that does not exist with CodeNotFound.
func (s *Store) CreatePortalLink(ctx context.Context, l auditdrain.PortalLink, act *auditdrain.Activity) error {
	return s.createHashed(ctx, "create portal link", `INSERT INTO portal_links (hash, expires_at, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		l.Hash, l.TeamID, l.ExpiresAt, l, act)
}

// PortalLink returns the portal link with this hash, expired or not, or
// CodeNotFound. The hash is compared in constant time.
func (s *Store) PortalLink(ctx context.Context, h auditdrain.TokenHash) (auditdrain.PortalLink, error) {
	l := auditdrain.PortalLink{Hash: h}
	err := s.do(ctx, "look up portal link", func(ctx context.Context, c *pgx.Conn) error {
		return getHashed(ctx, c, &l, h, "portal link", `SELECT hash, data FROM portal_links WHERE hash = $1`)
	})
	return l, err
}

// TakePortalLink removes the portal link with this hash and returns it: of all
// who ask for one, on any node, one at most gets it. A link that does not exist,
// was taken or has expired is CodeNotFound.
func (s *Store) TakePortalLink(ctx context.Context, h auditdrain.TokenHash, act *auditdrain.Activity) (auditdrain.PortalLink, error) {
	var l auditdrain.PortalLink
	err := s.change(ctx, "take portal link", act, func(ctx context.Context, tx pgx.Tx) error {
		l = auditdrain.PortalLink{Hash: h}
		if err := getHashed(ctx, tx, &l, h, "portal link", `DELETE FROM portal_links WHERE hash = $1 RETURNING hash, data`); err != nil {
			return err
		}
		if l.Expired(s.opts.Now()) {
			return auditdrain.Errorf(auditdrain.CodeNotFound, "the portal link has expired")
		}
		return nil
	})
	if err != nil {
		return auditdrain.PortalLink{}, err
	}
	return l, nil
}

// DeleteExpired removes the sessions and portal links that are over at now.
func (s *Store) DeleteExpired(ctx context.Context, now time.Time) error {
	return s.do(ctx, "delete expired sessions", func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM sessions WHERE expires_at <= $1`, now.UnixMilli())
		b.Queue(`DELETE FROM portal_links WHERE expires_at <= $1`, now.UnixMilli())
		return pipeline(ctx, c, b)
	})
}

// createHashed stores what is looked up by the hash of a secret, unless the
// hash exists, or the team, if there is one, does not.
func (s *Store) createHashed(ctx context.Context, what, sql string, h auditdrain.TokenHash, teamID string, expiresAt int64, v any, act *auditdrain.Activity) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.change(ctx, what, act, func(ctx context.Context, tx pgx.Tx) error {
		if teamID != "" {
			if err := requireTeam(ctx, tx, teamID); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, sql, h[:], expiresAt, string(data))
		if err == nil && tag.RowsAffected() == 0 {
			err = auditdrain.Errorf(auditdrain.CodeConflict, "this secret is in use already")
		}
		return err
	})
}
