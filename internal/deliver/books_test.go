package deliver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// books are what a world with integrity has besides: chains, seals, and the objects in
// buckets, of which none is ever written with other bytes.
type books struct {
	*world
	key    ed25519.PrivateKey
	chains map[string]auditdrain.Chain
	seals  map[string][]auditdrain.Seal
	hideIP map[string]int64 // by team: when that was changed
	places map[string]map[string]stored

	// broken says what fails; what has happened is told by the call: "Seal",
	// "SealWritten" or a key. after says that it has taken place.
	broken func(what string) (err error, after bool)
}

type stored struct {
	body    []byte
	written time.Time
}

// withBooks has a world account for what its drains write.
func withBooks(w *world) *books {
	b := &books{
		world: w, key: manifesttest.Key('k'), chains: map[string]auditdrain.Chain{}, seals: map[string][]auditdrain.Seal{},
		hideIP: map[string]int64{}, places: map[string]map[string]stored{},
		broken: func(string) (error, bool) { return nil, false },
	}
	w.books = b
	return b
}

func (b *books) integrity() *Integrity {
	return &Integrity{Chains: b, Manifests: b, Drains: b, Signer: b}
}

func (b *books) put(to auditdrain.Delivery, e auditdrain.Event, result *auditdrain.PutResult) {
	if b == nil {
		return
	}
	delivery := to
	delivery.Endpoint = ""
	result.Existed = b.store(to.Endpoint, delivery.ObjectKey(e, false), delivery.ObjectBody(e))
}

// store writes an object unless it is there.
func (b *books) store(endpoint, key string, body []byte) (existed bool) {
	if b.places[endpoint] == nil {
		b.places[endpoint] = map[string]stored{}
	}
	old, existed := b.places[endpoint][key]
	switch {
	case !existed:
		b.places[endpoint][key] = stored{bytes.Clone(body), time.Now()}
	case strings.HasPrefix(key, manifest.Root) && !bytes.Equal(old.body, body):
		b.t.Errorf("%s was written as\n%s\nand again as\n%s", key, old.body, body)
	}
	return existed
}

func (b *books) putDocument(endpoint, key string, body []byte) (result auditdrain.PutResult, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err, after := b.broken(key)
	if err == nil || after {
		result.Existed = b.store(endpoint, key, body)
	}
	return result, err
}

// fails runs f, unless what is broken keeps it from taking place.
func (b *books) fails(what string, f func() error) error {
	err, after := b.broken(what)
	if err == nil || after {
		if happened := f(); happened != nil {
			return happened
		}
	}
	return err
}

func (b *books) Chains(context.Context) ([]auditdrain.Chain, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.chains)), nil
}

func (b *books) Chain(_ context.Context, id string) (auditdrain.Chain, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.chains[id], nil
}

func (b *books) Seals(_ context.Context, id string) ([]auditdrain.Seal, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seals[id]), nil
}

func (b *books) Seal(_ context.Context, id string, req auditdrain.SealRequest) (auditdrain.Chain, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.drains[id]; !ok {
		return auditdrain.Chain{}, errNoDrain
	}
	err := b.fails("Seal", func() error { return b.seal(id, req) })
	return b.chains[id], err
}

// seal does what a store does. mu is held.
func (b *books) seal(id string, req auditdrain.SealRequest) error {
	team := b.drains[id].TeamID
	events := b.events[team]
	chain, seals, err := b.chains[id].Seal(req, auditdrain.SealFacts{
		DrainID: id, TeamID: team, State: b.states[id], LastSeq: uint64(len(events)),
		Skips: b.instructions[id].Skips, IPAddressesChanged: b.hideIP[team] != 0,
		AcceptedAt: func(seq uint64) (int64, error) {
			if seq > uint64(len(events)) {
				return 0, nil
			}
			return events[seq-1].AcceptedAt.UnixMilli(), nil
		},
	})
	if err == nil && chain.DrainID != "" {
		b.chains[id] = chain
		b.seals[id] = append(b.seals[id], seals...)
	}
	return err
}

func (b *books) SealWritten(_ context.Context, id string, number uint64, head string, at int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fails("SealWritten", func() error {
		chain := b.chains[id]
		if number <= chain.Written {
			return nil
		}
		if len(b.seals[id]) == 0 || b.seals[id][0].Number != number {
			return fmt.Errorf("manifest %d is not the next after %d", number, chain.Written)
		}
		chain = chain.Wrote(b.seals[id][0], head, at)
		b.seals[id] = b.seals[id][1:]
		if b.chains[id] = chain; chain.Ended() {
			delete(b.chains, id)
		}
		return nil
	})
}

func (b *books) SealFailed(_ context.Context, id, message string, at int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	chain := b.chains[id]
	chain.LastError, chain.LastErrorAt = message, at
	b.chains[id] = chain
	return nil
}

func (b *books) SealAnchored(_ context.Context, id string, number uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if chain, ok := b.chains[id]; ok {
		chain.Anchored = max(chain.Anchored, number)
		b.chains[id] = chain
	}
	return nil
}

func (b *books) Current(context.Context) (string, error) {
	return manifest.Fingerprint(b.key.Public().(ed25519.PublicKey)), nil
}

func (b *books) Sign(_ context.Context, _ string, head manifest.Head) (manifest.SignedHead, error) {
	return manifest.Sign(head, b.key)
}

// removeDrain deletes a drain, as a store does.
func (b *books) removeDrain(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.seal(id, auditdrain.SealRequest{Cause: auditdrain.SealDeleted, At: time.Now().UnixMilli()}); err != nil {
		b.t.Error(err)
	}
	delete(b.drains, id)
	delete(b.states, id)
}

// causes says why each manifest of a drain was sealed, that is in a place.
func (b *books) causes(endpoint, id string) (causes []auditdrain.SealCause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(b.places[endpoint])) {
		if of, _, _, kind := manifest.ParseKey(key); of == id && kind == manifest.Document {
			m, err := manifest.Parse(b.places[endpoint][key].body)
			if err != nil {
				b.t.Errorf("%s: %v", key, err)
			}
			causes = append(causes, m.Cause)
		}
	}
	return causes
}

// verify verifies all places together, and returns how many objects there are.
func (b *books) verify(t *testing.T) *verify.Report {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	o := verify.Options{Keys: manifesttest.Keys(b.key), Grace: 2 * time.Hour, Concurrency: 1}
	for _, endpoint := range slices.Sorted(maps.Keys(b.places)) {
		o.Places = append(o.Places, memory{endpoint, b.places[endpoint]})
	}
	report, err := verify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%s: %s (manifest %d of %s, %s)", f.Kind, f.Message, f.Manifest, f.DrainID, f.Key)
	}
	return report
}

// memory is a verify.Place.
type memory struct {
	name    string
	objects map[string]stored
}

func (m memory) String() string { return m.name }

func (m memory) List(_ context.Context, prefix string, found func(verify.Entry) error) error {
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			if err := found(verify.Entry{Key: key, Written: o.written}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m memory) Get(_ context.Context, key string, _ int, buf []byte) ([]byte, error) {
	o, ok := m.objects[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append(buf[:0], o.body...), nil
}
