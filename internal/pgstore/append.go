package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Append stores batches, in one transaction and one round trip, and returns what
// became of each. They are durable and can be read, by all nodes, when Append
// returns nil. After an error none of them is known to be stored: all may be, or
// none. To append them again does no harm.
//
// A batch is stored whole or, if it has conflicts, not at all; the others are not
// held up by it. Events that are stored already, with the same bytes, are
// counted as duplicates. Of a team, one Append on any node takes place at a
// time: it holds the team's row in sequences. So a number that is visible has
// all lower ones before it, and what is looked for among the stored events
// cannot appear after the look.
func (s *Store) Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	a := newAppending(batches)
	if len(a.teams) == 0 {
		return make([]auditdrain.BatchResult, len(batches)), nil
	}
	for n := 0; ; n++ {
		if err := s.days.ensure(ctx, s, dayOf(s.opts.Now())); err != nil {
			return nil, err
		}
		begin := time.Now()
		err := s.do(ctx, "append", func(ctx context.Context, c *pgx.Conn) error { return a.send(ctx, c, s.opts.Now().UnixMicro()) })
		if err == nil {
			s.metrics.commits.Observe(time.Since(begin).Seconds())
			return a.results(), nil
		}
		if code(err) != codeNoPartition || n == tries {
			return nil, err
		}
		// A team's time does not go back, whatever the clock does: it may need
		// another day than today, or one that was removed when it was over.
		if err := s.days.ensureOf(ctx, s, a.teams); err != nil {
			return nil, err
		}
	}
}

// appending is what becomes of the batches of one Append.
type appending struct {
	batches []auditdrain.Batch
	teams   []string // sorted
	waves   []*wave
	places  [][]int // by batch and event: which event of its wave it is, or none
	waveOf  []*wave // by batch
}

// wave is what one statement stores: no two of its batches have an ID of a team
// in common. So what is found of an event does not depend on the fate of another
// batch, which may be refused; a later wave sees what became of the earlier ones.
type wave struct {
	teams   []string // by batch
	refused []bool   // by batch: its own events conflict with each other
	batch   []int32  // by event, from 1
	ids     []string
	times   []int64
	bodies  [][]byte

	found map[int]bool // stored events, from 0: with the same bytes?
}

func newAppending(batches []auditdrain.Batch) *appending {
	a := &appending{batches: batches, places: make([][]int, len(batches)), waveOf: make([]*wave, len(batches))}
	type event struct{ team, id string }
	last := map[event]int{}   // the last wave that has it
	teams := map[string]int{} // the last wave of each, so that batches keep their order
	for i, b := range batches {
		if len(b.Events) == 0 {
			continue
		}
		n := teams[b.TeamID]
		for _, e := range b.Events {
			if at, ok := last[event{b.TeamID, e.ID}]; ok {
				n = max(n, at+1)
			}
		}
		for _, e := range b.Events {
			last[event{b.TeamID, e.ID}] = n
		}
		teams[b.TeamID] = n
		if n == len(a.waves) {
			a.waves = append(a.waves, &wave{})
		}
		a.waveOf[i] = a.waves[n]
		a.places[i] = a.waves[n].add(b)
	}
	a.teams = slices.Sorted(maps.Keys(teams))
	return a
}

// add adds a batch, and returns where each of its events is. Those that are the
// same in ID and bytes are at one place.
func (w *wave) add(b auditdrain.Batch) []int {
	w.teams = append(w.teams, b.TeamID)
	refused := false
	places := make([]int, len(b.Events))
	known := make(map[string][]int, len(b.Events))
	for i, e := range b.Events {
		same := slices.IndexFunc(known[e.ID], func(at int) bool { return bytes.Equal(w.bodies[at], e.Body) })
		if same >= 0 {
			places[i] = known[e.ID][same]
			continue
		}
		refused = refused || len(known[e.ID]) > 0
		places[i] = len(w.ids)
		known[e.ID] = append(known[e.ID], places[i])
		w.batch = append(w.batch, int32(len(w.teams)))
		w.ids, w.times = append(w.ids, e.ID), append(w.times, e.Timestamp)
		body := e.Body
		if body == nil {
			body = []byte{} // which is not null
		}
		w.bodies = append(w.bodies, body)
	}
	w.refused = append(w.refused, refused)
	return places
}

// send does it all in one round trip. now is in Unix µs.
func (a *appending) send(ctx context.Context, c *pgx.Conn, now int64) error {
	b := &pgx.Batch{}
	b.Queue(`
INSERT INTO sequences (team_id)
SELECT t FROM unnest($1::text[]) AS t WHERE NOT EXISTS (SELECT FROM sequences WHERE team_id = t) ORDER BY t
ON CONFLICT DO NOTHING`, a.teams)
	// All in one order, so that two Appends do not wait for each other.
	b.Queue(`SELECT team_id FROM sequences WHERE team_id = ANY ($1) ORDER BY team_id FOR UPDATE`, a.teams)
	for _, w := range a.waves {
		w.found = map[int]bool{}
		b.Queue(appendSQL, w.teams, w.refused, w.batch, w.ids, w.times, w.bodies, now).Query(func(rows pgx.Rows) error {
			var n int
			var same bool
			_, err := pgx.ForEachRow(rows, []any{&n, &same}, func() error { w.found[n-1] = same; return nil })
			return err
		})
	}
	return pipeline(ctx, c, b)
}

// appendSQL stores a wave and returns the events that are stored already. It
// begins once the sequences are locked, so it sees all that was committed of
// these teams.
const appendSQL = `
WITH batches AS (
    SELECT * FROM unnest($1::text[], $2::boolean[]) WITH ORDINALITY AS b (team_id, refused, batch)
), input AS MATERIALIZED (
    SELECT i.n, i.batch, b.team_id, b.refused, i.id, i.timestamp, i.body, q.gone, q.last_seq, q.total_bytes,
        greatest(q.accepted_at, $7::bigint) AS accepted_at
    FROM unnest($3::int[], $4::text[], $5::bigint[], $6::bytea[]) WITH ORDINALITY AS i (batch, id, timestamp, body, n)
    JOIN batches b ON b.batch = i.batch
    JOIN sequences q ON q.team_id = b.team_id
), known AS MATERIALIZED (
    SELECT i.*, e.body = i.body AS same
    FROM input i LEFT JOIN events e ON e.team_id = i.team_id AND e.id = i.id AND e.seq > i.gone
), judged AS (
    SELECT k.*, bool_or(k.refused OR k.same IS FALSE) OVER (PARTITION BY k.batch) AS conflict FROM known k
), fresh AS MATERIALIZED (
    SELECT j.*,
        j.last_seq + row_number() OVER place AS seq,
        j.total_bytes + sum(octet_length(j.body)) OVER place AS bytes
    FROM judged j WHERE j.same IS NULL AND NOT j.conflict
    WINDOW place AS (PARTITION BY j.team_id ORDER BY j.n ROWS UNBOUNDED PRECEDING)
), stored AS (
    INSERT INTO events (team_id, seq, day, id, accepted_at, timestamp, total_bytes, body)
    SELECT team_id, seq, accepted_at / 86400000000, id, accepted_at, timestamp, bytes, body FROM fresh
), counted AS (
    UPDATE sequences q SET last_seq = f.seq, total_bytes = f.bytes, accepted_at = f.accepted_at
    FROM (SELECT team_id, max(seq) AS seq, max(bytes) AS bytes, max(accepted_at) AS accepted_at FROM fresh GROUP BY team_id) f
    WHERE q.team_id = f.team_id
)
SELECT n, same FROM known WHERE same IS NOT NULL`

// results tells what has become of each batch.
func (a *appending) results() []auditdrain.BatchResult {
	results := make([]auditdrain.BatchResult, len(a.batches))
	for i, b := range a.batches {
		if len(b.Events) > 0 {
			results[i] = a.waveOf[i].result(b, a.places[i])
		}
	}
	return results
}

func (w *wave) result(b auditdrain.Batch, places []int) (r auditdrain.BatchResult) {
	first := make(map[string]int, len(b.Events)) // of those that were not stored before
	for i, e := range b.Events {
		if same, ok := w.found[places[i]]; ok {
			if same {
				r.Duplicates++
			} else {
				r.Conflicts = append(r.Conflicts, e.ID)
			}
			continue
		}
		switch at, ok := first[e.ID]; {
		case !ok:
			first[e.ID] = places[i]
			r.Accepted++
		case at == places[i]:
			r.Duplicates++
		default:
			r.Conflicts = append(r.Conflicts, e.ID)
		}
	}
	if len(r.Conflicts) > 0 {
		return auditdrain.BatchResult{Conflicts: r.Conflicts}
	}
	return r
}
