package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// The proof that nothing is missing is the one that an auditor has: what is in the
// buckets, and the public keys. Drains are deleted before, so that all is accounted
// for, and verified as folders, whose times excuse nothing.

var paperRE = regexp.MustCompile(`(?:^|/)manifest/(drn_[^/]+/[^/]+)$`)

// paper is what a key names that is a manifest, or a part or the signature of one:
// its drain and its number, wherever the drain writes.
func paper(key string) (name string, ok bool) {
	m := paperRE.FindStringSubmatch(key)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// publicKeys asks for what manifests are verified with.
func publicKeys(t *testing.T, hc *http.Client, url string) manifest.Keys {
	t.Helper()
	resp, err := hc.Get(url + "/.well-known/jwks.json")
	must(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	keys, err := manifest.ParseKeys(content)
	must(t, err)
	return keys
}

// folder is where a target's objects are, as a copy of the bucket.
func (c *cloud) folder(g target) string { return filepath.Join(c.dir, g.bucket, g.prefix) }

// manifests returns those of a drain that are in a place, by number.
func (c *cloud) manifests(t *testing.T, drain string, g target) []manifest.Manifest {
	t.Helper()
	dir := filepath.Join(c.folder(g), manifest.Root, drain)
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []manifest.Manifest
	for _, e := range entries {
		if _, _, _, kind := manifest.ParseKey(manifest.Root + drain + "/" + e.Name()); kind != manifest.Document {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		m, err := manifest.Parse(content)
		must(t, err)
		all = append(all, m)
	}
	return all
}

// wantCauses compares why each of a drain's manifests in a place was made, but for
// those of full hours: a test may see one end.
func (c *cloud) wantCauses(t *testing.T, drain string, g target, want ...auditdrain.SealCause) {
	t.Helper()
	var causes []auditdrain.SealCause
	for _, m := range c.manifests(t, drain, g) {
		if m.Cause != auditdrain.SealHour {
			causes = append(causes, m.Cause)
		}
	}
	if diff := cmp.Diff(want, causes); diff != "" {
		t.Errorf("manifests of %s in %s/%s (-want +got):\n%s", drain, g.bucket, g.prefix, diff)
	}
}

// awaitManifests waits until no manifest of a drain waits, and there are some.
func awaitManifests(t *testing.T, api *client.Client, team, drain string, atLeast uint64) auditdrain.Integrity {
	t.Helper()
	var now auditdrain.Integrity
	eventually(t, "all manifests are written", func() bool {
		var err error
		if now, err = api.Integrity(t.Context(), team, drain); err != nil {
			t.Fatal(err)
		}
		return now.Waiting == 0 && now.Manifests >= atLeast
	})
	return now
}

// awaitLast waits until the last manifest of a deleted drain is in one of its places.
func (c *cloud) awaitLast(t *testing.T, drain string, targets ...target) {
	t.Helper()
	eventually(t, "the last manifest of "+drain, func() bool {
		return slices.ContainsFunc(targets, func(g target) bool {
			all := c.manifests(t, drain, g)
			return len(all) > 0 && all[len(all)-1].Cause == auditdrain.SealDeleted
		})
	})
}

// prove verifies all that is in the places of drains, each of which is deleted, and
// whose team had so many events. It returns what is known of each.
func (c *cloud) prove(t *testing.T, keys manifest.Keys, events map[string]int, targets ...target) *verify.Report {
	t.Helper()
	o := verify.Options{Keys: keys, Grace: time.Hour, Concurrency: 4}
	for _, g := range targets {
		if place := (verify.Dir{Path: c.folder(g)}); !slices.Contains(o.Places, verify.Place(place)) {
			o.Places = append(o.Places, place)
		}
	}
	for drain := range events {
		o.Drains = append(o.Drains, drain)
	}
	report, err := verify.Run(t.Context(), o)
	must(t, err)
	for _, f := range report.Findings {
		t.Errorf("%s: %s (manifest %d of %s, %s)", f.Kind, f.Message, f.Manifest, f.DrainID, f.Key)
	}
	for _, chain := range report.Chains {
		whole := manifest.Range{From: 1, To: uint64(events[chain.DrainID]) + 1}
		if chain.First != 1 || chain.Sequence != whole || chain.Ended != auditdrain.SealDeleted {
			t.Errorf("%s: manifests %d to %d, which ends with %s, of events %v, want %v", chain.DrainID, chain.First, chain.Last, chain.Ended, chain.Sequence, whole)
		}
	}
	c.checkPapers(t)
	return report
}

// checkPapers checks that each manifest was tried to be written with the same bytes
// only, whatever became of it: also that there never were two of one number.
func (c *cloud) checkPapers(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, sums := range c.papers {
		if len(sums) != 1 {
			t.Errorf("%s was to be written with different bytes: %v", name, sums)
		}
	}
	if n := len(c.Rewrites()); n > 0 {
		t.Errorf("%d objects were rewritten with other bytes", n)
	}
	if len(c.papers) == 0 {
		t.Error("there are no manifests")
	}
}
