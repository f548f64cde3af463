package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// importBytes is about how much is written in one transaction: what is in
// memory, and what is done again after an import was broken off.
const importBytes = 4 << 20

// Import fills an empty database with all that another store holds. From when
// it has begun until Finish, Open refuses the database, so that nobody sees a
// part of it.
//
// An import that was broken off, at any point, goes on with the next one:
// configuration and state, which may have changed meanwhile, are written anew,
// and of events those that are missing. Both end with the same. Of two at once
// the second takes over, and the first is refused from then on.
//
// What the Put methods are given is written in transactions of a few megabytes,
// which Flush completes; the database does not wait for its disk until Finish.
// They are not safe for concurrent use. The methods of Store read what is there.
type Import struct {
	*Store

	complete bool              // it was, when it began
	have     map[string]uint64 // by team: the last event that is there
	chunk    chunk
}

// OpenImport begins an import into the database at url, or goes on with one. It
// makes the migrations that are missing. A database that holds something else is
// refused.
func OpenImport(ctx context.Context, url string, opts Options) (*Import, error) {
	s, err := open(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	i := &Import{Store: s, have: map[string]uint64{}, chunk: newChunk()}
	if err := i.begin(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return i, nil
}

// filled are the tables that an import writes anew each time it begins.
const filled = "teams, team_names, tokens, signing_keys, activities, drains, delivery, attempts, series, skips, replays, chains, seals, notified, delivered"

func (i *Import) begin(ctx context.Context) error {
	err := i.tx(ctx, "begin import", func(ctx context.Context, tx pgx.Tx) error {
		finished, err := collect(ctx, tx, pgx.RowTo[int64], `SELECT finished_at FROM imports FOR UPDATE`)
		switch {
		case err != nil:
			return err
		case finished == nil:
			if err := requireEmpty(ctx, tx); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO imports (id, run, finished_at) VALUES (1, $1, 0)`, i.id)
			return err
		case finished[0] != 0:
			i.complete = true
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE imports SET run = $1`, i.id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `TRUNCATE `+filled)
		return err
	})
	if err != nil {
		return err
	}
	type position struct {
		TeamID string
		Last   uint64
	}
	positions, err := list(ctx, i.Store, "read last numbers", pgx.RowToStructByPos[position], `SELECT team_id, last_seq FROM sequences`)
	for _, p := range positions {
		i.have[p.TeamID] = p.Last
	}
	return err
}

// requireEmpty fails if anybody has stored something, or is about to.
func requireEmpty(ctx context.Context, tx pgx.Tx) error {
	for _, t := range []struct{ table, what string }{
		{"nodes", "auditdrain serve runs on it"}, {"teams", "it has teams"}, {"tokens", "it has tokens"},
		{"activities", "it has activities"}, {"sequences", "it has events"},
	} {
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+t.table+`)`).Scan(&exists); err != nil {
			return err
		}
		if exists {
			return auditdrain.Errorf(auditdrain.CodeConflict, "the database is not empty: %s; use an empty one, or another schema (search_path in the URL)", t.what)
		}
	}
	return nil
}

// checkImport fails if an import has begun that is not complete.
func (s *Store) checkImport(ctx context.Context) error {
	unfinished, err := list(ctx, s, "look for an import", pgx.RowTo[string], `SELECT run FROM imports WHERE finished_at = 0`)
	if err == nil && unfinished != nil {
		err = errors.New("open database: a store is being moved here, and not all of it has arrived: let auditdrain migrate-store come to its end, or start it again")
	}
	return err
}

// PutEvents adds the next events of a team. Those that are there already must be
// the same, of which the last one is looked at.
func (i *Import) PutEvents(ctx context.Context, teamID string, events []auditdrain.StoredEvent) error {
	if i.complete || len(events) == 0 {
		return nil
	}
	if have, first := i.have[teamID], events[0].Seq; have >= first {
		there := min(have-first+1, uint64(len(events)))
		if err := i.requireSame(ctx, teamID, events[there-1]); err != nil {
			return err
		}
		events = events[there:]
	}
	for _, e := range events {
		i.chunk.addEvent(teamID, e)
		if err := i.flushLarge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// requireSame fails if the database has another event in the place of e. One that
// it has no more is fine.
func (i *Import) requireSame(ctx context.Context, teamID string, e auditdrain.StoredEvent) error {
	found, err := i.Read(ctx, teamID, e.Seq-1, 1, 1)
	if err != nil {
		return err
	}
	if len(found) > 0 && found[0].Seq == e.Seq && (found[0].ID != e.ID || found[0].TotalBytes != e.TotalBytes || !found[0].AcceptedAt.Equal(e.AcceptedAt)) {
		return elsewhere("event %d of team %s is %s, and %s in the database", e.Seq, teamID, e.ID, found[0].ID)
	}
	return nil
}

func elsewhere(format string, args ...any) error {
	return auditdrain.Errorf(auditdrain.CodeConflict, "what the database has of an import that was broken off is of another store ("+format+"): begin with an empty database", args...)
}

// PutLog says where a team's log begins and ends, after all its events.
func (i *Import) PutLog(ctx context.Context, log auditdrain.LogRecord) error {
	if i.complete {
		return nil
	}
	if have := i.have[log.TeamID]; have > log.Last {
		return elsewhere("team %s has %d events, and %d in the database", log.TeamID, log.Last, have)
	}
	i.chunk.addLog(log)
	return i.flushLarge(ctx)
}

// PutCatalog adds teams and tokens.
func (i *Import) PutCatalog(ctx context.Context, teams []auditdrain.Team, tokens []auditdrain.Token) error {
	if i.complete {
		return nil
	}
	for _, t := range teams {
		if err := i.chunk.addTeam(t); err != nil {
			return err
		}
	}
	for _, t := range tokens {
		if err := i.chunk.addToken(t); err != nil {
			return err
		}
	}
	return i.flushLarge(ctx)
}

// PutSigningKeys adds all keys that manifests are signed with.
func (i *Import) PutSigningKeys(ctx context.Context, keys []auditdrain.SigningKey) error {
	if i.complete {
		return nil
	}
	for n, k := range keys {
		if err := i.chunk.addJSON("signing_keys", k, n+1, k.ID); err != nil {
			return err
		}
	}
	return i.flushLarge(ctx)
}

// PutDrain adds a drain, which nobody owns, with all that is kept of it.
func (i *Import) PutDrain(ctx context.Context, d auditdrain.DrainRecord) error {
	if i.complete {
		return nil
	}
	if err := i.chunk.addDrain(d); err != nil {
		return fmt.Errorf("drain %s: %w", d.Drain.ID, err)
	}
	return i.flushLarge(ctx)
}

// PutChain adds the chain of a drain, which may be deleted, with its seals.
func (i *Import) PutChain(ctx context.Context, r auditdrain.ChainRecord) error {
	if i.complete {
		return nil
	}
	if err := i.chunk.addChain(r); err != nil {
		return fmt.Errorf("chain of drain %s: %w", r.Chain.DrainID, err)
	}
	return i.flushLarge(ctx)
}

// PutActivities adds the next activities, with their numbers, and says how many
// have become events.
func (i *Import) PutActivities(ctx context.Context, activities []auditdrain.Activity, forwarded uint64) error {
	if i.complete {
		return nil
	}
	for _, a := range activities {
		if err := i.chunk.addActivity(a); err != nil {
			return err
		}
	}
	i.chunk.forwarded = forwarded
	return i.flushLarge(ctx)
}

func (i *Import) flushLarge(ctx context.Context) error {
	if i.chunk.bytes < importBytes {
		return nil
	}
	return i.Flush(ctx)
}

// Flush writes what has been put and is not written yet.
func (i *Import) Flush(ctx context.Context) error {
	for day := range i.chunk.days {
		if err := i.days.ensure(ctx, i.Store, day); err != nil {
			return err
		}
	}
	err := i.tx(ctx, "import", func(ctx context.Context, tx pgx.Tx) error {
		if i.complete {
			return nil
		}
		if err := i.holdRun(ctx, tx); err != nil {
			return err
		}
		return i.chunk.write(ctx, tx)
	})
	if err == nil {
		i.chunk = newChunk()
	}
	return err
}

// holdRun fails if another import has taken over, and keeps it from that until
// the transaction ends.
func (i *Import) holdRun(ctx context.Context, tx pgx.Tx) error {
	runs, err := collect(ctx, tx, pgx.RowTo[string], `SELECT run FROM imports WHERE finished_at = 0 FOR UPDATE`)
	if err == nil && !slices.Contains(runs, i.id) {
		err = auditdrain.Errorf(auditdrain.CodeConflict, "another process has taken over this import")
	}
	return err
}

// Finish has the database be used by others. All is durable when Finish returns
// nil. To finish what was complete before does nothing.
func (i *Import) Finish(ctx context.Context) error {
	if i.complete {
		return nil
	}
	return i.tx(ctx, "finish import", func(ctx context.Context, tx pgx.Tx) error {
		if err := i.holdRun(ctx, tx); err != nil {
			return err
		}
		strange, err := collect(ctx, tx, pgx.RowTo[string], `SELECT team_id FROM sequences EXCEPT SELECT id FROM teams ORDER BY 1 LIMIT 1`)
		if err != nil {
			return err
		}
		if strange != nil {
			return elsewhere("team %s, which has events in the database, is unknown", strange[0])
		}
		_, err = tx.Exec(ctx, `UPDATE imports SET finished_at = $1`, time.Now().UnixMilli())
		return err
	})
}
