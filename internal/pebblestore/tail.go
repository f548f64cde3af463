package pebblestore

import (
	"sort"
	"unsafe"

	"github.com/auditdrain/auditdrain"
)

// The latest events stay in memory, as they were given to Append, so that
// deliveries that keep up read nothing from disk. All teams share a bound: the
// oldest events go first, whoever's they are. A team of which nothing is left
// takes no memory.

const defaultTailBytes = 64 << 20

// chunk is what one call of Append has stored of one team.
type chunk struct {
	seq    *sequence
	events []auditdrain.StoredEvent // without a gap
	bytes  int                      // of memory
}

// memory is about how much an event takes, with what the allocator rounds up.
func memory(e *auditdrain.StoredEvent) int {
	return int(unsafe.Sizeof(*e)) + len(e.ID) + len(e.Body) + 64
}

// tails is the order in which chunks go. It is guarded by engine.appending.
type tails struct {
	most   int // bytes
	bytes  int
	chunks fifo
}

// add adds a team's next events.
func (t *tails) add(c *chunk) {
	for i := range c.events {
		c.bytes += memory(&c.events[i])
	}
	c.seq.tailMu.Lock()
	c.seq.tail.push(c)
	c.seq.tailMu.Unlock()
	t.chunks.push(c)
	t.bytes += c.bytes
	for t.bytes > t.most {
		oldest := t.chunks.pop()
		t.bytes -= oldest.bytes
		q := oldest.seq
		q.tailMu.Lock()
		q.tail.pop() // which is oldest, since the order is the same
		q.tailMu.Unlock()
	}
}

// trim notes that the events up to a number have been removed.
func (q *sequence) trim(seq uint64) {
	q.tailMu.Lock()
	defer q.tailMu.Unlock()
	q.trimmed = max(q.trimmed, seq)
}

// gone returns the number up to which it is known that nothing is left.
func (q *sequence) gone() uint64 {
	q.tailMu.Lock()
	defer q.tailMu.Unlock()
	return q.trimmed
}

// fifo is a queue that keeps nothing of what has left it.
type fifo []*chunk

func (f *fifo) push(c *chunk) { *f = append(*f, c) }

func (f *fifo) pop() *chunk {
	c := (*f)[0]
	(*f)[0] = nil
	if *f = (*f)[1:]; len(*f) == 0 {
		*f = nil
	}
	return c
}

// readTail is Read for what is in memory. It reports whether it could tell
// what Read returns.
func (q *sequence) readTail(after uint64, maxEvents, maxBytes int) ([]auditdrain.StoredEvent, bool) {
	last := q.durable.Load().seq
	if maxEvents <= 0 || after >= last {
		return nil, true
	}
	q.tailMu.Lock()
	defer q.tailMu.Unlock()
	after = max(after, q.trimmed)
	if after >= last {
		return nil, true
	}
	if len(q.tail) == 0 || q.tail[0].events[0].Seq > after+1 {
		return nil, false
	}
	// The chunk that holds after+1 is the one before the first that begins
	// later.
	n := sort.Search(len(q.tail), func(i int) bool { return q.tail[i].events[0].Seq > after+1 })
	events := make([]auditdrain.StoredEvent, 0, min(uint64(maxEvents), last-after))
	bytes := 0
	for _, c := range q.tail[n-1:] {
		for i := after + 1 - c.events[0].Seq; i < uint64(len(c.events)); i++ {
			e := &c.events[i]
			if bytes += len(e.Body); e.Seq > last || len(events) == maxEvents || bytes > maxBytes && len(events) > 0 {
				return events, true
			}
			events = append(events, *e)
			after = e.Seq
		}
	}
	return events, true
}
