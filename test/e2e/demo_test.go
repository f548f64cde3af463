package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func demoArgs(dir string, more ...string) []string {
	return append([]string{"demo", "--dir", dir, "--listen", "127.0.0.1:0", "--rate", "1000"}, more...)
}

// wantDemo runs the demo to its end and checks its verdict.
func wantDemo(t *testing.T, dir string, events int, verdict string, code int) {
	t.Helper()
	p := run(t, environment(t, ""), demoArgs(dir, "--events", fmt.Sprint(events))...)
	out := p.stdout.String() + p.stderr.String()
	if p.code() != code || !strings.Contains(out, verdict) {
		t.Errorf("code %d, want %d and %q:\n%s", p.code(), code, verdict, out)
	}
}

func equal(n int) string { return fmt.Sprintf("EQUAL: %d acknowledged events, %[1]d objects", n) }

// demoObjects are the files of the demo's bucket.
func demoObjects(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	bucket := filepath.Join(dir, "s3", "acme-audit-archive")
	err := filepath.WalkDir(bucket, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(path, "/manifest/") {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return files
}

var demoFileRE = regexp.MustCompile(`/s3/acme-audit-archive/audit-logs/schema=audit_log/version=v1/year=\d{4}/month=\d\d/day=\d\d/\d{8}T\d{6}\.\d{3}Z_uev_[A-Za-z0-9]{24}\.jsonl$`)

// TestDemo runs the demo as somebody does who has just found it, again in the
// same folder, and with objects that are not what they should be: it must
// not say EQUAL lightly.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wantDemo(t, dir, 200, equal(200), 0)
	files := demoObjects(t, dir)
	if len(files) != 200 {
		t.Fatalf("%d files, want 200", len(files))
	}
	for _, f := range files {
		if !demoFileRE.MatchString(f) {
			t.Errorf("file %s does not match %s", f, demoFileRE)
		}
	}
	wantDemo(t, dir, 50, equal(250), 0) // it goes on

	first := files[0]
	body, err := os.ReadFile(first)
	must(t, err, os.WriteFile(first, append(body, ' '), 0o644))
	wantDemo(t, dir, 10, "NOT EQUAL: of 260 acknowledged events, 0 objects are missing and 1 have other bytes; 0 objects belong", 1)
	must(t, os.Remove(first))
	wantDemo(t, dir, 10, "NOT EQUAL: of 270 acknowledged events, 1 objects are missing and 0 have other bytes; 0 objects belong", 1)
	must(t, os.WriteFile(first, body, 0o644))
	stranger := strings.Replace(first, "Z_uev_", "Z_other_", 1)
	must(t, os.WriteFile(stranger, body, 0o644))
	wantDemo(t, dir, 10, "NOT EQUAL: of 280 acknowledged events, 0 objects are missing and 0 have other bytes; 1 objects belong", 1)
	must(t, os.Remove(stranger))
	wantDemo(t, dir, 10, equal(290), 0)
	wantDemo(t, dir, 10, "\nPROVED: 300 objects, by ", 0) // its manifests say the same
	must(t, os.Remove(first))
	wantDemo(t, dir, 10, "NOT PROVED: 1 missing", 1)
}

// startDemo starts a demo without an end, and waits until it delivers.
func startDemo(t *testing.T, dir string) *process {
	t.Helper()
	before := len(demoObjects(t, dir))
	p := start(t, binary(t), environment(t, ""), demoArgs(dir)...)
	eventually(t, "100 objects of the demo", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the demo has ended with code %d", p.code())
		default:
		}
		return len(demoObjects(t, dir)) >= before+100
	})
	return p
}

var demoURLRE = regexp.MustCompile(`service +(http://[0-9.:]+) `)

// TestDemoInterrupted ends the demo with Ctrl-C, after somebody has tried the
// API with an event of their own.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startDemo(t, dir)
	url, ok := p.await(p.stdout, demoURLRE)
	if !ok {
		t.Fatalf("stdout does not tell where the service is:\n%s", p.stdout)
	}
	somebody := producer{http: newHTTPClient(t), team: "team_demo", token: readOperatorToken(t, filepath.Join(dir, "data"))}
	own := newSource(newRand(6, 1), "team_demo").event()
	if a := somebody.post(t, url, plainly(own)); a.status != 200 || a.Accepted != 1 {
		t.Fatal(a)
	}
	p.signal(syscall.SIGINT)
	if code := p.code(); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	files := demoObjects(t, dir)
	if want := equal(len(files)); !strings.Contains(p.stdout.String(), "\n"+want) {
		t.Errorf("stdout does not say %q:\n%s", want, p.stdout)
	}
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "_"+own.id+".jsonl") }) {
		t.Errorf("event %s has no object", own.id)
	}
}

// TestDemoKilled kills the demo, AWS included, and runs it again in the same
// folder.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rng := newRand(newSeed(t), 1)
	for range 3 {
		p := startDemo(t, dir)
		<-time.After(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
		p.kill()
	}
	p := run(t, environment(t, ""), demoArgs(dir, "--events", "100")...)
	if code := p.code(); code != 0 {
		t.Fatalf("exit code %d, want 0:\n%s%s", code, p.stdout, p.stderr)
	}
	if want := equal(len(demoObjects(t, dir))); !strings.Contains(p.stdout.String(), "\n"+want) {
		t.Errorf("stdout does not say %q:\n%s", want, p.stdout)
	}
}
