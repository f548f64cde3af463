package main

import (
	"math/rand/v2"
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
		// Nothing comes before the answer, but the end of the connection.
		_, _ = c.r.Peek(1)
		req.close = true
		return nil
	case sickForbids:
		return c.respondError("403 Forbidden", "AccessDenied", "Access Denied")
	case sickBusy:
		if rand.IntN(2) == 0 {
			return c.respondError("503 Slow Down", "SlowDown", "Please reduce your request rate.")
		}
	case sickSlow:
		timer := time.NewTimer(slowAnswer)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.closing:
		}
	}
	c.sickPuts.Add(1)
	return c.respond("200 OK", time.Now(), etagHeader, nil)
}
