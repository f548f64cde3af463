package web

// queries shows the setup kit of a drain: what reads the files that it has
// written, and what it was set up with, again.
func (s *Server) queries(v *visit) (reply, error) {
	d, err := s.drainOf(v)
	if err != nil {
		return reply{}, err
	}
	team, err := s.client.GetTeam(v.Context(), d.TeamID)
	if err != nil {
		return reply{}, err
	}
	f := newDrainForm(team, nil)
	f.change(d)
	if err := s.writeDocuments(v.Context(), f); err != nil {
		return reply{}, err
	}
	return reply{page: "drainqueries", title: "Setup kit: " + d.Name, data: f, visit: v}, nil
}
