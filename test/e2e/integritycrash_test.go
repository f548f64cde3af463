package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

const (
	changedTeams = 3
	changedKills = 12
	changedLife  = 900 * time.Millisecond // of a process, at most, once it is ready
)

// changed is a team that sends events, and whose drain is changed all the time:
// where it writes, how, what, and whether.
type changed struct {
	*crashProducer
	now    target
	places []target // all that now may have been
}

// newChanged returns a team with one drain, which may write to two prefixes.
func newChanged(aws *cloud, seed uint64, i int) *changed {
	g := target{
		account: fmt.Sprintf("%012d", 400_000_000_000+i), role: "drain-writer", region: "us-east-1", integrity: true,
		bucket: fmt.Sprintf("changed-%02d", i), prefix: "audit", encoding: "json",
	}
	tm := &team{producer: producer{team: fmt.Sprintf("team_%02d", i)}, targets: []target{g}}
	r := newRand(seed, uint64(i))
	ch := &changed{now: g, crashProducer: &crashProducer{
		team: tm, rng: r, source: newSource(r, tm.team), acked: make(chan struct{}, 1), pause: 100 * time.Millisecond,
	}}
	for _, prefix := range []string{"audit", "moved"} {
		for _, encoding := range auditdrain.Encodings {
			g.prefix, g.encoding = prefix, encoding
			ch.places = append(ch.places, g)
		}
	}
	aws.addTargets("vercel-team:"+tm.team, ch.places...)
	return ch
}

// send sends batches until ctx ends, whatever becomes of them.
func (ch *changed) send(ctx context.Context, url func() string) error {
	for ctx.Err() == nil {
		// Once a request is under way its answer is waited for.
		if err := ch.sendBatch(context.WithoutCancel(ctx), url(), ch.next(true)); err != nil {
			return err
		}
		rest(ctx, time.Duration(ch.rng.Int64N(int64(ch.pause))))
	}
	return nil
}

// operate changes the drain until ctx ends, whatever becomes of the requests.
func (ch *changed) operate(ctx context.Context, seed uint64, api func() *client.Client) {
	r, id := newRand(seed, 1<<40), ch.drains[0].ID
	for ctx.Err() == nil {
		api := api()
		switch r.IntN(8) {
		case 0:
			status := auditdrain.StatusDisabled
			_, _ = api.UpdateDrain(ctx, ch.team.team, id, auditdrain.DrainPatch{Status: &status})
		case 1, 2:
			status := auditdrain.StatusEnabled
			_, _ = api.UpdateDrain(ctx, ch.team.team, id, auditdrain.DrainPatch{Status: &status})
		case 3, 4:
			ch.now = ch.places[r.IntN(len(ch.places))]
			_, _ = api.UpdateDrain(ctx, ch.team.team, id, auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Delivery: ch.now.delivery()}})
		case 5:
			hide := r.IntN(2) == 0
			_, _ = api.UpdateTeam(ctx, ch.team.team, auditdrain.TeamPatch{HideIPAddresses: &hide})
		case 6:
			_, _ = api.StartReplay(ctx, ch.team.team, id, auditdrain.ReplayInput{From: 1})
		case 7:
			_, _ = api.CancelReplay(ctx, ch.team.team, id)
		}
		rest(ctx, time.Duration(r.Int64N(int64(300*time.Millisecond))))
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// finish has all that is not known sent again and all delivered, deletes the drain
// and waits for its last manifest.
func (ch *changed) finish(t *testing.T, aws *cloud, url string, api *client.Client) {
	t.Helper()
	for _, b := range ch.batches {
		if !b.unknown || !b.resend || b.stored {
			continue
		}
		eventually(t, "a batch of unknown outcome is stored", func() bool {
			must(t, ch.sendBatch(t.Context(), url, b))
			return b.stored
		})
	}
	var d auditdrain.Drain
	defer func() {
		if t.Failed() {
			t.Logf("%+v %+v", d, d.Metadata)
		}
	}()
	eventually(t, "all is delivered", func() bool {
		var err error
		d, err = api.GetDrain(t.Context(), ch.team.team, ch.drains[0].ID)
		must(t, err)
		if d.Status == auditdrain.StatusDisabled { // perhaps again, by a node that was stopped with a request in its hands
			status := auditdrain.StatusEnabled
			ch.update(t, api, auditdrain.DrainPatch{Status: &status})
		}
		return d.Metadata.BacklogEvents == 0
	})
	must(t, api.DeleteDrain(t.Context(), ch.team.team, ch.drains[0].ID))
	aws.awaitLast(t, ch.drains[0].ID, ch.places...)
}

// check compares what is in the team's places with what was acknowledged, and returns
// how many events there are: each is somewhere, whole batches or none, and nothing
// else is.
func (ch *changed) check(t *testing.T, aws *cloud) (events int) {
	t.Helper()
	objects := map[string]string{} // bytes by key
	listed, err := aws.Objects(ch.now.bucket)
	must(t, err)
	for _, o := range listed {
		if _, isPaper := paper(o.Key); isPaper {
			continue
		}
		body, err := o.Read()
		must(t, err)
		objects[o.Key] = string(body)
	}
	for _, b := range ch.batches {
		there := 0
		for _, e := range b.events {
			found := 0
			for _, g := range ch.places {
				body, ok := objects[e.key(g)]
				if !ok {
					continue
				}
				found = 1
				if body != e.object(g) && body != e.hidden().object(g) {
					t.Errorf("%s/%s is %s", g.bucket, e.key(g), body)
				}
				delete(objects, e.key(g))
			}
			there += found
		}
		if there != len(b.events) && (there > 0 || b.stored) {
			t.Errorf("%s: %d of %d events of a batch are there (acknowledged: %t)", ch.now.bucket, there, len(b.events), b.stored)
		}
		events += there
	}
	for key := range objects {
		t.Errorf("%s/%s was never sent", ch.now.bucket, key)
	}
	return events
}

// proveChanged checks all that there is in the end, with nothing but the buckets,
// what the producers know and the public keys.
func proveChanged(t *testing.T, aws *cloud, keys manifest.Keys, all []*changed) {
	t.Helper()
	events := map[string]int{}
	var places []target
	total := 0
	for _, ch := range all {
		n := ch.check(t, aws)
		events[ch.drains[0].ID] = n
		total += n
		places = append(places, ch.places...)
	}
	report := aws.prove(t, keys, events, places...)
	causes := map[auditdrain.SealCause]int{}
	for _, ch := range all {
		for _, g := range []target{ch.places[0], ch.places[2]} { // of each prefix
			for _, m := range aws.manifests(t, ch.drains[0].ID, g) {
				causes[m.Cause]++
			}
		}
	}
	t.Logf("%d events, listed %d times; manifests: %v", total, report.Read, causes)
	for _, cause := range []auditdrain.SealCause{auditdrain.SealPaused, auditdrain.SealReplay, auditdrain.SealChanged, auditdrain.SealMoved} {
		if causes[cause] == 0 {
			t.Errorf("there is no manifest with cause %s", cause)
		}
	}
}

// TestManifestCrash kills the service at random moments while events come in, AWS has
// its troubles, and drains are paused, resumed, moved, changed and replayed. In the end
// each drain's manifests are one chain, and prove that all events are there.
func TestManifestCrash(t *testing.T) {
	seed := newSeed(t)
	rng := newRand(seed, 1<<34)
	aws := newCloud(t)
	var all []*changed
	for i := range changedTeams {
		all = append(all, newChanged(aws, seed, i))
	}
	data, hc := t.TempDir(), newHTTPClient(t)
	boot := func(t *testing.T) *process {
		return start(t, binary(t), environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken),
			serveArgs(data, "--put-timeout", "1s", "--sts-timeout", "1s", "--shutdown-timeout", "3s")...)
	}
	first := boot(t)
	for _, ch := range all {
		ch.setUp(t, hc, newClient(t, hc, first.url()))
	}
	first.stop()

	for round := range changedKills {
		ok := t.Run(fmt.Sprint(round), func(t *testing.T) {
			aws.SetFault(newTrouble(rng, crashShort).fault)
			p := boot(t)
			url := p.url()
			api := newClient(t, hc, url)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var busy sync.WaitGroup
			for i, ch := range all {
				busy.Go(func() { ch.operate(ctx, seed+uint64(100*round+i), func() *client.Client { return api }) })
				busy.Go(func() {
					if err := ch.send(ctx, func() string { return url }); err != nil {
						t.Error(err)
					}
				})
			}
			rest(ctx, time.Duration(rng.Int64N(int64(changedLife))))
			p.kill()
			cancel()
			hc.CloseIdleConnections() // they lead to a dead process
			busy.Wait()
		})
		if !ok {
			t.FailNow()
		}
	}

	aws.SetFault(nil)
	last := boot(t)
	api := newClient(t, hc, last.url())
	for _, ch := range all {
		ch.finish(t, aws, last.url(), api)
	}
	keys := publicKeys(t, hc, last.url())
	last.stop()
	proveChanged(t, aws, keys, all)
}
