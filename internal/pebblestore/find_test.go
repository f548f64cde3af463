package pebblestore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The first of many matches are those of all, sorted.
func TestFirsts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 60 {
		all := make([]match, n)
		for i := range all {
			p := &drainPos{id: fmt.Sprint(i), summary: drainSummary{createdAt: rng.Int64N(5)}}
			all[i] = match{drain: p, rank: rng.IntN(3), backlog: rng.Uint64N(4)}
		}
		for _, most := range []int{1, 2, 7, 59, 60, 1000} {
			first := firsts{most: most}
			for _, m := range all {
				first.add(m)
			}
			want := slices.Clone(all)
			slices.SortFunc(want, match.compare)
			if got := first.sorted(); !slices.Equal(got, want[:min(most, n)]) {
				t.Errorf("the first %d of %d: %v, want %v", most, n, got, want)
			}
		}
	}
}
