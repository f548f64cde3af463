package pgstore

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/pgtest"
	"github.com/auditdrain/auditdrain/internal/storetest"
)

// server is what TestMain has started for all tests.
var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	// Connections break here, machines do not: nothing has to be on the disk.
	// That makes hundreds of schemas, one a test, quicker.
	if server, err = pgtest.Start("fsync=off", "full_page_writes=off"); err != nil {
		fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
		os.Exit(1)
	}
	failed := m.Run()
	server.Stop()
	os.Exit(failed)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// place is a schema of the server, reached directly.
type place struct {
	t   testing.TB
	url string
}

func newPlace(t testing.TB) place { return place{t, server.URL(server.NewSchema(t))} }

func (p place) Open(now func() time.Time) (storetest.Store, error) {
	return Open(p.t.Context(), p.url, Options{Logger: discard(), Now: now})
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place { return newPlace(t) })
}
