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
	peakRSS int64         // bytes
}

// since is what has been used after start. The peak has no start.
func (u usage) since(start usage) usage {
	return usage{cpu: u.cpu - start.cpu, peakRSS: u.peakRSS}
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
			if err != nil {
				return usage{}, fmt.Errorf("peak RSS of process %d: %w", pid, err)
			}
			return usage{cpu: time.Duration(ts.Nano()), peakRSS: kb << 10}, nil
		}
	}
	return usage{}, fmt.Errorf("process %d has no VmHWM: it has ended", pid)
}
