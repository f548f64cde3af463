package pebblestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// What was told is known after a power cut.
func TestNotifiedIsDurable(t *testing.T) {
	fsys := vfs.NewCrashableMem()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open("data", Options{FS: fsys})
	must(err)
	must(s.CreateTeam(t.Context(), auditdrain.Team{ID: "a", Slug: "a", Name: "A"}, nil))
	d := auditdrain.NewDrain("a", "d", auditdrain.Delivery{}, time.Now())
	must(s.CreateDrain(t.Context(), d, 0, nil))
	told := auditdrain.Notified{Delayed: auditdrain.NoticeMark{Since: 2, Phase: auditdrain.NoticeTold}}
	must(s.SaveNotified(t.Context(), d.ID, told))
	left := fsys.CrashClone(vfs.CrashCloneCfg{})
	must(s.Close())
	s, err = Open("data", Options{FS: left})
	must(err)
	got, err := s.Notified(t.Context())
	must(err)
	if d := cmp.Diff(map[string]auditdrain.Notified{d.ID: told}, got); d != "" {
		t.Errorf("notified (-want +got):\n%s", d)
	}
	must(s.Close())
}
