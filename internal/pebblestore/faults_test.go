package pebblestore

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/auditdrain/auditdrain/internal/storetest"
)

func TestFaults(t *testing.T) {
	storetest.RunFaults(t, newFaultyPlace, storetest.Faults...)
}

func TestHistories(t *testing.T) {
	storetest.RunHistories(t, newFaultyPlace)
}

// faultyPlace is a directory in memory that knows what has been synced.
type faultyPlace struct {
	t     *testing.T
	mem   *vfs.MemFS
	store *Store
	stop  func() // ends its Run, if that was begun

	mu      sync.Mutex
	fault   storetest.Fault
	left    int // writes until the fault; not positive when it has come
	tripped bool
	seed    uint64     // for what is lost when the process is killed
	killed  *vfs.MemFS // what is left then
}

func newFaultyPlace(t *testing.T) storetest.FaultyPlace {
	p := &faultyPlace{t: t, mem: vfs.NewCrashableMem()}
	t.Cleanup(p.abandon)
	return p
}

func (p *faultyPlace) Open(now func() time.Time) (storetest.Store, error) {
	var fsys vfs.FS = afterFS{p.mem, p}
	switch p.fault {
	case storetest.Fails:
		fsys = errorfs.Wrap(p.mem, errorfs.InjectorFunc(p.before))
	case storetest.Full, storetest.FullOnce:
		fsys = halvesFS{errorfs.Wrap(p.mem, errorfs.InjectorFunc(p.before))}
	}
	s, err := Open("data", Options{
		FS:     fsys,
		Logger: discard(),
		Now:    now,
		// So little that a short history flushes, compacts, and goes through
		// many logs.
		MemTableBytes: 16 << 10,
		TailBytes:     8 << 10,
		retry:         time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	p.store = s
	return s, nil
}

func (p *faultyPlace) Arm(fault storetest.Fault, nth int, seed uint64) {
	p.fault, p.left, p.seed = fault, nth, seed
}

func (p *faultyPlace) Tripped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tripped
}

func (p *faultyPlace) Mend() bool {
	p.mu.Lock()
	p.fault = ""
	p.mu.Unlock()
	before := p.store.engine.Load()
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error)
	go func() { ended <- p.store.Run(ctx, func() {}) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	}
	for p.store.Check(ctx) != nil {
		runtime.Gosched()
	}
	now := p.store.engine.Load()
	now.use.Lock() // a call that was left behind
	defer now.use.Unlock()
	return now != before
}

func (p *faultyPlace) Crash(seed uint64) {
	p.mu.Lock()
	left := p.killed
	if left == nil {
		left = crashed(p.mem, seed)
	}
	p.fault, p.left, p.tripped, p.killed = "", 0, false, nil
	p.mu.Unlock()
	p.abandon()
	p.mem = left
}

// abandon releases what the process would have released by ending. It cannot
// reach the new directory. A store that has failed is left as it is.
func (p *faultyPlace) abandon() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	if p.store != nil {
		_ = p.store.Close()
		p.store = nil
	}
}

// crashed returns what is left of fs if all that was not synced is lost (the
// machine lost power), nothing is (the process was killed), or half of it.
func crashed(fs *vfs.MemFS, seed uint64) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 50, 100}[seed%3],
		RNG:                 rand.New(rand.NewPCG(seed, 0)),
	})
}

var errFault = errors.New("injected fault")

// write counts a write and returns an error if it is to go wrong.
func (p *faultyPlace) write() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed != nil {
		return errFault // the process is no more
	}
	if p.left--; p.left != 0 {
		return nil
	}
	p.tripped = true
	if p.fault == storetest.Kills {
		p.killed = crashed(p.mem, p.seed)
	}
	return errFault
}

// before is asked before each operation. A disk that stays full refuses only
// what takes space; one that is full once may find that out in a sync.
func (p *faultyPlace) before(op errorfs.Op) error {
	takesSpace := true
	switch op.Kind {
	case errorfs.OpLock, errorfs.OpFilePreallocate:
		return nil
	case errorfs.OpRemove, errorfs.OpFileClose, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		takesSpace = false
	}
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || p.armed() == storetest.Full && !takesSpace {
		return nil
	}
	err := p.write()
	switch full := (&fs.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}); p.armed() {
	case storetest.Fails:
		return err
	case storetest.FullOnce:
		if err != nil {
			return full
		}
	case storetest.Full:
		if p.Tripped() {
			return full
		}
	}
	return nil
}

// armed returns the fault that is to come or has come.
func (p *faultyPlace) armed() storetest.Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// halvesFS makes two writes of each, so that there may be space for the first
// half only.
type halvesFS struct{ vfs.FS }

func (h halvesFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return halvesFile{f}, err
}

func (h halvesFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.ReuseForWrite(oldname, newname, c)
	return halvesFile{f}, err
}

type halvesFile struct{ vfs.File }

func (f halvesFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	m, err := f.File.Write(p[n:])
	return n + m, err
}

// afterFS asks, after each write, whether it is to go wrong, where errorfs asks
// before. So the write has happened. And a write that returns without an error
// is part of what is left when the process is killed.
type afterFS struct {
	vfs.FS
	place *faultyPlace
}

func (a afterFS) open(f vfs.File, err error) (vfs.File, error) {
	if err == nil {
		err = a.place.write()
	}
	return afterFile{f, a.place}, err
}

func (a afterFS) done(err error) error {
	if err == nil {
		err = a.place.write()
	}
	return err
}

func (a afterFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return a.open(a.FS.Create(name, c))
}

func (a afterFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return a.open(a.FS.ReuseForWrite(oldname, newname, c))
}

func (a afterFS) OpenDir(name string) (vfs.File, error) {
	f, err := a.FS.OpenDir(name)
	return afterFile{f, a.place}, err
}

func (a afterFS) Remove(name string) error { return a.done(a.FS.Remove(name)) }

func (a afterFS) Rename(oldname, newname string) error {
	return a.done(a.FS.Rename(oldname, newname))
}

func (a afterFS) MkdirAll(dir string, perm os.FileMode) error {
	return a.done(a.FS.MkdirAll(dir, perm))
}

type afterFile struct {
	vfs.File
	place *faultyPlace
}

func (f afterFile) done(err error) error { return afterFS{place: f.place}.done(err) }

func (f afterFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.done(err)
}

func (f afterFile) Sync() error     { return f.done(f.File.Sync()) }
func (f afterFile) SyncData() error { return f.done(f.File.SyncData()) }

func (f afterFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.done(err)
}
