package pgstore

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// Record stores an activity that is about no change of what is stored. It is
// durable when Record returns nil.
//
// The other methods that take an *auditdrain.Activity store it in the
// transaction of their change: there are both or neither. The store sets its
// number, the next of all; nil, or one without an action, records nothing, as
// does a call that changes nothing. What it points to must not be changed once
// the method has been called, except by the method's update.
func (s *Store) Record(ctx context.Context, act *auditdrain.Activity) error {
	if act == nil || act.Action == "" {
		return nil
	}
	return s.change(ctx, "record activity", act, func(context.Context, pgx.Tx) error { return nil })
}

// record stores act, if there is one, in tx. It comes last: from then on all
// others who record something wait for the commit.
func record(ctx context.Context, tx pgx.Tx, act *auditdrain.Activity) (recorded bool, err error) {
	if act == nil || act.Action == "" {
		return false, nil
	}
	data, err := json.Marshal(act)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `
WITH next AS (UPDATE counters SET value = value + 1 WHERE name = 'activities' RETURNING value)
INSERT INTO activities (number, team_id, data) SELECT value, $1, $2 FROM next`, act.TeamID, string(data))
	return err == nil, err
}

// tell wakes who waits for Recorded.
func (s *Store) tell() {
	select {
	case s.recorded <- struct{}{}:
	default: // who waits has not looked yet since the last one
	}
}

// Recorded gets a value after an activity was recorded by this node; one, if
// there were several meanwhile. It is for one who waits, and who has to look
// from time to time for what others have recorded.
func (s *Store) Recorded() <-chan struct{} { return s.recorded }

// Activities returns the activities that q selects, the latest first.
func (s *Store) Activities(ctx context.Context, q auditdrain.ActivityQuery) ([]auditdrain.Activity, error) {
	before := int64(q.Before)
	if before == 0 {
		before = 1<<63 - 1
	}
	if q.TeamID == "" {
		return list(ctx, s, "list activities", rowActivity,
			`SELECT number, data FROM activities WHERE number < $1 ORDER BY number DESC LIMIT $2`, before, q.Limit)
	}
	return list(ctx, s, "list activities", rowActivity,
		`SELECT number, data FROM activities WHERE team_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3`, name(q.TeamID), before, q.Limit)
}

// ActivitiesAfter returns the activities with higher numbers than after, in
// their order, limit at most.
func (s *Store) ActivitiesAfter(ctx context.Context, after uint64, limit int) ([]auditdrain.Activity, error) {
	return list(ctx, s, "read activities", rowActivity,
		`SELECT number, data FROM activities WHERE number > $1 ORDER BY number LIMIT $2`, after, limit)
}

func rowActivity(row pgx.CollectableRow) (a auditdrain.Activity, err error) {
	var number uint64
	var data []byte
	if err := row.Scan(&number, &data); err != nil {
		return a, err
	}
	err = json.Unmarshal(data, &a)
	a.Number = number
	return a, err
}

// Forwarded returns the number of the last activity that has become an event.
func (s *Store) Forwarded(ctx context.Context) (uint64, error) {
	numbers, err := list(ctx, s, "read what was forwarded", pgx.RowTo[uint64], `SELECT value FROM counters WHERE name = 'forwarded'`)
	if err != nil || numbers == nil {
		return 0, err
	}
	return numbers[0], nil
}

// SaveForwarded notes that activities up to number have become events. It is
// durable when SaveForwarded returns nil. It never goes back.
func (s *Store) SaveForwarded(ctx context.Context, number uint64) error {
	return s.exec(ctx, "save what was forwarded", `UPDATE counters SET value = greatest(value, $1) WHERE name = 'forwarded'`, number)
}
