package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

// populate adds so many teams with a drain each, some of them in trouble, and
// returns the drains. The first ones have done something in every step of their
// series, the very first has failed as often as is kept.
func (s *site) populate(teams, busy int) (ids []string) {
	s.Helper()
	now := time.Now()
	var progress []auditdrain.Progress
	var creating sync.WaitGroup
	for i := range teams {
		team := auditdrain.Team{ID: fmt.Sprint("team_c", i), Slug: fmt.Sprint("customer-", i), Name: fmt.Sprintf("Customer %d Inc.", i), CreatedAt: now.UnixMilli()}
		d := auditdrain.NewDrain(team.ID, fmt.Sprint("Archive ", i), auditdrain.Delivery{
			Type: "s3", Endpoint: fmt.Sprintf("s3://customer-%d-audit-logs/audit", i), Region: "eu-west-1", Encoding: "json",
			RoleARN: "arn:aws:iam::111122223333:role/audit-drain",
		}.WithDefaults(), now.Add(time.Duration(i)*time.Millisecond))
		ids = append(ids, d.ID)
		creating.Go(func() {
			if err := s.store.CreateTeam(s.Context(), team, nil); err != nil {
				s.Error(err)
			}
			if err := s.store.CreateDrain(s.Context(), d, 0, nil); err != nil {
				s.Error(err)
			}
		})
		state := auditdrain.DeliveryState{DrainID: d.ID, Delivered: 1000, LastDeliveryAt: now.UnixMilli()}
		if i%100 == 0 {
			state.FirstErrorAt, state.LastError, state.LastErrorEvent = now.UnixMilli(), "AWS refused", "evt-1"
			state.Diagnosis = &auditdrain.Diagnosis{Known: true, Summary: "STS refused to let us assume the role.", Answer: "403 AccessDenied", Causes: []auditdrain.Cause{{
				Text: strings.Repeat("The trust policy does not name us. ", 10), Who: auditdrain.ActorRoleAdmin, Fix: "Add the statement.",
				Change: &auditdrain.Change{Where: "trust policy", Statement: strings.Repeat(`{"Effect": "Allow"}`+"\n", 20)},
			}}}
		}
		progress = append(progress, auditdrain.Progress{State: state})
	}
	creating.Wait()
	for n := range auditdrain.MaxFailures {
		progress[0].Attempts = append(progress[0].Attempts, auditdrain.Attempt{
			Number: uint64(n + 1), At: now.UnixMilli(), EventID: fmt.Sprintf("evt-%0124d", n), Outcome: auditdrain.OutcomeFailed, Status: 403, Code: "AccessDenied",
			RequestID: fmt.Sprintf("REQUEST-%024d", n), Error: fmt.Sprint(n) + strings.Repeat(`"`, 1000),
		})
	}
	_, err := s.store.SaveProgress(s.Context(), progress)
	s.must(err)
	week, step := auditdrain.SpanWeek.Steps()
	for n := range week * 6 {
		s.must(s.store.AddTallies(s.Context(), now.Add(-time.Duration(n)*step/6), tallies(ids[:busy], n)))
	}
	for n := range 60 {
		s.must(s.store.AddTallies(s.Context(), now.Add(-time.Duration(n)*time.Minute), tallies(ids[:busy], n)))
	}
	return ids
}

// tallies are of drains that were busy, more or less.
func tallies(ids []string, n int) (all []auditdrain.Tally) {
	for _, id := range ids {
		latency := &auditdrain.LatencyHistogram{}
		for i := range 20 {
			latency.Add(time.Duration(10+n%7*i*i) * time.Millisecond)
		}
		all = append(all, auditdrain.Tally{DrainID: id, Delivered: uint64(123_456 + n*7919%100_000), Failed: uint64(1 + n*31%17_000), Backlog: uint64(1 + n*104_729%10_000_000), Latency: latency})
	}
	return all
}

// largePages are the addresses of all pages, as large as they get.
func largePages(ids []string) []string {
	pages := []string{"/drains", "/drains?page=9", "/drains?status=errored", "/drains?q=customer-7", "/drains?team=customer-7", "/drains/new?team=customer-7", "/drains/new", "/activity", "/settings", "/settings?team=customer-7"}
	for _, at := range []string{"", "?span=24h", "?span=7d", "/queries", "/edit", "/replay", "/skip", "/delete", "/resume-from-now"} {
		pages = append(pages, "/drains/"+ids[0]+at)
	}
	return pages
}

// Every page has at most 100 KiB, however much there is.
func TestPagesAreSmall(t *testing.T) {
	s := newSite(t)
	ids := s.populate(300, 30)
	b := s.logIn(operatorToken)
	for _, at := range largePages(ids) {
		p := b.get(at)
		p.want(t, 200)
		checkPage(t, p)
		t.Logf("%6d bytes: %s", len(p.body), at)
	}
}

// BenchmarkPages is how long the server takes for a page of an operator when
// there are 10,000 teams with a drain each, and how large the page is. One op is
// one page.
func BenchmarkPages(b *testing.B) {
	s := newSite(b)
	ids := s.populate(10_000, 100)
	at, err := url.Parse(s.url)
	s.must(err)
	cookies := s.logIn(operatorToken).Jar.Cookies(at)
	for _, path := range append(largePages(ids), "/drains/"+ids[9000]) {
		b.Run(strings.ReplaceAll(path, ids[0], "ID"), func(b *testing.B) {
			size := 0
			for b.Loop() {
				r := httptest.NewRequest("GET", path, nil)
				for _, c := range cookies {
					r.AddCookie(c)
				}
				w := httptest.NewRecorder()
				s.mux.ServeHTTP(w, r)
				if size = w.Body.Len(); w.Code != http.StatusOK && w.Code != http.StatusSeeOther {
					b.Fatalf("%s: %d", path, w.Code)
				}
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}
