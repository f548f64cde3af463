package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// sickness is what is wrong with the buckets of teams From to To-1.
type sickness struct {
	From, To int
	What     string
}

// What may be wrong with a bucket.
const (
	sickHangs   = "hangs"   // no answer, ever
	sickForbids = "forbids" // 403 to everything
	sickBusy    = "busy"    // 503 to half of all PUTs
	sickSlow    = "slow"    // success, after slowAnswer
)

const slowAnswer = 10 * time.Second

func (o nullOptions) sicknessOf(bucket int) string {
	for _, s := range o.Sick {
		if s.From <= bucket && bucket < s.To {
			return s.What
		}
	}
	return ""
}

// fallSick answers a PUT as a sick bucket does.
func (c *nullConn) fallSick(sickness string, req *request) error {
	switch sickness {
	case sickHangs:
		c.keep(time.Time{})
		req.close = true
		return nil
	case sickForbids:
		return c.respondError("403 Forbidden", "AccessDenied", "Access Denied")
	case sickBusy:
		if rand.IntN(2) == 0 {
			return c.respondError("503 Slow Down", "SlowDown", "Please reduce your request rate.")
		}
	case sickSlow:
		if !c.keep(time.Now().Add(slowAnswer)) {
			req.close = true
			return nil
		}
	}
	c.sickPuts.Add(1)
	return c.respond("200 OK", time.Now(), etagHeader, nil)
}

// keep keeps the client waiting, and reports whether it still was at the given
// time. Without one, it waits until it goes away, or is released.
func (c *nullConn) keep(until time.Time) (waited bool) {
	c.mu.Lock()
	if c.released {
		until = time.Unix(1, 0)
	}
	if c.kept == nil {
		c.kept = make(map[net.Conn]struct{})
	}
	c.kept[c.conn] = struct{}{}
	err := c.conn.SetReadDeadline(until)
	c.mu.Unlock()
	if err == nil {
		// Before the answer, nothing comes but the connection's end.
		_, err = c.r.Peek(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, c.conn)
	return errors.Is(err, os.ErrDeadlineExceeded) && !c.released && c.conn.SetReadDeadline(time.Time{}) == nil
}

// release lets go of all clients that wait, and makes none wait any more.
func (s *nullS3) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	for conn := range s.kept {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // fails if it has ended by itself
	}
}
