package verify

import (
	"bufio"
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
)

// keysInMemory is how many keys a keySet holds before it writes to disk: 64 MB.
const keysInMemory = 4 << 20

// fingerprint stands for a key. Nobody can make another key that has it.
type fingerprint [16]byte

func fingerprintOf(place int, key string) fingerprint {
	var room [512]byte
	b := append(append(room[:0], byte(place)), key...)
	sum := sha256.Sum256(b)
	return fingerprint(sum[:16])
}

// keySet is a set of keys in bounded memory: beyond that it is sorted runs in a
// temporary file, which Freeze merges into one. Add is safe for concurrent use, and
// after Freeze so is Has.
type keySet struct {
	most int

	mu     sync.Mutex
	memory []fingerprint
	runs   []*os.File // sorted
	merged *os.File   // of all runs, or nil
	size   int64      // fingerprints in merged
}

func newKeySet(most int) (*keySet, error) {
	if most == 0 {
		most = keysInMemory
	}
	return &keySet{most: most}, nil
}

// Add puts a key of a place into the set.
func (s *keySet) Add(place int, key string) error {
	f := fingerprintOf(place, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = append(s.memory, f)
	if len(s.memory) < s.most {
		return nil
	}
	return s.spill()
}

func compareFingerprints(a, b fingerprint) int { return bytes.Compare(a[:], b[:]) }

// spill writes what is in memory as a run.
func (s *keySet) spill() error {
	slices.SortFunc(s.memory, compareFingerprints)
	f, err := tempFile()
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	w := bufio.NewWriterSize(f, 1<<16)
	for _, p := range slices.Compact(s.memory) {
		w.Write(p[:]) // Flush tells
	}
	s.memory = s.memory[:0]
	return w.Flush()
}

// tempFile returns a file that is gone with the process.
func tempFile() (*os.File, error) {
	f, err := os.CreateTemp("", "auditdrain-verify-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // where an open file cannot be removed, Close leaves it behind
	return f, nil
}

// Freeze makes the set ready for Has. Nothing may be added any more.
func (s *keySet) Freeze() error {
	slices.SortFunc(s.memory, compareFingerprints)
	s.memory = slices.Compact(s.memory)
	if len(s.runs) == 0 {
		return nil
	}
	merged, err := tempFile()
	if err != nil {
		return err
	}
	s.merged = merged
	w := bufio.NewWriterSize(merged, 1<<16)
	var heads runHeap
	for _, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		h := &runHead{in: bufio.NewReaderSize(f, 1<<16)}
		if more, err := h.advance(); err != nil {
			return err
		} else if more {
			heads = append(heads, h)
		}
	}
	heap.Init(&heads)
	var last fingerprint
	for len(heads) > 0 {
		h := heads[0]
		if s.size == 0 || h.at != last {
			last = h.at
			w.Write(last[:]) // Flush tells
			s.size++
		}
		more, err := h.advance()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
	}
	for _, f := range s.runs {
		f.Close()
	}
	s.runs = nil
	return w.Flush()
}

// Has reports whether a key of a place is in the set.
func (s *keySet) Has(place int, key string) (bool, error) {
	want := fingerprintOf(place, key)
	if _, ok := slices.BinarySearchFunc(s.memory, want, compareFingerprints); ok || s.merged == nil {
		return ok, nil
	}
	// Fingerprints are evenly spread, so where one is can be guessed closely:
	// a search takes three or four reads, whatever the size.
	low, high := int64(0), s.size // it is in [low, high)
	bottom, top := uint64(0), ^uint64(0)
	target := binary.BigEndian.Uint64(want[:])
	for low < high {
		at := low + int64(float64(target-bottom)/float64(top-bottom+1)*float64(high-low))
		at = min(max(at, low), high-1)
		var got fingerprint
		if _, err := s.merged.ReadAt(got[:], at*int64(len(got))); err != nil {
			return false, err
		}
		switch c := compareFingerprints(want, got); {
		case c == 0:
			return true, nil
		case c < 0:
			high, top = at, binary.BigEndian.Uint64(got[:])
		default:
			low, bottom = at+1, binary.BigEndian.Uint64(got[:])
		}
	}
	return false, nil
}

// Close frees what the set holds.
func (s *keySet) Close() {
	for _, f := range s.runs {
		f.Close()
	}
	if s.merged != nil {
		s.merged.Close()
	}
}

// runHead is where the merging of a run is.
type runHead struct {
	in *bufio.Reader
	at fingerprint
}

func (h *runHead) advance() (more bool, err error) {
	_, err = io.ReadFull(h.in, h.at[:])
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

type runHeap []*runHead

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return compareFingerprints(h[i].at, h[j].at) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*runHead)) }
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
