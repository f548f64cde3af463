package move_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/move"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/pgstore"
	"github.com/auditdrain/auditdrain/internal/pgtest"
	"github.com/auditdrain/auditdrain/internal/storetest"
)

// server is what TestMain has started for all tests.
var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
		os.Exit(1)
	}
	failed := m.Run()
	server.Stop()
	os.Exit(failed)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// folder is where an embedded store is, and database where it goes.
type (
	folder   struct{ dir string }
	database struct {
		t   testing.TB
		url string
	}
)

func (f folder) Open(now func() time.Time) (storetest.Store, error) {
	return pebblestore.Open(f.dir, pebblestore.Options{Logger: discard(), Now: now, MemTableBytes: 16 << 10, TailBytes: 8 << 10})
}

func (d database) Open(now func() time.Time) (storetest.Store, error) {
	return pgstore.Open(d.t.Context(), d.url, pgstore.Options{Logger: discard(), Now: now})
}

func newDatabase(t testing.TB) database { return database{t, server.URL(server.NewSchema(t))} }

// run moves a folder to a database, until ctx ends or a call of show says so.
func run(ctx context.Context, dir, url string, show func(move.Progress)) (sums []move.Sum, err error) {
	from, err := pebblestore.Open(dir, pebblestore.Options{Logger: discard(), ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := pgstore.OpenImport(ctx, url, pgstore.Options{Logger: discard()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return move.Run(ctx, from, to, show)
}

func silent(move.Progress) {}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want one with %q", err, part)
	}
}

func TestHistories(t *testing.T) {
	storetest.RunMoves(t, func(t *testing.T) storetest.Place { return folder{t.TempDir()} }, func(t *testing.T, from storetest.Place) storetest.Place {
		to := newDatabase(t)
		if _, err := run(t.Context(), from.(folder).dir, to.url, silent); err != nil {
			t.Fatal(err)
		}
		return to
	})
}

// TestBrokenOffHistories has the move end at random points, before it comes to
// its end; after each the database cannot be used.
func TestBrokenOffHistories(t *testing.T) {
	storetest.RunMoves(t, func(t *testing.T) storetest.Place { return folder{t.TempDir()} }, func(t *testing.T, from storetest.Place) storetest.Place {
		to, dir := newDatabase(t), from.(folder).dir
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			left := rand.IntN(6)
			_, err := run(ctx, dir, to.url, func(move.Progress) {
				if left--; left < 0 {
					cancel()
				}
			})
			cancel()
			if err == nil {
				break
			}
			_, err = to.Open(time.Now)
			wantError(t, err, "not all of it has arrived")
		}
		first, err := run(t.Context(), dir, to.url, silent)
		if err != nil {
			t.Fatal(err)
		}
		// Nothing is written any more, and the result is the same.
		again, err := run(t.Context(), dir, to.url, silent)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, again); d != "" {
			t.Error(d)
		}
		return to
	})
}

// source makes a folder with teams of so many events, a drain of each, and
// returns its store's directory.
func source(t testing.TB, events ...int) string {
	t.Helper()
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	for n, count := range events {
		team := fmt.Sprint("team", n)
		act := &auditdrain.Activity{ID: "act", Action: "team-created", TeamID: team}
		if err := s.CreateTeam(t.Context(), auditdrain.Team{ID: team, Slug: team}, act); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateDrain(t.Context(), auditdrain.Drain{ID: "drn" + team, TeamID: team}, 0, nil); err != nil {
			t.Fatal(err)
		}
		appendEvents(t, s, team, 0, count)
		sealChain(t, s, "drn"+team, time.Now())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sealChain begins a drain's chain, and seals twice.
func sealChain(t testing.TB, s *pebblestore.Store, drainID string, now time.Time) {
	t.Helper()
	as := auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: auditdrain.Delivery{Integrity: true}}}
	for range 3 {
		if _, err := s.Seal(t.Context(), drainID, auditdrain.SealRequest{As: &as, At: now.UnixMilli(), KeyID: "key"}); err != nil {
			t.Fatal(err)
		}
		as.Delivery.Encoding += "other"
	}
}

type appender interface {
	Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error)
}

func appendEvents(t testing.TB, s appender, team string, first, last int) {
	t.Helper()
	for first < last {
		b := auditdrain.Batch{TeamID: team}
		for ; first < last && len(b.Events) < 1000; first++ {
			b.Events = append(b.Events, auditdrain.Event{ID: fmt.Sprint("e", first), Timestamp: int64(first), Body: fmt.Appendf(nil, `{"id":"e%d","pad":"%400d"}`, first, first)})
		}
		if _, err := s.Append(t.Context(), []auditdrain.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoesOn breaks a move off in the middle, has the folder be used again, and
// moves it to the end: what was there by then has not been written again.
func TestGoesOn(t *testing.T) {
	dir, to := source(t, 30_000, 10), newDatabase(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := run(ctx, dir, to.url, func(p move.Progress) {
		if p.Done >= 20_000 {
			cancel()
		}
	})
	wantError(t, err, context.Canceled.Error())
	before := query[int64](t, to.url, `SELECT count(*) FROM events`)
	if before == 0 || before >= 30_000 {
		t.Fatalf("%d events were moved before it was broken off", before)
	}
	oldest := query[string](t, to.url, `SELECT min(xmin::text::bigint)::text FROM events`)

	s, err := folder{dir}.Open(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, "team1", 10, 20)
	if err := s.DeleteDrain(t.Context(), "", "drnteam0", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sums, err := run(t.Context(), dir, to.url, silent)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []move.Sum{
		{TeamID: ""},
		{TeamID: "team0", Activities: 1, Chains: 1, Events: 30_000},
		{TeamID: "team1", Activities: 1, Drains: 1, Chains: 1, Events: 20},
	} {
		want.Bytes, want.Checksum = sums[n].Bytes, sums[n].Checksum
		if sums[n] != want {
			t.Errorf("got %+v, want %+v", sums[n], want)
		}
	}
	if now := query[string](t, to.url, `SELECT min(xmin::text::bigint)::text FROM events`); now != oldest {
		t.Error("events were written again")
	}
	// Used since, it is not the same any more.
	used, err := to.Open(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, used, "team1", 20, 21)
	if err := used.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = run(t.Context(), dir, to.url, silent)
	wantError(t, err, "1 of 3 teams differ")
}

// TestFindsDamage damages what has arrived before it is read back.
func TestFindsDamage(t *testing.T) {
	for name, tc := range map[string]struct{ sql, want string }{
		"body":      {`UPDATE events SET body = 'x' || substr(body, 2) WHERE seq = 7`, "as many of everything, but with another checksum"},
		"time":      {`UPDATE events SET accepted_at = accepted_at + 1 WHERE seq = 7`, "as many of everything, but with another checksum"},
		"cursor":    {`UPDATE delivery SET cursor = cursor + 1`, "as many of everything, but with another checksum"},
		"bytes":     {`UPDATE events SET body = substr(body, 2) WHERE seq = 7`, "4199 bytes, want 4200"},
		"drain":     {`DELETE FROM drains`, "0 drains, want 1"},
		"activity":  {`DELETE FROM activities`, "0 activities, want 1"},
		"event":     {`DELETE FROM events WHERE seq = 7`, "9 events, want 10"},
		"last":      {`DELETE FROM events WHERE seq = 10`, "event 10 is missing"},
		"gone":      {`UPDATE sequences SET gone = 3`, "7 events, want 10"},
		"more":      {`INSERT INTO teams (id, search, data) VALUES ('other', '', '{"id":"other"}')`, "team other is not in the store that was moved"},
		"chain":     {`UPDATE chains SET data = replace(data, '"keyId":"key"', '"keyId":"yek"')`, "as many of everything, but with another checksum"},
		"chains":    {`DELETE FROM chains`, "0 chains, want 1"},
		"seal":      {`DELETE FROM seals WHERE number = 1`, "as many of everything, but with another checksum"},
		"forwarded": {`UPDATE counters SET value = 1 WHERE name = 'forwarded'`, "no team as many of everything"},
		"stray":     {`INSERT INTO sequences (team_id, last_seq) VALUES ('other', 1)`, "team other, which has events in the database, is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, to := source(t, 10), newDatabase(t)
			from, err := pebblestore.Open(dir, pebblestore.Options{Logger: discard(), ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			target, err := pgstore.OpenImport(t.Context(), to.url, pgstore.Options{Logger: discard()})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			_, err = move.Run(t.Context(), from, damaged{target, func() { exec(t, to.url, tc.sql) }}, silent)
			if err == nil {
				t.Fatal("it was not found")
			}
			text := err.Error()
			if e := (*auditdrain.Error)(nil); errors.As(err, &e) {
				text += fmt.Sprint(e.Details)
			}
			if !strings.Contains(text, tc.want) {
				t.Errorf("error %q, want one with %q", text, tc.want)
			}
			_, err = to.Open(time.Now)
			wantError(t, err, "not all of it has arrived")
		})
	}
}

// damaged is a target that something happens to once all has arrived.
type damaged struct {
	*pgstore.Import
	damage func()
}

func (d damaged) Flush(ctx context.Context) error {
	err := d.Import.Flush(ctx)
	d.damage()
	return err
}

func TestRefused(t *testing.T) {
	t.Run("target is not empty", func(t *testing.T) {
		to := newDatabase(t)
		s, err := to.Open(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.CreateTeam(t.Context(), auditdrain.Team{ID: "mine", Slug: "mine"}, nil); err != nil {
			t.Fatal(err)
		}
		_, err = run(t.Context(), source(t, 3), to.url, silent)
		wantError(t, err, "the database is not empty: it has teams")
		if _, err := s.Team(t.Context(), "mine"); err != nil {
			t.Error(err)
		}
	})
	t.Run("nodes run", func(t *testing.T) {
		to := newDatabase(t)
		s, err := to.Open(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		exec(t, to.url, `INSERT INTO nodes (id, joined, beat, term) VALUES ('node', 1, 1, 1)`)
		_, err = run(t.Context(), source(t, 3), to.url, silent)
		wantError(t, err, "auditdrain serve runs on it")
	})
	t.Run("beginning of another store", func(t *testing.T) {
		for name, events := range map[string]int{"longer": 10_000, "as long": 30_000} {
			t.Run(name, func(t *testing.T) {
				to := newDatabase(t)
				ctx, cancel := context.WithCancel(t.Context())
				if _, err := run(ctx, source(t, 30_000), to.url, func(p move.Progress) {
					if p.Done >= 20_000 {
						cancel()
					}
				}); err == nil {
					t.Fatal("it was not broken off")
				}
				_, err := run(t.Context(), source(t, events), to.url, silent)
				wantError(t, err, "is of another store")
			})
		}
	})
	t.Run("source in use", func(t *testing.T) {
		dir := source(t, 3)
		s, err := folder{dir}.Open(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = run(t.Context(), dir, newDatabase(t).url, silent)
		wantError(t, err, "in use by another auditdrain process")
	})
	t.Run("no source", func(t *testing.T) {
		for _, dir := range []string{t.TempDir(), t.TempDir() + "/none"} {
			_, err := run(t.Context(), dir, newDatabase(t).url, silent)
			wantError(t, err, "there is no store of auditdrain in it")
		}
	})
	t.Run("another has taken over", func(t *testing.T) {
		dir, to := source(t, 30_000), newDatabase(t)
		_, err := run(t.Context(), dir, to.url, func(p move.Progress) {
			if p.Done == 2000 {
				other, err := pgstore.OpenImport(t.Context(), to.url, pgstore.Options{Logger: discard()})
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
			}
		})
		wantError(t, err, "another process has taken over this import")
		if _, err := run(t.Context(), dir, to.url, silent); err != nil {
			t.Error(err)
		}
	})
}

func query[T any](t *testing.T, url, sql string) (v T) {
	t.Helper()
	c := connect(t, url)
	defer c.Close(context.Background())
	if err := c.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func exec(t *testing.T, url, sql string) {
	t.Helper()
	c := connect(t, url)
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
