package storetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// history does random things with a store and compares every answer with a
// model.
type history struct {
	*testing.T
	ctx   context.Context
	rng   *rand.Rand
	place Place
	store Store // nil while none is open
	now   time.Time
	clock atomic.Pointer[time.Time] // now, for the store, which may still look at it after a call has failed
	model *model
	n     int // operations so far, also makes names unique

	// unknown is the operation that ended with an error: it may have taken
	// place. after is the model if so.
	unknown *operation
	after   *model
}

// operation is one call. apply changes the model as the call must change the
// store, and returns the answer it must give; call makes the call.
type operation struct {
	name  string
	apply func(*model) any
	call  func() (any, error)
	// settle, if set, takes over the answer that apply cannot know, or says
	// what is wrong with it.
	settle func(m *model, got any) error
	// again is set for operations that may be repeated after an error.
	again bool
}

func newHistory(t *testing.T, place Place, seed uint64) *history {
	return &history{
		T: t, ctx: t.Context(), place: place, model: newModel(),
		rng: rand.New(rand.NewPCG(seed, 0)),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
}

func (h *history) open() error {
	h.setTime(h.now)
	s, err := h.place.Open(func() time.Time { return *h.clock.Load() })
	if err == nil {
		h.store = s
	}
	return err
}

func (h *history) setTime(t time.Time) {
	h.now = t
	h.clock.Store(&t)
}

// step does one operation. It returns the error of the call, after which the
// operation is unknown; any other deviation ends the test.
func (h *history) step() error {
	h.Helper()
	return h.stepBy(h.next)
}

// stepBy is step with what makes up the operation.
func (h *history) stepBy(next func() *operation) error {
	h.Helper()
	h.n++
	h.setTime(h.now.Add(time.Duration(h.rng.IntN(5e9)) - 5e8))
	return h.do(next())
}

func (h *history) do(op *operation) error {
	h.Helper()
	after := h.model.clone()
	want := op.apply(after)
	got, err := op.call()
	if err != nil && !isAnswer(err) {
		h.unknown, h.after = op, after
		return fmt.Errorf("%d %s: %w", h.n, op.name, err)
	}
	if err != nil {
		got = auditdrain.ErrorCode(err)
	}
	if op.settle != nil {
		if err := op.settle(after, got); err != nil {
			h.Fatalf("%d %s: %v", h.n, op.name, err)
		}
	} else if d := gocmp.Diff(want, got, asWhole); d != "" {
		h.Fatalf("%d %s (-want +got):\n%s", h.n, op.name, d)
	}
	h.model = after
	return nil
}

// asWhole compares bodies as a whole, which is much faster than byte by byte.
var asWhole = gocmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })

// isAnswer reports whether err is what the operation came to, rather than that
// it did not come to an end.
func isAnswer(err error) bool {
	c := auditdrain.ErrorCode(err)
	return c == auditdrain.CodeNotFound || c == auditdrain.CodeConflict
}

// next makes up an operation.
func (h *history) next() *operation {
	rng, teams := h.rng, h.model.teams
	if len(teams) == 0 {
		return h.createTeam()
	}
	switch p := rng.IntN(100); {
	case p < 40:
		return h.append()
	case p < 50:
		return h.read()
	case p < 51:
		return h.addSigningKey()
	case p < 54 && len(teams) < 4:
		return h.createTeam()
	case p < 56:
		return h.createToken()
	case p < 57:
		return h.createLink()
	case p < 58 && len(h.model.links) > 0:
		return h.takeLink()
	case p < 60 && len(h.model.tokens) > 0:
		return h.deleteToken()
	case p < 64:
		return h.createDrain()
	case p < 70:
		return h.retain()
	case len(h.model.drains) == 0:
		return h.append()
	case p < 72:
		return h.deleteDrain()
	case p < 75:
		return h.updateDrain()
	case p < 78:
		return h.skipEvent()
	case p < 79:
		return h.skipBacklog()
	case p < 83:
		return h.startReplay()
	case p < 84:
		return h.cancelReplay()
	case p < 89:
		return h.seal()
	case p < 91 && len(h.model.chains) > 0:
		return h.sealWritten()
	default:
		return h.saveProgress()
	}
}

func (h *history) append() *operation {
	var batches []auditdrain.Batch
	for range 1 + h.rng.IntN(3) {
		team := pick(h.rng, h.model.teams)
		b := auditdrain.Batch{TeamID: team}
		for range 1 + h.rng.IntN(6) {
			b.Events = append(b.Events, h.event(team))
		}
		batches = append(batches, b)
	}
	return &operation{
		name:  fmt.Sprintf("append %d batches", len(batches)),
		apply: func(m *model) any { return m.append(batches, h.now) },
		call:  func() (any, error) { r, err := h.store.Append(h.ctx, batches); return r, err },
		again: true,
	}
}

// event is mostly new, sometimes one that is or was stored, rarely one with
// other bytes.
func (h *history) event(team string) auditdrain.Event {
	if es := h.model.log(team).events; len(es) > 0 && h.rng.IntN(4) == 0 {
		e := es[h.rng.IntN(len(es))].Event
		if h.rng.IntN(10) == 0 {
			e.Body = append(slices.Clone(e.Body), '!')
		}
		return e
	}
	n := h.rng.IntN(1500)
	body := make([]byte, 0, n+8)
	for len(body) < n {
		body = binary.LittleEndian.AppendUint64(body, h.rng.Uint64())
	}
	return auditdrain.Event{ID: fmt.Sprintf("e%d", h.rng.IntN(1e9)), Timestamp: h.rng.Int64N(1 << 41), Body: body}
}

func (h *history) read() *operation {
	team := pick(h.rng, h.model.teams)
	after, n := uint64(h.rng.IntN(int(h.model.log(team).last())+2)), 1+h.rng.IntN(10)
	return &operation{
		name: fmt.Sprintf("read %s after %d", team, after),
		apply: func(m *model) any {
			l := m.log(team)
			begin := min(max(after, l.first-1), l.last())
			return append([]auditdrain.StoredEvent(nil), l.events[begin:min(begin+uint64(n), l.last())]...)
		},
		call: func() (any, error) { es, err := h.store.Read(h.ctx, team, after, n, noLimit); return es, err },
	}
}

func (h *history) createTeam() *operation {
	t := team(fmt.Sprint("team", h.n), fmt.Sprint("slug", h.rng.IntN(20)))
	act := h.act(t.ID)
	return &operation{
		name: "create team " + t.ID,
		apply: func(m *model) any {
			for _, o := range m.teams {
				if o.Slug == t.Slug {
					return auditdrain.CodeConflict
				}
			}
			m.teams[t.ID] = t
			m.record(act)
			return nil
		},
		call: func() (any, error) { return nil, h.store.CreateTeam(h.ctx, t, act) },
	}
}

func (h *history) createToken() *operation {
	id := fmt.Sprint("token", h.n)
	t := auditdrain.Token{ID: id, Name: id, Role: auditdrain.RoleOwner, TeamID: pick(h.rng, h.model.teams), CreatedAt: int64(h.n), Hash: auditdrain.HashToken(id)}
	act := h.act(t.TeamID)
	return &operation{
		name:  "create " + id,
		apply: func(m *model) any { m.tokens[id] = t; m.record(act); return nil },
		call:  func() (any, error) { return nil, h.store.CreateToken(h.ctx, t, act) },
	}
}

func (h *history) deleteToken() *operation {
	id := pick(h.rng, h.model.tokens)
	act := h.act("")
	return &operation{
		name:  "delete " + id,
		apply: func(m *model) any { delete(m.tokens, id); m.record(act); return nil },
		call:  func() (any, error) { return nil, h.store.DeleteToken(h.ctx, "", id, act) },
	}
}

func (h *history) createDrain() *operation {
	d := drain(fmt.Sprint("drain", h.n), pick(h.rng, h.model.teams), int64(h.n))
	var from int64
	if h.rng.IntN(2) == 0 {
		from = h.now.Add(-time.Duration(h.rng.IntN(120)) * time.Second).UnixMilli()
	}
	act := h.act(d.TeamID)
	return &operation{
		name: "create " + d.ID,
		apply: func(m *model) any {
			if len(m.teamDrains(d.TeamID)) == auditdrain.MaxDrainsPerTeam {
				return auditdrain.CodeConflict
			}
			m.drains[d.ID] = &modelDrain{
				Drain: d,
				saved: []savedProgress{{state: auditdrain.DeliveryState{DrainID: d.ID, Cursor: m.start(d.TeamID, from)}}},
			}
			m.record(act)
			return nil
		},
		call: func() (any, error) { return nil, h.store.CreateDrain(h.ctx, d, from, act) },
	}
}

func (h *history) updateDrain() *operation {
	id, name := pick(h.rng, h.model.drains), fmt.Sprint("name ", h.n)
	act, changes := h.act(h.model.drains[id].TeamID), []auditdrain.ActivityChange{{Field: "name", To: name}}
	act.TargetID = id
	return &operation{
		name: "update " + id,
		apply: func(m *model) any {
			m.drains[id].Name = name
			changed := *act
			changed.Changes = changes
			m.record(&changed)
			return m.drains[id].Drain
		},
		call: func() (any, error) {
			return h.store.UpdateDrain(h.ctx, "", id, func(d *auditdrain.Drain) error { d.Name, act.Changes = name, changes; return nil }, act)
		},
	}
}

func (h *history) deleteDrain() *operation {
	id := pick(h.rng, h.model.drains)
	act := h.act(h.model.drains[id].TeamID)
	act.TargetID = id
	return &operation{
		name: "delete " + id,
		apply: func(m *model) any {
			m.seal(id, auditdrain.SealRequest{Cause: auditdrain.SealDeleted, At: h.now.UnixMilli()}, act)
			m.dropEnded(id)
			delete(m.drains, id)
			m.record(act)
			return nil
		},
		call: func() (any, error) { return nil, h.store.DeleteDrain(h.ctx, "", id, act) },
	}
}

// act is what the operation that is made up is recorded as.
func (h *history) act(teamID string) *auditdrain.Activity {
	return &auditdrain.Activity{ID: fmt.Sprint("act", h.n), At: int64(h.n), Action: "whatever", TeamID: teamID}
}

// check compares the whole store with the model. After a crash the store may
// be a little behind where no durability was promised, and the unknown
// operation may have taken place; the model then becomes what is really there.
func (h *history) check(crashed bool) {
	h.Helper()
	if h.unknown != nil {
		// Whichever comes nearer must be it, entirely.
		before := h.diff(h.model, crashed)
		after := h.diff(h.after, crashed)
		switch {
		case after == nil:
			h.model = h.after
		case before != nil:
			h.Fatalf("%d %s: neither as before: %v\nnor as after: %v", h.n, h.unknown.name, before, after)
		}
	} else if err := h.diff(h.model, crashed); err != nil {
		h.Fatalf("%d: %v", h.n, err)
	}
	h.adopt(crashed)
	if op := h.unknown; op != nil && op.again {
		// Sending it again neither doubles nor loses anything.
		h.unknown, h.after = nil, nil
		if err := h.do(op); err != nil {
			h.Fatal(err)
		}
		if err := h.diff(h.model, false); err != nil {
			h.Fatalf("%d %s, sent again: %v", h.n, op.name, err)
		}
	}
	h.unknown, h.after = nil, nil
}

// diff returns how the store differs from m, or nil.
func (h *history) diff(m *model, crashed bool) error {
	s, ctx := h.store, h.ctx
	var errs []error
	compare := func(what string, want, got any, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		} else if d := gocmp.Diff(want, got, gocmp.AllowUnexported(modelLink{})); d != "" {
			errs = append(errs, fmt.Errorf("%s (-want +got):\n%.1000s", what, d))
		}
	}
	teams, err := s.Teams(ctx)
	slices.SortFunc(teams, func(a, b auditdrain.Team) int { return cmp.Compare(a.ID, b.ID) })
	compare("teams", sorted(m.teams, func(a, b auditdrain.Team) int { return cmp.Compare(a.ID, b.ID) }), teams, err)
	tokens, err := s.Tokens(ctx, "")
	compare("tokens", sorted(m.tokens, func(a, b auditdrain.Token) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) }), tokens, err)
	var want []auditdrain.Drain
	for _, d := range m.drains {
		want = append(want, d.Drain)
	}
	slices.SortFunc(want, func(a, b auditdrain.Drain) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	drains, err := s.Drains(ctx, auditdrain.DrainQuery{})
	compare("drains", want, drains, err)
	activities, err := s.ActivitiesAfter(ctx, 0, noLimit)
	compare("activities", m.activities, activities, err)
	keys, err := s.SigningKeys(ctx)
	compare("signing keys", m.signingKeys, keys, err)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, t := range m.tokens {
		got, err := s.TokenByHash(ctx, t.Hash)
		compare("token", t, got, err)
	}
	for _, l := range m.links {
		got, err := s.PortalLink(ctx, l.Hash)
		if l.taken && auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
			continue
		}
		compare("portal link", l, modelLink{PortalLink: got}, err)
	}
	for id := range m.teams {
		errs = append(errs, h.diffLog(m, id, crashed))
	}
	for _, d := range m.drains {
		errs = append(errs, h.diffDelivery(m, d, crashed))
	}
	errs = append(errs, h.diffChains(m))
	return errors.Join(errs...)
}

func sorted[V any](m map[string]V, compare func(a, b V) int) []V {
	return slices.SortedFunc(maps.Values(m), compare)
}

func (h *history) diffLog(m *model, team string, crashed bool) error {
	l := m.log(team)
	if last, bytes, err := h.store.Last(h.ctx, team); err != nil || last != l.last() || bytes != l.bytes() {
		return fmt.Errorf("last number of %s is %d with %d bytes (%v), want %d with %d", team, last, bytes, err, l.last(), l.bytes())
	}
	got, err := h.store.Read(h.ctx, team, 0, noLimit, noLimit)
	if err != nil {
		return err
	}
	first, least := l.last()+1, l.first
	if len(got) > 0 {
		first = got[0].Seq
	}
	if crashed {
		least = 1
	}
	if first < least || first > l.most {
		return fmt.Errorf("events of %s begin with %d, want one from %d to %d", team, first, least, l.most)
	}
	if d := gocmp.Diff(append([]auditdrain.StoredEvent(nil), l.events[first-1:]...), got, asWhole); d != "" {
		return fmt.Errorf("events of %s (-want +got):\n%.1000s", team, d)
	}
	return nil
}

// adopt makes the model as far behind as the store is.
func (h *history) adopt(crashed bool) {
	for team, l := range h.model.logs {
		var err error
		if l.first, err = h.firstLeft(l, team); err != nil {
			h.Fatal(err)
		}
		l.most = l.first
		for i := range l.looks {
			l.looks[i].sure = l.looks[i].sure && !crashed
		}
	}
	for _, d := range h.model.drains {
		d.saved = []savedProgress{h.progress(d.ID)}
	}
}

// firstLeft returns the number of the first event that a team has, or of the
// next one.
func (h *history) firstLeft(l *modelLog, team string) (uint64, error) {
	es, err := h.store.Read(h.ctx, team, 0, 1, noLimit)
	if err != nil || len(es) == 0 {
		return l.last() + 1, err
	}
	return es[0].Seq, nil
}
