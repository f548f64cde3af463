package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// smallDisk is the disk of a service, with 64 MiB: less than a log of the store
// is given in advance, so that nothing can be written beyond what is free.
type smallDisk struct {
	t      *testing.T
	dir    string // as seen from here
	filler string
}

// serveOnSmallDisk starts the service with its data on a disk of its own, which
// only it has, in a mount namespace that ends with it. That takes root, or a
// kernel that lets everybody have a user namespace.
func serveOnSmallDisk(t *testing.T, aws *cloud, args ...string) (*service, *smallDisk) {
	t.Helper()
	data := t.TempDir()
	unshare := []string{"--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	unshare = append(unshare, "sh", "-c", `mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"`, data, binary(t))
	p := start(t, "unshare", environment(t, aws.url, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken),
		append(unshare, serveArgs(data, args...)...)...)
	url := p.url()
	hc := newHTTPClient(t)
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "root", data)
	if total, _ := (&smallDisk{t: t, dir: dir}).space(); total != 64<<20 {
		t.Fatalf("the disk of the service has %d bytes: it is not the one that was made for it", total)
	}
	return &service{process: p, url: url, http: hc, api: newClient(t, hc, url)},
		&smallDisk{t: t, dir: dir, filler: filepath.Join(dir, "filler")}
}

func (d *smallDisk) space() (total, free uint64) {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return s.Blocks * uint64(s.Bsize), s.Bavail * uint64(s.Bsize)
}

// fill leaves so many bytes free.
func (d *smallDisk) fill(leave uint64) {
	d.t.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for _, free := d.space(); free > leave && err == nil; _, free = d.space() {
		_, err = f.Write(page)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) free() {
	d.t.Helper()
	if err := os.Remove(d.filler); err != nil {
		d.t.Fatal(err)
	}
}

// heldCloud is an AWS at which writes wait for release.
func heldCloud(t *testing.T) (aws *cloud, release func()) {
	aws = newCloud(t)
	held := make(chan struct{})
	aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op == "PutObject" {
			<-held
		}
		return awssim.Fault{}
	})
	return aws, func() { close(held) }
}

// batches makes n requests with new events.
func (s *source) batches(n int) [][]event {
	batches := make([][]event, n)
	for i := range batches {
		for range 50 {
			batches[i] = append(batches[i], s.event())
		}
	}
	return batches
}

// refused checks that a request was turned away because of the disk.
func refused(t *testing.T, a answer, reason string) {
	t.Helper()
	if seconds, err := strconv.Atoi(a.retryAfter); a.status != 503 || err != nil || seconds < 5 || !strings.Contains(a.String(), reason) {
		t.Fatalf("answer %v with Retry-After %q, want 503 with %q and one in seconds", a, a.retryAfter, reason)
	}
}

func (s *service) wantNotReady(reason string) {
	s.t.Helper()
	if status, header, body := s.get("/readyz"); status != 503 || !strings.Contains(body, reason) || header.Get("Retry-After") == "" {
		s.t.Errorf("/readyz answers %d %s, want 503 with %q", status, body, reason)
	}
	if status, _, _ := s.get("/healthz"); status != 200 {
		s.t.Errorf("/healthz answers %d", status)
	}
}

func (s *service) awaitReady() {
	s.t.Helper()
	eventually(s.t, "it is ready", func() bool {
		status, _, _ := s.get("/readyz")
		return status == 200
	})
}

// TestFullDisk fills the disk up to its last byte: nothing is acknowledged any
// more, what was acknowledged is delivered, and once there is space again the
// same process goes on.
func TestFullDisk(t *testing.T) {
	aws, release := heldCloud(t)
	tm := oneTeam(t, aws)
	s, disk := serveOnSmallDisk(t, aws, "--min-free-disk", "0")
	tm.setUp(t, s.http, s.api)
	src := newSource(newRand(6, 1), tm.team)
	for _, b := range src.batches(5) {
		if a := tm.post(t, s.url, plainly(b...)); a.status != 200 {
			t.Fatal(a)
		}
		tm.events = append(tm.events, b...)
	}

	disk.fill(0)
	var unanswered [][]event // or refused
	for _, b := range src.batches(20) {
		a := tm.post(t, s.url, plainly(b...))
		if a.status == 200 && len(unanswered) == 0 { // there was a bit of space left
			tm.events = append(tm.events, b...)
			continue
		}
		refused(t, a, "is full")
		unanswered = append(unanswered, b)
	}
	if len(unanswered) == 0 {
		t.Fatal("the disk is full and all events were taken")
	}
	s.wantNotReady("is full")
	if got := s.metric("auditdrain_store_disk_full", "", ""); got != 1 {
		t.Errorf("auditdrain_store_disk_full is %v", got)
	}
	release()
	aws.awaitObjects(len(tm.events))
	s.wantNotReady("is full")

	disk.free()
	s.awaitReady()
	for i, b := range unanswered {
		a := tm.post(t, s.url, plainly(b...))
		if a.status != 200 || a.Accepted+a.Duplicates != len(b) || i > 0 && a.Duplicates > 0 {
			t.Fatalf("sent again, %d: %v", i, a)
		}
		tm.events = append(tm.events, b...)
	}
	awaitNoBacklog(t, s.api, []*team{tm})
	s.stop()
	checkObjects(t, aws, []*team{tm})
	checkOnce(t, aws)
}

// TestStopOnFullDisk: nobody has to make room for the process to end.
func TestStopOnFullDisk(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s, disk := serveOnSmallDisk(t, aws, "--min-free-disk", "0")
	tm.setUp(t, s.http, s.api)
	disk.fill(0)
	src := newSource(newRand(7, 1), tm.team)
	eventually(t, "the disk is full", func() bool { return tm.post(t, s.url, plainly(src.batches(1)[0]...)).status == 503 })
	s.signal(syscall.SIGTERM)
	if code := s.code(); code != 1 || !strings.HasSuffix(s.stderr.String(), "auditdrain: close store: the disk is full\n") {
		t.Errorf("exit code %d, want 1 and the reason", code)
	}
}

// TestMinFreeDisk leaves less of the disk free than the default of
// --min-free-disk: only events are refused.
func TestMinFreeDisk(t *testing.T) {
	aws, release := heldCloud(t)
	tm := oneTeam(t, aws)
	s, disk := serveOnSmallDisk(t, aws)
	tm.setUp(t, s.http, s.api)
	batches := newSource(newRand(8, 1), tm.team).batches(2)
	if a := tm.post(t, s.url, plainly(batches[0]...)); a.status != 200 {
		t.Fatal(a)
	}
	disk.fill(2 << 20) // 5 % are 3.2 MiB
	eventually(t, "it is not ready", func() bool {
		status, _, _ := s.get("/readyz")
		return status != 200
	})
	s.wantNotReady("--min-free-disk 5%")
	refused(t, tm.post(t, s.url, plainly(batches[1]...)), "--min-free-disk 5%")
	for name, want := range map[string]float64{"auditdrain_store_disk_low": 1, "auditdrain_store_disk_full": 0} {
		if got := s.metric(name, "", ""); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	name := "called something else"
	if _, err := s.api.UpdateDrain(t.Context(), tm.team, tm.drains[0].ID, auditdrain.DrainPatch{Name: &name}); err != nil {
		t.Errorf("a drain cannot be changed: %v", err)
	}
	release()
	awaitNoBacklog(t, s.api, []*team{tm})

	disk.free()
	s.awaitReady()
	if a := tm.post(t, s.url, plainly(batches[1]...)); a.status != 200 || a.Accepted != len(batches[1]) {
		t.Fatal(a)
	}
	awaitNoBacklog(t, s.api, []*team{tm})
	s.stop()
	tm.events = append(batches[0], batches[1]...)
	checkObjects(t, aws, []*team{tm})
	checkOnce(t, aws)
	for _, line := range []string{"too little free space", "enough free space"} {
		if n := strings.Count(s.stderr.String(), line); n != 1 {
			t.Errorf("%d lines of log say %q, want 1", n, line)
		}
	}
}
