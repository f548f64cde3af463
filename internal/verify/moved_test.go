package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

const (
	oldEndpoint = "s3://acme-audit-archive/audit-logs" // of manifesttest
	newEndpoint = "s3://acme-audit-archive/new"
)

// moved writes a drain whose prefix was changed after an hour and a half: manifests 1
// and 2 are in the first folder, 3 to 5 in the second.
func moved(t *testing.T) (old, newer string) {
	t.Helper()
	old, newer = t.TempDir(), t.TempDir()
	d := manifesttest.New(t, old, drainID)
	d.Hour(3)
	d.Deliver(1)
	// Was under way when the drain was moved, and written to the new place as well.
	lost := manifesttest.New(t, old, "drn_x").Deliver(1)[0]
	d.Next.Uncertain = []string{lost.Key, "schema=audit_log/none.json"}
	d.Move(newer, newEndpoint, at(90*time.Minute))
	d.Hour(2)
	d.Hour(1)
	d.Hour(1)
	return old, newer
}

func TestMoved(t *testing.T) {
	old, newer := moved(t)
	both := options(old, at(4*time.Hour))
	both.Places = append(both.Places, verify.Dir{Path: newer})
	if r := run(t, both); !r.Verified || r.Read != 8 || r.Chains[0].MovedFrom != "" || r.Chains[0].Uncertain != 2 {
		t.Errorf("both: %d, %v", r.Read, r.Findings)
	}
	first := options(old, at(20*time.Hour))
	r := run(t, first)
	if diff := cmp.Diff([]string{"truncated-tail 2 " + manifest.Key(drainID, 2)}, found(r)); diff != "" || !strings.Contains(r.Findings[0].Message, "moved to "+newEndpoint) {
		t.Errorf("the old place: %s, %v", diff, r.Findings)
	}
	first.To = at(90 * time.Minute)
	if r := run(t, first); !r.Verified {
		t.Errorf("the old place, up to then: %v", r.Findings)
	}
	second := options(newer, at(4*time.Hour))
	anchor, err := os.ReadFile(filepath.Join(old, manifest.SignatureKey(drainID, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if second.Anchors, err = verify.ReadAnchors(strings.NewReader(string(anchor))); err != nil {
		t.Fatal(err)
	}
	r = run(t, second)
	if !r.Verified || r.Read != 4 || r.Chains[0].MovedFrom != oldEndpoint || r.Chains[0].Elsewhere() != "manifests 1 to 2" {
		t.Errorf("the new place: %d, %v", r.Read, r.Findings)
	}
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "manifests 1 to 2, not verified: the drain moved here from <code>"+oldEndpoint) {
		t.Errorf("%v, %s", err, page.String())
	}
}

// TestMovedAndAttacked drops the beginning of a chain, which is excused only if a
// manifest that is signed says that it is elsewhere.
func TestMovedAndAttacked(t *testing.T) {
	for _, tc := range []struct {
		name   string
		both   bool // places are given
		attack func(old, newer *tree)
		want   string
	}{
		{"head, with the manifest that says where the rest is", false, func(_, newer *tree) { newer.removeManifest(drainID, 3, true) },
			"missing-manifest 1"},
		{"all that is in the old place", true, func(old, _ *tree) {
			clear(old.files)
		}, "missing-manifest 1"},
		{"all of this drain that is in the old place", true, func(old, _ *tree) {
			old.drain("drn_2").Hour(0)
			old.removeManifest(drainID, 1, true)
			old.removeManifest(drainID, 2, true)
		}, "missing-manifest 1"},
		{"the old place's manifest 1", true, func(old, _ *tree) { old.removeManifest(drainID, 1, true) },
			"missing-manifest 1"},
		{"movedFrom, by another key", false, func(_, newer *tree) {
			thief := &manifesttest.Drain{TB: newer.t, Key: manifesttest.Key(1)}
			newer.removeManifest(drainID, 3, true)
			newer.rewrite(4, thief, func(m *manifest.Manifest) { m.MovedFrom = oldEndpoint })
		}, "missing-manifest 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			oldDir, newDir := moved(t)
			old, newer := open(t, oldDir), open(t, newDir)
			tc.attack(old, newer)
			o := options("", at(4*time.Hour))
			o.Places = []verify.Place{newer}
			if tc.both {
				o.Places = append(o.Places, old)
			}
			if r := run(t, o); !strings.Contains(strings.Join(found(r), "\n"), tc.want) {
				t.Errorf("%v, want %s", r.Findings, tc.want)
			}
		})
	}
}

// TestMovedBackAndForth gives some of the places of a drain that came back.
func TestMovedBackAndForth(t *testing.T) {
	old, newer := t.TempDir(), t.TempDir()
	d := manifesttest.New(t, old, drainID)
	d.Hour(1)
	d.Move(newer, newEndpoint, at(80*time.Minute))
	d.Hour(1)
	d.Move(old, oldEndpoint, at(150*time.Minute))
	d.Hour(1)
	both := options(old, at(3*time.Hour))
	both.Places = append(both.Places, verify.Dir{Path: newer})
	if r := run(t, both); !r.Verified || r.Read != 3 {
		t.Errorf("both: %d, %v", r.Read, r.Findings)
	}
	r := run(t, options(old, at(3*time.Hour)))
	if diff := cmp.Diff([]string{"missing-manifest 3"}, found(r)); diff != "" || !strings.Contains(r.Findings[0].Message, "verify both together") {
		t.Errorf("one: %s, %v", diff, r.Findings)
	}
}

// TestMovedWhileOff continues a chain elsewhere, though no manifest says movedTo.
func TestMovedWhileOff(t *testing.T) {
	old, newer := t.TempDir(), t.TempDir()
	d := manifesttest.New(t, old, drainID)
	d.Hour(1)
	d.Seal(auditdrain.SealOff, at(80*time.Minute))
	d.Dir, d.Next.Endpoint, d.Next.MovedFrom = newer, newEndpoint, oldEndpoint
	d.Next.Sequence.To += 5
	d.Next.Gaps = []manifest.Gap{{Reason: "integrity was off", Sequence: d.Next.Sequence, Delivered: d.Next.Delivered}}
	d.Next.Gaps[0].Delivered.To = uint64(at(100 * time.Minute).UnixMilli())
	d.Hour(1)
	// Nothing is proved of what was written then, in either place.
	for _, dir := range []string{old, newer} {
		write(t, dir, "schema=audit_log/gap", at(95*time.Minute))
	}
	trusted := func(dir string) verify.Place { return verify.Dir{Path: dir, TrustTimes: true} }
	for _, places := range [][]verify.Place{{trusted(newer)}, {trusted(newer), trusted(old)}} {
		o := options(newer, at(2*time.Hour))
		o.Places = places
		if r := run(t, o); !r.Verified || r.Before != uint64(len(places)) {
			t.Errorf("%v: %d before, %v", places, r.Before, r.Findings)
		}
	}
}

// write writes a file as of then.
func write(t *testing.T, dir, key string, then time.Time) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(key))
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
}

// TestOthersBeforeTheMove has objects in the new place that were there before.
func TestOthersBeforeTheMove(t *testing.T) {
	old, newer := moved(t)
	write(t, newer, "schema=audit_log/before", at(30*time.Minute))
	write(t, newer, "schema=audit_log/after", at(3*time.Hour))
	for _, places := range [][]verify.Place{
		{verify.Dir{Path: newer, TrustTimes: true}}, {verify.Dir{Path: newer, TrustTimes: true}, verify.Dir{Path: old, TrustTimes: true}},
	} {
		o := options(newer, at(4*time.Hour))
		o.Places = places
		r := run(t, o)
		if len(r.Findings) != 1 || !strings.HasSuffix(r.Findings[0].Key, "/after") || r.Before != 1 {
			t.Errorf("%d places: %d before, %v", len(places), r.Before, r.Findings)
		}
	}
}
