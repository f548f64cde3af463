package verify

import (
	"fmt"
	"testing"
)

func TestKeySet(t *testing.T) {
	for _, most := range []int{1 << 20, 64, 1} {
		for _, n := range []int{0, 1, 64, 1000} {
			s, err := newKeySet(most)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				for range 1 + i%2 { // some of them twice
					if err := s.Add(i%3, fmt.Sprint("key", i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Freeze(); err != nil {
				t.Fatal(err)
			}
			for i := range n + 500 {
				for place := range 3 {
					got, err := s.Has(place, fmt.Sprint("key", i))
					if err != nil {
						t.Fatal(err)
					}
					if want := i < n && place == i%3; got != want {
						t.Errorf("%d keys, %d in memory: key %d of place %d: %t, want %t", n, most, i, place, got, want)
					}
				}
			}
			s.Close()
		}
	}
}
