package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

func TestParts(t *testing.T) {
	build := func(n int) (map[string][]byte, []byte, Head) {
		m := Manifest{DrainID: "drn_1", Number: 1, Cause: auditdrain.SealHour, Sequence: Range{1, uint64(n) + 1}}
		parts := map[string][]byte{}
		b := NewBuilder(m, func(key string, body []byte) error { parts[key] = body; return nil })
		for i := range n {
			if err := b.Add(Object{Key: fmt.Sprintf("%s%d", DataRoot, i), SHA256: Sum(nil), Size: 7}); err != nil {
				t.Fatal(err)
			}
		}
		body, head, err := b.Close()
		if err != nil {
			t.Fatal(err)
		}
		return parts, body, head
	}
	for n, want := range map[int]int{0: 0, 1: 1, MaxPartObjects + 1: 2} {
		parts, body, head := build(n)
		again, bodyAgain, headAgain := build(n)
		if !maps.EqualFunc(parts, again, bytes.Equal) || !bytes.Equal(body, bodyAgain) || head != headAgain || head.SHA256 != Sum(body) {
			t.Errorf("%d objects: not the same bytes twice", n)
		}
		m, err := Parse(body)
		if err != nil || len(m.Parts) != want || m.Count != uint64(n) || m.Bytes != 7*uint64(n) {
			t.Fatalf("%d objects: %v, %+v", n, err, m)
		}
		at := 0
		for i := range m.Parts {
			objects, err := m.ParsePart(i+1, parts[PartKey("drn_1", 1, i+1)])
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if o.Key != fmt.Sprintf("%s%d", DataRoot, at) {
					t.Fatalf("object %d is %s", at, o.Key)
				}
				at++
			}
		}
		if at != n {
			t.Errorf("%d objects are listed, want %d", at, n)
		}
		if n > MaxPartObjects {
			if _, err := m.ParsePart(1, parts[PartKey("drn_1", 1, 2)]); err == nil {
				t.Error("a part was taken for another")
			}
		}
	}
}

// FuzzPart holds what Builder writes against what the encoder of all else does.
func FuzzPart(f *testing.F) {
	sum := Sum(nil)
	f.Add("drn_1", "schema=audit_log/x.json", sum[:], uint64(7), uint64(0), false)
	f.Add("", "\x00\b\t\n\f\r\"\\/<>&\u007f\u2028é😀", sum[:5], uint64(MaxNumber), uint64(MaxNumber), true)
	f.Add("\xff", "\xed\xa0\x80", []byte{}, uint64(0), uint64(MaxNumber+1), true)
	f.Fuzz(func(t *testing.T, drainID, key string, sum []byte, size, orSize uint64, or bool) {
		o := Object{Key: key, Size: size}
		copy(o.SHA256[:], sum)
		if or {
			o.Or = &Bytes{SHA256: Sum(sum), Size: orSize}
		}
		want, err := canonical(listing{DrainID: drainID, Format: PartFormat, Number: 9, Objects: []Object{o, {Key: "x"}, o}, Part: 1})
		refused := err != nil || size > MaxNumber || or && orSize > MaxNumber

		var got []byte
		b := NewBuilder(Manifest{DrainID: drainID, Number: 9}, func(_ string, body []byte) error { got = body; return nil })
		err = errors.Join(b.Add(o), b.Add(Object{Key: "x"}), b.Add(o), b.flush())
		if (err != nil) != refused {
			t.Fatalf("%v, want refused %t", err, refused)
		}
		if !refused && !bytes.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestPartTooLong(t *testing.T) {
	b := NewBuilder(Manifest{DrainID: "drn_1", Number: 1}, func(string, []byte) error { return nil })
	b.part, b.count = make([]byte, MaxDocument), 1
	if err := b.Add(Object{Key: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Close(); err == nil || !strings.Contains(err.Error(), "at most 16777216 are allowed") {
		t.Errorf("%v", err)
	}
}
