package api

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) startReplay(c *call) (any, error) {
	var in auditdrain.ReplayInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := in.Validate(now); err != nil {
		return nil, err
	}
	if in.To == 0 {
		in.To = now.UnixMilli() + 1 // with what was accepted in this millisecond
	}
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	act := c.didToDrain(auditdrain.ActionReplayStarted, d, set("from", moment(in.From)), set("to", moment(in.To)))
	order, err := s.Replays.StartReplay(c.Context(), d.ID, auditdrain.ReplayOrder{
		ID:        auditdrain.NewID("rpl_"),
		From:      in.From,
		To:        in.To,
		CreatedAt: now.UnixMilli(),
		By:        c.token.ID,
	}, act)
	if err != nil {
		return nil, err
	}
	s.Deliverer.Changed(d.ID)
	state, err := s.Progress.DeliveryState(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	return shownReplay(d, state, order), nil
}

func (s *Server) cancelReplay(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	order, err := s.Replays.CancelReplay(c.Context(), d.ID, c.didToDrain(auditdrain.ActionReplayCancelled, d))
	if err != nil {
		return nil, err
	}
	s.Deliverer.Changed(d.ID)
	state, err := s.Progress.DeliveryState(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	return shownReplay(d, state, order), nil
}

func (s *Server) getReplay(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	// The state first: of a replay that is ordered between the two, nothing has
	// been done, which is true.
	state, err := s.Progress.DeliveryState(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	instructions, err := s.Replays.Instructions(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	if instructions.Replay == nil {
		return nil, auditdrain.Errorf(auditdrain.CodeNotFound, "drain %q has never been replayed", d.ID)
	}
	return shownReplay(d, state, *instructions.Replay), nil
}

// shownReplay adds to an order what has become of it.
func shownReplay(d auditdrain.Drain, state auditdrain.DeliveryState, order auditdrain.ReplayOrder) auditdrain.Replay {
	var progress auditdrain.ReplayProgress
	if state.Replay != nil {
		progress = *state.Replay
	}
	replay := order.Shown(progress)
	replay.DrainStatus = state.Status(d)
	return replay
}
