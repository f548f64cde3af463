package manifest

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Builder makes a manifest and its parts of objects that come one after the other.
// It holds the bytes of one part at a time. It is not safe for concurrent use, and of
// no use after an error.
type Builder struct {
	manifest Manifest
	emit     func(key string, body []byte) error
	part     []byte // as far as it is known
	count    uint64 // of its objects
}

// NewBuilder begins a manifest of which all is known but Count, Bytes and Parts.
// emit is called with each part as it is full, in order; the same objects give the
// same calls. It may keep the bytes.
func NewBuilder(m Manifest, emit func(key string, body []byte) error) *Builder {
	m.Count, m.Bytes, m.Parts = 0, 0, nil
	return &Builder{manifest: m, emit: emit}
}

// Add appends an object, in the order of the sequence.
func (b *Builder) Add(o Object) error {
	var err error
	if b.count == 0 {
		if b.part, err = b.begin(o); err != nil {
			return err
		}
	} else {
		b.part = append(b.part, ',')
	}
	if b.part, err = appendObject(b.part, &o); err != nil {
		return fmt.Errorf("manifest %d of %s: object %q: %w", b.manifest.Number, b.manifest.DrainID, o.Key, err)
	}
	b.count++
	b.manifest.Count++
	b.manifest.Bytes += o.Size
	if b.count < MaxPartObjects {
		return nil
	}
	return b.flush()
}

// begin returns a part's bytes up to its first object, and room for the others.
func (b *Builder) begin(first Object) ([]byte, error) {
	const besideKey = 128 // bytes of most objects
	size := min(b.manifest.Sequence.Len()-b.manifest.Count, MaxPartObjects) * uint64(len(first.Key)+besideKey)
	part, err := appendString(append(make([]byte, 0, size), `{"drainId":`...), b.manifest.DrainID)
	if err != nil {
		return nil, fmt.Errorf("drainId: %w", err)
	}
	part = append(part, `,"format":"`+PartFormat+`","number":`...)
	part = strconv.AppendUint(part, b.manifest.Number, 10)
	return append(part, `,"objects":[`...), nil
}

func (b *Builder) flush() error {
	if b.count == 0 {
		return nil
	}
	n := len(b.manifest.Parts) + 1
	body := append(b.part, `],"part":`...)
	body = append(strconv.AppendInt(body, int64(n), 10), '}')
	if len(body) > MaxDocument {
		return fmt.Errorf("part %d of manifest %d of %s would have %d bytes: at most %d are allowed", n, b.manifest.Number, b.manifest.DrainID, len(body), MaxDocument)
	}
	b.manifest.Parts = append(b.manifest.Parts, Part{Count: b.count, SHA256: Sum(body), Size: uint64(len(body))})
	b.part, b.count = nil, 0
	return b.emit(PartKey(b.manifest.DrainID, b.manifest.Number, n), body)
}

// Close emits the last part, and returns the manifest's bytes and what is to be
// signed. To be written: the parts, then the signature, then the manifest, so that
// whoever sees a manifest sees all of it.
func (b *Builder) Close() (body []byte, head Head, err error) {
	if err := b.flush(); err != nil {
		return nil, Head{}, err
	}
	if body, err = b.manifest.Encode(); err != nil {
		return nil, Head{}, err
	}
	return body, HeadOf(b.manifest, body), nil
}

// appendObject appends what canonical returns for o, which a service that writes
// thousands of objects a second has no time for.
func appendObject(b []byte, o *Object) ([]byte, error) {
	b, err := appendString(append(b, `{"key":`...), o.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	sizes := o.Size
	if o.Or != nil {
		b = append(appendBytes(append(b, `,"or":{`...), *o.Or), '}')
		sizes = max(sizes, o.Or.Size)
	}
	if sizes > MaxNumber {
		return nil, fmt.Errorf("size %d is greater than %d", sizes, int64(MaxNumber))
	}
	return append(appendBytes(append(b, ','), Bytes{o.SHA256, o.Size}), '}'), nil
}

// appendBytes appends x's members.
func appendBytes(b []byte, x Bytes) []byte {
	b = hex.AppendEncode(append(b, `"sha256":"`...), x.SHA256[:])
	return strconv.AppendUint(append(b, `","size":`...), x.Size, 10)
}

// appendString appends a string as RFC 8785 has it. It refuses what is not UTF-8.
func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return jsontext.AppendQuote(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
