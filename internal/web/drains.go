package web

// drainsPage lists the drains of the team, or for operators of all.
func (s *Server) drainsPage(v *visit) (reply, error) {
	return reply{page: "drains", title: "Drains", visit: v}, nil
}
