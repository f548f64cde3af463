package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pgtest"
)

// TestMoveStore moves a service with a backlog from its folder to PostgreSQL.
// The command is killed again and again, wherever it is, until it is let come to
// its end. The service then goes on there: everything that was accepted is in the
// bucket, nothing was written that had been written before, and the drain's manifests
// are one chain.
func TestMoveStore(t *testing.T) {
	server, err := pgtest.Start()
	must(t, err)
	t.Cleanup(server.Stop)
	db := newDatabase(t, server.URL(server.NewSchema(t)))
	rng := newRand(6, 2)

	sc := newScene(t, 6)
	sc.operate("drain", "update", sc.drain, "--team", sc.tm.team, "--integrity")
	sc.tm.targets[0].integrity = true
	sc.accept(200)
	sc.await("the events are delivered", delivered)
	sc.operate("drain", "pause", sc.drain, "--team", sc.tm.team)
	const backlog = 12_000
	for range backlog / 500 {
		sc.accept(500)
	}
	before := sc.get()
	sc.stop()
	held := files(t, sc.data)
	summed := run(t, environment(t, ""), "migrate-store", "--from", sc.data, "--dry-run", "-o", "json")

	args := []string{"migrate-store", "--from", sc.data, "--to", db.url, "-o", "json"}
	kills := 0
	for range 6 {
		p := start(t, binary(t), environment(t, ""), args...)
		most := rng.IntN(backlog) // events that it may have moved
		eventually(t, "it has moved some events", func() bool {
			select {
			case <-p.done:
				return true
			default:
			}
			return db.count(`SELECT count(*) FROM information_schema.tables WHERE table_name = 'sequences' AND table_schema = current_schema`) > 0 &&
				db.count(`SELECT coalesce(sum(last_seq), 0) FROM sequences`) >= most
		})
		p.kill()
		if p.cmd.ProcessState.ExitCode() == 0 {
			break
		}
		kills++
		// What has been moved in part is used by nobody.
		refused := run(t, environment(t, "", "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AUDITDRAIN_POSTGRES="+db.url), "serve", "--listen", "127.0.0.1:0")
		if refused.code() != 1 || !strings.Contains(refused.stderr.String(), "not all of it has arrived") {
			if db.count(`SELECT finished_at FROM imports`) == 0 {
				t.Fatalf("serve on a part of a store: code %d, %s", refused.code(), refused.stderr)
			}
		}
	}
	if kills == 0 {
		t.Error("the command was never killed")
	}
	last := run(t, environment(t, ""), args...)
	if code := last.code(); code != 0 || !strings.Contains(last.stderr.String(), "what is in the database is the same") {
		t.Fatalf("code %d, %s", code, last.stderr)
	}
	if diff := cmp.Diff(summed.stdout.String(), last.stdout.String()); diff != "" {
		t.Errorf("sums before and after (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(held, files(t, sc.data)); diff != "" {
		t.Errorf("the folder has changed:\n%s", diff)
	}

	n := startNode(t, sc.aws, db, "--key-file", filepath.Join(sc.data, "key-file"))
	sc.service = &service{process: n.process, url: n.url, http: sc.http, api: newClient(t, sc.http, n.url)}
	after := sc.get()
	if before.Metadata.BacklogEvents != backlog || after.Metadata.BacklogEvents != backlog {
		t.Errorf("a backlog of %d events before, %d after, want %d", before.Metadata.BacklogEvents, after.Metadata.BacklogEvents, backlog)
	}
	again := sc.tm.events[0]
	if a := sc.tm.post(t, sc.url, plainly(again)); a.status != 200 || a.Duplicates != 1 {
		t.Errorf("an event of before the move: %v, want a duplicate", a)
	}
	sc.accept(100)
	sc.operate("drain", "resume", sc.drain, "--team", sc.tm.team)
	sc.await("the events are delivered", delivered)
	must(t, sc.api.DeleteDrain(t.Context(), sc.tm.team, sc.drain))
	sc.aws.awaitLast(t, sc.drain, sc.tm.targets...)
	keys := publicKeys(t, sc.http, sc.url)
	sc.stop()
	checkObjects(t, sc.aws, []*team{sc.tm})
	checkOnce(t, sc.aws)
	sc.aws.prove(t, keys, map[string]int{sc.drain: len(sc.tm.events)}, sc.tm.targets...)
	sc.aws.wantCauses(t, sc.drain, sc.tm.targets[0], auditdrain.SealPaused, auditdrain.SealResumed, auditdrain.SealDeleted)
}

// files returns the contents of a folder's files, but for the lock's.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == "LOCK" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		all[e.Name()] = string(data)
	}
	return all
}
