package verify_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/manifesttest"
)

// BenchmarkMillion verifies 1,000,000 objects in a folder. It makes them first, which
// takes longer and 4 GB of disk, so run it by itself:
//
//	go test ./internal/verify -run ^$ -bench Million -benchtime 1x
func BenchmarkMillion(b *testing.B) {
	const hours, perHour = 50, 20_000
	dir := b.TempDir()
	d := manifesttest.New(b, dir, drainID)
	for range hours {
		d.Hour(perHour)
	}
	o := options(dir, manifesttest.Start.Add(hours*time.Hour))
	o.Concurrency = 2 * runtime.GOMAXPROCS(0)
	var peak uint64
	for b.Loop() {
		if r := run(b, o); !r.Verified || r.Read != hours*perHour {
			b.Fatalf("%d verified, %v", r.Read, r.Findings)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.Sys)
	}
	b.ReportMetric(float64(hours*perHour)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	b.ReportMetric(float64(peak)/1e6, "MB-memory")
	os.RemoveAll(dir)
}
