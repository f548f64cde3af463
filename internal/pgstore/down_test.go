package pgstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
)

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	var e *auditdrain.Error
	if !errors.As(err, &e) || e.Code != auditdrain.CodeUnavailable || e.RetryAfter == 0 {
		t.Errorf("%s: %v, want CodeUnavailable with RetryAfter", what, err)
	}
}

var oneEvent = []auditdrain.Batch{{TeamID: "a", Events: []auditdrain.Event{{ID: "1", Body: []byte("x")}}}}

// The database goes, with connections that are idle, and comes back.
func TestDown(t *testing.T) {
	p := newFaultyPlace(t).(*faultyPlace)
	s, err := p.Open(time.Now)
	must(t, err)
	_, err = s.Append(t.Context(), oneEvent)
	must(t, err)
	must(t, p.store.Admit())
	p.store.opts.downFor = time.Hour // unless a call succeeds
	p.proxy.cut(true)
	_, err = s.Append(t.Context(), oneEvent)
	wantUnavailable(t, "append", err)
	wantUnavailable(t, "admit", p.store.Admit())
	wantMetric(t, p.store, "auditdrain_store_failed", 1)
	wantUnavailable(t, "check", s.Check(t.Context()))
	_, err = s.Read(t.Context(), "a", 0, 1, 1)
	wantUnavailable(t, "read", err)
	if _, err := Open(t.Context(), p.url, Options{Logger: discard()}); true {
		wantUnavailable(t, "open", err)
	}

	// It comes back: nothing has to be done.
	p.proxy.cut(false)
	must(t, s.Check(t.Context()))
	must(t, p.store.Admit())
	wantMetric(t, p.store, "auditdrain_store_failed", 0)
	r, err := s.Append(t.Context(), oneEvent)
	if err != nil || r[0].Duplicates != 1 {
		t.Errorf("after it came back: %+v, %v", r, err)
	}
}

// wantMetric checks a gauge without labels.
func wantMetric(t *testing.T, s *Store, name string, want float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Collectors()...)
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			if got := f.GetMetric()[0].GetGauge().GetValue(); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
			return
		}
	}
	t.Errorf("there is no %s", name)
}

// Who holds a row for too long keeps others from it, but not for ever.
func TestTimeouts(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{CallTimeout: 200 * time.Millisecond})
	_, err := s.Append(t.Context(), oneEvent)
	must(t, err)
	holder, err := pgx.Connect(t.Context(), p.url)
	must(t, err)
	defer closeConn(holder)
	tx, err := holder.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `SELECT team_id FROM sequences FOR UPDATE`)
	must(t, err)
	_, err = s.Append(t.Context(), oneEvent)
	wantUnavailable(t, "append that takes too long", err)
	if _, _, err := s.Last(t.Context(), "a"); err != nil {
		t.Errorf("reading while a row is held: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Append(ctx, oneEvent); !errors.Is(err, context.DeadlineExceeded) || auditdrain.ErrorCode(err) == auditdrain.CodeUnavailable {
		t.Errorf("the caller gave up: %v", err)
	}
	must(t, tx.Rollback(t.Context()))
	must(t, s.Check(t.Context()))
}

// A node that stops in the middle of a transaction is not waited for.
func TestStoppedNode(t *testing.T) {
	p := newPlace(t)
	stops := p
	stops.url += "&idle_in_transaction_session_timeout=100"
	a, b := mustOpen(t, stops, Options{}), mustOpen(t, p, Options{})
	_, err := a.Append(t.Context(), oneEvent)
	must(t, err)
	err = a.tx(t.Context(), "stop", func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockSequence(ctx, tx, "a"); err != nil {
			return err
		}
		_, err := b.Append(ctx, oneEvent) // waits for what this node holds
		must(t, err)
		return nil
	})
	wantUnavailable(t, "the transaction of the node that stopped", err)
}

// Connections break again and again while many append. Each repeats what it has
// no answer to: all is there once, and nothing twice.
func TestCutsUnderLoad(t *testing.T) {
	const callers, rounds, cuts = 8, 30, 15
	p := newFaultyPlace(t).(*faultyPlace)
	s, err := p.Open(time.Now)
	must(t, err)
	var appending, cutting sync.WaitGroup
	var repeated atomic.Int64
	ended := make(chan struct{})
	cutting.Go(func() {
		for n := range cuts {
			before := p.proxy.turns.Load()
			for p.proxy.turns.Load() < before+int64(10+n) {
				select {
				case <-ended:
					return
				default:
					runtime.Gosched()
				}
			}
			p.proxy.cut(false)
		}
	})
	for w := range callers {
		appending.Go(func() {
			for r := range rounds {
				b := auditdrain.Batch{TeamID: "a"}
				for i := range 3 {
					b.Events = append(b.Events, auditdrain.Event{ID: fmt.Sprint(w, "-", r, "-", i), Body: []byte("x")})
				}
				for {
					res, err := s.Append(t.Context(), []auditdrain.Batch{b})
					if err == nil {
						if n := res[0].Accepted; n != 0 && n != 3 {
							t.Errorf("a part of a batch was stored: %+v", res[0])
						}
						break
					}
					if auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
						t.Error(err)
						return
					}
					repeated.Add(1)
				}
			}
		})
	}
	appending.Wait()
	close(ended)
	cutting.Wait()
	t.Logf("%d calls had no answer", repeated.Load())
	if repeated.Load() == 0 {
		t.Error("no call was cut off")
	}
	var es []auditdrain.StoredEvent
	for es == nil { // the last connections may be cut, too
		if es, err = s.Read(t.Context(), "a", 0, 10_000, 1<<20); err != nil && auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for i, e := range es {
		if e.Seq != uint64(i+1) || seen[e.ID] {
			t.Errorf("event %s is number %d, at place %d", e.ID, e.Seq, i+1)
		}
		seen[e.ID] = true
	}
	if len(seen) != callers*rounds*3 {
		t.Errorf("%d events, want %d", len(seen), callers*rounds*3)
	}
}

// All that the database says about itself, as opposed to what it was asked.
func TestCodes(t *testing.T) {
	s := mustOpen(t, newPlace(t), Options{})
	raise := func(sql string) error { return s.exec(t.Context(), "fail", sql) }
	wantUnavailable(t, "a read-only database", raise(`SET TRANSACTION READ ONLY; INSERT INTO days (day) VALUES (1)`))
	wantUnavailable(t, "a statement that takes too long", raise(`SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)`))
	wantUnavailable(t, "a shutdown", raise(`SELECT pg_terminate_backend(pg_backend_pid())`))
	if err := raise(`SELECT nonsense`); err == nil || auditdrain.ErrorCode(err) != auditdrain.CodeInternal {
		t.Errorf("nonsense: %v", err)
	}
	must(t, s.Check(t.Context()))
	// Text that cannot be stored names nothing.
	_, err := s.Team(t.Context(), "a\x00\xff")
	if auditdrain.ErrorCode(err) != auditdrain.CodeNotFound {
		t.Errorf("a team of no name: %v", err)
	}
}

// Another node's change is seen within a second.
func TestLookupsAge(t *testing.T) {
	p := newPlace(t)
	a, b := mustOpen(t, p, Options{}), mustOpen(t, p, Options{})
	token := auditdrain.Token{ID: "t", Hash: auditdrain.HashToken("t")}
	must(t, a.CreateToken(t.Context(), token, nil))
	_, err := b.TokenByHash(t.Context(), token.Hash)
	must(t, err)
	deleted := time.Now()
	must(t, a.DeleteToken(t.Context(), "", "t", nil))
	for err == nil {
		asked := time.Now()
		if _, err = b.TokenByHash(t.Context(), token.Hash); err == nil && asked.Sub(deleted) > remembered {
			t.Fatalf("the token is valid %s after it was deleted", asked.Sub(deleted))
		}
	}
}
