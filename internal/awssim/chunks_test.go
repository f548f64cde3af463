package awssim

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// Whatever arrives in chunks is refused, or as long as it said, and made of
// the bytes that arrived.
func FuzzDecodeChunks(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "x-amz-checksum-crc32", "5")
	f.Add("5\r\nhello\r\n0\r\n\r\n", "", "5")
	f.Add(fmt.Sprintf("2000\r\n%08192d\r\n1\r\n.\r\n0\r\n\r\n", 0), "", "8193")
	f.Add("7fffffff\r\n\r\n", "x-amz-checksum-", "-1")
	f.Fuzz(func(t *testing.T, wire, trailer, length string) {
		h := http.Header{"X-Amz-Decoded-Content-Length": {length}}
		if trailer != "" {
			h.Set("X-Amz-Trailer", trailer)
		}
		body, sum, err := decodeChunks(h, []byte(wire))
		if err != nil {
			return
		}
		if n, _ := strconv.Atoi(length); len(body) != n || len(body) > len(wire) {
			t.Errorf("%d bytes of %d were to be %s", len(body), len(wire), length)
		}
		if len(body) <= minChunk && !bytes.Contains([]byte(wire), body) {
			t.Errorf("%q is not in %q", body, wire)
		}
		if (sum.name != "") != (trailer != "") {
			t.Errorf("checksum %+v, announced %q", sum, trailer)
		}
	})
}
