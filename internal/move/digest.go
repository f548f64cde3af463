package move

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// Sum is what a store holds of one team, or, if TeamID is empty, of none:
// operators' tokens, signing keys, and what operators did.
type Sum struct {
	TeamID      string `json:"teamId"`
	Tokens      uint64 `json:"tokens"`
	SigningKeys uint64 `json:"signingKeys,omitempty"`
	Drains      uint64 `json:"drains"`
	Chains      uint64 `json:"chains,omitempty"` // of manifests
	Activities  uint64 `json:"activities"`
	Events      uint64 `json:"events"`
	Bytes       uint64 `json:"bytes"` // of the events' bodies
	// Checksum is over all of it, byte for byte: SHA-256, in hexadecimal.
	Checksum string `json:"checksum"`
}

// digest is a Sink that keeps no more than sums of what it is given.
type digest struct{ teams map[string]*teamDigest }

type teamDigest struct {
	Sum
	hash hash.Hash
	buf  []byte
}

func newDigest() *digest { return &digest{teams: map[string]*teamDigest{}} }

func (d *digest) of(teamID string) *teamDigest {
	t := d.teams[teamID]
	if t == nil {
		t = &teamDigest{Sum: Sum{TeamID: teamID}, hash: sha256.New()}
		d.teams[teamID] = t
	}
	return t
}

// add adds a thing to the hash, with its kind and its length before it, so that
// different things are different bytes.
func (t *teamDigest) add(kind byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	t.buf = binary.BigEndian.AppendUint64(append(t.buf[:0], kind), uint64(len(data)))
	t.hash.Write(t.buf)
	t.hash.Write(data)
	return nil
}

func (d *digest) PutCatalog(_ context.Context, teams []auditdrain.Team, tokens []auditdrain.Token) error {
	for _, team := range teams {
		if err := d.of(team.ID).add('t', team); err != nil {
			return err
		}
	}
	for _, token := range tokens {
		t := d.of(token.TeamID)
		t.Tokens++
		if err := t.add('k', token); err != nil {
			return err
		}
		t.hash.Write(token.Hash[:]) // which is not in its JSON
	}
	return nil
}

func (d *digest) PutSigningKeys(_ context.Context, keys []auditdrain.SigningKey) error {
	t := d.of("")
	for _, k := range keys {
		t.SigningKeys++
		if err := t.add('g', k); err != nil {
			return err
		}
	}
	return nil
}

func (d *digest) PutDrain(_ context.Context, r auditdrain.DrainRecord) error {
	t := d.of(r.Drain.TeamID)
	t.Drains++
	return t.add('d', struct {
		auditdrain.DrainRecord
		Cursor uint64 // which is not in the JSON of its state
	}{r, r.State.Cursor})
}

func (d *digest) PutChain(_ context.Context, r auditdrain.ChainRecord) error {
	t := d.of(r.Chain.TeamID)
	t.Chains++
	return t.add('c', r)
}

func (d *digest) PutActivities(_ context.Context, activities []auditdrain.Activity, forwarded uint64) error {
	for _, a := range activities {
		t := d.of(a.TeamID)
		t.Activities++
		if err := t.add('a', a); err != nil {
			return err
		}
	}
	return d.of("").add('f', forwarded)
}

func (d *digest) PutEvents(_ context.Context, teamID string, events []auditdrain.StoredEvent) error {
	t := d.of(teamID)
	for _, e := range events {
		t.Events++
		t.Bytes += uint64(len(e.Body))
		b := append(t.buf[:0], 'e')
		for _, n := range []uint64{e.Seq, uint64(e.AcceptedAt.UnixMicro()), uint64(e.Timestamp), e.TotalBytes, uint64(len(e.ID)), uint64(len(e.Body))} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		t.buf = append(b, e.ID...)
		t.hash.Write(t.buf)
		t.hash.Write(e.Body)
	}
	return nil
}

func (d *digest) PutLog(_ context.Context, log auditdrain.LogRecord) error {
	return d.of(log.TeamID).add('s', log)
}

// sums returns those of all teams, ordered by ID.
func (d *digest) sums() []Sum {
	var all []Sum
	for _, id := range slices.Sorted(maps.Keys(d.teams)) {
		t := d.teams[id]
		t.Checksum = hex.EncodeToString(t.hash.Sum(nil))
		all = append(all, t.Sum)
	}
	return all
}

// compare returns an error that names the teams of which something else has
// arrived.
func compare(want, got []Sum) error {
	arrived := map[string]Sum{}
	for _, s := range got {
		arrived[s.TeamID] = s
	}
	var problems []auditdrain.Problem
	for _, w := range want {
		if g := arrived[w.TeamID]; g != w {
			problems = append(problems, auditdrain.Problem{Field: teamName(w.TeamID), Message: difference(w, g)})
		}
		delete(arrived, w.TeamID)
	}
	for _, id := range slices.Sorted(maps.Keys(arrived)) {
		problems = append(problems, auditdrain.Problem{Field: teamName(id), Message: "is not in the store that was moved"})
	}
	if problems == nil {
		return nil
	}
	return &auditdrain.Error{
		Code:    auditdrain.CodeConflict,
		Message: fmt.Sprintf("what is there is not what was moved: %d of %d teams differ", len(problems), len(want)),
		Details: problems,
	}
}

func teamName(id string) string {
	if id == "" {
		return "no team"
	}
	return "team " + id
}

// difference tells in what got differs.
func difference(want, got Sum) string {
	var parts []string
	for _, n := range []struct {
		what      string
		want, got uint64
	}{
		{"tokens", want.Tokens, got.Tokens}, {"signing keys", want.SigningKeys, got.SigningKeys}, {"drains", want.Drains, got.Drains}, {"chains", want.Chains, got.Chains}, {"activities", want.Activities, got.Activities},
		{"events", want.Events, got.Events}, {"bytes", want.Bytes, got.Bytes},
	} {
		if n.want != n.got {
			parts = append(parts, fmt.Sprintf("%d %s, want %d", n.got, n.what, n.want))
		}
	}
	if parts == nil {
		return "as many of everything, but with another checksum"
	}
	return strings.Join(parts, "; ")
}
