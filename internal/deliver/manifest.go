package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

const (
	// How long it is tried to write a manifest to where its drain does not write
	// any more, before it is given up and the next ones go on: to where it is
	// refused, and to where it should work.
	giveUpRefused = 24 * time.Hour
	giveUpFailing = 7 * 24 * time.Hour

	// pageEvents is how many events are read at a time, of readBytes at most.
	pageEvents = 1024
)

// write writes the manifests of a chain that wait, by number, and returns the chain
// as it is then. When ctx ends it begins with no other.
func (s *sealer) write(ctx, putCtx context.Context, chain auditdrain.Chain) (auditdrain.Chain, error) {
	seals, err := s.Chains.Seals(putCtx, chain.DrainID)
	if err != nil {
		return chain, fmt.Errorf("read seals: %w", err)
	}
	// Read after them, as another process may write the same: the first that waits
	// follows the last that is written.
	if chain, err = s.Chains.Chain(putCtx, chain.DrainID); err != nil || chain.DrainID == "" {
		return chain, err
	}
	unseen := chain.Written == 0
	for _, seal := range seals {
		if seal.Number <= chain.Written {
			continue
		}
		if ctx.Err() != nil {
			return chain, ctx.Err()
		}
		head, err := s.writeOne(putCtx, chain, seal)
		unseen = unseen && err != nil && seal.Sequence.From == seal.Sequence.To
		if err != nil && putCtx.Err() == nil {
			head, err = s.refused(putCtx, chain, seal, unseen, err)
		}
		at := time.Now().UnixMilli()
		if err == nil {
			err = s.Integrity.Manifests.SealWritten(putCtx, chain.DrainID, seal.Number, head.String(), at)
		}
		if err != nil {
			return chain, err
		}
		chain = chain.Wrote(seal, head.String(), at)
	}
	return chain, nil
}

// writeOne writes a manifest: its parts, its signature, and then itself, so that a
// manifest that is there is there with all that belongs to it. It returns its
// SHA-256.
func (s *sealer) writeOne(ctx context.Context, chain auditdrain.Chain, seal auditdrain.Seal) (manifest.Digest, error) {
	to, err := s.goesTo(ctx, seal)
	if err != nil {
		return manifest.Digest{}, err
	}
	defer to.close()
	put := func(key string, body []byte, metadata map[string]string) error {
		if _, err := to.dest.PutDocument(ctx, key, body, metadata); err != nil {
			return &documentError{config: to.config, former: to.former, err: err}
		}
		return nil
	}
	body, head, err := s.render(ctx, chain, seal, func(key string, part []byte) error { return put(key, part, nil) })
	if err != nil {
		return manifest.Digest{}, err
	}
	signed, err := s.Signer.Sign(ctx, seal.KeyID, head)
	if err != nil {
		return manifest.Digest{}, err
	}
	signature, err := signed.Encode()
	if err != nil {
		return manifest.Digest{}, err
	}
	if err := put(manifest.SignatureKey(seal.DrainID, seal.Number), signature, nil); err != nil {
		return manifest.Digest{}, err
	}
	metadata := map[string]string{manifest.MetadataKeyID: signed.KeyID, manifest.MetadataSignature: signed.Signature}
	if err := put(manifest.Key(seal.DrainID, seal.Number), body, metadata); err != nil {
		return manifest.Digest{}, err
	}
	s.metrics.written.Inc()
	return head.SHA256, nil
}

// documentError is a refusal of a bucket, or of a role, to take a manifest.
type documentError struct {
	config auditdrain.Drain
	former bool // the drain writes elsewhere now, or is deleted
	err    error
}

func (e *documentError) Error() string { return "write manifest: " + e.err.Error() }
func (e *documentError) Unwrap() error { return e.err }

// place is where a manifest goes.
type place struct {
	dest   Destination
	config auditdrain.Drain // that it is written with
	former bool             // the drain writes elsewhere now, or is deleted
	close  func()
}

// goesTo returns where a seal's manifest goes: to where its drain wrote then, with
// the access that it has now if it still does.
func (s *sealer) goesTo(ctx context.Context, seal auditdrain.Seal) (place, error) {
	if p, ok := s.isOpen(seal); ok {
		return p, nil
	}
	p := place{former: true, config: auditdrain.Drain{ID: seal.DrainID, TeamID: seal.TeamID, Delivery: seal.As.Delivery}}
	found, err := s.Integrity.Drains.Drains(ctx, auditdrain.DrainQuery{ID: seal.DrainID})
	if err != nil {
		return place{}, fmt.Errorf("read drain: %w", err)
	}
	if len(found) > 0 && found[0].Delivery.Endpoint == seal.As.Delivery.Endpoint {
		p.former, p.config = false, found[0]
	}
	if p.dest, err = s.open(p.config, false); err != nil {
		return place{}, &documentError{config: p.config, former: p.former, err: err}
	}
	p.close = p.dest.Close
	return p, nil
}

// isOpen returns the destination of a drain that is being delivered: to use it costs
// no session.
func (s *sealer) isOpen(seal auditdrain.Seal) (place, bool) {
	s.Deliverer.mu.RLock()
	dr := s.byID[seal.DrainID]
	s.Deliverer.mu.RUnlock()
	if dr == nil || dr.config.Delivery.Endpoint != seal.As.Delivery.Endpoint {
		return place{}, false
	}
	dr.mu.Lock()
	defer dr.mu.Unlock()
	return place{dest: dr.dest, config: dr.config, close: func() {}}, dr.dest != nil
}

// refused notes why a manifest could not be written, and returns that; or no error
// and the manifest's SHA-256, if it is given up. unseen says that nothing has ever
// been written of the chain, neither manifests nor objects.
func (s *sealer) refused(ctx context.Context, chain auditdrain.Chain, seal auditdrain.Seal, unseen bool, err error) (manifest.Digest, error) {
	class := classOf(err)
	s.metrics.failed(class)
	text := err.Error()
	refusal, byBucket := errors.AsType[*documentError](err)
	if byBucket {
		if diagnosis, ok := s.explain(refusal.config, refusal.err); ok {
			text = diagnosis.String()
		}
	}
	if byBucket && refusal.former && givesUp(seal, unseen, class) {
		s.log.Error("a manifest is given up: its drain does not write there any more, and it is refused", "drain", seal.DrainID,
			"manifest", seal.Number, "endpoint", seal.As.Delivery.Endpoint, "err", text)
		_, head, err := s.render(ctx, chain, seal, func(string, []byte) error { return nil })
		if err == nil {
			s.metrics.givenUp.Inc()
		}
		return head.SHA256, err
	}
	noteErr := s.Integrity.Manifests.SealFailed(ctx, seal.DrainID, clip(text, 4096), time.Now().UnixMilli())
	return manifest.Digest{}, errors.Join(err, noteErr)
}

// givesUp reports whether a manifest for a former place has been tried for long
// enough: at once, where nothing was ever written, as to a bucket that was misspelt.
func givesUp(seal auditdrain.Seal, unseen bool, class auditdrain.FailureClass) bool {
	waited := time.Since(time.UnixMilli(seal.Delivered.To))
	if class != auditdrain.Blocked {
		return waited >= giveUpFailing
	}
	return unseen || waited >= giveUpRefused
}

// render makes a manifest from its seal and the stored events, and has emit write
// its parts. It is a pure function of the seal, of the events, which never change,
// and of the manifest before.
func (s *sealer) render(ctx context.Context, chain auditdrain.Chain, seal auditdrain.Seal, emit func(key string, part []byte) error) ([]byte, manifest.Head, error) {
	m := manifestOf(seal)
	if seal.Number > 1 {
		m.Previous = &manifest.Digest{}
		if err := m.Previous.UnmarshalText([]byte(chain.Head)); err != nil {
			return nil, manifest.Head{}, fmt.Errorf("manifest %d: %w", chain.Written, err)
		}
	}
	// Keys are without the endpoint's prefix.
	as := seal.As
	as.Delivery.Endpoint = ""
	for _, r := range seal.Uncertain {
		for e, err := range s.events(ctx, seal.TeamID, r) {
			if err != nil {
				return nil, manifest.Head{}, err
			}
			m.Uncertain = append(m.Uncertain, as.Delivery.ObjectKey(e.Event, false))
		}
	}
	b := manifest.NewBuilder(m, emit)
	objects := objects{as: as, eitherTo: seal.EitherTo}
	for _, r := range seal.Listed() {
		for e, err := range s.events(ctx, seal.TeamID, r) {
			if err == nil {
				err = b.Add(objects.of(e))
			}
			if err != nil {
				return nil, manifest.Head{}, err
			}
		}
	}
	return b.Close()
}

// objects tells which objects events became. The buffers are for the next one's bytes.
type objects struct {
	as          auditdrain.Rendering
	eitherTo    uint64
	body, other []byte
}

func (o *objects) of(e auditdrain.StoredEvent) manifest.Object {
	o.body = o.as.AppendBody(o.body[:0], e.Event)
	object := manifest.Object{Key: o.as.Delivery.ObjectKey(e.Event, false), SHA256: manifest.Sum(o.body), Size: uint64(len(o.body))}
	if e.Seq > o.eitherTo {
		return object
	}
	otherwise := o.as
	otherwise.HideIPAddresses = !o.as.HideIPAddresses
	if o.other = otherwise.AppendBody(o.other[:0], e.Event); !bytes.Equal(o.body, o.other) {
		object.Or = &manifest.Bytes{SHA256: manifest.Sum(o.other), Size: uint64(len(o.other))}
	}
	return object
}

// events returns the events of a stretch, all of them or an error.
func (s *sealer) events(ctx context.Context, teamID string, r auditdrain.SeqRange) iter.Seq2[auditdrain.StoredEvent, error] {
	return func(yield func(auditdrain.StoredEvent, error) bool) {
		for next := r.From; next < r.To; {
			page, err := s.store.Read(ctx, teamID, next-1, int(min(r.To-next, pageEvents)), readBytes)
			if err == nil && (len(page) == 0 || page[0].Seq != next) {
				err = fmt.Errorf("event %d of team %s is not kept any more", next, teamID)
			}
			if err != nil {
				yield(auditdrain.StoredEvent{}, fmt.Errorf("read events for a manifest: %w", err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			next += uint64(len(page))
		}
	}
}

// manifestOf returns what a seal says by itself.
func manifestOf(seal auditdrain.Seal) manifest.Manifest {
	m := manifest.Manifest{
		DrainID: seal.DrainID, TeamID: seal.TeamID, Endpoint: seal.As.Delivery.Endpoint, Number: seal.Number, Cause: seal.Cause,
		ReplayID: seal.ReplayID, MovedFrom: seal.MovedFrom, MovedTo: seal.MovedTo,
		Sequence:  manifest.Range(seal.Sequence),
		Delivered: timeRange(seal.Delivered), OpenSince: uint64(seal.OpenSince),
		Parts: []manifest.Part{}, Skips: []manifest.Skip{}, Gaps: []manifest.Gap{}, Changes: []manifest.Change{}, Uncertain: []string{},
	}
	for _, skip := range seal.Skips {
		m.Skips = append(m.Skips, manifest.Skip{
			At: uint64(skip.At), By: skip.By, EventID: skip.EventID, Reason: skip.Reason, Sequence: manifest.Range{From: skip.From, To: skip.To + 1},
		})
	}
	if g := seal.Gap; g != nil {
		m.Gaps = append(m.Gaps, manifest.Gap{Delivered: timeRange(g.Delivered), Reason: "manifests were switched off", Sequence: manifest.Range(g.Sequence)})
	}
	for _, a := range seal.Changes {
		change := manifest.Change{Action: a.Action, Activity: a.Number, At: uint64(a.At), By: a.Actor.ID, Name: a.Actor.Name, Fields: []manifest.Field{}}
		for _, f := range a.Changes {
			change.Fields = append(change.Fields, manifest.Field(f))
		}
		m.Changes = append(m.Changes, change)
	}
	return m
}

func timeRange(r auditdrain.TimeRange) manifest.Range {
	return manifest.Range{From: uint64(r.From), To: uint64(r.To)}
}
