package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

// folder is what a service's data begin with: teams 0 to Teams-1, with a drain
// each or without, of which manifests are written or not.
type folder struct {
	teams     int
	drains    bool
	integrity bool
}

// fresh puts a folder at path. Each is made by the service once, and copied
// for every run.
func (b *bench) fresh(ctx context.Context, f folder, path string) error {
	if b.folders[f] == "" {
		made := filepath.Join(b.dir, fmt.Sprintf("folder-%d-%t-%t", f.teams, f.drains, f.integrity))
		if err := b.makeFolder(ctx, f, made); err != nil {
			return fmt.Errorf("make %d teams: %w", f.teams, err)
		}
		b.folders[f] = made
	}
	return os.CopyFS(path, os.DirFS(b.folders[f]))
}

func (b *bench) makeFolder(ctx context.Context, f folder, path string) error {
	return b.withRig(ctx, nullOptions{}, func(r *rig) error {
		if err := r.serve(ctx, path); err != nil {
			return err
		}
		return r.fill(ctx, f)
	})
}

// fill makes the folder's teams and drains through the run's service.
func (r *rig) fill(ctx context.Context, f folder) error {
	const callers = 32
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	defer transport.CloseIdleConnections()
	api, err := r.api(client.WithHTTPClient(&http.Client{Transport: transport, Timeout: r.stall}))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(callers)
	for i := range f.teams {
		g.Go(func() error {
			team, err := api.CreateTeam(ctx, auditdrain.TeamInput{ID: teamID(i), Slug: fmt.Sprintf("bench-%05d", i), Name: fmt.Sprintf("Bench %d", i)})
			if err != nil || !f.drains {
				return err
			}
			delivery := deliveryOf(i)
			delivery.Integrity = f.integrity
			_, err = api.CreateDrain(ctx, team.ID, auditdrain.DrainInput{Name: "bench", Schemas: auditdrain.AuditLogSchemas(), Delivery: &delivery})
			return err
		})
	}
	return g.Wait()
}

// api is a client of the run's service.
func (r *rig) api(options ...client.Option) (*client.Client, error) {
	return client.New("http://"+r.addrs[0], r.token, options...)
}
