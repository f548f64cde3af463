package verify_test

import (
	"fmt"
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

// fill writes a drain's hours, and beside them those of two others: the last of these
// came from elsewhere.
func fill(t *testing.T, hours, perHour int) (*tree, *manifesttest.Drain) {
	t.Helper()
	bucket := &tree{t, map[string][]byte{}}
	d, other, moved := bucket.drain(drainID), bucket.drain("drn_2"), bucket.drain("drn_3")
	moved.Next.Number, moved.Next.Previous, moved.Next.MovedFrom = 4, &manifest.Digest{}, newEndpoint
	for range hours {
		d.Hour(perHour)
		other.Hour(1)
		moved.Hour(1)
	}
	return bucket, d
}

// TestManyAttacks verifies a bucket of 100,000 objects, and then does to it at once what
// TestAttacks does one after the other.
func TestManyAttacks(t *testing.T) {
	const hours, perHour = 25, 4000
	tr, d := fill(t, hours, perHour)
	o := options("", at(hours*time.Hour+10*time.Minute))
	o.Places[0] = tr
	if r := run(t, o); !r.Verified || r.Read != hours*(perHour+2) {
		t.Fatalf("untouched: %d objects verified, %v", r.Read, r.Findings)
	}

	object := func(n uint64) string { return tr.objects(n)[perHour/2].Key }
	lost, edited, renamed := object(2), object(3), object(6)
	swapped := tr.objects(4)[100:102]
	x, y := tr.read(swapped[0].Key), tr.read(swapped[1].Key)
	added, copied := strings.Replace(object(5), "uev", "uevil", 1), strings.Replace(renamed, "uev", "uevil", 1)
	want := slices.Concat(unlisted(tr.objects(14)), unlisted(tr.objects(16)), []string{
		"missing 2 " + lost, "altered 3 " + edited, "altered 4 " + swapped[0].Key, "altered 4 " + swapped[1].Key, "unexpected 0 " + added,
		"missing 6 " + renamed, "duplicated 0 " + copied, "missing-manifest 8", "unknown-key 10 " + manifest.Key(drainID, 10),
		"broken-chain 13 " + manifest.Key(drainID, 13), "broken-chain 13 " + manifest.Key(drainID, 13),
		"broken-chain 14 " + manifest.Key(drainID, 14), "broken-chain 16 " + manifest.Key(drainID, 16),
		"missing-manifest 1", fmt.Sprintf("truncated-tail %d %s", hours-3, manifest.Key(drainID, hours-3)),
	})
	tr.remove(lost)
	tr.replace(edited, "created", "deleted")
	tr.write(swapped[0].Key, y)
	tr.write(swapped[1].Key, x)
	tr.write(added, []byte("{}"))
	tr.write(copied, tr.read(renamed))
	tr.remove(renamed)
	tr.removeManifest(drainID, 8, true)
	tr.rewrite(10, &manifesttest.Drain{TB: t, Key: manifesttest.Key(1)}, func(*manifest.Manifest) {})
	tr.rewrite(12, d, func(m *manifest.Manifest) { m.Delivered.To -= 1000; m.OpenSince -= 1000 })
	tr.copyManifest(drainID, 13, drainID, 14)
	tr.copyManifest("drn_2", 16, drainID, 16)
	for n := uint64(hours); n > hours-3; n-- {
		tr.removeManifest(drainID, n, true)
	}
	tr.removeManifest("drn_3", 4, true)

	got := found(run(t, o))
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", clip(diff))
	}
}

// TestAttacks does to copies of a bucket what an attacker would.
func TestAttacks(t *testing.T) {
	const hours, perHour = 20, 50
	bucket, d := fill(t, hours, perHour)
	now := at(hours*time.Hour + 10*time.Minute)
	thief := &manifesttest.Drain{TB: t, Key: manifesttest.Key(1)}

	// What attacks are made on.
	some := bucket.objects(7)
	a, b := some[10], some[len(some)-10]
	key := manifest.Key
	anchor, err := manifest.ParseSignedHead(bucket.read(manifest.SignatureKey(drainID, hours)))
	bucket.check(err)

	for _, tc := range []struct {
		name   string
		attack func(tr *tree, o *verify.Options)
		want   []string
		says   []string // in the messages, one each
		code   int
	}{
		{name: "none", code: 0},
		{"delete one", func(tr *tree, _ *verify.Options) { tr.remove(a.Key) },
			[]string{"missing 7 " + a.Key}, []string{"not there"}, 15},
		{"edit one byte", func(tr *tree, _ *verify.Options) {
			tr.replace(a.Key, "Zoë", "Zoe")
		},
			[]string{"altered 7 " + a.Key}, []string{"not those that were written"}, 16},
		{"edit one byte, same length", func(tr *tree, _ *verify.Options) {
			tr.replace(a.Key, "created", "deleted")
		}, []string{"altered 7 " + a.Key}, []string{"not those that were written"}, 16},
		{"append to one", func(tr *tree, _ *verify.Options) { tr.write(a.Key, slices.Concat(tr.read(a.Key), []byte("\n"))) },
			[]string{"altered 7 " + a.Key}, []string{"more than the"}, 16},
		{"swap two", func(tr *tree, _ *verify.Options) {
			x, y := tr.read(a.Key), tr.read(b.Key)
			tr.write(a.Key, y)
			tr.write(b.Key, x)
		}, []string{"altered 7 " + a.Key, "altered 7 " + b.Key}, []string{"those of " + b.Key, "those of " + a.Key}, 16},
		{"add one", func(tr *tree, _ *verify.Options) { tr.write(strings.Replace(a.Key, "uev", "uevil", 1), []byte("{}")) },
			[]string{"unexpected 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"no manifest lists it"}, 17},
		{"add a copy", func(tr *tree, _ *verify.Options) { tr.write(strings.Replace(a.Key, "uev", "uevil", 1), tr.read(a.Key)) },
			[]string{"duplicated 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"the bytes of " + a.Key}, 18},
		{"rename", func(tr *tree, _ *verify.Options) {
			tr.write(strings.Replace(a.Key, "uev", "uevil", 1), tr.read(a.Key))
			tr.remove(a.Key)
		}, []string{"missing 7 " + a.Key, "duplicated 0 " + strings.Replace(a.Key, "uev", "uevil", 1)}, []string{"not there", "which is missing: it was renamed"}, 15},
		{"roll back a manifest", func(tr *tree, _ *verify.Options) { tr.copyManifest(drainID, hours-1, drainID, hours) },
			append([]string{fmt.Sprintf("broken-chain %d %s", hours, key(drainID, hours))}, unlisted(bucket.objects(hours))...), []string{"an old one was put in the place"}, 11},
		{"cut the tail", func(tr *tree, _ *verify.Options) {
			for n := uint64(hours); n > hours-3; n-- {
				tr.removeManifest(drainID, n, true)
			}
		}, []string{fmt.Sprintf("truncated-tail %d %s", hours-3, key(drainID, hours-3))}, []string{"covers the time until 2026-05-23T01:00:00Z, and should cover it until 2026-05-23T02:10:00Z"}, 13},
		{"cut the tail within the grace, against an anchor", func(tr *tree, o *verify.Options) {
			o.Anchors = []manifest.SignedHead{anchor}
			tr.removeManifest(drainID, hours, true)
		}, []string{fmt.Sprintf("anchor %d", hours)}, []string{"was anchored, but the chain ends before it"}, 14},
		{"replay another drain's manifest", func(tr *tree, _ *verify.Options) { tr.copyManifest("drn_2", 20, drainID, 20) },
			append([]string{"broken-chain 20 " + key(drainID, 20)}, unlisted(bucket.objects(20))...), []string{"of another drain, drn_2"}, 11},
		{"re-sign with another key", func(tr *tree, _ *verify.Options) {
			tr.rewrite(5, thief, func(m *manifest.Manifest) {})
		}, []string{"unknown-key 5 " + key(drainID, 5)}, []string{"none of the keys that were given"}, 10},
		{"rewrite and re-sign with another key", func(tr *tree, _ *verify.Options) {
			tr.rewrite(5, thief, func(m *manifest.Manifest) { m.TeamID = "team_other" })
		}, []string{"unknown-key 5 " + key(drainID, 5), "broken-chain 5 " + key(drainID, 5), "broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)},
			[]string{"none of the keys", "its team is team_other", "its team is team_acme", "follows another manifest 5"}, 10},
		{"claim the right key", func(tr *tree, _ *verify.Options) {
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
		{"remove a signature", func(tr *tree, _ *verify.Options) { tr.remove(manifest.SignatureKey(drainID, 5)) },
			[]string{"unknown-key 5 " + key(drainID, 5)}, []string{"it is not signed"}, 10},
		{"edit a manifest", func(tr *tree, _ *verify.Options) {
			tr.replace(key(drainID, 5), "team_acme", "team_acmf")
		}, []string{"broken-chain 5 " + key(drainID, 5), "broken-chain 5 " + key(drainID, 5), "broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)},
			[]string{"not those that were signed", "its team is team_acmf", "its team is team_acme", "follows another manifest 5"}, 11},
		{"edit a part", func(tr *tree, _ *verify.Options) {
			tr.replace(manifest.PartKey(drainID, 5, 1), ".json", ".jsom")
		}, append([]string{"broken-chain 5 " + manifest.PartKey(drainID, 5, 1)}, unlisted(bucket.objects(5))...), []string{"part 1 of manifest 5: its SHA-256 is"}, 11},
		{"change the clock, with the service's key", func(tr *tree, _ *verify.Options) {
			tr.rewrite(5, d, func(m *manifest.Manifest) { m.Delivered.To -= 1000; m.OpenSince -= 1000 })
		}, []string{"broken-chain 6 " + key(drainID, 6), "broken-chain 6 " + key(drainID, 6)}, []string{"follows another manifest 5", "begins at 2026-05-22T13:00:00Z, but the one before ends at 2026-05-22T12:59:59Z"}, 11},
		{"set the clock forward", func(tr *tree, _ *verify.Options) {
			tr.rewrite(hours, d, func(m *manifest.Manifest) { m.Delivered.To += 2 * manifest.Hour; m.Cause = auditdrain.SealLate })
		}, []string{fmt.Sprintf("broken-chain %d %s", hours, key(drainID, hours))}, []string{"time that has not come yet"}, 11},
		{"drop an hour of data and manifest", func(tr *tree, _ *verify.Options) { tr.removeManifest(drainID, 9, true) },
			[]string{"missing-manifest 9"}, []string{"from 2026-05-22T16:00:00Z to 2026-05-22T17:00:00Z, nor of events " + fmt.Sprintf("%d to %d", 8*perHour+1, 9*perHour)}, 12},
		{"drop the first hours", func(tr *tree, _ *verify.Options) {
			tr.removeManifest(drainID, 1, true)
			tr.removeManifest(drainID, 2, true)
		},
			[]string{"missing-manifest 1"}, []string{"2 manifests of 1 to 2 are missing: nothing is proved of the time until 2026-05-22T10:00:00Z, nor of events 1 to " + fmt.Sprint(2*perHour)}, 12},
		{"drop the first hour of a drain that came from elsewhere", func(tr *tree, _ *verify.Options) { tr.removeManifest("drn_3", 4, true) },
			[]string{"missing-manifest 1"}, []string{"4 manifests of 1 to 4 are missing: nothing is proved of the time until 2026-05-22T09:00:00Z, nor of events 1 to 1"}, 12},
		{"drop a part", func(tr *tree, _ *verify.Options) { tr.remove(manifest.PartKey(drainID, 9, 1)) },
			append([]string{"missing-manifest 9 " + manifest.PartKey(drainID, 9, 1)}, unlisted(bucket.objects(9))...), []string{"part 1 of manifest 9 is missing"}, 12},
		{"add a part", func(tr *tree, _ *verify.Options) {
			tr.write(manifest.PartKey(drainID, 9, 2), tr.read(manifest.PartKey(drainID, 9, 1)))
		},
			[]string{"unexpected 9 " + manifest.PartKey(drainID, 9, 2)}, []string{"no manifest has this part"}, 17},
		{"add a manifest", func(tr *tree, _ *verify.Options) { tr.write("manifest/drn_1/1.json", []byte("{}")) },
			[]string{"unexpected 0 manifest/drn_1/1.json"}, []string{"no manifest"}, 17},
		{"sign and take away the next one", func(tr *tree, _ *verify.Options) {
			tr.write(manifest.SignatureKey(drainID, hours+1), tr.read(manifest.SignatureKey(drainID, hours)))
		}, []string{fmt.Sprintf("truncated-tail %d", hours+1)}, []string{"was signed, but is not there"}, 13},
		{"drop all manifests of one drain", func(tr *tree, o *verify.Options) {
			o.Drains = []string{drainID, "drn_4"}
		}, []string{"missing-manifest 0"}, []string{"there are no manifests of this drain"}, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := bucket.copy(t)
			o := options("", now)
			o.Places[0] = tr
			if tc.attack != nil {
				tc.attack(tr, &o)
			}
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
			if tc.attack == nil && r.Read != uint64(hours*(perHour+2)) {
				t.Errorf("%d objects verified, want %d", r.Read, hours*(perHour+2))
			}
		})
	}
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
