package pgstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// node is a store with a clock that is moved by hand.
type node struct {
	*Store
	t   *testing.T
	now time.Time
}

func newNode(t *testing.T, p place) *node {
	n := &node{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	n.Store = mustOpen(t, p, Options{Now: func() time.Time { return n.now }})
	return n
}

func (n *node) append(team string, ids ...string) {
	n.t.Helper()
	b := auditdrain.Batch{TeamID: team}
	for _, id := range ids {
		b.Events = append(b.Events, auditdrain.Event{ID: id, Body: []byte(id)})
	}
	r, err := n.Append(n.t.Context(), []auditdrain.Batch{b})
	must(n.t, err)
	if r[0].Accepted != len(ids) {
		n.t.Fatalf("append %v: %+v", ids, r[0])
	}
}

func (n *node) retain(keep time.Duration, removed int) {
	n.t.Helper()
	if got, err := n.Retain(n.t.Context(), keep); err != nil || got != removed {
		n.t.Fatalf("%d removed (%v), want %d", got, err, removed)
	}
}

func (n *node) wantEvents(team string, ids ...string) {
	n.t.Helper()
	es, err := n.Read(n.t.Context(), team, 0, 1000, 1<<20)
	must(n.t, err)
	var got []string
	for i, e := range es {
		got = append(got, e.ID)
		if i > 0 && e.Seq != es[i-1].Seq+1 {
			n.t.Errorf("team %s: event %d after %d", team, e.Seq, es[i-1].Seq)
		}
	}
	if d := cmp.Diff(ids, got); d != "" {
		n.t.Errorf("events of %s (-want +got):\n%s", team, d)
	}
}

// wantTables checks which partitions there are, and how many rows they have.
func (n *node) wantTables(want map[string]int) {
	n.t.Helper()
	got := map[string]int{}
	err := n.do(n.t.Context(), "count", func(ctx context.Context, c *pgx.Conn) error {
		tables, err := collect(ctx, c, pgx.RowTo[string], `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass`)
		for _, table := range tables {
			var rows int
			if err := c.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&rows); err != nil {
				return err
			}
			got[table] = rows
		}
		return err
	})
	must(n.t, err)
	if d := cmp.Diff(want, got); d != "" {
		n.t.Errorf("partitions (-want +got):\n%s", d)
	}
}

func (n *node) createDrain(id, team string) {
	n.t.Helper()
	d := auditdrain.NewDrain(team, id, auditdrain.Delivery{}, n.now)
	d.ID = id
	must(n.t, n.CreateDrain(n.t.Context(), d, 1, nil))
}

func (n *node) saveCursor(id string, cursor uint64) {
	n.t.Helper()
	_, err := n.SaveProgress(n.t.Context(), []auditdrain.Progress{{State: auditdrain.DeliveryState{DrainID: id, Cursor: cursor}}})
	must(n.t, err)
}

// Days go as a whole; what is left of them, if it is little, moves out of their
// way, and goes by itself later.
func TestDaysGo(t *testing.T) {
	n := newNode(t, newPlace(t))
	for _, team := range []string{"a", "b"} {
		must(t, n.CreateTeam(t.Context(), auditdrain.Team{ID: team, Slug: "slug-" + team}, nil))
		n.createDrain(team, team)
	}
	begin := n.now
	for day := range 3 {
		n.now = begin.Add(time.Duration(day) * 24 * time.Hour)
		n.append("a", fmt.Sprint("a", day, "x"), fmt.Sprint("a", day, "y"))
		n.append("b", fmt.Sprint("b", day, "x"), fmt.Sprint("b", day, "y"))
	}
	n.retain(0, 0)
	n.wantTables(map[string]int{"events_leftover": 0, "events_20260301": 4, "events_20260302": 4, "events_20260303": 4, "events_20260304": 0})

	// More than half of the first day is needed: it stays.
	n.saveCursor("a", 1)
	n.retain(0, 1)
	n.wantTables(map[string]int{"events_leftover": 0, "events_20260301": 4, "events_20260302": 4, "events_20260303": 4, "events_20260304": 0})
	n.wantEvents("a", "a0y", "a1x", "a1y", "a2x", "a2y")

	// Half of it moves, as does half of the second. Today's day stays anyway.
	n.saveCursor("a", 6)
	n.retain(0, 5)
	n.wantTables(map[string]int{"events_leftover": 4, "events_20260303": 4, "events_20260304": 0})
	n.wantEvents("a")
	n.wantEvents("b", "b0x", "b0y", "b1x", "b1y", "b2x", "b2y")
	r, err := n.Append(t.Context(), []auditdrain.Batch{{TeamID: "b", Events: []auditdrain.Event{{ID: "b0y", Body: []byte("b0y")}, {ID: "b1x", Body: []byte("other")}}}})
	must(t, err)
	if d := cmp.Diff([]auditdrain.BatchResult{{Conflicts: []string{"b1x"}}}, r); d != "" {
		t.Errorf("what was moved is not known (-want +got):\n%s", d)
	}

	n.saveCursor("b", 3)
	n.retain(0, 3)
	n.wantTables(map[string]int{"events_leftover": 1, "events_20260303": 4, "events_20260304": 0})
	n.wantEvents("b", "b1y", "b2x", "b2y")
	n.saveCursor("b", 6)
	n.retain(0, 3)
	n.wantTables(map[string]int{"events_leftover": 0, "events_20260303": 4, "events_20260304": 0})

	// A day is kept for as long as its events are.
	n.now = begin.Add(4 * 24 * time.Hour)
	n.append("a", "new")
	n.saveCursor("a", 7)
	n.retain(24*time.Hour, 0)
	n.wantTables(map[string]int{"events_leftover": 0, "events_20260304": 0, "events_20260305": 1, "events_20260306": 0})
}

// A node does not know which days another one has removed, and a team's time
// does not go back to what a clock says.
func TestDaysThatAreMissing(t *testing.T) {
	p := newPlace(t)
	early, late := newNode(t, p), newNode(t, p)
	early.append("a", "1")
	late.now = late.now.Add(48 * time.Hour)
	late.append("b", "1")
	late.retain(0, 2)
	late.wantTables(map[string]int{"events_leftover": 0, "events_20260303": 1, "events_20260304": 0})
	early.append("a", "2")
	early.append("b", "2")
	late.wantTables(map[string]int{"events_leftover": 0, "events_20260301": 1, "events_20260303": 2, "events_20260304": 0})
	early.wantEvents("a", "2")
	early.wantEvents("b", "2")
}
