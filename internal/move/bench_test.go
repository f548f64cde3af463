package move_test

import (
	"testing"
)

// BenchmarkRun moves 100,000 events of about 400 bytes, and reads them back.
func BenchmarkRun(b *testing.B) {
	const events = 100_000
	dir := source(b, events/2, events/2)
	for b.Loop() {
		if _, err := run(b.Context(), dir, newDatabase(b).url, silent); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
