package ingest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// typicalEvent is of the size and shape of what producers send, about 700
// bytes, and differs with i.
func typicalEvent(i int) string {
	r := rand.New(rand.NewPCG(1, uint64(i)))
	return fmt.Sprintf(`{"schema":"vercel.audit_log.v1","id":"uev_%024d","teamId":"team_a","projectId":"prj_%016x","action":"env-variable-updated","timestamp":%d,`+
		`"actor":{"type":"user","id":"usr_%016x","name":"Zoë Müller","email":"zoe.mueller@example.com"},`+
		`"via":[{"type":"app","id":"app_%016x","name":"deploy-bot"}],"requestId":"iad1::%016x-%016x",`+
		`"userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","ipAddress":"2001:db8::%x","tokenId":"tok_%016x",`+
		`"payload":{"key":"DATABASE_URL","target":["production","preview"],"previous":{"version":%d,"size":9007199254740993},"note":"rotated \"by hand\"","ratio":0.10}}`,
		i, r.Uint64(), testNow.UnixMilli()-int64(i), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint32N(1<<16), r.Uint64(), i)
}

func typicalBatch(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(typicalEvent(i))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func BenchmarkDecode(b *testing.B) {
	array := func(lines []byte) []byte {
		return append(append([]byte{'['}, bytes.ReplaceAll(bytes.TrimSpace(lines), []byte("\n"), []byte(","))...), ']')
	}
	// Without what the server fills in.
	bare := func(n int) []byte {
		var out bytes.Buffer
		for i := range n {
			fmt.Fprintf(&out, `{"action":"user-signed-in","actor":{"type":"user","id":"usr_%d","name":"Zoë"},"ipAddress":"192.0.2.1"}`+"\n", i)
		}
		return out.Bytes()
	}
	for _, bm := range []struct {
		name, mediaType string
		body            []byte
		events          int
	}{
		{"ndjson/100", TypeNDJSON, typicalBatch(100), 100},
		{"ndjson/1000", TypeNDJSON, typicalBatch(1000), 1000},
		{"json/100", TypeJSON, array(typicalBatch(100)), 100},
		{"json/1", TypeJSON, typicalBatch(1), 1},
		{"filled/100", TypeNDJSON, bare(100), 100},
	} {
		b.Run(bm.name, func(b *testing.B) {
			d := testDecoder()
			b.SetBytes(int64(len(bm.body)))
			b.ReportAllocs()
			for b.Loop() {
				events, err := d.Decode("team_a", bm.mediaType, bm.body)
				if err != nil || len(events) != bm.events {
					b.Fatalf("%d events, error %v", len(events), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bm.events), "ns/event")
		})
	}
}

func BenchmarkReadBody(b *testing.B) {
	plain := typicalBatch(100)
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write(plain)
	zw.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		encoding string
		body     []byte
	}{{"identity", plain}, {"gzip", gz.Bytes()}, {"zstd", enc.EncodeAll(plain, nil)}} {
		b.Run(bm.encoding, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				got, err := readWhole(bytes.NewReader(bm.body), bm.encoding, int64(len(bm.body)))
				if err != nil || len(got) != len(plain) {
					b.Fatalf("%d bytes, error %v", len(got), err)
				}
			}
		})
	}
}
