package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// maxReopens bounds what is left behind of engines that have ended: the
	// goroutines that stand still, and what Pebble holds, up to 256 MiB each.
	maxReopens = 3
	// maxPause bounds the pause before a disk that has failed is tried again.
	maxPause = 30 * time.Second

	probeName  = "disk-probe"
	probeBytes = 4 << 20
)

// Run watches over the disk until ctx ends, and then returns nil.
//
// It looks once a second how much of the disk is free (see Admit). And
// whenever the disk has refused a write, it tries to write until that works,
// opens the directory anew, and calls reopened, which must not block. What was
// confirmed is there then; the rest is as after a crash. It does so three times
// at most; after that, it returns what has happened, nothing is stored any
// more, and the process should end and be started again.
//
// Without Run, a store whose disk has refused a write stays as it is.
func (s *Store) Run(ctx context.Context, reopened func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { s.space.watch(ctx) })

	for reopens := 0; ; reopens++ {
		failed := s.engine.Load().disk
		select {
		case <-ctx.Done():
			return nil
		case <-failed.failed:
		}
		if reopens == maxReopens {
			return fmt.Errorf("the disk has failed once more after the store was opened anew %d times: %w", reopens, failed.failure)
		}
		s.opts.Logger.Error("the disk has failed; nothing is acknowledged until it works again", "err", failed.failure)
		if s.untilWritable(ctx, failed) != nil {
			return nil
		}
		if !s.reopen(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		s.metrics.reopened.Inc()
		s.opts.Logger.Info("the disk works again, and the store with it")
		reopened()
	}
}

// reopen opens the directory anew and reports whether that has worked. If not,
// the engine has failed, too.
func (s *Store) reopen(ctx context.Context) bool {
	e, opened := s.startEngine()
	select {
	case <-ctx.Done():
		e.disk.fail(ctx.Err())
		return false
	case err := <-opened:
		if err != nil {
			e.disk.fail(fmt.Errorf("open anew: %w", err))
		}
	case <-e.disk.failed:
	}
	s.engine.Store(e)
	return e.disk.err() == nil
}

// untilWritable returns nil once the disk can be written and nothing that was
// begun before is under way any more, or ctx's error.
func (s *Store) untilWritable(ctx context.Context, failed *disk) error {
	for pause := s.opts.retry; ; pause = min(2*pause, maxPause) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		// It may hang, and is left behind then.
		probed := make(chan error, 1)
		go func() {
			failed.quiesce()
			probed <- probe(s.opts.FS, s.dir)
		}()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-probed:
			if err == nil {
				return nil
			}
			s.opts.Logger.Warn("the disk still cannot be written; will try again", "err", err, "in", min(2*pause, maxPause))
		}
	}
}

// probe finds out whether a disk that has refused a write takes one now.
// Pebble is not to find that out: what it leaves behind would be more.
func probe(fsys vfs.FS, dir string) error {
	name := fsys.PathJoin(dir, probeName)
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), fsys.Remove(name)); err != nil {
		return err
	}
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
