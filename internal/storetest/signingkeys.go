package storetest

import (
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func signingKey(id string) auditdrain.SigningKey {
	return auditdrain.SigningKey{ID: id, Public: []byte("public part of " + id), CreatedAt: 17, ActiveFrom: 18, Encrypted: []byte{0, 1, 0xff}}
}

func (f *fixture) wantSigningKeys(want ...auditdrain.SigningKey) {
	f.Helper()
	got, err := f.SigningKeys(f.ctx)
	f.must(err)
	if d := cmp.Diff(want, got); d != "" {
		f.Errorf("signing keys (-want +got):\n%s", d)
	}
}

func testSigningKeys(f *fixture) {
	f.wantSigningKeys()
	z, a := signingKey("z"), signingKey("a")
	a.KMSKeyARN, a.Encrypted = "arn:aws:kms:eu-central-1:1:key/a", nil
	f.wantCode(f.AddSigningKey(f.ctx, z, "none", nil), auditdrain.CodeConflict)
	f.must(f.AddSigningKey(f.ctx, z, "", nil))
	f.wantCode(f.AddSigningKey(f.ctx, a, "", nil), auditdrain.CodeConflict)
	f.must(f.AddSigningKey(f.ctx, a, "z", nil))
	f.wantCode(f.AddSigningKey(f.ctx, signingKey("b"), "z", nil), auditdrain.CodeConflict)
	f.wantCode(f.AddSigningKey(f.ctx, z, "a", nil), auditdrain.CodeConflict)
	want := []auditdrain.SigningKey{z, a}
	for range 2 {
		f.wantSigningKeys(want...)
		f.reopen()
	}
	for n := range 10 { // in the order of their numbers, not of these as text
		k := signingKey(fmt.Sprint("k", n))
		f.must(f.AddSigningKey(f.ctx, k, want[len(want)-1].ID, nil))
		want = append(want, k)
	}
	f.wantSigningKeys(want...)
}

// Of many nodes that add a key at once, one does: the first of all, and the next.
func testSigningKeysAtOnce(f *fixture) {
	after := ""
	for round := 1; round <= 2; round++ {
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				if err := f.AddSigningKey(f.ctx, signingKey(fmt.Sprintf("key%d.%d", round, n)), after, nil); err != nil {
					f.wantCode(err, auditdrain.CodeConflict)
				}
			})
		}
		wg.Wait()
		keys, err := f.SigningKeys(f.ctx)
		f.must(err)
		if len(keys) != round {
			f.Fatalf("%d keys, want %d", len(keys), round)
		}
		after = keys[round-1].ID
	}
}

// addSigningKey mostly knows the last key.
func (h *history) addSigningKey() *operation {
	k := signingKey(fmt.Sprint("key", h.n))
	after := ""
	if keys := h.model.signingKeys; len(keys) > 0 && h.rng.IntN(4) > 0 {
		after = keys[len(keys)-1].ID
	}
	act := h.act("")
	return &operation{
		name: "add signing " + k.ID,
		apply: func(m *model) any {
			last := ""
			if n := len(m.signingKeys); n > 0 {
				last = m.signingKeys[n-1].ID
			}
			if last != after {
				return auditdrain.CodeConflict
			}
			m.signingKeys = append(m.signingKeys, k)
			m.record(act)
			return nil
		},
		call: func() (any, error) { return nil, h.store.AddSigningKey(h.ctx, k, after, act) },
	}
}
