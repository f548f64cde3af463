package s3

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// sessionDuration is an hour: the most that role chaining allows, and
	// what every role allows.
	sessionDuration = time.Hour
	// refreshAhead is how long before its end a session is replaced at the
	// latest, while it is still good for everybody else.
	refreshAhead = 10 * time.Minute
	// refreshSpread is by how much earlier that may be, so that sessions that
	// were made together are not replaced together.
	refreshSpread = 15 * time.Minute
	// lastUse is how long before its end a session is no longer used: a
	// request signed now must still be good when it arrives.
	lastUse = time.Minute
	// refreshPause is how long an early refresh that brought nothing is not
	// repeated.
	refreshPause = 30 * time.Second
	// doubtAfter is how old a session must be for a refusal to be the
	// session's fault rather than the role's.
	doubtAfter = time.Minute
)

// errNotNow is why an early refresh was not even tried.
var errNotNow = errors.New("not now")

// session holds the credentials of one assumed role. However many writes use
// it, one caller at a time talks to STS.
type session struct {
	now    func() time.Time
	assume assumeFunc
	spread func() time.Duration // by how much earlier than at the latest it is replaced

	mu        sync.Mutex
	creds     aws.Credentials // zero if there are none
	since     time.Time       // when we got them
	ahead     time.Duration   // how long before their end they are replaced
	notBefore time.Time       // no early refresh before this
	call      *assumeCall     // under way, or nil

	worked atomic.Bool // S3 has permitted something to these credentials
}

// assumeFunc asks for a new session. If it is only early, it may return
// errNotNow instead of waiting.
type assumeFunc func(ctx context.Context, early bool) (aws.Credentials, error)

type assumeCall struct {
	done      chan struct{} // closed when the rest is set
	creds     aws.Credentials
	err       error
	abandoned bool // its caller's context has ended
}

func newSession(now func() time.Time, assume assumeFunc) *session {
	return &session{now: now, assume: assume, ahead: refreshAhead, spread: func() time.Duration { return rand.N(refreshSpread) }}
}

// credentials returns credentials that are good for at least lastUse. Ahead
// of their end, the first caller to notice gets new ones while the others go
// on with the old; if that fails, so does the first. Only when there are none
// does everybody wait for the one call.
func (s *session) credentials(ctx context.Context) (aws.Credentials, error) {
	for {
		s.mu.Lock()
		left := s.left()
		usable := left > lastUse
		if left > s.ahead || usable && (s.call != nil || s.now().Before(s.notBefore)) {
			defer s.mu.Unlock()
			return s.creds, nil
		}
		if s.call == nil {
			return s.renew(ctx, usable)
		}
		call := s.call
		s.mu.Unlock()
		select {
		case <-call.done:
			if !call.abandoned {
				return call.creds, call.err
			}
			// It says nothing about the role: the next makes the call.
		case <-ctx.Done():
			return aws.Credentials{}, ctx.Err()
		}
	}
}

// left is how long the credentials are good for. s.mu is held.
func (s *session) left() time.Duration {
	switch {
	case !s.creds.HasKeys():
		return 0
	case !s.creds.CanExpire: // our own, where those are the writer role's
		return sessionDuration
	}
	return s.creds.Expires.Sub(s.now())
}

// renew makes the one call. s.mu is held, and released at the end and during
// the call. early says that there are credentials to fall back upon.
func (s *session) renew(ctx context.Context, early bool) (aws.Credentials, error) {
	defer s.mu.Unlock()
	call := &assumeCall{done: make(chan struct{})}
	defer close(call.done)
	s.call = call
	old := s.creds

	s.mu.Unlock()
	call.creds, call.err = s.assume(ctx, early)
	s.mu.Lock()

	s.call = nil
	call.abandoned = call.err != nil && ctx.Err() != nil
	switch {
	case call.err == nil:
		s.creds, s.since = call.creds, s.now()
		s.ahead = min(refreshAhead+s.spread(), s.left()/2) // some sessions are short
		s.worked.Store(false)
	case early && s.creds.AccessKeyID == old.AccessKeyID: // not dropped meanwhile
		call.creds, call.err, call.abandoned = old, nil, false
	}
	if early && s.left() <= s.ahead {
		s.notBefore = s.now().Add(refreshPause)
	}
	return call.creds, call.err
}

// drop forgets creds, which AWS has refused. It does nothing if they have
// been replaced meanwhile, so that many refusals of one session cost one new
// session.
func (s *session) drop(creds aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creds.AccessKeyID == creds.AccessKeyID {
		s.creds = aws.Credentials{}
	}
}

// permitted notes that S3 has permitted something to creds.
func (s *session) permitted(creds aws.Credentials) {
	if s.worked.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creds.AccessKeyID == creds.AccessKeyID {
		s.worked.Store(true)
	}
}

// doubtful reports whether a refusal of creds may be their own fault, so that
// others are worth a try: they have worked once, and not just now, and may have
// been revoked since, or belong to a role that has been made anew. Of a session
// that never worked it is the role's fault: to ask for another one each time
// would be a call to STS for every refused write.
func (s *session) doubtful(creds aws.Credentials) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creds.AccessKeyID != creds.AccessKeyID {
		return true // somebody else has thought so
	}
	return s.worked.Load() && s.now().Sub(s.since) >= doubtAfter
}

// expiry is when the credentials end, zero if there are none or they do not.
func (s *session) expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.creds.CanExpire {
		return time.Time{}
	}
	return s.creds.Expires
}

// forget drops whatever there is.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creds = aws.Credentials{}
}
