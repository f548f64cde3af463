package promtool

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

// examples are, for each alert, series with which it fires and such as are
// nearly those, with which it does not.
var examples = map[string]struct {
	fires   []string
	summary string   // as it is sent for fires
	nodes   []string // of nodes that share a database: it fires for all of them, once
	quiet   map[string][]string
}{
	"AuditdrainDown": {
		fires:   []string{`up{job="auditdrain", instance="a"} 1x5 0x3`},
		summary: "auditdrain on a does not answer",
		quiet: map[string][]string{
			"a restart":       {`up{job="auditdrain", instance="a"} 1x5 0x1 1x5`},
			"somebody else's": {`up{job="node", instance="a"} 0x9`},
		},
	},
	"AuditdrainEventsRefused": {
		fires: []string{
			`auditdrain_http_requests_total{job="auditdrain", instance="a", route="POST /v1/events", code="ok"} 0+60x20`,
			`auditdrain_http_requests_total{job="auditdrain", instance="a", route="POST /v1/events", code="unavailable"} 0x10 6+6x10`,
		},
		summary: "auditdrain on a refuses events (unavailable)",
		quiet: map[string][]string{
			"refused long ago": {`auditdrain_http_requests_total{route="POST /v1/events", code="unavailable"} 500x20`},
			"producers' fault": {`auditdrain_http_requests_total{route="POST /v1/events", code="invalid_event"} 0+60x20`},
			"other routes":     {`auditdrain_http_requests_total{route="GET /v1/drains", code="unavailable"} 0+60x20`},
		},
	},
	"AuditdrainStoreFailed": {
		fires:   []string{`auditdrain_store_failed{instance="a"} 0 1`},
		summary: "the disk of auditdrain on a has refused a write",
		quiet:   map[string][]string{"works": {`auditdrain_store_failed 0x9`}},
	},
	"AuditdrainDiskFull": {
		fires:   []string{`auditdrain_store_disk_full{instance="a"} 0x5`, `auditdrain_store_disk_low{instance="a"} 0 1x4`},
		summary: "the disk of auditdrain on a is full",
		quiet:   map[string][]string{"room": {`auditdrain_store_disk_full 0x9`, `auditdrain_store_disk_low 0x9`}},
	},
	"AuditdrainDiskFillingUp": {
		fires:   []string{`auditdrain_store_disk_free_bytes{instance="a"} 10e9-20e6x180`}, // empty after 8:20 h
		summary: "the disk of auditdrain on a will be full within 12 hours",
		quiet: map[string][]string{
			"slowly":        {`auditdrain_store_disk_free_bytes 20e9-20e6x180`},
			"a compaction":  {`auditdrain_store_disk_free_bytes 10e9x60 9e9x10 10e9x110`},
			"is given back": {`auditdrain_store_disk_free_bytes 1e9+20e6x180`},
		},
	},
	"AuditdrainNothingDelivered": {
		fires: []string{
			`auditdrain_backlog_events{instance="a", status="enabled"} 0x5 7x25`,
			`auditdrain_deliveries_total{instance="a", result="written"} 10x30`,
			`auditdrain_deliveries_total{instance="a", result="existed"} 0x30`,
		},
		summary: "auditdrain on a delivers nothing",
		nodes: []string{
			`auditdrain_node_drains{job="auditdrain", instance="a"} 5x40`,
			`auditdrain_node_drains{job="auditdrain", instance="b"} 5x40`,
			`auditdrain_backlog_events{job="auditdrain", instance="a", status="enabled"} 7x40`,
			`auditdrain_backlog_events{job="auditdrain", instance="b", status="enabled"} 7x40`,
			`auditdrain_deliveries_total{job="auditdrain", instance="a", result="written"} 10x40`,
			`auditdrain_deliveries_total{job="auditdrain", instance="b", result="written"} 10x40`,
		},
		quiet: map[string][]string{
			"slowly": {
				`auditdrain_backlog_events{status="enabled"} 7x40`,
				`auditdrain_deliveries_total{result="written"} 10+1x40`,
				`auditdrain_deliveries_total{result="existed"} 0x40`,
			},
			"nothing to deliver": {
				`auditdrain_backlog_events{status="enabled"} 0x40`,
				`auditdrain_deliveries_total{result="written"} 10x40`,
			},
			"only errored drains wait": {
				`auditdrain_backlog_events{status="enabled"} 0x40`,
				`auditdrain_backlog_events{status="errored"} 7x40`,
				`auditdrain_deliveries_total{result="written"} 10x40`,
			},
			"one node of two has nothing to deliver": {
				`auditdrain_node_drains{job="auditdrain", instance="a"} 5x40`,
				`auditdrain_node_drains{job="auditdrain", instance="b"} 5x40`,
				`auditdrain_backlog_events{job="auditdrain", instance="a", status="enabled"} 7x40`,
				`auditdrain_backlog_events{job="auditdrain", instance="b", status="enabled"} 7x40`,
				`auditdrain_deliveries_total{job="auditdrain", instance="a", result="written"} 10+9x40`,
				`auditdrain_deliveries_total{job="auditdrain", instance="b", result="written"} 10x40`,
			},
			"the other instance delivers nothing, and has nothing": {
				`auditdrain_backlog_events{instance="a", status="enabled"} 7x40`,
				`auditdrain_deliveries_total{instance="a", result="written"} 10+9x40`,
				`auditdrain_backlog_events{instance="b", status="enabled"} 0x40`,
				`auditdrain_deliveries_total{instance="b", result="written"} 10x40`,
			},
		},
	},
	"AuditdrainManyDrainsParked": {
		fires: []string{
			`auditdrain_delivery_parked_drains{job="auditdrain", instance="a"} 0x5 4x15`,
			`auditdrain_drains{job="auditdrain", instance="a", status="enabled"} 6x20`,
			`auditdrain_drains{job="auditdrain", instance="a", status="errored"} 4x20`,
			`auditdrain_drains{job="auditdrain", instance="a", status="disabled"} 100x20`,
		},
		summary: "4 drains of auditdrain on a are parked at once",
		nodes: []string{
			`auditdrain_node_drains{job="auditdrain", instance="a"} 5x20`,
			`auditdrain_node_drains{job="auditdrain", instance="b"} 5x20`,
			`auditdrain_delivery_parked_drains{job="auditdrain", instance="a"} 2x20`,
			`auditdrain_delivery_parked_drains{job="auditdrain", instance="b"} 2x20`,
			`auditdrain_drains{job="auditdrain", instance="a", status="enabled"} 10x20`,
			`auditdrain_drains{job="auditdrain", instance="b", status="enabled"} 10x20`,
		},
		quiet: map[string][]string{
			"a quarter": {
				`auditdrain_delivery_parked_drains 4x20`,
				`auditdrain_drains{status="enabled"} 12x20`,
				`auditdrain_drains{status="errored"} 4x20`,
			},
			"a quarter, of two nodes": {
				`auditdrain_node_drains{job="auditdrain", instance="a"} 8x20`,
				`auditdrain_node_drains{job="auditdrain", instance="b"} 8x20`,
				`auditdrain_delivery_parked_drains{job="auditdrain", instance="a"} 4x20`,
				`auditdrain_delivery_parked_drains{job="auditdrain", instance="b"} 0x20`,
				`auditdrain_drains{job="auditdrain", instance="a", status="enabled"} 16x20`,
				`auditdrain_drains{job="auditdrain", instance="b", status="enabled"} 16x20`,
			},
			"few drains at all": {
				`auditdrain_delivery_parked_drains 2x20`,
				`auditdrain_drains{status="enabled"} 0x20`,
				`auditdrain_drains{status="errored"} 2x20`,
			},
		},
	},
	"AuditdrainDrainErrored": {
		fires:   []string{`auditdrain_longest_errored_seconds{instance="a"} 0+60x70`},
		summary: "a drain of auditdrain on a has been errored for 1h 6m 0s",
		quiet: map[string][]string{
			"mended in time": {`auditdrain_longest_errored_seconds 0+60x62 0x9`},
		},
	},
	"AuditdrainDeliveryDelayed": {
		fires:   []string{`auditdrain_oldest_undelivered_seconds{instance="a", status="enabled"} 0x3 600+60x15`},
		summary: "auditdrain on a is 21m 0s behind",
		quiet: map[string][]string{
			"catches up":                  {`auditdrain_oldest_undelivered_seconds{status="enabled"} 600+60x8 0x9`},
			"errored has an alert of its": {`auditdrain_oldest_undelivered_seconds{status="errored"} 86400x20`},
			"disabled is on purpose":      {`auditdrain_oldest_undelivered_seconds{status="disabled"} 86400x20`},
		},
	},
	"AuditdrainManifestsBehind": {
		fires:   []string{`auditdrain_manifests_behind_seconds{job="auditdrain", instance="a"} 0+600x40`},
		summary: "a drain of auditdrain on a has had manifests waiting for 5h 50m 0s",
		quiet: map[string][]string{
			"none waits":                    {`auditdrain_manifests_behind_seconds 0x60`},
			"a bucket that is being mended": {`auditdrain_manifests_behind_seconds 0+600x20 0x40`},
		},
	},
	"AuditdrainThrottled": {
		fires: []string{
			`auditdrain_delivery_failures_total{job="auditdrain", instance="a", class="throttled"} 0+20x60`,
			`auditdrain_delivery_failures_total{job="auditdrain", instance="a", class="transient"} 0+20x60`,
			`auditdrain_deliveries_total{job="auditdrain", instance="a", result="written"} 0+100x60`,
		},
		summary: "AWS throttles auditdrain on a",
		quiet: map[string][]string{
			"now and then": {
				`auditdrain_delivery_failures_total{class="throttled"} 0+10x60`,
				`auditdrain_deliveries_total{result="written"} 0+100x60`,
			},
			"for a quarter of an hour": {
				`auditdrain_delivery_failures_total{class="throttled"} 0+20x15 300x45`,
				`auditdrain_deliveries_total{result="written"} 0+100x60`,
			},
			"other failures": {
				`auditdrain_delivery_failures_total{class="throttled"} 0x60`,
				`auditdrain_delivery_failures_total{class="blocked"} 0+20x60`,
				`auditdrain_deliveries_total{result="written"} 0+100x60`,
			},
		},
	},
	"AuditdrainLatencyHigh": {
		fires: []string{
			`auditdrain_delivery_latency_seconds_bucket{job="auditdrain", instance="a", le="1"} 0+98x40`,
			`auditdrain_delivery_latency_seconds_bucket{job="auditdrain", instance="a", le="10"} 0+100x40`,
			`auditdrain_delivery_latency_seconds_bucket{job="auditdrain", instance="a", le="+Inf"} 0+100x40`,
		},
		summary: "delivery by auditdrain on a is slow",
		quiet: map[string][]string{
			"fast": {
				`auditdrain_delivery_latency_seconds_bucket{le="1"} 0+100x40`,
				`auditdrain_delivery_latency_seconds_bucket{le="10"} 0+100x40`,
				`auditdrain_delivery_latency_seconds_bucket{le="+Inf"} 0+100x40`,
			},
			"idle": {
				`auditdrain_delivery_latency_seconds_bucket{le="1"} 0x40`,
				`auditdrain_delivery_latency_seconds_bucket{le="10"} 9x40`,
				`auditdrain_delivery_latency_seconds_bucket{le="+Inf"} 9x40`,
			},
		},
	},
	"AuditdrainCommitSlow": {
		fires: []string{
			`auditdrain_store_commit_seconds_bucket{job="auditdrain", instance="a", le="0.512"} 0+90x40`,
			`auditdrain_store_commit_seconds_bucket{job="auditdrain", instance="a", le="1.024"} 0+100x40`,
			`auditdrain_store_commit_seconds_bucket{job="auditdrain", instance="a", le="+Inf"} 0+100x40`,
		},
		summary: "the disk of auditdrain on a is slow",
		quiet: map[string][]string{
			"fast": {
				`auditdrain_store_commit_seconds_bucket{le="0.256"} 0+100x40`,
				`auditdrain_store_commit_seconds_bucket{le="+Inf"} 0+100x40`,
			},
		},
	},
	"AuditdrainFiguresMissing": {
		fires:   []string{`auditdrain_collect_failed{instance="a"} 1x11`},
		summary: "auditdrain on a cannot tell how its drains are doing",
		quiet:   map[string][]string{"once": {`auditdrain_collect_failed 0x9 1 0x9`}},
	},
	"AuditdrainNotificationsFailing": {
		fires:   []string{`auditdrain_notifications_waiting{instance="a"} 0x5 2x31`},
		summary: "the webhook of auditdrain on a cannot be told of 2 drains",
		quiet: map[string][]string{
			"each within minutes": {`auditdrain_notifications_waiting 2x25 0 1x25 0`},
		},
	},
	"AuditdrainAnchorsFailing": {
		fires:   []string{`auditdrain_anchors_total{instance="a", result="failed"} 0x5 0+1x65`},
		summary: "heads of manifests of auditdrain on a are not anchored",
		quiet: map[string][]string{
			"kept":        {`auditdrain_anchors_total{result="kept"} 0+5x90`, `auditdrain_anchors_total{result="failed"} 3x90`},
			"for a while": {`auditdrain_anchors_total{result="failed"} 0+1x40 40x50`},
		},
	},
}

func TestAlerts(t *testing.T) {
	alerts := readRules(t)
	for name := range examples {
		if _, ok := alerts[name]; !ok {
			t.Errorf("there are examples for %s, which is no alert", name)
		}
	}
	for name, alert := range alerts {
		t.Run(name, func(t *testing.T) {
			example, ok := examples[name]
			if !ok || len(example.quiet) == 0 {
				t.Fatal("there are no examples for it")
			}
			series, end := parseSeries(t, example.fires)
			got := fired(t, alert, series, end)
			if len(got) != 1 {
				t.Fatalf("it fires for %v, want one series", got)
			}
			if d := cmp.Diff(example.summary, expand(t, alert.Annotations["summary"], got[0])); d != "" {
				t.Errorf("summary (-want +got):\n%s", d)
			}
			expand(t, alert.Annotations["description"], got[0])
			if example.nodes != nil {
				series, end := parseSeries(t, example.nodes)
				got := fired(t, alert, series, end)
				if len(got) != 1 {
					t.Fatalf("nodes: it fires for %v, want one series", got)
				}
				if text := expand(t, alert.Annotations["summary"], got[0]); strings.Contains(text, " on ") {
					t.Errorf("nodes: summary %q", text)
				}
			}
			for what, lines := range example.quiet {
				series, end := parseSeries(t, lines)
				if got := fired(t, alert, series, end); len(got) > 0 {
					t.Errorf("%s: it fires for %v", what, got)
				}
			}
		})
	}
}

// expand writes an annotation as Prometheus sends it.
func expand(t *testing.T, annotation string, s promql.Sample) string {
	t.Helper()
	data := template.AlertTemplateData(s.Metric.Map(), nil, "", s)
	const defs = "{{$labels := .Labels}}{{$value := .Value}}"
	text, err := template.NewTemplateExpander(t.Context(), defs+annotation, "annotation", data, model.Time(s.T), nil, nil, nil).Expand()
	if err != nil || text == "" || strings.Contains(text, "no value") {
		t.Errorf("annotation %q is sent as %q: %v", annotation, text, err)
	}
	return text
}

// Whoever is woken finds what to do under the alert's name.
func TestRunbooks(t *testing.T) {
	content, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	const page = "https://github.com/auditdrain/auditdrain/blob/main/docs/operations.md#"
	described := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (Auditdrain\w+)$`).FindAllStringSubmatch(string(content), -1) {
		described[m[1]] = true
	}
	for name, alert := range readRules(t) {
		if got, want := alert.Annotations["runbook_url"], page+strings.ToLower(name); got != want {
			t.Errorf("%s: runbook_url is %q, want %q", name, got, want)
		}
		if !described[name] {
			t.Errorf("docs/operations.md has no heading %s", name)
		}
		if s := alert.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", name, s)
		}
		delete(described, name)
	}
	for name := range described {
		t.Errorf("docs/operations.md describes %s, which is no alert", name)
	}
}
