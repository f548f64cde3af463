package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// engine is the directory as it was opened once: Pebble, and what is kept in
// memory of what is in it. If the disk fails, that is the end of it, with all
// locks as they are then; the Store opens another one.
type engine struct {
	db      *pebble.DB
	disk    *disk
	now     func() time.Time
	metrics metrics

	// use is held for reading by every call, so that Close can wait for them.
	use    sync.RWMutex
	closed bool

	// The locks below are taken in this order: trimming, catalog, saving or
	// tallying, appending, seqMu. See sequence and drainPos for what they guard.
	trimming sync.Mutex

	catalog    sync.RWMutex           // configuration on disk, and the next three
	drains     map[string]*drainPos   // by ID
	teamDrains map[string]*teamDrains // by team, if there are any
	activities uint64                 // the number of the last one
	recorded   chan<- struct{}

	// looked are teams by ID and slug, and tokens by hash, that were looked up
	// before. It is written with catalog held, at least for reading; who changes
	// one removes it.
	looked sync.Map

	saving sync.Mutex
	needed map[string]map[string]uint64 // by team and drain: the first event that its chain needs; see seals.go

	// tallying is held while AddTallies reads and replaces.
	tallying sync.Mutex

	appending sync.Mutex
	pending   map[pendingKey][]byte // reused by appendCall
	tails     tails
	reused    uint64 // how often an ID was used again that the index still had

	seqMu sync.RWMutex
	seqs  map[string]*sequence // by team
}

// startEngine begins to open the directory. What that comes to is sent to
// opened, unless the disk fails.
func (s *Store) startEngine() (e *engine, opened <-chan error) {
	log := s.opts.Logger.With("component", "pebble")
	e = &engine{
		disk:       newDisk(s.opts.FS, s.opts.Logger, s.opts.retry),
		now:        s.opts.Now,
		metrics:    s.metrics,
		drains:     map[string]*drainPos{},
		teamDrains: map[string]*teamDrains{},
		recorded:   s.recorded,
		needed:     map[string]map[string]uint64{},
		pending:    map[pendingKey][]byte{},
		tails:      tails{most: max(s.opts.TailBytes, 0)},
		seqs:       map[string]*sequence{},
	}
	o := &pebble.Options{
		FS:                 e.disk,
		ReadOnly:           s.opts.ReadOnly,
		Logger:             logger{log: log, fail: e.disk.fail},
		FormatMajorVersion: formatMajorVersion,
		// Pebble takes the memtables out of the cache. Were nothing left of
		// it, each lookup of an ID would read Bloom filters from disk.
		CacheSize:                   blockCacheBytes + maxMemTables*int64(s.opts.MemTableBytes),
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: maxMemTables,
		CompactionConcurrencyRange:  func() (int, int) { return 1, maxCompactions },
		// Space is given back also when nothing is written any more.
		FlushDelayDeleteRange: time.Minute,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { log.Error("background work failed, will be tried again", "error", err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { log.Error("unreadable data", "path", i.Path, "error", i.Details) },
			DiskSlow: func(i pebble.DiskSlowInfo) {
				if e.disk.err() == nil && !e.disk.isFull() {
					log.Warn("slow disk", "path", i.Path, "operation", i.OpType.String(), "duration", i.Duration)
				}
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				s.metrics.stalls.Inc()
				log.Warn("writes wait for compactions", "reason", i.Reason)
			},
		},
	}
	if s.opts.FS == vfs.Default {
		o.WithFSDefaults() // watches how long the disk takes
	}
	// Events are read once, in order: there is nothing to learn from reads.
	o.Experimental.ReadSamplingMultiplier = -1
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		return pebble.UniformDBCompressionSettings(block.FastCompression)
	})
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	done := make(chan error, 1)
	go func() { done <- e.open(s.dir, o) }()
	return e, done
}

func (e *engine) open(dir string, o *pebble.Options) (err error) {
	if e.db, err = pebble.Open(dir, o); err != nil {
		return err
	}
	if err := e.load(o.ReadOnly); err != nil {
		return errors.Join(err, e.db.Close())
	}
	return nil
}

// load checks the layout's version, and reads what is kept in memory.
func (e *engine) load(readOnly bool) error {
	version, err := e.get([]byte(formatKey))
	switch {
	case err != nil:
		return err
	case version == nil:
		if err := e.checkEmpty(); err != nil {
			return err
		}
		if readOnly {
			return errNoStore
		}
		if err := e.db.Set([]byte(formatKey), []byte(format), pebble.Sync); err != nil {
			return err
		}
	case string(version) == "1":
		return errors.New(`a version of auditdrain that was never released has written it (layout "1"), which this version cannot read: begin with an empty directory`)
	case string(version) != format:
		return fmt.Errorf("it was written by a newer version of auditdrain (layout %q; this version knows %q)", version, format)
	}
	return errors.Join(e.loadDrains(), e.loadChains(), e.loadActivities())
}

func (e *engine) checkEmpty() error {
	iter, err := e.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer iter.Close()
	if iter.First() {
		return fmt.Errorf("it holds a Pebble database that is not auditdrain's (first key %q)", iter.Key())
	}
	return iter.Error()
}

// close waits for the calls in progress, and closes Pebble.
func (e *engine) close() error {
	e.use.Lock()
	defer e.use.Unlock()
	e.closed = true
	return e.db.Close()
}

// get returns a copy of a key's value, or nil if there is none.
func (e *engine) get(key []byte) ([]byte, error) {
	v, closer, err := e.db.Get(key)
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
func (e *engine) scan(prefix string, f func(name string, value []byte) error) error {
	iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: end([]byte(prefix))})
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
func (e *engine) commit(b *pebble.Batch) error {
	begin := time.Now()
	if err := e.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	e.metrics.commits.Observe(time.Since(begin).Seconds())
	return b.Close()
}
