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
	"slices"
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

// notVerified are those of S3's that are not; of any other S3 itself says that
// there is no such algorithm.
var notVerified = []string{"xxhash64", "xxhash3", "xxhash128"}

// defaultChecksum is what S3 keeps of an object that came without one.
const defaultChecksum = "crc64nvme"

func newChecksum(algorithm string, body []byte) checksum {
	h := checksums[algorithm]()
	h.Write(body)
	return checksum{algorithm, base64.StdEncoding.EncodeToString(h.Sum(nil))}
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

// announcePayload reads what the headers say of the body.
func (c *call) announcePayload() (digests, error) {
	if c.req.ContentLength < 0 && c.req.Method == http.MethodPut {
		return digests{}, refusal(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	return readDigests(c.req.Header)
}

// readPayload reads the body, verifies it against the signed hash and against
// every digest that came with it, and returns it decoded. To the digests that
// its headers announced it adds the one that follows it.
func (c *call) readPayload(sent digests) ([]byte, digests, error) {
	r := c.req
	fail := func(err error) ([]byte, digests, error) { return nil, digests{}, err }
	body, err := readBody(r, maxObject+maxObject/8) // with room for chunk headers
	switch {
	case errors.Is(err, errTooLarge):
		return fail(tooLarge())
	case err != nil:
		return fail(incompleteBody())
	}

	switch claimed := r.Header.Get("X-Amz-Content-Sha256"); {
	case claimed == unsigned:
	case claimed == unsignedTrailer && c.s3.key == "":
		return fail(invalidRequest("The value of x-amz-content-sha256 header is invalid."))
	case claimed == unsignedTrailer:
		var trailer checksum
		if body, trailer, err = decodeChunks(r.Header, body); err != nil {
			return fail(err)
		}
		if trailer.name != "" {
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

func invalidRequest(message string) *Error {
	return refusal(http.StatusBadRequest, "InvalidRequest", message)
}

// readDigests reads the digests in headers, and checks that they go together
// with each other and with the one that the trailer is going to bring.
func readDigests(h http.Header) (digests, error) {
	var d digests
	if _, ok := h["Content-Md5"]; ok { // even if it is empty
		s := h.Get("Content-Md5")
		var err error
		if d.md5, err = base64.StdEncoding.DecodeString(s); err != nil || len(d.md5) != md5.Size {
			return d, refusal(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.", Element{"Content-MD5", s})
		}
	}
	for header := range h {
		name, ok := checksumHeader(header)
		if !ok {
			continue
		}
		if d.checksum.name != "" {
			return d, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		d.checksum = checksum{name, h.Get(header)}
	}
	announced, trailing := announcedChecksum(h)
	switch algorithm := strings.ToLower(h.Get("X-Amz-Sdk-Checksum-Algorithm")); {
	case trailing && d.checksum.name != "":
		return d, invalidRequest("Expecting a single x-amz-checksum- header")
	case algorithm == "" || algorithm == d.checksum.name || trailing && algorithm == announced:
	case trailing || d.checksum.name != "":
		return d, invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	default:
		return d, invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	if d.checksum.name != "" {
		return d, d.checksum.check("header")
	}
	return d, nil
}

// checksumHeader returns the algorithm of a header that is a checksum. Some
// that are called like one are not.
func checksumHeader(name string) (algorithm string, ok bool) {
	algorithm, ok = strings.CutPrefix(strings.ToLower(name), checksumPrefix)
	return algorithm, ok && algorithm != "mode" && algorithm != "algorithm" && algorithm != "type"
}

// announcedChecksum is the algorithm of the checksum that X-Amz-Trailer says
// will follow the body.
func announcedChecksum(h http.Header) (algorithm string, ok bool) {
	return strings.CutPrefix(strings.ToLower(strings.TrimSpace(h.Get("X-Amz-Trailer"))), checksumPrefix)
}

// check tells whether the value can be one of its algorithm at all. Where says
// where it was sent: in a header or a trailing header.
func (c checksum) check(where string) error {
	algorithm, ok := checksums[c.name]
	switch {
	case slices.Contains(notVerified, c.name):
		return headerNotImplemented(checksumPrefix + c.name)
	case !ok:
		return invalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.")
	}
	if sum, err := base64.StdEncoding.DecodeString(c.value); err != nil || len(sum) != algorithm().Size() {
		return invalidRequest("Value for " + checksumPrefix + c.name + " " + where + " is invalid.")
	}
	return nil
}

func (d digests) verify(body []byte) error {
	if sum := md5.Sum(body); d.md5 != nil && !bytes.Equal(d.md5, sum[:]) {
		return refusal(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.",
			Element{"ExpectedDigest", hex.EncodeToString(d.md5)}, Element{"CalculatedDigest", base64.StdEncoding.EncodeToString(sum[:])})
	}
	if d.checksum.name == "" {
		return nil
	}
	if newChecksum(d.checksum.name, body) != d.checksum {
		return refusal(http.StatusBadRequest, "BadDigest",
			"The "+strings.ToUpper(d.checksum.name)+" you specified did not match the calculated checksum.")
	}
	return nil
}

// minChunk is the least size of a chunk that is not the last.
const minChunk = 8192

// decodeChunks reads the aws-chunked encoding without chunk signatures:
// "<hex size>\r\n<bytes>\r\n" … "0\r\n[<trailer>:<value>\r\n]\r\n".
func decodeChunks(h http.Header, wire []byte) ([]byte, checksum, error) {
	fail := func(err error) ([]byte, checksum, error) { return nil, checksum{}, err }
	length, err := strconv.Atoi(h.Get("X-Amz-Decoded-Content-Length"))
	if err != nil || length < 0 {
		return fail(refusal(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."))
	}
	if length > maxObject {
		return fail(tooLarge())
	}
	body := make([]byte, 0, min(length, len(wire)))
	previous := uint64(minChunk)
	for n := 1; ; n++ {
		line, rest, ok := bytes.Cut(wire, []byte("\r\n"))
		if !ok {
			return fail(incompleteBody())
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return fail(incompleteBody())
		}
		if size == 0 {
			wire = rest
			break
		}
		if previous < minChunk {
			return fail(refusal(http.StatusBadRequest, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes",
				Element{"Chunk", strconv.Itoa(n)}, Element{"BadChunkSize", strconv.FormatUint(previous, 10)}))
		}
		if uint64(len(rest)) < size+2 || string(rest[size:size+2]) != "\r\n" {
			return fail(incompleteBody())
		}
		body = append(body, rest[:size]...)
		wire = rest[size+2:]
		previous = size
	}
	if len(body) != length {
		return fail(refusal(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header",
			Element{"NumberBytesExpected", strconv.Itoa(length)}, Element{"NumberBytesProvided", strconv.Itoa(len(body))}))
	}
	trailer, err := readTrailer(h, wire)
	return body, trailer, err
}

// readTrailer reads what follows the last chunk: the checksum that was
// announced and nothing else, and an empty line.
func readTrailer(h http.Header, wire []byte) (checksum, error) {
	line, ok := bytes.CutSuffix(wire, []byte("\r\n"))
	announced, trailing := announcedChecksum(h)
	switch {
	case !ok || len(line) > 0 && !bytes.HasSuffix(line, []byte("\r\n")):
		return checksum{}, incompleteBody()
	case len(line) == 0 && h.Get("X-Amz-Trailer") == "":
		return checksum{}, nil
	}
	name, value, ok := strings.Cut(string(bytes.TrimSuffix(line, []byte("\r\n"))), ":")
	if !ok || !trailing || strings.ToLower(strings.TrimSpace(name)) != checksumPrefix+announced {
		return checksum{}, malformedTrailer()
	}
	c := checksum{announced, strings.TrimSpace(value)}
	return c, c.check("trailing header")
}

func malformedTrailer() *Error {
	return refusal(http.StatusBadRequest, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.")
}
