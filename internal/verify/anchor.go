package verify

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain/internal/manifest"
)

// ReadAnchors reads signed heads as they were kept elsewhere: one after the other,
// such as a line for each, or in arrays.
func ReadAnchors(in io.Reader) ([]manifest.SignedHead, error) {
	d := jsontext.NewDecoder(in)
	var heads []manifest.SignedHead
	for {
		switch d.PeekKind() {
		case '[', ']':
			if _, err := d.ReadToken(); err != nil {
				return nil, fmt.Errorf("anchors: %w", err)
			}
			continue
		}
		var h manifest.SignedHead
		err := json.UnmarshalDecode(d, &h)
		if errors.Is(err, io.EOF) && len(heads) > 0 {
			return heads, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, errors.New("anchors: there are none")
		}
		if err != nil {
			return nil, fmt.Errorf("anchor %d: %w", len(heads)+1, err)
		}
		if h.Head.Format != manifest.HeadFormat {
			return nil, fmt.Errorf("anchor %d: format %q is not known here: only %q is", len(heads)+1, h.Head.Format, manifest.HeadFormat)
		}
		heads = append(heads, h)
	}
}
