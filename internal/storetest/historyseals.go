package storetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auditdrain/auditdrain"
)

// The operations on chains, and what must hold of them.

func (h *history) seal() *operation {
	id := pick(h.rng, h.model.drains)
	return h.sealBy(id, h.sealRequest(id))
}

func (h *history) sealBy(id string, req auditdrain.SealRequest) *operation {
	return &operation{
		name:  fmt.Sprintf("seal %s for %q", id, req.Cause),
		apply: func(m *model) any { return m.seal(id, req, nil) },
		call:  func() (any, error) { return h.store.Seal(h.ctx, id, req) },
	}
}

// sealRequest makes up why a drain is sealed, up to one and a half hours after the
// last time.
func (h *history) sealRequest(drainID string) auditdrain.SealRequest {
	chain := h.model.chains[drainID].Chain
	req := auditdrain.SealRequest{
		At:    max(h.now.UnixMilli(), chain.Since) + h.rng.Int64N(90*60_000),
		KeyID: fmt.Sprint("key", h.rng.IntN(2)),
	}
	if chain.DrainID != "" && h.rng.IntN(3) > 0 {
		causes := []auditdrain.SealCause{auditdrain.SealHour, auditdrain.SealHour, auditdrain.SealReplay, auditdrain.SealPaused}
		req.Cause = causes[h.rng.IntN(len(causes))]
		return req
	}
	d := h.model.drains[drainID]
	as := auditdrain.DeliversAs{Rendering: auditdrain.Rendering{Delivery: d.Delivery}, Replay: d.order}
	as.Delivery.Integrity = h.rng.IntN(8) > 0
	switch h.rng.IntN(8) {
	case 0:
		as.Delivery.Encoding = "json"
	case 1:
		as.Delivery.Endpoint = "s3://elsewhere"
	case 2:
		as.HideIPAddresses = true
	}
	req.As = &as
	return req
}

// seal changes m as Seal must change a store, and returns the chain. act is what is
// recorded with it, or nil.
func (m *model) seal(drainID string, req auditdrain.SealRequest, act *auditdrain.Activity) auditdrain.Chain {
	d, r := m.drains[drainID], m.chains[drainID]
	l := m.log(d.TeamID)
	facts := auditdrain.SealFacts{DrainID: d.ID, TeamID: d.TeamID, State: d.state(), LastSeq: l.last(), Skips: d.skips}
	facts.AcceptedAt = func(seq uint64) (int64, error) {
		if seq > l.last() {
			return 0, nil
		}
		return l.at(seq).AcceptedAt.UnixMilli(), nil
	}
	for _, a := range m.activities {
		if a.TeamID == d.TeamID && a.Number > r.Chain.Activity {
			facts.Activities = append(facts.Activities, a)
		}
	}
	if r.Chain.DrainID == "" {
		facts.Activities = facts.Activities[max(len(facts.Activities)-100, 0):]
	}
	if act != nil {
		a := *act
		a.Number = uint64(len(m.activities)) + 1
		facts.Activities = append(facts.Activities, a)
	}
	chain, seals, _ := r.Chain.Seal(req, facts) // AcceptedAt does not fail
	if !gocmp.Equal(chain, r.Chain) {
		m.chains[drainID] = auditdrain.ChainRecord{Chain: chain, Seals: slices.Concat(r.Seals, seals)}
		d.saved = []savedProgress{d.latest()} // which is durable
	}
	return chain
}

// sealWritten is mostly about the next manifest.
func (h *history) sealWritten() *operation {
	id := pick(h.rng, h.model.chains)
	number := h.model.chains[id].Chain.Written + 1
	switch h.rng.IntN(6) {
	case 0:
		number--
	case 1:
		number++
	}
	return h.sealWrittenBy(id, number)
}

func (h *history) sealWrittenBy(id string, number uint64) *operation {
	head, at := fmt.Sprint("head ", h.n), h.now.UnixMilli()
	return &operation{
		name: fmt.Sprintf("manifest %d of %s is written", number, id),
		apply: func(m *model) any {
			r := m.chains[id]
			switch {
			case number <= r.Chain.Written:
				return nil
			case number > r.Chain.Written+1 || len(r.Seals) == 0:
				return auditdrain.CodeConflict
			}
			m.chains[id] = auditdrain.ChainRecord{Chain: r.Chain.Wrote(r.Seals[0], head, at), Seals: r.Seals[1:]}
			m.dropEnded(id)
			return nil
		},
		call: func() (any, error) { return nil, h.store.SealWritten(h.ctx, id, number, head, at) },
	}
}

func (m *model) dropEnded(drainID string) {
	if m.chains[drainID].Chain.Ended() {
		delete(m.chains, drainID)
	}
}

// chainSteps are the life of one chain, which few random steps would hardly have.
func (h *history) chainSteps() []func() *operation {
	seal := func(cause auditdrain.SealCause) func() *operation {
		return func() *operation {
			id := pick(h.rng, h.model.drains)
			req := auditdrain.SealRequest{Cause: cause, At: max(h.now.UnixMilli(), h.model.chains[id].Chain.Since) + 3600_000}
			if cause == "" {
				_, as := sealedDrain(id, h.model.drains[id].TeamID)
				req.As = &as
			}
			return h.sealBy(id, req)
		}
	}
	written := func() *operation {
		id := pick(h.rng, h.model.chains)
		return h.sealWrittenBy(id, h.model.chains[id].Chain.Written+1)
	}
	return []func() *operation{
		h.createTeam, h.createDrain, h.append, seal(""), h.append, h.saveProgress, seal(auditdrain.SealHour), h.retain,
		h.saveProgress, seal(auditdrain.SealPaused), written, h.append, seal(""), h.deleteDrain, h.retain, written, written, written, written,
	}
}

// diffChains also checks what must hold of chains whatever was done.
func (h *history) diffChains(m *model) error {
	chains, err := h.store.Chains(h.ctx)
	if err != nil {
		return err
	}
	var want, got []auditdrain.ChainRecord
	for _, c := range chains {
		r := auditdrain.ChainRecord{Chain: c}
		if r.Seals, err = h.store.Seals(h.ctx, c.DrainID); err != nil {
			return err
		}
		if err := h.checkChain(r); err != nil {
			return fmt.Errorf("chain of %s: %w", c.DrainID, err)
		}
		got = append(got, r)
	}
	want = sorted(m.chains, func(a, b auditdrain.ChainRecord) int { return cmp.Compare(a.Chain.DrainID, b.Chain.DrainID) })
	if d := gocmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		return fmt.Errorf("chains (-want +got):\n%.2000s", d)
	}
	return nil
}

// checkChain checks that the seals that are not written go on where the others
// ended, without a gap in number, time or sequence, up to where the chain is; and
// that what they need, and those to come, can be read.
func (h *history) checkChain(r auditdrain.ChainRecord) error {
	number, time, seq := r.Chain.Written, r.Chain.CoveredTo, uint64(0)
	for _, s := range r.Seals {
		number++
		if s.Number != number || time != 0 && s.Delivered.From != time {
			return fmt.Errorf("seal %d from %d, want seal %d from %d", s.Number, s.Delivered.From, number, time)
		}
		time = s.Delivered.To
		if s.Cause == auditdrain.SealReplay {
			continue
		}
		if seq != 0 && s.Sequence.From != seq {
			return fmt.Errorf("seal %d begins with event %d, want %d", s.Number, s.Sequence.From, seq)
		}
		seq = s.Sequence.To
	}
	if c := r.Chain; c.Sealed != number || time != 0 && c.Since != time || seq != 0 && c.Sequence != seq {
		return fmt.Errorf("it goes on with %d, from %d and event %d, want %d, from %d and event %d", c.Sealed+1, c.Since, c.Sequence, number+1, time, seq)
	}
	needs := r.Needs()
	if needs == math.MaxUint64 {
		return nil
	}
	last, _, err := h.store.Last(h.ctx, r.Chain.TeamID)
	if err != nil || needs > last {
		return err
	}
	es, err := h.store.Read(h.ctx, r.Chain.TeamID, needs-1, 1, noLimit)
	if err == nil && (len(es) != 1 || es[0].Seq != needs) {
		err = fmt.Errorf("event %d is needed and gone", needs)
	}
	return err
}
