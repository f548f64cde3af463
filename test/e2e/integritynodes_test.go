package e2e

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/signing"
)

const (
	changedNodesTeams  = 12
	changedNodesRounds = 4
)

// keyFile is one for all nodes of a test.
func keyFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key-file")
	must(t, os.WriteFile(name, []byte(signing.NewSecret()+"\n"), 0o600))
	return name
}

// TestManifestNodes has three nodes share drains that are paused, resumed, moved,
// changed and replayed while nodes are killed and stopped for longer than their
// lease. In the end each drain's manifests are one chain, whoever has made them, and
// prove that all events are there.
func TestManifestNodes(t *testing.T) {
	seed := newSeed(t)
	rng := newRand(seed, 1<<35)
	db := newDatabase(t, postgres(t).URL(postgres(t).NewSchema(t)))
	f := &fleet{db: db, aws: newCloud(t), http: newHTTPClient(t), nodeArgs: []string{"--key-file", keyFile(t)}}
	f.http.Timeout = nodesLease
	for range 3 {
		f.nodes = append(f.nodes, startNode(t, f.aws, db, f.nodeArgs...))
	}
	db.watchFences()
	var all []*changed
	for i := range changedNodesTeams {
		ch := newChanged(f.aws, seed, i)
		ch.setUp(t, f.http, newClient(t, f.http, f.nodes[0].url))
		ch.pause = time.Second
		all = append(all, ch)
		f.producers = append(f.producers, ch.crashProducer)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var busy sync.WaitGroup
	for i, ch := range all {
		r := newRand(seed, uint64(1000+i))
		busy.Go(func() {
			ch.operate(ctx, seed+uint64(i), func() *client.Client { return newClient(t, f.http, f.any(r)) })
		})
		busy.Go(func() {
			if err := ch.send(ctx, func() string { return f.any(ch.rng) }); err != nil {
				t.Error(err)
			}
		})
	}
	for round := range changedNodesRounds {
		f.settle(t)
		f.aws.SetFault(newTrouble(rng, crashShort).fault)
		rest(ctx, time.Duration(rng.Int64N(int64(time.Second))))
		i := rng.IntN(len(f.nodes))
		struck := f.nodes[i]
		heal := f.strike(t, i, []blow{blowKill, blowPause}[round%2])
		eventually(t, "others have taken over", func() bool { return db.owned(struck) == 0 })
		heal()
	}
	cancel()
	busy.Wait()
	t.Logf("drains that changed hands without being given away: %d", db.count(`SELECT count(*) FROM takeovers`))

	f.settle(t)
	f.aws.SetFault(nil)
	for _, ch := range all {
		url := f.any(rng)
		ch.finish(t, f.aws, url, newClient(t, f.http, url))
	}
	keys := publicKeys(t, f.http, f.nodes[0].url)
	for _, n := range f.nodes {
		n.stop()
	}
	db.checkFences()
	proveChanged(t, f.aws, keys, all)
}
