// Package move moves all that one store holds to another one, and proves that
// it has arrived: what is read back is compared, team by team, by counts and
// checksums.
//
// Teams, tokens, the keys that manifests are signed with, drains with all that is
// kept of their delivery, chains of manifests, also those of deleted drains that are
// still to be written, activities and events go; sessions and portal links, which
// are good for hours or minutes, stay behind. Both stores are read through the
// methods that the service reads them with, so that what is compared is what will be
// delivered.
package move

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// Source is a store that nobody else uses meanwhile.
type Source interface {
	Catalog
	Activities
	Events
	Delivery
	Chains
}

// Catalog is what a store has of teams, tokens, signing keys and drains.
type Catalog interface {
	Teams(ctx context.Context) ([]auditdrain.Team, error)
	Tokens(ctx context.Context, teamID string) ([]auditdrain.Token, error)
	SigningKeys(ctx context.Context) ([]auditdrain.SigningKey, error)
	Drains(ctx context.Context, query auditdrain.DrainQuery) ([]auditdrain.Drain, error)
}

// Activities is what a store has of who did what.
type Activities interface {
	ActivitiesAfter(ctx context.Context, after uint64, limit int) ([]auditdrain.Activity, error)
	Forwarded(ctx context.Context) (uint64, error)
}

// Events is what a store has of teams' events.
type Events interface {
	Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error)
	LogRecord(ctx context.Context, teamID string) (auditdrain.LogRecord, error)
}

// Delivery is what a store has of what drains have done and are to do.
type Delivery interface {
	DeliveryState(ctx context.Context, drainID string) (auditdrain.DeliveryState, error)
	Attempts(ctx context.Context, drainID string) ([]auditdrain.Attempt, error)
	Skips(ctx context.Context, drainID string) ([]auditdrain.Skip, error)
	Instructions(ctx context.Context, drainID string) (auditdrain.Instructions, error)
	Notified(ctx context.Context) (map[string]auditdrain.Notified, error)
	Steps(ctx context.Context, drainID string) ([]auditdrain.SeriesStep, error)
}

// Chains is what a store has of manifests that are written or to be written.
type Chains interface {
	Chains(ctx context.Context) ([]auditdrain.Chain, error)
	Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error)
}

// Sink is given all that a store holds, part by part, in this order. What it is
// given is not modified later.
type Sink interface {
	PutCatalog(ctx context.Context, teams []auditdrain.Team, tokens []auditdrain.Token) error
	PutSigningKeys(ctx context.Context, keys []auditdrain.SigningKey) error // all, in their order
	PutDrain(ctx context.Context, d auditdrain.DrainRecord) error
	PutChain(ctx context.Context, c auditdrain.ChainRecord) error
	PutActivities(ctx context.Context, activities []auditdrain.Activity, forwarded uint64) error
	PutEvents(ctx context.Context, teamID string, events []auditdrain.StoredEvent) error
	PutLog(ctx context.Context, log auditdrain.LogRecord) error // after the team's events
}

// Target is a store that is filled. What it has of an earlier Run that was broken
// off it takes into account. Flush has all that was put be read by its methods,
// and Finish has it be complete: durable, and ready to be used.
type Target interface {
	Source
	Sink
	Flush(ctx context.Context) error
	Finish(ctx context.Context) error
}

// Phase is what a Run is at.
type Phase string

// The phases, in their order.
const (
	Moving   Phase = "moving"
	Checking Phase = "checking"
)

// Progress is how far a Run has come.
type Progress struct {
	Phase       Phase
	Done, Total uint64 // events
}

// Run moves all that from holds to to, compares what has arrived, and only if
// it is the same finishes to. It returns what was moved, by team. A Run that was
// broken off can be repeated, and a complete one, too. show is called now and
// then.
func Run(ctx context.Context, from Source, to Target, show func(Progress)) ([]Sum, error) {
	total, err := countEvents(ctx, from)
	if err != nil {
		return nil, err
	}
	want, got := newDigest(), newDigest()
	err = walk(ctx, from, &counter{Sink: tee{want, to}, p: Progress{Phase: Moving, Total: total}, show: show})
	if err == nil {
		err = to.Flush(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("move: %w", err)
	}
	if err := walk(ctx, to, &counter{Sink: got, p: Progress{Phase: Checking, Total: total}, show: show}); err != nil {
		return nil, fmt.Errorf("check what was moved: %w", err)
	}
	sums := want.sums()
	if err := compare(sums, got.sums()); err != nil {
		return nil, err
	}
	return sums, to.Finish(ctx)
}

// Count returns what Run would move.
func Count(ctx context.Context, from Source, show func(Progress)) ([]Sum, error) {
	total, err := countEvents(ctx, from)
	if err != nil {
		return nil, err
	}
	d := newDigest()
	err = walk(ctx, from, &counter{Sink: d, p: Progress{Phase: Checking, Total: total}, show: show})
	return d.sums(), err
}

func countEvents(ctx context.Context, from Source) (n uint64, err error) {
	teams, err := from.Teams(ctx)
	if err != nil {
		return 0, err
	}
	for _, t := range teams {
		log, err := from.LogRecord(ctx, t.ID)
		if err != nil {
			return 0, err
		}
		n += log.Last - log.Gone
	}
	return n, nil
}

// How much is read at once.
const (
	readEvents     = 2000
	readBytes      = 4 << 20
	readActivities = 1000
)

// walk gives sink all that from holds, always in the same order.
func walk(ctx context.Context, from Source, sink Sink) error {
	teams, err := from.Teams(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(teams, func(a, b auditdrain.Team) int { return strings.Compare(a.ID, b.ID) })
	tokens, err := from.Tokens(ctx, "")
	if err != nil {
		return err
	}
	if err := sink.PutCatalog(ctx, teams, tokens); err != nil {
		return err
	}
	keys, err := from.SigningKeys(ctx)
	if err != nil {
		return err
	}
	if err := sink.PutSigningKeys(ctx, keys); err != nil {
		return err
	}
	if err := walkDrains(ctx, from, sink); err != nil {
		return err
	}
	if err := walkChains(ctx, from, sink); err != nil {
		return err
	}
	if err := walkActivities(ctx, from, sink); err != nil {
		return err
	}
	for _, t := range teams {
		if err := walkEvents(ctx, from, sink, t.ID); err != nil {
			return fmt.Errorf("team %s: %w", t.ID, err)
		}
	}
	return nil
}

func walkDrains(ctx context.Context, from Source, sink Sink) error {
	drains, err := from.Drains(ctx, auditdrain.DrainQuery{})
	if err != nil {
		return err
	}
	notified, err := from.Notified(ctx)
	if err != nil {
		return err
	}
	for _, d := range drains {
		r, err := record(ctx, from, d)
		if err != nil {
			return fmt.Errorf("drain %s: %w", d.ID, err)
		}
		r.Notified = notified[d.ID]
		if err := sink.PutDrain(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func record(ctx context.Context, from Delivery, d auditdrain.Drain) (r auditdrain.DrainRecord, err error) {
	r.Drain = d
	if r.State, err = from.DeliveryState(ctx, d.ID); err != nil {
		return r, err
	}
	if r.Attempts, err = from.Attempts(ctx, d.ID); err != nil {
		return r, err
	}
	if r.Skips, err = from.Skips(ctx, d.ID); err != nil {
		return r, err
	}
	slices.SortFunc(r.Skips, func(a, b auditdrain.Skip) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	in, err := from.Instructions(ctx, d.ID)
	if err != nil {
		return r, err
	}
	r.Replay = in.Replay
	r.Steps, err = from.Steps(ctx, d.ID)
	slices.SortFunc(r.Steps, func(a, b auditdrain.SeriesStep) int {
		return cmp.Or(cmp.Compare(a.Span, b.Span), cmp.Compare(a.Start, b.Start))
	})
	return r, err
}

func walkChains(ctx context.Context, from Chains, sink Sink) error {
	chains, err := from.Chains(ctx)
	if err != nil {
		return err
	}
	for _, c := range chains {
		r := auditdrain.ChainRecord{Chain: c}
		if r.Seals, err = from.Seals(ctx, c.DrainID); err != nil {
			return fmt.Errorf("chain of drain %s: %w", c.DrainID, err)
		}
		if err := sink.PutChain(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func walkActivities(ctx context.Context, from Activities, sink Sink) error {
	forwarded, err := from.Forwarded(ctx)
	if err != nil {
		return err
	}
	for after := uint64(0); ; {
		some, err := from.ActivitiesAfter(ctx, after, readActivities)
		if err != nil || len(some) == 0 {
			return err
		}
		if err := sink.PutActivities(ctx, some, forwarded); err != nil {
			return err
		}
		after = some[len(some)-1].Number
	}
}

func walkEvents(ctx context.Context, from Events, sink Sink, teamID string) error {
	log, err := from.LogRecord(ctx, teamID)
	if err != nil {
		return err
	}
	for after := log.Gone; after < log.Last; {
		events, err := from.Read(ctx, teamID, after, readEvents, readBytes)
		if err != nil {
			return err
		}
		if len(events) == 0 || events[0].Seq != after+1 {
			return fmt.Errorf("event %d is missing", after+1)
		}
		if err := sink.PutEvents(ctx, teamID, events); err != nil {
			return err
		}
		after = events[len(events)-1].Seq
	}
	return sink.PutLog(ctx, log)
}
