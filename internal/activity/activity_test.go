package activity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/activity"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// world is a real store in memory, whose writes can go wrong once.
type world struct {
	*testing.T
	*pebblestore.Store

	writes atomic.Int32
	nth    int32 // the write that goes wrong, 0 for none
	fault  string
	killed context.CancelFunc
}

// The faults.
const (
	fails      = "fails"      // it does not happen, and an error is returned
	misreports = "misreports" // it happens, and an error is returned
	kills      = "kills"      // it happens, and the process ends
)

var errFault = errors.New("fault")

func newWorld(t *testing.T) *world {
	store, err := pebblestore.Open("data", pebblestore.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{T: t, Store: store}
}

func (w *world) write(f func() error) error {
	if w.writes.Add(1) != w.nth {
		return f()
	}
	if w.fault != fails {
		if err := f(); err != nil {
			return err
		}
	}
	if w.fault == kills {
		w.killed()
	}
	return errFault
}

// Commit is what ingest's committer does, without waiting for others.
func (w *world) Commit(ctx context.Context, b auditdrain.Batch) (result auditdrain.EventsResult, err error) {
	err = w.write(func() error {
		results, err := w.Append(ctx, []auditdrain.Batch{b})
		if err != nil {
			return err
		}
		if len(results[0].Conflicts) > 0 {
			return auditdrain.Errorf(auditdrain.CodeConflict, "other bytes")
		}
		return nil
	})
	return result, err
}

func (w *world) SaveForwarded(ctx context.Context, number uint64) error {
	return w.write(func() error { return w.Store.SaveForwarded(ctx, number) })
}

// run runs a forwarder until the function that it returns is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	w.killed = cancel
	done := make(chan error)
	f := &activity.Forwarder{Namespace: auditdrain.DefaultNamespace, Store: w, Events: w, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- f.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run: %v", err)
		}
	}
}

func (w *world) record(n int) {
	w.Helper()
	for range n {
		act := auditdrain.Activity{
			ID: auditdrain.NewID("uev_"), At: time.Now().UnixMilli(), TeamID: "team_a", Action: auditdrain.ActionDrainDeleted,
			Actor: auditdrain.ActivityActor{ID: "tok_1", Name: "x", Role: auditdrain.RoleOwner},
		}
		if err := w.Record(w.Context(), &act); err != nil {
			w.Fatal(err)
		}
	}
}

// wantAll checks that the events are the activities, in order.
func (w *world) wantAll(n int) {
	w.Helper()
	activities, err := w.ActivitiesAfter(w.Context(), 0, 1<<20)
	if err != nil || len(activities) != n {
		w.Fatalf("%d activities, %v, want %d", len(activities), err, n)
	}
	events, err := w.Read(w.Context(), auditdrain.SystemTeam, 0, 1<<20, 1<<30)
	if err != nil {
		w.Fatal(err)
	}
	var want, got []string
	for _, a := range activities {
		want = append(want, fmt.Sprint(a.ID, " ", a.Number))
	}
	for _, e := range events {
		var body struct{ Payload struct{ Number uint64 } }
		if err := json.Unmarshal(e.Body, &body); err != nil {
			w.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.ID, " ", body.Payload.Number))
	}
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("events (-want +got):\n%s", d)
	}
	if last, err := w.Forwarded(w.Context()); err != nil || last != uint64(n) {
		w.Errorf("forwarded up to %d, %v, want %d", last, err, n)
	}
}

func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.record(250) // before anybody forwards
		stop := w.run()
		synctest.Wait()
		w.wantAll(250)
		w.record(1)
		synctest.Wait() // at once: no time passes
		w.wantAll(251)
		stop()
		w.record(2)
		stop = w.run()
		synctest.Wait()
		w.wantAll(253)
		stop()
	})
}

// Whichever write goes wrong, each activity becomes one event.
func TestFaults(t *testing.T) {
	const activities = 150 // more than are read at once
	for _, fault := range []string{fails, misreports, kills} {
		t.Run(fault, func(t *testing.T) {
			for _, nth := range []int32{1, 2, 50, 100, 101, 102, 151, 152} { // 101 and 152 save how far it is
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.nth, w.fault = nth, fault
					w.record(activities)
					stop := w.run()
					synctest.Wait()
					if fault == kills {
						stop()
						stop = w.run()
					}
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if n := w.writes.Load(); n < nth {
						t.Errorf("%d writes: nothing went wrong", n)
					}
					w.wantAll(activities)
					stop()
				})
			}
		})
	}
}

// An event that an earlier version has made holds nothing up.
func TestOtherWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.record(2)
		first, err := w.ActivitiesAfter(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"payload":{"number":1}}`)
		if _, err := w.Append(t.Context(), []auditdrain.Batch{{TeamID: auditdrain.SystemTeam, Events: []auditdrain.Event{{ID: first[0].ID, Timestamp: 1, Body: body}}}}); err != nil {
			t.Fatal(err)
		}
		stop := w.run()
		synctest.Wait()
		w.wantAll(2)
		stop()
	})
}

// What becomes of an activity is an event that ingest would take, byte for
// byte.
func TestEventIsValid(t *testing.T) {
	now := time.UnixMilli(1_750_000_000_000)
	full := auditdrain.Activity{
		Number: 42, ID: "uev_1", At: now.UnixMilli(), TeamID: "team_a", Action: auditdrain.ActionDrainUpdated,
		Actor:    auditdrain.ActivityActor{ID: "lnk_1", Name: "Ann <ann@acme.example>", Role: auditdrain.RoleOwner, Session: "ses_1"},
		TargetID: "drn_1", TargetName: "archive & more", IPAddress: "192.0.2.1", UserAgent: "Firefox",
		Changes: []auditdrain.ActivityChange{{Field: "name", From: "a", To: "archive & more"}},
	}
	least := auditdrain.Activity{
		Number: 43, ID: "uev_2", At: now.UnixMilli(), Action: auditdrain.ActionTokenCreated,
		Actor: auditdrain.ActivityActor{ID: "tok_1", Name: "ci", Role: auditdrain.RoleOperator},
	}
	for _, tt := range []struct {
		activity auditdrain.Activity
		want     string
	}{
		{full, `{"schema":"vercel.audit_log.v1","id":"uev_1","teamId":"_system","action":"drain-updated","timestamp":1750000000000,` +
			`"actor":{"type":"user","id":"lnk_1","name":"Ann <ann@acme.example>"},"userAgent":"Firefox","ipAddress":"192.0.2.1",` +
			`"payload":{"number":42,"teamId":"team_a","role":"owner","session":"ses_1","target":{"id":"drn_1","name":"archive & more"},` +
			`"changes":[{"field":"name","from":"a","to":"archive & more"}]}}`},
		{least, `{"schema":"vercel.audit_log.v1","id":"uev_2","teamId":"_system","action":"token-created","timestamp":1750000000000,` +
			`"actor":{"type":"app","id":"tok_1","name":"ci"},"tokenId":"tok_1","payload":{"number":43,"role":"operator"}}`},
	} {
		got, err := activity.Event(auditdrain.DefaultNamespace, tt.activity)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Split(tt.want, ","), strings.Split(string(got.Body), ",")); d != "" {
			t.Errorf("event (-want +got):\n%s", d)
		}
		decoder := ingest.Decoder{Namespace: auditdrain.DefaultNamespace, Now: func() time.Time { return now }}
		taken, err := decoder.Decode(auditdrain.SystemTeam, ingest.TypeJSON, got.Body)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]auditdrain.Event{got}, taken); d != "" {
			t.Errorf("ingest takes it as (-want +got):\n%s", d)
		}
	}
}
