package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/auditdrain/auditdrain"
)

// selectorRE matches a metric and its label matchers in an expression of
// PromQL: the names in the files of deploy/ all have one of these prefixes.
var (
	selectorRE = regexp.MustCompile(`\b((?:auditdrain|go|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcherRE  = regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)`)
)

// TestDeployedMetricsExist asks a service of which everything has been used
// for every metric and label that the alert rules and the dashboard name: both
// are silent about what is not there.
func TestDeployedMetricsExist(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s := serveNotifying(t, aws.url, t.TempDir(), newReceiver(t), "--per-drain-metrics")
	tm.setUp(t, s.http, s.api)
	refused := tm.targets[0].delivery()
	refused.RoleARN += "-that-does-not-exist"
	if _, err := s.api.CreateDrain(t.Context(), tm.team, auditdrain.DrainInput{Name: "refused", Schemas: auditdrain.AuditLogSchemas(), Delivery: refused}); err != nil {
		t.Fatal(err)
	}
	tm.post(t, s.url, plainly(newSource(newRand(1, 1), tm.team).event()))
	// What there is of a drain is saved a moment after it has happened.
	eventually(t, "a delivery and a refused one in /metrics", func() bool {
		return s.metric("auditdrain_drains", "status", "errored") == 1 && s.metric("auditdrain_drain_last_delivery_timestamp_seconds", "", "") > 0
	})
	exported := labelsOf(s.metrics())
	s.stop()
	node := serve(t, aws.url, t.TempDir(), "--postgres", postgres(t).URL(postgres(t).NewSchema(t)))
	for name, labels := range labelsOf(node.metrics()) {
		if exported[name] == nil { // only nodes have it
			exported[name] = labels
		}
	}
	node.stop()

	for file, expressions := range deployed(t) {
		if len(expressions) == 0 {
			t.Errorf("%s has no expression", file)
		}
		for _, expr := range expressions {
			for _, m := range selectorRE.FindAllStringSubmatch(expr, -1) {
				labels, ok := exported[m[1]]
				if !ok {
					t.Errorf("%s: %s is not exported", file, m[1])
				}
				for _, l := range matcherRE.FindAllStringSubmatch(m[2], -1) {
					if ok && !labels[l[1]] && l[1] != "job" && l[1] != "instance" {
						t.Errorf("%s: %s has no label %s", file, m[1], l[1])
					}
				}
			}
		}
	}
}

// labelsOf returns the labels of each metric, by the names that queries use.
func labelsOf(families map[string]*dto.MetricFamily) map[string]map[string]bool {
	exported := map[string]map[string]bool{}
	for name, f := range families {
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		exported[name] = labels
		switch f.GetType() {
		case dto.MetricType_HISTOGRAM:
			exported[name+"_sum"], exported[name+"_count"] = labels, labels
			bucket := maps.Clone(labels)
			bucket["le"] = true
			exported[name+"_bucket"] = bucket
		case dto.MetricType_SUMMARY:
			exported[name+"_sum"], exported[name+"_count"] = labels, labels
			labels["quantile"] = true
		}
	}
	return exported
}

// deployed returns the expressions of the files in deploy/.
func deployed(t *testing.T) map[string][]string {
	t.Helper()
	read := func(file string) string {
		content, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read("grafana/auditdrain.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var panels []string
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			panels = append(panels, target.Expr)
		}
	}
	// The rules as text: what is no expression names no metric.
	rules := slices.DeleteFunc(strings.Split(read("prometheus/auditdrain.rules.yml"), "\n"), func(line string) bool {
		return !strings.Contains(line, "_")
	})
	return map[string][]string{"the dashboard": panels, "the alert rules": rules}
}
