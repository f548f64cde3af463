package main

import (
	"bytes"
	"errors"
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

// plus is what two processes have used.
func (u usage) plus(v usage) usage {
	return usage{cpu: u.cpu + v.cpu, written: u.written + v.written, rss: u.rss + v.rss, peakRSS: u.peakRSS + v.peakRSS}
}

// usageOf reads the usage of a process that runs, of this one or another. It
// needs Linux.
//
// CPU time is what getrusage tells a process about itself, read through the
// process's CPU clock, so that a service under test needs no hook for it. The
// peak is the kernel's VmHWM and not ru_maxrss: after fork and exec, the
// latter can be the parent's.
func usageOf(pid int) (usage, error) {
	var u usage
	var err error
	if u.cpu, err = cpuOf(pid); err != nil {
		return usage{}, err
	}
	if u.written, err = procField(pid, "io", "write_bytes"); err != nil {
		return usage{}, err
	}
	if u.rss, err = procField(pid, "status", "VmRSS"); err != nil {
		return usage{}, err
	}
	u.peakRSS, err = procField(pid, "status", "VmHWM")
	return u, err
}

func cpuOf(pid int) (time.Duration, error) {
	// The clock's id is the one of clock_getcpuclockid(3).
	const perProcessSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcessSched), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpuOfAll is the CPU time of a process and its children, those included that
// have ended: PostgreSQL serves each connection by a child.
func cpuOfAll(pid int) (time.Duration, error) {
	for {
		before, err := endedChildrenCPU(pid)
		if err != nil {
			return 0, err
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return 0, err
		}
		sum, err := cpuOf(pid)
		for _, child := range bytes.Fields(children) {
			n, _ := strconv.Atoi(string(child))
			cpu, childErr := cpuOf(n)
			sum, err = sum+cpu, errors.Join(err, childErr)
		}
		// A child that has ended meanwhile may be in the sum twice, or not at all.
		after, endErr := endedChildrenCPU(pid)
		if endErr != nil {
			return 0, endErr
		}
		if err == nil && before == after {
			return sum + after, nil
		}
	}
}

// endedChildrenCPU is the CPU time of the children that a process has waited for.
func endedChildrenCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// After the name, which is in brackets, come state and numbers.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var sum time.Duration
	for _, field := range fields[13:15] { // cutime and cstime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat of process %d: %w", pid, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
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
