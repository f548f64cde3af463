package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/auditdrain/auditdrain"
)

// Fault is what happens to a write.
type Fault string

// The faults. After Fails and Misreports later writes work again, as they do
// on a disk after a hiccup: the store must not take that for recovery.
const (
	Fails      Fault = "fails"      // it does not happen, and an error is returned
	Misreports Fault = "misreports" // it happens, and an error is returned
	Kills      Fault = "kills"      // it happens, and the process ends
	// There is no space for it, or for a part of it: an error says so.
	Full     Fault = "full"      // nor for anything else, until there is space again
	FullOnce Fault = "full once" // but there is for what comes next
)

// Faults are all of them.
var Faults = []Fault{Fails, Misreports, Kills, Full, FullOnce}

// FaultyPlace is a Place whose writes can go wrong.
type FaultyPlace interface {
	Place
	// Arm makes the nth write (from 1) of the stores that are opened from
	// now on go wrong. See Crash for the seed.
	Arm(fault Fault, nth int, seed uint64)
	// Tripped reports whether that write has come.
	Tripped() bool
	// Mend makes all writes work from now on, and returns once the store that
	// is open does, too, and no call is in progress any more. It reports
	// whether the store has recovered what a crash would have left.
	Mend() (recovered bool)
	// Crash ends the process that has the store open: at the write that was
	// to be killed, else now. What was not synced may be lost, in part or
	// all; seed decides. Nothing is armed any more.
	Crash(seed uint64)
}

// RunFaults runs the same history again and again, each time with the next
// write going wrong, until none is left. After each fault the store confirms
// nothing; once the disk is mended it works again by itself, and after that, or
// if it was killed, it is ended by a crash and opened again. Each time, what
// was acknowledged is there, what was not is there entirely or not at all,
// numbers have no gaps, cursors do not lead, a chain is there with its seals as
// before or as after, sending again neither doubles nor
// conflicts, and the store can be used.
//
// The faults are those that can happen to the engine: a database over a network
// has no disk that could be full, but connections that break.
func RunFaults(t *testing.T, newPlace func(t *testing.T) FaultyPlace, faults ...Fault) {
	for _, fault := range faults {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			nth := 1
			for ; faultAt(t, newPlace(t), fault, nth); nth++ {
			}
			t.Logf("%d writes", nth-1)
			if nth < 20 {
				t.Errorf("the history has only %d writes: are they counted?", nth-1)
			}
		})
	}
}

// faultSteps make a history that flushes and compacts a few times.
const faultSteps = 40

// faultAt reports whether there is an nth write.
func faultAt(t *testing.T, place FaultyPlace, fault Fault, nth int) bool {
	h := newHistory(t, place, 1)
	place.Arm(fault, nth, uint64(nth))
	err := h.open()
	chain := h.chainSteps()
	for h.n < faultSteps && err == nil {
		if h.n < len(chain) {
			err = h.stepBy(chain[h.n])
		} else {
			err = h.step()
		}
	}
	tripped := place.Tripped()
	if err != nil && !tripped {
		t.Fatalf("write %d %s: %v, but that write has not come yet", nth, fault, err)
	}
	switch {
	case h.store == nil: // it could not be opened
	case err == nil && !tripped:
		if err := h.store.Close(); err != nil && !place.Tripped() {
			t.Fatalf("write %d %s: close: %v, but that write has not come yet", nth, fault, err)
		}
		tripped = place.Tripped()
	default:
		if err != nil && fault != FullOnce {
			h.refusesAll()
		}
		if fault == Full {
			h.readsAll()
		}
		if fault != Kills {
			h.check(place.Mend())
			h.steps(5)
			if err := h.diff(h.model, false); err != nil {
				t.Fatalf("write %d %s, mended: %v", nth, fault, err)
			}
		}
	}
	h.store = nil
	place.Crash(uint64(nth))
	if err := h.open(); err != nil {
		t.Fatalf("write %d %s, open after %d steps: %v", nth, fault, h.n, err)
	}
	h.check(true)
	h.steps(5)
	h.check(false)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.Fatalf("write %d %s", nth, fault)
	}
	return tripped
}

// steps makes n steps, which must work.
func (h *history) steps(n int) {
	h.Helper()
	for range n {
		if err := h.step(); err != nil {
			h.Fatal(err)
		}
	}
}

// refusesAll checks that a store whose disk has failed or is full confirms
// nothing any more.
func (h *history) refusesAll() {
	h.Helper()
	_, err := h.store.Append(h.ctx, []auditdrain.Batch{batch("a", event("x"))})
	for what, err := range map[string]error{
		"append":      err,
		"create team": h.store.CreateTeam(h.ctx, team("x", "x"), nil),
		"check":       h.store.Check(h.ctx),
	} {
		if got := auditdrain.ErrorCode(err); got != auditdrain.CodeUnavailable {
			h.Errorf("%s after a failure: got error %v (code %q), want code %q", what, err, got, auditdrain.CodeUnavailable)
		}
	}
}

// readsAll checks that what is stored can be read while the disk is full.
func (h *history) readsAll() {
	h.Helper()
	for id := range h.model.teams {
		if _, err := h.store.Read(h.ctx, id, 0, noLimit, noLimit); err != nil {
			h.Errorf("read while the disk is full: %v", err)
		}
	}
}

// RunHistories runs random histories, with the process killed now and then,
// and the store closed and opened now and then. The seeds are new each time and
// part of the tests' names; given as arguments, they are repeated.
func RunHistories(t *testing.T, newPlace func(t *testing.T) FaultyPlace, seeds ...uint64) {
	if len(seeds) == 0 {
		for range 4 {
			seeds = append(seeds, rand.Uint64N(1e6))
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			place := newPlace(t)
			h := newHistory(t, place, seed)
			if err := h.open(); err != nil {
				t.Fatal(err)
			}
			for range 600 {
				if err := h.step(); err != nil {
					t.Fatal(err)
				}
				switch h.rng.IntN(40) {
				case 0:
					place.Crash(h.rng.Uint64())
					h.store = nil
					if err := h.open(); err != nil {
						t.Fatalf("%d: open after a crash: %v", h.n, err)
					}
					h.check(true)
				case 1:
					if err := h.store.Close(); err != nil {
						t.Fatal(err)
					}
					if err := h.open(); err != nil {
						t.Fatal(err)
					}
					h.check(false)
				}
			}
			h.check(false)
			if err := h.store.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
