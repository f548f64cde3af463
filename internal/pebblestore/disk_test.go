package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/auditdrain/auditdrain"
)

// sickDisk is a disk in memory that refuses writes, or a kind of them, while
// it is told to.
type sickDisk struct {
	*vfs.MemFS
	refuse atomic.Pointer[func(errorfs.Op) error]
}

func newSickDisk() *sickDisk { return &sickDisk{MemFS: vfs.NewMem()} }

func (d *sickDisk) fs() vfs.FS {
	return injecting{errorfs.Wrap(d.MemFS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f := d.refuse.Load(); f != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return (*f)(op)
		}
		return nil
	}))}
}

// injecting is an errorfs.FS whose errors also reach files that are used again,
// which errorfs lets through: Pebble does that with its logs.
type injecting struct{ *errorfs.FS }

func (fs injecting) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return fs.OpenReadWrite(newname, c)
}

func (d *sickDisk) fails(f func(errorfs.Op) error) { d.refuse.Store(&f) }
func (d *sickDisk) works()                         { d.refuse.Store(nil) }

// full refuses what takes space in the log.
func full(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
		return syscall.ENOSPC
	}
	return nil
}

func broken(errorfs.Op) error { return syscall.EIO }

func wantUnavailable(t *testing.T, what string, err error, retryAfter time.Duration) {
	t.Helper()
	var e *auditdrain.Error
	if !errors.As(err, &e) || e.Code != auditdrain.CodeUnavailable || e.RetryAfter != retryAfter {
		t.Errorf("%s: %v (%+v), want code %s and to come back after %s", what, err, e, auditdrain.CodeUnavailable, retryAfter)
	}
}

// TestFullDisk has the disk full for an hour: what writes is refused at once,
// also what is under way, reads go on, and all works again a second after there
// is space.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		disk := newSickDisk()
		s, err := Open("data", Options{FS: disk.fs(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if err := s.CreateTeam(ctx, auditdrain.Team{ID: "a", Slug: "a"}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(ctx, oneEvent("1")); err != nil {
			t.Fatal(err)
		}

		disk.fails(full)
		begin := time.Now()
		_, err = s.Append(ctx, oneEvent("2"))
		wantUnavailable(t, "append that meets the end of the disk", err, 10*time.Second)
		wantUnavailable(t, "create team", s.CreateTeam(ctx, auditdrain.Team{ID: "b", Slug: "b"}, nil), 10*time.Second)
		_, err = s.Append(ctx, oneEvent("3"))
		wantUnavailable(t, "append", err, 10*time.Second)
		wantUnavailable(t, "admit", s.Admit(), 10*time.Second)
		wantUnavailable(t, "check", s.Check(ctx), 10*time.Second)
		if es, err := s.Read(ctx, "a", 0, 10, 1000); err != nil || len(es) != 1 {
			t.Errorf("%d events can be read (%v), want the one that was acknowledged", len(es), err)
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("somebody waited for %s", took)
		}
		if got := gather(t, s)["auditdrain_store_disk_full"]; got != 1 {
			t.Errorf("auditdrain_store_disk_full is %v", got)
		}

		// A read that is held up gives up.
		begin = time.Now()
		wait := make(chan struct{})
		_, err = read(ctx, s, "wait", func(*engine) (int, error) { <-wait; return 0, nil })
		wantUnavailable(t, "read that is held up", err, 10*time.Second)
		if took := time.Since(begin); took != readPatience {
			t.Errorf("it gave up after %s, want %s", took, readPatience)
		}
		close(wait)

		time.Sleep(time.Hour)
		wantUnavailable(t, "admit after an hour", s.Admit(), 10*time.Second)
		disk.works()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := errors.Join(s.Admit(), s.Check(ctx)); err != nil {
			t.Errorf("after there is space again: %v", err)
		}
		// What was under way has taken place, what was refused has not.
		if r, err := s.Append(ctx, oneEvent("2")); err != nil || r[0].Duplicates != 1 {
			t.Errorf("the append that was under way, again: %+v, %v", r, err)
		}
		if r, err := s.Append(ctx, oneEvent("3")); err != nil || r[0].Accepted != 1 {
			t.Errorf("the append that was refused, again: %+v, %v", r, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, line := range []string{"the disk is full", "space on the disk again"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%d lines of log say %q, want 1:\n%s", n, line, log.String())
			}
		}
	})
}

// TestReadOutlastsFullDisk: a read that is held up while the disk is full comes
// to its end when there is space again.
func TestReadOutlastsFullDisk(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs(), retry: time.Millisecond})
	disk.fails(full)
	// It holds the lock that the read needs.
	err := s.CreateTeam(t.Context(), auditdrain.Team{ID: "a", Slug: "a"}, nil)
	wantUnavailable(t, "create team", err, 10*time.Second)
	read := make(chan error)
	go func() {
		teams, err := s.Teams(t.Context())
		if err == nil && len(teams) != 1 {
			err = fmt.Errorf("teams %v, want the one whose creation was under way", teams)
		}
		read <- err
	}()
	disk.works()
	if err := <-read; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestUpdateLeftBehind: what belongs to a caller that has gone is left alone.
func TestUpdateLeftBehind(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs(), retry: time.Millisecond})
	ctx := t.Context()
	drain := auditdrain.NewDrain("a", "d", auditdrain.Delivery{}, time.Now())
	if err := errors.Join(s.CreateTeam(ctx, auditdrain.Team{ID: "a", Slug: "a"}, nil), s.CreateDrain(ctx, drain, 0, nil)); err != nil {
		t.Fatal(err)
	}
	e := s.engine.Load()
	e.catalog.RLock()
	updated := make(chan error)
	go func() {
		_, err := s.UpdateDrain(ctx, "a", drain.ID, func(*auditdrain.Drain) error {
			t.Error("updated for nobody")
			return nil
		}, nil)
		updated <- err
	}()
	for e.catalog.TryRLock() { // until the update waits for it
		e.catalog.RUnlock()
		runtime.Gosched()
	}
	disk.fails(full)
	_, err := s.Append(ctx, oneEvent("1"))
	wantUnavailable(t, "append", err, 10*time.Second)
	wantUnavailable(t, "update", <-updated, 10*time.Second)
	e.catalog.RUnlock()
	disk.works()
	for s.Check(ctx) != nil {
		runtime.Gosched()
	}
	if err := s.Close(); err != nil { // waits for what was left behind
		t.Error(err)
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	disk := newSickDisk()
	disk.fails(full)
	_, err := Open("data", Options{FS: disk.fs(), Logger: discard()})
	wantError(t, err, "data", "the disk is full")
}

func TestCloseOnFullDisk(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs()})
	disk.fails(full)
	if _, err := s.Append(t.Context(), oneEvent("1")); err == nil {
		t.Fatal("the disk is not full")
	}
	wantError(t, s.Close(), "the disk is full")
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// runStore starts Run, and returns a channel that is told of each reopening and
// one of what Run returned.
func runStore(t *testing.T, s *Store) (reopened chan struct{}, ended chan error) {
	reopened, ended = make(chan struct{}, maxReopens), make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), func() { reopened <- struct{}{} }) }()
	return reopened, ended
}

// TestReopens has the disk fail as often as that is taken, and once more: the
// store recovers each time, and then gives up.
func TestReopens(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs(), retry: time.Millisecond})
	reopened, ended := runStore(t, s)
	for n := range maxReopens + 1 {
		if _, err := s.Append(t.Context(), oneEvent(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		disk.fails(broken)
		_, err := s.Append(t.Context(), oneEvent("lost"))
		wantUnavailable(t, "append", err, 5*time.Second)
		wantUnavailable(t, "admit", s.Admit(), 5*time.Second)
		_, err = s.Read(t.Context(), "a", 0, 10, 1000)
		wantUnavailable(t, "read", err, 5*time.Second)
		disk.works()
		if n == maxReopens {
			break
		}
		<-reopened
		if es, err := s.Read(t.Context(), "a", 0, 10, 1000); err != nil || len(es) != n+1 {
			t.Errorf("%d events after %d reopenings (%v), want %d", len(es), n+1, err, n+1)
		}
		if got := gather(t, s)["auditdrain_store_reopened_total"]; got != float64(n+1) {
			t.Errorf("auditdrain_store_reopened_total is %v, want %d", got, n+1)
		}
	}
	wantError(t, <-ended, "opened anew 3 times", "input/output error")
	wantUnavailable(t, "admit in the end", s.Admit(), 5*time.Second)
	wantError(t, s.Close(), "input/output error")
}

// TestTroubleUnderLoad has the disk full again and again, and failing as often
// as that is taken, while many append, repeat what was not confirmed, and read.
// In the end every event is there once, in a sequence without gaps.
func TestTroubleUnderLoad(t *testing.T) {
	disk := newSickDisk()
	opts := Options{FS: disk.fs(), retry: time.Millisecond, MemTableBytes: 256 << 10}
	s := mustOpen(t, "data", opts)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, func() {}) }()

	const callers, step = 8, 60
	var working sync.WaitGroup
	body := func(id string) []byte { return append(bytes.Repeat([]byte(id), 200), id...) }
	var acknowledged atomic.Int64
	var allowed atomic.Int64 // how many may be, so that some are left for each trouble
	var enough atomic.Bool
	for c := range callers {
		working.Go(func() {
			for i := 0; !enough.Load(); i++ {
				for acknowledged.Load() >= allowed.Load() && !enough.Load() {
					runtime.Gosched()
				}
				id := fmt.Sprintf("%d-%d", c, i)
				batch := []auditdrain.Batch{{TeamID: "a", Events: []auditdrain.Event{{ID: id, Body: body(id)}}}}
				for {
					_, err := s.Append(ctx, batch)
					if err == nil {
						break
					}
					if auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
						t.Error(err)
						return
					}
					runtime.Gosched()
				}
				acknowledged.Add(1)
			}
		})
	}
	for n := range 12 {
		trouble := full
		if n%4 == 3 {
			trouble = broken
		}
		at := acknowledged.Load() + step
		allowed.Store(at)
		for acknowledged.Load() < at {
			runtime.Gosched()
		}
		disk.fails(trouble)
		allowed.Store(at + 10*step) // more than can be under way already
		for s.Admit() == nil {
			runtime.Gosched()
		}
		es, err := s.Read(ctx, "a", 0, 10, 1000)
		if err != nil && auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable || err == nil && len(es) == 0 {
			t.Errorf("read in trouble: %d events, %v", len(es), err)
		}
		disk.works()
		for s.Check(ctx) != nil {
			runtime.Gosched()
		}
	}
	enough.Store(true)
	working.Wait()
	stored := int(acknowledged.Load())
	if got := gather(t, s)["auditdrain_store_reopened_total"]; got != maxReopens {
		t.Errorf("opened anew %v times, want %d", got, maxReopens)
	}
	cancel()
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Fatal(err)
	}

	s = mustOpen(t, "data", opts)
	es, err := s.Read(t.Context(), "a", 0, 2*stored, 1<<30)
	if err != nil || len(es) != stored {
		t.Errorf("%d events, %v, want %d", len(es), err, stored)
	}
	seen := map[string]bool{}
	for i, e := range es {
		if e.Seq != uint64(i+1) || seen[e.ID] || !bytes.Equal(e.Body, body(e.ID)) {
			t.Errorf("event %d has number %d, ID %s (seen: %t) and %d bytes", i, e.Seq, e.ID, seen[e.ID], len(e.Body))
		}
		seen[e.ID] = true
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestReopenWaits: nothing is tried while a write of the engine that has ended
// is still under way, nor while the disk refuses everything.
func TestReopenWaits(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs(), retry: time.Millisecond})
	reopened, ended := runStore(t, s)
	old := s.engine.Load().disk
	begun, proceed := make(chan struct{}), make(chan struct{})
	go func() {
		_ = old.once(func() error {
			close(begun)
			<-proceed
			return nil
		})
	}()
	<-begun
	probes := make(chan struct{}, 100)
	disk.fails(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, probeName) {
			select {
			case probes <- struct{}{}:
			default:
			}
		}
		return syscall.EIO
	})
	_, err := s.Append(t.Context(), oneEvent("1"))
	wantUnavailable(t, "append", err, 5*time.Second)
	for old.busy.TryRLock() { // until somebody waits for all writes to end
		old.busy.RUnlock()
		runtime.Gosched()
	}
	if len(probes) > 0 {
		t.Error("the disk is written while an old write is under way")
	}
	close(proceed)
	for range 3 {
		<-probes
	}
	wantUnavailable(t, "check", s.Check(t.Context()), 5*time.Second)
	disk.works()
	<-reopened
	if names, err := disk.List("data"); err != nil || strings.Contains(fmt.Sprint(names), probeName) {
		t.Errorf("files %v, %v: want no probe among them", names, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		t.Errorf("Run has ended: %v", err)
	default:
	}
}

// TestRunEnds: a disk that stays broken keeps nobody.
func TestRunEnds(t *testing.T) {
	disk := newSickDisk()
	s := mustOpen(t, "data", Options{FS: disk.fs(), retry: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, func() { t.Error("opened anew on a broken disk") }) }()
	disk.fails(broken)
	_, err := s.Append(ctx, oneEvent("1"))
	wantUnavailable(t, "append", err, 5*time.Second)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wantError(t, s.Close(), "input/output error")
}

// TestMinFree fills the disk up and frees it again.
func TestMinFree(t *testing.T) {
	for _, min := range []MinFree{{Percent: 5}, {Bytes: 50}} {
		t.Run(min.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				mem := vfs.NewMem()
				free := func(n uint64) { mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: n, TotalBytes: 1000}) }
				free(500)
				s, err := Open("data", Options{FS: mem, MinFree: min, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- s.Run(ctx, func() {}) }()
				for _, step := range []struct {
					free uint64
					low  bool
				}{{500, false}, {50, false}, {49, true}, {0, true}, {50, true}, {51, true}, {52, false}, {50, false}} {
					free(step.free)
					time.Sleep(spaceEvery)
					synctest.Wait()
					if err := s.Admit(); step.low {
						wantUnavailable(t, fmt.Sprint(step.free, " free"), err, 10*time.Second)
						wantUnavailable(t, "check", s.Check(ctx), 10*time.Second)
						wantError(t, err, size(step.free)+" free", "--min-free-disk "+min.String())
					} else if err != nil {
						t.Errorf("%d free: %v", step.free, err)
					}
					// All but taking events goes on.
					if _, err := s.Append(ctx, oneEvent(fmt.Sprint(step))); err != nil {
						t.Error(err)
					}
					got := gather(t, s)
					if got["auditdrain_store_disk_free_bytes"] != float64(step.free) || got["auditdrain_store_disk_low"] == 1 != step.low {
						t.Errorf("%d free: metrics %v", step.free, got)
					}
				}
				cancel()
				if err := errors.Join(<-ended, s.Close()); err != nil {
					t.Error(err)
				}
				for _, line := range []string{"too little free space", "enough free space"} {
					if n := strings.Count(log.String(), line); n != 1 {
						t.Errorf("%d lines of log say %q, want 1:\n%s", n, line, log.String())
					}
				}
			})
		})
	}
}

func TestMinFreeText(t *testing.T) {
	for text, want := range map[string]MinFree{
		"5%": {Percent: 5}, "0.5%": {Percent: 0.5}, "0%": {}, "0": {}, "1048576": {Bytes: 1 << 20},
		"10GiB": {Bytes: 10 << 30}, "500MB": {Bytes: 500e6}, "1TiB": {Bytes: 1 << 40}, "7kB": {Bytes: 7000}, "7B": {Bytes: 7},
	} {
		var got, again MinFree
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		back, err := got.MarshalText()
		if err = errors.Join(err, again.UnmarshalText(back)); err != nil || again != want {
			t.Errorf("%q: written as %q: %+v, %v", text, back, again, err)
		}
	}
	for _, text := range []string{"", "%", "-1%", "100%", "NaN%", "5 %", "-1", "1.5GiB", "10 GiB", "10gib", "GiB", "9999999TiB", "5%%"} {
		var got MinFree
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}

// TestShortWrites: what was written of a write before the disk was full is not
// written again.
func TestShortWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d := newDisk(tightFS{mem}, discard(), time.Second)
		f, err := d.Create("f", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		want := "a write that takes many turns"
		if n, err := f.Write([]byte(want)); n != len(want) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		written, err := mem.Open("f")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(written); string(got) != want || err != nil {
			t.Errorf("%q was written (%v), want %q", got, err, want)
		}
		if d.isFull() {
			t.Error("still full")
		}
	})
}

// tightFS has space for three bytes at a time.
type tightFS struct{ vfs.FS }

func (fs tightFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return tightFile{f}, err
}

type tightFile struct{ vfs.File }

func (f tightFile) Write(p []byte) (int, error) {
	if len(p) <= 3 {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:3])
	if err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}
