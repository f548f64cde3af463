package api

import (
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

func (s *Server) createPortalLink(c *call) (any, error) {
	var in auditdrain.PortalLinkInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	in = in.WithDefaults()
	if err := in.Validate(); err != nil {
		return nil, err
	}
	team, err := s.Teams.Team(c.Context(), in.TeamID)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	value := auditdrain.NewTokenValue()
	link := auditdrain.PortalLink{
		ID:        auditdrain.NewID("lnk_"),
		TeamID:    team.ID,
		Role:      in.Role,
		UserName:  in.UserName,
		CreatedAt: now.UnixMilli(),
		ExpiresAt: now.Add(time.Duration(in.ValidMinutes) * time.Minute).UnixMilli(),
		Hash:      auditdrain.HashToken(value),
	}
	act := c.did(auditdrain.ActionPortalLinkCreated, team.ID, link.ID, link.UserName,
		set("role", string(link.Role)), set("expiresAt", moment(link.ExpiresAt)))
	if err := s.Links.CreatePortalLink(c.Context(), link, act); err != nil {
		return nil, err
	}
	return auditdrain.NewPortalLink{PortalLink: link, URL: strings.TrimSuffix(s.PublicURL, "/") + "/portal/" + value}, nil
}
