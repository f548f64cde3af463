package deliver

import "testing"

func TestWindow(t *testing.T) {
	w := newWindow(64)
	grow := func(n int) {
		for range n {
			w.grow()
		}
	}
	want := func(size int, when string) {
		t.Helper()
		if w.size != size {
			t.Errorf("%s: the window is %d, want %d", when, w.size, size)
		}
	}
	want(1, "at first")
	grow(1)
	want(firstWindow, "after the first success")
	grow(8)
	want(firstWindow+8, "after eight more")
	grow(1000)
	want(64, "after many")
	w.cut()
	want(32, "after a failure")
	grow(31)
	want(32, "after almost a window of successes")
	grow(1)
	want(33, "after a window of successes")
	for range 10 {
		w.cut()
	}
	want(1, "after many failures")
	grow(1)
	want(2, "after a success that follows many failures")
	grow(1)
	want(2, "half a window later")
	grow(1)
	want(3, "a window later")
	w.shut()
	want(1, "when it begins again")

	if w := newWindow(1); w.size != 1 {
		t.Error("a window of at most one is not one")
	} else if w.grow(); w.size != 1 {
		t.Errorf("a window of at most one has grown to %d", w.size)
	}
}
