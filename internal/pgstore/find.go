package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// FindDrains returns one page of the drains that search selects: those that are
// errored first, then those enabled, then those disabled, and of these the ones
// with the largest backlog first, then the oldest. It also returns how many it
// selects on all pages, and how many drains of each status there are without
// search.Status. It looks at all drains, or at all of the team, but reads only
// those of the page.
func (s *Store) FindDrains(ctx context.Context, search auditdrain.DrainSearch) (found []auditdrain.Drain, matches int, counts auditdrain.DrainCounts, err error) {
	status := -1 // any
	for i, st := range urgency {
		if search.Status == st {
			status = i
		}
	}
	err = s.do(ctx, "find drains", func(ctx context.Context, c *pgx.Conn) error {
		found, counts = nil, auditdrain.DrainCounts{}
		sql := fmt.Sprintf(findSQL, `$1 = ''`)
		if search.TeamID != "" {
			sql = fmt.Sprintf(findSQL, `d.team_id = $1`)
		}
		rows, err := c.Query(ctx, sql,
			name(search.TeamID), name(strings.ToLower(search.Text)), status, search.Limit, search.Offset)
		if err != nil {
			return err
		}
		var data []byte // null if the page is empty
		_, err = pgx.ForEachRow(rows, []any{&counts.Errored, &counts.Enabled, &counts.Disabled, &data}, func() error {
			if data == nil {
				return nil
			}
			var d auditdrain.Drain
			if err := json.Unmarshal(data, &d); err != nil {
				return err
			}
			found = append(found, d)
			return nil
		})
		return err
	})
	switch of := [...]int{counts.Errored, counts.Enabled, counts.Disabled}; {
	case search.Status == "":
		matches = of[0] + of[1] + of[2]
	case status >= 0:
		matches = of[status]
	}
	return found, matches, counts, err
}

// findSQL returns the page, with the counts in each row; one row without a drain
// if the page is empty. Which teams is left open: the plan depends on it.
const findSQL = `
WITH matches AS MATERIALIZED (
    SELECT d.id, d.created_at, coalesce(q.last_seq, 0) - p.cursor AS backlog,
        CASE WHEN d.disabled THEN 2 WHEN p.errored THEN 0 ELSE 1 END AS rank
    FROM drains d
    JOIN delivery p ON p.drain_id = d.id
    JOIN teams t ON t.id = d.team_id
    LEFT JOIN sequences q ON q.team_id = d.team_id
    WHERE %s AND (position($2 IN d.search) > 0 OR position($2 IN t.search) > 0)
), page AS (
    SELECT id, rank, row_number() OVER (ORDER BY rank, backlog DESC, created_at, id) AS place FROM matches
    WHERE $3::int < 0 OR rank = $3
    ORDER BY rank, backlog DESC, created_at, id LIMIT $4 OFFSET $5
), counted AS (
    SELECT count(*) FILTER (WHERE rank = 0) AS errored, count(*) FILTER (WHERE rank = 1) AS enabled,
        count(*) FILTER (WHERE rank = 2) AS disabled FROM matches
)
SELECT counted.errored, counted.enabled, counted.disabled, d.data
FROM counted LEFT JOIN (page JOIN drains d USING (id)) ON true ORDER BY place`

// urgency is the order of the statuses in what is found.
var urgency = [...]auditdrain.DrainStatus{auditdrain.StatusErrored, auditdrain.StatusEnabled, auditdrain.StatusDisabled}

// Backlogs returns how many events each drain has yet to deliver; those that
// have none are missing.
func (s *Store) Backlogs(ctx context.Context) (map[string]uint64, error) {
	backlogs := map[string]uint64{}
	err := s.do(ctx, "list backlogs", func(ctx context.Context, c *pgx.Conn) error {
		clear(backlogs)
		rows, err := c.Query(ctx, `
SELECT p.drain_id, q.last_seq - p.cursor FROM delivery p JOIN sequences q ON q.team_id = p.team_id WHERE q.last_seq > p.cursor`)
		if err != nil {
			return err
		}
		var id string
		var n uint64
		_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error { backlogs[id] = n; return nil })
		return err
	})
	return backlogs, err
}

// Survey returns how the drains that q selects by ID or team are doing, ordered by
// creation, all as of one moment.
func (s *Store) Survey(ctx context.Context, q auditdrain.DrainQuery) ([]auditdrain.Standing, error) {
	// Which index it goes by depends on what is asked for, as in Drains.
	which, args := ``, []any{}
	switch id, team := name(q.ID), name(q.TeamID); {
	case id != "":
		which, args = `WHERE r.id = $1 AND ($2 = '' OR r.team_id = $2) `, []any{id, team}
	case team != "":
		which, args = `WHERE r.team_id = $1 `, []any{team}
	}
	return list(ctx, s, "survey drains", rowStanding, `
SELECT r.data, d.drain_id, d.cursor, d.skipped, d.state, coalesce(q.last_seq, 0), coalesce(q.total_bytes, 0),
    next.accepted_at, next.before
FROM drains r JOIN delivery d ON d.drain_id = r.id LEFT JOIN sequences q ON q.team_id = r.team_id
LEFT JOIN LATERAL (
    SELECT e.accepted_at, e.total_bytes - octet_length(e.body) AS before FROM events e
    WHERE q.last_seq > d.cursor AND e.team_id = q.team_id AND e.seq > greatest(d.cursor, q.gone)
    ORDER BY e.seq LIMIT 1
) next ON true `+which+`ORDER BY r.created_at, r.id`, args...)
}

func rowStanding(row pgx.CollectableRow) (st auditdrain.Standing, err error) {
	var config, state []byte
	var id string
	var cursor, skipped, last, total uint64
	var acceptedAt *int64
	var before *uint64
	if err := row.Scan(&config, &id, &cursor, &skipped, &state, &last, &total, &acceptedAt, &before); err != nil {
		return st, err
	}
	if err := errors.Join(json.Unmarshal(config, &st.Drain), json.Unmarshal(state, &st.State)); err != nil {
		return st, fmt.Errorf("drain %s: %w", id, err)
	}
	st.State.DrainID, st.State.Cursor, st.State.Skipped = id, cursor, skipped
	if last > cursor {
		st.Events = last - cursor
	}
	if acceptedAt != nil {
		st.Oldest, st.Bytes = time.UnixMicro(*acceptedAt).UTC(), total-*before
	}
	return st, nil
}
