package pgstore

import (
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/pgtest"
)

// TestTakenBack is a failover to a server that does not have the last event,
// which nobody was told is safe, but which was read and written before. Another
// event gets its number: it must not be taken for delivered.
func TestTakenBack(t *testing.T) {
	server, err := pgtest.Start()
	must(t, err)
	t.Cleanup(server.Stop)
	p := place{t, server.URL(server.NewSchema(t))}
	s := mustOpen(t, p, Options{})
	drains := makeDrains(t, s, "team", 2)
	a := member(t, p, time.Hour)
	settle(a)
	send := func(ids ...string) {
		t.Helper()
		var events []auditdrain.Event
		for _, id := range ids {
			events = append(events, auditdrain.Event{ID: id, Timestamp: 1, Body: []byte(`{}`)})
		}
		_, err := s.Append(t.Context(), []auditdrain.Batch{{TeamID: team(t, s, drains[0]), Events: events}})
		must(t, err)
	}
	send("first", "lost")

	must(t, server.Restart())
	eventually(t, "the store has found the server again", func() bool { return s.Check(t.Context()) == nil })
	id := team(t, s, drains[0])
	sql(t, s, `DELETE FROM events WHERE team_id = '`+id+`' AND seq = 2`)
	sql(t, s, `UPDATE sequences SET last_seq = 1, total_bytes = 2 WHERE team_id = '`+id+`'`)
	seal := func() (err error) {
		t.Helper()
		eventually(t, "a drain is sealed or not, on a connection that is alive", func() bool {
			_, err = a.node.Seal(t.Context(), drains[0], auditdrain.SealRequest{As: asNow("json"), At: at})
			return auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable
		})
		return err
	}
	save := func() (gone []string) {
		t.Helper()
		eventually(t, "progress is saved or refused, on a connection that is alive", func() bool {
			var err error
			gone, err = a.node.SaveProgress(t.Context(), progress(drains, 2))
			return err == nil
		})
		for _, id := range gone {
			a.Changed(id) // as a deliverer does
		}
		return gone
	}
	// Before the node has noticed, and whether or not the number is there again.
	if err := seal(); auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		t.Errorf("what the other server did not show was sealed: %v", err)
	}
	if gone := save(); len(gone) != 2 {
		t.Errorf("what the other server did not show was saved: %q are gone, want all", gone)
	}
	send("another")
	if gone := save(); len(gone) != 2 {
		t.Errorf("what the other server did not show was saved: %q are gone, want all", gone)
	}
	eventually(t, "the node has found the server again", func() bool { return a.node.turn(t.Context(), a) == nil })
	a.turn()
	if n := len(a.drains()); n != 2 {
		t.Errorf("%d drains are delivered after a failover, want 2", n)
	}
	for _, drain := range drains {
		state, err := a.node.DeliveryState(t.Context(), drain)
		must(t, err)
		if state.Cursor != 0 {
			t.Errorf("cursor %d, want 0: nothing was saved", state.Cursor)
		}
	}
	must(t, seal())
	if gone := save(); len(gone) > 0 {
		t.Errorf("%q are gone: what is read from the new server is not saved", gone)
	}
}

// team returns the team of a drain.
func team(t *testing.T, s *Store, drain string) string {
	t.Helper()
	found, err := s.Drains(t.Context(), auditdrain.DrainQuery{ID: drain})
	must(t, err)
	return found[0].TeamID
}
