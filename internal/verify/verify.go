// Package verify checks the objects of drains against their manifests (package
// manifest), with nothing but read access to the bucket, or a copy of it, and public
// keys.
//
// It guarantees that a Report without findings means: from the first manifest to
// the last, each event of the team's sequence is an object with exactly the bytes
// that were written, or one that a person skipped for a reason that is named, or in
// a gap that is named; and there are no other objects, but for those that Report
// counts as not covered. A manifest that is not signed with one of the keys is a
// finding; what it claims is held against the objects all the same, which tells most.
//
// Memory is bounded, however many objects there are: by the number of manifests (some
// 500 bytes each), MaxFindings, keysInMemory and what is under way.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain/internal/manifest"
)

// Place is a bucket and prefix, or a folder with a copy of it. Keys are without the
// prefix. It is safe for concurrent use.
type Place interface {
	// String is what people call it.
	String() string
	// List calls found for each object whose key begins with prefix, in any
	// order and from any number of goroutines at once, until one returns an error.
	List(ctx context.Context, prefix string, found func(Entry) error) error
	// Get returns an object's bytes, in buf's memory if there is room. The error
	// is fs.ErrNotExist if there is none. Of an object longer than most, it
	// returns more than most bytes, not all.
	Get(ctx context.Context, key string, most int, buf []byte) ([]byte, error)
}

// Entry is an object as it is listed.
type Entry struct {
	Key string
	// Written is when, by a clock that nobody who may change objects can set; zero
	// if the place has none.
	Written time.Time
}

// Options say what is to be verified. Places and Keys must be set.
type Options struct {
	// Places are where the drains' objects and manifests are: more than one for
	// drains that have moved.
	Places []Place
	Keys   manifest.Keys
	// From and To bound the delivery time of the objects that are read: of the
	// manifests that may list one of then. Chains are verified whole. Zero: no bound.
	From, To time.Time
	// Drains are those to verify, each of which must have manifests. Empty: all
	// that there are.
	Drains []string
	// Anchors are heads that were kept elsewhere.
	Anchors []manifest.SignedHead
	// Grace is how much older the last manifest may be than now, or To.
	Grace time.Duration
	// Concurrency is how many objects are read at once, at least 1.
	Concurrency int
	// State keeps what has been verified, for another run to go on from, or nil.
	State *State
	// Progress is told, now and then and from any goroutine, how many objects
	// of how many have been looked at. It may be nil.
	Progress func(done, all uint64)
	Now      func() time.Time // nil means time.Now

	memory int // of keys, for tests; 0 means keysInMemory
}

// Run verifies. Its error says why it could not; what it found is in the Report,
// which is complete only if there is no error.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &run{Options: o, report: newReport(o), endpoints: make([][]string, len(o.Places)), actual: map[manifest.Digest]bool{}}
	chains, err := r.readChains(ctx)
	if err != nil {
		return r.report, err
	}
	for _, c := range chains {
		r.checkChain(c)
	}
	r.checkAnchors(chains)
	listed, err := newKeySet(o.memory)
	if err != nil {
		return r.report, err
	}
	defer listed.Close()
	if err := r.readObjects(ctx, chains, listed); err != nil {
		return r.report, err
	}
	if err := listed.Freeze(); err != nil {
		return r.report, err
	}
	if err := r.findUnlisted(ctx, chains, listed); err != nil {
		return r.report, err
	}
	if err := r.recognise(ctx, chains); err != nil {
		return r.report, err
	}
	r.report.finish(o.Now())
	return r.report, nil
}

// run is one Run.
type run struct {
	Options
	report *Report
	// endpoints are those that the manifests in each place name.
	endpoints [][]string

	mu     sync.Mutex
	actual map[manifest.Digest]bool // of bytes that were found where others should be
	done   uint64                   // objects
	all    uint64
}

// found adds a finding. It is safe for concurrent use.
func (r *run) found(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.add(f)
	if f.Actual != nil && len(r.actual) < MaxFindings {
		r.actual[*f.Actual] = true
	}
}

func (r *run) progress(n int) {
	r.mu.Lock()
	r.done += uint64(n)
	done, all := r.done, r.all
	r.mu.Unlock()
	if r.Progress != nil {
		r.Progress(done, all)
	}
}

// selected reports whether a drain is one of those to verify.
func (r *run) selected(drainID string) bool {
	for _, id := range r.Drains {
		if id == drainID {
			return true
		}
	}
	return len(r.Drains) == 0
}

// inRange reports whether objects that l lists may have been delivered in the range:
// since the manifest before was open, until some minutes after l's end, when it was
// sealed.
func (r *run) inRange(l *link) bool {
	from, to := ms(r.From), ms(r.To)
	return l.Delivered.To+uint64(clockSlack/time.Millisecond) >= from && (to == 0 || l.since < to)
}

func ms(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

func when(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

// isAbsent also knows keys that cannot be there.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// keyOf is what an object is called in findings: with its place, if there are more.
func (r *run) keyOf(place int, key string) string {
	if len(r.Places) == 1 {
		return key
	}
	return strings.TrimSuffix(r.Places[place].String(), "/") + "/" + key
}

func plural[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
