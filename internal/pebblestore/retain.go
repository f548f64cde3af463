package pebblestore

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// marksKept is into how many parts the time that events are kept is divided:
// how much longer they may stay, and how much is noted of each team.
const marksKept = 32

// mark says up to which number a team's events were delivered at a time.
type mark struct {
	At  int64  `json:"at"` // Unix microseconds
	Seq uint64 `json:"seq"`
}

// Retain removes the events that every drain of their team has delivered at
// least keep ago, and at most about a thirty-second part of keep later than
// that; of a team without drains, those accepted so long ago. It counts from
// the first call that finds an event delivered, so it is to be called often.
// In all else it is as Trim.
func (s *Store) Retain(ctx context.Context, keep time.Duration) (removed int, err error) {
	return s.trimTeams(ctx, func(e *engine, teamID string) (int, error) {
		most, err := e.deliveredSince(teamID, keep)
		if err != nil {
			return 0, err
		}
		return e.trimSome(teamID, most, math.MaxInt64)
	})
}

// deliveredSince returns the number up to which a team's events had been
// delivered keep ago, and notes up to which they are now.
func (e *engine) deliveredSince(teamID string, keep time.Duration) (uint64, error) {
	e.trimming.Lock()
	defer e.trimming.Unlock()
	limit, err := e.trimLimit(teamID)
	if err != nil {
		return 0, err
	}
	key := []byte(marksPrefix + teamID)
	value, err := e.get(key)
	if err != nil {
		return 0, err
	}
	var marks []mark
	if value != nil {
		if err := json.Unmarshal(value, &marks); err != nil {
			return 0, fmt.Errorf("what was delivered of team %s: %w", teamID, err)
		}
	}

	now, changed := e.now(), false
	if n := len(marks); n == 0 || marks[n-1].Seq != limit && now.Sub(time.UnixMicro(marks[n-1].At)) >= keep/marksKept {
		marks, changed = append(marks, mark{At: now.UnixMicro(), Seq: limit}), true
	}
	// The first mark is the one that counts: older ones are dropped.
	old := now.Add(-keep).UnixMicro()
	for len(marks) > 1 && marks[1].At <= old {
		marks, changed = marks[1:], true
	}
	var delivered uint64
	if marks[0].At <= old {
		delivered = marks[0].Seq
	}
	if !changed {
		return delivered, nil
	}
	if value, err = json.Marshal(marks); err != nil {
		return 0, err
	}
	return delivered, e.db.Set(key, value, pebble.NoSync)
}
