package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain/internal/move"
)

func TestMigrateStoreUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"no source":    {[]string{"--to", "postgres://127.0.0.1:1/x"}, 2, `required flag(s) "from" not set`},
		"no target":    {[]string{"--from", "x"}, 2, "--to is missing: say which database, or use --dry-run"},
		"not a store":  {[]string{"--from", t.TempDir(), "--dry-run"}, 1, "there is no store of auditdrain in it"},
		"no folder":    {[]string{"--from", t.TempDir() + "/none", "--dry-run"}, 1, "there is no store of auditdrain in it"},
		"wrong output": {[]string{"--from", "x", "--dry-run", "-o", "yaml"}, 2, "use one of table, json"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"migrate-store"}, tc.args...), nil, strings.NewReader(""), &out, &errs)
			if code != tc.code || !strings.Contains(errs.String(), tc.stderr) || out.Len() > 0 {
				t.Errorf("code %d, %q, want %d, %q", code, errs.String(), tc.code, tc.stderr)
			}
		})
	}
}

func TestMoveText(t *testing.T) {
	for want, p := range map[string]move.Progress{
		"[                        ]   0%  moving: 0 of 0 events, 0/s":          {Phase: move.Moving},
		"[############            ]  50%  moving: 500 of 1000 events, 250/s":   {Phase: move.Moving, Done: 500, Total: 1000},
		"[############            ]  50%  checking: 500 of 1000 events, 750/s": {Phase: move.Checking, Done: 500, Total: 1000},
	} {
		if got := moveText(p, 2*time.Second); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
