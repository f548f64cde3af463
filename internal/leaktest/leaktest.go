// Package leaktest finds what a test has left running.
package leaktest

import (
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end that have been told to.
const patience = 10 * time.Second

// Check fails the test if goroutines that were started after it are still
// there once the test and its later cleanups are through: it comes before
// whatever starts a server. Tests that run in parallel would find each other's
// goroutines; Find in TestMain is for them.
func Check(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if t.Failed() {
			return // who gives up in the middle need not have tidied up
		}
		if err := Find(before); err != nil {
			t.Error(err)
		}
	})
}

// Find waits for all goroutines but this one to end, and describes those that
// do not.
func Find(ignore ...goleak.Option) error {
	// What the default client keeps open is nobody's in particular.
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for begin := time.Now(); ; {
		err := goleak.Find(ignore...)
		if err == nil || time.Since(begin) > patience {
			return err
		}
	}
}
