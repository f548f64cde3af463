package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// link is a manifest of a chain.
type link struct {
	manifest.Manifest
	place  int
	digest manifest.Digest
	since  uint64 // Unix ms: objects that it lists were not written before
	keyID  string // that signed it, "" if it is not known to be
}

// chain is what there is of a drain's manifests.
type chain struct {
	drainID string
	links   []*link // by number, each number once
	// unsound are numbers of manifests that cannot be read as such.
	unsound []uint64
	// signatures and parts are the objects beside the manifests.
	signatures map[uint64]bool
	parts      []partName
}

type partName struct {
	place  int
	number uint64
	part   int
}

// readChains reads all manifests and their signatures.
func (r *run) readChains(ctx context.Context) ([]*chain, error) {
	chains := map[string]*chain{}
	var links []*link
	for i, p := range r.Places {
		err := p.List(ctx, manifest.Root, func(e Entry) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			id, number, part, kind := manifest.ParseKey(e.Key)
			if kind == manifest.Other {
				r.report.add(Finding{Kind: Unexpected, Key: r.keyOf(i, e.Key), Message: "no manifest, and no part or signature of one, is called so"})
				return nil
			}
			c := chains[id]
			if c == nil {
				c = &chain{drainID: id, signatures: map[uint64]bool{}}
				chains[id] = c
			}
			switch kind {
			case manifest.Document:
				l := &link{place: i}
				l.DrainID, l.Number = id, number
				links = append(links, l)
			case manifest.Signature:
				c.signatures[number] = true
			case manifest.Listing:
				c.parts = append(c.parts, partName{i, number, part})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list manifests in %s: %w", p, err)
		}
	}
	if err := r.readLinks(ctx, chains, links); err != nil {
		return nil, err
	}
	if len(chains) == 0 && len(r.Drains) == 0 {
		r.found(Finding{Kind: MissingManifest, Message: "there are no manifests at all: nothing is proved of what is there"})
	}
	for _, id := range r.Drains {
		if chains[id] == nil {
			r.found(Finding{Kind: MissingManifest, DrainID: id, Message: "there are no manifests of this drain"})
		}
	}
	sorted := make([]*chain, 0, len(chains))
	for _, id := range slices.Sorted(maps.Keys(chains)) {
		sorted = append(sorted, chains[id])
	}
	return sorted, nil
}

// readLinks reads what readChains has listed, and puts into the chains what can be
// read as a manifest of that drain and number.
func (r *run) readLinks(ctx context.Context, chains map[string]*chain, links []*link) error {
	slices.SortFunc(links, func(a, b *link) int {
		return cmp.Or(cmp.Compare(a.DrainID, b.DrainID), cmp.Compare(a.Number, b.Number), cmp.Compare(a.place, b.place))
	})
	sound := make([]error, len(links))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Concurrency)
	for i, l := range links {
		group.Go(func() (err error) {
			sound[i], err = r.readLink(ctx, l)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, l := range links {
		c := chains[l.DrainID]
		n := len(c.links)
		if sound[i] == nil && !slices.Contains(r.endpoints[l.place], l.Endpoint) {
			r.endpoints[l.place] = append(r.endpoints[l.place], l.Endpoint)
		}
		switch {
		case sound[i] != nil:
			c.unsound = append(c.unsound, l.Number)
			r.foundIn(l, Finding{Kind: BrokenChain, Message: sound[i].Error()})
		case n == 0 || c.links[n-1].Number != l.Number:
			l.since = l.Delivered.From
			if n > 0 {
				l.since = min(l.since, c.links[n-1].OpenSince)
			}
			c.links = append(c.links, l)
		case c.links[n-1].digest != l.digest:
			r.foundIn(l, Finding{Kind: BrokenChain, Message: fmt.Sprintf("there is another with this number in %s: %s and %s", r.Places[c.links[n-1].place], c.links[n-1].digest, l.digest)})
		}
	}
	return nil
}

// foundIn adds a finding about a manifest, if its drain is one of those to verify.
func (r *run) foundIn(l *link, f Finding) {
	if !r.selected(l.DrainID) {
		return
	}
	f.DrainID, f.Manifest = l.DrainID, l.Number
	if f.Key == "" {
		f.Key = r.keyOf(l.place, manifest.Key(l.DrainID, l.Number))
	}
	r.found(f)
}

// readLink reads the manifest l stands for, and its signature. unsound says why it
// is none.
func (r *run) readLink(ctx context.Context, l *link) (unsound, err error) {
	place, id, number := r.Places[l.place], l.DrainID, l.Number
	body, err := place.Get(ctx, manifest.Key(id, number), manifest.MaxDocument, nil)
	if err != nil && !isAbsent(err) {
		return nil, fmt.Errorf("read manifest %d of %s: %w", number, id, err)
	}
	if err != nil {
		return errors.New("it cannot be read"), nil // listed a moment ago
	}
	m, err := manifest.Parse(body)
	if err != nil {
		return fmt.Errorf("it is no manifest: %w", err), nil
	}
	if m.DrainID != id {
		return fmt.Errorf("it is manifest %d of another drain, %s", m.Number, m.DrainID), nil
	}
	if m.Number != number {
		return fmt.Errorf("it is manifest %d: an old one was put in the place of this", m.Number), nil
	}
	l.Manifest, l.digest = m, manifest.Sum(body)

	// Whatever is wrong with the signature is said, and the rest is held against
	// what the manifest claims: that tells most.
	raw, err := place.Get(ctx, manifest.SignatureKey(id, number), manifest.MaxDocument, nil)
	switch {
	case err != nil && !isAbsent(err):
		return nil, fmt.Errorf("read the signature of manifest %d of %s: %w", number, id, err)
	case err != nil:
		r.foundIn(l, Finding{Kind: UnknownKey, Message: "it is not signed: there is no " + manifest.SignatureKey(id, number)})
		return nil, nil
	}
	signed, err := manifest.ParseSignedHead(raw)
	if err != nil {
		r.foundIn(l, Finding{Kind: UnknownKey, Message: fmt.Sprintf("its signature is none: %v", err)})
		return nil, nil
	}
	if want := manifest.HeadOf(m, body); signed.Head != want {
		r.foundIn(l, Finding{Kind: BrokenChain, Expected: &signed.Head.SHA256, Message: fmt.Sprintf(
			"its bytes are not those that were signed: SHA-256 %s, signed was manifest %d of %s with %s", want.SHA256, signed.Head.Number, signed.Head.DrainID, signed.Head.SHA256)})
		return nil, nil
	}
	if err := signed.Verify(r.Keys); err != nil {
		r.foundIn(l, Finding{Kind: UnknownKey, Message: err.Error()})
		return nil, nil
	}
	l.keyID = signed.KeyID
	return nil, nil
}

// checkChain finds what is wrong between a drain's manifests.
func (r *run) checkChain(c *chain) {
	if !r.selected(c.drainID) {
		return
	}
	if len(c.links) == 0 {
		r.found(Finding{Kind: MissingManifest, DrainID: c.drainID, Message: "there is no manifest of this drain that can be read"})
		return
	}
	replays := map[string]*link{} // the last of each
	var prev, live *link          // live: the last that is not of a replay; nil after a hole
	for _, l := range c.links {
		if prev == nil || l.Number != prev.Number+1 {
			r.foundHole(c, prev, l)
			live = nil
			clear(replays)
		}
		r.checkLink(l, prev, cmp.Or(replays[l.ReplayID], live))
		if prev = l; l.ReplayID != "" {
			replays[l.ReplayID] = l
		} else {
			live = l
		}
	}
	r.checkTail(c, prev)
	r.checkBeside(c)
	r.describe(c)
}

// checkLink holds l against the one before it, prev, and against the one whose
// sequence it continues. Either may be nil, if it is not known.
func (r *run) checkLink(l, prev, continued *link) {
	broken := func(format string, args ...any) {
		r.foundIn(l, Finding{Kind: BrokenChain, Message: fmt.Sprintf(format, args...)})
	}
	if l.Delivered.To > ms(r.Now().Add(clockSlack)) {
		broken("it covers time that has not come yet, until %s", when(l.Delivered.To))
	}
	if prev != nil && l.TeamID != prev.TeamID {
		broken("its team is %s, that of the one before %s", l.TeamID, prev.TeamID)
	}
	if prev == nil || prev.Number+1 != l.Number {
		return
	}
	from := prev.Endpoint
	if from == l.Endpoint {
		from = ""
	}
	switch {
	case prev.MovedTo != "" && prev.MovedTo != l.Endpoint:
		broken("its objects are in %s, but the one before says that the drain moved to %s", l.Endpoint, prev.MovedTo)
	case l.MovedFrom != from:
		broken("its objects are in %s and those of the one before in %s, but it says that the drain moved from %q", l.Endpoint, prev.Endpoint, l.MovedFrom)
	}
	if *l.Previous != prev.digest {
		broken("it follows another manifest %d than is there: one with SHA-256 %s, not %s", prev.Number, l.Previous, prev.digest)
	}
	if prev.Cause == auditdrain.SealDeleted {
		broken("it follows the last one, which was made when the drain was deleted")
	}
	if l.Delivered.From != prev.Delivered.To {
		broken("it begins at %s, but the one before ends at %s", when(l.Delivered.From), when(prev.Delivered.To))
	}
	if continued != nil && (l.ReplayID == continued.ReplayID) && l.Sequence.From != continued.Sequence.To {
		broken("it begins with event %d, but manifest %d ends before event %d", l.Sequence.From, continued.Number, continued.Sequence.To)
	}
}

// foundHole tells of the manifests that are missing between prev, which may be nil,
// and l, unless there is something in their place that was told of, or they are
// elsewhere.
func (r *run) foundHole(c *chain, prev, l *link) {
	first, since := uint64(1), uint64(0)
	if prev != nil {
		first, since = prev.Number+1, prev.Delivered.To
	} else if from := ms(r.From); r.isElsewhere(l) || from != 0 && l.Delivered.From <= from {
		return // the second: nobody asked for what was before
	}
	missing := l.Number - first
	for _, n := range c.unsound {
		if first <= n && n < l.Number {
			missing--
		}
	}
	if missing == 0 {
		return
	}
	f := Finding{Kind: MissingManifest, DrainID: c.drainID, Manifest: first}
	f.Message = fmt.Sprintf("manifest %d is missing", first)
	if l.Number-first > 1 {
		f.Message = fmt.Sprintf("%s of %d to %d are missing", plural(missing, "manifest"), first, l.Number-1)
	}
	// Where a replay is says nothing of what was delivered before.
	known := l.ReplayID == "" && (prev == nil || prev.ReplayID == "")
	switch {
	case prev == nil:
		f.Message += ": nothing is proved of the time until " + when(l.Delivered.From)
		if known && l.Sequence.From > 1 {
			f.Message += fmt.Sprintf(", nor of events 1 to %d", l.Sequence.From-1)
		}
	default:
		f.Message += fmt.Sprintf(": nothing is proved of the time from %s to %s", when(since), when(l.Delivered.From))
		if known && l.Sequence.From > prev.Sequence.To {
			f.Message += fmt.Sprintf(", nor of events %d to %d", prev.Sequence.To, l.Sequence.From-1)
		}
		if prev.MovedTo != "" {
			f.Message += fmt.Sprintf("; manifest %d says that the drain moved to %s: verify both together", prev.Number, prev.MovedTo)
		}
	}
	r.found(f)
}

// isElsewhere reports whether the manifest before l, the first that there is of its
// chain, need not be in any of the places: l is signed, and says where it is.
func (r *run) isElsewhere(l *link) bool {
	if l.MovedFrom == "" || l.keyID == "" {
		return false
	}
	for i, p := range r.Places {
		// A copy is known by what its manifests say. One without any may be of
		// any endpoint.
		if p.String() == l.MovedFrom || len(r.endpoints[i]) == 0 || slices.Contains(r.endpoints[i], l.MovedFrom) {
			return false
		}
	}
	return true
}

// checkTail tells whether the chain ends too early.
func (r *run) checkTail(c *chain, last *link) {
	// What is signed last is written before the manifest, so it can be there alone
	// for a moment.
	for n := range c.signatures {
		if n > last.Number && !slices.Contains(c.unsound, n) {
			r.found(Finding{Kind: TruncatedTail, DrainID: c.drainID, Manifest: n,
				Message: fmt.Sprintf("manifest %d was signed, but is not there, and the chain ends with %d (if it is just being written, verify again)", n, last.Number)})
		}
	}
	expected := r.Now()
	if !r.To.IsZero() && r.To.Before(expected) {
		expected = r.To
	}
	expected = expected.Add(-r.Grace)
	if last.Cause == auditdrain.SealDeleted || last.Delivered.To >= ms(expected) {
		return
	}
	message := fmt.Sprintf("the last manifest covers the time until %s, and should cover it until %s at least", when(last.Delivered.To), when(ms(expected)))
	switch last.Cause {
	case auditdrain.SealMoved:
		message += "; it says that the drain moved to " + last.MovedTo + ": verify both together, or up to then (--to)"
	case auditdrain.SealPaused:
		message += "; it says that the drain was paused: ask whether it still is, and verify up to then (--to)"
	case auditdrain.SealOff:
		message += "; it says that manifests were switched off: ask whether they still are, and verify up to then (--to)"
	}
	r.foundIn(last, Finding{Kind: TruncatedTail, Message: message})
}

// checkBeside tells of parts and signatures that belong to nothing.
func (r *run) checkBeside(c *chain) {
	last := c.links[len(c.links)-1].Number
	for _, p := range c.parts {
		i, known := slices.BinarySearchFunc(c.links, p.number, func(l *link, n uint64) int { return cmp.Compare(l.Number, n) })
		switch {
		case known && p.part <= len(c.links[i].Parts), p.number == last+1: // it is being written
		case !known && (slices.Contains(c.unsound, p.number) || p.number < last):
			// Its manifest is what is missing.
		default:
			r.found(Finding{Kind: Unexpected, DrainID: c.drainID, Manifest: p.number,
				Key: r.keyOf(p.place, manifest.PartKey(c.drainID, p.number, p.part)), Message: "no manifest has this part"})
		}
	}
}

// describe adds what the chain says to the report.
func (r *run) describe(c *chain) {
	first, last := c.links[0], c.links[len(c.links)-1]
	d := Chain{
		DrainID: c.drainID, TeamID: last.TeamID, First: first.Number, Last: last.Number, Head: last.digest, Ended: last.Cause,
		Delivered: manifest.Range{From: first.Delivered.From, To: last.Delivered.To},
		KeyIDs:    []string{}, Skips: []manifest.Skip{}, Gaps: []manifest.Gap{}, Late: []manifest.Range{}, Changes: []manifest.Change{},
	}
	if r.isElsewhere(first) {
		d.MovedFrom = first.MovedFrom
	}
	for _, l := range c.links {
		if l.keyID != "" && !slices.Contains(d.KeyIDs, l.keyID) {
			d.KeyIDs = append(d.KeyIDs, l.keyID)
		}
		if l.ReplayID == "" {
			if d.Sequence.From == 0 {
				d.Sequence.From = l.Sequence.From
			}
			d.Sequence.To = l.Sequence.To
		}
		d.Objects += l.Count
		d.Bytes += l.Bytes
		d.Skips = append(d.Skips, l.Skips...)
		d.Gaps = append(d.Gaps, l.Gaps...)
		d.Changes = append(d.Changes, l.Changes...)
		d.Uncertain += uint64(len(l.Uncertain))
		if l.Delivered.Len() > manifest.Hour {
			d.Late = append(d.Late, l.Delivered)
		}
	}
	r.report.Chains = append(r.report.Chains, d)
}

// checkAnchors holds the chains against the heads that were kept elsewhere.
func (r *run) checkAnchors(chains []*chain) {
	byDrain := map[string]*chain{}
	for _, c := range chains {
		byDrain[c.drainID] = c
	}
	for _, a := range r.Anchors {
		h := a.Head
		if !r.selected(h.DrainID) {
			continue
		}
		f := Finding{Kind: Anchor, DrainID: h.DrainID, Manifest: h.Number, Expected: &h.SHA256}
		if err := a.Verify(r.Keys); err != nil {
			f.Kind, f.Message = UnknownKey, fmt.Sprintf("anchor: %v", err)
			r.found(f)
			continue
		}
		c := byDrain[h.DrainID]
		var i int
		var known bool
		if c != nil {
			i, known = slices.BinarySearchFunc(c.links, h.Number, func(l *link, n uint64) int { return cmp.Compare(l.Number, n) })
		}
		switch {
		case known && c.links[i].digest == h.SHA256:
			continue
		case known:
			f.Message = fmt.Sprintf("manifest %d is another than was anchored: its SHA-256 is %s, anchored was %s", h.Number, c.links[i].digest, h.SHA256)
		case c != nil && i == 0 && len(c.links) > 0 && r.isElsewhere(c.links[0]):
			continue // and so is the manifest
		case c == nil || i == len(c.links):
			f.Message = fmt.Sprintf("manifest %d was anchored, but the chain ends before it", h.Number)
		default:
			f.Message = fmt.Sprintf("manifest %d was anchored, but is not there", h.Number)
		}
		r.found(f)
	}
}
