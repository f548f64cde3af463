package api

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) listSkips(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	skips, err := s.Skips.Skips(c.Context(), d.ID)
	if err != nil {
		return nil, err
	}
	return auditdrain.SkipList{Skips: notNil(skips)}, nil
}

func (s *Server) skipEvent(c *call) (any, error) {
	var in auditdrain.SkipInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	act := c.didToDrain(auditdrain.ActionEventSkipped, d, set("eventId", in.EventID), set("reason", in.Reason))
	skip, err := s.Skips.SkipEvent(c.Context(), d.ID, auditdrain.Skip{
		EventID: in.EventID,
		Reason:  in.Reason,
		By:      c.token.ID,
		At:      time.Now().UnixMilli(),
	}, act)
	if err != nil {
		return nil, err
	}
	s.Log.Warn("event was skipped", "drain", d.ID, "team", d.TeamID, "event", skip.EventID, "by", skip.By, "reason", skip.Reason)
	s.Deliverer.Changed(d.ID)
	return skip, nil
}

// skipBacklog gives up what a drain has not delivered, and returns the record
// of that, or nil if there was nothing.
func (s *Server) skipBacklog(c *call, d auditdrain.Drain) (*auditdrain.Skip, error) {
	skip, err := s.Skips.SkipBacklog(c.Context(), d.ID, auditdrain.Skip{
		Reason: "resumed from now",
		By:     c.token.ID,
		At:     time.Now().UnixMilli(),
	}, c.didToDrain(auditdrain.ActionBacklogGivenUp, d, set("reason", "resumed from now")))
	if err != nil || skip == (auditdrain.Skip{}) {
		return nil, err
	}
	s.Log.Warn("backlog was given up", "drain", d.ID, "events", skip.Events(), "by", skip.By, "reason", skip.Reason)
	return &skip, nil
}
