package pebblestore

import (
	"log/slog"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/storetest"
)

type diskPlace struct{ dir string }

func (p diskPlace) Open(now func() time.Time) (storetest.Store, error) {
	return Open(p.dir, Options{Now: now, Logger: slog.New(slog.DiscardHandler)})
}

// The suite, as in production, on the disk.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place { return diskPlace{t.TempDir()} })
}
