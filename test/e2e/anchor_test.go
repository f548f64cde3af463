package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// startReceiver runs docs/anchor_receiver.py, with the distribution's Python if there
// is one.
func startReceiver(t *testing.T, file, port string) (p *process, url string) {
	t.Helper()
	script, err := filepath.Abs("../../docs/anchor_receiver.py")
	if err != nil {
		t.Fatal(err)
	}
	python := "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		python = "python3"
	}
	p = start(t, python, nil, script, file, port)
	url, ok := p.await(p.stdout, regexp.MustCompile(`http://[0-9.:]+`))
	if !ok {
		t.Fatal("the receiver has ended")
	}
	return p, url
}

// TestAnchors has heads of manifests posted to the receiver of the documentation, which
// is away for a while. What it has kept proves that a bucket is whole, and that one is
// not from which the last manifest and its objects are gone.
func TestAnchors(t *testing.T) {
	aws := newCloud(t)
	s := &scene{aws: aws, tm: oneTeam(t, aws), data: t.TempDir()}
	kept := filepath.Join(t.TempDir(), "anchors.jsonl")
	receiver, receiverURL := startReceiver(t, kept, "0")
	s.service = serve(t, aws.url, s.data, "--anchor-url", receiverURL+"/auditdrain")
	s.tm.setUp(t, s.http, s.api)
	s.drain, s.source = s.tm.drains[0].ID, newSource(newRand(7, 1), s.tm.team)
	integrity := true
	s.update(auditdrain.DrainPatch{Delivery: &auditdrain.DeliveryPatch{Integrity: &integrity}})

	anchored := func(number uint64) []manifest.SignedHead {
		t.Helper()
		var heads []manifest.SignedHead
		eventually(t, "the head of a manifest", func() bool {
			content, err := os.ReadFile(kept)
			if err != nil || !bytes.HasSuffix(content, []byte("\n")) {
				return false
			}
			if heads, err = verify.ReadAnchors(bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			return heads[len(heads)-1].Head.Number >= number
		})
		return heads
	}
	paused, enabled := auditdrain.StatusDisabled, auditdrain.StatusEnabled
	s.accept(5)
	s.await("no backlog", delivered)
	s.update(auditdrain.DrainPatch{Status: &paused})
	first := anchored(1)
	receiver.kill()
	s.update(auditdrain.DrainPatch{Status: &enabled})
	lost := s.accept(5)
	s.await("no backlog", delivered)
	s.update(auditdrain.DrainPatch{Status: &paused})
	eventually(t, "a failure", func() bool { return s.metric("auditdrain_anchors_total", "result", "failed") > 0 })
	_, _ = startReceiver(t, kept, receiverURL[strings.LastIndex(receiverURL, ":")+1:])
	last := anchored(first[0].Head.Number + 1)
	head := last[len(last)-1].Head
	if head.DrainID != s.drain || head.TeamID != s.tm.team || s.metric("auditdrain_anchors_total", "result", "kept") < 2 {
		t.Errorf("%+v", last)
	}

	target := s.tm.targets[0]
	bucket := filepath.Join(aws.dir, target.bucket, filepath.FromSlash(target.prefix))
	verified := func() *process {
		t.Helper()
		return run(t, environment(t, ""), "verify", bucket, "--key", s.url+"/.well-known/jwks.json", "--anchor", kept, "--drain", s.drain)
	}
	if p := verified(); p.code() != 0 {
		t.Errorf("code %d: %s%s", p.code(), p.stdout, p.stderr)
	}
	aws.lose(target, lost...)
	gone, err := filepath.Glob(filepath.Join(bucket, filepath.FromSlash(strings.TrimSuffix(manifest.Key(s.drain, head.Number), ".json"))+".*"))
	if err != nil || len(gone) < 2 {
		t.Fatal(gone, err)
	}
	for _, name := range gone {
		must(t, os.Remove(name))
	}
	if p := verified(); p.code() != 14 || !strings.Contains(p.stdout.String(), "was anchored, but the chain ends before it") {
		t.Errorf("code %d, want 14: %s%s", p.code(), p.stdout, p.stderr)
	}
}

// update changes the drain.
func (sc *scene) update(patch auditdrain.DrainPatch) {
	sc.t.Helper()
	if _, err := sc.api.UpdateDrain(sc.t.Context(), sc.tm.team, sc.drain, patch); err != nil {
		sc.t.Fatal(err)
	}
}
