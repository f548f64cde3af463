package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/auditdrain/auditdrain"
)

const (
	format             = "2"
	formatMajorVersion = pebble.FormatTableFormatV6

	blockCacheBytes = 64 << 20
	memTableBytes   = 64 << 20
	maxMemTables    = 3 // one that is filled, two that wait for their flush
	// Compactions must not take the CPU away from what they are done for.
	maxCompactions = 2
)

// Options adjusts a Store. The zero value is right for production.
type Options struct {
	FS     vfs.FS           // the operating system's if nil
	Logger *slog.Logger     // slog.Default() if nil
	Now    func() time.Time // time.Now if nil

	// MemTableBytes is how much is collected in memory before it is written
	// to a sorted file; 0 means 64 MiB. Tests use little, so that files get
	// written, merged and dropped often.
	MemTableBytes int
}

// Store is an open directory. See the package documentation for what it
// guarantees.
type Store struct {
	db      *pebble.DB
	lock    io.Closer
	now     func() time.Time
	metrics metrics

	failOnce sync.Once
	failed   chan struct{}
	failure  error // written before failed is closed

	// use is held for reading by every call, so that Close can wait for them.
	use    sync.RWMutex
	closed bool

	// The locks below are taken in this order: trimming, catalog, saving,
	// appending, seqMu. See sequence and drainPos for what they guard.
	trimming sync.Mutex

	catalog    sync.RWMutex           // teams, tokens and drains on disk, and the next two
	drains     map[string]*drainPos   // by ID
	teamDrains map[string][]*drainPos // by team

	saving sync.Mutex
	saves  uint64 // calls of SaveProgress

	appending sync.Mutex
	pending   map[pendingKey][]byte // reused by appendCall

	seqMu sync.RWMutex
	seqs  map[string]*sequence // by team
}

// Open opens the directory, which is created if need be, and recovers what an
// earlier process left. It fails if another process has it open and if a newer
// version has written it.
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
	if err := opts.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, opts.FS)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, err
	} else if err != nil {
		return nil, errors.New("it is in use by another auditdrain process")
	}
	s := &Store{
		lock:       lock,
		now:        opts.Now,
		metrics:    newMetrics(),
		failed:     make(chan struct{}),
		drains:     map[string]*drainPos{},
		teamDrains: map[string][]*drainPos{},
		pending:    map[pendingKey][]byte{},
		seqs:       map[string]*sequence{},
	}
	err = checkFormatMajorVersion(dir, opts.FS)
	if err == nil {
		_, err = do(context.Background(), s, func() (any, error) { return nil, s.openDB(dir, lock, opts) })
		if s.Err() != nil {
			// The lock stays: what was left behind in Pebble may still use
			// the directory.
			return nil, s.Err()
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func checkFormatMajorVersion(dir string, fsys vfs.FS) error {
	desc, err := pebble.Peek(dir, fsys)
	if err != nil {
		return err // also for a format that this version of Pebble does not know
	}
	if v := desc.FormatMajorVersion; v > formatMajorVersion {
		return fmt.Errorf("it was written by a newer version of auditdrain (Pebble format %d; this version knows up to %d)", v, formatMajorVersion)
	}
	return nil
}

func (s *Store) openDB(dir string, lock *pebble.Lock, opts Options) (err error) {
	log := opts.Logger.With("component", "pebble")
	o := &pebble.Options{
		FS:                 &failStop{FS: opts.FS, failed: s.failed, fail: s.fail},
		Lock:               lock,
		Logger:             logger{log: log, fail: s.fail},
		FormatMajorVersion: formatMajorVersion,
		// Pebble takes the memtables out of the cache. Were nothing left of
		// it, each lookup of an ID would read Bloom filters from disk.
		CacheSize:                   blockCacheBytes + maxMemTables*int64(opts.MemTableBytes),
		MemTableSize:                uint64(opts.MemTableBytes),
		MemTableStopWritesThreshold: maxMemTables,
		CompactionConcurrencyRange:  func() (int, int) { return 1, maxCompactions },
		// Space is given back also when nothing is written any more.
		FlushDelayDeleteRange: time.Minute,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { log.Error("background work failed, will be tried again", "error", err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { log.Error("unreadable data", "path", i.Path, "error", i.Details) },
			DiskSlow: func(i pebble.DiskSlowInfo) {
				if s.Err() == nil {
					log.Warn("slow disk", "path", i.Path, "operation", i.OpType.String(), "duration", i.Duration)
				}
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				s.metrics.stalls.Inc()
				log.Warn("writes wait for compactions", "reason", i.Reason)
			},
		},
	}
	if opts.FS == vfs.Default {
		o.WithFSDefaults() // watches how long the disk takes
	}
	// Events are read once, in order: there is nothing to learn from reads.
	o.Experimental.ReadSamplingMultiplier = -1
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if s.db, err = pebble.Open(dir, o); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// load checks the layout's version, and reads the drains' cursors.
func (s *Store) load() error {
	version, err := s.get([]byte(formatKey))
	switch {
	case err != nil:
		return err
	case version == nil:
		if err := s.checkEmpty(); err != nil {
			return err
		}
		if err := s.db.Set([]byte(formatKey), []byte(format), pebble.Sync); err != nil {
			return err
		}
	case string(version) == "1":
		return errors.New(`a version of auditdrain that was never released has written it (layout "1"), which this version cannot read: begin with an empty directory`)
	case string(version) != format:
		return fmt.Errorf("it was written by a newer version of auditdrain (layout %q; this version knows %q)", version, format)
	}
	return s.loadDrains()
}

func (s *Store) checkEmpty() error {
	iter, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer iter.Close()
	if iter.First() {
		return fmt.Errorf("it holds a Pebble database that is not auditdrain's (first key %q)", iter.Key())
	}
	return iter.Error()
}

// Close waits for the calls in progress, makes everything durable and releases
// the directory. If the store has failed before or fails now, Close returns
// the cause and the directory stays locked until the process ends; whatever
// has been confirmed is durable nonetheless. Further calls of Close do nothing.
func (s *Store) Close() error {
	done := make(chan error, 1)
	go func() {
		s.use.Lock()
		defer s.use.Unlock()
		if s.closed {
			done <- nil
			return
		}
		s.closed = true
		done <- errors.Join(s.db.Close(), s.lock.Close())
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("close store: %w", err)
		}
		return nil
	case <-s.failed:
		return fmt.Errorf("close store: %w", s.failure)
	}
}

// Failed is closed once the disk has refused a write. Nothing can be stored
// any more; the process should end and be started again.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err tells why the store has failed, or nil.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.failure
	default:
		return nil
	}
}

func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		s.failure = err
		close(s.failed)
	})
}

// Check makes an empty write durable, which shows that the disk works.
func (s *Store) Check(ctx context.Context) error {
	return s.run(ctx, "check store", func() error {
		b := s.db.NewBatch()
		if err := b.LogData(nil, nil); err != nil {
			return err
		}
		return s.commit(b)
	})
}

var (
	errFailed = &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the event store has stopped because its disk refused a write: try again once the service has been restarted"}
	errClosed = &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the event store is closed: the service is shutting down"}
)

// do runs f, unless the store is closed or has failed. It runs it in a
// goroutine of its own, which is left behind if the disk fails (see failStop)
// or ctx ends: so no call hangs, and no lock that f holds matters to anyone
// any more. After ctx has ended f still runs to its end.
func do[T any](ctx context.Context, s *Store, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if s.Err() != nil {
		return none, errFailed
	}
	done := make(chan result, 1)
	go func() {
		s.use.RLock()
		defer s.use.RUnlock()
		if s.closed {
			done <- result{err: errClosed}
			return
		}
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-s.failed:
		return none, errFailed
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// call is do with the name of what is done in the error, except for an error
// that is meant for the caller as it is.
func call[T any](ctx context.Context, s *Store, what string, f func() (T, error)) (T, error) {
	v, err := do(ctx, s, f)
	if err != nil && !isAnswer(err) {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return v, err
}

func isAnswer(err error) bool {
	e := (*auditdrain.Error)(nil)
	return errors.As(err, &e)
}

// run is call for what returns nothing but an error.
func (s *Store) run(ctx context.Context, what string, f func() error) error {
	_, err := call(ctx, s, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// get returns a copy of a key's value, or nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append(make([]byte, 0, len(v)), v...), nil
}

// scan calls f with every record whose key begins with prefix, in order.
// Key and value are valid during the call only.
func (s *Store) scan(prefix string, f func(name string, value []byte) error) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: end([]byte(prefix))})
	if err != nil {
		return err
	}
	defer iter.Close()
	for iter.First(); iter.Valid(); iter.Next() {
		v, err := iter.ValueAndErr()
		if err != nil {
			return err
		}
		if err := f(strings.TrimPrefix(string(iter.Key()), prefix), v); err != nil {
			return err
		}
	}
	return iter.Error()
}

// commit makes b durable and visible, and releases it.
func (s *Store) commit(b *pebble.Batch) error {
	begin := time.Now()
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	s.metrics.commits.Observe(time.Since(begin).Seconds())
	return b.Close()
}
