package verify_test

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
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

var update = flag.Bool("update", false, "write testdata anew")

// vector is the example that docs/bucket-format.md names: what is below a prefix, and
// below another that the drain moved to, and beside them the keys.
const vector = "testdata/vector"

// writeVector writes the vector into a folder: two hours, one of them empty, one
// event skipped, a pause, a replay of it, a move.
func writeVector(t *testing.T, dir string) {
	t.Helper()
	d := manifesttest.New(t, filepath.Join(dir, "bucket"), drainID)
	d.Deliver(2)
	d.Skip(1, "refused by the bucket: “KMS” said no")
	d.Hour(0)
	d.Next.Changes = []manifest.Change{{Action: "drain-paused", Activity: 4, At: uint64(at(70 * time.Minute).UnixMilli()), By: "tok_1", Name: "Zoë",
		Fields: []manifest.Field{{Field: "status", From: "enabled", To: "disabled"}}}}
	d.Seal(auditdrain.SealPaused, at(70*time.Minute))
	d.Seal(auditdrain.SealResumed, at(130*time.Minute))
	d.Hour(1)
	live := d.Next.Sequence
	d.Next.Sequence, d.Next.ReplayID = manifest.Range{From: 3, To: 4}, "rpl_1"
	d.List(d.Put(3))
	d.Seal(auditdrain.SealReplay, at(3*time.Hour))
	d.Next.Sequence = live
	d.Hour(0)
	d.Deliver(1)
	d.Next.Uncertain = []string{"schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T080006.000Z_uev_drn_1_6.json"}
	d.Move(filepath.Join(dir, "moved"), newEndpoint, at(4*time.Hour+20*time.Minute))
	d.Deliver(1)
	hidden := d.Put(7)
	hidden.Or = &manifest.Bytes{SHA256: hidden.SHA256, Size: hidden.Size}
	hidden.SHA256, hidden.Size = manifest.Sum([]byte("{}")), 2
	d.List(hidden)
	d.Next.Sequence.To++
	d.Hour(0)
	d.Hour(0)
	set, err := manifesttest.Keys(d.Key).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	d.Dir = dir
	d.Write("jwks.json", set)
}

// TestVector has the format not change.
func TestVector(t *testing.T) {
	dir := vector
	if *update {
		if err := os.RemoveAll(vector); err != nil {
			t.Fatal(err)
		}
	} else {
		dir = t.TempDir()
	}
	writeVector(t, dir)
	if diff := cmp.Diff(files(t, vector), files(t, dir)); diff != "" {
		t.Errorf("what is written now is not what it was (-was +now):\n%s", diff)
	}
	o := options(filepath.Join(vector, "bucket"), at(6*time.Hour))
	o.Places = append(o.Places, verify.Dir{Path: filepath.Join(vector, "moved")})
	content, err := os.ReadFile(filepath.Join(vector, "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	if o.Keys, err = manifest.ParseKeys(content); err != nil {
		t.Fatal(err)
	}
	if r := run(t, o); !r.Verified || r.Read != 7 {
		t.Errorf("%d verified, %v", r.Read, r.Findings)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		all[name[len(dir):]] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPython runs the verifier of docs/bucket-format.md, which shares no code with
// ours, on the vector and on copies that were attacked.
func TestPython(t *testing.T) {
	for _, tc := range []struct {
		name   string
		attack func(tr *tree)
		want   string // printed, a line of it
	}{
		{"none", func(*tree) {}, "verified: 5 objects"},
		{"delete one", func(tr *tree) { tr.remove(tr.objects(1)[0].Key) }, "missing: schema=audit_log/"},
		{"edit one byte", func(tr *tree) {
			tr.replace(tr.objects(1)[0].Key, "Zoë", "Zoe")
		}, "altered: schema=audit_log/"},
		{"add one", func(tr *tree) { tr.write("schema=audit_log/x.json", nil) }, "unexpected: schema=audit_log/x.json"},
		{"edit a manifest", func(tr *tree) {
			tr.replace(manifest.Key(drainID, 4), "team_acme", "team_acmf")
		}, "signature: manifest/drn_1/000000000004.json"},
		{"rewrite with the service's key", func(tr *tree) {
			tr.rewrite(4, &manifesttest.Drain{TB: tr.t, Key: manifesttest.Key(0)}, func(m *manifest.Manifest) { m.TeamID = "team_other" })
		}, "chain: manifest/drn_1/000000000005.json"},
		{"re-sign with another key", func(tr *tree) {
			tr.rewrite(4, &manifesttest.Drain{TB: tr.t, Key: manifesttest.Key(1)}, func(*manifest.Manifest) {})
		}, "signature: manifest/drn_1/000000000004.json"},
		{"drop a manifest", func(tr *tree) { tr.remove(manifest.Key(drainID, 3)) }, "missing: manifest/drn_1/000000000003.json"},
		{"edit a part", func(tr *tree) {
			key := manifest.PartKey(drainID, 1, 1)
			tr.write(key, slices.Concat(tr.read(key), []byte(" ")))
		}, "altered: manifest/drn_1/000000000001.part-000001.json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testPython(t, "bucket", tc.attack, tc.want, tc.name == "none")
		})
	}
	t.Run("moved", func(t *testing.T) {
		testPython(t, "moved", func(*tree) {}, "drn_1: manifests 1 to 7 are elsewhere, the last in s3://acme-audit-archive/audit-logs", true)
	})
	t.Run("moved, and the first dropped", func(t *testing.T) {
		testPython(t, "moved", func(tr *tree) { tr.remove(manifest.Key(drainID, 8)) }, "missing: manifest/drn_1/000000000001.json", false)
	})
}

// testPython runs it on a copy of a part of the vector.
func testPython(t *testing.T, part string, attack func(*tree), want string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	tr := open(t, filepath.Join(vector, part))
	attack(tr)
	for key, body := range tr.files {
		(&manifesttest.Drain{TB: t, Dir: dir}).Write(key, body)
	}
	out, err := exec.CommandContext(t.Context(), python(), "../../docs/verify_manifests.py", dir, filepath.Join(vector, "jwks.json")).CombinedOutput()
	if (err == nil) != ok {
		t.Errorf("%v", err)
	}
	if !strings.Contains("\n"+string(out), "\n"+want) {
		t.Errorf("want %q in\n%s", want, out)
	}
}

// python is the distribution's, which test/setup.sh gives what it needs, or whatever
// there is.
func python() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}
