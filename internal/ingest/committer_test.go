package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// fakeStore is a Store whose commits take a second.
type fakeStore struct {
	// outcome tells the result of a batch; all events are accepted if it is nil.
	outcome func(auditdrain.Batch) auditdrain.BatchResult
	err     error // of every commit from now on

	mu      sync.Mutex
	groups  [][]auditdrain.Batch // by commit
	durable map[string]bool      // teams whose batches have been committed
	ctxErr  error                // that commits have seen
}

func (s *fakeStore) Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error) {
	time.Sleep(time.Second) // of the fake clock
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctxErr = errors.Join(s.ctxErr, ctx.Err())
	s.groups = append(s.groups, slices.Clone(batches))
	if s.err != nil {
		return nil, s.err
	}
	results := make([]auditdrain.BatchResult, len(batches))
	for i, b := range batches {
		results[i] = auditdrain.BatchResult{Accepted: len(b.Events)}
		if s.outcome != nil {
			results[i] = s.outcome(b)
		}
		if s.durable == nil {
			s.durable = map[string]bool{}
		}
		s.durable[b.TeamID] = true
	}
	return results, nil
}

// groupSizes returns how many batches each commit had.
func (s *fakeStore) groupSizes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sizes []int
	for _, g := range s.groups {
		sizes = append(sizes, len(g))
	}
	return sizes
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// batchOf returns a batch of n events with distinct IDs.
func batchOf(teamID string, n int) auditdrain.Batch {
	b := auditdrain.Batch{TeamID: teamID}
	for i := range n {
		b.Events = append(b.Events, auditdrain.Event{ID: fmt.Sprintf("e%d", i), Timestamp: testNow.UnixMilli(), Body: []byte("{}")})
	}
	return b
}

// start runs c until the test ends or the function it returns is called.
func start(t *testing.T, c *Committer) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

type outcome struct {
	result auditdrain.EventsResult
	err    error
}

// commit calls Commit and delivers what comes of it.
func commit(ctx context.Context, c *Committer, b auditdrain.Batch) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		r, err := c.Commit(ctx, b)
		out <- outcome{r, err}
	}()
	return out
}

func TestCommitAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		c := NewCommitter(store, func(string) {}, quiet())
		start(t, c)
		begin := time.Now()
		for range 3 {
			r, err := c.Commit(t.Context(), batchOf("team_a", 2))
			if want := (auditdrain.EventsResult{Accepted: 2}); err != nil || r != want {
				t.Errorf("got %+v, error %v", r, err)
			}
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("3 commits of a second each took %s", took)
		}
	})
}

func TestCommitsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{outcome: func(b auditdrain.Batch) auditdrain.BatchResult {
			return auditdrain.BatchResult{Accepted: len(b.Events) - 1, Duplicates: 1}
		}}
		c := NewCommitter(store, func(string) {}, quiet())
		start(t, c)
		first := commit(t.Context(), c, batchOf("team_a", 1))
		synctest.Wait() // it is being committed
		var rest []<-chan outcome
		for i := range 50 {
			rest = append(rest, commit(t.Context(), c, batchOf(fmt.Sprintf("team_%d", i%7), i+1)))
		}
		begin := time.Now()
		if got := <-first; got.err != nil {
			t.Error(got.err)
		}
		for i, out := range rest {
			want := auditdrain.EventsResult{Accepted: i, Duplicates: 1}
			if got := <-out; got.err != nil || got.result != want {
				t.Errorf("caller %d: got %+v, want %+v", i, got, want)
			}
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("took %s, not two commits", took)
		}
		if diff := cmp.Diff([]int{1, 50}, store.groupSizes()); diff != "" {
			t.Errorf("batches by commit (-want +got):\n%s", diff)
		}
	})
}

// A group is bounded, so that a caller waits for little more than its own
// batch; batches keep their order.
func TestCommitGroupsAreBounded(t *testing.T) {
	megabytes := func(n int) auditdrain.Batch {
		return auditdrain.Batch{TeamID: "team_a", Events: []auditdrain.Event{{ID: "e", Body: make([]byte, n<<20)}}}
	}
	tests := []struct {
		name    string
		batches []auditdrain.Batch
		want    []int
	}{
		{"events", slices.Repeat([]auditdrain.Batch{batchOf("team_a", 10_000)}, 5), []int{2, 2, 1}},
		{"bytes", []auditdrain.Batch{megabytes(10), megabytes(6), megabytes(1), megabytes(31), megabytes(1)}, []int{2, 1, 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{}
				c := NewCommitter(store, func(string) {}, quiet())
				var outs []<-chan outcome
				var want []int
				for _, b := range tt.batches {
					outs = append(outs, commit(t.Context(), c, b))
					synctest.Wait() // it is in the queue
					want = append(want, len(b.Events[0].Body))
				}
				start(t, c)
				for _, out := range outs {
					if got := <-out; got.err != nil {
						t.Error(got.err)
					}
				}
				if diff := cmp.Diff(tt.want, store.groupSizes()); diff != "" {
					t.Errorf("batches by commit (-want +got):\n%s", diff)
				}
				var got []int
				for _, b := range slices.Concat(store.groups...) {
					got = append(got, len(b.Events[0].Body))
				}
				if !slices.Equal(got, want) {
					t.Errorf("order %v, want %v", got, want)
				}
			})
		})
	}
}

func TestCommitStoreError(t *testing.T) {
	mine := &auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "the store is closed", RetryAfter: 7 * time.Second}
	tests := []struct {
		name  string
		err   error
		want  string
		retry time.Duration
	}{
		{"of the disk", errors.New("no space left on /secret/path"), "events cannot be stored right now; nothing was acknowledged, try again", time.Second},
		{"for people", fmt.Errorf("append: %w", mine), "append: the store is closed", 7 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{err: tt.err}
				var woken []string
				c := NewCommitter(store, func(teamID string) { woken = append(woken, teamID) }, quiet())
				start(t, c)
				var outs []<-chan outcome
				for range 5 {
					outs = append(outs, commit(t.Context(), c, batchOf("team_a", 1)))
				}
				for _, out := range outs {
					got := <-out
					var e *auditdrain.Error
					if !errors.As(got.err, &e) || e.Code != auditdrain.CodeUnavailable || e.RetryAfter != tt.retry || got.err.Error() != tt.want {
						t.Errorf("got error %#v", got.err)
					}
					if got.result != (auditdrain.EventsResult{}) {
						t.Errorf("%+v was acknowledged", got.result)
					}
				}
				if len(woken) > 0 {
					t.Errorf("woken: %v", woken)
				}
				store.mu.Lock()
				store.err = nil
				store.mu.Unlock()
				if _, err := c.Commit(t.Context(), batchOf("team_a", 1)); err != nil {
					t.Errorf("after the store has recovered: %v", err)
				}
			})
		})
	}
}

func TestCommitConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{outcome: func(b auditdrain.Batch) auditdrain.BatchResult {
			if b.TeamID == "team_bad" {
				return auditdrain.BatchResult{Conflicts: []string{"e1", "e7"}}
			}
			return auditdrain.BatchResult{Accepted: len(b.Events)}
		}}
		var woken []string
		c := NewCommitter(store, func(teamID string) { woken = append(woken, teamID) }, quiet())
		first := commit(t.Context(), c, batchOf("team_good", 3))
		bad := commit(t.Context(), c, batchOf("team_bad", 9))
		start(t, c)
		if got := <-first; got.err != nil || got.result.Accepted != 3 {
			t.Errorf("beside a conflict: %+v", got)
		}
		want := &auditdrain.Error{
			Code:    auditdrain.CodeConflict,
			Message: "nothing was stored: events with these ids were accepted before, or are twice in this batch, with other content; an event is never changed, so give a new event a new id",
			IDs:     []string{"e1", "e7"},
		}
		if diff := cmp.Diff(outcome{err: want}, <-bad, cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("conflict (-want +got):\n%s", diff)
		}
		if !slices.Equal(woken, []string{"team_good"}) {
			t.Errorf("woken: %v", woken)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 3, "duplicate": 0, "conflict": 9}, counted(t, c)); diff != "" {
			t.Errorf("events counted (-want +got):\n%s", diff)
		}
	})
}

// counted returns the committer's counters of events.
func counted(t *testing.T, c *Committer) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c.Collectors()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "auditdrain_ingest_events_total" {
			for _, m := range f.GetMetric() {
				counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return counts
}

func TestCommitCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		c := NewCommitter(store, func(string) {}, quiet())
		start(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		out := commit(ctx, c, batchOf("team_a", 1))
		synctest.Wait()
		begin := time.Now()
		cancel()
		if got := <-out; !errors.Is(got.err, context.Canceled) || got.result != (auditdrain.EventsResult{}) {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the caller was kept for %s", took)
		}
		// The others do not suffer, and the batch may well be stored.
		if _, err := c.Commit(t.Context(), batchOf("team_b", 1)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{1, 1}, store.groupSizes()); diff != "" {
			t.Errorf("batches by commit (-want +got):\n%s", diff)
		}
		if store.ctxErr != nil {
			t.Errorf("a commit was told to stop: %v", store.ctxErr)
		}
	})
}

func checkShutdown(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*auditdrain.Error)
	if !ok || e.Code != auditdrain.CodeUnavailable || e.RetryAfter != time.Second || e.Message != "the server is shutting down; nothing was acknowledged, try again" {
		t.Errorf("after the end: got error %v", err)
	}
}

func TestCommitShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		c := NewCommitter(store, func(string) {}, quiet())
		stop := start(t, c)
		var outs []<-chan outcome
		for i := range 5 {
			outs = append(outs, commit(t.Context(), c, batchOf("team_a", 10_000))) // two a group
			if i == 0 {
				synctest.Wait() // it is being committed
			}
		}
		synctest.Wait()
		stop()
		for i, out := range outs {
			if got := <-out; got.err != nil || got.result.Accepted != 10_000 {
				t.Errorf("batch %d, which waited: %+v", i, got)
			}
		}
		if diff := cmp.Diff([]int{1, 2, 2}, store.groupSizes()); diff != "" {
			t.Errorf("batches by commit (-want +got):\n%s", diff)
		}
		if store.ctxErr != nil {
			t.Errorf("a commit was told to stop: %v", store.ctxErr)
		}
		_, err := c.Commit(t.Context(), batchOf("team_a", 1))
		checkShutdown(t, err)
	})
}

// Producers that never pause must not keep the server from ending.
func TestCommitShutdownUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		c := NewCommitter(store, func(string) {}, quiet())
		stop := start(t, c)
		end := time.Now().Add(time.Hour)
		var acknowledged [3]int
		var producers sync.WaitGroup
		for i := range acknowledged {
			producers.Go(func() {
				time.Sleep(time.Duration(i) * 300 * time.Millisecond)
				for time.Now().Before(end) {
					if _, err := c.Commit(t.Context(), batchOf(fmt.Sprintf("team_%d", i), 1)); err != nil {
						checkShutdown(t, err)
						return
					}
					acknowledged[i]++
				}
			})
		}
		time.Sleep(10*time.Second + 500*time.Millisecond)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("Run took %s to end", took)
		}
		producers.Wait()
		stored, sum := 0, 0
		for _, g := range store.groups {
			stored += len(g)
		}
		for _, n := range acknowledged {
			sum += n
		}
		if stored != sum || sum < 10 {
			t.Errorf("%d batches stored, %d acknowledged", stored, sum)
		}
	})
}

func TestCommitWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{outcome: func(b auditdrain.Batch) auditdrain.BatchResult {
			if b.TeamID == "team_old" {
				return auditdrain.BatchResult{Duplicates: len(b.Events)}
			}
			return auditdrain.BatchResult{Accepted: len(b.Events)}
		}}
		woken := map[string]int{}
		c := NewCommitter(store, func(teamID string) {
			store.mu.Lock()
			defer store.mu.Unlock()
			if !store.durable[teamID] {
				t.Errorf("%s was woken before its events were durable", teamID)
			}
			woken[teamID]++
		}, quiet())
		var outs []<-chan outcome
		for _, teamID := range []string{"team_a", "team_old", "team_b", "team_a", "team_a", "team_empty"} {
			n := 2
			if teamID == "team_empty" {
				n = 0
			}
			outs = append(outs, commit(t.Context(), c, batchOf(teamID, n)))
		}
		synctest.Wait()
		start(t, c)
		for _, out := range outs {
			if got := <-out; got.err != nil {
				t.Error(got.err)
			}
			store.mu.Lock()
			if len(woken) == 0 {
				t.Error("a caller was answered before anybody was woken")
			}
			store.mu.Unlock()
		}
		if diff := cmp.Diff(map[string]int{"team_a": 1, "team_b": 1}, woken); diff != "" {
			t.Errorf("woken (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{6}, store.groupSizes()); diff != "" {
			t.Errorf("batches by commit (-want +got):\n%s", diff)
		}
	})
}

// What waits is bounded in bytes; who comes too many is told to come back.
func TestCommitMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		c := NewCommitter(store, func(string) {}, quiet())
		big := auditdrain.Batch{TeamID: "team_a", Events: []auditdrain.Event{{ID: "e", Body: make([]byte, 32<<20)}}}
		var outs []<-chan outcome
		for range 8 { // 256 MiB
			outs = append(outs, commit(t.Context(), c, big))
		}
		synctest.Wait()
		_, err := c.Commit(t.Context(), batchOf("team_a", 1))
		e, ok := err.(*auditdrain.Error)
		if !ok || e.Code != auditdrain.CodeUnavailable || e.RetryAfter != time.Second || e.Message != "too many events wait to be stored; nothing was acknowledged, try again" {
			t.Errorf("beyond the bound: got error %v", err)
		}
		start(t, c)
		synctest.Wait() // one of them is being committed
		if _, err := c.Commit(t.Context(), batchOf("team_a", 1)); err != nil {
			t.Errorf("with room again: %v", err)
		}
		for _, out := range outs {
			if got := <-out; got.err != nil {
				t.Error(got.err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.bytes != 0 {
			t.Errorf("%d bytes are counted, but nothing waits", c.bytes)
		}
		// Nor does the committer hold on to what it has committed.
		held := weak.Make(&big.Events[0])
		big, store.groups = auditdrain.Batch{}, nil
		runtime.GC()
		if held.Value() != nil {
			t.Error("a batch that was committed is still held in memory")
		}
		runtime.KeepAlive(c)
	})
}

func TestCommitToPebble(t *testing.T) {
	dir := t.TempDir()
	store, err := pebblestore.Open(dir, pebblestore.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	closeStore := func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	defer func() { closeStore() }()
	var mu sync.Mutex
	woken := map[string]bool{}
	c := NewCommitter(store, func(teamID string) {
		mu.Lock()
		defer mu.Unlock()
		woken[teamID] = true
	}, quiet())
	stop := start(t, c)

	const callers, rounds, size = 20, 5, 3
	batch := func(caller, round int) auditdrain.Batch {
		b := auditdrain.Batch{TeamID: fmt.Sprintf("team_%d", caller%4)}
		for i := range size {
			id := fmt.Sprintf("e_%d_%d_%d", caller, round, i)
			b.Events = append(b.Events, auditdrain.Event{ID: id, Timestamp: testNow.UnixMilli(), Body: fmt.Appendf(nil, `{"id":%q}`, id)})
		}
		return b
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for round := range rounds {
				for _, want := range []auditdrain.EventsResult{{Accepted: size}, {Duplicates: size}} {
					if got, err := c.Commit(t.Context(), batch(i, round)); err != nil || got != want {
						t.Errorf("caller %d, round %d: got %+v, error %v; want %+v", i, round, got, err, want)
					}
				}
			}
		})
	}
	wg.Wait()
	changed := batch(0, 0)
	changed.Events = append(changed.Events, auditdrain.Event{ID: "new", Body: []byte(`{"id":"new"}`)})
	changed.Events[1].Body = []byte(`{}`)
	_, err = c.Commit(t.Context(), changed)
	var conflict *auditdrain.Error
	if !errors.As(err, &conflict) || conflict.Code != auditdrain.CodeConflict || !slices.Equal(conflict.IDs, []string{"e_0_0_1"}) {
		t.Errorf("same id, other bytes: error %v", err)
	}
	if len(woken) != 4 {
		t.Errorf("woken: %v", woken)
	}

	// After a restart everything that was acknowledged is there, and no more.
	stop()
	closeStore()
	if store, err = pebblestore.Open(dir, pebblestore.Options{Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	for team := range 4 {
		events, err := store.Read(t.Context(), fmt.Sprintf("team_%d", team), 0, 1<<20, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			got[e.ID] = string(e.Body)
		}
	}
	for i := range callers {
		for round := range rounds {
			for _, e := range batch(i, round).Events {
				want[e.ID] = string(e.Body)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events in the store (-want +got):\n%s", diff)
	}
}
