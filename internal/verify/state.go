package verify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/auditdrain/auditdrain/internal/manifest"
)

// stateFormat begins a state file.
const stateFormat = "auditdrain-verify-state/v1"

// State is a file that remembers the parts whose objects were verified, so that a run
// that was interrupted can go on. It is a line of JSON for each part, appended as it
// is done; a line that was cut off by a crash is ignored. Whoever can write to it can
// have objects passed over: it is the auditor's own. The nil *State remembers nothing.
// It is safe for concurrent use.
type State struct {
	mu    sync.Mutex
	file  *os.File
	known map[partState]Done
}

// partState names a part.
type partState struct {
	Place string          `json:"place"`
	Part  manifest.Digest `json:"part"` // SHA-256 of its bytes
}

// Done is what became of a part's objects.
type Done struct {
	Objects  uint64    `json:"objects"` // as they should be
	Bytes    uint64    `json:"bytes"`
	Findings []Finding `json:"findings,omitempty"`
}

type stateLine struct {
	partState
	Done
}

// OpenState opens or creates a state file.
func OpenState(name string) (*State, error) {
	s := &State{known: map[partState]Done{}}
	content, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := content[:bytes.LastIndexByte(content, '\n')+1]
	if err := s.read(whole); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	err = s.file.Truncate(int64(len(whole)))
	if err == nil {
		_, err = s.file.Seek(0, io.SeekEnd)
	}
	if err == nil && len(whole) == 0 {
		_, err = s.file.WriteString(stateFormat + "\n")
	}
	if err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

func (s *State) read(content []byte) error {
	if len(content) == 0 {
		return nil
	}
	first, rest, _ := bytes.Cut(content, []byte("\n"))
	if string(first) != stateFormat {
		return errors.New("it is not a state of auditdrain verify")
	}
	in := bufio.NewReader(bytes.NewReader(rest))
	for n := 2; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		var l stateLine
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		s.known[l.partState] = l.Done
	}
}

// Known is how many parts the state knows.
func (s *State) Known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

func (s *State) get(p partState) (Done, bool) {
	if s == nil {
		return Done{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.known[p]
	return d, ok
}

func (s *State) put(p partState, d Done) error {
	if s == nil {
		return nil
	}
	line, err := json.Marshal(stateLine{p, d})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Close closes the file.
func (s *State) Close() error { return s.file.Close() }
