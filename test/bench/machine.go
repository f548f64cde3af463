package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what the figures depend on besides the code.
type machine struct {
	date     time.Time
	commit   string // of what is measured
	cpu      string
	cores    int
	goVer    string
	kernel   string
	fs       string // of the service's data
	warnings []string
}

func (m machine) String() string {
	return fmt.Sprintf("commit %s, %s, %d cores, %s, %s, data on %s", m.commit, m.cpu, m.cores, m.goVer, m.kernel, m.fs)
}

// describeMachine asks Linux. What it cannot find out is "unknown": that must
// not fail a bench.
func describeMachine(ctx context.Context, dataDir string) machine {
	m := machine{
		date:   time.Now().UTC(),
		commit: cmp.Or(command(ctx, "git", "describe", "--always", "--dirty"), "unknown"),
		cpu:    cmp.Or(cpuModel(), "unknown CPU"),
		cores:  runtime.NumCPU(),
		goVer:  runtime.Version(),
		kernel: cmp.Or(command(ctx, "uname", "-sr"), "unknown kernel"),
		fs:     cmp.Or(fileSystem(ctx, dataDir), "an unknown file system"),
	}
	if m.fs == "tmpfs" || m.fs == "ramfs" {
		m.warnings = append(m.warnings, "The service's data are in memory: fsync cost nothing. Use -dir for a directory on a disk.")
	}
	return m
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(info) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// tick is what the kernel counts CPU time in, where it does not count in ns:
// USER_HZ, the same everywhere.
const tick = time.Second / 100

// busyTime is the CPU time that all processes of the machine have taken since
// it started, with what a hypervisor has kept from it. Interrupts are left
// out: the kernel does not charge them to a process.
func busyTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return time.Duration(user+nice+system+steal) * tick, nil
}

// needSpace fails if a directory's disk has less free space than bytes.
func needSpace(dir string, bytes int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < bytes {
		return fmt.Errorf("%s has %.1f GiB free, and %.1f are needed: use -dir for another directory", dir, float64(free)/(1<<30), float64(bytes)/(1<<30))
	}
	return nil
}

func fileSystem(ctx context.Context, dir string) string {
	out := command(ctx, "df", "--output=fstype", dir)
	_, fs, _ := strings.Cut(out, "\n") // below the column's title
	return fs
}

func command(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
