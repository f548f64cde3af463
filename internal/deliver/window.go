package deliver

// firstWindow is what a window opens to with the first success: until then
// one write is enough to find out whether the destination works.
const firstWindow = 16

// window is how many writes of a drain may be under way at once. It grows by
// one with each success until it has reached half of what was too much last
// time, then by one with each window of successes; it halves when the
// destination throttles, fails or does not answer. (TCP's slow start and
// congestion avoidance, RFC 5681.)
type window struct {
	size   int
	most   int
	slow   int // from here on it grows slowly
	gained int // successes since it last grew
}

// newWindow returns a window of one.
func newWindow(most int) window { return window{size: 1, most: most, slow: most} }

// grow notes a success.
func (w *window) grow() {
	switch w.gained++; {
	case w.size == 1:
		w.size = min(firstWindow, w.slow, w.most)
		w.size = max(w.size, min(2, w.most))
	case w.size < w.slow, w.gained >= w.size:
		w.size = min(w.size+1, w.most)
	default:
		return
	}
	w.gained = 0
}

// cut notes a failure that was not of one write alone.
func (w *window) cut() {
	w.slow = max(w.size/2, 1)
	w.size, w.gained = w.slow, 0
}

// shut begins again with one write.
func (w *window) shut() { w.size, w.gained = 1, 0 }
