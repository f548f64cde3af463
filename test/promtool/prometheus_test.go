package promtool

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// step is how far the samples of a series are apart, and evaluations of rules.
const step = time.Minute

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// readRules returns the alerts by name.
func readRules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("../../deploy/prometheus/auditdrain.rules.yml", false, model.LegacyValidation,
		parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	alerts := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			alerts[r.Alert] = r
		}
	}
	return alerts
}

// parseSeries reads series as unit tests of promtool have them, such as
// `up{job="x"} 1x9 0x9`: one sample a minute. It also returns when the last of
// them was taken.
func parseSeries(t *testing.T, lines []string) ([]storage.Series, time.Time) {
	t.Helper()
	var all []storage.Series
	end := start
	for _, line := range lines {
		metric, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("series %q: %v", line, err)
		}
		s := promql.Series{Metric: metric}
		at := start
		for _, v := range values {
			if !v.Omitted {
				s.Floats = append(s.Floats, promql.FPoint{T: at.UnixMilli(), F: v.Value})
			}
			at = at.Add(step)
		}
		all = append(all, promql.NewStorageSeries(s))
		if last := at.Add(-step); last.After(end) {
			end = last
		}
	}
	return all, end
}

// queryable is the series.
func queryable(series []storage.Series) storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			set := &seriesSet{}
			for _, s := range series {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
					set.rest = append(set.rest, s)
				}
			}
			return set
		},
	}}
}

type seriesSet struct {
	current storage.Series
	rest    []storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.current, s.rest = s.rest[0], s.rest[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.current }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// fired returns one sample of each series for which the alert fires at some
// time from the start to end: for which its expression has had a value for as
// long as it demands.
func fired(t *testing.T, alert rulefmt.Rule, series []storage.Series, end time.Time) []promql.Sample {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	query, err := engine.NewRangeQuery(t.Context(), queryable(series), nil, alert.Expr, start, end, step)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(context.WithoutCancel(t.Context()))
	matrix, err := result.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) > 0 {
		t.Errorf("warnings: %v", result.Warnings)
	}
	var firing []promql.Sample
	for _, s := range matrix {
		since := int64(0)
		for i, p := range s.Floats {
			if i == 0 || p.T != s.Floats[i-1].T+step.Milliseconds() {
				since = p.T
			}
			if p.T-since >= time.Duration(alert.For).Milliseconds() {
				firing = append(firing, promql.Sample{Metric: s.Metric, T: p.T, F: p.F})
				break
			}
		}
	}
	return firing
}
