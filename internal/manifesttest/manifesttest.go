// Package manifesttest writes the objects and manifests of drains into a folder, or
// wherever a test wants them, for tests of what reads them.
package manifesttest

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// Start is when drains begin.
var Start = time.Date(2026, 5, 22, 8, 0, 0, 0, time.UTC)

// Key returns a private key that is always the same for the same seed.
func Key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed%26)), ed25519.SeedSize)))
}

// Keys are the public keys of private ones.
func Keys(keys ...ed25519.PrivateKey) manifest.Keys {
	set := manifest.Keys{}
	for _, k := range keys {
		public := k.Public().(ed25519.PublicKey)
		set[manifest.Fingerprint(public)] = public
	}
	return set
}

// Drain is a drain whose chain is in a folder. Its fields may be changed between
// calls.
type Drain struct {
	TB  testing.TB
	Dir string // what is below the endpoint's prefix
	// Store writes an object instead of into Dir, if it is set.
	Store func(key string, body []byte)
	Key   ed25519.PrivateKey
	// Next is the next manifest, as far as it is known.
	Next    manifest.Manifest
	objects []manifest.Object
	last    string // folder that is known to be there
}

// New returns a drain without objects or manifests.
func New(tb testing.TB, dir, id string) *Drain {
	start := uint64(Start.UnixMilli())
	return &Drain{TB: tb, Dir: dir, Key: Key(0), Next: manifest.Manifest{
		DrainID: id, TeamID: "team_acme", Endpoint: "s3://acme-audit-archive/audit-logs", Number: 1,
		Sequence: manifest.Range{From: 1, To: 1}, Delivered: manifest.Range{From: start, To: start},
	}}
}

// Deliver writes the objects of the next n events, and returns them.
func (d *Drain) Deliver(n int) []manifest.Object {
	d.TB.Helper()
	for range n {
		d.List(d.Put(d.Next.Sequence.To))
		d.Next.Sequence.To++
	}
	return d.objects[len(d.objects)-n:]
}

// Put writes the object of an event, which is always the same, and returns it.
func (d *Drain) Put(seq uint64) manifest.Object {
	d.TB.Helper()
	e := auditdrain.Event{ID: fmt.Sprintf("uev_%s_%d", d.Next.DrainID, seq), Timestamp: Start.Add(time.Duration(seq) * time.Second).UnixMilli()}
	e.Body = fmt.Appendf(nil, `{"schema":"vercel.audit_log.v1","id":%q,"teamId":"team_acme","action":"drain-created","timestamp":%d,"actor":{"type":"user","id":"u1","name":"Zoë"},"payload":{}}`, e.ID, e.Timestamp)
	o := manifest.Object{Key: auditdrain.Delivery{Encoding: "json"}.ObjectKey(e, false), Size: uint64(len(e.Body)), SHA256: manifest.Sum(e.Body)}
	d.Write(o.Key, e.Body)
	return o
}

// Skip gives up the next n events.
func (d *Drain) Skip(n uint64, reason string) {
	from := d.Next.Sequence.To
	d.Next.Sequence.To += n
	d.Next.Skips = append(d.Next.Skips, manifest.Skip{
		At: d.Next.Delivered.From, By: "tok_operator", Reason: reason, Sequence: manifest.Range{From: from, To: from + n},
	})
}

// List adds objects that are there to the next manifest.
func (d *Drain) List(objects ...manifest.Object) { d.objects = append(d.objects, objects...) }

// Hour delivers n events and seals the hour.
func (d *Drain) Hour(n int) {
	d.TB.Helper()
	d.Deliver(n)
	d.Seal(auditdrain.SealHour, time.UnixMilli(int64(d.Next.Delivered.From)).Truncate(time.Hour).Add(time.Hour))
}

// Seal writes the next manifest, which covers all until then, and returns it.
func (d *Drain) Seal(cause auditdrain.SealCause, until time.Time) manifest.Manifest {
	d.TB.Helper()
	m := d.Next
	m.Cause, m.Delivered.To = cause, uint64(until.UnixMilli())
	if m.OpenSince == 0 {
		m.OpenSince = m.Delivered.To
	}
	b := manifest.NewBuilder(m, func(key string, body []byte) error { d.Write(key, body); return nil })
	for _, o := range d.objects {
		if err := b.Add(o); err != nil {
			d.TB.Fatal(err)
		}
	}
	body, head, err := b.Close()
	if err != nil {
		d.TB.Fatal(err)
	}
	d.Write(manifest.SignatureKey(m.DrainID, m.Number), d.Sign(head))
	d.Write(manifest.Key(m.DrainID, m.Number), body)
	d.objects = nil
	d.Next = manifest.Manifest{
		DrainID: m.DrainID, TeamID: m.TeamID, Endpoint: m.Endpoint, Number: m.Number + 1, Previous: &head.SHA256,
		Sequence:  manifest.Range{From: m.Sequence.To, To: m.Sequence.To},
		Delivered: manifest.Range{From: m.Delivered.To, To: m.Delivered.To},
	}
	sealed, err := manifest.Parse(body)
	if err != nil {
		d.TB.Fatal(err)
	}
	return sealed
}

// Move seals what there is, and goes on in another folder, which stands for another
// endpoint.
func (d *Drain) Move(dir, endpoint string, at time.Time) {
	d.TB.Helper()
	from := d.Next.Endpoint
	d.Next.MovedTo = endpoint
	d.Seal(auditdrain.SealMoved, at)
	d.Dir, d.last = dir, ""
	d.Next.Endpoint, d.Next.MovedFrom = endpoint, from
}

// Sign returns the signature's object of a head.
func (d *Drain) Sign(head manifest.Head) []byte {
	d.TB.Helper()
	signed, err := manifest.Sign(head, d.Key)
	if err != nil {
		d.TB.Fatal(err)
	}
	b, err := signed.Encode()
	if err != nil {
		d.TB.Fatal(err)
	}
	return b
}

// Write writes an object, over what is there.
func (d *Drain) Write(key string, body []byte) {
	d.TB.Helper()
	if d.Store != nil {
		d.Store(key, body)
		return
	}
	name := filepath.Join(d.Dir, filepath.FromSlash(key))
	if folder := filepath.Dir(name); folder != d.last {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			d.TB.Fatal(err)
		}
		d.last = folder
	}
	if err := os.WriteFile(name, body, 0o644); err != nil {
		d.TB.Fatal(err)
	}
}
