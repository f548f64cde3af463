package pebblestore

import (
	"context"
	"fmt"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// What no other method shows, for who moves all to another store.

// LogRecord returns where a team's log begins and ends.
func (s *Store) LogRecord(ctx context.Context, teamID string) (auditdrain.LogRecord, error) {
	return read(ctx, s, "read log", func(e *engine) (auditdrain.LogRecord, error) {
		e.trimming.Lock()
		defer e.trimming.Unlock()
		log := auditdrain.LogRecord{TeamID: teamID}
		q, err := e.sequence(teamID)
		if err != nil {
			return log, err
		}
		first, err := e.firstKept(teamID, q)
		if err != nil {
			return log, err
		}
		r, err := e.retention(teamID)
		if err != nil {
			return log, err
		}
		for _, m := range r.Delivered {
			mark := auditdrain.DeliveredMark{At: m.At, Seq: m.Seq}
			// Of those of one time the last counts.
			if n := len(log.Delivered); n > 0 && log.Delivered[n-1].At == mark.At {
				log.Delivered[n-1] = mark
				continue
			}
			log.Delivered = append(log.Delivered, mark)
		}
		e.appending.Lock()
		defer e.appending.Unlock()
		log.Last, log.TotalBytes, log.AcceptedAt, log.Gone = q.last.seq, q.last.bytes, q.at, first-1
		return log, nil
	})
}

// Steps returns all that is kept of a drain's series, in no particular order;
// nothing of a drain that does not exist.
func (s *Store) Steps(ctx context.Context, drainID string) ([]auditdrain.SeriesStep, error) {
	return read(ctx, s, "read series", func(e *engine) (steps []auditdrain.SeriesStep, err error) {
		e.catalog.RLock()
		defer e.catalog.RUnlock()
		first := string(ofDrain(seriesPrefix, drainID))
		err = e.scan(first, func(name string, v []byte) error {
			if len(name) != 2 || int(name[0]) >= len(auditdrain.Spans) {
				return fmt.Errorf("record %q is damaged", strings.TrimPrefix(first, seriesPrefix)+name)
			}
			start, t, err := decodeBucket(v)
			if err != nil {
				return fmt.Errorf("series of drain %s: %w", drainID, err)
			}
			step := auditdrain.SeriesStep{
				Span: auditdrain.Spans[name[0]], Start: start, Delivered: t.Delivered, Failed: t.Failed, Backlog: t.Backlog,
			}
			if t.Latency != nil {
				step.Latency, err = t.Latency.AppendBinary(nil)
			}
			steps = append(steps, step)
			return err
		})
		return steps, err
	})
}
