package pgstore

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// TestChanges by other nodes are found, each once.
func TestChanges(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 3)
	other := makeDrains(t, s, "other", 1)
	_, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: "team", Events: []auditdrain.Event{{ID: "1", Body: []byte("1")}}}})
	must(t, err)
	a := member(t, p, time.Hour)
	a.beat()
	a.takeChanges()
	ctx := t.Context()
	for _, test := range []struct {
		what   string
		change func() error
		want   []string
	}{
		{"nothing", func() error { return nil }, nil},
		{"drain", func() error {
			_, err := s.UpdateDrain(ctx, "", ids[1], func(d *auditdrain.Drain) error { d.Name = "new"; return nil }, act())
			return err
		}, ids[1:2]},
		{"skip", func() error {
			_, err := s.SkipEvent(ctx, ids[0], auditdrain.Skip{EventID: "1"}, act())
			return err
		}, ids[:1]},
		{"skip of all", func() error { _, err := s.SkipBacklog(ctx, ids[2], auditdrain.Skip{}, act()); return err }, ids[2:]},
		{"replay", func() error {
			_, err := s.StartReplay(ctx, ids[1], auditdrain.ReplayOrder{ID: "r"}, act())
			return err
		}, ids[1:2]},
		{"team", func() error {
			_, err := s.UpdateTeam(ctx, "team", func(t *auditdrain.Team) error { t.HideIPAddresses = true; return nil }, act())
			return err
		}, ids},
		{"new drain", func() error { return s.CreateDrain(ctx, auditdrain.Drain{ID: "new", TeamID: "other"}, 0, act()) }, []string{"new"}},
		{"deleted drain", func() error { return s.DeleteDrain(ctx, "", other[0], act()) }, other},
	} {
		must(t, test.change())
		a.turn()
		changes := a.takeChanges()
		if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(changes))); diff != "" {
			t.Errorf("%s: drains that are delivered anew (-want +got):\n%s", test.what, diff)
		}
		for id, n := range changes {
			if n != 1 {
				t.Errorf("%s: drain %s is told of %d times", test.what, id, n)
			}
		}
	}
	if slices.Contains(a.drains(), other[0]) {
		t.Error("a deleted drain is delivered")
	}
}

// TestWake tells of events that other nodes have stored, of each once.
func TestWake(t *testing.T) {
	p := newPlace(t)
	s := mustOpen(t, p, Options{})
	ids := makeDrains(t, s, "team", 2)
	must(t, s.CreateTeam(t.Context(), auditdrain.Team{ID: "idle", Slug: "idle"}, nil))
	a := member(t, p, time.Hour)
	a.beat()
	add := func(team, id string) {
		t.Helper()
		_, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: team, Events: []auditdrain.Event{{ID: id, Body: []byte(id)}}}})
		must(t, err)
	}
	check := func(want int) {
		t.Helper()
		a.turn()
		a.turn()
		if diff := cmp.Diff(map[string]int{"team": want}, a.woken); diff != "" {
			t.Fatalf("teams that the deliverer was told of (-want +got):\n%s", diff)
		}
	}
	add("idle", "0") // which has no drain
	add("team", "1")
	check(1)
	add("team", "2")
	check(2)
	if _, err := a.node.SaveProgress(t.Context(), progress(ids, 2)); err != nil {
		t.Fatal(err)
	}
	check(2)
	add("team", "3")
	check(3)
}
