package awssim

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

var cannedACLs = []string{
	"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read",
	"bucket-owner-read", "bucket-owner-full-control",
}

// putObject writes an object. It reads the bytes, and checks them against their
// digests, only after S3 and KMS have permitted the write: "If the message is
// rejected based on the headers, the body of the message is not sent" (Common
// Request Headers, Expect: 100-continue). That this is so of KMS too is not
// documented, but S3 needs the data key for the first byte that it stores. The
// condition is checked last, when the object is there to be put in place.
func (c *call) putObject(b Bucket, sent digests) (reply, error) {
	h := c.req.Header
	acl := h.Get("X-Amz-Acl")
	if acl != "" && !slices.Contains(cannedACLs, acl) {
		return reply{}, invalidArgument("", "x-amz-acl", acl)
	}
	algorithm, keyID, err := requestedEncryption(h, b)
	if err != nil {
		return reply{}, err
	}
	condition, err := readPrecondition(h)
	if err != nil {
		return reply{}, err
	}
	metadata, err := readMetadata(h)
	if err != nil {
		return reply{}, err
	}

	if err := c.authorizeS3(b, "s3:PutObject", c.s3.key, nil); err != nil {
		return reply{}, err
	}
	if condition.etag != "" { // who may not read must not learn it by trying
		if err := c.authorizeS3(b, "s3:GetObject", c.s3.key, nil); err != nil {
			return reply{}, err
		}
	}
	if acl != "" {
		if err := c.authorizeS3(b, "s3:PutObjectAcl", c.s3.key, nil); err != nil {
			return reply{}, err
		}
		if b.Ownership == BucketOwnerEnforced && acl != "bucket-owner-full-control" {
			return reply{}, refusal(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
		}
	}
	if _, trailing := announcedChecksum(h); b.ObjectLock && sent.md5 == nil && sent.checksum.name == "" && !trailing {
		return reply{}, refusal(http.StatusBadRequest, "InvalidRequest",
			"Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
	}
	keyARN := ""
	if keyID != "" {
		if keyARN, err = c.authorizeKMS(b, "kms:GenerateDataKey", keyID, objectARN(b, c.s3.key)); err != nil {
			return reply{}, err
		}
	}
	body, sent, err := c.readPayload(sent)
	if err != nil {
		return reply{}, err
	}

	o := Object{
		Bucket:          b.Name,
		Key:             c.s3.key,
		Modified:        c.now,
		ETag:            md5Hex(body),
		ContentType:     h.Get("Content-Type"),
		ContentEncoding: contentEncoding(h),
		Encryption:      algorithm,
		KMSKeyARN:       keyARN,
		ACL:             acl,
		Writer:          c.who.principal.ARN,
		Metadata:        metadata,
		checksum:        sent.checksum,
	}
	if o.checksum.name == "" {
		o.checksum = newChecksum(defaultChecksum, body)
	}
	if algorithm != "AES256" {
		o.ETag = randomHex(16) // no MD5 of anything that a client knows
	}
	for _, name := range []string{"Cache-Control", "Content-Disposition", "Content-Language", "Expires"} {
		if value := h.Get(name); value != "" {
			if o.passing == nil {
				o.passing = map[string]string{}
			}
			o.passing[name] = value
		}
	}
	switch o, err = c.sim.objects.put(o, body, condition); {
	case errors.Is(err, errExists):
		return reply{}, preconditionFailed("If-None-Match")
	case errors.Is(err, errNoMatch):
		return reply{}, preconditionFailed("If-Match")
	case errors.Is(err, errNoObject):
		return reply{}, noSuchKey(o.Key)
	case errors.Is(err, errNoBucket):
		return reply{}, noSuchBucket(b.Name)
	case errors.Is(err, errUnfit):
		return reply{}, notSimulated("keys that cannot be file names: " + c.s3.key)
	case err != nil:
		return reply{}, err
	}

	rep := c.s3Reply(http.StatusOK, nil)
	rep.header.Set("Etag", `"`+o.ETag+`"`)
	setEncryption(rep.header, algorithm, keyARN)
	rep.header.Set(checksumPrefix+o.checksum.name, o.checksum.value)
	rep.header.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	return rep, nil
}

// precondition is under which condition an object may be written.
type precondition struct {
	onlyNew bool   // If-None-Match: *
	etag    string // If-Match, without quotes; "" for none
}

// readPrecondition refuses what S3 itself does not implement, which is all but
// one of "If-None-Match: *" and If-Match with an ETag.
func readPrecondition(h http.Header) (precondition, error) {
	p := precondition{onlyNew: h.Get("If-None-Match") == "*", etag: strings.Trim(h.Get("If-Match"), `"`)}
	switch {
	case h.Get("If-None-Match") != "" && (!p.onlyNew || p.etag != ""):
		return p, ConditionNotImplemented()
	case p.etag == "*":
		return p, headerNotImplemented("If-Match")
	}
	return p, nil
}

// check tells why a write over old, if there is an object, may not happen.
func (p precondition) check(old Object, exists bool) error {
	switch {
	case p.onlyNew && exists:
		return errExists
	case p.etag != "" && !exists:
		return errNoObject
	case p.etag != "" && p.etag != old.ETag:
		return errNoMatch
	}
	return nil
}

func preconditionFailed(condition string) *Error {
	return refusal(http.StatusPreconditionFailed, "PreconditionFailed",
		"At least one of the pre-conditions you specified did not hold", Element{"Condition", condition})
}

// maxMetadata bounds the names and values of an object's metadata together.
const maxMetadata = 2048

func readMetadata(h http.Header) (map[string]string, error) {
	var metadata map[string]string
	size := 0
	for name, values := range h {
		meta, ok := strings.CutPrefix(strings.ToLower(name), metaPrefix)
		if !ok {
			continue
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[meta] = strings.Join(values, ",")
		size += len(meta) + len(metadata[meta])
	}
	if size > maxMetadata {
		return nil, refusal(http.StatusBadRequest, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			Element{"Size", strconv.Itoa(size)}, Element{"MaxSizeAllowed", strconv.Itoa(maxMetadata)})
	}
	return metadata, nil
}

// requestedEncryption returns the algorithm for a new object, and the customer
// managed key, "" for S3's or AWS's own.
//
// AWS documents that aws:kms in the header without a key means the AWS managed
// key; the reference document of drains has people rely on its meaning the
// bucket's default key. The latter asks more of the caller's policies, so it
// is what happens here.
func requestedEncryption(h http.Header, b Bucket) (algorithm, keyID string, err error) {
	const header = "X-Amz-Server-Side-Encryption"
	algorithm, keyID = h.Get(header), h.Get(header+"-Aws-Kms-Key-Id")
	switch algorithm {
	case "aws:kms", "aws:kms:dsse":
		if keyID == "" {
			keyID = b.Encryption.KMSKeyARN
		}
		return algorithm, keyID, nil
	case "", "AES256":
		if keyID != "" {
			return "", "", invalidArgument("Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
				"x-amz-server-side-encryption", algorithm)
		}
		if algorithm == "AES256" || b.Encryption.Algorithm == "" {
			return "AES256", "", nil
		}
		return b.Encryption.Algorithm, b.Encryption.KMSKeyARN, nil
	}
	return "", "", invalidArgument("The encryption method specified is not supported", "x-amz-server-side-encryption", algorithm)
}

// contentEncoding is the object's own: aws-chunked is only of the transfer.
func contentEncoding(h http.Header) string {
	var own []string
	for e := range strings.SplitSeq(h.Get("Content-Encoding"), ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			own = append(own, e)
		}
	}
	return strings.Join(own, ",")
}
