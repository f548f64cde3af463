package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/auditdrain/auditdrain"
)

const (
	format             = "2"
	formatMajorVersion = pebble.FormatTableFormatV6

	blockCacheBytes = 64 << 20
	memTableBytes   = 64 << 20
	maxMemTables    = 3 // one that is filled, two that wait for their flush
	// Events are read in order and are much alike: large blocks make smaller
	// files and take less CPU. Single ones are looked up only when they are
	// sent again.
	blockBytes = 32 << 10
	// Compactions must not take the CPU away from what they are done for.
	maxCompactions = 2
)

// Options adjusts a Store. The zero value is right for production.
type Options struct {
	FS     vfs.FS           // the operating system's if nil
	Logger *slog.Logger     // slog.Default() if nil
	Now    func() time.Time // time.Now if nil

	// MinFree is how much of the disk must be free for Admit to say yes; zero
	// means anything.
	MinFree MinFree

	// MemTableBytes is how much is collected in memory before it is written
	// to a sorted file; 0 means 64 MiB. Tests use little, so that files get
	// written, merged and dropped often.
	MemTableBytes int

	// TailBytes bounds the memory for the latest events, from which readers
	// that keep up are served; 0 means 64 MiB, less than 0 none.
	TailBytes int

	// ReadOnly has everything refused that writes. The directory must be there,
	// and nothing in it changes but its lock.
	ReadOnly bool

	// retry is the pause before the disk is tried again; 0 means a second.
	retry time.Duration
}

// Store is an open directory. See the package documentation for what it
// guarantees.
type Store struct {
	dir     string
	opts    Options
	lock    io.Closer
	metrics metrics
	space   *space
	engine  atomic.Pointer[engine] // the current one
	closing atomic.Bool

	recorded chan struct{} // see Recorded
}

// Open opens the directory, which is created if need be, and recovers what an
// earlier process left. It fails if another process has it open and if a newer
// version has written it, and, with Options.ReadOnly, if there is no store.
func Open(dir string, opts Options) (*Store, error) {
	s, err := open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, opts Options) (*Store, error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.MemTableBytes == 0 {
		opts.MemTableBytes = memTableBytes
	}
	if opts.TailBytes == 0 {
		opts.TailBytes = defaultTailBytes
	}
	if opts.retry == 0 {
		opts.retry = time.Second
	}
	if opts.ReadOnly {
		if _, err := opts.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, errNoStore
		}
	} else if err := opts.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, opts.FS)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, err
	} else if err != nil {
		return nil, errors.New("it is in use by another auditdrain process")
	}
	s := &Store{
		dir:     dir,
		opts:    opts,
		lock:    lock,
		metrics: newMetrics(),
		space:   newSpace(dir, opts),

		recorded: make(chan struct{}, 1),
	}
	if err := checkFormatMajorVersion(dir, opts); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	e, opened := s.startEngine()
	select {
	case err := <-opened:
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	case <-e.disk.failed:
		// The lock stays: what was left behind in Pebble may still use the
		// directory.
		return nil, e.disk.failure
	case <-e.disk.whenFull():
		e.disk.fail(errDiskFull)
		return nil, errDiskFull
	}
	s.engine.Store(e)
	return s, nil
}

func checkFormatMajorVersion(dir string, opts Options) error {
	desc, err := pebble.Peek(dir, opts.FS)
	if err != nil {
		return err // also for a format that this version of Pebble does not know
	}
	if opts.ReadOnly && !desc.Exists {
		return errNoStore
	}
	if v := desc.FormatMajorVersion; v > formatMajorVersion {
		return fmt.Errorf("it was written by a newer version of auditdrain (Pebble format %d; this version knows up to %d)", v, formatMajorVersion)
	}
	return nil
}

// Close waits for the calls in progress, makes everything durable and releases
// the directory. If the disk has failed or is full, before or now, Close
// returns that and the directory stays locked until the process ends; whatever
// has been confirmed is durable nonetheless. Further calls of Close do
// nothing. Run must have returned.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

func (s *Store) close() error {
	e := s.engine.Load()
	if err := e.disk.err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- e.close() }()
	select {
	case err := <-done:
		return errors.Join(err, s.lock.Close())
	case <-e.disk.failed:
		return e.disk.failure
	case <-e.disk.whenFull():
		e.disk.fail(errDiskFull) // whatever waits must not write any more
		return errDiskFull
	}
}

// Check makes an empty write durable, which shows that the disk works, and
// returns what keeps events from being taken, if anything does.
func (s *Store) Check(ctx context.Context) error {
	err := s.run(ctx, "check store", func(e *engine) error {
		b := e.db.NewBatch()
		if err := b.LogData(nil, nil); err != nil {
			return err
		}
		return e.commit(b)
	})
	if err != nil {
		return err
	}
	return s.Admit()
}

// Admit tells whether events can be taken just now: nil, or an error with
// CodeUnavailable that says why not. It does not look at the disk, so that it
// can be asked for every request.
func (s *Store) Admit() error {
	switch d := s.engine.Load().disk; {
	case d.err() != nil:
		return errFailed
	case d.isFull():
		return errFull
	}
	return s.space.admit()
}

var (
	errDiskFull = errors.New("the disk is full")
	errNoStore  = errors.New("there is no store of auditdrain in it")

	errFailed = &auditdrain.Error{
		Code:       auditdrain.CodeUnavailable,
		Message:    "the disk of the event store has refused a write: nothing is acknowledged until it works again; try again then",
		RetryAfter: 5 * time.Second,
	}
	errFull = &auditdrain.Error{
		Code:       auditdrain.CodeUnavailable,
		Message:    "the disk of the event store is full: nothing is acknowledged until there is space again; try again then",
		RetryAfter: 10 * time.Second,
	}
	errClosed = &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the event store is closed: the service is shutting down"}
)

// do runs f, unless the store is closed or its disk has failed. It runs it in a
// goroutine of its own, which is left behind if the disk fails (see disk) or
// ctx ends, or if the disk is full: at once if f writes, else once it has taken
// long, since reads only wait for locks that writes hold. So no call hangs.
//
// After ctx has ended, or when there is space again, f still runs to its end.
// After a failure it stands still, and with it stand the locks of its engine,
// which is done with.
func do[T any](ctx context.Context, s *Store, writes bool, f func(*engine) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	e := s.engine.Load()
	if e.disk.err() != nil {
		return none, errFailed
	}
	full := e.disk.whenFull()
	if writes && isClosed(full) {
		return none, errFull
	}
	done := make(chan result, 1)
	go func() {
		e.use.RLock()
		defer e.use.RUnlock()
		if e.closed {
			done <- result{err: errClosed}
			return
		}
		v, err := f(e)
		done <- result{v, err}
	}()
	var late <-chan time.Time
	for {
		select {
		case r := <-done:
			return r.value, r.err
		case <-e.disk.failed:
			return none, errFailed
		case <-full:
			if writes {
				return none, errFull
			}
			full, late = nil, time.After(readPatience)
		case <-late:
			if e.disk.isFull() {
				return none, errFull
			}
			full, late = e.disk.whenFull(), nil
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
}

// readPatience is how long a read may take while the disk is full.
const readPatience = time.Second

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ready returns the engine if a call may answer from its memory, else nil:
// what do would refuse is for do to refuse.
func (s *Store) ready(ctx context.Context) *engine {
	e := s.engine.Load()
	if ctx.Err() != nil || e.disk.err() != nil || !e.use.TryRLock() { // or close has it
		return nil
	}
	defer e.use.RUnlock()
	if e.closed {
		return nil
	}
	return e
}

// read is do for what only reads, with the name of what is done in the error,
// except for an error that is meant for the caller as it is.
func read[T any](ctx context.Context, s *Store, what string, f func(*engine) (T, error)) (T, error) {
	v, err := do(ctx, s, false, f)
	return v, named(what, err)
}

// write is read for what also writes.
func write[T any](ctx context.Context, s *Store, what string, f func(*engine) (T, error)) (T, error) {
	v, err := do(ctx, s, true, f)
	return v, named(what, err)
}

// run is write for what returns nothing but an error.
func (s *Store) run(ctx context.Context, what string, f func(*engine) error) error {
	_, err := write(ctx, s, what, func(e *engine) (struct{}, error) { return struct{}{}, f(e) })
	return err
}

func named(what string, err error) error {
	if e := (*auditdrain.Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refusal is an error of the caller's update, which is returned as it is.
type refusal struct{ error }

// change is write for what update, which is the caller's, decides on. update
// may use what belongs to the caller: f calls it as apply, which refuses once
// the caller has gone on.
func change[T any](ctx context.Context, s *Store, what string, update func(*T) error, f func(e *engine, apply func(*T) error) (T, error)) (T, error) {
	var mu sync.Mutex
	gone := false
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		gone = true
	}()
	changed, err := write(ctx, s, what, func(e *engine) (T, error) {
		return f(e, func(v *T) error {
			mu.Lock()
			defer mu.Unlock()
			if gone {
				return context.Canceled // nobody sees this
			}
			if err := update(v); err != nil {
				return refusal{err}
			}
			return nil
		})
	})
	if err != nil {
		var none T
		if r := (refusal{}); errors.As(err, &r) {
			return none, r.error
		}
		return none, err
	}
	return changed, nil
}
