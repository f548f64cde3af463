package pgstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/auditdrain/auditdrain"
)

// Bounds on how long the database may take. What takes longer is broken off,
// on both sides, and reported as CodeUnavailable.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = 15 * time.Second
	lockTimeout      = 10 * time.Second
	// callTimeout is for all that a method does, with waiting for a connection.
	callTimeout = 30 * time.Second
	// idleInTransaction ends the transactions of a node that has stopped in the
	// middle of one: others wait for its locks.
	idleInTransaction = 10 * time.Second

	defaultMaxConns = 16
	// defaultDownFor is how long Admit refuses after a call that did not reach the
	// database. Then events are let through again, to find out.
	defaultDownFor = time.Second
	// tries bounds how often a transaction is begun that the database has
	// broken off in favour of another one.
	tries = 5
)

// Options adjusts a Store. The zero value is right for production.
type Options struct {
	Logger *slog.Logger     // slog.Default() if nil
	Now    func() time.Time // time.Now if nil
	// Name is what the database's administrator sees of this node, and begins its
	// ID; "node" if it is empty.
	Name string
	// MaxConns bounds the connections; 0 means the URL's pool_max_conns, or 16.
	MaxConns int
	// CallTimeout bounds each method; 0 means 30 seconds.
	CallTimeout time.Duration

	downFor time.Duration // see defaultDownFor
}

// Store is what one node has open of the database. See the package
// documentation for what it guarantees.
type Store struct {
	opts     Options
	id       string // of the node
	pool     *pgxpool.Pool
	recorded chan struct{} // see Recorded
	metrics  metrics
	lookups  lookups
	days     days
	down     atomic.Int64 // Unix ns until which Admit refuses
	closed   atomic.Bool
}

// Open connects to the database at url, makes the migrations that it has yet to
// see, and fails if it is of a newer version, or if an Import has begun that is
// not complete. The URL is PostgreSQL's own: with
// several hosts and target_session_attrs=read-write the one is used, also after
// a failover, that takes writes.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	s, err := open(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	if err := s.checkImport(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func open(ctx context.Context, url string, opts Options) (*Store, error) {
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.CallTimeout == 0 {
		opts.CallTimeout = callTimeout
	}
	if opts.downFor == 0 {
		opts.downFor = defaultDownFor
	}
	if opts.MaxConns > 0 {
		config.MaxConns = int32(opts.MaxConns)
	}
	id := cmp.Or(opts.Name, "node") + "-" + strings.ToLower(rand.Text()[:8])
	config.ConnConfig.RuntimeParams["application_name"] = "auditdrain " + id
	made, err := migrateWith(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", unavailable(err))
	}
	for _, m := range made {
		opts.Logger.Info("database migrated", "migration", m.Name)
	}
	metrics := newMetrics()
	config.ConnConfig.Tracer = statements{metrics.statements.WithLabelValues("work"), metrics.statements.WithLabelValues("news")}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &Store{opts: opts, id: id, pool: pool, metrics: metrics, recorded: make(chan struct{}, 1)}, nil
}

func migrateWith(ctx context.Context, config *pgx.ConnConfig) ([]Migration, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, lost{err}
	}
	defer closeConn(conn)
	all, err := pending(ctx, conn, `SELECT version FROM migrations`)
	if err == nil && len(all) == 0 {
		return nil, nil // as almost always
	}
	return migrate(ctx, conn)
}

// parse adds to the URL what it does not say: bounds on time, and that plans
// are made once, without looking at values, and go by indexes. The planner
// would otherwise take a table for small that was so when it looked last, and
// read all of it, until the statistics are made anew.
func parse(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "the PostgreSQL URL is not valid: use postgres://user@host:5432/database")
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = defaultMaxConns
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	for name, value := range map[string]string{
		"application_name":                    "auditdrain",
		"statement_timeout":                   ms(statementTimeout),
		"lock_timeout":                        ms(lockTimeout),
		"idle_in_transaction_session_timeout": ms(idleInTransaction),
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"jit":                                 "off",  // which takes a scan that cannot be avoided for a huge one
		"work_mem":                            "32MB", // a group of events is sorted without files
	} {
		if _, ok := config.ConnConfig.RuntimeParams[name]; !ok {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	return config, nil
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Close ends all connections. Calls that are under way come to an end first;
// later ones are refused with CodeUnavailable.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.pool.Close()
	return nil
}

// Check asks for a write of nothing, which shows that the database works, and
// that it is not a standby.
func (s *Store) Check(ctx context.Context) error {
	return s.exec(ctx, "check database", `UPDATE counters SET value = value WHERE name = 'check'`)
}

// Admit tells whether events can be taken just now: nil, or an error with
// CodeUnavailable, for a second after a call that could not reach the database.
// It makes no call, so that it can be asked for every request.
func (s *Store) Admit() error {
	if time.Now().UnixNano() < s.down.Load() {
		return errDown
	}
	return nil
}

var (
	errDown = &auditdrain.Error{
		Code:       auditdrain.CodeUnavailable,
		Message:    "the database of the event store cannot be used just now: nothing is acknowledged until it works again; try again then",
		RetryAfter: 5 * time.Second,
	}
	errClosed = &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the event store is closed: the service is shutting down"}
)

// do runs f with a connection, again if the database has broken f off in favour
// of another transaction, or if the connection was dead before anything was
// sent. Whatever f did is undone then.
func (s *Store) do(ctx context.Context, what string, f func(context.Context, *pgx.Conn) error) error {
	if s.closed.Load() {
		return errClosed
	}
	limited, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	var err error
	for range tries {
		err = s.once(limited, f)
		if !again(err) || limited.Err() != nil {
			break
		}
		s.metrics.repeated.Inc()
	}
	return s.outcome(ctx, what, err)
}

// lost is an error of a connection: it could not be made, or it is no more.
// What was under way has taken place or not.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

func (s *Store) once(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return lost{err}
	}
	defer c.Release()
	if err = f(ctx, c.Conn()); err != nil && c.Conn().IsClosed() {
		return lost{err}
	}
	return err
}

// again reports whether nothing has happened, and may if it is tried again.
func again(err error) bool {
	c := code(err)
	return c == codeSerialization || c == codeDeadlock || c == "" && err != nil && pgconn.SafeToRetry(err)
}

// outcome is err as callers see it.
func (s *Store) outcome(ctx context.Context, what string, err error) error {
	if err == nil {
		if s.down.Load() != 0 {
			s.down.Store(0)
		}
		return nil
	}
	if r := (refusal{}); errors.As(err, &r) {
		return r.error
	}
	if e := (*auditdrain.Error)(nil); errors.As(err, &e) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	if s.closed.Load() {
		return errClosed
	}
	if errors.As(err, &lost{}) {
		s.down.Store(time.Now().Add(s.opts.downFor).UnixNano())
		s.pool.Reset() // the other connections are most likely dead, too
	}
	return fmt.Errorf("%s: %w", what, unavailable(err))
}

// unavailable has err be an *auditdrain.Error with CodeUnavailable if it says
// that the database cannot be used for now, rather than that it was asked for
// something wrong.
func unavailable(err error) error {
	c := code(err)
	switch {
	case errors.As(err, &lost{}):
	case c == codeReadOnly, c == codeLockNotAvailable, c == codeIdleInTransaction:
	case c != "" && slices.Contains(passing, c[:2]):
	default:
		return err
	}
	return fmt.Errorf("%w (%w)", errDown, err)
}

// refusal is an error of the caller's update, which is returned as it is.
type refusal struct{ error }

// tx runs f in a transaction, which f may see more than once.
func (s *Store) tx(ctx context.Context, what string, f func(context.Context, pgx.Tx) error) error {
	return s.do(ctx, what, func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return f(ctx, tx) })
	})
}

// change is tx with an activity, which is recorded with what f does.
func (s *Store) change(ctx context.Context, what string, act *auditdrain.Activity, f func(context.Context, pgx.Tx) error) error {
	var recorded bool
	err := s.tx(ctx, what, func(ctx context.Context, tx pgx.Tx) (err error) {
		if err = f(ctx, tx); errors.Is(err, errNothing) {
			recorded = false
			return nil
		}
		if err != nil {
			return err
		}
		recorded, err = record(ctx, tx, act)
		return err
	})
	if err == nil && recorded {
		s.tell()
	}
	return err
}

// errNothing is what changes return that change nothing and are no failure.
var errNothing = errors.New("nothing to do")

// exec runs one statement.
func (s *Store) exec(ctx context.Context, what, sql string, args ...any) error {
	return s.do(ctx, what, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

// pipeline sends several statements at once and waits for all of them: one
// round trip. They are one transaction, with no BEGIN or COMMIT: the database
// commits once it has come to their end (Sync), or takes all of them back. Each
// statement sees what was committed when it begins, so also what came while an
// earlier one waited for a lock.
func pipeline(ctx context.Context, c *pgx.Conn, b *pgx.Batch) error {
	return c.SendBatch(ctx, b).Close()
}

// list returns all rows of a query.
func list[T any](ctx context.Context, s *Store, what string, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	var all []T
	err := s.do(ctx, what, func(ctx context.Context, c *pgx.Conn) (err error) {
		all, err = collect(ctx, c, row, sql, args...)
		return err
	})
	return all, err
}

// collect is list on a connection or in a transaction; nil if there are none.
func collect[T any](ctx context.Context, q querier, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, row)
	if len(all) == 0 {
		return nil, err
	}
	return all, err
}

// name makes text of what a caller asks for, who may send what text cannot be.
// What is put in its place names nothing.
func name(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
