package deliver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// BenchmarkRender is what a manifest costs for each event that it lists: to read it,
// its object's key, bytes and SHA-256, and its line. On disk are more events than any
// cache keeps. One op is one event.
func BenchmarkRender(b *testing.B) {
	for _, from := range []struct {
		name   string
		stored int
		opts   pebblestore.Options
	}{
		{"disk", 200_000, pebblestore.Options{TailBytes: -1, MemTableBytes: 4 << 20}},
		{"memory", 30_000, pebblestore.Options{}},
	} {
		store := renderedStore(b, from.stored, from.opts)
		s := newSealer(New(store, nil, nil, Options{}), Integrity{})
		for _, encoding := range []string{"json", "ndjson"} {
			b.Run(from.name+"/"+encoding, func(b *testing.B) {
				seal := auditdrain.Seal{
					DrainID: "drn_1", TeamID: "team_1", Number: 1, Cause: auditdrain.SealHour,
					As: auditdrain.Rendering{Delivery: auditdrain.Delivery{Endpoint: "s3://bucket/audit", Encoding: encoding}},
				}
				b.ReportAllocs()
				for n, listed := 0, 0; n < b.N; n += listed {
					at := n % from.stored
					listed = min(3000, b.N-n, from.stored-at)
					seal.Sequence = auditdrain.SeqRange{From: uint64(at + 1), To: uint64(at + 1 + listed)}
					if _, _, err := s.render(b.Context(), auditdrain.Chain{}, seal, func(string, []byte) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// renderedStore holds so many events of about 700 bytes.
func renderedStore(b *testing.B, n int, opts pebblestore.Options) *pebblestore.Store {
	store, err := pebblestore.Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	const batch = 1000
	for done := 0; done < n; done += batch {
		events := make([]auditdrain.Event, batch)
		for i := range events {
			id := fmt.Sprintf("uev_%016x%08x", rand.Uint64(), rand.Uint32())
			body := fmt.Appendf(nil, `{"id":%q,"payload":{"x":"`, id)
			for len(body) < 700 {
				body = fmt.Appendf(body, "%x", rand.Uint64())
			}
			events[i] = auditdrain.Event{ID: id, Timestamp: 1_779_440_400_123 + int64(i), Body: append(body, `"}}`...)}
		}
		if _, err := store.Append(context.Background(), []auditdrain.Batch{{TeamID: "team_1", Events: events}}); err != nil {
			b.Fatal(err)
		}
	}
	return store
}
