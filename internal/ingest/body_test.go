package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
)

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b) // to memory: never fails
	w.Close()
	return out.Bytes()
}

func zstandard(tb testing.TB, b []byte, opts ...zstd.EOption) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, opts...)
	if err == nil {
		_, err = w.Write(b)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// encoded returns plain in every encoding that is allowed.
func encoded(tb testing.TB, plain []byte) map[string][]byte {
	return map[string][]byte{"": plain, "identity": plain, "gzip": gzipped(plain), "zstd": zstandard(tb, plain)}
}

func TestReadBody(t *testing.T) {
	for name, plain := range map[string][]byte{
		"empty": nil,
		"one":   []byte(whole),
		"batch": typicalBatch(1000),
	} {
		for encoding, body := range encoded(t, plain) {
			for _, hint := range []int64{int64(len(body)), -1, 0, 1, auditdrain.MaxBodyBytes} {
				got, err := readWhole(bytes.NewReader(body), encoding, hint)
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %q, hint %d: got %d bytes, want %d; error %v", name, encoding, hint, len(got), len(plain), err)
				}
			}
			got, err := readWhole(iotest.HalfReader(bytes.NewReader(body)), encoding, -1)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, %q, read in pieces: got %d bytes, want %d; error %v", name, encoding, len(got), len(plain), err)
			}
		}
	}
	t.Run("exactly the limit", func(t *testing.T) {
		plain := make([]byte, auditdrain.MaxBodyBytes)
		for encoding, body := range encoded(t, plain) {
			got, err := readWhole(bytes.NewReader(body), encoding, int64(len(body)))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%q: got %d bytes, error %v", encoding, len(got), err)
			}
		}
	})
	t.Run("encodings have no case", func(t *testing.T) {
		for encoding, body := range encoded(t, []byte(whole)) {
			got, err := readWhole(bytes.NewReader(body), strings.ToUpper(encoding), -1)
			if err != nil || string(got) != whole {
				t.Errorf("%q: got %q, error %v", encoding, got, err)
			}
		}
	})
	t.Run("frames in a row", func(t *testing.T) {
		for encoding, body := range encoded(t, []byte(whole)) {
			got, err := readWhole(bytes.NewReader(append(bytes.Clone(body), body...)), encoding, -1)
			if err != nil || string(got) != whole+whole {
				t.Errorf("%q: got %q, error %v", encoding, got, err)
			}
		}
	})
}

func checkRefused(t *testing.T, what string, got []byte, err error, code auditdrain.Code, message string) {
	t.Helper()
	if got != nil || auditdrain.ErrorCode(err) != code || !strings.Contains(err.Error(), message) {
		t.Errorf("%s: got %d bytes, %q: %v", what, len(got), auditdrain.ErrorCode(err), err)
	}
}

func TestReadBodyTooLarge(t *testing.T) {
	const message = "the body has more than 33554432 bytes after decompression"
	plain := make([]byte, auditdrain.MaxBodyBytes+1)
	for encoding, body := range encoded(t, plain) {
		got, err := readWhole(bytes.NewReader(body), encoding, -1)
		checkRefused(t, encoding, got, err, auditdrain.CodeTooLarge, message)
	}
	for _, encoding := range []string{"", "gzip", "zstd"} {
		r := &countingReader{Reader: strings.NewReader(whole)}
		got, err := readWhole(r, encoding, auditdrain.MaxBodyBytes+1)
		checkRefused(t, encoding+" announced", got, err, auditdrain.CodeTooLarge, message)
		if r.n != 0 {
			t.Errorf("%q: %d bytes were read of a body that had announced to be too large", encoding, r.n)
		}
	}
}

type countingReader struct {
	io.Reader
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	return n, err
}

// endless repeats what it holds for ever.
type endless struct {
	data []byte
	at   int
}

func (r *endless) Read(p []byte) (int, error) {
	n := copy(p, r.data[r.at:])
	r.at = (r.at + n) % len(r.data)
	return n, nil
}

// Bodies without an end are given up after little more than the limit, of
// what is sent or of what it expands to.
func TestReadBodyBombs(t *testing.T) {
	megabyte := make([]byte, 1<<20)
	var header bytes.Buffer
	w := gzip.NewWriter(&header)
	w.Extra = make([]byte, 60_000)
	w.Close()
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 64<<10)...)
	tests := []struct {
		name, encoding string
		data           []byte
		most           int64 // that may be read of it
	}{
		{"plain", "", megabyte, auditdrain.MaxBodyBytes + 1},
		{"gzip", "gzip", gzipped(megabyte), 256 << 10},
		{"gzip that expands to nothing", "gzip", header.Bytes(), auditdrain.MaxBodyBytes + 1},
		{"zstd", "zstd", zstandard(t, megabyte), 256 << 10},
		{"zstd that expands to nothing", "zstd", skippable, auditdrain.MaxBodyBytes + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &countingReader{Reader: &endless{data: tt.data}}
			got, err := readWhole(r, tt.encoding, -1)
			checkRefused(t, tt.name, got, err, auditdrain.CodeTooLarge, "more than 33554432 bytes")
			if r.n > tt.most {
				t.Errorf("%d bytes were read, at most %d are needed", r.n, tt.most)
			}
		})
	}
}

// What a request only claims to be costs next to nothing.
func TestReadBodyDoesNotTrustHint(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := readWhole(strings.NewReader(whole), "", auditdrain.MaxBodyBytes)
	runtime.ReadMemStats(&after)
	if err != nil || string(got) != whole {
		t.Errorf("got %q, error %v", got, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4*maxHint {
		t.Errorf("%d bytes were allocated for a body of %d", n, len(whole))
	}
}

func TestReadBodyDamaged(t *testing.T) {
	plain := typicalBatch(3)
	for encoding, body := range map[string][]byte{"gzip": gzipped(plain), "zstd": zstandard(t, plain)} {
		message := "the body is not valid " + encoding
		for n := range len(body) {
			if n == 0 && encoding == "zstd" {
				continue // no frames, no bytes
			}
			got, err := readWhole(bytes.NewReader(body[:n]), encoding, -1)
			checkRefused(t, encoding+" cut off", got, err, auditdrain.CodeBadRequest, message)
		}
		for i := 1; i < 8; i++ {
			garbage := append(bytes.Clone(body), make([]byte, i)...)
			got, err := readWhole(bytes.NewReader(garbage), encoding, -1)
			checkRefused(t, encoding+" with garbage after it", got, err, auditdrain.CodeBadRequest, message)
		}
		flipped := bytes.Clone(body)
		flipped[len(flipped)/2] ^= 0x10
		got, err := readWhole(bytes.NewReader(flipped), encoding, -1)
		checkRefused(t, encoding+" with a bit flipped", got, err, auditdrain.CodeBadRequest, message)
		got, err = readWhole(bytes.NewReader(plain), encoding, -1)
		checkRefused(t, "not "+encoding, got, err, auditdrain.CodeBadRequest, message)

		// The decoder that has just failed is used again.
		if got, err := readWhole(bytes.NewReader(body), encoding, -1); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s after failures: got %d bytes, error %v", encoding, len(got), err)
		}
	}
	// Nor is a second part lost that is cut off before its data begins.
	var second bytes.Buffer
	w := gzip.NewWriter(&second)
	w.Extra, w.Name, w.Comment = []byte("extra"), "name", "comment"
	w.Write(plain)
	w.Close()
	for n := 1; n < second.Len(); n++ {
		body := append(gzipped(plain), second.Bytes()[:n]...)
		got, err := readWhole(bytes.NewReader(body), "gzip", -1)
		checkRefused(t, "second part cut off", got, err, auditdrain.CodeBadRequest, "the body is not valid gzip")
	}
	broken := errors.New("connection reset")
	got, err := readWhole(io.MultiReader(strings.NewReader(whole), iotest.ErrReader(broken)), "", -1)
	checkRefused(t, "connection lost", got, err, auditdrain.CodeBadRequest, "the body ended early: connection reset")
}

func TestReadBodyRefusesEncoding(t *testing.T) {
	for _, encoding := range []string{"br", "deflate", "x-gzip", "gzip, zstd"} {
		got, err := readWhole(strings.NewReader(whole), encoding, -1)
		checkRefused(t, encoding, got, err, auditdrain.CodeMediaType, `Content-Encoding: "`+encoding+`" is not allowed: use gzip or zstd, or leave it out`)
	}
}

func TestReadBodyZstdWindow(t *testing.T) {
	plain := bytes.Repeat(typicalBatch(10), 3_000) // more than the window
	got, err := readWhole(bytes.NewReader(zstandard(t, plain, zstd.WithWindowSize(8<<20))), "zstd", -1)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("8 MiB: got %d bytes, error %v", len(got), err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	// The frame itself says how much it expands to, which need not be true.
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0} // single segment, 8 bytes of content size
	for name, body := range map[string][]byte{
		"16 MiB":       zstandard(t, plain, zstd.WithWindowSize(16<<20)),
		"one segment":  enc.EncodeAll(plain, nil), // its window is all of it
		"claims 1 GiB": append(binary.LittleEndian.AppendUint64(claim, 1<<30), make([]byte, 100)...),
		"claims 1 EiB": append(binary.LittleEndian.AppendUint64(claim, 1<<60), make([]byte, 100)...),
	} {
		got, err := readWhole(bytes.NewReader(body), "zstd", -1)
		checkRefused(t, name, got, err, auditdrain.CodeTooLarge, "the body needs a zstd window of more than 8388608 bytes: compress it with level 19 or lower")
	}
}

// readWhole is ReadBody with memory enough.
func readWhole(r io.Reader, contentEncoding string, sizeHint int64) ([]byte, error) {
	body, release, err := NewBudget(1<<40).ReadBody(r, contentEncoding, sizeHint)
	release()
	return body, err
}

func TestBudget(t *testing.T) {
	body := strings.Repeat("x", 1000)
	b := NewBudget(2 * 1000 * bodyCost)
	read := func() (func(), error) {
		_, release, err := b.ReadBody(strings.NewReader(body), "", -1)
		return release, err
	}
	first, err := read()
	if err != nil {
		t.Fatal(err)
	}
	second, err := read()
	if err != nil {
		t.Fatal(err)
	}
	third, err := read()
	var e *auditdrain.Error
	if !errors.As(err, &e) || e.Code != auditdrain.CodeUnavailable || e.RetryAfter == 0 {
		t.Errorf("a third body: %v, want CodeUnavailable with a time to come back", err)
	}
	third()
	first()
	fourth, err := read()
	if err != nil {
		t.Errorf("a body after another was released: %v", err)
	}
	second()
	fourth()
	if left := b.left.Load(); left != 2*1000*bodyCost {
		t.Errorf("%d bytes left after all were released, want all", left)
	}
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	if _, err := zw.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, release, err := b.ReadBody(&bomb, "gzip", int64(bomb.Len())); auditdrain.ErrorCode(err) != auditdrain.CodeUnavailable {
		t.Errorf("a small body that grows beyond the budget: %v, want CodeUnavailable", err)
	} else {
		release()
	}
}
