package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func session(name, team string, expires time.Time) auditdrain.Session {
	return auditdrain.Session{
		ID: "ses_" + name, Name: "name of " + name, Role: auditdrain.RoleOwner, TeamID: team, ActorID: "tok_" + name,
		TokenHash: auditdrain.HashToken("token of " + name), CreatedAt: 17, ExpiresAt: expires.UnixMilli(),
		Hash: auditdrain.HashToken("cookie of " + name),
	}
}

func portalLink(name, team string, expires time.Time) auditdrain.PortalLink {
	return auditdrain.PortalLink{
		ID: "lnk_" + name, TeamID: team, Role: auditdrain.RoleViewer, UserName: "name of " + name,
		CreatedAt: 17, ExpiresAt: expires.UnixMilli(), Hash: auditdrain.HashToken("link of " + name),
	}
}

// nearby is the hash before h: a search that stops at h finds it next.
func nearby(h auditdrain.TokenHash) auditdrain.TokenHash {
	h[len(h)-1]--
	return h
}

func testSessions(f *fixture) {
	f.createTeams("a")
	a, b := session("a", "a", f.time.Add(time.Hour)), session("b", "", f.time.Add(-time.Hour))
	for _, s := range []auditdrain.Session{a, b} {
		f.must(f.CreateSession(f.ctx, s, nil))
	}
	f.wantCode(f.CreateSession(f.ctx, a, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreateSession(f.ctx, session("c", "nobody", f.time), nil), auditdrain.CodeNotFound)
	for range 2 {
		for _, want := range []auditdrain.Session{a, b} {
			got, err := f.Session(f.ctx, want.Hash)
			f.must(err)
			if d := cmp.Diff(want, got); d != "" {
				f.Errorf("session %s (-want +got):\n%s", want.ID, d)
			}
			_, err = f.Session(f.ctx, nearby(want.Hash))
			f.wantCode(err, auditdrain.CodeNotFound)
		}
		f.reopen()
	}
	// A token is no session, nor is a portal link.
	_, err := f.TokenByHash(f.ctx, a.Hash)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.PortalLink(f.ctx, a.Hash)
	f.wantCode(err, auditdrain.CodeNotFound)

	f.wantCode(f.DeleteSession(f.ctx, nearby(a.Hash), nil), auditdrain.CodeNotFound)
	f.must(f.DeleteSession(f.ctx, a.Hash, nil))
	f.wantCode(f.DeleteSession(f.ctx, a.Hash, nil), auditdrain.CodeNotFound)
	f.reopen()
	_, err = f.Session(f.ctx, a.Hash)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.Session(f.ctx, b.Hash)
	f.must(err)
}

func testPortalLinks(f *fixture) {
	f.createTeams("a")
	a, over := portalLink("a", "a", f.time.Add(time.Minute)), portalLink("b", "a", f.time)
	for _, l := range []auditdrain.PortalLink{a, over} {
		f.must(f.CreatePortalLink(f.ctx, l, nil))
	}
	f.wantCode(f.CreatePortalLink(f.ctx, a, nil), auditdrain.CodeConflict)
	f.wantCode(f.CreatePortalLink(f.ctx, portalLink("c", "nobody", f.time), nil), auditdrain.CodeNotFound)
	for range 2 {
		for _, want := range []auditdrain.PortalLink{a, over} {
			got, err := f.PortalLink(f.ctx, want.Hash)
			f.must(err)
			if d := cmp.Diff(want, got); d != "" {
				f.Errorf("portal link %s (-want +got):\n%s", want.ID, d)
			}
			_, err = f.PortalLink(f.ctx, nearby(want.Hash))
			f.wantCode(err, auditdrain.CodeNotFound)
		}
		f.reopen()
	}
	_, err := f.TakePortalLink(f.ctx, over.Hash, nil)
	f.wantCode(err, auditdrain.CodeNotFound)
	_, err = f.TakePortalLink(f.ctx, nearby(a.Hash), nil)
	f.wantCode(err, auditdrain.CodeNotFound)

	// Of many who open it at once one is let in.
	var wg sync.WaitGroup
	var taken atomic.Int32
	for range 8 {
		wg.Go(func() {
			got, err := f.TakePortalLink(f.ctx, a.Hash, nil)
			if err != nil {
				f.wantCode(err, auditdrain.CodeNotFound)
				return
			}
			taken.Add(1)
			if d := cmp.Diff(a, got); d != "" {
				f.Errorf("taken (-want +got):\n%s", d)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		f.Errorf("%d got the link", n)
	}
	f.reopen()
	_, err = f.PortalLink(f.ctx, a.Hash)
	f.wantCode(err, auditdrain.CodeNotFound)
}

func testDeleteExpired(f *fixture) {
	f.createTeams("a")
	f.must(f.DeleteExpired(f.ctx, f.time)) // there are none
	for name, lasts := range map[string]time.Duration{"over": 0, "now": time.Minute, "later": time.Minute + time.Millisecond} {
		f.must(f.CreateSession(f.ctx, session(name, "a", f.time.Add(lasts)), nil))
		f.must(f.CreatePortalLink(f.ctx, portalLink(name, "a", f.time.Add(lasts)), nil))
	}
	f.must(f.DeleteExpired(f.ctx, f.time.Add(time.Minute)))
	for range 2 {
		for name, want := range map[string]auditdrain.Code{"over": auditdrain.CodeNotFound, "now": auditdrain.CodeNotFound, "later": ""} {
			_, err := f.Session(f.ctx, session(name, "a", f.time).Hash)
			f.wantCode(err, want)
			_, err = f.PortalLink(f.ctx, portalLink(name, "a", f.time).Hash)
			f.wantCode(err, want)
		}
		f.reopen()
	}
}

func (h *history) createLink() *operation {
	l := portalLink(fmt.Sprint("link", h.n), pick(h.rng, h.model.teams), h.now.Add(24*time.Hour))
	act := h.act(l.TeamID)
	return &operation{
		name:  "create " + l.ID,
		apply: func(m *model) any { m.links[l.ID] = modelLink{PortalLink: l}; m.record(act); return nil },
		call:  func() (any, error) { return nil, h.store.CreatePortalLink(h.ctx, l, act) },
	}
}

func (h *history) takeLink() *operation {
	id := pick(h.rng, h.model.links)
	act := h.act(h.model.links[id].TeamID)
	return &operation{
		name: "take " + id,
		apply: func(m *model) any {
			l := m.links[id]
			if l.taken {
				return auditdrain.CodeNotFound
			}
			m.links[id] = modelLink{l.PortalLink, true}
			m.record(act)
			return l.PortalLink
		},
		call: func() (any, error) { return h.store.TakePortalLink(h.ctx, h.model.links[id].Hash, act) },
	}
}
