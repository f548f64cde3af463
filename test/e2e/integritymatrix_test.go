package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// A step is one of the PUTs that write a manifest, in their order, and what has one
// written.
type step struct {
	kind   manifest.Kind
	change func(t *testing.T, api *client.Client, tm *team)
}

var steps = []step{
	{manifest.Listing, func(t *testing.T, api *client.Client, tm *team) {
		status := auditdrain.StatusDisabled
		tm.update(t, api, auditdrain.DrainPatch{Status: &status})
	}},
	{manifest.Signature, func(t *testing.T, api *client.Client, tm *team) {
		tm.targets[0].encoding = map[string]string{"json": "ndjson", "ndjson": "json"}[tm.targets[0].encoding]
		tm.update(t, api, auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Delivery: tm.targets[0].delivery()}})
	}},
	{manifest.Document, func(t *testing.T, api *client.Client, tm *team) {
		must(t, api.DeleteDrain(t.Context(), tm.team, tm.drains[0].ID))
	}},
}

// hits reports whether a request is that step.
func (s step) hits(r awssim.FaultRequest) bool {
	name, ok := paper(r.Key)
	_, _, _, kind := manifest.ParseKey(manifest.Root + name)
	return ok && r.Op == "PutObject" && kind == s.kind
}

// update changes a team's first drain.
func (tm *team) update(t *testing.T, api *client.Client, patch auditdrain.DrainPatch) {
	t.Helper()
	_, err := api.UpdateDrain(t.Context(), tm.team, tm.drains[0].ID, patch)
	must(t, err)
}

// TestManifestMatrix lets everything go wrong with the PUTs of a manifest's parts,
// of its signature and of itself, and kills the service at that moment, stops it, or
// does nothing. In the end each manifest is there, with the bytes that it was first
// tried with; they are a chain; and they prove that all events are there.
func TestManifestMatrix(t *testing.T) {
	seed := newSeed(t)
	var cases []matrixCase
	for i, f := range faults {
		if f.put == nil {
			continue // it needs a new connection, which there is for events
		}
		for _, end := range endings {
			cases = append(cases, matrixCase{fmt.Sprintf("%s/%s", f.name, end), func(t *testing.T) {
				f.meetManifests(t, seed+uint64(i), end)
			}})
		}
	}
	runMatrix(t, cases)
}

// meetManifests is one case of that matrix: it goes wrong at each of the steps, one
// after the other.
func (f fault) meetManifests(t *testing.T, seed uint64, end ending) {
	aws := newCloud(t)
	tm := newTeams()[1]
	tm.targets[0].integrity = true
	aws.addTargets("vercel-team:"+tm.team, tm.targets...)
	var now atomic.Pointer[step]
	var trouble atomic.Pointer[spell]
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if s := now.Load(); s != nil && s.hits(r) {
			if n, ok := trouble.Load().hit(); ok {
				return f.put(n)
			}
		}
		return awssim.Fault{}
	})
	data, hc := t.TempDir(), newHTTPClient(t)
	boot := func() (*process, *client.Client) {
		p := start(t, binary(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken),
			serveArgs(data, "--put-timeout", "1s", "--sts-timeout", "1s", "--shutdown-timeout", "3s")...)
		return p, newClient(t, hc, p.url())
	}

	p, api := boot()
	tm.setUp(t, hc, api)
	drain, src := tm.drains[0].ID, newSource(newRand(seed, 1), tm.team)
	var written []*team // what was written, as the drain was then
	total := 0
	for i, s := range steps {
		var batch []event
		for range 5 {
			batch = append(batch, src.event())
		}
		if a := tm.post(t, p.url(), plainly(batch...)); a.status != http.StatusOK {
			t.Fatal(a)
		}
		total += len(batch)
		written = append(written, &team{targets: append([]target(nil), tm.targets...), drains: tm.drains, producer: producer{team: tm.team}, events: batch})
		aws.awaitObjects(total)
		awaitNoBacklog(t, api, []*team{tm})

		sp := &spell{begun: make(chan struct{}), left: f.times}
		trouble.Store(sp)
		now.Store(&s)
		s.change(t, api, tm)
		sp.await(t)
		p.endBy(end)
		if end != "nothing" {
			hc.CloseIdleConnections() // they lead to a dead process
			p, api = boot()
		}
		switch i {
		case 0:
			awaitManifests(t, api, tm.team, drain, 1)
			status := auditdrain.StatusEnabled
			tm.update(t, api, auditdrain.DrainPatch{Status: &status})
		case 1:
			awaitManifests(t, api, tm.team, drain, 3)
		default:
			aws.awaitLast(t, drain, tm.targets...)
		}
	}
	keys := publicKeys(t, hc, p.url())
	p.stop()
	checkObjects(t, aws, written)
	report := aws.prove(t, keys, map[string]int{drain: total}, tm.targets...)
	aws.wantCauses(t, drain, tm.targets[0], auditdrain.SealPaused, auditdrain.SealResumed, auditdrain.SealChanged, auditdrain.SealDeleted)
	if report.Read != uint64(total) {
		t.Errorf("%d objects verified, want %d", report.Read, total)
	}
}
