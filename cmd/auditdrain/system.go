package main

import (
	"context"
	"fmt"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/api"
)

// ensureSystemTeam creates the team whose events are what people do to
// auditdrain itself, if this is the first start.
func ensureSystemTeam(ctx context.Context, store api.TeamStore) error {
	_, err := store.Team(ctx, auditdrain.SystemTeam)
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
		err = store.CreateTeam(ctx, auditdrain.Team{
			ID: auditdrain.SystemTeam, Slug: "auditdrain", Name: "auditdrain itself", CreatedAt: time.Now().UnixMilli(),
		}, nil)
		if auditdrain.ErrorCode(err) == auditdrain.CodeConflict {
			return nil // another process was first
		}
	}
	if err != nil {
		return fmt.Errorf("create team %s: %w", auditdrain.SystemTeam, err)
	}
	return nil
}
