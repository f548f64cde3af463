package pebblestore

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStop is a file system on which the first failed write is the last.
//
// Pebble meets a failed write in one of several ways. On the WAL it calls
// Logger.Fatalf, or panics while a mutex is locked, or, when changing to a
// new WAL, unlocks one twice, which no recover can catch. On the manifest it
// calls Fatalf. In a flush or a compaction it tries again at once, for ever.
// None of these can be turned into an orderly end from outside. So Pebble
// never gets to see the error: fail is called, and the goroutine stops where
// it is. Store.do sees to it that nobody waits for that goroutine.
//
// Pebble thus never acts on a failed write, and what is on disk is what a
// crash at this moment would have left, which is what recovery is made for.
// Removing a file may fail: Pebble copes, and so does the disk.
type failStop struct {
	vfs.FS
	failed <-chan struct{}
	fail   func(error)
}

// halt never returns.
func halt() { select {} }

// write runs one write.
func (f *failStop) write(what, name string, op func() error) {
	select {
	case <-f.failed:
		halt()
	default:
	}
	if err := op(); err != nil {
		f.fail(fmt.Errorf("%s %s: %w", what, name, err))
		halt()
	}
}

func (f *failStop) open(what, name string, op func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	f.write(what, name, func() (err error) {
		file, err = op()
		return err
	})
	return &failStopFile{File: file, fs: f, name: name}, nil
}

func (f *failStop) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *failStop) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

func (f *failStop) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("reuse", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *failStop) OpenDir(name string) (vfs.File, error) {
	return f.open("open directory", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *failStop) Link(oldname, newname string) error {
	f.write("link", newname, func() error { return f.FS.Link(oldname, newname) })
	return nil
}

func (f *failStop) Rename(oldname, newname string) error {
	f.write("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
	return nil
}

func (f *failStop) MkdirAll(dir string, perm os.FileMode) error {
	f.write("make directory", dir, func() error { return f.FS.MkdirAll(dir, perm) })
	return nil
}

func (f *failStop) Remove(name string) error {
	f.write("remove", name, func() error { return nil }) // not any more, once failed
	return f.FS.Remove(name)
}

func (f *failStop) Unwrap() vfs.FS { return f.FS }

// failStopFile is a file, open for writing, or a directory.
type failStopFile struct {
	vfs.File
	fs   *failStop
	name string
}

func (f *failStopFile) Write(p []byte) (n int, err error) {
	f.fs.write("write", f.name, func() error {
		n, err = f.File.Write(p)
		return err
	})
	return n, nil
}

func (f *failStopFile) WriteAt(p []byte, off int64) (n int, err error) {
	f.fs.write("write", f.name, func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, nil
}

func (f *failStopFile) Sync() error {
	f.fs.write("sync", f.name, f.File.Sync)
	return nil
}

func (f *failStopFile) SyncData() error {
	f.fs.write("sync", f.name, f.File.SyncData)
	return nil
}

func (f *failStopFile) SyncTo(length int64) (full bool, err error) {
	f.fs.write("sync", f.name, func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, nil
}

func (f *failStopFile) Close() error {
	f.fs.write("close", f.name, f.File.Close)
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
