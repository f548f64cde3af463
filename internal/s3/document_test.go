package s3

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// A document is written below the prefix, also by a session that may write nowhere
// else, with its metadata, and never overwritten.
func TestPutDocument(t *testing.T) {
	for name, change := range map[string]func(*auditdrain.Delivery){
		"below a prefix": func(*auditdrain.Delivery) {},
		"ndjson":         func(d *auditdrain.Delivery) { d.Encoding = "ndjson" },
		"bucket root":    func(d *auditdrain.Delivery) { d.Endpoint = "s3://" + bucket },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.open(t, change)
			key := "manifest/" + drainID + "/000000000001.json"
			if _, prefix := drain(change).Delivery.SplitEndpoint(); prefix != "" {
				key = prefix + "/" + key
			}
			metadata := map[string]string{"manifest-signature": "a_b-c", "manifest-key-id": "d"}
			for i, want := range []auditdrain.PutResult{{Key: key}, {Key: key, Existed: true}} {
				body := []byte{'1' + byte(i)}
				if got, err := d.PutDocument(t.Context(), "manifest/"+drainID+"/000000000001.json", body, metadata); err != nil || got != want {
					t.Errorf("PutDocument = %+v, %v, want %+v", got, err, want)
				}
			}
			stored, body := w.object(t, bucket, key)
			if stored.ContentType != "application/json" || body != "1" {
				t.Errorf("%q is %s", body, stored.ContentType)
			}
			if diff := cmp.Diff(metadata, stored.Metadata); diff != "" {
				t.Errorf("metadata (-want +got)\n%s", diff)
			}
		})
	}
}
