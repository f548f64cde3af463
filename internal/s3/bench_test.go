package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
)

// BenchmarkPut writes events of 700 bytes to a server that reads them and
// says yes. Its CPU is in the figures.
func BenchmarkPut(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(srv.Close)
	w := &world{url: srv.URL}
	for _, drains := range []int{1, 100} {
		b.Run(fmt.Sprint("drains=", drains), func(b *testing.B) {
			c := w.client(b)
			dests := make([]*Destination, drains)
			for i := range dests {
				dests[i] = mustOpen(b, c)
				dests[i].session = newSession(time.Now, func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{
						AccessKeyID: fmt.Sprint("ASIA", i), SecretAccessKey: "secret", SessionToken: strings.Repeat("t", 700),
						CanExpire: true, Expires: time.Now().Add(time.Hour),
					}, nil
				})
			}
			e := auditdrain.Event{ID: "uev_1", Timestamp: 1779444000123, Body: make([]byte, 700)}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := dests[i%drains].Put(b.Context(), e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkRequest is our part of it: key, body, headers and signature.
func BenchmarkRequest(b *testing.B) {
	d := mustOpen(b, (&world{url: "http://127.0.0.1"}).client(b))
	creds := aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: strings.Repeat("t", 700)}
	e := auditdrain.Event{ID: "uev_1", Timestamp: 1779444000123, Body: make([]byte, 700)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.request(b.Context(), creds, d.delivery.ObjectKey(e, false), d.delivery.ObjectBody(e), false); err != nil {
			b.Fatal(err)
		}
	}
}
