package verify_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

const drainID = "drn_1"

// tree is a folder whose changes can be taken back.
type tree struct {
	t     *testing.T
	dir   string
	aside string // where files are moved that are removed
	undo  []func() error
}

func (tr *tree) path(key string) string { return filepath.Join(tr.dir, filepath.FromSlash(key)) }

func (tr *tree) check(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) read(key string) []byte {
	tr.t.Helper()
	b, err := os.ReadFile(tr.path(key))
	tr.check(err)
	return b
}

func (tr *tree) remove(key string) {
	tr.t.Helper()
	saved := filepath.Join(tr.aside, fmt.Sprint(len(tr.undo)))
	tr.check(os.Rename(tr.path(key), saved))
	tr.undo = append(tr.undo, func() error { return os.Rename(saved, tr.path(key)) })
}

func (tr *tree) write(key string, body []byte) {
	tr.t.Helper()
	if _, err := os.Lstat(tr.path(key)); err == nil {
		tr.remove(key)
	}
	tr.check(os.WriteFile(tr.path(key), body, 0o644))
	tr.undo = append(tr.undo, func() error { return os.Remove(tr.path(key)) })
}

func (tr *tree) restore() {
	tr.t.Helper()
	for _, undo := range slices.Backward(tr.undo) {
		tr.check(undo())
	}
	tr.undo = nil
}

// manifest returns manifest n of the drain.
func (tr *tree) manifest(n uint64) manifest.Manifest {
	tr.t.Helper()
	m, err := manifest.Parse(tr.read(manifest.Key(drainID, n)))
	tr.check(err)
	return m
}

// objects returns what manifest n lists.
func (tr *tree) objects(n uint64) []manifest.Object {
	tr.t.Helper()
	m := tr.manifest(n)
	var all []manifest.Object
	for i := range m.Parts {
		objects, err := m.ParsePart(i+1, tr.read(manifest.PartKey(drainID, n, i+1)))
		tr.check(err)
		all = append(all, objects...)
	}
	return all
}

// copyManifest puts manifest n of a drain, with its parts and signature, in the place
// of another.
func (tr *tree) copyManifest(id string, n uint64, toID string, to uint64) {
	tr.t.Helper()
	m, err := manifest.Parse(tr.read(manifest.Key(id, n)))
	tr.check(err)
	tr.write(manifest.Key(toID, to), tr.read(manifest.Key(id, n)))
	tr.write(manifest.SignatureKey(toID, to), tr.read(manifest.SignatureKey(id, n)))
	for i := range m.Parts {
		tr.write(manifest.PartKey(toID, to, i+1), tr.read(manifest.PartKey(id, n, i+1)))
	}
}

// rewrite changes manifest n and signs it anew.
func (tr *tree) rewrite(n uint64, signer *manifesttest.Drain, change func(*manifest.Manifest)) {
	tr.t.Helper()
	m := tr.manifest(n)
	change(&m)
	body, err := m.Encode()
	tr.check(err)
	tr.write(manifest.Key(drainID, n), body)
	tr.write(manifest.SignatureKey(drainID, n), signer.Sign(manifest.HeadOf(m, body)))
}

// removeManifest removes all that manifest n consists of, and, if withData is set,
// what it lists.
func (tr *tree) removeManifest(n uint64, withData bool) {
	tr.t.Helper()
	m := tr.manifest(n)
	if withData {
		for _, o := range tr.objects(n) {
			tr.remove(o.Key)
		}
	}
	for i := range m.Parts {
		tr.remove(manifest.PartKey(drainID, n, i+1))
	}
	tr.remove(manifest.SignatureKey(drainID, n))
	tr.remove(manifest.Key(drainID, n))
}

func options(dir string, now time.Time) verify.Options {
	return verify.Options{
		Places: []verify.Place{verify.Dir{Path: dir}}, Keys: manifesttest.Keys(manifesttest.Key(0)),
		Grace: 2 * time.Hour, Concurrency: 4, Now: func() time.Time { return now },
	}
}

func run(t testing.TB, o verify.Options) *verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found shortens findings for comparison: kind, manifest, and the object's name.
func found(r *verify.Report) []string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %d %s", f.Kind, f.Manifest, f.Key)))
	}
	return all
}

// TestAttacks does to a copy of a bucket of 100,000 objects what an attacker would.
func TestAttacks(t *testing.T) { testAttacks(t, 5000, true) }

// TestSmallAttacks does it with few objects, and more besides.
func TestSmallAttacks(t *testing.T) { testAttacks(t, 50, false) }

func testAttacks(t *testing.T, perHour int, large bool) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	const hours = 20
	for range hours {
		d.Hour(perHour)
	}
	// Another drain of the team, in the same place.
	other := manifesttest.New(t, dir, "drn_2")
	for range hours {
		other.Hour(1)
	}
	now := manifesttest.Start.Add(hours*time.Hour + 10*time.Minute)
	tr := &tree{t: t, dir: dir, aside: t.TempDir()}
	thief := &manifesttest.Drain{TB: t, Key: manifesttest.Key(1)}

	// What attacks are made on.
	some := tr.objects(7)
	a, b := some[10], some[len(some)-10]
	key := manifest.Key
	anchor, err := manifest.ParseSignedHead(tr.read(manifest.SignatureKey(drainID, hours)))
	tr.check(err)

	for _, tc := range []struct {
		name   string
		attack func(o *verify.Options)
		want   []string
		says   []string // in the messages, one each
		code   int
	}{
		{name: "none", code: 0},
		{"delete one", func(*verify.Options) { tr.remove(a.Key) },
			[]string{"missing 7 " + a.Key}, []string{"not there"}, 15},
		{"edit one byte", func(*verify.Options) {
			tr.write(a.Key, bytes.Replace(tr.read(a.Key), []byte("Zoë"), []byte("Zoe"), 1))
		},
			[]string{"altered 7 " + a.Key}, []string{"not those that were written"}, 16},
		{"edit one byte, same length", func(*verify.Options) {
			tr.write(a.Key, bytes.Replace(tr.read(a.Key), []byte("created"), []byte("deleted"), 1))
		}, []string{"altered 7 " + a.Key}, []string{"not those that were written"}, 16},
		{"append to one", func(*verify.Options) { tr.write(a.Key, append(tr.read(a.Key), '\n')) },
			[]string{"altered 7 " + a.Key}, []string{"more than the"}, 16},
		{"swap two", func(*verify.Options) {
			x, y := tr.read(a.Key), tr.read(b.Key)
			tr.write(a.Key, y)
			tr.write(b.Key, x)
		}, []string{"altered 7 " + a.Key, "altered 7 " + b.Key}, []string{"those of " + b.Key, "those of " + a.Key}, 16},
		{"add one", func(*verify.Options) { tr.write(strings.Replace(a.Key, "uev", "uevil", 1), []byte("{}")) },
			[]string{"unexpected 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"no manifest lists it"}, 17},
		{"add a copy", func(*verify.Options) { tr.write(strings.Replace(a.Key, "uev", "uevil", 1), tr.read(a.Key)) },
			[]string{"duplicated 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"the bytes of " + a.Key}, 18},
		{"rename", func(*verify.Options) {
			tr.write(strings.Replace(a.Key, "uev", "uevil", 1), tr.read(a.Key))
			tr.remove(a.Key)
		}, []string{"missing 7 " + a.Key, "duplicated 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"not there", "which is missing: it was renamed"}, 15},
		{"roll back a manifest", func(*verify.Options) { tr.copyManifest(drainID, hours-1, drainID, hours) },
			append([]string{fmt.Sprintf("broken-chain %d %s", hours, key(drainID, hours))}, unlisted(tr.objects(hours))...), []string{"an old one was put in the place"}, 11},
		{"cut the tail", func(*verify.Options) {
			for n := uint64(hours); n > hours-3; n-- {
				tr.removeManifest(n, true)
			}
		}, []string{fmt.Sprintf("truncated-tail %d %s", hours-3, key(drainID, hours-3))}, []string{"covers the time until 2026-05-23T01:00:00Z, and should cover it until 2026-05-23T02:10:00Z"}, 13},
		{"cut the tail within the grace, against an anchor", func(o *verify.Options) {
			o.Anchors = []manifest.SignedHead{anchor}
			tr.removeManifest(hours, true)
		}, []string{fmt.Sprintf("anchor %d", hours)}, []string{"was anchored, but the chain ends before it"}, 14},
		{"replay another drain's manifest", func(*verify.Options) { tr.copyManifest("drn_2", 20, drainID, 20) },
			append([]string{"broken-chain 20 " + key(drainID, 20)}, unlisted(tr.objects(20))...), []string{"of another drain, drn_2"}, 11},
		{"re-sign with another key", func(*verify.Options) {
			tr.rewrite(5, thief, func(m *manifest.Manifest) {})
		}, []string{"unknown-key 5 " + key(drainID, 5)}, []string{"none of the keys that were given"}, 10},
		{"rewrite and re-sign with another key", func(*verify.Options) {
			tr.rewrite(5, thief, func(m *manifest.Manifest) { m.TeamID = "team_other" })
		}, []string{"unknown-key 5 " + key(drainID, 5), "broken-chain 5 " + key(drainID, 5), "broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)},
			[]string{"none of the keys", "its team is team_other", "its team is team_acme", "follows another manifest 5"}, 10},
		{"claim the right key", func(*verify.Options) {
			raw := tr.read(manifest.SignatureKey(drainID, 5))
			tr.rewrite(5, thief, func(m *manifest.Manifest) {})
			forged := tr.read(manifest.SignatureKey(drainID, 5))
			x, _ := manifest.ParseSignedHead(raw)
			y, _ := manifest.ParseSignedHead(forged)
			y.KeyID = x.KeyID
			body, err := y.Encode()
			tr.check(err)
			tr.write(manifest.SignatureKey(drainID, 5), body)
		}, []string{"unknown-key 5 " + key(drainID, 5)}, []string{"is not by key"}, 10},
		{"remove a signature", func(*verify.Options) { tr.remove(manifest.SignatureKey(drainID, 5)) },
			[]string{"unknown-key 5 " + key(drainID, 5)}, []string{"it is not signed"}, 10},
		{"edit a manifest", func(*verify.Options) {
			tr.write(key(drainID, 5), bytes.Replace(tr.read(key(drainID, 5)), []byte("team_acme"), []byte("team_acmf"), 1))
		}, []string{"broken-chain 5 " + key(drainID, 5), "broken-chain 5 " + key(drainID, 5), "broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)},
			[]string{"not those that were signed", "its team is team_acmf", "its team is team_acme", "follows another manifest 5"}, 11},
		{"edit a part", func(*verify.Options) {
			part := manifest.PartKey(drainID, 5, 1)
			tr.write(part, bytes.Replace(tr.read(part), []byte(".json"), []byte(".jsom"), 1))
		}, append([]string{"broken-chain 5 " + manifest.PartKey(drainID, 5, 1)}, unlisted(tr.objects(5))...), []string{"part 1 of manifest 5: its SHA-256 is"}, 11},
		{"change the clock, with the service's key", func(*verify.Options) {
			tr.rewrite(5, d, func(m *manifest.Manifest) { m.Delivered.To -= 1000; m.OpenSince -= 1000 })
		}, []string{"broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)}, []string{"follows another manifest 5", "begins at 2026-05-22T13:00:00Z, but the one before ends at 2026-05-22T12:59:59Z"}, 11},
		{"set the clock forward", func(*verify.Options) {
			tr.rewrite(hours, d, func(m *manifest.Manifest) { m.Delivered.To += 2 * manifest.Hour; m.Cause = auditdrain.SealLate })
		}, []string{fmt.Sprintf("broken-chain %d %s", hours, key(drainID, hours))}, []string{"time that has not come yet"}, 11},
		{"drop an hour of data and manifest", func(*verify.Options) { tr.removeManifest(9, true) },
			[]string{"missing-manifest 9"}, []string{"from 2026-05-22T16:00:00Z to 2026-05-22T17:00:00Z, nor of events " + fmt.Sprintf("%d to %d", 8*perHour+1, 9*perHour)}, 12},
		{"drop the first hours", func(*verify.Options) { tr.removeManifest(1, true); tr.removeManifest(2, true) },
			[]string{"missing-manifest 1"}, []string{"2 manifests of 1 to 2 are missing: nothing is proved of the time until 2026-05-22T10:00:00Z, nor of events 1 to " + fmt.Sprint(2*perHour)}, 12},
		{"drop a part", func(*verify.Options) { tr.remove(manifest.PartKey(drainID, 9, 1)) },
			append([]string{"missing-manifest 9 " + manifest.PartKey(drainID, 9, 1)}, unlisted(tr.objects(9))...), []string{"part 1 of manifest 9 is missing"}, 12},
		{"add a part", func(*verify.Options) {
			tr.write(manifest.PartKey(drainID, 9, 2), tr.read(manifest.PartKey(drainID, 9, 1)))
		},
			[]string{"unexpected 9 " + manifest.PartKey(drainID, 9, 2)}, []string{"no manifest has this part"}, 17},
		{"add a manifest", func(*verify.Options) { tr.write("manifest/drn_1/1.json", []byte("{}")) },
			[]string{"unexpected 0 manifest/drn_1/1.json"}, []string{"no manifest"}, 17},
		{"sign and take away the next one", func(*verify.Options) {
			tr.write(manifest.SignatureKey(drainID, hours+1), tr.read(manifest.SignatureKey(drainID, hours)))
		}, []string{fmt.Sprintf("truncated-tail %d", hours+1)}, []string{"was signed, but is not there"}, 13},
		{"a folder in an object's place", func(*verify.Options) {
			tr.remove(a.Key)
			tr.check(os.Mkdir(tr.path(a.Key), 0o755))
			tr.undo = append(tr.undo, func() error { return os.Remove(tr.path(a.Key)) })
		}, []string{"missing 7 " + a.Key}, []string{"not there"}, 15},
		{"drop all manifests of one drain", func(o *verify.Options) {
			o.Drains = []string{drainID, "drn_3"}
		}, []string{"missing-manifest 0"}, []string{"there are no manifests of this drain"}, 12},
	} {
		if large && !slices.Contains(inLarge, tc.name) {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			tr.t = t
			o := options(dir, now)
			if tc.attack != nil {
				tc.attack(&o)
			}
			defer tr.restore()
			r := run(t, o)
			if diff := cmp.Diff(tc.want, found(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", clip(diff))
			}
			for i, says := range tc.says {
				if i < len(r.Findings) && !strings.Contains(r.Findings[i].Message, says) {
					t.Errorf("message %q, want it to contain %q", r.Findings[i].Message, says)
				}
			}
			if r.ExitCode() != tc.code || r.Verified != (tc.code == 0) {
				t.Errorf("exit code %d, verified %t; want %d", r.ExitCode(), r.Verified, tc.code)
			}
			if tc.attack == nil && r.Read != uint64(hours*(perHour+1)) {
				t.Errorf("%d objects verified, want %d", r.Read, hours*(perHour+1))
			}
		})
	}
}

// inLarge are the attacks that are made on 100,000 objects, too.
var inLarge = []string{
	"none", "delete one", "edit one byte", "swap two", "add one", "rename", "roll back a manifest", "cut the tail",
	"replay another drain's manifest", "re-sign with another key", "change the clock, with the service's key", "drop an hour of data and manifest",
}

// unlisted are the findings that follow when a manifest is not believed: nobody else
// lists its objects.
func unlisted(objects []manifest.Object) []string {
	var all []string
	for _, o := range objects {
		all = append(all, "unexpected 0 "+o.Key)
	}
	slices.Sort(all)
	return all
}

func clip(s string) string { return s[:min(len(s), 4000)] }
