package storetest

import (
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func team(id, slug string) auditdrain.Team {
	return auditdrain.Team{ID: id, Slug: slug, Name: "Team " + id, CreatedAt: 17}
}

func (f *fixture) createTeams(ids ...string) {
	f.Helper()
	for _, id := range ids {
		f.must(f.CreateTeam(f.ctx, team(id, "slug-of-"+id), nil))
	}
}

func testTeams(f *fixture) {
	a, b := team("team_a", "acme"), team("same", "same")
	f.must(f.CreateTeam(f.ctx, a, nil))
	f.must(f.CreateTeam(f.ctx, b, nil))
	for _, c := range []auditdrain.Team{
		team("team_a", "free"),
		team("free", "acme"),
		team("acme", "free"),
		team("same", "free"),
		team("free", "same"),
	} {
		f.wantCode(f.CreateTeam(f.ctx, c, nil), auditdrain.CodeConflict)
	}
	for range 2 {
		for name, want := range map[string]auditdrain.Team{"team_a": a, "acme": a, "same": b} {
			got, err := f.Team(f.ctx, name)
			f.must(err)
			if d := cmp.Diff(want, got); d != "" {
				f.Errorf("team %s (-want +got):\n%s", name, d)
			}
		}
		for _, name := range []string{"free", "", "team_", "team_aa", "x/y"} {
			_, err := f.Team(f.ctx, name)
			f.wantCode(err, auditdrain.CodeNotFound)
		}
		got, err := f.Teams(f.ctx)
		f.must(err)
		if d := cmp.Diff([]auditdrain.Team{b, a}, got); d != "" {
			f.Errorf("teams (-want +got):\n%s", d)
		}
		f.reopen()
	}
	// Of many who want the same name one gets it.
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for i := range 8 {
		wg.Go(func() {
			err := f.CreateTeam(f.ctx, team(fmt.Sprint("t", i), "wanted"), nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else {
				f.wantCode(err, auditdrain.CodeConflict)
			}
		})
	}
	wg.Wait()
	if created != 1 {
		f.Errorf("%d teams got the same slug", created)
	}
}

func testTokens(f *fixture) {
	f.createTeams("a", "b")
	token := func(id, team string, role auditdrain.Role, created int64) auditdrain.Token {
		return auditdrain.Token{ID: id, Name: "name of " + id, Role: role, TeamID: team, CreatedAt: created, ExpiresAt: 99, Hash: auditdrain.HashToken("value of " + id)}
	}
	op := token("t4", "", auditdrain.RoleOperator, 1)
	a1, a2 := token("t3", "a", auditdrain.RoleOwner, 2), token("t1", "a", auditdrain.RoleProducer, 3)
	b := token("t2", "b", auditdrain.RoleViewer, 3)
	for _, t := range []auditdrain.Token{a2, b, op, a1} {
		f.must(f.CreateToken(f.ctx, t, nil))
	}
	sameID, sameHash := token("t1", "a", auditdrain.RoleOwner, 1), token("t9", "a", auditdrain.RoleOwner, 1)
	sameID.Hash = auditdrain.HashToken("new")
	sameHash.Hash = a1.Hash
	f.wantCode(f.CreateToken(f.ctx, sameID, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreateToken(f.ctx, sameHash, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreateToken(f.ctx, token("t9", "nobody", auditdrain.RoleOwner, 1), nil), auditdrain.CodeNotFound)

	list := func(team string, want ...auditdrain.Token) {
		f.Helper()
		got, err := f.Tokens(f.ctx, team)
		f.must(err)
		if d := cmp.Diff(want, got); d != "" {
			f.Errorf("tokens of %q (-want +got):\n%s", team, d)
		}
	}
	for range 2 {
		list("", op, a1, a2, b)
		list("a", a1, a2)
		list("b", b)
		list("nobody")
		for _, want := range []auditdrain.Token{op, a1, a2, b} {
			got, err := f.TokenByHash(f.ctx, want.Hash)
			f.must(err)
			if d := cmp.Diff(want, got); d != "" {
				f.Errorf("token %s (-want +got):\n%s", want.ID, d)
			}
			_, err = f.TokenByHash(f.ctx, nearby(want.Hash))
			f.wantCode(err, auditdrain.CodeNotFound)
		}
		f.reopen()
	}
	f.wantCode(f.DeleteToken(f.ctx, "a", "t2", nil), auditdrain.CodeNotFound) // another team's
	f.wantCode(f.DeleteToken(f.ctx, "a", "t4", nil), auditdrain.CodeNotFound) // the operator's
	f.wantCode(f.DeleteToken(f.ctx, "", "none", nil), auditdrain.CodeNotFound)
	f.must(f.DeleteToken(f.ctx, "a", "t1", nil))
	f.wantCode(f.DeleteToken(f.ctx, "a", "t1", nil), auditdrain.CodeNotFound)
	f.must(f.DeleteToken(f.ctx, "", "t2", nil))
	_, err := f.TokenByHash(f.ctx, b.Hash) // which has been looked up before
	f.wantCode(err, auditdrain.CodeNotFound)
	f.reopen()
	list("", op, a1)
	_, err = f.TokenByHash(f.ctx, b.Hash)
	f.wantCode(err, auditdrain.CodeNotFound)
	f.must(f.CreateToken(f.ctx, b, nil)) // its ID and hash are free again
}
