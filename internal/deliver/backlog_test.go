package deliver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// gathered returns the collector's metrics, but for how long that took, as
// "name label=value …" without the prefix.
func gathered(t testing.TB, b *Backlog) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		name, _ := strings.CutPrefix(f.GetName(), "auditdrain_")
		if name == "collect_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			got[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got
}

func TestBacklogIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("well", "t")
		w.addDrain("sick", "t")
		w.addDrain("off", "t")
		off := w.drains["off"]
		off.Status = auditdrain.StatusDisabled
		w.drains["off"] = off
		w.states["off"] = auditdrain.DeliveryState{DrainID: "off", Skipped: 3}
		w.addEvents("t", 7)
		w.setAnswer(func(_ context.Context, d auditdrain.Drain, _ auditdrain.Event) (auditdrain.PutResult, error) {
			if d.ID == "sick" {
				return auditdrain.PutResult{}, denied
			}
			return auditdrain.PutResult{}, nil
		})
		startDeliverer(t, w, Options{})
		time.Sleep(time.Hour)
		want := map[string]float64{
			"collect_failed":                             0,
			"drains status=disabled":                     1,
			"drains status=enabled":                      1,
			"drains status=errored":                      1,
			"backlog_events status=disabled":             7,
			"backlog_events status=enabled":              0,
			"backlog_events status=errored":              7,
			"backlog_bytes status=disabled":              70,
			"backlog_bytes status=enabled":               0,
			"backlog_bytes status=errored":               70,
			"oldest_undelivered_seconds status=disabled": 3600,
			"oldest_undelivered_seconds status=enabled":  0,
			"oldest_undelivered_seconds status=errored":  3600,
			"skipped_events status=disabled":             3,
			"skipped_events status=enabled":              0,
			"skipped_events status=errored":              0,
			"longest_errored_seconds":                    3600,
		}
		if diff := cmp.Diff(want, gathered(t, NewBacklog(w, false))); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

func TestSeriesOfEachDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("new", "t")
		w.addDrain("old", "t")
		w.addEvents("t", 7)
		now := time.Now()
		w.states["old"] = auditdrain.DeliveryState{
			DrainID: "old", Cursor: 5, Delivered: 4, Failed: 9, Skipped: 1, Window: 12, FirstErrorAt: now.UnixMilli(),
			LastDeliveryAt: now.UnixMilli(), SessionExpiresAt: now.Add(time.Hour).UnixMilli(),
		}
		time.Sleep(time.Minute)
		got := map[string]float64{}
		for key, v := range gathered(t, NewBacklog(w, true)) {
			if rest, ok := strings.CutPrefix(key, "drain_"); ok {
				got[rest] = v
			}
		}
		at := float64(now.Unix())
		want := map[string]float64{
			"status drain=new status=enabled team=t":            1,
			"backlog_events drain=new team=t":                   7,
			"backlog_bytes drain=new team=t":                    70,
			"oldest_undelivered_seconds drain=new team=t":       60,
			"delivered_total drain=new team=t":                  0,
			"failures_total drain=new team=t":                   0,
			"skipped_total drain=new team=t":                    0,
			"window drain=new team=t":                           0,
			"status drain=old status=errored team=t":            1,
			"backlog_events drain=old team=t":                   2,
			"backlog_bytes drain=old team=t":                    20,
			"oldest_undelivered_seconds drain=old team=t":       60,
			"delivered_total drain=old team=t":                  4,
			"failures_total drain=old team=t":                   9,
			"skipped_total drain=old team=t":                    1,
			"window drain=old team=t":                           12,
			"session_expiry_timestamp_seconds drain=old team=t": at + 3600,
			"last_delivery_timestamp_seconds drain=old team=t":  at,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

// A store that has failed must not take the metric with it that says so.
func TestScrapeOfStoreThatFails(t *testing.T) {
	w := newWorld(t)
	w.addDrain("d", "t")
	w.addEvents("t", 1)
	w.readErr = errors.New("the disk is gone")
	if diff := cmp.Diff(map[string]float64{"collect_failed": 1}, gathered(t, NewBacklog(w, true))); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// BenchmarkScrape is what a scrape costs with 10,000 drains, each of which has
// something to deliver.
func BenchmarkScrape(b *testing.B) {
	store, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	const drains = 10_000
	var batches []auditdrain.Batch
	for i := range drains / auditdrain.MaxDrainsPerTeam {
		team := auditdrain.Team{ID: fmt.Sprint("team_", i), Slug: fmt.Sprint("t", i), Name: "Acme"}
		if err := store.CreateTeam(b.Context(), team, nil); err != nil {
			b.Fatal(err)
		}
		for range auditdrain.MaxDrainsPerTeam {
			delivery := auditdrain.Delivery{Type: "s3", Endpoint: "s3://acme-audit/logs", Region: "us-east-1", RoleARN: "arn:aws:iam::123456789012:role/auditdrain"}
			if err := store.CreateDrain(b.Context(), auditdrain.NewDrain(team.ID, "archive", delivery, time.Now()), 0, nil); err != nil {
				b.Fatal(err)
			}
		}
		batches = append(batches, auditdrain.Batch{TeamID: team.ID, Events: []auditdrain.Event{{ID: "evt_1", Body: make([]byte, 700)}}})
	}
	if _, err := store.Append(b.Context(), batches); err != nil {
		b.Fatal(err)
	}
	for name, perDrain := range map[string]bool{"per-status": false, "per-drain": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			registry := prometheus.NewRegistry()
			registry.MustRegister(NewBacklog(store, perDrain))
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
