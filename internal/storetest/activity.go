package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func activity(id, team string) auditdrain.Activity {
	return auditdrain.Activity{
		ID: id, At: 17, TeamID: team, Actor: auditdrain.ActivityActor{ID: "tok_1", Name: "somebody", Role: auditdrain.RoleOwner, Session: "ses_1"},
		Action: auditdrain.ActionDrainUpdated, TargetID: "drn_1", TargetName: "name", IPAddress: "192.0.2.1", UserAgent: "browser",
		Changes: []auditdrain.ActivityChange{{Field: "name", From: "old", To: "name"}},
	}
}

// record records activities and returns them with their numbers, which begin
// with first.
func (f *fixture) record(first uint64, activities ...auditdrain.Activity) []auditdrain.Activity {
	f.Helper()
	for i := range activities {
		f.must(f.Record(f.ctx, &activities[i]))
		activities[i].Number = first + uint64(i)
	}
	return activities
}

func (f *fixture) wantActivities(q auditdrain.ActivityQuery, want ...auditdrain.Activity) {
	f.Helper()
	got, err := f.Activities(f.ctx, q)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("activities of %+v (-want +got):\n%s", q, d)
	}
}

func testActivities(f *fixture) {
	f.wantActivities(auditdrain.ActivityQuery{Limit: 10})
	as := f.record(1, activity("1", "a"), activity("2", ""), activity("3", "aa"), activity("4", "a"), activity("5", "a"))
	for range 2 {
		for _, c := range []struct {
			query auditdrain.ActivityQuery
			want  []auditdrain.Activity
		}{
			{auditdrain.ActivityQuery{Limit: 10}, []auditdrain.Activity{as[4], as[3], as[2], as[1], as[0]}},
			{auditdrain.ActivityQuery{Limit: 2}, []auditdrain.Activity{as[4], as[3]}},
			{auditdrain.ActivityQuery{Limit: 2, Before: 4}, []auditdrain.Activity{as[2], as[1]}},
			{auditdrain.ActivityQuery{Limit: 2, Before: 1}, nil},
			{auditdrain.ActivityQuery{Limit: 2, Before: 99}, []auditdrain.Activity{as[4], as[3]}},
			{auditdrain.ActivityQuery{TeamID: "a", Limit: 10}, []auditdrain.Activity{as[4], as[3], as[0]}},
			{auditdrain.ActivityQuery{TeamID: "a", Limit: 1, Before: 5}, []auditdrain.Activity{as[3]}},
			{auditdrain.ActivityQuery{TeamID: "a", Limit: 9, Before: 4}, []auditdrain.Activity{as[0]}},
			{auditdrain.ActivityQuery{TeamID: "aa", Limit: 9}, []auditdrain.Activity{as[2]}},
			{auditdrain.ActivityQuery{TeamID: "b", Limit: 9}, nil},
		} {
			f.wantActivities(c.query, c.want...)
		}
		f.reopen()
	}
	as = append(as, f.record(6, activity("6", "b"))...)
	for after, want := range map[uint64][]auditdrain.Activity{0: as[:4], 3: as[3:], 6: nil, 9: nil} {
		got, err := f.ActivitiesAfter(f.ctx, after, 4)
		f.must(err)
		if d := cmp.Diff(want, got); d != "" {
			f.Errorf("activities after %d (-want +got):\n%s", after, d)
		}
	}
}

// Each change is recorded once, together with it, even if it has been made
// before.
func testEveryChange(f *fixture) {
	link, taken := portalLink("kept", "a", f.time.Add(time.Hour)), portalLink("taken", "a", f.time.Add(time.Hour))
	ses := session("a", "a", f.time)
	for i, c := range []struct {
		name string
		call func(act *auditdrain.Activity) error
	}{
		{"create team", func(act *auditdrain.Activity) error { return f.CreateTeam(f.ctx, team("a", "a"), act) }},
		{"update team", func(act *auditdrain.Activity) error {
			_, err := f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error { t.Name = "new"; act.TargetName = "new"; return nil }, act)
			return err
		}},
		{"create token", func(act *auditdrain.Activity) error {
			return f.CreateToken(f.ctx, auditdrain.Token{ID: "t1", TeamID: "a"}, act)
		}},
		{"delete token", func(act *auditdrain.Activity) error { return f.DeleteToken(f.ctx, "a", "t1", act) }},
		{"create session", func(act *auditdrain.Activity) error { return f.CreateSession(f.ctx, ses, act) }},
		{"delete session", func(act *auditdrain.Activity) error { return f.DeleteSession(f.ctx, ses.Hash, act) }},
		{"create portal link", func(act *auditdrain.Activity) error { return f.CreatePortalLink(f.ctx, link, act) }},
		{"create another", func(act *auditdrain.Activity) error { return f.CreatePortalLink(f.ctx, taken, act) }},
		{"take portal link", func(act *auditdrain.Activity) error {
			_, err := f.TakePortalLink(f.ctx, taken.Hash, act)
			return err
		}},
		{"add signing key", func(act *auditdrain.Activity) error {
			return f.AddSigningKey(f.ctx, signingKey("key1"), "", act)
		}},
		{"create drain", func(act *auditdrain.Activity) error { return f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, act) }},
		{"update drain", func(act *auditdrain.Activity) error {
			_, err := f.UpdateDrain(f.ctx, "a", "d1", func(d *auditdrain.Drain) error {
				act.Changes = []auditdrain.ActivityChange{{Field: "name", From: d.Name, To: "new"}}
				d.Name = "new"
				return nil
			}, act)
			return err
		}},
		{"skip event", func(act *auditdrain.Activity) error {
			f.append(batch("a", events("1", "2", "3")...))
			_, err := f.SkipEvent(f.ctx, "d1", skipOf("2", 1), act)
			return err
		}},
		{"skip backlog", func(act *auditdrain.Activity) error {
			_, err := f.SkipBacklog(f.ctx, "d1", skipOf("", 1), act)
			return err
		}},
		{"start replay", func(act *auditdrain.Activity) error {
			_, err := f.StartReplay(f.ctx, "d1", auditdrain.ReplayOrder{ID: "r1", To: f.time.Add(time.Hour).UnixMilli()}, act)
			return err
		}},
		{"cancel replay", func(act *auditdrain.Activity) error {
			_, err := f.CancelReplay(f.ctx, "d1", act)
			return err
		}},
		{"delete drain", func(act *auditdrain.Activity) error { return f.DeleteDrain(f.ctx, "a", "d1", act) }},
	} {
		act := activity(c.name, "a")
		f.must(c.call(&act))
		act.Number = uint64(i + 1)
		f.wantActivities(auditdrain.ActivityQuery{Limit: 1}, act)
		select {
		case <-f.Recorded():
		default:
			f.Errorf("%s: nobody is told", c.name)
		}
		// Without an activity, or with one that has no action, nothing is.
		f.must(f.Record(f.ctx, nil))
		f.must(f.Record(f.ctx, &auditdrain.Activity{ID: "none"}))
		if i%4 == 0 {
			f.reopen()
		}
		f.wantActivities(auditdrain.ActivityQuery{TeamID: "a", Limit: 1}, act)
	}
}

// What changes nothing is not recorded.
func testNoActivity(f *fixture) {
	f.createTeams("a")
	f.append(batch("a", events("1", "2")...))
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	_, err := f.SkipEvent(f.ctx, "d1", skipOf("1", 1), nil)
	f.must(err)
	act := activity("no", "a")
	refuse := errors.New("refused")
	none := auditdrain.HashToken("none")
	for _, c := range []struct {
		what string
		want auditdrain.Code
		call func() error
	}{
		{"a team twice", auditdrain.CodeConflict, func() error { return f.CreateTeam(f.ctx, team("a", "a"), &act) }},
		{"a drain twice", auditdrain.CodeConflict, func() error { return f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, &act) }},
		{"no token", auditdrain.CodeNotFound, func() error { return f.DeleteToken(f.ctx, "", "t1", &act) }},
		{"no session", auditdrain.CodeNotFound, func() error { return f.DeleteSession(f.ctx, none, &act) }},
		{"no drain", auditdrain.CodeNotFound, func() error { return f.DeleteDrain(f.ctx, "", "d2", &act) }},
		{"a signing key after another", auditdrain.CodeConflict, func() error { return f.AddSigningKey(f.ctx, signingKey("k"), "other", &act) }},
		{"a session of no team", auditdrain.CodeNotFound, func() error { return f.CreateSession(f.ctx, session("x", "nobody", f.time), &act) }},
		{"no link", auditdrain.CodeNotFound, func() error { _, err := f.TakePortalLink(f.ctx, none, &act); return err }},
		{"a skip twice", "", func() error { _, err := f.SkipEvent(f.ctx, "d1", skipOf("1", 1), &act); return err }},
		{"no replay", auditdrain.CodeNotFound, func() error { _, err := f.CancelReplay(f.ctx, "d1", &act); return err }},
		{"a refused update", auditdrain.CodeInternal, func() error {
			_, err := f.UpdateDrain(f.ctx, "a", "d1", func(d *auditdrain.Drain) error { d.Name = "x"; return refuse }, &act)
			return err
		}},
		{"a refused update of a team", auditdrain.CodeInternal, func() error {
			_, err := f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error { t.Name = "x"; return refuse }, &act)
			return err
		}},
	} {
		err := c.call()
		if got := auditdrain.ErrorCode(err); got != c.want {
			f.Errorf("%s: error %v (code %q), want code %q", c.what, err, got, c.want)
		}
		f.wantActivities(auditdrain.ActivityQuery{Limit: 9})
	}
}

func testUpdateTeam(f *fixture) {
	f.createTeams("a", "b")
	slug := "slug-of-a"
	f.must(f.CreateDrain(f.ctx, drain("d1", "a", 1), 1, nil))
	for _, name := range []string{"a", slug} { // which is remembered
		_, err := f.Team(f.ctx, name)
		f.must(err)
	}
	want := team("a", slug)
	want.Name, want.HideIPAddresses = "new", true
	got, err := f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error { t.Name, t.HideIPAddresses = "new", true; return nil }, nil)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("updated (-want +got):\n%s", d)
	}
	refuse := errors.New("refused")
	if _, err := f.UpdateTeam(f.ctx, "a", func(t *auditdrain.Team) error { t.Name = "x"; return refuse }, nil); err != refuse {
		f.Errorf("refused: got %v", err)
	}
	for _, change := range []func(*auditdrain.Team) error{
		func(t *auditdrain.Team) error { t.ID = "c"; return nil },
		func(t *auditdrain.Team) error { t.Slug = "c"; return nil },
	} {
		_, err := f.UpdateTeam(f.ctx, "a", change, nil)
		f.wantCode(err, auditdrain.CodeInternal)
	}
	_, err = f.UpdateTeam(f.ctx, "nobody", func(*auditdrain.Team) error { f.Error("called"); return nil }, nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	for range 2 {
		for _, name := range []string{"a", slug} {
			got, err := f.Team(f.ctx, name)
			f.must(err)
			if d := cmp.Diff(want, got); d != "" {
				f.Errorf("team %s (-want +got):\n%s", name, d)
			}
		}
		for text, matches := range map[string]int{"new": 1, "team a": 0} {
			_, got, _, err := f.FindDrains(f.ctx, auditdrain.DrainSearch{Text: text, Limit: 9})
			f.must(err)
			if got != matches {
				f.Errorf("%d drains of a team that is called %q, want %d", got, text, matches)
			}
		}
		f.reopen()
	}
	// None of many updates is lost.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := f.UpdateTeam(f.ctx, "b", func(t *auditdrain.Team) error { t.CreatedAt++; return nil }, nil)
			if err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := f.Team(f.ctx, "b"); err != nil || got.CreatedAt != 17+8 {
		f.Errorf("after 8 updates: %+v, %v", got, err)
	}
}

func testForwarded(f *fixture) {
	for want := range uint64(3) {
		for range 2 {
			if got, err := f.Forwarded(f.ctx); err != nil || got != want {
				f.Errorf("forwarded %d, %v, want %d", got, err, want)
			}
			f.reopen()
		}
		f.must(f.SaveForwarded(f.ctx, want+1))
	}
}

// Of many at once, each gets a number of its own.
func testActivitiesAtOnce(f *fixture) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			act := activity(fmt.Sprint("act", i), "a")
			if err := f.Record(f.ctx, &act); err != nil {
				f.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := f.ActivitiesAfter(f.ctx, 0, 99)
	f.must(err)
	for i, a := range got {
		if a.Number != uint64(i+1) {
			f.Errorf("activity %d has number %d", i+1, a.Number)
		}
	}
	if len(got) != 8 {
		f.Errorf("%d activities, want 8", len(got))
	}
}
