package storetest

import (
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func testNotified(f *fixture) {
	want := func(want map[string]auditdrain.Notified) {
		f.Helper()
		got, err := f.Notified(f.ctx)
		f.must(err)
		if d := cmp.Diff(want, got); d != "" {
			f.Errorf("notified (-want +got):\n%s", d)
		}
	}
	want(map[string]auditdrain.Notified{})
	f.createTeams("a")
	for _, id := range []string{"d1", "d2", "d3"} {
		f.must(f.CreateDrain(f.ctx, drain(id, "a", 1), 0, nil))
	}
	one := auditdrain.Notified{Errored: auditdrain.NoticeMark{Since: 1, Phase: auditdrain.NoticeTelling}}
	two := auditdrain.Notified{Delayed: auditdrain.NoticeMark{Since: 2, Phase: auditdrain.NoticeTold}}
	f.must(f.SaveNotified(f.ctx, "d1", two))
	f.must(f.SaveNotified(f.ctx, "d1", one))
	f.must(f.SaveNotified(f.ctx, "d2", two))
	f.must(f.SaveNotified(f.ctx, "d3", two))
	f.must(f.SaveNotified(f.ctx, "d3", auditdrain.Notified{})) // there is nothing to tell any more
	f.wantCode(f.SaveNotified(f.ctx, "none", one), auditdrain.CodeNotFound)
	for range 2 {
		want(map[string]auditdrain.Notified{"d1": one, "d2": two})
		f.reopen()
	}
	f.must(f.DeleteDrain(f.ctx, "a", "d1", nil))
	want(map[string]auditdrain.Notified{"d2": two})
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 0, nil)) // the same ID again: nothing is left
	want(map[string]auditdrain.Notified{"d2": two})
}
