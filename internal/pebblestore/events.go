package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/auditdrain/auditdrain"
)

// maxCommitBytes keeps a commit well under what Pebble takes (4 GiB).
const maxCommitBytes = 1 << 30

// sequence is where a team's sequence of events stands.
type sequence struct {
	// last is the last event that has been given a number, and at when it was
	// accepted (Unix µs); staged is last while an append is being prepared.
	// What is staged also becomes a chunk of the tail. All of these are guarded
	// by engine.appending.
	last   position
	at     int64
	staged position
	chunk  *chunk
	// durable is the last event that is known to be on disk. Pebble shows
	// what it has not synced yet; we do not look beyond this.
	durable atomic.Pointer[position]

	// tail is what is in memory, durable or not, without a gap up to the last
	// event; see tails. Up to trimmed nothing is left.
	tailMu  sync.Mutex
	tail    fifo
	trimmed uint64

	// rest is when Retain has something to do; it is guarded by
	// engine.trimming.
	rest rest
}

// position is a place in a team's sequence: an event's number, and how many
// bytes the bodies up to it have.
type position struct{ seq, bytes uint64 }

func (q *sequence) confirm(p position) {
	for {
		old := q.durable.Load()
		if old.seq >= p.seq || q.durable.CompareAndSwap(old, &p) {
			return
		}
	}
}

const sequenceLen = 8 + 8 + 8

// known returns a team's sequence if it has been read from disk before.
func (e *engine) known(teamID string) *sequence {
	e.seqMu.RLock()
	defer e.seqMu.RUnlock()
	return e.seqs[teamID]
}

// sequence returns a team's sequence, which is read from disk the first time.
// All that is on disk then is durable: opening syncs what it recovers, and
// appends come this way before they write.
func (e *engine) sequence(teamID string) (*sequence, error) {
	if q := e.known(teamID); q != nil {
		return q, nil
	}
	e.seqMu.Lock()
	defer e.seqMu.Unlock()
	if q := e.seqs[teamID]; q != nil {
		return q, nil
	}
	v, err := e.get(key(sequencePrefix, teamID))
	if err != nil {
		return nil, err
	}
	q := &sequence{}
	if v != nil {
		if len(v) != sequenceLen {
			return nil, fmt.Errorf("sequence of team %s is damaged: %d bytes", teamID, len(v))
		}
		q.last = position{seq: binary.BigEndian.Uint64(v), bytes: binary.BigEndian.Uint64(v[16:])}
		q.at = int64(binary.BigEndian.Uint64(v[8:]))
		q.staged = q.last
	}
	durable := q.last
	q.durable.Store(&durable)
	e.seqs[teamID] = q
	return q, nil
}

// Append stores the batches in one commit, each whole or not at all, and
// returns when that is durable, with one result for each. A batch with
// conflicts is refused without effect on the others. Events of a batch get
// consecutive sequence numbers in their order, and all events of the call the
// same time of acceptance, unless the clock went back: it never decreases
// within a team.
//
// After an error it is not known whether the batches have been stored.
// Appending them again is safe: what was stored is reported as a duplicate.
// Bodies are kept for readers: they must not be modified any more, not even
// after an error.
//
// Whether the team exists, and whether events are valid, is for the caller to
// check.
func (s *Store) Append(ctx context.Context, batches []auditdrain.Batch) ([]auditdrain.BatchResult, error) {
	return write(ctx, s, "append events", func(e *engine) ([]auditdrain.BatchResult, error) {
		a := appendCall{engine: e, batches: batches, results: make([]auditdrain.BatchResult, len(batches))}
		if err := a.apply(); err != nil {
			return nil, err
		}
		if err := a.sync(); err != nil {
			return nil, err
		}
		return a.results, nil
	})
}

// pendingKey is an event that the same call is about to store.
type pendingKey struct {
	seq *sequence
	id  string
}

// appendCall is one call of Append.
type appendCall struct {
	engine  *engine
	batches []auditdrain.Batch
	results []auditdrain.BatchResult

	batch   *pebble.Batch
	begin   time.Time
	touched []touched // sequences that get new events
	// leans are sequences of which a result depends on events that another
	// call has written but that are not known to be durable yet.
	leans []touched

	index *pebble.Iterator // the index entries as they were when the call began
	key   []byte
	fresh []int // events of the current batch that are new
}

type touched struct {
	teamID string
	seq    *sequence
	last   position
}

// apply looks for duplicates, writes what is new to the log, and makes it
// visible to the next call. It does not wait for the disk, so that the next
// call can prepare its commit meanwhile.
func (a *appendCall) apply() (err error) {
	size, err := a.size()
	if err != nil {
		return err
	}
	s := a.engine
	s.appending.Lock()
	defer s.appending.Unlock()

	// An iterator rather than Get, because Get does not use the Bloom filters
	// of the last level, where nearly all entries are.
	a.index, err = s.db.NewIter(&pebble.IterOptions{
		LowerBound:   []byte(indexPrefix),
		UpperBound:   end([]byte(indexPrefix)),
		UseL6Filters: true,
	})
	if err != nil {
		return err
	}
	a.batch = s.db.NewBatchWithSize(size)
	defer func() {
		err = errors.Join(err, a.index.Close())
		if err != nil {
			for _, t := range a.touched {
				t.seq.staged, t.seq.chunk = t.seq.last, nil
			}
			err = errors.Join(err, a.batch.Close())
		}
		if len(s.pending) > 0 {
			clear(s.pending)
		}
	}()
	now := s.now().UnixMicro()
	for i := range a.batches {
		if err := a.add(i, now); err != nil {
			return err
		}
	}
	for i := range a.touched {
		t := &a.touched[i]
		t.last = t.seq.staged
		op := a.batch.SetDeferred(len(sequencePrefix)+len(t.teamID), sequenceLen)
		copy(op.Key[copy(op.Key, sequencePrefix):], t.teamID)
		binary.BigEndian.PutUint64(op.Value, t.last.seq)
		binary.BigEndian.PutUint64(op.Value[8:], uint64(max(now, t.seq.at)))
		binary.BigEndian.PutUint64(op.Value[16:], t.last.bytes)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	if a.batch.Empty() {
		if len(a.leans) == 0 {
			return nil // nothing to wait for
		}
		if err := a.batch.LogData(nil, nil); err != nil {
			return err
		}
	}
	a.begin = time.Now()
	if err := s.db.ApplyNoSyncWait(a.batch, pebble.Sync); err != nil {
		return err
	}
	for _, t := range a.touched {
		t.seq.last = t.last
		t.seq.at = max(now, t.seq.at)
		s.tails.add(t.seq.chunk)
		t.seq.chunk = nil
	}
	return nil
}

// sync waits until what apply has written is on disk.
func (a *appendCall) sync() error {
	if !a.batch.Empty() {
		if err := a.batch.SyncWait(); err != nil {
			return err
		}
		a.engine.metrics.commits.Observe(time.Since(a.begin).Seconds())
	}
	for _, t := range a.leans {
		t.seq.confirm(t.last)
	}
	for _, t := range a.touched {
		t.seq.confirm(t.last)
	}
	return a.batch.Close()
}

// size returns about how large the commit will be, and an error if the
// batches cannot be stored.
func (a *appendCall) size() (int, error) {
	size := 0
	for _, b := range a.batches {
		if b.TeamID == "" || strings.Contains(b.TeamID, "/") {
			return 0, fmt.Errorf("%q cannot be a team's ID", b.TeamID)
		}
		for _, e := range b.Events {
			if len(e.ID) > 255 {
				return 0, fmt.Errorf("event ID %.300q is too long", e.ID)
			}
			size += 2*(len(b.TeamID)+len(e.ID)) + len(e.Body) + 64
		}
		size += 2*len(b.TeamID) + 40
	}
	if size > maxCommitBytes {
		return 0, fmt.Errorf("%d bytes are too much for one commit: use at most %d", size, maxCommitBytes)
	}
	return size, nil
}

// add puts one batch into the commit, or its conflicts into its result.
func (a *appendCall) add(i int, now int64) error {
	b, result := &a.batches[i], &a.results[i]
	q, err := a.engine.sequence(b.TeamID)
	if err != nil {
		return err
	}
	a.fresh = a.fresh[:0]
	for j := range b.Events {
		e := &b.Events[j]
		known, same, err := a.lookup(b.TeamID, q, e)
		switch {
		case err != nil:
			return err
		case !known:
			a.fresh = append(a.fresh, j)
			a.engine.pending[pendingKey{q, e.ID}] = e.Body
		case same:
			result.Duplicates++
		default:
			result.Conflicts = append(result.Conflicts, e.ID)
		}
	}
	if len(result.Conflicts) > 0 {
		result.Duplicates = 0
		for _, j := range a.fresh {
			delete(a.engine.pending, pendingKey{q, b.Events[j].ID})
		}
		return nil
	}
	if len(a.fresh) == 0 {
		return nil
	}
	result.Accepted = len(a.fresh)
	if q.chunk == nil {
		a.touched = append(a.touched, touched{teamID: b.TeamID, seq: q})
		q.chunk = &chunk{seq: q, events: make([]auditdrain.StoredEvent, 0, len(a.fresh))}
	}
	acceptedAt := max(now, q.at)
	for _, j := range a.fresh {
		e := b.Events[j]
		e.Body = e.Body[:len(e.Body):len(e.Body)] // who appends to it gets another one
		q.staged.seq++
		q.staged.bytes += uint64(len(e.Body))
		q.chunk.events = append(q.chunk.events, auditdrain.StoredEvent{
			Event: e, Seq: q.staged.seq, AcceptedAt: microTime(acceptedAt), TotalBytes: q.staged.bytes,
		})
		if err := a.put(b.TeamID, q.staged, e, acceptedAt); err != nil {
			return err
		}
	}
	return nil
}

func (a *appendCall) put(teamID string, at position, e auditdrain.Event, acceptedAt int64) error {
	op := a.batch.SetDeferred(eventKeyLen(teamID), eventValueLen(e))
	appendEventKey(op.Key[:0], teamID, at.seq)
	putEvent(op.Value, e, acceptedAt, at.bytes)
	if err := op.Finish(); err != nil {
		return err
	}
	op = a.batch.SetDeferred(len(indexPrefix)+len(teamID)+1+len(e.ID), 8)
	appendIndexKey(op.Key[:0], teamID, e.ID)
	binary.BigEndian.PutUint64(op.Value, at.seq)
	return op.Finish()
}

// lookup reports whether the team has an event with e's ID, stored or about to
// be stored by this call, and whether it has the same bytes.
func (a *appendCall) lookup(teamID string, q *sequence, e *auditdrain.Event) (known, same bool, err error) {
	if body, ok := a.engine.pending[pendingKey{q, e.ID}]; ok {
		return true, bytes.Equal(body, e.Body), nil
	}
	a.key = appendIndexKey(a.key[:0], teamID, e.ID)
	if !a.index.SeekPrefixGE(a.key) || !bytes.Equal(a.index.Key(), a.key) {
		return false, false, a.index.Error()
	}
	v, err := a.index.ValueAndErr()
	if err != nil {
		return false, false, err
	}
	seq := binary.BigEndian.Uint64(v)
	a.key = appendEventKey(a.key[:0], teamID, seq)
	v, closer, err := a.engine.db.Get(a.key)
	if errors.Is(err, pebble.ErrNotFound) {
		// It has been removed, and its entry not yet.
		first, firstErr := a.engine.firstKept(teamID, q)
		if firstErr == nil && seq < first {
			a.engine.reused++
			return false, false, nil
		}
		err = errors.Join(err, firstErr)
	}
	if err != nil {
		return false, false, fmt.Errorf("event %s of team %s, which is in the index: %w", e.ID, teamID, err)
	}
	if n := len(a.leans); seq > q.durable.Load().seq && (n == 0 || a.leans[n-1].seq != q) {
		a.leans = append(a.leans, touched{seq: q, last: q.last})
	}
	r, err := decodeEvent(a.key, v)
	same = err == nil && bytes.Equal(r.body, e.Body)
	return true, same, errors.Join(err, closer.Close())
}

// Read returns a team's durable events after sequence number after, in order:
// at most maxEvents, and at most maxBytes of bodies, but at least one event if
// there is one. The numbers are consecutive, except that the first may be
// higher than after+1 if events have been removed. The bodies are shared and
// must not be modified. Events that were appended a short time ago are read
// from memory.
func (s *Store) Read(ctx context.Context, teamID string, after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, error) {
	if e := s.ready(ctx); e != nil {
		if q := e.known(teamID); q != nil {
			if events, ok := q.readTail(after, maxEvents, maxBytes); ok {
				s.metrics.readMemory.Add(float64(len(events)))
				return events, nil
			}
		}
	}
	return read(ctx, s, "read events", func(e *engine) ([]auditdrain.StoredEvent, error) {
		q, err := e.sequence(teamID)
		if err != nil {
			return nil, err
		}
		last := q.durable.Load().seq
		if after >= last || maxEvents <= 0 {
			return nil, nil
		}
		iter, err := e.eventIter(teamID, after+1, last)
		if err != nil {
			return nil, err
		}
		events, err := readEvents(iter, min(uint64(maxEvents), last-after), maxBytes)
		s.metrics.readDisk.Add(float64(len(events)))
		return events, errors.Join(err, iter.Close())
	})
}

// eventIter goes through a team's events with the numbers first to last.
func (e *engine) eventIter(teamID string, first, last uint64) (*pebble.Iterator, error) {
	return e.db.NewIter(&pebble.IterOptions{
		LowerBound: appendEventKey(nil, teamID, first),
		UpperBound: appendEventKey(nil, teamID, last+1),
	})
}

// currentEvent is valid until iter is moved.
func currentEvent(iter *pebble.Iterator) (eventRecord, error) {
	v, err := iter.ValueAndErr()
	if err != nil {
		return eventRecord{}, err
	}
	return decodeEvent(iter.Key(), v)
}

func readEvents(iter *pebble.Iterator, maxEvents uint64, maxBytes int) ([]auditdrain.StoredEvent, error) {
	const maxChunk = 64 << 10
	var (
		events []auditdrain.StoredEvent
		bodies []byte // the chunk that is being filled
		ids    []byte // all IDs, which become one string in the end
		idLens []byte
		total  int
	)
	for iter.First(); iter.Valid() && uint64(len(events)) < maxEvents; iter.Next() {
		r, err := currentEvent(iter)
		if err != nil {
			return nil, err
		}
		if total += len(r.body); total > maxBytes && len(events) > 0 {
			break
		}
		if cap(bodies)-len(bodies) < len(r.body) {
			left := int(maxEvents) - len(events)
			bodies = make([]byte, 0, max(min(left*len(r.body), maxChunk), len(r.body)))
		}
		begin := len(bodies)
		bodies = append(bodies, r.body...)
		ids, idLens = append(ids, r.id...), append(idLens, byte(len(r.id)))
		if events == nil {
			events = make([]auditdrain.StoredEvent, 0, min(maxEvents, 1024))
		}
		events = append(events, auditdrain.StoredEvent{
			Event: auditdrain.Event{
				Timestamp: r.timestamp,
				Body:      bodies[begin:len(bodies):len(bodies)],
			},
			Seq:        r.seq,
			AcceptedAt: microTime(r.acceptedAt),
			TotalBytes: r.totalBytes,
		})
	}
	rest := string(ids)
	for i := range events {
		n := int(idLens[i])
		events[i].ID, rest = rest[:n], rest[n:]
	}
	return events, iter.Error()
}

// Last returns the number of a team's last durable event and how many bytes
// the bodies of all its events have had, or zeros if there has never been one.
// Retain changes neither.
func (s *Store) Last(ctx context.Context, teamID string) (seq, totalBytes uint64, err error) {
	if e := s.ready(ctx); e != nil {
		if q := e.known(teamID); q != nil {
			p := q.durable.Load()
			return p.seq, p.bytes, nil
		}
	}
	p, err := read(ctx, s, "last sequence number", func(e *engine) (position, error) {
		q, err := e.sequence(teamID)
		if err != nil {
			return position{}, err
		}
		return *q.durable.Load(), nil
	})
	return p.seq, p.bytes, err
}
