package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// audited is a service with one drain that keeps an account, and an auditor who may
// read the drain's bucket and nothing else.
type audited struct {
	*service
	*changed
	t       *testing.T
	aws     *cloud
	data    string
	auditor []string // environment
	total   int      // events that must be there
}

func newAudited(t *testing.T, seed uint64) *audited {
	t.Helper()
	a := &audited{t: t, aws: newCloud(t), data: t.TempDir()}
	a.changed = newChanged(a.aws, seed, 0)
	bucket := "arn:aws:s3:::" + a.now.bucket
	must(t, a.aws.AddUser(awssim.User{
		ARN: "arn:aws:iam::" + a.now.account + ":user/auditor", AccessKeyID: "AKIAAUDITORAUDITOR00", SecretKey: "reads/one-bucket",
		Identity: policies(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":%q},
			{"Effect":"Allow","Action":"s3:GetObject","Resource":[%q,%q]}]}`, bucket, bucket+"/audit/*", bucket+"/moved/*")),
	}))
	a.auditor = environment(t, a.aws.url, "AWS_ACCESS_KEY_ID=AKIAAUDITORAUDITOR00", "AWS_SECRET_ACCESS_KEY=reads/one-bucket")
	a.service = serve(t, a.aws.url, a.data)
	a.setUp(t, a.service.http, a.api)
	return a
}

func (a *audited) restart() {
	a.t.Helper()
	a.stop()
	a.service = serve(a.t, a.aws.url, a.data)
}

// accept has events accepted.
func (a *audited) accept(events ...event) {
	a.t.Helper()
	if answer := a.post(a.t, a.url, plainly(events...)); answer.status != 200 {
		a.t.Fatal(answer)
	}
}

func (a *audited) fresh(n int) []event {
	events := make([]event, n)
	for i := range events {
		events[i] = a.source.event()
	}
	return events
}

// deliver has n new events accepted and delivered.
func (a *audited) deliver(n int) {
	a.t.Helper()
	b := &batch{events: a.fresh(n), stored: true}
	a.accept(b.events...)
	a.batches = append(a.batches, b)
	a.total += n
	awaitNoBacklog(a.t, a.api, []*team{a.team})
}

func (a *audited) set(status auditdrain.DrainStatus, resumeFrom ...string) {
	a.t.Helper()
	patch := auditdrain.DrainPatch{Status: &status}
	if len(resumeFrom) > 0 {
		patch.ResumeFrom = &resumeFrom[0]
	}
	a.update(a.t, a.api, patch)
}

func (a *audited) writeTo(g target) {
	a.t.Helper()
	a.now = g
	a.update(a.t, a.api, auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Delivery: g.delivery()}})
}

func (a *audited) replay() {
	a.t.Helper()
	id := a.drains[0].ID
	_, err := a.api.StartReplay(a.t.Context(), a.team.team, id, auditdrain.ReplayInput{From: 1})
	must(a.t, err)
	eventually(a.t, "the end of the replay", func() bool {
		r, err := a.api.GetReplay(a.t.Context(), a.team.team, id)
		must(a.t, err)
		return r.Status == auditdrain.ReplayFinished
	})
}

// refuse has AWS refuse an event for its own sake, after a while in which others are
// written, until the function that it returns is called.
func (a *audited) refuse(e event) (mend func()) {
	a.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" && strings.Contains(r.Key, "_"+e.id+".json") {
			return awssim.Fault{Delay: 300 * time.Millisecond, Err: awsError(400, "InvalidRequest")}
		}
		return awssim.Fault{}
	})
	return func() { a.aws.SetFault(nil) }
}

// awaitWritten waits until events are where the drain writes now.
func (a *audited) awaitWritten(events []event) {
	a.t.Helper()
	there := &team{targets: []target{a.now}, events: events}
	a.aws.awaitEvents([]*team{there})
}

// awaitRefused waits until the drain is errored with an event named.
func (a *audited) awaitRefused(e event) {
	a.t.Helper()
	eventually(a.t, "errored, with the event named", func() bool {
		d, err := a.api.GetDrain(a.t.Context(), a.team.team, a.drains[0].ID)
		must(a.t, err)
		return d.Status == auditdrain.StatusErrored && d.Metadata.LastErrorEvent == e.id
	})
}

// verify runs the command as the auditor does, and compares its exit code, which is
// that of the gravest kind of findings, if there are any.
func (a *audited) verify(what string, found verify.Kind, more ...string) string {
	a.t.Helper()
	args := append([]string{"verify", "s3://" + a.now.bucket + "/audit", "s3://" + a.now.bucket + "/moved",
		"--key", a.url + "/.well-known/jwks.json", "--drain", a.drains[0].ID}, more...)
	want := 0
	if found != "" {
		want = found.ExitCode()
	}
	p := run(a.t, a.auditor, args...)
	if code := p.code(); code != want {
		a.t.Errorf("%s: verify ends with %d, want %d\n%s%s", what, code, want, p.stdout, p.stderr)
	}
	return p.stdout.String()
}

// TestManifestLife is the life of a drain that keeps an account, from its first event
// to its end, and an auditor who looks at its bucket now and then; and, in the end,
// somebody who does not leave the bucket as it is.
func TestManifestLife(t *testing.T) {
	a := newAudited(t, 21)
	id := a.drains[0].ID
	a.deliver(30)
	a.set(auditdrain.StatusDisabled)
	awaitManifests(t, a.api, a.team.team, id, 1)
	wantLines(t, a.verify("paused", ""), "objects verified: +30, .*", "result: +VERIFIED.*")

	// What is given up is told of, and the replay finds it nevertheless.
	given := &batch{events: a.fresh(10), stored: true}
	a.accept(given.events...)
	a.set(auditdrain.StatusEnabled, "now")
	a.deliver(20)
	poison := &batch{events: a.fresh(8), stored: true}
	mend := a.refuse(poison.events[2])
	a.accept(poison.events...)
	a.awaitRefused(poison.events[2])
	_, err := a.api.SkipEvent(t.Context(), a.team.team, id, auditdrain.SkipInput{EventID: poison.events[2].id, Reason: "S3 does not like it"})
	must(t, err)
	awaitNoBacklog(t, a.api, []*team{a.team})
	mend()
	a.batches = append(a.batches, given, poison)
	a.total += 18
	a.writeTo(a.places[1]) // in the other encoding
	a.deliver(10)
	wantLines(t, a.verify("changed", ""), `  skipped: +events 31 to 40 by tok_operator at \S+: resumed from now`, `  skipped: +events 63 to 63 by tok_operator at \S+: S3 does not like it`)
	a.replay()

	// Elsewhere, without addresses, from another key on.
	a.writeTo(a.places[2])
	a.deliver(10)
	hide := true
	_, err = a.api.UpdateTeam(t.Context(), a.team.team, auditdrain.TeamPatch{HideIPAddresses: &hide})
	must(t, err)
	a.deliver(10)
	a.replay()
	awaitManifests(t, a.api, a.team.team, id, 7)
	before := publicKeys(t, a.service.http, a.url)
	rotated := run(t, environment(t, "", "AUDITDRAIN_URL="+a.url, "AUDITDRAIN_TOKEN="+operatorToken), "signing-key", "rotate", "--active-after", "0s")
	if code := rotated.code(); code != 0 {
		t.Fatalf("rotate: code %d, %s", code, rotated.stderr)
	}
	a.restart()
	a.deliver(10)

	// It ends while it is paused and in trouble: others were written than the first.
	last := a.fresh(12)
	a.refuse(last[0])
	a.accept(last...)
	a.batches = append(a.batches, &batch{events: last[:1]}, &batch{events: last[1:], stored: true})
	a.awaitWritten(last[1:])
	a.awaitRefused(last[0])
	a.set(auditdrain.StatusDisabled)
	awaitManifests(t, a.api, a.team.team, id, 8)
	a.verify("moved, hidden, replayed", "")
	must(t, a.api.DeleteDrain(t.Context(), a.team.team, id))
	a.aws.awaitLast(t, id, a.places...)

	a.aws.wantCauses(t, id, a.places[0], "paused", "resumed", "changed", "replay", "moved")
	a.aws.wantCauses(t, id, a.places[2], "changed", "replay", "paused", "deleted")
	if n := a.check(t, a.aws); n != a.total+11 {
		t.Errorf("%d events are in the bucket, want %d", n, a.total+11)
	}
	keys := publicKeys(t, a.service.http, a.url)
	report := a.aws.prove(t, keys, map[string]int{id: a.total}, a.places...)
	if got := report.Chains[0].KeyIDs; len(got) != 2 || before[got[0]] == nil || before[got[1]] != nil {
		t.Errorf("signed with %v; before there was %v", got, before)
	}
	a.verify("deleted", "")
	a.attack()
}

// attack does to the bucket what nobody should, each of which the auditor finds.
func (a *audited) attack() {
	a.t.Helper()
	folder := a.aws.folder(a.places[2])
	var key string
	for _, o := range a.batches[0].events {
		key = o.key(a.places[0])
	}
	object := filepath.Join(a.aws.dir, a.now.bucket, filepath.FromSlash(key))
	content, err := os.ReadFile(object)
	must(a.t, err)

	must(a.t, os.Remove(object))
	a.verify("an object was removed", verify.Missing)
	must(a.t, os.WriteFile(object, append(slices.Clone(content[:len(content)-1]), ' ', '}'), 0o644))
	a.verify("an object was altered", verify.Altered)
	must(a.t, os.WriteFile(object, content, 0o644))
	added := strings.Replace(object, "_uev_", "_uevil_", 1)
	must(a.t, os.WriteFile(added, []byte(`{"id":"uevil"}`), 0o644))
	a.verify("an object was added", verify.Unexpected)
	must(a.t, os.Remove(added))
	a.verify("all is as it was", "")

	all := a.aws.manifests(a.t, a.drains[0].ID, a.places[2])
	last := all[len(all)-1]
	anchor := filepath.Join(a.t.TempDir(), "head.json")
	must(a.t, os.Rename(filepath.Join(folder, manifest.Key(last.DrainID, last.Number)), filepath.Join(a.t.TempDir(), "last.json")))
	a.verify("the last manifest was removed", verify.TruncatedTail)
	must(a.t, os.Rename(filepath.Join(folder, manifest.SignatureKey(last.DrainID, last.Number)), anchor))
	a.verify("and its signature, which somebody has kept", verify.Anchor, "--anchor", anchor)
	a.verify("and which nobody misses for some hours", "")
	a.verify("but then", verify.TruncatedTail, "--grace", "1ms")
}

// TestManifestOff switches integrity off and, with another encoding, on again. What
// was written meanwhile is in a gap, which is told, and all else is proved.
func TestManifestOff(t *testing.T) {
	a := newAudited(t, 22)
	id := a.drains[0].ID
	integrity := func(on bool, delivery *auditdrain.Delivery) {
		t.Helper()
		a.update(t, a.api, auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Delivery: delivery, Integrity: &on}})
	}
	a.deliver(20)
	integrity(false, nil)
	awaitManifests(t, a.api, a.team.team, id, 1)
	a.restart()
	a.deliver(15)
	a.verify("off", "")
	integrity(true, a.places[1].delivery())
	a.deliver(10)
	a.set(auditdrain.StatusDisabled)
	awaitManifests(t, a.api, a.team.team, id, 2)
	wantLines(t, a.verify("on again", ""), "  gap: +events 21 to 35: manifests were switched off", "objects verified: +30, .*")
	must(t, a.api.DeleteDrain(t.Context(), a.team.team, id))
	a.aws.awaitLast(t, id, a.places...)
	a.aws.wantCauses(t, id, a.places[0], "off", "paused", "deleted")
	wantLines(t, a.verify("deleted", ""), "older than the first, or in a gap: +15")
	if n := a.check(t, a.aws); n != a.total {
		t.Errorf("%d events are in the bucket, want %d", n, a.total)
	}
	a.aws.checkPapers(t)
}
