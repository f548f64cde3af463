package pgstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain/internal/pgtest"
	"github.com/auditdrain/auditdrain/internal/storetest"
)

func TestFaults(t *testing.T) {
	storetest.RunFaults(t, newFaultyPlace, storetest.Fails, storetest.Misreports, storetest.Kills)
}

func TestHistories(t *testing.T) {
	storetest.RunHistories(t, newFaultyPlace)
}

// faultyPlace is a schema behind a proxy. Once the fault has come, the database
// cannot be reached until it is mended.
type faultyPlace struct {
	t      *testing.T
	proxy  *proxy
	schema string
	url    string
	store  *Store
}

func newFaultyPlace(t *testing.T) storetest.FaultyPlace {
	p := &faultyPlace{t: t, schema: server.NewSchema(t), proxy: newProxy(t, server.Address())}
	p.url = pgtest.URLAt(p.proxy.listener.Addr().String(), p.schema)
	t.Cleanup(p.abandon)
	return p
}

func (p *faultyPlace) Open(now func() time.Time) (storetest.Store, error) {
	s, err := Open(p.t.Context(), p.url, Options{Name: p.schema, Logger: discard(), Now: now})
	if err != nil {
		return nil, err
	}
	p.store = s
	return s, nil
}

func (p *faultyPlace) Arm(fault storetest.Fault, nth int, _ uint64) { p.proxy.arm(fault, nth) }

func (p *faultyPlace) Tripped() bool {
	p.proxy.mu.Lock()
	defer p.proxy.mu.Unlock()
	return p.proxy.tripped
}

// Mend lets connections through. The database has not crashed: all that was
// committed is there.
func (p *faultyPlace) Mend() (recovered bool) {
	p.proxy.mu.Lock()
	p.proxy.down, p.proxy.fault = false, ""
	p.proxy.mu.Unlock()
	for p.store.Check(p.t.Context()) != nil && p.t.Context().Err() == nil {
	}
	return false
}

// Crash is that of a node: its connections break wherever they are.
func (p *faultyPlace) Crash(uint64) {
	p.proxy.cut(true)
	p.abandon()
	p.proxy.arm("", 0)
	p.proxy.cut(false)
}

// abandon closes the store, and waits until the database has noticed: what was
// under way is committed or taken back then.
func (p *faultyPlace) abandon() {
	if p.store != nil {
		_ = p.store.Close()
		p.store = nil
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server.URL(""))
	if err != nil {
		p.t.Fatal(err)
	}
	defer closeConn(conn)
	for left := 1; left > 0; {
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE $1`, "auditdrain "+p.schema+"-%").Scan(&left); err != nil {
			p.t.Fatal(err)
		}
	}
}
