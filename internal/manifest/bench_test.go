package manifest

import (
	"testing"
)

// BenchmarkAdd is what a manifest costs for each of its objects, the SHA-256 of the
// part included, that of the object not.
func BenchmarkAdd(b *testing.B) {
	builder := NewBuilder(Manifest{DrainID: "drn_1", Number: 1}, func(string, []byte) error { return nil })
	o := Object{
		Key:    "schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T100000.123Z_uev_O0Sn1S6VHTDuKJ6sNs3hLIEy.json",
		SHA256: Sum(nil), Size: 700,
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := builder.Add(o); err != nil {
			b.Fatal(err)
		}
	}
}
