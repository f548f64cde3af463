package pgstore

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// What changes the configuration is durable when the method returns nil, and
// either takes place with its activity or not at all. If it ends with
// CodeUnavailable it may have taken place. See Record for activities.

// CreateTeam stores a team. A team whose ID or slug names another team already,
// as ID or as slug, is refused with CodeConflict.
func (s *Store) CreateTeam(ctx context.Context, t auditdrain.Team, act *auditdrain.Activity) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("create team: %w", err)
	}
	return s.change(ctx, "create team", act, func(ctx context.Context, tx pgx.Tx) error {
		for _, n := range []struct{ what, name string }{{"id", t.ID}, {"slug", t.Slug}} {
			if n.what == "slug" && t.Slug == t.ID {
				continue
			}
			// Of many who want a name the first gets it; the others wait for it here.
			tag, err := tx.Exec(ctx, `INSERT INTO team_names (name, team_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, n.name, t.ID)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return auditdrain.Errorf(auditdrain.CodeConflict, "%s: %q names another team already: choose another one", n.what, n.name)
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO teams (id, search, data) VALUES ($1, $2, $3)`, t.ID, teamText(t), string(data))
		return err
	})
}

// Team returns a team by ID or slug, or CodeNotFound. It may be as it was up to
// a second ago, if another node has changed it.
func (s *Store) Team(ctx context.Context, idOrSlug string) (t auditdrain.Team, err error) {
	if t, ok := recall[auditdrain.Team](&s.lookups, idOrSlug); ok && ctx.Err() == nil {
		return t, nil
	}
	asked := time.Now()
	err = s.do(ctx, "look up team", func(ctx context.Context, c *pgx.Conn) error {
		return getJSON(ctx, c, &t, noTeam(idOrSlug),
			`SELECT t.data FROM team_names n JOIN teams t ON t.id = n.team_id WHERE n.name = $1`, name(idOrSlug))
	})
	if err == nil {
		s.lookups.remember(idOrSlug, t, asked)
	}
	return t, err
}

// UpdateTeam changes a team and returns it as it is then. Updates take place one
// after the other. An error of update is returned as it is, and nothing is
// changed; update may fill in what act points to, and must not change the team's
// ID or slug, nor call the store; it may be called again. A team that does not
// exist is CodeNotFound.
func (s *Store) UpdateTeam(ctx context.Context, id string, update func(*auditdrain.Team) error, act *auditdrain.Activity) (auditdrain.Team, error) {
	var t auditdrain.Team
	err := s.change(ctx, "update team", act, func(ctx context.Context, tx pgx.Tx) error {
		t = auditdrain.Team{}
		if err := getJSON(ctx, tx, &t, noTeam(id), `SELECT data FROM teams WHERE id = $1 FOR UPDATE`, name(id)); err != nil {
			return err
		}
		slug := t.Slug
		if err := update(&t); err != nil {
			return refusal{err}
		}
		if t.ID != id || t.Slug != slug {
			return fmt.Errorf("team %s (%s) cannot become team %s (%s)", id, slug, t.ID, t.Slug)
		}
		data, err := json.Marshal(t)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`UPDATE teams SET search = $2, data = $3 WHERE id = $1`, id, teamText(t), string(data))
		b.Queue(`UPDATE drains SET version = version + 1 WHERE team_id = $1`, id)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return auditdrain.Team{}, err
	}
	s.lookups.forget(t.ID, t.Slug)
	return t, nil
}

func noTeam(idOrSlug string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no team %q", idOrSlug)
}

// teamText is what searches look at of a drain's team.
func teamText(t auditdrain.Team) string { return searchText(t.ID, t.Slug, t.Name) }

// searchText joins parts with what none of them contains. Lower case is made
// here, since the database's depends on its locale.
func searchText(parts ...string) string { return strings.ToLower(strings.Join(parts, "\n")) }

// requireTeam fails unless the team exists. Teams are never deleted. It is not
// changed until the transaction ends: a change has all drains of the team
// delivered anew, and must not miss one that is just being created.
func requireTeam(ctx context.Context, q querier, id string) error {
	found, err := collect(ctx, q, pgx.RowTo[string], `SELECT id FROM teams WHERE id = $1 FOR SHARE`, name(id))
	if err == nil && found == nil {
		err = noTeam(id)
	}
	return err
}

// Teams returns all teams, ordered by ID.
func (s *Store) Teams(ctx context.Context) ([]auditdrain.Team, error) {
	return list(ctx, s, "list teams", rowJSON[auditdrain.Team], `SELECT data FROM teams ORDER BY id`)
}

// CreateToken stores a token. An ID or a hash that exists is refused with
// CodeConflict, a team that does not exist with CodeNotFound.
func (s *Store) CreateToken(ctx context.Context, t auditdrain.Token, act *auditdrain.Activity) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	return s.change(ctx, "create token", act, func(ctx context.Context, tx pgx.Tx) error {
		if t.TeamID != "" {
			if err := requireTeam(ctx, tx, t.TeamID); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `INSERT INTO tokens (hash, id, team_id, created_at, data) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			t.Hash[:], t.ID, t.TeamID, t.CreatedAt, string(data))
		if err == nil && tag.RowsAffected() == 0 {
			err = auditdrain.Errorf(auditdrain.CodeConflict, "token %q exists already", t.ID)
		}
		return err
	})
}

// TokenByHash returns the token with this hash, expired or not, or CodeNotFound.
// It may have been deleted on another node up to a second ago. The hash is
// compared in constant time.
func (s *Store) TokenByHash(ctx context.Context, h auditdrain.TokenHash) (t auditdrain.Token, err error) {
	if t, ok := recall[auditdrain.Token](&s.lookups, h); ok && ctx.Err() == nil {
		return t, nil
	}
	asked := time.Now()
	err = s.do(ctx, "look up token", func(ctx context.Context, c *pgx.Conn) error {
		return getHashed(ctx, c, &t, h, "token", `SELECT hash, data FROM tokens WHERE hash = $1`)
	})
	if err != nil {
		return auditdrain.Token{}, err
	}
	t.Hash = h
	s.lookups.remember(h, t, asked)
	return t, nil
}

// Tokens returns a team's tokens, or all if teamID is empty, ordered by
// creation.
func (s *Store) Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error) {
	row := func(row pgx.CollectableRow) (t auditdrain.Token, err error) {
		var hash, data []byte
		if err := row.Scan(&hash, &data); err != nil {
			return t, err
		}
		copy(t.Hash[:], hash)
		return t, json.Unmarshal(data, &t)
	}
	if teamID == "" {
		return list(ctx, s, "list tokens", row, `SELECT hash, data FROM tokens ORDER BY created_at, id`)
	}
	return list(ctx, s, "list tokens", row, `SELECT hash, data FROM tokens WHERE team_id = $1 ORDER BY created_at, id`, name(teamID))
}

// DeleteToken removes a team's token, or any team's if teamID is empty. A token
// that does not exist, or is another team's, is CodeNotFound.
func (s *Store) DeleteToken(ctx context.Context, teamID, id string, act *auditdrain.Activity) error {
	var hash auditdrain.TokenHash
	err := s.change(ctx, "delete token", act, func(ctx context.Context, tx pgx.Tx) error {
		hashes, err := collect(ctx, tx, pgx.RowTo[[]byte], `DELETE FROM tokens WHERE id = $1 AND ($2 = '' OR team_id = $2) RETURNING hash`, name(id), name(teamID))
		if err == nil && hashes == nil {
			err = auditdrain.Errorf(auditdrain.CodeNotFound, "there is no token %q", id)
		}
		if err == nil {
			copy(hash[:], hashes[0])
		}
		return err
	})
	s.lookups.forget(hash)
	return err
}

// getJSON decodes the one column of the one row into v; if there is none it
// returns none.
func getJSON(ctx context.Context, q querier, v any, none error, sql string, args ...any) error {
	found, err := collect(ctx, q, pgx.RowTo[[]byte], sql, args...)
	if err != nil {
		return err
	}
	if found == nil {
		return none
	}
	return json.Unmarshal(found[0], v)
}

// getHashed decodes into v what is stored under the hash of a secret.
//
// The search by hash takes a time that depends on the hashes stored, which
// tells nothing about the values that they are hashes of. The comparison in
// constant time is on top of that.
func getHashed(ctx context.Context, q querier, v any, h auditdrain.TokenHash, what, sql string) error {
	rows, err := q.Query(ctx, sql, h[:])
	if err != nil {
		return err
	}
	var hash, data []byte
	_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, row.Scan(&hash, &data) })
	if errors.Is(err, pgx.ErrNoRows) || err == nil && subtle.ConstantTimeCompare(hash, h[:]) != 1 {
		return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no such %s", what)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// rowJSON decodes the one column of a row.
func rowJSON[T any](row pgx.CollectableRow) (v T, err error) {
	var data []byte
	if err = row.Scan(&data); err == nil {
		err = json.Unmarshal(data, &v)
	}
	return v, err
}
