package move

import (
	"context"

	"github.com/auditdrain/auditdrain"
)

// tee gives each of several sinks everything.
type tee []Sink

func (t tee) each(f func(Sink) error) error {
	for _, s := range t {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func (t tee) PutCatalog(ctx context.Context, teams []auditdrain.Team, tokens []auditdrain.Token) error {
	return t.each(func(s Sink) error { return s.PutCatalog(ctx, teams, tokens) })
}

func (t tee) PutSigningKeys(ctx context.Context, keys []auditdrain.SigningKey) error {
	return t.each(func(s Sink) error { return s.PutSigningKeys(ctx, keys) })
}

func (t tee) PutDrain(ctx context.Context, d auditdrain.DrainRecord) error {
	return t.each(func(s Sink) error { return s.PutDrain(ctx, d) })
}

func (t tee) PutChain(ctx context.Context, c auditdrain.ChainRecord) error {
	return t.each(func(s Sink) error { return s.PutChain(ctx, c) })
}

func (t tee) PutActivities(ctx context.Context, activities []auditdrain.Activity, forwarded uint64) error {
	return t.each(func(s Sink) error { return s.PutActivities(ctx, activities, forwarded) })
}

func (t tee) PutEvents(ctx context.Context, teamID string, events []auditdrain.StoredEvent) error {
	return t.each(func(s Sink) error { return s.PutEvents(ctx, teamID, events) })
}

func (t tee) PutLog(ctx context.Context, log auditdrain.LogRecord) error {
	return t.each(func(s Sink) error { return s.PutLog(ctx, log) })
}

// counter is a Sink that shows how many events have come through it.
type counter struct {
	Sink
	p    Progress
	show func(Progress)
}

func (c *counter) PutEvents(ctx context.Context, teamID string, events []auditdrain.StoredEvent) error {
	if err := c.Sink.PutEvents(ctx, teamID, events); err != nil {
		return err
	}
	c.p.Done += uint64(len(events))
	c.show(c.p)
	return nil
}
