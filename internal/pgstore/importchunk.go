package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// chunk is what an Import writes in one transaction, as rows.
type chunk struct {
	rows  map[string][][]any // by table
	bytes int                // about
	days  map[int]bool       // that events are of

	last       map[string]uint64      // by team, of the events in rows
	logs       []auditdrain.LogRecord // that are complete with these events
	activities uint64                 // the last number, or 0
	forwarded  uint64
}

func newChunk() chunk {
	return chunk{rows: map[string][][]any{}, days: map[int]bool{}, last: map[string]uint64{}}
}

// columns of the tables that chunks have rows of.
var columns = map[string][]string{
	"teams":        {"id", "search", "data"},
	"team_names":   {"name", "team_id"},
	"tokens":       {"hash", "id", "team_id", "created_at", "data"},
	"signing_keys": {"number", "id", "data"},
	"activities":   {"number", "team_id", "data"},
	"drains":       {"id", "team_id", "created_at", "disabled", "search", "version", "data"},
	"delivery":     {"drain_id", "team_id", "cursor", "skipped", "errored", "replay_id", "replay_cursor", "replay_finished", "state"},
	"attempts":     {"drain_id", "failed", "slot", "data"},
	"series":       {"drain_id", "span", "slot", "start", "delivered", "failed", "backlog", "latency"},
	"skips":        {"drain_id", "from_seq", "to_seq", "data"},
	"replays":      {"drain_id", "id", "first_seq", "last_seq", "cancelled", "data"},
	"chains":       {"drain_id", "team_id", "sequence", "activity", "needs", "data"},
	"seals":        {"drain_id", "number", "team_id", "needs", "data"},
	"notified":     {"drain_id", "data"},
	"delivered":    {"team_id", "at", "seq"},
	"events":       {"team_id", "seq", "day", "id", "accepted_at", "timestamp", "total_bytes", "body"},
}

func (c *chunk) add(table string, row ...any) {
	c.rows[table] = append(c.rows[table], row)
	c.bytes += 32 * len(row)
	for _, v := range row {
		switch v := v.(type) {
		case string:
			c.bytes += len(v)
		case []byte:
			c.bytes += len(v)
		}
	}
}

// addJSON is add for a row that ends with v as JSON.
func (c *chunk) addJSON(table string, v any, row ...any) error {
	data, err := json.Marshal(v)
	if err == nil {
		c.add(table, append(row, string(data))...)
	}
	return err
}

func (c *chunk) addTeam(t auditdrain.Team) error {
	c.add("team_names", t.ID, t.ID)
	if t.Slug != t.ID {
		c.add("team_names", t.Slug, t.ID)
	}
	return c.addJSON("teams", t, t.ID, teamText(t))
}

func (c *chunk) addToken(t auditdrain.Token) error {
	return c.addJSON("tokens", t, t.Hash[:], t.ID, t.TeamID, t.CreatedAt)
}

func (c *chunk) addActivity(a auditdrain.Activity) error {
	c.activities = a.Number
	return c.addJSON("activities", a, a.Number, a.TeamID)
}

func (c *chunk) addEvent(teamID string, e auditdrain.StoredEvent) {
	day := dayOf(e.AcceptedAt)
	c.days[day], c.last[teamID] = true, e.Seq
	body := e.Body
	if body == nil {
		body = []byte{} // which is not null
	}
	c.add("events", teamID, e.Seq, day, e.ID, e.AcceptedAt.UnixMicro(), e.Timestamp, e.TotalBytes, body)
}

func (c *chunk) addLog(log auditdrain.LogRecord) {
	if log.Last > 0 {
		c.logs = append(c.logs, log)
	}
	for _, m := range log.Delivered {
		c.add("delivered", log.TeamID, m.At, m.Seq)
	}
}

func (c *chunk) addDrain(r auditdrain.DrainRecord) error {
	d := r.Drain
	if err := c.addJSON("drains", d, d.ID, d.TeamID, d.CreatedAt, disabled(d), drainText(d), 1); err != nil {
		return err
	}
	if err := c.addProgress(d, auditdrain.Progress{State: r.State, Attempts: r.Attempts}); err != nil {
		return err
	}
	for _, s := range r.Skips {
		if err := c.addJSON("skips", s, d.ID, s.From, s.To); err != nil {
			return err
		}
	}
	if o := r.Replay; o != nil {
		if err := c.addJSON("replays", o, d.ID, o.ID, o.FirstSeq, o.LastSeq, o.Cancelled); err != nil {
			return err
		}
	}
	for _, s := range r.Steps {
		c.add("series", d.ID, string(s.Span), ringOf(s.Span).slot(s.Start), s.Start, s.Delivered, s.Failed, s.Backlog, s.Latency)
	}
	if r.Notified == (auditdrain.Notified{}) {
		return nil
	}
	return c.addJSON("notified", r.Notified, d.ID)
}

func (c *chunk) addChain(r auditdrain.ChainRecord) error {
	if err := c.addJSON("chains", r.Chain, r.Chain.DrainID, r.Chain.TeamID, r.Chain.Sequence, r.Chain.Activity, neededFrom(r.Chain.Needs())); err != nil {
		return err
	}
	for _, s := range r.Seals {
		if err := c.addJSON("seals", s, s.DrainID, s.Number, s.TeamID, neededFrom(s.Needs())); err != nil {
			return err
		}
	}
	return nil
}

// addProgress adds what SaveProgress would save of a drain.
func (c *chunk) addProgress(d auditdrain.Drain, p auditdrain.Progress) error {
	v, err := newSaves([]auditdrain.Progress{p}, nil)
	if err != nil {
		return err
	}
	c.add("delivery", d.ID, d.TeamID, v.cursors[0], v.skipped[0], v.errored[0], v.replays[0], v.replayCursors[0], v.finished[0], v.states[0])
	for n, drain := range v.attempts.drains {
		c.add("attempts", drain, v.attempts.failed[n], v.attempts.slots[n], v.attempts.data[n])
	}
	return nil
}

// write writes all of it.
func (c *chunk) write(ctx context.Context, tx pgx.Tx) error {
	// Finish waits for the disk, and what was committed before goes there first.
	if _, err := tx.Exec(ctx, waitForNoDisk); err != nil {
		return err
	}
	for _, table := range slices.Sorted(maps.Keys(c.rows)) {
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns[table], pgx.CopyFromRows(c.rows[table])); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	b := &pgx.Batch{}
	for team, last := range c.last {
		b.Queue(`INSERT INTO sequences (team_id, last_seq) VALUES ($1, $2) ON CONFLICT (team_id) DO UPDATE SET last_seq = excluded.last_seq`, team, last)
	}
	for _, l := range c.logs {
		b.Queue(`
INSERT INTO sequences (team_id, last_seq, total_bytes, accepted_at, gone) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (team_id) DO UPDATE SET last_seq = excluded.last_seq, total_bytes = excluded.total_bytes, accepted_at = excluded.accepted_at, gone = excluded.gone`,
			l.TeamID, l.Last, l.TotalBytes, l.AcceptedAt, l.Gone)
	}
	for counter, value := range map[string]uint64{"activities": c.activities, "forwarded": c.forwarded} {
		if value > 0 {
			b.Queue(`UPDATE counters SET value = $2 WHERE name = $1`, counter, value)
		}
	}
	return tx.SendBatch(ctx, b).Close()
}
