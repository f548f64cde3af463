// Package manifest is the format of the manifests that prove that nothing is
// missing from a drain's objects: what they say, how they are written, signed and
// read. It is a public contract, docs/bucket-format.md, chapter "Manifests".
//
// It guarantees that a manifest, a part and a signature have one encoding only
// (RFC 8785), which is a pure function of what they say: whatever was interrupted
// and is done again ends in the same bytes. What is parsed is refused unless it is
// so encoded, and of bounded size.
//
// Nothing here reads or writes a bucket: package verify reads.
package manifest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// The formats. What changes their meaning changes their number.
const (
	Format     = "auditdrain-manifest/v1"
	PartFormat = "auditdrain-part/v1"
	HeadFormat = "auditdrain-head/v1"
)

// Bounds of what is written, so that whoever writes or reads needs bounded memory.
const (
	// MaxPartObjects is how many objects a part lists at most.
	MaxPartObjects = 10_000
	// MaxDocument is how many bytes a manifest, a part or a signature has at
	// most. A part of MaxPartObjects with keys as long as S3 takes is smaller,
	// and so is a manifest with 80,000 parts.
	MaxDocument = 16 << 20
	// MaxNumber is the greatest integer in any of them: more is not exact in
	// every reader of JSON.
	MaxNumber = 1<<53 - 1
)

// Hour is the longest time, in milliseconds, that a manifest covers, and it never
// covers parts of two hours of UTC; see auditdrain.SealCause.Long.
const Hour = 60 * 60 * 1000

// Manifest accounts for a stretch of a team's sequence: each event in it is an
// object, was skipped or is in a gap. The objects are listed in parts.
type Manifest struct {
	Format   string `json:"format"`
	DrainID  string `json:"drainId"`
	TeamID   string `json:"teamId"`
	Endpoint string `json:"endpoint"` // s3://bucket[/prefix] that the objects were written to
	// Number counts the drain's manifests from 1, without gaps.
	Number uint64 `json:"number"`
	// Previous is the SHA-256 of the bytes of the manifest before, nil if this
	// is the first.
	Previous *Digest              `json:"previous,omitempty"`
	Cause    auditdrain.SealCause `json:"cause"`
	// ReplayID is the replay whose objects these are. Sequence is then the
	// stretch that it has read since its last manifest.
	ReplayID string `json:"replayId,omitempty"`
	// MovedFrom is the endpoint where the manifest before is, and MovedTo the one
	// where the next is, if elsewhere.
	MovedFrom string `json:"movedFrom,omitempty"`
	MovedTo   string `json:"movedTo,omitempty"`
	// Delivered begins where that of the manifest before ends. So does Sequence,
	// of a replay where that of the replay's manifest before ends.
	Sequence  Range `json:"sequence"`
	Delivered Range `json:"delivered"` // Unix ms
	// OpenSince is since when objects may have been written that a later
	// manifest lists: Unix ms, not after Delivered.To.
	OpenSince uint64   `json:"openSince"`
	Count     uint64   `json:"count"` // objects in all parts
	Bytes     uint64   `json:"bytes"` // of these objects
	Parts     []Part   `json:"parts"`
	Skips     []Skip   `json:"skips"`
	Gaps      []Gap    `json:"gaps"`
	Changes   []Change `json:"changes"`
	// Uncertain are keys of objects that may be there, or not: their writing had
	// begun, and then their events were skipped, or the drain was moved.
	Uncertain []string `json:"uncertain"`
}

// Range is half-open: From is in it, To is not.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Len is how many numbers are in r.
func (r Range) Len() uint64 { return r.To - r.From }

// Part names an object that lists objects. Its key follows from its number.
type Part struct {
	Count  uint64 `json:"count"`
	SHA256 Digest `json:"sha256"` // of its bytes
	Size   uint64 `json:"size"`
}

// Object is an object as it was written. Its key is without the endpoint's prefix.
type Object struct {
	Key string `json:"key"`
	// Or is set if the object may as well have other bytes: a setting that they
	// depend on (whether IP addresses are hidden) was changed while it was being
	// written, or before it was replayed, and what is there is left alone.
	Or     *Bytes `json:"or,omitempty"`
	SHA256 Digest `json:"sha256"`
	Size   uint64 `json:"size"`
}

// Bytes are what an object consists of.
type Bytes struct {
	SHA256 Digest `json:"sha256"`
	Size   uint64 `json:"size"`
}

// Skip is what a person gave up, as far as it is in the manifest's stretch.
type Skip struct {
	At       uint64 `json:"at"` // Unix ms
	By       string `json:"by"` // id of the token
	EventID  string `json:"eventId,omitempty"`
	Reason   string `json:"reason"`
	Sequence Range  `json:"sequence"`
}

// Gap is a stretch of which nothing is proved, and why.
type Gap struct {
	Delivered Range  `json:"delivered"` // Unix ms: objects of then are in no manifest
	Reason    string `json:"reason"`
	Sequence  Range  `json:"sequence"`
}

// Change is a change of the drain's configuration while the manifest was open.
type Change struct {
	Action   string  `json:"action"` // "drain-updated", as in GET /v1/activity
	Activity uint64  `json:"activity"`
	At       uint64  `json:"at"` // Unix ms
	By       string  `json:"by"` // id of the token or portal link
	Fields   []Field `json:"fields"`
	Name     string  `json:"name"` // whose it is
}

// Field is one setting before and after.
type Field struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// listing is what a part says. Builder writes it.
type listing struct {
	DrainID string   `json:"drainId"`
	Format  string   `json:"format"`
	Number  uint64   `json:"number"`
	Objects []Object `json:"objects"`
	Part    uint64   `json:"part"`
}

// Digest is a SHA-256, written as 64 lower-case hex digits.
type Digest [sha256.Size]byte

// Sum returns the Digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is for JSON.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText takes what MarshalText returns, and nothing else.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) || bytes.ContainsAny(text, "ABCDEF") {
		return fmt.Errorf("%q is not a SHA-256 in 64 lower-case hex digits", clip(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("%q is not a SHA-256 in 64 lower-case hex digits", clip(text))
	}
	return nil
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }

// Encode returns m's bytes. It fixes the format and refuses what Parse would.
func (m Manifest) Encode() ([]byte, error) {
	m.Format = Format
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest %d of %s: %w", m.Number, m.DrainID, err)
	}
	return canonical(m)
}

// Parse reads a manifest's bytes. What it returns is sound by itself: whether it
// is the next of its chain is for the caller to find out.
func Parse(b []byte) (Manifest, error) {
	var m Manifest
	if err := parse(b, &m); err != nil {
		return Manifest{}, err
	}
	if m.Format != Format {
		return Manifest{}, fmt.Errorf("format %q is not known here: only %q is", m.Format, Format)
	}
	return m, m.check()
}

// ParsePart reads the bytes of m's part, counted from 1, and refuses those that
// m does not name.
func (m Manifest) ParsePart(part int, b []byte) ([]Object, error) {
	if got, want := Sum(b), m.Parts[part-1].SHA256; got != want {
		return nil, fmt.Errorf("its SHA-256 is %s, its manifest says %s", got, want)
	}
	// The digest is that of canonical bytes, unless whoever signed made others.
	var l listing
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("not a part: %w", err)
	}
	switch {
	case l.Format != PartFormat:
		return nil, fmt.Errorf("format %q is not known here: only %q is", l.Format, PartFormat)
	case l.DrainID != m.DrainID || l.Number != m.Number || l.Part != uint64(part):
		return nil, fmt.Errorf("it is part %d of manifest %d of drain %q", l.Part, l.Number, l.DrainID)
	case uint64(len(l.Objects)) != m.Parts[part-1].Count:
		return nil, fmt.Errorf("it lists %d objects, its manifest says %d", len(l.Objects), m.Parts[part-1].Count)
	}
	return l.Objects, nil
}

// check returns the first thing by which m contradicts itself.
func (m Manifest) check() error {
	switch {
	case !idRE.MatchString(m.DrainID):
		return fmt.Errorf("drainId %q is not an id", m.DrainID)
	case m.Number == 0:
		return fmt.Errorf("number 0 is not allowed: they count from 1")
	case (m.Number == 1) != (m.Previous == nil):
		return fmt.Errorf("previous is missing in all but the first manifest, or there in the first")
	case !slices.Contains(auditdrain.SealCauses, m.Cause):
		return fmt.Errorf("cause %q is not known here: use one of %q", m.Cause, auditdrain.SealCauses)
	case (m.Cause == auditdrain.SealReplay) != (m.ReplayID != ""):
		return fmt.Errorf("replayId goes with cause %q", auditdrain.SealReplay)
	case (m.Cause == auditdrain.SealMoved) != (m.MovedTo != ""):
		return fmt.Errorf("movedTo goes with cause %q", auditdrain.SealMoved)
	case m.MovedFrom != "" && m.Number == 1:
		return fmt.Errorf("movedFrom %q in the first manifest: there is none before it", m.MovedFrom)
	case m.MovedFrom != "" && m.MovedFrom == m.Endpoint, m.MovedTo != "" && m.MovedTo == m.Endpoint:
		return fmt.Errorf("movedFrom or movedTo is the endpoint itself, %q", m.Endpoint)
	case m.Sequence.From == 0 || m.Sequence.From > m.Sequence.To:
		return fmt.Errorf("sequence %d to %d is not a range of numbers from 1", m.Sequence.From, m.Sequence.To)
	case m.Delivered.From > m.Delivered.To:
		return fmt.Errorf("delivered %d to %d is not a range of time", m.Delivered.From, m.Delivered.To)
	case m.OpenSince > m.Delivered.To:
		return fmt.Errorf("openSince %d is after %d, when it was sealed", m.OpenSince, m.Delivered.To)
	case !m.Cause.Long() && m.Delivered.Len() > 0 && m.Delivered.From/Hour != (m.Delivered.To-1)/Hour:
		return fmt.Errorf("delivered %d to %d is in more than one hour, which cause %q does not explain", m.Delivered.From, m.Delivered.To, m.Cause)
	}
	for name, n := range map[string]uint64{"number": m.Number, "sequence": m.Sequence.To, "delivered": m.Delivered.To, "bytes": m.Bytes} {
		if n > MaxNumber {
			return fmt.Errorf("%s %d is greater than %d", name, n, int64(MaxNumber))
		}
	}
	var listed uint64
	for i, p := range m.Parts {
		if p.Count == 0 || p.Count > MaxPartObjects || p.Size > MaxDocument {
			return fmt.Errorf("part %d has %d objects and %d bytes: use 1 to %d and at most %d", i+1, p.Count, p.Size, MaxPartObjects, MaxDocument)
		}
		listed += p.Count
	}
	if listed != m.Count {
		return fmt.Errorf("count is %d, but the parts list %d", m.Count, listed)
	}
	var without []Range // an object
	for _, s := range m.Skips {
		without = append(without, s.Sequence)
	}
	for _, g := range m.Gaps {
		if g.Delivered.From > g.Delivered.To {
			return fmt.Errorf("gap: delivered %d to %d is not a range of time", g.Delivered.From, g.Delivered.To)
		}
		without = append(without, g.Sequence)
	}
	slices.SortFunc(without, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	accounted := m.Count
	at := m.Sequence.From
	for _, r := range without {
		if r.From < at || r.From >= r.To || r.To > m.Sequence.To {
			return fmt.Errorf("skip or gap of %d to %d is not in the sequence, or overlaps another", r.From, r.To)
		}
		at = r.To
		accounted += r.Len()
	}
	if accounted != m.Sequence.Len() {
		return fmt.Errorf("the sequence has %d events, but %d are accounted for by objects, skips and gaps", m.Sequence.Len(), accounted)
	}
	return nil
}

// canonical returns v's JSON as RFC 8785 has it.
func canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	value := jsontext.Value(b)
	if err := value.Canonicalize(); err != nil {
		return nil, err
	}
	if len(value) > MaxDocument {
		return nil, fmt.Errorf("it would have %d bytes: at most %d are allowed", len(value), MaxDocument)
	}
	return value, nil
}

// parse reads canonical JSON.
func parse(b []byte, v any) error {
	if len(b) > MaxDocument {
		return fmt.Errorf("it has more than %d bytes", MaxDocument)
	}
	value := jsontext.Value(slices.Clone(b))
	if err := value.Canonicalize(); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if !bytes.Equal(value, b) {
		return fmt.Errorf("not in the one form that RFC 8785 allows")
	}
	return json.Unmarshal(b, v)
}

// idRE is what drains are called.
var idRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Root is where manifests are, below the endpoint's prefix.
const Root = "manifest/"

// DataRoot is where the objects are that manifests list.
const DataRoot = "schema=audit_log/"

// Folder is where a drain's manifests are.
func Folder(drainID string) string { return Root + drainID + "/" }

// Key is a manifest's key, without the endpoint's prefix: they sort by number.
func Key(drainID string, number uint64) string {
	return fmt.Sprintf("%s%012d.json", Folder(drainID), number)
}

// SignatureKey is the key of a manifest's signature.
func SignatureKey(drainID string, number uint64) string {
	return fmt.Sprintf("%s%012d.sig.json", Folder(drainID), number)
}

// PartKey is the key of a manifest's part, counted from 1.
func PartKey(drainID string, number uint64, part int) string {
	return fmt.Sprintf("%s%012d.part-%06d.json", Folder(drainID), number, part)
}

// Kind is what a key names.
type Kind int

// The kinds.
const (
	Other Kind = iota
	Document
	Signature
	Listing
)

var keyRE = regexp.MustCompile(`^([0-9]{12,})\.(?:sig\.|part-([0-9]{6,})\.)?json$`)

// ParseKey tells what a key below Root names. It is Other unless Key, SignatureKey
// or PartKey returns it.
func ParseKey(key string) (drainID string, number uint64, part int, kind Kind) {
	drainID, name, ok := strings.Cut(strings.TrimPrefix(key, Root), "/")
	m := keyRE.FindStringSubmatch(name)
	if !ok || m == nil || !idRE.MatchString(drainID) {
		return "", 0, 0, Other
	}
	number, _ = strconv.ParseUint(m[1], 10, 64)
	part, _ = strconv.Atoi(m[2])
	switch key {
	case Key(drainID, number):
		return drainID, number, 0, Document
	case SignatureKey(drainID, number):
		return drainID, number, 0, Signature
	case PartKey(drainID, number, part):
		return drainID, number, part, Listing
	}
	return "", 0, 0, Other
}
