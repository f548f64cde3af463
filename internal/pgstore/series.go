package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auditdrain/auditdrain"
)

// talliesMost is how many drains AddTallies writes in one transaction: whoever
// changes one of them waits for it.
const talliesMost = 500

// AddTallies adds what drains have done to their series, in those steps of all
// spans that at is in. Of drains that do not exist nothing is kept; one that is
// named twice is an error. The database does not wait for its disk: its crash may
// undo the latest calls, or parts of them. Several nodes may add to one drain.
func (s *Store) AddTallies(ctx context.Context, at time.Time, tallies []auditdrain.Tally) error {
	sorted := slices.Clone(tallies)
	slices.SortFunc(sorted, func(a, b auditdrain.Tally) int { return strings.Compare(a.DrainID, b.DrainID) })
	for i := 1; i < len(sorted); i++ {
		if id := sorted[i].DrainID; id == sorted[i-1].DrainID {
			return fmt.Errorf("add tallies: drain %s is named twice", id)
		}
	}
	for some := range slices.Chunk(sorted, talliesMost) {
		err := s.tx(ctx, "add tallies", func(ctx context.Context, tx pgx.Tx) error { return addTallies(ctx, tx, at, some) })
		if err != nil {
			return err
		}
	}
	return nil
}

func addTallies(ctx context.Context, tx pgx.Tx, at time.Time, tallies []auditdrain.Tally) error {
	ids := make([]string, len(tallies))
	for i, t := range tallies {
		ids[i] = t.DrainID
	}
	old, exists := map[bucketKey]bucket{}, map[string]bool{}
	b := &pgx.Batch{}
	b.Queue(waitForNoDisk)
	// Others who add to the same drains wait here.
	b.Queue(`SELECT id FROM drains WHERE id = ANY ($1) ORDER BY id FOR UPDATE`, ids).Query(func(rows pgx.Rows) error {
		var id string
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { exists[id] = true; return nil })
		return err
	})
	for _, span := range auditdrain.Spans {
		r := ringOf(span)
		b.Queue(`SELECT drain_id, start, delivered, failed, backlog, latency FROM series WHERE drain_id = ANY ($1) AND span = $2 AND slot = $3 AND start = $4`,
			ids, string(span), r.slot(r.start(at)), r.start(at)).Query(func(rows pgx.Rows) error {
			found, err := pgx.CollectRows(rows, rowBucket)
			for _, f := range found {
				old[bucketKey{f.DrainID, span}] = f
			}
			return err
		})
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(tallies), func(t auditdrain.Tally) bool { return !exists[t.DrainID] })
	b = &pgx.Batch{}
	for _, span := range auditdrain.Spans {
		if err := stage(b, span, at, kept, old); err != nil {
			return err
		}
	}
	return tx.SendBatch(ctx, b).Close()
}

type bucketKey struct {
	drainID string
	span    auditdrain.Span
}

// bucket is what a drain did in one step.
type bucket struct {
	auditdrain.Tally
	start int64
}

func rowBucket(row pgx.CollectableRow) (b bucket, err error) {
	var latency []byte
	if err := row.Scan(&b.DrainID, &b.start, &b.Delivered, &b.Failed, &b.Backlog, &latency); err != nil || latency == nil {
		return b, err
	}
	b.Latency = &auditdrain.LatencyHistogram{}
	return b, b.Latency.UnmarshalBinary(latency)
}

// stage has b write the step of one span that at is in, with what is there.
func stage(b *pgx.Batch, span auditdrain.Span, at time.Time, tallies []auditdrain.Tally, old map[bucketKey]bucket) error {
	var ids []string
	var delivered, failed, backlog []int64
	var latency [][]byte
	for _, t := range tallies {
		if sum, ok := old[bucketKey{t.DrainID, span}]; ok {
			sum.Add(t)
			t = sum.Tally
		}
		var histogram []byte
		if t.Latency != nil {
			var err error
			if histogram, err = t.Latency.AppendBinary(nil); err != nil {
				return fmt.Errorf("series of drain %s: %w", t.DrainID, err)
			}
		}
		ids, latency = append(ids, t.DrainID), append(latency, histogram)
		delivered, failed, backlog = append(delivered, int64(t.Delivered)), append(failed, int64(t.Failed)), append(backlog, int64(t.Backlog))
	}
	r := ringOf(span)
	b.Queue(`
INSERT INTO series (drain_id, span, slot, start, delivered, failed, backlog, latency)
SELECT drain_id, $1, $2, $3, delivered, failed, backlog, latency
FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[]) AS t (drain_id, delivered, failed, backlog, latency)
ON CONFLICT (drain_id, span, slot) DO UPDATE SET start = excluded.start, delivered = excluded.delivered, failed = excluded.failed,
    backlog = excluded.backlog, latency = excluded.latency`,
		string(span), r.slot(r.start(at)), r.start(at), ids, delivered, failed, backlog, latency)
	return nil
}

// ring is where the series of one span are: a drain's nth step has its place at
// n modulo the number of steps.
type ring struct{ steps, step int64 } // step in ms

func ringOf(span auditdrain.Span) ring {
	n, step := span.Steps()
	return ring{steps: int64(n), step: step.Milliseconds()}
}

// start returns when the step begins that t is in, in Unix ms.
func (r ring) start(t time.Time) int64 { return t.UnixMilli() / r.step * r.step }

func (r ring) slot(start int64) int32 { return int32(start / r.step % r.steps) }

// Series returns what a drain did in the span that ends now; see
// auditdrain.NewSeries. A drain that does not exist is CodeNotFound.
func (s *Store) Series(ctx context.Context, drainID string, span auditdrain.Span, now time.Time) (auditdrain.Series, error) {
	if err := span.Validate(); err != nil {
		return auditdrain.Series{}, err
	}
	r := ringOf(span)
	first := r.start(now) - (r.steps-1)*r.step
	// Others are of an earlier round, or the clock has gone back.
	buckets, err := list(ctx, s, "read series", func(row pgx.CollectableRow) (*bucket, error) {
		if row.RawValues()[1] == nil {
			return nil, nil // the drain has none
		}
		b, err := rowBucket(row)
		return &b, err
	}, `
SELECT d.drain_id, s.start, s.delivered, s.failed, s.backlog, s.latency
FROM delivery d LEFT JOIN series s ON s.drain_id = d.drain_id AND s.span = $2 AND s.start BETWEEN $3 AND $4
WHERE d.drain_id = $1`, name(drainID), string(span), first, r.start(now))
	if err != nil {
		return auditdrain.Series{}, err
	}
	if buckets == nil {
		return auditdrain.Series{}, noDrain(drainID)
	}
	noted := map[int64]auditdrain.Tally{}
	for _, b := range buckets {
		if b != nil {
			noted[b.start] = b.Tally
		}
	}
	return auditdrain.NewSeries(span, now, noted), nil
}
