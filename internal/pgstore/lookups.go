package pgstore

import (
	"sync"
	"time"
)

const (
	// remembered is how old an answer may be that is given without asking the
	// database: a change on another node takes effect as soon.
	remembered  = time.Second
	mostLookups = 10_000
)

// lookups remembers teams and tokens that were found: every request asks for
// one of each.
type lookups struct {
	mu    sync.Mutex
	found map[any]lookup
}

type lookup struct {
	value any
	asked time.Time
}

// recall returns what was found under a name a moment ago.
func recall[T any](l *lookups, name any) (T, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.found[name]
	if time.Since(found.asked) >= remembered {
		var none T
		return none, false
	}
	return found.value.(T), true
}

// remember notes what was found, as of when the database was asked.
func (l *lookups) remember(name, value any, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found == nil || len(l.found) >= mostLookups {
		l.found = map[any]lookup{}
	}
	l.found[name] = lookup{value, asked}
}

// forget has the names asked for anew.
func (l *lookups) forget(names ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		delete(l.found, name)
	}
}
