package pgstore

import (
	"strings"
	"sync"
	"testing"

	"github.com/auditdrain/auditdrain"
)

func TestMigrate(t *testing.T) {
	p := newPlace(t)
	all, err := Migrations()
	must(t, err)
	pending, err := Pending(t.Context(), p.url)
	must(t, err)
	if len(pending) != len(all) || len(all) == 0 {
		t.Errorf("%d of %d migrations are pending", len(pending), len(all))
	}
	// Of many nodes that start at once, one migrates.
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		wg.Go(func() {
			ms, err := Migrate(t.Context(), p.url)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made += len(ms)
		})
	}
	wg.Wait()
	if made != len(all) {
		t.Errorf("%d migrations were made, want %d", made, len(all))
	}
	if pending, err := Pending(t.Context(), p.url); err != nil || len(pending) != 0 {
		t.Errorf("pending afterwards: %v, %v", pending, err)
	}
	s := mustOpen(t, p, Options{})
	must(t, s.exec(t.Context(), "pretend", `INSERT INTO migrations (version, name) VALUES (99, 'future')`))
	for what, call := range map[string]func() error{
		"Open":    func() error { _, err := Open(t.Context(), p.url, Options{Logger: discard()}); return err },
		"Pending": func() error { _, err := Pending(t.Context(), p.url); return err },
		"Migrate": func() error { _, err := Migrate(t.Context(), p.url); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "layout 99") {
			t.Errorf("%s of a newer database: %v", what, err)
		}
	}
}

func TestURL(t *testing.T) {
	_, err := Open(t.Context(), "postgres://%%%", Options{})
	if auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest || strings.Contains(err.Error(), "%%%") {
		t.Errorf("a URL that is none: %v", err)
	}
	c, err := parse("postgres://a:1,b:2/db?target_session_attrs=read-write&pool_max_conns=7&statement_timeout=1")
	must(t, err)
	if c.MaxConns != 7 || c.ConnConfig.RuntimeParams["statement_timeout"] != "1" || len(c.ConnConfig.Fallbacks) == 0 || c.ConnConfig.ValidateConnect == nil {
		t.Errorf("the URL's own settings are lost: %d connections, %v", c.MaxConns, c.ConnConfig.RuntimeParams)
	}
}
