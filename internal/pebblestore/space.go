package pebblestore

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/auditdrain/auditdrain"
)

// MinFree is how much of a disk must be free: a share of it, or a number of
// bytes. The zero value demands nothing.
type MinFree struct {
	Percent float64
	Bytes   uint64
}

// UnmarshalText reads a share of the disk as 5%, a size as 10GiB, 500MB or
// 1048576, and 0.
func (m *MinFree) UnmarshalText(text []byte) error {
	s := string(text)
	bad := fmt.Errorf("%q is not allowed: use a share of the disk such as 5%%, a size such as 10GiB, or 0", s)
	if share, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(share, 64)
		if err != nil || !(p >= 0 && p < 100) {
			return bad
		}
		*m = MinFree{Percent: p}
		return nil
	}
	digits := strings.TrimRight(s, "kKMGTiB")
	n, err := strconv.ParseUint(digits, 10, 64)
	unit := unitBytes(s[len(digits):])
	if err != nil || unit == 0 || n > math.MaxInt64/unit {
		return bad
	}
	*m = MinFree{Bytes: n * unit}
	return nil
}

// unitBytes returns how many bytes a unit has, or 0 for one that there is not.
func unitBytes(name string) uint64 {
	switch name {
	case "", "B":
		return 1
	case "kB", "KB":
		return 1e3
	case "MB":
		return 1e6
	case "GB":
		return 1e9
	case "TB":
		return 1e12
	case "KiB":
		return 1 << 10
	case "MiB":
		return 1 << 20
	case "GiB":
		return 1 << 30
	case "TiB":
		return 1 << 40
	}
	return 0
}

// MarshalText writes what UnmarshalText reads.
func (m MinFree) MarshalText() ([]byte, error) {
	if m.Percent > 0 {
		return append(strconv.AppendFloat(nil, m.Percent, 'f', -1, 64), '%'), nil
	}
	return strconv.AppendUint(nil, m.Bytes, 10), nil
}

// String is for people.
func (m MinFree) String() string {
	if m.Percent > 0 {
		return strconv.FormatFloat(m.Percent, 'f', -1, 64) + "%"
	}
	return size(m.Bytes)
}

// of returns how much that is of a disk of this size.
func (m MinFree) of(total uint64) uint64 {
	return max(m.Bytes, uint64(m.Percent/100*float64(total)))
}

const (
	// spaceEvery is how often we look how much is free.
	spaceEvery = time.Second
	// spaceRetry is when producers should come back that were turned away.
	spaceRetry = 10 * time.Second
)

// space watches how much of the disk is free.
type space struct {
	fs  vfs.FS
	dir string
	min MinFree
	log *slog.Logger
	// last is what was found the last time.
	last atomic.Pointer[reading]
}

type reading struct {
	known bool // or else the file system cannot tell
	free  uint64
	low   *auditdrain.Error // why events are refused, or nil
}

func newSpace(dir string, opts Options) *space {
	s := &space{fs: opts.FS, dir: dir, min: opts.MinFree, log: opts.Logger}
	s.last.Store(&reading{known: true}) // or so we think
	s.look()
	return s
}

// watch looks until ctx ends.
func (s *space) watch(ctx context.Context) {
	ticker := time.NewTicker(spaceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look()
		}
	}
}

// look finds out how much is free. Once it has been too little, there must be
// a twentieth more than enough, so that it does not change all the time.
func (s *space) look() {
	before := s.last.Load()
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		if before.known {
			s.log.Warn("how much of the disk is free cannot be found out", "err", err)
		}
		s.last.Store(&reading{})
		return
	}
	r := &reading{known: true, free: usage.AvailBytes}
	need := s.min.of(usage.TotalBytes)
	if before.low != nil {
		need += need / 20
	}
	switch {
	case r.free >= need && before.low != nil:
		s.log.Info("there is enough free space on the disk again; events are taken", "free", size(r.free), "min_free", s.min)
	case r.free < need && before.low == nil:
		s.log.Error("there is too little free space on the disk; events are refused, all else goes on", "free", size(r.free), "min_free", s.min)
	}
	if r.free < need {
		r.low = &auditdrain.Error{
			Code:       auditdrain.CodeUnavailable,
			Message:    fmt.Sprintf("the disk of the event store is nearly full (%s free, --min-free-disk %s): events are refused, deliveries go on; try again later", size(r.free), s.min),
			RetryAfter: spaceRetry,
		}
	}
	s.last.Store(r)
}

// admit returns why events are refused, or nil.
func (s *space) admit() error {
	if low := s.last.Load().low; low != nil {
		return low
	}
	return nil
}

// size is a number of bytes for people.
func size(n uint64) string {
	const names = "KMGT"
	v, unit := float64(n), -1
	for v >= 1024 && unit < len(names)-1 {
		v /= 1024
		unit++
	}
	if unit < 0 {
		return fmt.Sprint(n, " B")
	}
	return fmt.Sprintf("%.1f %ciB", v, names[unit])
}
