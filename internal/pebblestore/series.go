package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// talliesMost is how many drains AddTallies writes in one commit: whoever
// creates or changes a drain waits for it.
const talliesMost = 500

// AddTallies adds what drains have done to their series, in those steps of all
// spans that at is in. Of drains that do not exist nothing is kept; one that is
// named twice is an error. It does not wait for the disk: a crash may undo the
// latest calls, or parts of them. The tallies must not be modified any more.
func (s *Store) AddTallies(ctx context.Context, at time.Time, tallies []auditdrain.Tally) error {
	sorted := slices.Clone(tallies)
	slices.SortFunc(sorted, func(a, b auditdrain.Tally) int { return strings.Compare(a.DrainID, b.DrainID) })
	for i := 1; i < len(sorted); i++ {
		if id := sorted[i].DrainID; id == sorted[i-1].DrainID {
			return fmt.Errorf("add tallies: drain %s is named twice", id)
		}
	}
	for some := range slices.Chunk(sorted, talliesMost) {
		if err := s.run(ctx, "add tallies", func(e *engine) error { return e.addTallies(at, some) }); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) addTallies(at time.Time, tallies []auditdrain.Tally) error {
	e.catalog.RLock()
	defer e.catalog.RUnlock()
	e.tallying.Lock()
	defer e.tallying.Unlock()
	b := e.db.NewBatch()
	for _, t := range tallies {
		if e.drains[t.DrainID] == nil {
			continue
		}
		for i := range auditdrain.Spans {
			if err := e.addTally(b, ringOf(i), at, t); err != nil {
				return err
			}
		}
	}
	if err := e.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

func (e *engine) addTally(b *pebble.Batch, r ring, at time.Time, t auditdrain.Tally) error {
	start := r.start(at)
	k := r.key(t.DrainID, start)
	v, err := e.get(k)
	if err != nil {
		return err
	}
	if v != nil {
		old, sum, err := decodeBucket(v)
		if err != nil {
			return fmt.Errorf("series of drain %s: %w", t.DrainID, err)
		}
		if old == start { // else it is of an earlier round
			sum.Add(t)
			t = sum
		}
	}
	v, err = encodeBucket(start, t)
	if err != nil {
		return err
	}
	return b.Set(k, v, nil)
}

// ring is where the series of one span are: a drain's nth step has its place
// at n modulo the number of steps.
type ring struct {
	number byte // in the keys
	steps  int64
	step   int64 // ms
}

// ringOf returns that of the span auditdrain.Spans[i].
func ringOf(i int) ring {
	n, step := auditdrain.Spans[i].Steps()
	return ring{number: byte(i), steps: int64(n), step: step.Milliseconds()}
}

// start returns when the step begins that t is in, in Unix ms.
func (r ring) start(t time.Time) int64 { return t.UnixMilli() / r.step * r.step }

func (r ring) key(drainID string, start int64) []byte {
	return append(r.prefix(drainID), byte(start/r.step%r.steps))
}

func (r ring) prefix(drainID string) []byte { return append(ofDrain(seriesPrefix, drainID), r.number) }

func encodeBucket(start int64, t auditdrain.Tally) ([]byte, error) {
	v := binary.BigEndian.AppendUint64(nil, uint64(start))
	for _, n := range []uint64{t.Delivered, t.Failed, t.Backlog} {
		v = binary.AppendUvarint(v, n)
	}
	if t.Latency == nil {
		return v, nil
	}
	return t.Latency.AppendBinary(v)
}

var errBucket = errors.New("a step is damaged")

func decodeBucket(v []byte) (start int64, t auditdrain.Tally, err error) {
	if len(v) < 8 {
		return 0, t, errBucket
	}
	start, v = int64(binary.BigEndian.Uint64(v)), v[8:]
	for _, n := range []*uint64{&t.Delivered, &t.Failed, &t.Backlog} {
		value, length := binary.Uvarint(v)
		if length <= 0 {
			return 0, t, errBucket
		}
		*n, v = value, v[length:]
	}
	if len(v) > 0 {
		t.Latency = &auditdrain.LatencyHistogram{}
		err = t.Latency.UnmarshalBinary(v)
	}
	return start, t, err
}

// Series returns what a drain did in the span that ends now; see
// auditdrain.NewSeries. A drain that does not exist is CodeNotFound.
func (s *Store) Series(ctx context.Context, drainID string, span auditdrain.Span, now time.Time) (auditdrain.Series, error) {
	i := slices.Index(auditdrain.Spans, span)
	if i < 0 {
		return auditdrain.Series{}, span.Validate()
	}
	return read(ctx, s, "read series", func(e *engine) (auditdrain.Series, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		if _, err := e.drain("", drainID); err != nil {
			return auditdrain.Series{}, err
		}
		r := ringOf(i)
		noted := map[int64]auditdrain.Tally{} // also of earlier rounds
		err := e.scan(string(r.prefix(drainID)), func(_ string, v []byte) error {
			start, t, err := decodeBucket(v)
			if err != nil {
				return fmt.Errorf("series of drain %s: %w", drainID, err)
			}
			noted[start] = t
			return nil
		})
		return auditdrain.NewSeries(span, now, noted), err
	})
}

// Backlogs returns how many events each drain has yet to deliver, for those
// that have any. It looks in memory.
func (s *Store) Backlogs(ctx context.Context) (map[string]uint64, error) {
	return read(ctx, s, "read backlogs", func(e *engine) (map[string]uint64, error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		backlogs := map[string]uint64{}
		for m := range e.matches("", "") {
			if m.backlog > 0 {
				backlogs[m.drain.id] = m.backlog
			}
		}
		return backlogs, nil
	})
}
