package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const unit = "../../deploy/systemd/auditdrain.service"

// installed is the unit with the program where it is in this test.
func installed(t *testing.T) string {
	t.Helper()
	content := read(t, unit)
	const path = "/usr/local/bin/auditdrain"
	if strings.Count(content, path) != 1 {
		t.Fatalf("the unit does not name %s once", path)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(file, []byte(strings.Replace(content, path, program(t).path, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// systemd exits with 0 also if it has ignored what it does not know.
func TestUnitIsUnderstood(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", installed(t)).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The exposure that systemd computes is 1.2 of 10: what is left is the network.
func TestUnitIsHardened(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", installed(t)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUnitWaitsForTheShutdown(t *testing.T) {
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(.+)$`).FindStringSubmatch(read(t, unit))
	if m == nil {
		t.Fatal("there is no TimeoutStopSec")
	}
	got, err := time.ParseDuration(m[1])
	if shutdown := program(t).duration(t, "shutdown-timeout"); err != nil || got < shutdown+5*time.Second {
		t.Errorf("a shutdown may take %s, and is killed after %s (%v)", shutdown, got, err)
	}
}
