package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestUsageIsWhatGetrusageTells(t *testing.T) {
	rusage := func() time.Duration {
		var ru syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	for end := rusage() + 50*time.Millisecond; rusage() < end; {
		// Use some CPU.
	}
	before := rusage()
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// getrusage cuts to whole microseconds, user and system each.
	if after := rusage(); u.cpu < before || u.cpu > after+2*time.Microsecond {
		t.Errorf("CPU %v, getrusage says %v before and %v after", u.cpu, before, after)
	}
	if u.peakRSS < 1<<20 {
		t.Errorf("peak RSS %d", u.peakRSS)
	}
}

func TestUsageOfAnEndedProcess(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if u, err := usageOf(cmd.Process.Pid); err == nil {
		t.Errorf("no error, but %+v", u)
	}
}
