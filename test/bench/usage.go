package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used since it started.
type usage struct {
	cpu     time.Duration // user and system, all threads, also ended ones
	written int64         // bytes, to disks
	rss     int64         // bytes, now
	peakRSS int64         // bytes
}

// since is what has been used after start. Memory has no start.
func (u usage) since(start usage) usage {
	u.cpu -= start.cpu
	u.written -= start.written
	return u
}

// usageOf reads the usage of a process that runs, of this one or another. It
// needs Linux.
//
// CPU time is what getrusage tells a process about itself, read through the
// process's CPU clock, so that a service under test needs no hook for it. The
// peak is the kernel's VmHWM and not ru_maxrss: after fork and exec, the
// latter can be the parent's.
func usageOf(pid int) (usage, error) {
	// The clock's id is the one of clock_getcpuclockid(3).
	const perProcessSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcessSched), &ts); err != nil {
		return usage{}, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	u := usage{cpu: time.Duration(ts.Nano())}
	var err error
	if u.written, err = procField(pid, "io", "write_bytes"); err != nil {
		return usage{}, err
	}
	if u.rss, err = procField(pid, "status", "VmRSS"); err != nil {
		return usage{}, err
	}
	u.peakRSS, err = procField(pid, "status", "VmHWM")
	return u, err
}

// procField reads a number of a process from one of its files in /proc, kB as
// bytes.
func procField(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		number, kB := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(number)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s of process %d: %w", name, pid, err)
		}
		if kB {
			n <<= 10
		}
		return n, nil
	}
	return 0, fmt.Errorf("process %d has no %s: it has ended", pid, name)
}
