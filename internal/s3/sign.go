package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/s3/wire"
)

// form is what the PUTs of one destination have in common.
type form struct {
	path   string // escaped, as far as the key
	region string
	fields []field // in the order in which they are signed
}

// field is a header of a PUT.
type field struct {
	signed string // "content-type:"; the SigV4 form
	sent   string // "Content-Type: "; "" if package wire sends it
	kind   fieldKind
	value  []byte // if it is always the same
}

// fieldKind says where a field's value comes from.
type fieldKind int

const (
	fixed fieldKind = iota
	condition
	bodyLength
	bodySHA256Hex
	bodySHA256Base64
	signingTime
	sessionToken
)

// kind is what a form is for.
type kind struct {
	contentType string
	metadata    map[string]string // sent as x-amz-meta-NAME
	rehearsal   bool              // the checksums are wrong
}

// newForm returns the form of PUTs of a delivery to a host and the path that all
// keys are below.
func newForm(d auditdrain.Delivery, host, path, owner string, of kind) (*form, error) {
	f := &form{path: string(appendEscaped(nil, strings.TrimSuffix(path, "/")+"/")), region: d.Region}
	add := func(name string, kind fieldKind, value string) {
		f.fields = append(f.fields, field{signed: strings.ToLower(name) + ":", sent: name + ": ", kind: kind, value: []byte(value)})
	}
	// By name, as SigV4 has them.
	f.fields = append(f.fields, field{signed: "content-length:", kind: bodyLength})
	if of.rehearsal {
		add("Content-Md5", fixed, wrongMD5)
	}
	add("Content-Type", fixed, of.contentType)
	f.fields = append(f.fields, field{signed: "host:", kind: fixed, value: []byte(host)})
	add("If-None-Match", condition, "*")
	if d.ObjectACL != "" {
		add("X-Amz-Acl", fixed, d.ObjectACL)
	}
	if of.rehearsal {
		add("X-Amz-Checksum-Sha256", fixed, wrongSHA256)
	} else {
		add("X-Amz-Checksum-Sha256", bodySHA256Base64, "")
	}
	add("X-Amz-Content-Sha256", bodySHA256Hex, "")
	add("X-Amz-Date", signingTime, "")
	add("X-Amz-Expected-Bucket-Owner", fixed, owner)
	for _, name := range slices.Sorted(maps.Keys(of.metadata)) {
		add("X-Amz-Meta-"+name, fixed, of.metadata[name])
	}
	add("X-Amz-Security-Token", sessionToken, "")
	if d.ServerSideEncryption != "" {
		add("X-Amz-Server-Side-Encryption", fixed, d.ServerSideEncryption)
	}
	for _, x := range f.fields {
		if (x.kind == fixed || x.kind == condition) && !printable(x.value) {
			return nil, fmt.Errorf("%q cannot be sent in a header", x.signed+string(x.value))
		}
	}
	return f, nil
}

// request is a signed PUT and what signing it takes. It is used again and
// again, so that neither costs memory.
type request struct {
	path      []byte
	header    []byte
	canonical []byte // the canonical request
	names     []byte // of the signed headers
	text      []byte // that is signed

	time   []byte // 20060102T150405Z
	length []byte
	hex    [2 * sha256.Size]byte
	base64 [44]byte
}

// build makes a signed PUT of a key and a body. What it returns is good until
// it is called again.
func (r *request) build(f *form, keys *signingKeys, creds aws.Credentials, now time.Time, key string, body []byte, unconditional bool) (wire.Request, error) {
	r.time = now.UTC().AppendFormat(r.time[:0], "20060102T150405Z")
	signing, err := keys.get(creds, r.time[:len("20060102")], f.region)
	if err != nil {
		return wire.Request{}, err
	}
	r.length = strconv.AppendInt(r.length[:0], int64(len(body)), 10)
	digest := sha256.Sum256(body)
	hex.Encode(r.hex[:], digest[:])
	base64.StdEncoding.Encode(r.base64[:], digest[:])

	r.path = appendEscaped(append(r.path[:0], f.path...), key)
	r.header = append(r.header[:0], "User-Agent: auditdrain\r\n"...)
	r.names = r.names[:0]
	r.canonical = append(append(append(r.canonical[:0], "PUT\n"...), r.path...), "\n\n"...)
	for i := range f.fields {
		x := &f.fields[i]
		value := x.value
		switch x.kind {
		case condition:
			if unconditional {
				continue
			}
		case bodyLength:
			value = r.length
		case bodySHA256Hex:
			value = r.hex[:]
		case bodySHA256Base64:
			value = r.base64[:]
		case signingTime:
			value = r.time
		case sessionToken:
			if value = signing.token; len(value) == 0 {
				continue
			}
		}
		r.canonical = append(append(append(r.canonical, x.signed...), value...), '\n')
		r.names = append(append(r.names, x.signed[:len(x.signed)-1]...), ';')
		if x.sent != "" {
			r.header = append(append(append(r.header, x.sent...), value...), "\r\n"...)
		}
	}
	r.names = r.names[:len(r.names)-1] // the last semicolon
	r.canonical = append(append(append(append(r.canonical, '\n'), r.names...), '\n'), r.hex[:]...)

	// The HMAC's inner key goes before what it is of.
	r.text = append(append(r.text[:0], signing.inner[:]...), "AWS4-HMAC-SHA256\n"...)
	r.text = append(append(append(append(r.text, r.time...), '\n'), signing.scope...), '\n')
	digest = sha256.Sum256(r.canonical)
	r.text = hex.AppendEncode(r.text, digest[:])
	digest = sha256.Sum256(r.text)
	r.text = append(append(r.text[:0], signing.outer[:]...), digest[:]...)
	digest = sha256.Sum256(r.text)

	r.header = append(append(r.header, "Authorization: AWS4-HMAC-SHA256 Credential="...), creds.AccessKeyID...)
	r.header = append(append(append(r.header, '/'), signing.scope...), ", SignedHeaders="...)
	r.header = append(append(r.header, r.names...), ", Signature="...)
	r.header = append(hex.AppendEncode(r.header, digest[:]), "\r\n"...)
	return wire.Request{Path: r.path, Header: r.header, Body: body}, nil
}

// signingKeys derives signing keys and remembers the last one: it is good for
// one day, region and credential.
type signingKeys struct{ last atomic.Pointer[signingKey] }

type signingKey struct {
	id, secret string
	token      []byte
	scope      string // 20060102/region/s3/aws4_request

	// The key, as the two halves of HMAC begin with it.
	inner, outer [sha256.BlockSize]byte
}

// get returns the key for creds on a day in a region, which is always the same
// for one signingKeys.
func (k *signingKeys) get(creds aws.Credentials, day []byte, region string) (*signingKey, error) {
	if last := k.last.Load(); last != nil && last.id == creds.AccessKeyID && last.secret == creds.SecretAccessKey &&
		string(last.token) == creds.SessionToken && last.scope[:len(day)] == string(day) {
		return last, nil
	}
	next := &signingKey{
		id: creds.AccessKeyID, secret: creds.SecretAccessKey, token: []byte(creds.SessionToken),
		scope: string(day) + "/" + region + "/s3/aws4_request",
	}
	if !printable([]byte(next.id)) || len(next.token) > 0 && !printable(next.token) {
		return nil, errors.New("STS gave a session that cannot be sent in a header")
	}
	key := []byte("AWS4" + creds.SecretAccessKey)
	for part := range strings.SplitSeq(next.scope, "/") {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	copy(next.inner[:], key)
	copy(next.outer[:], key)
	for i := range next.inner {
		next.inner[i] ^= 0x36
		next.outer[i] ^= 0x5c
	}
	k.last.Store(next)
	return next, nil
}

// printable reports whether s can be signed and sent as a header's value as it
// is: visible characters of ASCII and no spaces, which SigV4 would fold.
func printable(value []byte) bool {
	for _, c := range value {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(value) > 0
}

// appendEscaped appends a path with every byte escaped but the unreserved
// characters of RFC 3986 and slashes. S3's canonical request has the path
// URI-encoded once, "=" as %3D: what is signed must be what is sent.
func appendEscaped(b []byte, path string) []byte {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/':
			b = append(b, c)
		default:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
