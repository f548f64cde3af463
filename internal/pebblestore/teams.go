package pebblestore

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// Teams, tokens and drains are read while engine.catalog is held for reading,
// and written while it is held until the write is durable: what is read is
// durable, and two writers never decide on the same state. Record tells what
// becomes of the activities that the writers are given.

// CreateTeam stores a team. It is durable when CreateTeam returns nil. A team
// whose ID or slug names another team already, as ID or as slug, is refused
// with CodeConflict.
func (s *Store) CreateTeam(ctx context.Context, t auditdrain.Team, act *auditdrain.Activity) error {
	return s.run(ctx, "create team", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		for _, k := range []struct{ what, name, prefix string }{
			{"id", t.ID, teamPrefix},
			{"id", t.ID, slugPrefix},
			{"slug", t.Slug, slugPrefix},
			{"slug", t.Slug, teamPrefix},
		} {
			v, err := e.get(key(k.prefix, k.name))
			if err != nil {
				return err
			}
			if v != nil {
				return auditdrain.Errorf(auditdrain.CodeConflict, "%s: %q names another team already: choose another one", k.what, k.name)
			}
		}
		b := e.db.NewBatch()
		if err := setJSON(b, key(teamPrefix, t.ID), t); err != nil {
			return err
		}
		if err := b.Set(key(slugPrefix, t.Slug), []byte(t.ID), nil); err != nil {
			return err
		}
		return e.commitWith(b, act)
	})
}

// Team returns a team by ID or slug, or CodeNotFound.
func (s *Store) Team(ctx context.Context, idOrSlug string) (auditdrain.Team, error) {
	if t, ok := recall[auditdrain.Team](ctx, s, idOrSlug); ok {
		return t, nil
	}
	return read(ctx, s, "look up team", func(e *engine) (t auditdrain.Team, err error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		found, err := e.getJSON(key(teamPrefix, idOrSlug), &t)
		if err == nil && !found {
			var id []byte
			if id, err = e.get(key(slugPrefix, idOrSlug)); id != nil {
				found, err = e.getJSON(key(teamPrefix, string(id)), &t)
			}
		}
		switch {
		case err != nil:
			return t, err
		case !found:
			return t, noTeam(idOrSlug)
		}
		e.looked.Store(idOrSlug, t) // until UpdateTeam, which waits for catalog
		return t, nil
	})
}

// UpdateTeam changes a team and returns it as it is then. It is durable when
// UpdateTeam returns nil. Updates take place one after the other. An error of
// update is returned as it is, and nothing is changed; update may fill in what
// act points to, and must not change the team's ID or slug, nor call the store.
// A team that does not exist is CodeNotFound.
func (s *Store) UpdateTeam(ctx context.Context, id string, update func(*auditdrain.Team) error, act *auditdrain.Activity) (auditdrain.Team, error) {
	return change(ctx, s, "update team", update, func(e *engine, apply func(*auditdrain.Team) error) (t auditdrain.Team, err error) {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		found, err := e.getJSON(key(teamPrefix, id), &t)
		if err != nil {
			return t, err
		}
		if !found {
			return t, noTeam(id)
		}
		slug := t.Slug
		if err := apply(&t); err != nil {
			return t, err
		}
		if t.ID != id || t.Slug != slug {
			return t, fmt.Errorf("team %s (%s) cannot become team %s (%s)", id, slug, t.ID, t.Slug)
		}
		b := e.db.NewBatch()
		if err := setJSON(b, key(teamPrefix, id), t); err != nil {
			return t, err
		}
		if err := e.commitWith(b, act); err != nil {
			return t, err
		}
		e.looked.Delete(id)
		e.looked.Delete(slug)
		e.noteTeam(t)
		return t, nil
	})
}

// recall returns what an earlier look-up has found: every request asks for its
// token and its team, and need not wait for who writes to the catalog.
func recall[T any](ctx context.Context, s *Store, name any) (found T, ok bool) {
	e := s.ready(ctx)
	if e == nil {
		return found, false
	}
	v, ok := e.looked.Load(name)
	if !ok {
		return found, false
	}
	return v.(T), true
}

func noTeam(idOrSlug string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no team %q", idOrSlug)
}

// Teams returns all teams, ordered by ID.
func (s *Store) Teams(ctx context.Context) ([]auditdrain.Team, error) {
	return read(ctx, s, "list teams", func(e *engine) ([]auditdrain.Team, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		var teams []auditdrain.Team
		err := e.scan(teamPrefix, func(_ string, v []byte) error {
			var t auditdrain.Team
			err := json.Unmarshal(v, &t)
			teams = append(teams, t)
			return err
		})
		return teams, err
	})
}

// CreateToken stores a token. It is durable when CreateToken returns nil. An
// ID or a hash that exists is refused with CodeConflict, a team that does not
// exist with CodeNotFound.
func (s *Store) CreateToken(ctx context.Context, t auditdrain.Token, act *auditdrain.Activity) error {
	return s.run(ctx, "create token", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		if t.TeamID != "" {
			if err := e.requireTeam(t.TeamID); err != nil {
				return err
			}
		}
		for _, k := range [][]byte{hashKey(tokenPrefix, t.Hash), key(tokenIDPrefix, t.ID)} {
			v, err := e.get(k)
			if err != nil {
				return err
			}
			if v != nil {
				return auditdrain.Errorf(auditdrain.CodeConflict, "token %q exists already", t.ID)
			}
		}
		b := e.db.NewBatch()
		if err := setJSON(b, hashKey(tokenPrefix, t.Hash), t); err != nil {
			return err
		}
		if err := b.Set(key(tokenIDPrefix, t.ID), hex.AppendEncode(nil, t.Hash[:]), nil); err != nil {
			return err
		}
		return e.commitWith(b, act)
	})
}

func (e *engine) requireTeam(id string) error {
	v, err := e.get(key(teamPrefix, id))
	if err == nil && v == nil {
		err = noTeam(id)
	}
	return err
}

// TokenByHash returns the token with this hash, expired or not, or
// CodeNotFound. The hash is compared in constant time.
func (s *Store) TokenByHash(ctx context.Context, h auditdrain.TokenHash) (auditdrain.Token, error) {
	if t, ok := recall[auditdrain.Token](ctx, s, h); ok {
		return t, nil
	}
	return read(ctx, s, "look up token", func(e *engine) (auditdrain.Token, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		t := auditdrain.Token{Hash: h}
		found, err := e.getHashed(tokenPrefix, h, &t)
		if err != nil {
			return t, err
		}
		if !found {
			return t, auditdrain.Errorf(auditdrain.CodeNotFound, "there is no such token")
		}
		e.looked.Store(h, t) // until DeleteToken, which waits for catalog
		return t, nil
	})
}

// Tokens returns a team's tokens, or all if teamID is empty, ordered by
// creation.
func (s *Store) Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error) {
	return read(ctx, s, "list tokens", func(e *engine) ([]auditdrain.Token, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		var tokens []auditdrain.Token
		err := e.scan(tokenPrefix, func(name string, v []byte) error {
			var t auditdrain.Token
			if err := json.Unmarshal(v, &t); err != nil {
				return err
			}
			if _, err := hex.Decode(t.Hash[:], []byte(name)); err != nil {
				return err
			}
			if teamID == "" || t.TeamID == teamID {
				tokens = append(tokens, t)
			}
			return nil
		})
		slices.SortFunc(tokens, func(a, b auditdrain.Token) int {
			return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		return tokens, err
	})
}

// DeleteToken removes a team's token, or any team's if teamID is empty. It is
// durable when DeleteToken returns nil. A token that does not exist, or is
// another team's, is CodeNotFound.
func (s *Store) DeleteToken(ctx context.Context, teamID, id string, act *auditdrain.Activity) error {
	return s.run(ctx, "delete token", func(e *engine) error {
		e.catalog.Lock()
		defer e.catalog.Unlock()
		hash, err := e.get(key(tokenIDPrefix, id))
		if err != nil {
			return err
		}
		var t auditdrain.Token
		tokenKey := key(tokenPrefix, string(hash))
		found := false
		if hash != nil {
			if found, err = e.getJSON(tokenKey, &t); err != nil {
				return err
			}
		}
		if !found || teamID != "" && t.TeamID != teamID {
			return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no token %q", id)
		}
		if _, err := hex.Decode(t.Hash[:], hash); err != nil {
			return err
		}
		e.looked.Delete(t.Hash)
		return e.commitDelete(act, tokenKey, key(tokenIDPrefix, id))
	})
}

// commitDelete is commitWith for a batch that removes keys.
func (e *engine) commitDelete(act *auditdrain.Activity, keys ...[]byte) error {
	b := e.db.NewBatch()
	for _, k := range keys {
		if err := b.Delete(k, nil); err != nil {
			return err
		}
	}
	return e.commitWith(b, act)
}

func setJSON(b *pebble.Batch, key []byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Set(key, data, nil)
}

// getJSON decodes a key's value into v, and reports whether there is one.
func (e *engine) getJSON(key []byte, v any) (bool, error) {
	data, err := e.get(key)
	if data == nil || err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, v)
}
