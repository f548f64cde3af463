package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// Kind is what is wrong.
type Kind string

// The kinds, the gravest first.
const (
	UnknownKey      Kind = "unknown-key"      // a manifest that is not signed, or not with a key that was given
	BrokenChain     Kind = "broken-chain"     // a manifest that is not what the one before and after it say
	MissingManifest Kind = "missing-manifest" // manifests, and so hours, that should be there
	TruncatedTail   Kind = "truncated-tail"   // the last manifest is older than expected
	Anchor          Kind = "anchor"           // the chain is not the one that was anchored
	Missing         Kind = "missing"          // objects
	Altered         Kind = "altered"
	Unexpected      Kind = "unexpected" // an object that no manifest lists
	Duplicated      Kind = "duplicated" // the same, with the bytes of one that is listed
)

// Kinds are all of them, the gravest first.
var Kinds = []Kind{UnknownKey, BrokenChain, MissingManifest, TruncatedTail, Anchor, Missing, Altered, Unexpected, Duplicated}

// Describe says what k is, for people.
func (k Kind) Describe() string { return descriptions[slices.Index(Kinds, k)] }

var descriptions = [...]string{
	"a manifest is not signed, or not with a key that was given",
	"a manifest is not what the others say of it",
	"manifests, and so hours, are not there",
	"the last manifest is older than expected",
	"the chain is not the one that was anchored",
	"an object is not there",
	"an object has other bytes",
	"an object that no manifest lists",
	"the same, with the bytes of one that is listed",
}

// ExitCode is what a program exits with if k is the gravest that was found.
func (k Kind) ExitCode() int { return 10 + slices.Index(Kinds, k) }

// MaxFindings is how many findings of each kind are named; all are counted.
const MaxFindings = 10_000

// Finding is one thing that is wrong.
type Finding struct {
	Kind     Kind   `json:"kind"`
	DrainID  string `json:"drainId,omitempty"`
	Manifest uint64 `json:"manifest,omitempty"` // its number
	Key      string `json:"key,omitempty"`      // of the object
	Message  string `json:"message"`
	// Expected and Actual are SHA-256 of the object's bytes.
	Expected *manifest.Digest `json:"expected,omitempty"`
	Actual   *manifest.Digest `json:"actual,omitempty"`
	// SameAs is a listed object that has the actual bytes.
	SameAs string `json:"sameAs,omitempty"`
}

// Chain is what a drain's manifests say, as far as they are sound.
type Chain struct {
	DrainID   string               `json:"drainId"`
	TeamID    string               `json:"teamId"`
	First     uint64               `json:"first"` // manifests' numbers
	Last      uint64               `json:"last"`
	Head      manifest.Digest      `json:"head"` // SHA-256 of the last
	Sequence  manifest.Range       `json:"sequence"`
	Delivered manifest.Range       `json:"delivered"` // Unix ms
	Ended     auditdrain.SealCause `json:"ended"`     // cause of the last
	Objects   uint64               `json:"objects"`   // listed
	Bytes     uint64               `json:"bytes"`
	KeyIDs    []string             `json:"keyIds"` // that signed
	// MovedFrom is where the manifest before First is, if that is none of the
	// places: those before First are not verified then.
	MovedFrom string `json:"movedFrom,omitempty"`
	// Uncertain counts the keys of objects that may be there or not: nothing is
	// proved of them.
	Uncertain uint64 `json:"uncertain"`
	// Skips, Gaps, Late and Changes are no findings: the operator has said so, and
	// whoever reads this decides.
	Skips   []manifest.Skip   `json:"skips"`
	Gaps    []manifest.Gap    `json:"gaps"`
	Late    []manifest.Range  `json:"late"` // Unix ms: more than an hour in one manifest
	Changes []manifest.Change `json:"changes"`
}

// Elsewhere names the manifests before the first, of which MovedFrom says where the
// last one is.
func (c Chain) Elsewhere() string {
	if c.First == 2 {
		return "manifest 1"
	}
	return fmt.Sprintf("manifests 1 to %d", c.First-1)
}

// Report is what a Run has found.
type Report struct {
	Verified   bool      `json:"verified"` // nothing is wrong
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	Places     []string  `json:"places"`
	From       string    `json:"from,omitempty"`
	To         string    `json:"to,omitempty"`
	KeyIDs     []string  `json:"keyIds"` // that were given
	Anchors    int       `json:"anchors"`
	Chains     []Chain   `json:"chains"`
	// Read is how many objects had exactly the bytes that they should.
	Read      uint64 `json:"objectsVerified"`
	BytesRead uint64 `json:"bytesVerified"`
	// OutOfRange is how many objects are listed by manifests outside From and To:
	// their bytes were not read.
	OutOfRange uint64 `json:"objectsNotRead"`
	// Pending is how many objects are newer than the last manifest covers;
	// Before, how many are older than the first, or of a gap. Nothing is proved of
	// either.
	Pending uint64 `json:"objectsNotCoveredYet"`
	Before  uint64 `json:"objectsNeverCovered"`
	// Counts has all findings, Findings MaxFindings of each kind.
	Counts   map[Kind]uint64 `json:"counts"`
	Findings []Finding       `json:"findings"`
}

func newReport(o Options) *Report {
	r := &Report{
		StartedAt: o.Now().UTC(), KeyIDs: slices.Sorted(maps.Keys(o.Keys)), Anchors: len(o.Anchors),
		Places: []string{}, Chains: []Chain{}, Counts: map[Kind]uint64{}, Findings: []Finding{},
	}
	for _, p := range o.Places {
		r.Places = append(r.Places, p.String())
	}
	if !o.From.IsZero() {
		r.From = when(ms(o.From))
	}
	if !o.To.IsZero() {
		r.To = when(ms(o.To))
	}
	return r
}

func (r *Report) add(f Finding) {
	r.Counts[f.Kind]++
	if r.Counts[f.Kind] <= MaxFindings {
		r.Findings = append(r.Findings, f)
	}
}

func (r *Report) finish(now time.Time) {
	r.FinishedAt = now.UTC()
	r.Verified = len(r.Findings) == 0
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Kind.ExitCode(), b.Kind.ExitCode()),
			cmp.Compare(a.DrainID, b.DrainID),
			cmp.Compare(a.Manifest, b.Manifest),
			cmp.Compare(a.Key, b.Key),
		)
	})
}

// Summary counts the findings in words.
func (r *Report) Summary() string {
	var counts []string
	for _, k := range Kinds {
		if n := r.Counts[k]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, k))
		}
	}
	return strings.Join(counts, ", ")
}

// ExitCode is 0 if nothing is wrong, or that of the gravest kind.
func (r *Report) ExitCode() int {
	for _, k := range Kinds {
		if r.Counts[k] > 0 {
			return k.ExitCode()
		}
	}
	return 0
}
