package deliver

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var served []string
		l := newLine(2)
		leave := make(chan bool)
		l.serve = func(d *drain) *drain {
			mu.Lock()
			served = append(served, d.config.ID)
			mu.Unlock()
			if placed := <-leave; !placed {
				return nil
			}
			return l.next()
		}
		want := func(ids string, when string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			var want []string
			for _, id := range ids {
				want = append(want, string(id))
			}
			slices.Sort(served[:min(2, len(served))]) // who of the first two is first, nobody knows
			if !slices.Equal(served, want) {
				t.Errorf("%s: served %v, want %v", when, served, want)
			}
		}
		join := func(ids string) {
			for _, id := range ids {
				l.join(&drain{config: auditdrain.Drain{ID: string(id)}})
			}
		}
		join("ABCDEFGHIJKLMNOPQRSTUVW")
		want("AB", "two places")
		leave <- true
		want("ABC", "one has been left")
		l.giveBack()
		want("ABCD", "one has been given back by a worker that goes on")
		leave <- false // that one
		want("ABCD", "a worker has no place any more")
		for range 19 {
			leave <- true
		}
		want("ABCDEFGHIJKLMNOPQRSTUVW", "each in its turn")
		if l.crowded() {
			t.Error("nobody waits, and the line is crowded")
		}
		leave <- true
		leave <- true
		synctest.Wait()
		if n := l.inUse(); n != 0 {
			t.Errorf("%d places are taken, want none", n)
		}

		before := runtime.NumGoroutine() // three workers rest
		join("X")
		want("ABCDEFGHIJKLMNOPQRSTUVWX", "nobody else wants a worker")
		if n := runtime.NumGoroutine(); n != before {
			t.Errorf("%d workers more, though some rest", n-before)
		}
		leave <- true
		time.Sleep(2 * restFor)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n != before-3 {
			t.Errorf("%d workers after a rest, want none", n-before+3)
		}
		l.close()
	})
}
