package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Migration is one step from one layout of the database to the next. There is
// no way back: a step that was released is never changed.
type Migration struct {
	Version int    // from 1, without gaps
	Name    string // "0001_first"
	SQL     string
}

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations returns all that this binary knows, in their order.
func Migrations() ([]Migration, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var all []Migration
	for _, f := range files { // sorted by name
		name := strings.TrimSuffix(f.Name(), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(all)+1 {
			return nil, fmt.Errorf("migration %s is not number %d", f.Name(), len(all)+1)
		}
		sql, err := migrationFiles.ReadFile("migrations/" + f.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		all = append(all, Migration{Version: version, Name: name, SQL: string(sql)})
	}
	return all, nil
}

// The table that says which migrations have been made. Its row 0 stands for
// none: whoever migrates holds it.
const createMigrations = `
CREATE TABLE IF NOT EXISTS migrations (
    version integer PRIMARY KEY,
    name    text NOT NULL
);
INSERT INTO migrations (version, name) VALUES (0, 'begin') ON CONFLICT DO NOTHING;
`

// Pending returns the migrations that the database at url has yet to see. It
// changes nothing. A database of a newer version is an error.
func Pending(ctx context.Context, url string) ([]Migration, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	pending, err := pending(ctx, conn, `SELECT version FROM migrations`)
	if code(err) == codeUndefinedTable {
		return Migrations()
	}
	return pending, err
}

// Migrate makes the migrations that the database at url has yet to see, all of
// them or none, and returns them. Of many who do so at once, one does and the
// others wait. A database of a newer version is an error, and left as it is.
func Migrate(ctx context.Context, url string) ([]Migration, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	return migrate(ctx, conn)
}

func migrate(ctx context.Context, conn *pgx.Conn) ([]Migration, error) {
	if err := createMigrationsTable(ctx, conn); err != nil {
		return nil, err
	}
	var made []Migration
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		// What others have made is looked for once it is our turn.
		if _, err := tx.Exec(ctx, `SELECT version FROM migrations WHERE version = 0 FOR UPDATE`); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		if made, err = pending(ctx, tx, `SELECT version FROM migrations`); err != nil {
			return err
		}
		for _, m := range made {
			if _, err := tx.Exec(ctx, m.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("migration %s: %w", m.Name, err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO migrations (version, name) VALUES ($1, $2)`, m.Version, m.Name); err != nil {
				return fmt.Errorf("note migration %s: %w", m.Name, err)
			}
		}
		return nil
	})
	return made, err
}

// createMigrationsTable makes the table unless it is there. Two who do so at the
// same moment may find each other's half, so it is tried again.
func createMigrationsTable(ctx context.Context, conn *pgx.Conn) error {
	var err error
	for range 3 {
		var exists bool
		if err = conn.QueryRow(ctx, `SELECT count(*) > 0 FROM migrations WHERE version = 0`).Scan(&exists); err == nil && exists {
			return nil
		}
		if _, err = conn.Exec(ctx, createMigrations, pgx.QueryExecModeSimpleProtocol); err == nil {
			return nil
		}
	}
	return fmt.Errorf("create table migrations: %w", err)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func pending(ctx context.Context, q querier, sql string) ([]Migration, error) {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	all, err := Migrations()
	if err != nil {
		return nil, err
	}
	at := 0
	for _, v := range versions {
		at = max(at, v)
	}
	if at > len(all) {
		return nil, fmt.Errorf("the database has layout %d, and this version of auditdrain knows %d at most: use the newer version", at, len(all))
	}
	return all[at:], nil
}

// connect opens the one connection that a command needs.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return conn, nil
}

// closeConn says good-bye, but does not wait long for it.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// code returns the SQLSTATE of err, or "" if it did not come from the database.
func code(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// The SQLSTATEs that we look for.
const (
	codeNoPartition       = "23514" // for a row; in general, a check that fails
	codeSerialization     = "40001"
	codeDeadlock          = "40P01"
	codeUndefinedTable    = "42P01"
	codeReadOnly          = "25006"
	codeLockNotAvailable  = "55P03"
	codeIdleInTransaction = "25P03"
)

// passing are the classes of SQLSTATEs that will pass: connections, broken-off
// transactions, resources (memory, disk, connections), what the operator does
// (restarts, and statements that took too long), and I/O errors.
var passing = []string{"08", "40", "53", "57", "58"}
