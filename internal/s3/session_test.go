package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// fakeSTS makes sessions of an hour, named 1, 2, …
type fakeSTS struct {
	mu    sync.Mutex
	calls int
	delay time.Duration
	err   error
}

func (f *fakeSTS) assume(ctx context.Context, _ bool) (aws.Credentials, error) {
	f.mu.Lock()
	f.calls++
	n, delay, err := f.calls, f.delay, f.err
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	if err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{
		AccessKeyID: fmt.Sprint(n), SecretAccessKey: "secret", SessionToken: "token", CanExpire: true, Expires: time.Now().Add(time.Hour),
	}, nil
}

func (f *fakeSTS) set(delay time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay, f.err = delay, err
}

func (f *fakeSTS) wantCalls(t *testing.T, n int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls != n {
		t.Errorf("%d calls to STS, want %d", f.calls, n)
	}
}

func use(t *testing.T, s *session, want string) aws.Credentials {
	t.Helper()
	creds, err := s.credentials(t.Context())
	if err != nil || creds.AccessKeyID != want {
		t.Errorf("session %q, want %s (%v)", creds.AccessKeyID, want, err)
	}
	return creds
}

// sessionTest runs f in a bubble, with a session that f has STS for.
func sessionTest(t *testing.T, name string, f func(t *testing.T, s *session, sts *fakeSTS)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := &fakeSTS{delay: time.Second}
			s := newSession(time.Now, fake.assume)
			s.spread = func() time.Duration { return 0 }
			f(t, s, fake)
		})
	})
}

func TestSession(t *testing.T) {
	sessionTest(t, "one call for all who wait", func(t *testing.T, s *session, sts *fakeSTS) {
		start := time.Now()
		for range 100 {
			go func() { use(t, s, "1") }()
		}
		use(t, s, "1")
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %s", took)
		}
		synctest.Wait()
		sts.wantCalls(t, 1)
	})

	sessionTest(t, "used until it is to be refreshed", func(t *testing.T, s *session, sts *fakeSTS) {
		use(t, s, "1")
		time.Sleep(sessionDuration - refreshAhead - time.Nanosecond)
		use(t, s, "1")
		sts.wantCalls(t, 1)
	})

	sessionTest(t, "refreshed ahead by one while others go on", func(t *testing.T, s *session, sts *fakeSTS) {
		use(t, s, "1")
		time.Sleep(sessionDuration - refreshAhead)
		refreshed := make(chan bool)
		go func() {
			use(t, s, "2")
			close(refreshed)
		}()
		synctest.Wait() // it is in its call
		for range 10 {
			start := time.Now()
			use(t, s, "1")
			if time.Since(start) != 0 {
				t.Error("had to wait")
			}
		}
		<-refreshed
		use(t, s, "2")
		sts.wantCalls(t, 2)
	})

	sessionTest(t, "a failed early refresh keeps the old", func(t *testing.T, s *session, sts *fakeSTS) {
		use(t, s, "1")
		time.Sleep(sessionDuration - refreshAhead)
		sts.set(time.Second, errors.New("STS is down"))
		use(t, s, "1")
		sts.wantCalls(t, 2)
		use(t, s, "1") // not again at once
		sts.wantCalls(t, 2)
		time.Sleep(refreshPause)
		use(t, s, "1")
		sts.wantCalls(t, 3)
		sts.set(time.Second, nil)
		time.Sleep(refreshPause)
		use(t, s, "4")
		sts.wantCalls(t, 4)
	})

	sessionTest(t, "at its end all wait for one call", func(t *testing.T, s *session, sts *fakeSTS) {
		use(t, s, "1")
		time.Sleep(sessionDuration - lastUse)
		for range 100 {
			go func() { use(t, s, "2") }()
		}
		use(t, s, "2")
		synctest.Wait()
		sts.wantCalls(t, 2)
	})

	sessionTest(t, "a failure at its end is everybody's, once", func(t *testing.T, s *session, sts *fakeSTS) {
		down := errors.New("STS is down")
		sts.set(time.Second, down)
		for range 10 {
			go func() {
				if _, err := s.credentials(t.Context()); err != down {
					t.Errorf("error %v", err)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		sts.wantCalls(t, 1)
		sts.set(0, nil)
		use(t, s, "2")
	})

	sessionTest(t, "who gives up waiting leaves the others", func(t *testing.T, s *session, sts *fakeSTS) {
		go use(t, s, "1")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.credentials(ctx); err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		use(t, s, "1")
		sts.wantCalls(t, 1)
	})

	sessionTest(t, "when the caller gives up, another takes over", func(t *testing.T, s *session, sts *fakeSTS) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		gone := make(chan error)
		go func() {
			_, err := s.credentials(ctx)
			gone <- err
		}()
		synctest.Wait()
		for range 10 {
			go func() { use(t, s, "2") }()
		}
		if err := <-gone; err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		use(t, s, "2")
		synctest.Wait()
		sts.wantCalls(t, 2)
	})

	sessionTest(t, "dropped by many, replaced once", func(t *testing.T, s *session, sts *fakeSTS) {
		refused := use(t, s, "1")
		for range 10 {
			go func() {
				s.drop(refused)
				use(t, s, "2")
			}()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		s.drop(refused) // the last to hear of it
		use(t, s, "2")
		sts.wantCalls(t, 2)
	})

	sessionTest(t, "dropped during a refresh that fails", func(t *testing.T, s *session, sts *fakeSTS) {
		refused := use(t, s, "1")
		time.Sleep(sessionDuration - refreshAhead)
		down := errors.New("STS is down")
		sts.set(time.Second, down)
		failed := make(chan error)
		go func() {
			_, err := s.credentials(t.Context())
			failed <- err
		}()
		synctest.Wait()
		s.drop(refused)
		if err := <-failed; err != down {
			t.Errorf("error %v: the refused session was used again", err)
		}
	})

	sessionTest(t, "credentials that do not expire", func(t *testing.T, s *session, _ *fakeSTS) {
		calls := 0
		s.assume = func(context.Context, bool) (aws.Credentials, error) {
			calls++
			return aws.Credentials{AccessKeyID: "user", SecretAccessKey: "secret"}, nil
		}
		use(t, s, "user")
		time.Sleep(1000 * time.Hour)
		use(t, s, "user")
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})

	// An instance's credentials can be an early refresh's result and no
	// younger than before.
	sessionTest(t, "a refresh that brings nothing new", func(t *testing.T, s *session, _ *fakeSTS) {
		calls := 0
		creds := aws.Credentials{AccessKeyID: "role", SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(time.Hour)}
		s.assume = func(context.Context, bool) (aws.Credentials, error) {
			calls++
			return creds, nil
		}
		use(t, s, "role")
		time.Sleep(sessionDuration - refreshAhead)
		for range 10 {
			use(t, s, "role")
		}
		if calls != 2 {
			t.Errorf("%d calls, want 2", calls)
		}
	})
}
