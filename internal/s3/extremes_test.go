package s3

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// The longest key and the largest body that there can be are written as any
// other, and no header is made of the event, but for digests.
func TestPutExtremes(t *testing.T) {
	w := newWorld(t)
	// A folder's name has at most 255 bytes in awssim.
	prefix := strings.Repeat("é", 85) + "/" + strings.Repeat("é", 85) + "/" + strings.Repeat("é", 85)
	drain := drain(func(d *auditdrain.Delivery) { d.Endpoint, d.Encoding = "s3://"+bucket+"/"+prefix, "ndjson" })
	if n := len(prefix); n != auditdrain.MaxPrefixLen || drain.Delivery.Validate(PartitionOf) != nil {
		t.Fatalf("a prefix of %d bytes: %+v", n, drain.Delivery.Validate(PartitionOf))
	}
	small := auditdrain.Event{ID: "0", Timestamp: auditdrain.MinTimestamp.UnixMilli(), Body: []byte("{}")}
	large := auditdrain.Event{
		ID: strings.Repeat(".", auditdrain.MaxEventIDLen), Timestamp: 253402300799999, // the end of year 9999
		Body: []byte(`{"x":"` + strings.Repeat("\u2028", (auditdrain.MaxEventBytes-8)/3) + `"}`),
	}
	dest, err := w.client(t).Open(drain, Options{Test: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	for _, e := range []auditdrain.Event{small, large} {
		put := mustPut(t, dest, e)
		if _, body := w.object(t, bucket, put.Key); body != string(e.Body)+"\n" {
			t.Errorf("%d bytes became %d", len(e.Body), len(body))
		}
		if !strings.HasPrefix(put.Key, prefix+"/test/") || !strings.HasSuffix(put.Key, "_"+e.ID+".jsonl") || len(put.Key) > 1024 {
			t.Errorf("key of %d bytes: %s", len(put.Key), put.Key)
		}
	}
	var headers []http.Header
	for _, c := range w.calls.All("PutObject") {
		h := maps.Clone(c.Header)
		for _, name := range []string{"Content-Length", "X-Amz-Content-Sha256", "X-Amz-Checksum-Sha256", "Authorization", "X-Amz-Date"} {
			delete(h, name)
		}
		headers = append(headers, h)
	}
	if len(headers) != 2 {
		t.Fatalf("%d calls", len(headers))
	}
	if diff := cmp.Diff(headers[0], headers[1]); diff != "" {
		t.Errorf("headers of one event and another (-one +other):\n%s", diff)
	}
}
