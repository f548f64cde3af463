package pgstore

import (
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/storetest"
)

// place is a schema of the cluster, which tests do not have to connect through
// anything.
type place struct {
	t   testing.TB
	url string
}

func newPlace(t testing.TB) place { return place{t, theCluster.url(newSchema(t))} }

func (p place) Open(now func() time.Time) (storetest.Store, error) {
	return Open(p.t.Context(), p.url, Options{Logger: discard(), Now: now})
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place { return newPlace(t) })
}
