// Package duckdb proves that a reader which people use reads a drain's
// objects right. It is a module of its own because that reader needs cgo.
package duckdb

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"
)

const demoEvents = 2000

// TestReadBack lets the demo write events, reads them with the queries that
// users are told to use, and compares with what Go reads from the same files.
func TestReadBack(t *testing.T) {
	dir := t.TempDir()
	special := specialEvents(t)
	binary := build(t)
	runDemo(t, binary, dir, special)
	bucket := filepath.Join(dir, "s3", "acme-audit-archive")
	objects := readObjects(t, bucket)
	if diff := cmp.Diff(acknowledged(t, dir), keys(objects)); diff != "" {
		t.Fatalf("acknowledged events and objects are not the same:\n%s", diff)
	}
	if want := demoEvents + len(special); len(objects) != want {
		t.Fatalf("%d objects, want %d", len(objects), want)
	}
	db := open(t, dir)
	prepare(t, db, dir, queries(t, binary, "s3://acme-audit-archive/audit-logs"))

	t.Run("columns", func(t *testing.T) {
		got := counts(t, db, `SELECT column_name || ' ' || column_type, 1 FROM (DESCRIBE audit_log)
			WHERE column_name IN ('schema', 'version', 'year', 'month', 'day', 'payload', 'happened_at')`)
		want := map[string]int{"schema VARCHAR": 1, "version VARCHAR": 1, "year INTEGER": 1, "month INTEGER": 1, "day INTEGER": 1,
			"payload JSON": 1, "happened_at TIMESTAMP": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})

	for name, group := range map[string]struct {
		query string
		of    func(event) string
	}{
		"all":        {"SELECT 'all', count(*) FROM audit_log", func(event) string { return "all" }},
		"ids":        {"SELECT id, count(*) FROM audit_log GROUP BY ALL", func(e event) string { return e.ID }},
		"action":     {"SELECT action, count(*) FROM audit_log GROUP BY ALL", func(e event) string { return e.Action }},
		"actor type": {"SELECT actor.type, count(*) FROM audit_log GROUP BY ALL", func(e event) string { return e.Actor.Type }},
		"actor name": {"SELECT actor.name, count(*) FROM audit_log GROUP BY ALL", func(e event) string { return e.Actor.Name }},
		"via": {"SELECT coalesce(via[1].id, ''), count(*) FROM audit_log GROUP BY ALL", func(e event) string {
			if len(e.Via) == 0 {
				return ""
			}
			return e.Via[0].ID
		}},
		"folder's day": {"SELECT format('{:04}-{:02}-{:02}', year, month, day), count(*) FROM audit_log GROUP BY ALL", event.day},
		"event's day":  {"SELECT strftime(happened_at, '%Y-%m-%d'), count(*) FROM audit_log GROUP BY ALL", event.day},
		// The folder's value, not the event's "vercel.audit_log.v1".
		"schema":         {`SELECT "schema" || ' ' || version, count(*) FROM audit_log GROUP BY ALL`, func(event) string { return "audit_log v1" }},
		"event's schema": {"SELECT json->>'schema', count(*) FROM audit_log_text GROUP BY ALL", func(e event) string { return e.Schema }},
		"every byte":     {"SELECT json::VARCHAR, count(*) FROM audit_log_text GROUP BY ALL", func(e event) string { return e.text }},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]int{}
			for _, e := range objects {
				want[group.of(e)]++
			}
			if diff := cmp.Diff(want, counts(t, db, group.query)); diff != "" {
				t.Errorf("%s\nGo, then DuckDB:\n%s", group.query, diff)
			}
		})
	}

	t.Run("the whole bucket", func(t *testing.T) {
		want := map[string]int{}
		for _, e := range objects {
			want[e.day()]++
		}
		got := counts(t, db, `SELECT format('{:04}-{:02}-{:02}', year::INTEGER, month::INTEGER, day::INTEGER), count(*)
			FROM read_json_objects(?, hive_partitioning = true) GROUP BY year, month, day`, filepath.Join(bucket, "**", "*.jsonl"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Go, then DuckDB:\n%s", diff)
		}
	})

	t.Run("every day is in its own folder", func(t *testing.T) {
		got := counts(t, db, `SELECT id, 1 FROM audit_log WHERE make_date(year, month, day) <> happened_at::DATE`)
		if len(got) > 0 {
			t.Errorf("events in other days' folders: %v", got)
		}
		for _, e := range special {
			if got := counts(t, db, "SELECT format('{:04}-{:02}-{:02}', year, month, day), 1 FROM audit_log WHERE id = ?", e["id"]); got[e["wantDay"].(string)] != 1 {
				t.Errorf("%s is in %v, want %s", e["id"], got, e["wantDay"])
			}
		}
	})

	t.Run("big integers", func(t *testing.T) {
		for path, want := range bigIntegers {
			got := counts(t, db, "SELECT payload->>?, count(*) FROM audit_log WHERE action = 'numbers-tested' GROUP BY ALL", "$."+path)
			if diff := cmp.Diff(map[string]int{want: len(special)}, got); diff != "" {
				t.Errorf("%s:\n%s", path, diff)
			}
		}
		// They can be counted with, too.
		got := counts(t, db, "SELECT sum((payload->>'$.u')::HUGEINT)::VARCHAR, count(*) FROM audit_log WHERE action = 'numbers-tested'")
		if diff := cmp.Diff(map[string]int{"110680464442257309690": len(special)}, got); diff != "" { // 6 × (2^64 - 1)
			t.Error(diff)
		}
	})

	t.Run("a day's query reads a day's objects", func(t *testing.T) {
		var kind, plan string
		query := "EXPLAIN (FORMAT JSON) SELECT id FROM audit_log WHERE year = 2024 AND month = 2 AND day = 29"
		if err := db.QueryRowContext(t.Context(), query).Scan(&kind, &plan); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`"Scanning Files": "1/%d"`, len(objects)); !strings.Contains(plan, want) {
			t.Errorf("no %s in\n%s", want, plan)
		}
	})
}

// TestAwkwardPrefix reads below prefixes that SQL and globs give a meaning to.
func TestAwkwardPrefix(t *testing.T) {
	const event = `{"id":"uev_1","action":"a","timestamp":1779446400123,"actor":{"type":"user","id":"u","name":"n"},"payload":{}}` + "\n"
	binary := build(t)
	for _, prefix := range []string{"it's", `"quoted" & 100%`, "[a-z]", "a]b[", "tenant=acme/ünï 日本 🤖", "-- ; #"} {
		t.Run(prefix, func(t *testing.T) {
			dir := t.TempDir()
			// Next to it is what a glob would match in its place.
			for _, p := range []string{prefix, "b", "x/" + prefix, prefix + "/test"} {
				folder := filepath.Join(dir, "s3", "acme", p, "schema=audit_log/version=v1/year=2026/month=05/day=22")
				if err := os.MkdirAll(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, "20260522T103320.123Z_uev_1.jsonl"), []byte(event), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			db := open(t, dir)
			prepare(t, db, dir, queries(t, binary, "s3://acme/"+prefix))
			for _, view := range []string{"audit_log WHERE year = 2026", "audit_log_text"} {
				if got := counts(t, db, "SELECT 'all', count(*) FROM "+view); got["all"] != 1 {
					t.Errorf("%s has %d events, want 1", view, got["all"])
				}
			}
		})
	}
}

// On this machine DuckDB takes a backslash for a slash, so only its operator
// shows what becomes of one.
func TestBackslashInPrefix(t *testing.T) {
	db := open(t, t.TempDir())
	sql := queries(t, build(t), `s3://acme/back\slash`)
	_, rest, _ := strings.Cut(sql, "read_json_objects(")
	glob, _, ok := strings.Cut(rest, ")")
	if !ok {
		t.Fatalf("no read_json_objects in\n%s", sql)
	}
	const key = `s3://acme/%s/schema=audit_log/version=v1/year=2026/month=05/day=22/20260522T103320.123Z_uev_1.jsonl`
	for folder, want := range map[string]int{`back\slash`: 1, "backslash": 0, `back\\slash`: 0} {
		if got := counts(t, db, "SELECT 'all', (? GLOB "+glob+")::INTEGER", fmt.Sprintf(key, folder)); got["all"] != want {
			t.Errorf("%s matches %s: %d, want %d", glob, folder, got["all"], want)
		}
	}
}

// event is what the comparisons need of an event.
type event struct {
	Schema, ID, Action string
	Timestamp          int64
	Actor              struct{ Type, Name string }
	Via                []struct{ ID string }

	text string // without the newline at the end
}

func (e event) day() string { return time.UnixMilli(e.Timestamp).UTC().Format(time.DateOnly) }

// bigIntegers are what a reader that goes through float64 gets wrong.
var bigIntegers = map[string]string{
	"n": "9007199254740993",
	"i": "-9223372036854775808",
	"u": "18446744073709551615",
	"h": "123456789012345678901234567890",
}

// specialEvents happened where dates go wrong.
func specialEvents(t *testing.T) []map[string]any {
	payload := map[string]any{"note": "only text shows all digits", "d": json.Number("0.1234567890123456789")}
	for path, n := range bigIntegers {
		payload[path] = json.Number(n)
	}
	var events []map[string]any
	for i, at := range []string{
		"2024-02-29T23:59:59.999Z", "2024-03-01T00:00:00.000Z", // leap day
		"2025-12-31T23:59:59.999Z", "2026-01-01T00:00:00.000Z", // year's end
		"2025-06-08T23:59:59.999Z", "2025-06-09T00:00:00.000Z", // 08 and 09 are no octal numbers
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, map[string]any{
			"id":        fmt.Sprintf("uev_special_%d", i),
			"schema":    "vercel.audit_log.v1",
			"teamId":    "team_demo",
			"action":    "numbers-tested",
			"timestamp": when.UnixMilli(),
			"actor":     map[string]string{"type": "user", "id": "usr_1", "name": "Zoë 🤖"},
			"payload":   payload,
			"wantDay":   at[:len(time.DateOnly)], // a field that no schema knows
		})
	}
	return events
}

// runDemo runs the built binary until it has delivered all events and found
// them equal. The special ones go the way of a batch that an earlier demo had
// sent when it was killed: the next demo sends them again.
func runDemo(t *testing.T, binary, dir string, special []map[string]any) {
	t.Helper()
	var pending []string
	for _, e := range special {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, string(line))
	}
	if err := os.WriteFile(filepath.Join(dir, "pending.ndjson"), []byte(strings.Join(pending, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, binary, "demo", "--dir", dir, "--listen", "127.0.0.1:0", "--events", fmt.Sprint(demoEvents), "--rate", "2000")
	demo.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := demo.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nEQUAL: ")) {
		t.Fatalf("demo: %v\n%s", err, out)
	}
}

// build returns the path of the program.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "auditdrain")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/auditdrain")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// acknowledged returns the keys of the events that the demo was told are
// safe, by its own record.
func acknowledged(t *testing.T, dir string) map[string]bool {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "acknowledged.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, _, _ := strings.Cut(lines.Text(), "\t")
		found[key] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// readObjects returns the events of all files below bucket, by key.
func readObjects(t *testing.T, bucket string) map[string]event {
	t.Helper()
	found := map[string]event{}
	err := filepath.WalkDir(bucket, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "manifest" {
			return filepath.SkipDir // beside the data, which no query may see
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(content, &e); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		text, ok := strings.CutSuffix(string(content), "\n")
		if !ok || strings.Contains(text, "\n") {
			return fmt.Errorf("%s is not one line", path)
		}
		e.text = text
		key, err := filepath.Rel(bucket, path)
		found[filepath.ToSlash(key)] = e
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func keys(objects map[string]event) map[string]bool {
	found := map[string]bool{}
	for key := range objects {
		found[key] = true
	}
	return found
}

// queries returns the SQL that users are told to use.
func queries(t *testing.T, binary, endpoint string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "setup", "duckdb", "--endpoint", endpoint, "--region", "eu-central-1",
		"--encoding", "ndjson", "--writer-role-arn", "arn:aws:iam::123456789012:role/writer")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return string(out)
}

// open returns a database that nothing of this machine changes the answers of.
func open(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, query := range []string{
		// What is not built in would come from the network.
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET TimeZone = 'Pacific/Kiritimati'", // 14 hours ahead: nothing may depend on it
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	return db
}

var secretRE = regexp.MustCompile(`(?s)CREATE OR REPLACE SECRET .*?\);\n`)

// prepare runs the queries over the folder dir/s3 instead of S3.
func prepare(t *testing.T, db *sql.DB, dir, queries string) {
	t.Helper()
	// Secrets are for S3 itself, which is not built in. That much DuckDB does
	// say, once it has understood the statement.
	secret := secretRE.FindString(queries)
	if _, err := db.ExecContext(t.Context(), secret); err == nil || !strings.Contains(err.Error(), "Secret") || strings.Contains(err.Error(), "Parser") {
		t.Errorf("%s: %v", secret, err)
	}
	local := strings.ReplaceAll(strings.Replace(queries, secret, "", 1), "'s3://", "'"+filepath.Join(dir, "s3")+"/")
	if _, err := db.ExecContext(t.Context(), local); err != nil {
		t.Fatalf("%s: %v", local, err)
	}
}

// counts runs a query that gives a name and a number in each row.
func counts(t *testing.T, db *sql.DB, query string, args ...any) map[string]int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	found := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		found[name] += n
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return found
}
