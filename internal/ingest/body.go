package ingest

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
)

// ReadBody reads a request body with the given Content-Encoding to its end.
// It never holds more than MaxBodyBytes of it, whatever the body claims to
// expand to: more is CodeTooLarge. sizeHint may be -1.
func ReadBody(r io.Reader, contentEncoding string, sizeHint int64) ([]byte, error) {
	switch contentEncoding {
	case "", "identity":
	case "gzip":
		zr, err := gzip.NewReader(r)
		if err != nil {
			return nil, badEncoding(contentEncoding, err)
		}
		defer zr.Close()
		r, sizeHint = zr, -1
	case "zstd":
		// The window bounds what the decoder itself may hold.
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(auditdrain.MaxBodyBytes+1))
		if err != nil {
			return nil, badEncoding(contentEncoding, err)
		}
		defer zr.Close()
		r, sizeHint = zr, -1
	default:
		return nil, auditdrain.Errorf(auditdrain.CodeMediaType, "Content-Encoding: %q is not allowed: use gzip or zstd, or leave it out", contentEncoding)
	}

	if sizeHint > auditdrain.MaxBodyBytes {
		return nil, tooLarge()
	}
	var buf bytes.Buffer
	if sizeHint > 0 {
		buf.Grow(int(sizeHint) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(io.LimitReader(r, auditdrain.MaxBodyBytes+1))
	switch {
	case buf.Len() > auditdrain.MaxBodyBytes, errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, tooLarge()
	case err != nil && contentEncoding != "" && contentEncoding != "identity":
		return nil, badEncoding(contentEncoding, err)
	case err != nil:
		return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "the body ended early: %v", err)
	}
	return buf.Bytes(), nil
}

func tooLarge() error {
	return auditdrain.Errorf(auditdrain.CodeTooLarge, "the body has more than %d bytes after decompression: send smaller batches", auditdrain.MaxBodyBytes)
}

func badEncoding(encoding string, err error) error {
	return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body is not valid %s: %v", encoding, err)
}
