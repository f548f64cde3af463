package series

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// world is source and store. Its sums are by drain and minute.
type world struct {
	mu       sync.Mutex
	done     map[string]auditdrain.Tally // not taken yet
	backlogs map[string]uint64
	sums     map[string]map[string]auditdrain.Tally
	calls    int // of AddTallies
	looks    int // calls of Backlogs
	err      error
}

func (w *world) TakeTallies() []auditdrain.Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []auditdrain.Tally
	for _, t := range w.done {
		all = append(all, t)
	}
	clear(w.done)
	return all
}

func (w *world) AddTallies(_ context.Context, at time.Time, tallies []auditdrain.Tally) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if w.err != nil {
		return w.err
	}
	for _, t := range tallies {
		minutes := w.sums[t.DrainID]
		if minutes == nil {
			minutes = map[string]auditdrain.Tally{}
			w.sums[t.DrainID] = minutes
		}
		minute := at.Format("15:04")
		sum := minutes[minute]
		sum.Add(t)
		minutes[minute] = sum
	}
	return nil
}

func (w *world) Backlogs(context.Context) (map[string]uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return maps.Clone(w.backlogs), nil
}

func (w *world) deliver(id string, n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.done[id]
	t.Add(auditdrain.Tally{Delivered: n})
	t.DrainID = id
	w.done[id] = t
}

func (w *world) setBacklog(id string, n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backlogs[id] = n; n == 0 {
		delete(w.backlogs, id)
	}
}

func (w *world) want(t *testing.T, id string, want map[string]auditdrain.Tally) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := cmp.Diff(want, w.sums[id]); d != "" {
		t.Errorf("%s (-want +got):\n%s", id, d)
	}
}

type minutes = map[string]auditdrain.Tally

// record runs test beside a Recorder, which is started at midnight, when clocks
// of synctest begin, and ends with stop.
func record(t *testing.T, log *slog.Logger, test func(t *testing.T, w *world, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{done: map[string]auditdrain.Tally{}, backlogs: map[string]uint64{}, sums: map[string]map[string]auditdrain.Tally{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(w, w, log).Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		defer stop()
		test(t, w, stop)
	})
}

func TestRecorder(t *testing.T) {
	record(t, slog.New(slog.DiscardHandler), func(t *testing.T, w *world, stop func()) {
		w.setBacklog("parked", 3)
		w.setBacklog("busy", 5)
		for range 200 { // one a second: the last of a minute is of that minute
			time.Sleep(time.Second - time.Nanosecond)
			w.deliver("busy", 1)
			time.Sleep(time.Nanosecond)
		}
		synctest.Wait()
		w.setBacklog("parked", 7)
		time.Sleep(time.Minute)
		w.setBacklog("parked", 0)
		w.setBacklog("busy", 0)
		time.Sleep(3*time.Minute + time.Second)
		w.deliver("late", 1)
		stop()
		w.want(t, "busy", minutes{
			"00:00": {Delivered: 60, Backlog: 5}, "00:01": {Delivered: 60, Backlog: 5}, "00:02": {Delivered: 60, Backlog: 5},
			"00:03": {Delivered: 20, Backlog: 5}, "00:04": {},
		})
		w.want(t, "parked", minutes{
			"00:00": {Backlog: 3}, "00:01": {Backlog: 3}, "00:02": {Backlog: 3}, "00:03": {Backlog: 7},
			"00:04": {}, // once: it is not stored again
		})
		w.want(t, "late", minutes{"00:07": {Delivered: 1}})
	})
}

// Drains that have nothing to do cost one look a minute.
func TestRecorderIdle(t *testing.T) {
	record(t, slog.New(slog.DiscardHandler), func(t *testing.T, w *world, stop func()) {
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if w.looks > 61 {
			t.Errorf("%d looks at idle drains in an hour", w.looks)
		}
		if len(w.sums) > 0 {
			t.Errorf("%v", w.sums)
		}
	})
}

// A store that fails loses what it was given, is complained of once, and gets
// what comes later.
func TestRecorderStoreFails(t *testing.T) {
	var log strings.Builder
	record(t, slog.New(slog.NewTextHandler(&log, nil)), func(t *testing.T, w *world, stop func()) {
		w.setBacklog("d", 1)
		time.Sleep(30 * time.Second)
		w.mu.Lock()
		w.err = errors.New("no space")
		w.mu.Unlock()
		for range 9 {
			w.deliver("d", 1)
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		w.setBacklog("d", 0)
		w.mu.Lock()
		w.err = nil
		w.mu.Unlock()
		time.Sleep(time.Minute + time.Second)
		w.deliver("d", 2)
		stop()
		w.want(t, "d", minutes{"00:00": {Backlog: 1}, "00:02": {}, "00:03": {Delivered: 2}})
	})
	if n := strings.Count(log.String(), "no space"); n != 1 {
		t.Errorf("the failure was logged %d times:\n%s", n, log.String())
	}
}
