package storetest

import (
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// wantFound compares the IDs of one page, and that its drains are as they are
// stored.
func (f *fixture) wantFound(search auditdrain.DrainSearch, matches int, counts auditdrain.DrainCounts, ids ...string) {
	f.Helper()
	if search.Limit == 0 {
		search.Limit = auditdrain.MaxPage
	}
	found, gotMatches, gotCounts, err := f.FindDrains(f.ctx, search)
	f.must(err)
	var got []string
	for _, d := range found {
		got = append(got, d.ID)
		f.wantDrains(auditdrain.DrainQuery{ID: d.ID}, d)
	}
	if d := cmp.Diff(ids, got); d != "" {
		f.Errorf("found for %+v (-want +got):\n%s", search, d)
	}
	if gotMatches != matches || gotCounts != counts {
		f.Errorf("%+v: %d matches, %+v; want %d, %+v", search, gotMatches, gotCounts, matches, counts)
	}
}

func testFindDrains(f *fixture) {
	none := auditdrain.DrainCounts{}
	f.wantFound(auditdrain.DrainSearch{}, 0, none)

	f.must(f.CreateTeam(f.ctx, auditdrain.Team{ID: "a", Slug: "acme", Name: "Ärzte GmbH"}, nil))
	f.must(f.CreateTeam(f.ctx, auditdrain.Team{ID: "b", Slug: "blue", Name: "Blue"}, nil))
	f.append(batch("a", numbered("a", 10)...), batch("b", numbered("b", 5)...))
	create := func(id, team string, created int64, cursor uint64, change func(*auditdrain.Drain)) {
		d := drain(id, team, created)
		change(&d)
		f.must(f.CreateDrain(f.ctx, d, 1, nil))
		f.saveCursor(id, cursor)
	}
	errored := func(id string, cursor uint64) {
		f.save(auditdrain.Progress{State: auditdrain.DeliveryState{DrainID: id, Cursor: cursor, FirstErrorAt: 7}})
	}
	disable := func(d *auditdrain.Drain) { d.Status = auditdrain.StatusDisabled }
	plain := func(*auditdrain.Drain) {}
	create("a1", "a", 3, 10, plain)                                                                    // enabled, nothing to do
	create("a2", "a", 2, 4, func(d *auditdrain.Drain) { d.Name = "Cold ARCHIVE" })                     // enabled, 6 behind
	create("a3", "a", 1, 9, plain)                                                                     // errored, 1 behind
	create("B1", "b", 6, 0, func(d *auditdrain.Drain) { d.Delivery.Endpoint = "s3://Elsewhere/logs" }) // errored, 5 behind
	create("b2", "b", 5, 0, disable)                                                                   // paused, 5 behind
	create("b3", "b", 4, 5, plain)                                                                     // enabled, nothing to do, older than a1? no
	errored("a3", 9)
	errored("B1", 0)
	errored("b2", 0) // before it was paused

	all := auditdrain.DrainCounts{Errored: 2, Enabled: 3, Disabled: 1}
	ofA := auditdrain.DrainCounts{Errored: 1, Enabled: 2}
	check := func() {
		f.Helper()
		f.wantFound(auditdrain.DrainSearch{}, 6, all, "B1", "a3", "a2", "a1", "b3", "b2")
		f.wantFound(auditdrain.DrainSearch{TeamID: "a"}, 3, ofA, "a3", "a2", "a1")
		f.wantFound(auditdrain.DrainSearch{TeamID: "nobody"}, 0, none)

		f.wantFound(auditdrain.DrainSearch{Limit: 2}, 6, all, "B1", "a3")
		f.wantFound(auditdrain.DrainSearch{Limit: 2, Offset: 4}, 6, all, "b3", "b2")
		f.wantFound(auditdrain.DrainSearch{Limit: 2, Offset: 5}, 6, all, "b2")
		f.wantFound(auditdrain.DrainSearch{Limit: 2, Offset: 6}, 6, all)
		f.wantFound(auditdrain.DrainSearch{Limit: 2, Offset: 1 << 62}, 6, all)

		f.wantFound(auditdrain.DrainSearch{Status: auditdrain.StatusErrored}, 2, all, "B1", "a3")
		f.wantFound(auditdrain.DrainSearch{Status: auditdrain.StatusEnabled, Offset: 1}, 3, all, "a1", "b3")
		f.wantFound(auditdrain.DrainSearch{Status: auditdrain.StatusDisabled}, 1, all, "b2")
		f.wantFound(auditdrain.DrainSearch{Status: auditdrain.StatusDisabled, TeamID: "a"}, 0, ofA)

		f.wantFound(auditdrain.DrainSearch{Text: "old arch"}, 1, auditdrain.DrainCounts{Enabled: 1}, "a2")   // name
		f.wantFound(auditdrain.DrainSearch{Text: "elseWHERE/"}, 1, auditdrain.DrainCounts{Errored: 1}, "B1") // endpoint
		f.wantFound(auditdrain.DrainSearch{Text: "B3"}, 1, auditdrain.DrainCounts{Enabled: 1}, "b3")         // ID
		f.wantFound(auditdrain.DrainSearch{Text: "ACME"}, 3, ofA, "a3", "a2", "a1")                          // the team's slug
		f.wantFound(auditdrain.DrainSearch{Text: "äRZTE g"}, 3, ofA, "a3", "a2", "a1")                       // its name
		f.wantFound(auditdrain.DrainSearch{Text: "acme", TeamID: "b"}, 0, none)
		f.wantFound(auditdrain.DrainSearch{Text: "acme", Status: auditdrain.StatusErrored, Limit: 1}, 1, ofA, "a3")
		f.wantFound(auditdrain.DrainSearch{Text: "nothing"}, 0, none)
	}
	check()
	f.reopen()
	check()

	f.saveCursor("a3", 9) // has recovered
	_, err := f.UpdateDrain(f.ctx, "", "b2", func(d *auditdrain.Drain) error {
		d.Status, d.Name = auditdrain.StatusEnabled, "new name"
		return nil
	}, nil)
	f.must(err)
	f.must(f.DeleteDrain(f.ctx, "", "B1", nil))
	_, err = f.SkipBacklog(f.ctx, "a2", auditdrain.Skip{}, nil)
	f.must(err)
	f.append(batch("b", numbered("c", 2)...))
	for range 2 {
		f.wantFound(auditdrain.DrainSearch{}, 5, auditdrain.DrainCounts{Errored: 1, Enabled: 4}, "b2", "b3", "a3", "a2", "a1")
		f.wantFound(auditdrain.DrainSearch{Text: "new NAME"}, 1, auditdrain.DrainCounts{Errored: 1}, "b2")
		f.wantFound(auditdrain.DrainSearch{Text: "elsewhere"}, 0, none)
		f.reopen()
	}
}
