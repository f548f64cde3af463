package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system of one engine. Pebble never gets to see a write that
// has failed, since it meets one in one of several ways. On the WAL it calls
// Logger.Fatalf, or panics while a mutex is locked, or, when changing to a new
// WAL, unlocks one twice, which no recover can catch. On the manifest it calls
// Fatalf. In a flush or a compaction it tries again at once, for ever. None of
// these can be turned into something orderly from outside. So:
//
// A write that there is no space for waits, and is tried again until there is
// some; one that was cut short goes on where it stopped. To Pebble it was
// slow. While any write waits, full is closed.
//
// Any other failure, and each one of a sync, is the end: failed is closed, and
// the goroutine stops where it is, as does every other one that wants to
// write. After a failed sync nobody can tell what is on disk: the kernel may
// have dropped what it could not write, and the next sync succeeds. What is
// there then is what a crash at this moment would have left, which is what
// recovery is made for.
//
// Store.do sees to it that nobody waits for a goroutine that stands still.
//
// Removing a file may fail: Pebble copes, and so does the disk.
type disk struct {
	vfs.FS
	log   *slog.Logger
	retry time.Duration // how long a write waits before it is tried again

	// busy is held for reading by each write that is under way.
	busy sync.RWMutex

	mu      sync.Mutex
	waiting int           // writes that wait for space
	since   time.Time     // when the first of them began to
	full    chan struct{} // closed while there are any, and then replaced

	failed  chan struct{}
	failure error // written before failed is closed
}

func newDisk(fsys vfs.FS, log *slog.Logger, retry time.Duration) *disk {
	return &disk{FS: fsys, log: log, retry: retry, full: make(chan struct{}), failed: make(chan struct{})}
}

// fail ends the disk.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure == nil {
		d.failure = err
		close(d.failed)
	}
}

// err tells why the disk has failed, or nil.
func (d *disk) err() error {
	if isClosed(d.failed) {
		return d.failure
	}
	return nil
}

// quiesce waits, once the disk has failed, until no write is under way any
// more, so that nothing of this engine meets the next one.
func (d *disk) quiesce() {
	d.busy.Lock()
	defer d.busy.Unlock()
}

// whenFull returns a channel that is closed if writes wait for space, or as
// soon as they do.
func (d *disk) whenFull() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *disk) isFull() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0
}

func (d *disk) wait(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting++; d.waiting == 1 {
		d.since = time.Now()
		close(d.full)
		d.log.Error("the disk is full; nothing is acknowledged until there is space again", "err", err)
	}
}

func (d *disk) goOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting--; d.waiting == 0 {
		d.full = make(chan struct{})
		d.log.Info("there is space on the disk again; the store goes on", "was_full_for", time.Since(d.since).Round(time.Millisecond))
	}
}

// isFullError reports whether a write has failed for want of space.
func isFullError(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT)
}

// halt never returns.
func halt() { select {} }

// once runs op, which is one write, unless the disk has failed.
func (d *disk) once(op func() error) error {
	d.busy.RLock()
	defer d.busy.RUnlock()
	if d.err() != nil {
		return d.failure
	}
	return op()
}

// write runs one write, again and again while there is no space for it.
func (d *disk) write(what, name string, op func() error) {
	err := d.once(op)
	if err != nil && d.err() == nil && isFullError(err) {
		d.wait(described(what, name, err))
		for isFullError(err) {
			select {
			case <-time.After(d.retry):
			case <-d.failed:
				halt()
			}
			err = d.once(op)
		}
		if err == nil {
			d.goOn()
		}
	}
	d.mustNot(what, name, err)
}

// sync runs one sync. What it could not write, for want of space or for
// another reason, may be lost: to try again is not enough.
func (d *disk) sync(what, name string, op func() error) { d.mustNot(what, name, d.once(op)) }

// mustNot is what becomes of a write that has failed.
func (d *disk) mustNot(what, name string, err error) {
	if err != nil {
		d.fail(described(what, name, err))
		halt()
	}
}

// described says what has failed. The operating system's errors mostly do.
func described(what, name string, err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return err
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}

func (d *disk) open(what, name string, op func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	d.write(what, name, func() (err error) {
		file, err = op()
		return err
	})
	return &diskFile{File: file, disk: d, name: name}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open("create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.open("open", name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open("reuse", newname, func() (vfs.File, error) { return d.FS.ReuseForWrite(oldname, newname, c) })
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.open("open directory", name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d *disk) Link(oldname, newname string) error {
	d.write("link", newname, func() error { return d.FS.Link(oldname, newname) })
	return nil
}

func (d *disk) Rename(oldname, newname string) error {
	d.write("rename", newname, func() error { return d.FS.Rename(oldname, newname) })
	return nil
}

func (d *disk) MkdirAll(dir string, perm os.FileMode) error {
	d.write("make directory", dir, func() error { return d.FS.MkdirAll(dir, perm) })
	return nil
}

func (d *disk) Remove(name string) error {
	err := d.once(func() error { return d.FS.Remove(name) })
	if d.err() != nil {
		halt()
	}
	return err
}

// Lock does nothing: the Store holds the directory's lock for as long as it is
// open, for one engine after the other.
func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (d *disk) Unwrap() vfs.FS { return d.FS }

// diskFile is a file, open for writing, or a directory.
type diskFile struct {
	vfs.File
	disk *disk
	name string
}

func (f *diskFile) Write(p []byte) (int, error) {
	written := 0
	f.disk.write("write", f.name, func() error {
		n, err := f.File.Write(p[written:])
		written += n
		return err
	})
	return written, nil
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	written := 0
	f.disk.write("write", f.name, func() error {
		n, err := f.File.WriteAt(p[written:], off+int64(written))
		written += n
		return err
	})
	return written, nil
}

func (f *diskFile) Sync() error {
	f.disk.sync("sync", f.name, f.File.Sync)
	return nil
}

func (f *diskFile) SyncData() error {
	f.disk.sync("sync", f.name, f.File.SyncData)
	return nil
}

func (f *diskFile) SyncTo(length int64) (full bool, err error) {
	f.disk.sync("sync", f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, nil
}

// Close may tell what an earlier write has come to, as a sync does.
func (f *diskFile) Close() error {
	f.disk.sync("close", f.name, f.File.Close)
	return nil
}

// logger passes what Pebble has to say to slog. After Fatalf Pebble relies on
// nothing being executed any more.
type logger struct {
	log  *slog.Logger
	fail func(error)
}

func (l logger) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }
func (l logger) Fatalf(format string, args ...any) {
	l.fail(fmt.Errorf(format, args...))
	halt()
}
