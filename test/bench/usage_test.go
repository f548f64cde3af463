package main

import (
	"bufio"
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

// What children have used is counted while they run, and when they have ended.
func TestCPUOfAll(t *testing.T) {
	const busy = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done`
	for name, script := range map[string]string{
		"a child that runs":      `(` + busy + `; read line; true) <&3 & wait`,
		"a child that has ended": `(` + busy + `) & wait; read line <&3`,
	} {
		t.Run(name, func(t *testing.T) {
			end, hold, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			cmd := exec.Command("sh", "-c", script)
			cmd.ExtraFiles = []*os.File{end}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer hold.Close()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatalf("%q, %v", line, err)
			}
			own, err := cpuOf(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			// The shell may not have waited for its child yet: then that is still there.
			all, err := cpuOfAll(cmd.Process.Pid)
			if err != nil || all < own+2*tick {
				t.Errorf("%v, %v; the shell's own is %v", all, err, own)
			}
		})
	}
}
