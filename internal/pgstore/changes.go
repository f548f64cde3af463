package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// news is what there is to know for a node since it last asked.
type news struct {
	activities int64             // number of the last one
	unowned    bool              // there are drains that nobody owns
	behind     map[string]uint64 // number of the last event, of the teams of own drains that have not delivered it
}

// poll asks what is new, in one round trip.
//
// Changes of drains, and of what they are told, are found by the number of the
// last activity: each change is committed with one, and who numbers an activity
// holds the counter until the commit. So who sees a number sees all changes up to
// it, whereas numbers that are drawn from a sequence become visible in any order,
// and one that asks for those after the last would miss some.
func (n *Node) poll(ctx context.Context) (found news, err error) {
	err = n.own.do(context.WithValue(ctx, forNews{}, true), "look for news", func(ctx context.Context, c *pgx.Conn) error {
		found = news{behind: map[string]uint64{}}
		b := &pgx.Batch{}
		b.Queue(`SELECT value, EXISTS (SELECT FROM delivery WHERE owner = '') FROM counters WHERE name = 'activities'`).
			QueryRow(func(row pgx.Row) error { return row.Scan(&found.activities, &found.unowned) })
		b.Queue(`
SELECT q.team_id, q.last_seq FROM delivery d JOIN sequences q ON q.team_id = d.team_id
WHERE d.owner = $1 AND q.last_seq > d.cursor`, n.id).Query(func(rows pgx.Rows) error {
			var team string
			var last uint64
			_, err := pgx.ForEachRow(rows, []any{&team, &last}, func() error { found.behind[team] = last; return nil })
			return err
		})
		return pipeline(ctx, c, b)
	})
	return found, err
}

// wake tells the deliverer of teams that have events which it was not told of: of
// each event it is told once, since a drain that is in trouble, or has much to
// do, is behind all the time.
func (n *Node) wake(d Deliverer, behind map[string]uint64) {
	for team, last := range behind {
		if n.told[team] < last {
			d.Wake(team)
		}
	}
	n.told = behind
}
