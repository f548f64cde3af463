package verify_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

func at(d time.Duration) time.Time { return manifesttest.Start.Add(d) }

// TestLifeOfADrain verifies what can become of a drain: empty hours, skips, replays,
// pauses, keys that are replaced, hours in which the service did not run, its end.
func TestLifeOfADrain(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	d.Hour(3)
	d.Hour(0)
	d.Deliver(2)
	d.Skip(4, "refused by the bucket")
	d.Deliver(1)
	d.Next.Changes = []manifest.Change{{Action: "drain-updated", By: "tok_1", Name: "Zoë <b>", At: 1, Activity: 3, Fields: []manifest.Field{{Field: "name", From: "a", To: "b"}}}}
	d.Hour(0)
	d.Deliver(5)
	d.Seal(auditdrain.SealPaused, at(3*time.Hour+20*time.Minute))
	d.Seal(auditdrain.SealResumed, at(7*time.Hour+40*time.Minute))
	d.Key = manifesttest.Key(1)
	d.Hour(1)
	// A replay of all in two manifests, the first together with an hour's end. What
	// was skipped is written now; the other objects are listed a second time.
	live := d.Next.Sequence
	replay := func(from, to uint64, objects ...manifest.Object) {
		t.Helper()
		d.Next.Sequence, d.Next.ReplayID = manifest.Range{From: from, To: to}, "rpl_1"
		d.List(objects...)
		d.Seal(auditdrain.SealReplay, time.UnixMilli(int64(d.Next.Delivered.From)))
		d.Next.Sequence = live
	}
	replay(1, 4, d.Put(1), d.Put(2), d.Put(3))
	d.Hour(2)
	live = d.Next.Sequence
	replay(4, 10, d.Put(4), d.Put(5), d.Put(6), d.Put(7), d.Put(8), d.Put(9))
	d.Seal(auditdrain.SealLate, at(20*time.Hour))
	d.Seal(auditdrain.SealDeleted, at(20*time.Hour+time.Minute))

	o := options(dir, at(1000*time.Hour))
	o.Keys = manifesttest.Keys(manifesttest.Key(0), manifesttest.Key(1))
	r := run(t, o)
	if !r.Verified || len(r.Chains) != 1 {
		t.Fatalf("%v", r.Findings)
	}
	c := r.Chains[0]
	if diff := cmp.Diff([]any{uint64(1), uint64(11), manifest.Range{From: 1, To: 19}, auditdrain.SealDeleted, 1, 2, 1, 2},
		[]any{c.First, c.Last, c.Sequence, c.Ended, len(c.Skips), len(c.Late), len(c.Changes), len(c.KeyIDs)}); diff != "" {
		t.Error(diff)
	}
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Verified: nothing is missing", "refused by the bucket", "Zoë &lt;b&gt;", c.Head.String()} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}

	o.Keys = manifesttest.Keys(manifesttest.Key(1))
	if r := run(t, o); r.Counts[verify.UnknownKey] != 5 || r.ExitCode() != 10 {
		t.Errorf("without the first key: %v", r.Counts)
	}
}

// TestTwoWithOneNumber finds a manifest that is another elsewhere.
func TestTwoWithOneNumber(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	manifesttest.New(t, one, drainID).Hour(3)
	manifesttest.New(t, two, drainID).Hour(4)
	o := options(one, at(time.Hour))
	o.Places = append(o.Places, verify.Dir{Path: two})
	r := run(t, o)
	if r.Counts[verify.BrokenChain] != 1 || !strings.Contains(r.Findings[0].Message, "another with this number") {
		t.Errorf("%v", r.Findings)
	}
}

// TestWhatIsNotCovered has objects that no manifest has to list, by the time at which
// they were written.
func TestWhatIsNotCovered(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	d.Next.Sequence = manifest.Range{From: 100, To: 100} // when integrity was switched on
	d.Hour(3)
	d.Next.Sequence.To += 5
	d.Next.Gaps = []manifest.Gap{{Reason: "integrity was off", Sequence: d.Next.Sequence,
		Delivered: manifest.Range{From: uint64(at(61 * time.Minute).UnixMilli()), To: uint64(at(70 * time.Minute).UnixMilli())}}}
	d.Hour(2)
	d.Next.OpenSince = uint64(at(140 * time.Minute).UnixMilli())
	d.Hour(1)
	for name, when := range map[string]time.Time{
		"before": at(-time.Minute), "gap": at(65 * time.Minute), "open": at(150 * time.Minute), "later": at(3 * time.Hour), "smuggled": at(100 * time.Minute),
	} {
		key := "schema=audit_log/" + name
		d.Write(key, []byte(name))
		if err := os.Chtimes(filepath.Join(dir, key), when, when); err != nil {
			t.Fatal(err)
		}
	}
	o := options(dir, at(3*time.Hour))
	o.Places[0] = verify.Dir{Path: dir, TrustTimes: true}
	r := run(t, o)
	if diff := cmp.Diff([]string{"unexpected 0 schema=audit_log/smuggled"}, found(r)); diff != "" || r.Before != 2 || r.Pending != 2 {
		t.Errorf("%s%d before, %d pending", diff, r.Before, r.Pending)
	}
	o.Places[0] = verify.Dir{Path: dir}
	if r := run(t, o); r.Counts[verify.Unexpected] != 5 {
		t.Errorf("times that are not trusted: %v", r.Findings)
	}
}

func TestRange(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	for range 5 {
		d.Hour(10)
	}
	broken := manifesttest.New(t, dir, drainID).Deliver(1)[0] // of the first hour
	d.Write(broken.Key, []byte("other"))
	o := options(dir, at(5*time.Hour))
	o.From, o.To = at(2*time.Hour), at(3*time.Hour)
	r := run(t, o)
	// The second hour's manifest may have been sealed when the range had begun.
	if !r.Verified || r.Read != 20 || r.OutOfRange != 30 {
		t.Errorf("%d, %d, %v", r.Read, r.OutOfRange, r.Findings)
	}
	o.From = time.Time{}
	if r := run(t, o); r.Counts[verify.Altered] != 1 {
		t.Errorf("%v", r.Findings)
	}
}

// TestWithoutLength has manifests that cover no time, as those have that are sealed
// right after the one of the hour.
func TestWithoutLength(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	d.Hour(4)
	live := d.Next.Sequence
	d.Next.Sequence, d.Next.ReplayID = manifest.Range{From: 1, To: 3}, "rpl_1"
	d.List(d.Put(1), d.Put(2))
	d.Seal(auditdrain.SealReplay, at(time.Hour))
	d.Next.Sequence = live
	d.Next.OpenSince = uint64(at(59 * time.Minute).UnixMilli())
	d.Deliver(8)
	d.Seal(auditdrain.SealPaused, at(time.Hour))
	d.Deliver(16) // had been written already
	d.Seal(auditdrain.SealResumed, at(time.Hour))
	d.Seal(auditdrain.SealDeleted, at(time.Hour))
	for _, tc := range []struct {
		from, to time.Time
		want     uint64
	}{
		{want: 30},
		{from: at(time.Hour), want: 30},
		{from: at(75 * time.Minute), want: 30},
		{from: at(76 * time.Minute), want: 0},
		{to: at(time.Hour), want: 20},
		{to: at(59 * time.Minute), want: 4},
		{from: at(time.Hour), to: at(time.Hour + time.Millisecond), want: 30},
	} {
		o := options(dir, at(1000*time.Hour))
		o.From, o.To = tc.from, tc.to
		if r := run(t, o); !r.Verified || r.Read != tc.want || r.Read+r.OutOfRange != 30 || len(r.Chains[0].Late) != 0 {
			t.Errorf("%v to %v: %d read, want %d, %v", tc.from, tc.to, r.Read, tc.want, r.Findings)
		}
	}
}

// TestSealedLate has manifests that list what was written some minutes after their
// end, and a last one that leaves open whether objects are there.
func TestSealedLate(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	touch := func(key string, written time.Time) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(dir, filepath.FromSlash(key)), written, written); err != nil {
			t.Fatal(err)
		}
	}
	for i, cause := range []auditdrain.SealCause{auditdrain.SealHour, auditdrain.SealLate} {
		end := at(time.Duration(i+1) * time.Hour)
		for _, o := range d.Deliver(2) {
			touch(o.Key, end.Add(5*time.Minute))
		}
		d.Next.OpenSince = uint64(end.Add(-time.Second).UnixMilli())
		d.Seal(cause, end)
	}
	o := options(dir, at(2*time.Hour+10*time.Minute))
	o.Places[0] = verify.Dir{Path: dir, TrustTimes: true}
	underway := manifesttest.New(t, dir, "drn_x")
	underway.Next.Sequence = manifest.Range{From: 9, To: 9}
	key := underway.Deliver(1)[0].Key
	touch(key, at(2*time.Hour+6*time.Minute))
	if r := run(t, o); !r.Verified || r.Read != 4 || r.Pending != 1 {
		t.Errorf("%d read, %d pending, %v", r.Read, r.Pending, r.Findings)
	}
	d.Next.Uncertain = []string{key, "schema=audit_log/never.json"}
	d.Seal(auditdrain.SealDeleted, at(2*time.Hour+7*time.Minute))
	if r := run(t, o); !r.Verified || r.Read != 4 || r.Pending != 0 || r.Chains[0].Uncertain != 2 {
		t.Errorf("deleted: %d read, %d pending, %v", r.Read, r.Pending, r.Findings)
	}
	added := underway.Deliver(1)[0].Key
	touch(added, at(2*time.Hour+8*time.Minute))
	if diff := cmp.Diff([]string{"unexpected 0 " + added}, found(run(t, o))); diff != "" {
		t.Errorf("added after the end: %s", diff)
	}
}

// TestDrainsInOnePlace has two drains of a team that write the same objects, one of
// which was deleted, and tells of each what is wrong with it.
func TestDrainsInOnePlace(t *testing.T) {
	dir := t.TempDir()
	one, two := manifesttest.New(t, dir, drainID), manifesttest.New(t, dir, "drn_2")
	one.Hour(3)
	two.Next.Sequence = manifest.Range{From: 2, To: 2} // when it was made
	two.Hour(0)
	two.Next.Sequence.To = 4
	two.List(one.Put(2), one.Put(3)) // were there already
	two.Seal(auditdrain.SealDeleted, at(100*time.Minute))
	one.Hour(1)
	o := options(dir, at(2*time.Hour))
	if r := run(t, o); !r.Verified || r.Read != 6 || len(r.Chains) != 2 {
		t.Errorf("%d read, %v", r.Read, r.Findings)
	}
	shared := one.Put(2).Key
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(shared))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"missing 1 " + shared, "missing 2 " + shared}, found(run(t, o))); diff != "" {
		t.Error(diff)
	}
	o.Drains = []string{"drn_2"}
	if diff := cmp.Diff([]string{"missing 2 " + shared}, found(run(t, o))); diff != "" {
		t.Error(diff)
	}
}

// counting counts what is read of objects, and fails after some.
type counting struct {
	verify.Place
	reads *atomic.Int64
	most  int64
}

func (c counting) Get(ctx context.Context, key string, most int, buf []byte) ([]byte, error) {
	if strings.HasPrefix(key, manifest.DataRoot) && c.reads.Add(1) > c.most {
		return nil, errors.New("connection lost")
	}
	return c.Place.Get(ctx, key, most, buf)
}

func TestGoOn(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	for range 50 {
		d.Hour(10)
	}
	lost := manifesttest.New(t, dir, drainID).Deliver(1)[0]
	if err := os.Remove(filepath.Join(dir, lost.Key)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "state")
	verifyWith := func(most int64) (*verify.Report, int64, error) {
		state, err := verify.OpenState(name)
		if err != nil {
			t.Fatal(err)
		}
		defer state.Close()
		reads := new(atomic.Int64)
		o := options(dir, at(50*time.Hour))
		o.Places[0] = counting{o.Places[0], reads, most}
		o.State = state
		r, err := verify.Run(t.Context(), o)
		return r, reads.Load(), err
	}
	if _, _, err := verifyWith(300); err == nil || !strings.Contains(err.Error(), "connection lost") {
		t.Fatalf("%v", err)
	}
	// A line that a crash has cut off.
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"place":"x","pa`)
	f.Close()
	r, reads, err := verifyWith(1000)
	if err != nil || r.Read != 499 || reads > 300 {
		t.Errorf("%d verified, %d read, %v", r.Read, reads, err)
	}
	if diff := cmp.Diff([]string{"missing 1 " + lost.Key}, found(r)); diff != "" {
		t.Error(diff)
	}
	if r, reads, err := verifyWith(0); err != nil || reads != 0 || r.Read != 499 || len(r.Findings) != 1 {
		t.Errorf("again: %d read, %v, %v", reads, err, r.Findings)
	}
	if err := os.WriteFile(name, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.OpenState(name); err == nil {
		t.Error("a file that is no state was taken for one")
	}
}

// TestOr has objects that may have either of two contents.
func TestOr(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	long, short := []byte(`{"ipAddress":"192.0.2.1"}`), []byte(`{}`)
	o := manifest.Object{
		Key: "schema=audit_log/x.json", SHA256: manifest.Sum(short), Size: uint64(len(short)),
		Or: &manifest.Bytes{SHA256: manifest.Sum(long), Size: uint64(len(long))},
	}
	d.List(o)
	d.Next.Sequence.To++
	d.Hour(0)
	for content, want := range map[string]verify.Kind{string(long): "", string(short): "", "{}\n": verify.Altered, string(long) + "\n": verify.Altered} {
		d.Write(o.Key, []byte(content))
		if r := run(t, options(dir, at(time.Hour))); r.Verified != (want == "") || want != "" && r.Counts[want] != 1 {
			t.Errorf("%q: %v", content, r.Findings)
		}
	}
}

// TestFolders has folders in objects' places, and objects in folders'.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	objects := d.Deliver(3)
	inFile, tooLong := "schema=audit_log/file/x.json", "schema=audit_log/"+strings.Repeat("x", 300)
	d.List(manifest.Object{Key: inFile}, manifest.Object{Key: tooLong})
	d.Next.Sequence.To += 2
	d.Write("schema=audit_log/file", nil)
	d.Hour(0)
	name := filepath.Join(dir, filepath.FromSlash(objects[0].Key))
	if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(objects[1].Key)), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"missing 1 " + inFile, "missing 1 " + objects[0].Key, "missing 1 " + tooLong,
		"altered 1 " + objects[1].Key, "unexpected 0 schema=audit_log/file",
	}
	if diff := cmp.Diff(want, found(run(t, options(dir, at(time.Hour))))); diff != "" {
		t.Error(diff)
	}
}

func TestNothingThere(t *testing.T) {
	r := run(t, options(t.TempDir(), at(0)))
	if diff := cmp.Diff([]string{"missing-manifest 0"}, found(r)); diff != "" {
		t.Error(diff)
	}
}

func TestSelectedDrain(t *testing.T) {
	dir := t.TempDir()
	manifesttest.New(t, dir, drainID).Hour(3)
	other := manifesttest.New(t, dir, "drn_2")
	other.Hour(3)
	other.Write(manifest.SignatureKey("drn_2", 1), []byte("{}"))
	o := options(dir, at(time.Hour))
	o.Drains = []string{drainID}
	if r := run(t, o); !r.Verified || r.Read != 3 || len(r.Chains) != 1 {
		t.Errorf("%d, %v", r.Read, r.Findings)
	}
}

func TestAnchors(t *testing.T) {
	dir := t.TempDir()
	d := manifesttest.New(t, dir, drainID)
	var heads []byte
	for range 3 {
		d.Hour(1)
		head, err := os.ReadFile(filepath.Join(dir, manifest.SignatureKey(drainID, d.Next.Number-1)))
		if err != nil {
			t.Fatal(err)
		}
		heads = append(append(heads, head...), '\n')
	}
	o := options(dir, at(3*time.Hour))
	read := func(content []byte) []manifest.SignedHead {
		t.Helper()
		anchors, err := verify.ReadAnchors(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return anchors
	}
	o.Anchors = append(read(heads), read([]byte("["+strings.ReplaceAll(strings.TrimSpace(string(heads)), "\n", ",")+"]"))...)
	if r := run(t, o); !r.Verified || r.Anchors != 6 {
		t.Errorf("%d, %v", r.Anchors, r.Findings)
	}

	// The operator makes another history, with the same key.
	again := t.TempDir()
	d = manifesttest.New(t, again, drainID)
	d.Hour(1)
	d.Hour(2)
	d.Hour(1)
	o.Places = []verify.Place{verify.Dir{Path: again}}
	o.Anchors = o.Anchors[:3]
	if diff := cmp.Diff([]string{"anchor 2", "anchor 3"}, found(run(t, o))); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "[]", "{}", "hello", string(heads) + "x"} {
		if _, err := verify.ReadAnchors(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	manifesttest.New(t, dir, drainID).Hour(100)
	ctx, cancel := context.WithCancel(t.Context())
	o := options(dir, at(time.Hour))
	o.Progress = func(done, all uint64) { cancel() }
	if _, err := verify.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestBrokenByTheOperator has chains that are well signed, and do not continue.
func TestBrokenByTheOperator(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after func(d *manifesttest.Drain) // two hours of three events
		want  string
	}{
		{"events left out", func(d *manifesttest.Drain) {
			d.Next.Sequence = manifest.Range{From: 8, To: 8}
			d.Hour(1)
		}, "begins with event 8, but manifest 2 ends before event 7"},
		{"time left out", func(d *manifesttest.Drain) {
			d.Next.Delivered.From += 1000
			d.Hour(1)
		}, "begins at 2026-05-22T10:00:01Z, but the one before ends at 2026-05-22T10:00:00Z"},
		{"replay left out", func(d *manifesttest.Drain) {
			live := d.Next.Sequence
			for _, seq := range []uint64{1, 3} {
				d.Next.ReplayID, d.Next.Sequence = "rpl_1", manifest.Range{From: seq, To: seq + 1}
				d.List(d.Put(seq))
				d.Seal(auditdrain.SealReplay, at(2*time.Hour))
			}
			d.Next.Sequence = live
			d.Hour(1)
		}, "begins with event 3, but manifest 3 ends before event 2"},
		{"after the end", func(d *manifesttest.Drain) {
			d.Seal(auditdrain.SealDeleted, at(2*time.Hour))
			d.Hour(1)
		}, "follows the last one, which was made when the drain was deleted"},
		{"moved elsewhere than it says", func(d *manifesttest.Drain) {
			d.Move(d.Dir, "s3://acme-audit-archive/b", at(2*time.Hour))
			d.Next.Endpoint = "s3://acme-audit-archive/c"
			d.Hour(1)
		}, "in s3://acme-audit-archive/c, but the one before says that the drain moved to s3://acme-audit-archive/b"},
		{"moved without saying so", func(d *manifesttest.Drain) {
			d.Next.Endpoint = "s3://acme-audit-archive/c"
			d.Hour(1)
		}, `but it says that the drain moved from ""`},
		{"moved from nowhere", func(d *manifesttest.Drain) {
			d.Next.MovedFrom = "s3://acme-audit-archive/c"
			d.Hour(1)
		}, `but it says that the drain moved from "s3://acme-audit-archive/c"`},
		{"another team", func(d *manifesttest.Drain) {
			d.Next.TeamID = "team_other"
			d.Hour(1)
		}, "its team is team_other, that of the one before team_acme"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			d := manifesttest.New(t, dir, drainID)
			d.Hour(3)
			d.Hour(3)
			tc.after(d)
			r := run(t, options(dir, at(3*time.Hour)))
			if len(r.Findings) != 1 || r.Findings[0].Kind != verify.BrokenChain || !strings.Contains(r.Findings[0].Message, tc.want) {
				t.Errorf("%v, want one with %q", r.Findings, tc.want)
			}
		})
	}
}
