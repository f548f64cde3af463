package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
)

const (
	// maxHint is how much is allocated on the word of a request alone.
	maxHint = 1 << 20
	// maxWindow bounds what the zstd decoder holds. All levels but the "ultra"
	// ones need no more, and RFC 8878 asks no more of decoders.
	maxWindow = 8 << 20
)

// A decoder that decodes in the caller's goroutine needs no Close.
var zstdDecoders = sync.Pool{New: func() any {
	zr, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // the options are constants
	}
	return zr
}}

// Budget bounds the memory that all request bodies take together, until their
// events are stored. It is safe for concurrent use.
type Budget struct{ left atomic.Int64 }

// bodyCost is how many bytes of memory a byte of a body takes: the body, the
// room that its buffer grows by, and its events.
const bodyCost = 3

// NewBudget returns a budget of so many bytes of memory.
func NewBudget(bytes int64) *Budget {
	b := new(Budget)
	b.left.Store(bytes)
	return b
}

// charged takes what is read from r off a budget.
type charged struct {
	r      io.Reader
	budget *Budget
	taken  int64
}

func (c *charged) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	cost := int64(n) * bodyCost
	c.taken += cost
	if c.budget.left.Add(-cost) < 0 {
		return n, unavailable("too many large bodies arrive at once")
	}
	return n, err
}

// ReadBody reads a request body with the given Content-Encoding to its end.
// It reads and returns at most MaxBodyBytes, whatever the body claims to
// expand to: more is CodeTooLarge. If the budget does not allow it, it is
// CodeUnavailable. sizeHint is the body's length before decompression, or -1.
// The caller calls release, once and in any case, when it no longer holds the
// body nor its events.
func (b *Budget) ReadBody(r io.Reader, contentEncoding string, sizeHint int64) (body []byte, release func(), err error) {
	c := &charged{budget: b}
	body, err = readBody(r, c, contentEncoding, sizeHint)
	return body, func() { b.left.Add(c.taken) }, err
}

func readBody(r io.Reader, c *charged, contentEncoding string, sizeHint int64) ([]byte, error) {
	if sizeHint > auditdrain.MaxBodyBytes {
		return nil, tooLarge()
	}
	// One byte more tells a body that is just small enough from one that is
	// too large. Compressed bodies are bounded too: they could go on forever
	// and expand to nothing.
	wire := &io.LimitedReader{R: r, N: auditdrain.MaxBodyBytes + 1}
	var plain io.Reader = wire
	encoding := strings.ToLower(contentEncoding)
	switch encoding {
	case "", "identity":
		encoding = ""
	case "gzip":
		// Not klauspost/compress, which takes a second member that is cut off
		// in its header for the end, and so loses it.
		zr, err := gzip.NewReader(wire)
		if err != nil {
			return nil, badEncoding(encoding, err)
		}
		plain = zr
	case "zstd":
		zr := zstdDecoders.Get().(*zstd.Decoder)
		defer func() {
			zr.Reset(nil)
			zstdDecoders.Put(zr)
		}()
		if err := zr.Reset(wire); err != nil {
			return nil, badEncoding(encoding, err)
		}
		plain = zr
	default:
		return nil, auditdrain.Errorf(auditdrain.CodeMediaType, "Content-Encoding: %q is not allowed: use gzip or zstd, or leave it out", contentEncoding)
	}

	var buf bytes.Buffer
	buf.Grow(int(min(max(sizeHint, 0), maxHint)) + bytes.MinRead)
	c.r = io.LimitReader(plain, auditdrain.MaxBodyBytes+1)
	_, err := buf.ReadFrom(c)
	var busy *auditdrain.Error
	switch {
	case errors.As(err, &busy):
		return nil, busy
	case buf.Len() > auditdrain.MaxBodyBytes, wire.N <= 0:
		return nil, tooLarge()
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, auditdrain.Errorf(auditdrain.CodeTooLarge, "the body needs a zstd window of more than %d bytes: compress it with level 19 or lower and without --long, and send at most %d bytes", maxWindow, auditdrain.MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, unavailable("the body did not arrive in time")
	case err != nil && encoding != "":
		return nil, badEncoding(encoding, err)
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
