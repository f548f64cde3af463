package awssim

// ExpireSessions ends all sessions of a role that there are: S3 and STS say
// ExpiredToken from now on. New ones can be had.
func (s *Sim) ExpireSessions(roleARN string) {
	now := s.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, ses := range s.sessions {
		if ses.roleARN == roleARN && now.Before(ses.Expires) {
			ses.Expires = now
			s.sessions[key] = ses
		}
	}
}

// ForgetSessions does the same as if their access keys had never been: S3
// says InvalidAccessKeyId, STS InvalidClientTokenId.
func (s *Sim) ForgetSessions(roleARN string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, ses := range s.sessions {
		if ses.roleARN == roleARN {
			delete(s.sessions, key)
		}
	}
}

// RemoveUser deletes the user with this access key, or the key, which is the
// same to whoever uses it.
func (s *Sim) RemoveUser(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, accessKeyID)
}
