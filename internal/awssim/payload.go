package awssim

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	// maxObject is less than S3's 5 GiB: bodies are held in memory.
	maxObject      = 64 << 20
	metaPrefix     = "x-amz-meta-"
	checksumPrefix = "x-amz-checksum-"
)

// checksum is one that came along with an object, in a header or a trailer.
type checksum struct{ name, value string } // "crc32", base64

// checksums are the algorithms of x-amz-checksum- headers that are verified.
var checksums = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(castagnoli()) },
	"crc64nvme": func() hash.Hash { return crc64.New(nvme()) },
	"md5":       md5.New,
	"sha1":      sha1.New,
	"sha256":    sha256.New,
	"sha512":    sha512.New,
}

var (
	castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })
	nvme       = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(0x9a6c9329ac4bc9b5) })
)

// digests are what the request says of its payload beside the signature.
type digests struct {
	md5      []byte // Content-MD5, nil if there is none
	checksum checksum
}

// readPayload reads the body, verifies it against the signed hash and against
// every digest that came with it, and returns it decoded.
func (c *call) readPayload() ([]byte, digests, error) {
	r := c.req
	fail := func(err error) ([]byte, digests, error) { return nil, digests{}, err }
	if r.ContentLength < 0 && r.Method == http.MethodPut {
		return fail(refusal(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."))
	}
	sent, err := readDigests(r.Header)
	if err != nil {
		return fail(err)
	}
	body, err := readBody(r, maxObject+maxObject/8) // with room for chunk headers
	switch {
	case errors.Is(err, errTooLarge):
		return fail(tooLarge())
	case err != nil:
		return fail(incompleteBody())
	}

	switch claimed := r.Header.Get("X-Amz-Content-Sha256"); {
	case claimed == unsigned:
	case claimed == unsignedTrailer:
		var trailer checksum
		if body, trailer, err = decodeChunks(r.Header, body); err != nil {
			return fail(err)
		}
		if trailer.name != "" {
			if sent.checksum.name != "" {
				return fail(multipleChecksums())
			}
			sent.checksum = trailer
		}
	case strings.HasPrefix(claimed, "STREAMING-"):
		return fail(headerNotImplemented("x-amz-content-sha256"))
	default:
		sum := sha256.Sum256(body)
		if computed := hex.EncodeToString(sum[:]); computed != claimed {
			return fail(refusal(http.StatusBadRequest, "XAmzContentSHA256Mismatch",
				"The provided 'x-amz-content-sha256' header does not match what was computed.",
				Element{"ClientComputedContentSHA256", claimed}, Element{"S3ComputedContentSHA256", computed}))
		}
	}
	if len(body) > maxObject {
		return fail(tooLarge())
	}
	if err := sent.verify(body); err != nil {
		return fail(err)
	}
	return body, sent, nil
}

func tooLarge() *Error {
	return refusal(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
		Element{"MaxSizeAllowed", strconv.Itoa(maxObject)})
}

func incompleteBody() *Error {
	return refusal(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
}

func multipleChecksums() *Error {
	return refusal(http.StatusBadRequest, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

func readDigests(h http.Header) (digests, error) {
	var d digests
	if s := h.Get("Content-Md5"); s != "" {
		var err error
		if d.md5, err = base64.StdEncoding.DecodeString(s); err != nil || len(d.md5) != md5.Size {
			return d, refusal(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.", Element{"Content-MD5", s})
		}
	}
	for header := range h {
		lower := strings.ToLower(header)
		name, ok := strings.CutPrefix(lower, checksumPrefix)
		if !ok || name == "mode" {
			continue
		}
		if d.checksum.name != "" {
			return d, multipleChecksums()
		}
		d.checksum = checksum{name, h.Get(header)}
		if err := d.checksum.check(); err != nil {
			return d, err
		}
	}
	return d, nil
}

// check tells whether the value can be one of its algorithm at all.
func (c checksum) check() error {
	algorithm, ok := checksums[c.name]
	if !ok {
		return headerNotImplemented(checksumPrefix + c.name)
	}
	if sum, err := base64.StdEncoding.DecodeString(c.value); err != nil || len(sum) != algorithm().Size() {
		return refusal(http.StatusBadRequest, "InvalidRequest", "Value for "+checksumPrefix+c.name+" header is invalid.")
	}
	return nil
}

func (d digests) verify(body []byte) error {
	if sum := md5.Sum(body); d.md5 != nil && !bytes.Equal(d.md5, sum[:]) {
		return refusal(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.",
			Element{"ExpectedDigest", base64.StdEncoding.EncodeToString(d.md5)}, Element{"CalculatedDigest", base64.StdEncoding.EncodeToString(sum[:])})
	}
	if d.checksum.name == "" {
		return nil
	}
	h := checksums[d.checksum.name]()
	h.Write(body)
	if base64.StdEncoding.EncodeToString(h.Sum(nil)) != d.checksum.value {
		return refusal(http.StatusBadRequest, "BadDigest",
			"The "+strings.ToUpper(d.checksum.name)+" you specified did not match the calculated checksum.")
	}
	return nil
}

// decodeChunks reads the aws-chunked encoding without chunk signatures:
// "<hex size>\r\n<bytes>\r\n" … "0\r\n<trailer>:<value>\r\n\r\n".
func decodeChunks(h http.Header, wire []byte) ([]byte, checksum, error) {
	fail := func(err error) ([]byte, checksum, error) { return nil, checksum{}, err }
	length, err := strconv.Atoi(h.Get("X-Amz-Decoded-Content-Length"))
	if err != nil || length < 0 {
		return fail(refusal(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."))
	}
	if length > maxObject {
		return fail(tooLarge())
	}
	body := make([]byte, 0, length)
	for {
		line, rest, ok := bytes.Cut(wire, []byte("\r\n"))
		if !ok {
			return fail(incompleteBody())
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return fail(refusal(http.StatusBadRequest, "InvalidRequest", "The chunk size line of the body is malformed"))
		}
		if size == 0 {
			wire = rest
			break
		}
		if uint64(len(rest)) < size+2 || string(rest[size:size+2]) != "\r\n" {
			return fail(incompleteBody())
		}
		body = append(body, rest[:size]...)
		wire = rest[size+2:]
	}
	if len(body) != length {
		return fail(incompleteBody())
	}

	var trailer checksum
	announced := strings.ToLower(strings.TrimSpace(h.Get("X-Amz-Trailer")))
	for line := range strings.SplitSeq(string(wire), "\r\n") {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		algorithm, isChecksum := strings.CutPrefix(name, checksumPrefix)
		if !ok || !isChecksum || name != announced || trailer.name != "" {
			return fail(malformedTrailer())
		}
		trailer = checksum{algorithm, strings.TrimSpace(value)}
	}
	if announced != "" && trailer.name == "" {
		return fail(malformedTrailer())
	}
	if trailer.name != "" {
		if err := trailer.check(); err != nil {
			return fail(err)
		}
	}
	return body, trailer, nil
}

func malformedTrailer() *Error {
	return refusal(http.StatusBadRequest, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.")
}
