package pgstore_test

import (
	"github.com/auditdrain/auditdrain/internal/activity"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/notify"
	"github.com/auditdrain/auditdrain/internal/pgstore"
	"github.com/auditdrain/auditdrain/internal/series"
	"github.com/auditdrain/auditdrain/internal/signing"
	"github.com/auditdrain/auditdrain/internal/web"
)

// A Store is all that the others ask for.
var _ interface {
	activity.Store
	api.ActivityStore
	api.AttemptStore
	api.DrainFinder
	api.DrainStore
	api.LinkStore
	api.ProgressStore
	api.ReplayStore
	api.SeriesStore
	api.SkipStore
	api.TeamStore
	api.TokenStore
	deliver.Chains
	deliver.Drains
	deliver.Manifests
	deliver.Records
	deliver.Store
	deliver.Surveyor
	ingest.Store
	notify.Store
	series.Store
	signing.Store
	web.LinkStore
	web.SessionStore
} = (*pgstore.Store)(nil)

// A Node is what a process delivers.
var _ interface {
	deliver.Chains
	deliver.Drains
	deliver.Manifests
	deliver.Store
	series.Store
} = (*pgstore.Node)(nil)
