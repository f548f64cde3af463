package awssim_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// Signed PUTs of 700 bytes over loopback, each a new key. Clients and server
// share the processors.
func BenchmarkPutObject(b *testing.B) {
	w := newWorldAt(b, b.TempDir(), nil)
	proto := w.newPut()
	proto.body = strings.Repeat("x", 700)
	proto.header.Del("X-Amz-Checksum-Crc32")
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a := *proto
			a.path = fmt.Sprintf("/%s/audit-logs/day%%3D01/%d", bucketName, n.Add(1))
			res := a.send()
			if res.StatusCode != 200 {
				b.Error(res.Status)
				return
			}
			res.Body.Close()
		}
	})
}
