package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/pgtest"
)

func TestMigrate(t *testing.T) {
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	migrate := func(wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		environ := []string{"AUDITDRAIN_POSTGRES=" + server.URL("")}
		if code := run(t.Context(), append([]string{"migrate"}, args...), environ, strings.NewReader(""), &out, &errs); code != wantCode {
			t.Errorf("migrate %s: exit code %d, want %d: %s", args, code, wantCode, &errs)
		}
		return out.String(), errs.String()
	}
	for range 2 { // the first has changed nothing
		sql, _ := migrate(0, "--dry-run")
		if !strings.HasPrefix(sql, "-- migration 0001_first\n") || !strings.Contains(sql, "CREATE TABLE events") {
			t.Errorf("--dry-run has printed %.200q", sql)
		}
	}
	if made, _ := migrate(0); !strings.HasPrefix(made, "0001_first\n") {
		t.Errorf("migrate has printed %q", made)
	}
	for _, args := range [][]string{{}, {"--dry-run"}} {
		if out, errs := migrate(0, args...); out != "" || !strings.Contains(errs, "nothing to migrate") {
			t.Errorf("migrate %s again: %q, %q", args, out, errs)
		}
	}
	migrate(2, "--postgres", "")
	if _, errs := migrate(1, "--postgres", "postgres://127.0.0.1:1/x"); !strings.Contains(errs, "connect to PostgreSQL") {
		t.Errorf("no database: %q", errs)
	}
}
