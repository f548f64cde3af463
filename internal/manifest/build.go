package manifest

// Builder makes a manifest and its parts of objects that come one after the other.
// It holds one part's objects at a time. It is not safe for concurrent use.
type Builder struct {
	manifest Manifest
	emit     func(key string, body []byte) error
	objects  []Object
}

// NewBuilder begins a manifest of which all is known but Count, Bytes and Parts.
// emit is called with each part as it is full, in order; the same objects give the
// same calls.
func NewBuilder(m Manifest, emit func(key string, body []byte) error) *Builder {
	m.Count, m.Bytes, m.Parts = 0, 0, nil
	return &Builder{manifest: m, emit: emit}
}

// Add appends an object, in the order of the sequence.
func (b *Builder) Add(o Object) error {
	b.objects = append(b.objects, o)
	b.manifest.Count++
	b.manifest.Bytes += o.Size
	if len(b.objects) < MaxPartObjects {
		return nil
	}
	return b.flush()
}

func (b *Builder) flush() error {
	if len(b.objects) == 0 {
		return nil
	}
	n := len(b.manifest.Parts) + 1
	body, err := EncodePart(b.manifest.DrainID, b.manifest.Number, n, b.objects)
	if err != nil {
		return err
	}
	b.manifest.Parts = append(b.manifest.Parts, Part{Count: uint64(len(b.objects)), SHA256: Sum(body), Size: uint64(len(body))})
	b.objects = b.objects[:0]
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
