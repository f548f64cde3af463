package pebblestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestNotified(t *testing.T) {
	fsys := vfs.NewCrashableMem()
	open := func() *Store {
		t.Helper()
		s, err := Open("data", Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(s *Store, want map[string]auditdrain.Notified) {
		t.Helper()
		got, err := s.Notified(t.Context())
		must(err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("notified (-want +got):\n%s", d)
		}
	}
	s := open()
	must(s.CreateTeam(t.Context(), auditdrain.Team{ID: "a", Slug: "a", Name: "A"}, nil))
	for _, id := range []string{"d1", "d2", "d3"} {
		d := auditdrain.NewDrain("a", id, auditdrain.Delivery{}, time.Now())
		d.ID = id
		must(s.CreateDrain(t.Context(), d, 0, nil))
	}
	one := auditdrain.Notified{Errored: auditdrain.NoticeMark{Since: 1, Phase: auditdrain.NoticeTelling}}
	two := auditdrain.Notified{Delayed: auditdrain.NoticeMark{Since: 2, Phase: auditdrain.NoticeTold}}
	must(s.SaveNotified(t.Context(), "d1", two))
	must(s.SaveNotified(t.Context(), "d1", one))
	must(s.SaveNotified(t.Context(), "d2", two))
	must(s.SaveNotified(t.Context(), "d3", two))
	must(s.SaveNotified(t.Context(), "d3", auditdrain.Notified{}))
	if err := s.SaveNotified(t.Context(), "none", one); auditdrain.ErrorCode(err) != auditdrain.CodeNotFound {
		t.Errorf("a drain that does not exist: %v, want %s", err, auditdrain.CodeNotFound)
	}
	want(s, map[string]auditdrain.Notified{"d1": one, "d2": two})

	// As a power cut leaves it.
	fsys = fsys.CrashClone(vfs.CrashCloneCfg{})
	must(s.Close())
	s = open()
	want(s, map[string]auditdrain.Notified{"d1": one, "d2": two})
	must(s.DeleteDrain(t.Context(), "a", "d1", nil))
	want(s, map[string]auditdrain.Notified{"d2": two})
	must(s.Close())
}
