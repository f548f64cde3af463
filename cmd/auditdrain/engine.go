package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain/internal/activity"
	"github.com/auditdrain/auditdrain/internal/api"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/ingest"
	"github.com/auditdrain/auditdrain/internal/notify"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
	"github.com/auditdrain/auditdrain/internal/pgstore"
	"github.com/auditdrain/auditdrain/internal/series"
	"github.com/auditdrain/auditdrain/internal/signing"
	"github.com/auditdrain/auditdrain/internal/web"
)

// store is what an engine keeps.
type store interface {
	activity.Store
	api.ActivityStore
	api.AttemptStore
	api.ChainStore
	api.DrainFinder
	api.DrainStore
	api.LinkStore
	api.ProgressStore
	api.ReplayStore
	api.SeriesStore
	api.SkipStore
	api.TeamStore
	api.TokenStore
	deliver.Records
	ingest.Store
	notify.Store
	signing.Store
	web.LinkStore
	web.SessionStore

	// Check makes a write, and Admit tells without a call whether events can be
	// taken.
	Check(ctx context.Context) error
	Admit() error
	// Retain removes delivered events that are old enough, DeleteExpired sessions
	// and portal links that are over.
	Retain(ctx context.Context, keep time.Duration) (removed int, err error)
	DeleteExpired(ctx context.Context, now time.Time) error
	Close() error
}

// deliveries is what this process delivers.
type deliveries interface {
	deliver.Store
	deliver.Drains
	deliver.Chains
	deliver.Manifests
	series.Store
}

// engine is where all is kept, and this process's part of the work.
type engine struct {
	store      store
	deliveries deliveries
	collectors []prometheus.Collector
	about      []any // for the log

	// keep runs for as long as anything is stored, share for as long as anything
	// is delivered; they end with ctx.
	keep, share func(context.Context, *deliver.Deliverer) error
	// onDuty runs, until ctx ends, what one process does for all.
	onDuty func(ctx context.Context, f func(context.Context) error) error
}

// openEngine opens the database, if there is one, or else the folder.
func openEngine(ctx context.Context, set settings, log *slog.Logger) (engine, error) {
	if set.postgres != "" {
		return openShared(ctx, set, log)
	}
	return openEmbedded(set, log)
}

func openEmbedded(set settings, log *slog.Logger) (engine, error) {
	s, err := pebblestore.Open(set.data, pebblestore.Options{Logger: log, MinFree: set.minFreeDisk})
	if err != nil {
		return engine{}, err
	}
	return engine{
		store: s, deliveries: s, collectors: s.Collectors(), about: []any{"data", set.data},
		keep:   func(ctx context.Context, d *deliver.Deliverer) error { return s.Run(ctx, d.SaveAgain) },
		share:  untilDone,
		onDuty: func(ctx context.Context, f func(context.Context) error) error { return f(ctx) },
	}, nil
}

func openShared(ctx context.Context, set settings, log *slog.Logger) (engine, error) {
	s, err := pgstore.Open(ctx, set.postgres, pgstore.Options{Logger: log, Name: nodeName(set.nodeName)})
	if err != nil {
		return engine{}, err
	}
	node, err := s.Node(pgstore.NodeOptions{Lease: set.lease})
	if err != nil {
		return engine{}, errors.Join(err, s.Close())
	}
	return engine{
		store: s, deliveries: node, collectors: append(s.Collectors(), node.Collectors()...), about: []any{"node", node.ID()},
		keep:   untilDone,
		share:  func(ctx context.Context, d *deliver.Deliverer) error { return node.Run(ctx, d) },
		onDuty: node.OnDuty,
	}, nil
}

func untilDone(ctx context.Context, _ *deliver.Deliverer) error {
	<-ctx.Done()
	return nil
}

var nodeNameRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)

// validateSharing checks what says how processes share a database.
func (set settings) validateSharing() error {
	if set.postgres == "" {
		return nil
	}
	if set.lease < pgstore.MinLease {
		return usagef("--lease: %s is not allowed: use %s or more", set.lease, pgstore.MinLease)
	}
	if set.nodeName != "" && !nodeNameRE.MatchString(set.nodeName) {
		return usagef("--node-name: %q is not allowed: use up to 40 letters, digits, dots, underscores and dashes", set.nodeName)
	}
	return nil
}

// nodeName returns the one that was given, or else the machine's, if that can be
// one.
func nodeName(given string) string {
	if given != "" {
		return given
	}
	host, err := os.Hostname()
	if host = host[:min(len(host), 40)]; err != nil || !nodeNameRE.MatchString(host) {
		return "node"
	}
	return host
}
