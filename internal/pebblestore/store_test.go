package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/storetest"
)

type diskPlace struct {
	dir       string
	tailBytes int
}

func (p diskPlace) Open(now func() time.Time) (storetest.Store, error) {
	return Open(p.dir, Options{Now: now, Logger: discard(), TailBytes: p.tailBytes})
}

// The suite, as in production, on the disk; and with little or no memory for
// the latest events.
func TestConformance(t *testing.T) {
	for _, bytes := range []int{0, 3000, -1} {
		t.Run(fmt.Sprint("tail=", bytes), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Place { return diskPlace{t.TempDir(), bytes} })
		})
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustOpen(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	opts.Logger = discard()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not contain %q", err, p)
		}
	}
}

func TestOpenInUse(t *testing.T) {
	if dir := os.Getenv("PEBBLESTORE_TEST_OPEN"); dir != "" { // the other process
		_, err := Open(dir, Options{Logger: discard()})
		wantError(t, err, dir, "in use by another auditdrain process")
		return
	}
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	_, err := Open(dir, Options{Logger: discard()})
	wantError(t, err, dir, "in use by another auditdrain process")

	other := exec.Command(os.Args[0], "-test.run=^TestOpenInUse$")
	other.Env = append(os.Environ(), "PEBBLESTORE_TEST_OPEN="+dir)
	if out, err := other.CombinedOutput(); err != nil {
		t.Errorf("another process: %v\n%s", err, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(key, value string, version pebble.FormatMajorVersion) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: version, Logger: logger{discard(), func(error) {}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Set([]byte(key), []byte(value), pebble.Sync); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		parts   []string
	}{
		{"newer layout", write(formatKey, "3", formatMajorVersion), []string{"newer version", `"3"`, `"2"`}},
		{"layout before the first release", write(formatKey, "1", formatMajorVersion), []string{"never released", `"1"`, "empty directory"}},
		{"newer Pebble format", write(formatKey, "2", pebble.FormatNewest), []string{"newer version", "Pebble format 24"}},
		{"somebody else's", write("hello", "world", formatMajorVersion), []string{"not auditdrain's", "hello"}},
		{"file in its place", func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, []string{"not a directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, dir)
			for range 2 { // the first refusal must not keep the lock
				_, err := Open(dir, Options{Logger: discard()})
				wantError(t, err, append(c.parts, dir)...)
			}
		})
	}
}

// slowLog lets a test hold up the syncs of the WAL.
type slowLog struct {
	vfs.FS
	syncing chan struct{} // gets a value when a sync begins
	proceed chan error    // what the sync comes to
}

func (f *slowLog) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if strings.HasSuffix(name, ".log") && err == nil {
		file = &slowFile{file, f}
	}
	return file, err
}

type slowFile struct {
	vfs.File
	fs *slowLog
}

func (f *slowFile) SyncData() error {
	if f.fs.syncing == nil {
		return f.File.SyncData()
	}
	f.fs.syncing <- struct{}{}
	if err := <-f.fs.proceed; err != nil {
		return err
	}
	return f.File.SyncData()
}

// slowStore returns a store whose syncs wait for the test.
func slowStore(t *testing.T) (*Store, *slowLog) {
	fs := &slowLog{FS: vfs.NewMem()}
	s := mustOpen(t, "data", Options{FS: fs})
	if err := s.CreateTeam(t.Context(), auditdrain.Team{ID: "a", Slug: "a"}, nil); err != nil {
		t.Fatal(err)
	}
	fs.syncing, fs.proceed = make(chan struct{}), make(chan error)
	return s, fs
}

func oneEvent(id string) []auditdrain.Batch {
	return []auditdrain.Batch{{TeamID: "a", Events: []auditdrain.Event{{ID: id, Body: []byte(id)}}}}
}

// Until an event is on disk nobody hears of it: neither its sender, nor who
// sends it again, nor a reader.
func TestNothingSeenBeforeSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := slowStore(t)
		seen := func(want int) {
			t.Helper()
			es, err := s.Read(t.Context(), "a", 0, 10, 1000)
			last, _, lastErr := s.Last(t.Context(), "a")
			if err != nil || lastErr != nil || len(es) != want || last != uint64(want) {
				t.Errorf("%d events can be read (%v), the last is %d (%v), want %d", len(es), err, last, lastErr, want)
			}
		}
		answers := make(chan auditdrain.BatchResult, 2)
		send := func() {
			r, err := s.Append(t.Context(), oneEvent("1"))
			if err != nil {
				t.Error(err)
				return
			}
			answers <- r[0]
		}
		go send()
		<-fs.syncing
		go send()
		synctest.Wait() // for both to wait for the disk
		seen(0)
		if len(answers) != 0 {
			t.Errorf("%d answers before the event is on disk", len(answers))
		}
		fs.proceed <- nil // what the first has written
		<-fs.syncing      // the other may still wait for its own sync
		fs.proceed <- nil
		first, second := <-answers, <-answers
		if first.Accepted+second.Accepted != 1 || first.Duplicates+second.Duplicates != 1 {
			t.Errorf("answers %+v and %+v", first, second)
		}
		seen(1)
		fs.syncing = nil
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A disk that hangs holds up nobody beyond their deadline.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := slowStore(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Append(ctx, oneEvent("1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("append: %v", err)
		}
		if err := s.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("check: %v", err)
		}
		if err := s.Admit(); err != nil {
			t.Errorf("slow is not failed: %v", err)
		}
		// It comes back, and what was under way takes place.
		<-fs.syncing
		fs.proceed <- nil
		synctest.Wait()
		if last, _, err := s.Last(t.Context(), "a"); err != nil || last != 1 {
			t.Errorf("last number %d, %v", last, err)
		}
		fs.syncing = nil
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// When the disk refuses a write, all calls end, those in progress too, and the
// cause is told.
func TestFailed(t *testing.T) {
	s, fs := slowStore(t)
	results := make(chan error)
	const callers = 8
	for i := range callers {
		go func() {
			_, err := s.Append(t.Context(), oneEvent(fmt.Sprint(i)))
			results <- err
		}()
	}
	<-fs.syncing
	if err := s.Admit(); err != nil {
		t.Errorf("before it has failed: %v", err)
	}
	fs.proceed <- errors.New("input/output error")
	for range callers {
		if err := <-results; auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
			t.Errorf("append in progress: %v", err)
		}
	}
	wantError(t, s.Admit(), "has refused a write")
	wantError(t, s.Close(), "sync data/", ".log", "input/output error")
	if _, err := s.Append(t.Context(), oneEvent("x")); auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Read(t.Context(), "a", 0, 1, 1); auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
		t.Errorf("read: %v", err)
	}
	if got := gather(t, s)["auditdrain_store_failed"]; got != 1 {
		t.Errorf("auditdrain_store_failed is %v", got)
	}
}

func gather(t *testing.T, s *Store) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.Collectors()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// counted returns a counter's values by its only label.
func counted(t *testing.T, s *Store, name string) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.Collectors()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				values[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	for i := range 3 {
		if _, err := s.Append(t.Context(), oneEvent(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Read(t.Context(), "a", 1, 10, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	got := gather(t, s)
	for _, name := range []string{"auditdrain_store_disk_bytes", "auditdrain_store_disk_free_bytes"} {
		if got[name] == 0 {
			t.Errorf("%s is 0", name)
		}
		delete(got, name)
	}
	want := map[string]float64{
		"auditdrain_store_commit_seconds":       3,
		"auditdrain_store_disk_full":            0,
		"auditdrain_store_disk_low":             0,
		"auditdrain_store_failed":               0,
		"auditdrain_store_read_amplification":   0,
		"auditdrain_store_read_events_total":    2,
		"auditdrain_store_reopened_total":       0,
		"auditdrain_store_swept_events_total":   3,
		"auditdrain_store_trimmed_events_total": 3,
		"auditdrain_store_write_stalls_total":   0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metrics (-want +got):\n%s", d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	gather(t, s) // works on a closed store
}

// TestReadOnly reads what a process has left that was killed, and changes nothing.
func TestReadOnly(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "data")
	s := mustOpen(t, dir, Options{})
	ctx := t.Context()
	if err := s.CreateTeam(ctx, auditdrain.Team{ID: "acme", Slug: "acme"}, nil); err != nil {
		t.Fatal(err)
	}
	batch := []auditdrain.Batch{{TeamID: "acme", Events: []auditdrain.Event{{ID: "e1", Body: []byte("{}")}}}}
	if _, err := s.Append(ctx, batch); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := names(t, copied)
	r := mustOpen(t, copied, Options{ReadOnly: true})
	events, err := r.Read(ctx, "acme", 0, 10, 1000)
	if err != nil || len(events) != 1 || events[0].ID != "e1" {
		t.Errorf("read %v, %v", events, err)
	}
	if err := r.CreateTeam(ctx, auditdrain.Team{ID: "other", Slug: "other"}, nil); err == nil {
		t.Error("a team was created")
	}
	batch[0].Events[0].ID = "e2"
	if _, err := r.Append(ctx, batch); err == nil {
		t.Error("an event was appended")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, names(t, copied)); d != "" {
		t.Errorf("files (-before +after):\n%s", d)
	}
}

func names(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sizes[e.Name()] = info.Size()
	}
	return sizes
}
