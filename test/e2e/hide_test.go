package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

const (
	sentAddress   = `"ipAddress":"2001:db8::1"`
	hiddenAddress = `2001:db8::1`
)

// hidden is e as it is written for a team that hides IP addresses.
func (e event) hidden() event {
	e.body = strings.Replace(e.body, ","+sentAddress, "", 1)
	e.body = strings.Replace(e.body, sentAddress+",", "", 1)
	return e
}

// TestHiddenIPAddresses hides the IP addresses of a team and shows them again.
// What is accepted meanwhile, and what a replay writes, is without them, what
// was there stays.
func TestHiddenIPAddresses(t *testing.T) {
	s := newScene(t, 18)
	hide := func(hide bool) {
		t.Helper()
		got, err := s.api.UpdateTeam(t.Context(), s.tm.team, auditdrain.TeamPatch{HideIPAddresses: &hide})
		if err != nil || got.HideIPAddresses != hide {
			t.Fatal(got, err)
		}
	}
	first := slices.Clone(s.accept(100))
	s.aws.awaitObjects(100)
	var lost []event
	for _, e := range first {
		if strings.Contains(e.body, hiddenAddress) {
			lost = append(lost, e)
		}
	}
	if len(lost) < 10 {
		t.Fatalf("%d of 100 events have an IP address", len(lost))
	}
	lost = lost[:5]

	hide(true)
	second := s.accept(100)
	s.aws.awaitObjects(200)
	s.await("no backlog", delivered)
	s.aws.lose(s.tm.targets[0], lost...)
	if _, err := s.api.StartReplay(t.Context(), s.tm.team, s.drain, auditdrain.ReplayInput{From: 1}); err != nil {
		t.Fatal(err)
	}
	r := s.awaitReplay("the end of the replay", func(r auditdrain.Replay) bool { return r.Status == auditdrain.ReplayFinished })
	if r.Written != 5 || r.Existed != 195 {
		t.Errorf("replay: %+v, want 5 written and 195 that existed", r)
	}
	s.stop()
	s.serve() // it is remembered
	third := s.accept(20)
	s.aws.awaitObjects(220)
	hide(false)
	fourth := s.accept(20)
	s.aws.awaitObjects(240)
	s.stop()

	s.tm.events = nil
	for _, e := range first {
		if slices.ContainsFunc(lost, func(l event) bool { return l.id == e.id }) {
			e = e.hidden()
		}
		s.tm.events = append(s.tm.events, e)
	}
	for _, e := range append(second, third...) {
		s.tm.events = append(s.tm.events, e.hidden())
	}
	s.tm.events = append(s.tm.events, fourth...)
	checkObjects(t, s.aws, []*team{s.tm})
}
