package verify_test

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/manifesttest"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// tree is a place in memory, that attacks are made on.
type tree struct {
	t     *testing.T
	files map[string][]byte
}

// open reads a folder.
func open(t *testing.T, dir string) *tree {
	t.Helper()
	tr := &tree{t, map[string][]byte{}}
	for name, content := range files(t, dir) {
		tr.files[strings.TrimPrefix(filepath.ToSlash(name), "/")] = []byte(content)
	}
	return tr
}

// copy returns one that can be changed for itself.
func (tr *tree) copy(t *testing.T) *tree { return &tree{t, maps.Clone(tr.files)} }

// drain returns a new drain that writes into tr.
func (tr *tree) drain(id string) *manifesttest.Drain {
	d := manifesttest.New(tr.t, "", id)
	d.Store = tr.write
	return d
}

func (tr *tree) String() string { return "tree" }

// List implements verify.Place.
func (tr *tree) List(_ context.Context, prefix string, found func(verify.Entry) error) error {
	for key := range tr.files {
		if strings.HasPrefix(key, prefix) {
			if err := found(verify.Entry{Key: key}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get implements verify.Place.
func (tr *tree) Get(_ context.Context, key string, most int, buf []byte) ([]byte, error) {
	body, ok := tr.files[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append(buf[:0], body[:min(len(body), most+1)]...), nil
}

func (tr *tree) check(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) read(key string) []byte {
	tr.t.Helper()
	body, ok := tr.files[key]
	if !ok {
		tr.t.Fatalf("there is no %s", key)
	}
	return body
}

func (tr *tree) remove(key string) {
	tr.t.Helper()
	tr.read(key)
	delete(tr.files, key)
}

func (tr *tree) write(key string, body []byte) { tr.files[key] = body }

// replace writes an object with other bytes in the place of some.
func (tr *tree) replace(key, old, by string) {
	tr.t.Helper()
	body := tr.read(key)
	if !bytes.Contains(body, []byte(old)) {
		tr.t.Fatalf("%s is not in %s", old, key)
	}
	tr.write(key, bytes.Replace(body, []byte(old), []byte(by), 1))
}

// manifest returns manifest n of the drain.
func (tr *tree) manifest(n uint64) manifest.Manifest {
	tr.t.Helper()
	m, err := manifest.Parse(tr.read(manifest.Key(drainID, n)))
	tr.check(err)
	return m
}

// objects returns what manifest n lists.
func (tr *tree) objects(n uint64) []manifest.Object {
	tr.t.Helper()
	m := tr.manifest(n)
	var all []manifest.Object
	for i := range m.Parts {
		objects, err := m.ParsePart(i+1, tr.read(manifest.PartKey(drainID, n, i+1)))
		tr.check(err)
		all = append(all, objects...)
	}
	return all
}

// copyManifest puts manifest n of a drain, with its parts and signature, in the place
// of another.
func (tr *tree) copyManifest(id string, n uint64, toID string, to uint64) {
	tr.t.Helper()
	m, err := manifest.Parse(tr.read(manifest.Key(id, n)))
	tr.check(err)
	tr.write(manifest.Key(toID, to), tr.read(manifest.Key(id, n)))
	tr.write(manifest.SignatureKey(toID, to), tr.read(manifest.SignatureKey(id, n)))
	for i := range m.Parts {
		tr.write(manifest.PartKey(toID, to, i+1), tr.read(manifest.PartKey(id, n, i+1)))
	}
}

// rewrite changes manifest n and signs it anew.
func (tr *tree) rewrite(n uint64, signer *manifesttest.Drain, change func(*manifest.Manifest)) {
	tr.t.Helper()
	m := tr.manifest(n)
	change(&m)
	body, err := m.Encode()
	tr.check(err)
	tr.write(manifest.Key(drainID, n), body)
	tr.write(manifest.SignatureKey(drainID, n), signer.Sign(manifest.HeadOf(m, body)))
}

// removeManifest removes all that manifest n of a drain consists of, and, if withData
// is set, what it lists.
func (tr *tree) removeManifest(id string, n uint64, withData bool) {
	tr.t.Helper()
	m, err := manifest.Parse(tr.read(manifest.Key(id, n)))
	tr.check(err)
	for i := range m.Parts {
		part := manifest.PartKey(id, n, i+1)
		if withData {
			objects, err := m.ParsePart(i+1, tr.read(part))
			tr.check(err)
			for _, o := range objects {
				tr.remove(o.Key)
			}
		}
		tr.remove(part)
	}
	tr.remove(manifest.SignatureKey(id, n))
	tr.remove(manifest.Key(id, n))
}
