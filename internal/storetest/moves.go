package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// RunMoves runs random histories that move to another store in the middle: move
// has the place it returns hold all that the one it is given holds, and goes on
// there as if nothing had happened. See RunHistories for the seeds.
func RunMoves(t *testing.T, newPlace func(t *testing.T) Place, move func(t *testing.T, from Place) Place, seeds ...uint64) {
	if len(seeds) == 0 {
		for range 4 {
			seeds = append(seeds, rand.Uint64N(1e6))
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			h := newHistory(t, newPlace(t), seed)
			for range 2 {
				if err := h.open(); err != nil {
					t.Fatal(err)
				}
				// Portal links stay behind.
				clear(h.model.links)
				h.check(false)
				for range 400 {
					if err := h.step(); err != nil {
						t.Fatal(err)
					}
				}
				h.check(false)
				if err := h.store.Close(); err != nil {
					t.Fatal(err)
				}
				if h.n == 400 {
					h.place = move(t, h.place)
				}
			}
		})
	}
}
