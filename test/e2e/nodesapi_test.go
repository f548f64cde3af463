package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// TestAnyNode has two nodes that share a database do what each other is told to:
// events that one takes, and changes that one makes, are also those of drains that
// the other delivers.
func TestAnyNode(t *testing.T) {
	s := postgres(t)
	url := strings.Replace(s.URL(s.NewSchema(t)), "auditdrain@", "auditdrain:hunter2@", 1)
	f := newFleet(t, newSeed(t), newDatabase(t, url), 2, 2, nodesDrains)
	f.settle(t)
	first, second := f.nodes[0], f.nodes[1]
	tm := f.producers[0].team
	rng := newRand(1, 1)
	src := newSource(rng, tm.team)
	send := func(n *node) event {
		t.Helper()
		e := src.event()
		a, err := tm.send(t.Context(), n.url, encode(rng, e))
		if err != nil || a.status != 200 || a.Accepted != 1 {
			t.Fatalf("an event was not taken: %v, %v", a, err)
		}
		return e
	}
	there := func(key string, g target) bool {
		f.aws.mu.Lock()
		defer f.aws.mu.Unlock()
		return f.aws.objects[g.bucket+"/"+key]
	}
	for _, n := range f.nodes {
		e := send(n)
		for _, g := range tm.targets {
			eventually(t, "an event is in all buckets", func() bool { return there(e.key(g), g) })
		}
	}

	// A change takes effect, whichever node it is made on, and the other one shows it.
	api, other := newClient(t, f.http, first.url), newClient(t, f.http, second.url)
	for i, d := range tm.drains {
		g := tm.targets[i]
		g.prefix += "/changed"
		changed, err := api.UpdateDrain(t.Context(), tm.team, d.ID, auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Delivery: g.delivery()}})
		must(t, err)
		seen, err := other.GetDrain(t.Context(), tm.team, d.ID)
		must(t, err)
		if seen.Delivery.Endpoint != changed.Delivery.Endpoint {
			t.Errorf("the other node shows endpoint %s, want %s", seen.Delivery.Endpoint, changed.Delivery.Endpoint)
		}
		eventually(t, "events go where the change says", func() bool {
			e := send(second)
			eventually(t, "an event is in one of the two places", func() bool { return there(e.key(g), g) || there(e.key(tm.targets[i]), g) })
			return there(e.key(g), g)
		})
	}

	// What is in one node's answers is in the other's.
	acts := func(n *node) (ids []string) {
		list, err := newClient(t, f.http, n.url).ListActivity(t.Context(), auditdrain.ActivityQuery{})
		must(t, err)
		for _, a := range list.Activities {
			ids = append(ids, a.ID)
		}
		return ids
	}
	if a, b := acts(first), acts(second); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("activities: one node shows %v, the other %v", a, b)
	}
	first.stop()
	eventually(t, "the other node has all drains", func() bool { return f.db.owned(second) == 2*nodesDrains })
	second.stop()
	for _, n := range f.nodes {
		if log := n.stderr.String(); strings.Contains(log, "hunter2") || strings.Contains(log, "level=ERROR") {
			t.Error("the log has what it should not have")
		}
	}
	f.db.checkFences()
}

// TestNoDatabase does not start, and keeps the password to itself.
func TestNoDatabase(t *testing.T) {
	for name, url := range map[string]string{
		"nobody there": "postgres://auditdrain:hunter2@127.0.0.1:1/auditdrain",
		"no URL":       "postgres://auditdrain:hunter2@127.0.0.1:port/auditdrain",
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, environment(t, "", "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AUDITDRAIN_POSTGRES="+url), "serve", "--listen", "127.0.0.1:0")
			if got := p.stderr.String(); p.code() != 1 || strings.Contains(got, "hunter2") || !strings.Contains(got, "PostgreSQL") && !strings.Contains(got, "database") {
				t.Errorf("code %d, stderr %q", p.code(), got)
			}
		})
	}
}
