package deliver

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostResting workers without a drain stay for restFor, with the stacks
	// that they have grown: where events come one by one to thousands of
	// drains, to grow them anew would be a tenth of what delivery costs.
	mostResting = 256
	restFor     = time.Second
)

// line is where drains wait for a worker when all places are taken. There is
// one place for each write that may be under way, besides those that are
// overdue. Whoever wants one stands at the end, once: so drains take turns.
type line struct {
	places int // in all
	serve  func(d *drain) (next *drain)
	wanted atomic.Int64 // drains that have a worker or wait for one
	length atomic.Int64 // of queue, readable without the lock

	workers sync.WaitGroup
	resting atomic.Int64
	hand    chan *drain   // to a worker that rests
	closed  chan struct{} // when none shall rest any more

	mu    sync.Mutex
	taken int
	queue fifo[*drain]
}

func newLine(places int) *line {
	return &line{places: places, serve: (*drain).serve, hand: make(chan *drain), closed: make(chan struct{})}
}

// close waits for all workers to end. Nobody may join any more.
func (l *line) close() {
	close(l.closed)
	l.workers.Wait()
}

// start has a worker come to d, for which a place is taken.
func (l *line) start(d *drain) {
	select {
	case l.hand <- d:
	default: // none rests
		l.workers.Go(func() { l.work(d) })
	}
}

// work is a worker: it carries events of d, then of whichever drain's turn it
// is, until nobody has wanted it for a while.
func (l *line) work(d *drain) {
	for d != nil {
		if d = l.serve(d); d == nil {
			d = l.rest()
		}
	}
}

// rest waits for a drain, and returns nil if none comes.
func (l *line) rest() *drain {
	defer l.resting.Add(-1)
	if l.resting.Add(1) > mostResting {
		return nil
	}
	enough := time.NewTimer(restFor)
	defer enough.Stop()
	select {
	case d := <-l.hand:
		return d
	case <-enough.C:
	case <-l.closed:
	}
	return nil
}

// join has a worker come to d, now or when it is d's turn. d must not be in
// the line already.
func (l *line) join(d *drain) {
	l.mu.Lock()
	if l.taken >= l.places {
		l.queue.push(d)
		l.length.Add(1)
		l.mu.Unlock()
		return
	}
	l.taken++
	l.mu.Unlock()
	l.start(d)
}

// next is called by a worker that has left its drain. It returns whose turn
// it is; if nobody's, the worker's place is free again.
func (l *line) next() *drain {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.queue.pop()
	if !ok {
		l.taken--
		return nil
	}
	l.length.Add(-1)
	return d
}

// giveBack frees the place of a worker that keeps its drain.
func (l *line) giveBack() {
	if d := l.next(); d != nil {
		l.start(d)
	}
}

// share is how many workers a drain may keep while others wait.
func (l *line) share() int { return l.places / int(max(l.wanted.Load(), 1)) }

// crowded reports whether others wait.
func (l *line) crowded() bool { return l.length.Load() > 0 }

// inUse is how many places are taken.
func (l *line) inUse() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// fifo is a queue in a ring that grows.
type fifo[T any] struct {
	ring  []T
	first int
	n     int
}

func (q *fifo[T]) push(v T) {
	if q.n == len(q.ring) {
		grown := make([]T, max(2*q.n, 16))
		for i := range q.n {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = v
	q.n++
}

func (q *fifo[T]) pop() (v T, ok bool) {
	if q.n == 0 {
		return v, false
	}
	var none T
	v, q.ring[q.first] = q.ring[q.first], none
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	return v, true
}
