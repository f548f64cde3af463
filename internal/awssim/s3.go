package awssim

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/auditdrain/auditdrain/internal/iam"
)

const (
	maxKey = 1024
)

// s3Target is where a request goes.
type s3Target struct {
	op     string // "" for what is not simulated
	bucket string
	key    string
	region string // of the host name; "" where it has none, which stands for any
}

var s3HostRE = regexp.MustCompile(`^(?:(.+)\.)?s3(?:-fips)?(?:\.dualstack)?(?:\.([a-z0-9-]+))?\.(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|csp\.hci\.ic\.gov|cloud\.adc-e\.uk|localhost)$`)

// parseS3 reads bucket and key from host and path, in either addressing style.
func (s *Sim) parseS3(r *http.Request) s3Target {
	var t s3Target
	host := hostname(r)
	path := strings.TrimPrefix(r.URL.Path, "/")
	if m := s3HostRE.FindStringSubmatch(host); m != nil {
		t.bucket, t.region = m[1], m[2]
	} else if name, ok := strings.CutSuffix(host, ".localhost"); ok {
		t.bucket = name
	}
	if t.bucket == "" {
		t.bucket, path, _ = strings.Cut(path, "/")
	}
	t.key = path
	t.op = s3Op(r.Method, t, r.URL.Query())
	return t
}

func s3Op(method string, t s3Target, query url.Values) string {
	ops := map[string]string{
		http.MethodPut: "CreateBucket", http.MethodHead: "HeadBucket", http.MethodGet: "ListObjectsV2", http.MethodDelete: "DeleteBucket",
	}
	switch {
	case t.bucket == "":
		return ""
	case t.key != "":
		ops = map[string]string{
			http.MethodPut: "PutObject", http.MethodHead: "HeadObject", http.MethodGet: "GetObject", http.MethodDelete: "DeleteObject",
		}
	}
	op := ops[method]
	if op == "ListObjectsV2" && query.Get("list-type") != "2" {
		return ""
	}
	// Subresources are other operations: ?acl, ?tagging, ?uploads, …
	for name := range query {
		known := name == "x-id" || op == "ListObjectsV2" && slices.Contains(listParams, name)
		if !known && name != "X-Amz-Signature" && !strings.HasPrefix(name, "X-Amz-") {
			return ""
		}
	}
	return op
}

// The x-amz- headers and conditions that are heeded: by all operations, and by
// single ones.
var (
	knownHeaders = []string{
		"x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length", "x-amz-expected-bucket-owner",
		"x-amz-sdk-checksum-algorithm", "x-amz-security-token", "x-amz-trailer", "x-amz-user-agent",
	}
	knownHeadersOf = map[string][]string{
		"CreateBucket": {"x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"},
		"DeleteObject": {"x-amz-bypass-governance-retention"},
		"GetObject":    {"x-amz-checksum-mode"},
		"HeadObject":   {"x-amz-checksum-mode"},
		"PutObject":    {"if-match", "if-none-match", "x-amz-acl", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"},
	}
)

// unknownHeader returns a header of the request that would be ignored, and is
// to be refused instead, or "".
func unknownHeader(op string, h http.Header) string {
	for name := range h {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") && !strings.HasPrefix(lower, "if-") && lower != "range" ||
			slices.Contains(knownHeaders, lower) || slices.Contains(knownHeadersOf[op], lower) {
			continue
		}
		if _, digest := checksumHeader(name); !digest && !(op == "PutObject" && strings.HasPrefix(lower, metaPrefix)) {
			return name
		}
	}
	return ""
}

func (c *call) doS3() (reply, error) {
	b, exists := c.sim.bucket(c.s3.bucket)
	creating := c.s3.op == "CreateBucket"
	if exists && !creating && c.s3.region != "" && c.s3.region != b.Region {
		_, suffix := iam.Partition(b.Region)
		return reply{}, refusal(http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
			Element{"Endpoint", b.Name + ".s3." + b.Region + "." + suffix}, Element{"Bucket", b.Name}).
			withHeader("X-Amz-Bucket-Region", b.Region)
	}
	region := c.s3.region
	if exists && !creating {
		region = b.Region
	}
	if err := c.authenticateS3(region); err != nil {
		return reply{}, err
	}
	sent, err := c.announcePayload()
	if err != nil {
		return reply{}, err
	}
	var body []byte
	if c.s3.op != "PutObject" { // which reads it once it is permitted
		if body, _, err = c.readPayload(sent); err != nil {
			return reply{}, err
		}
	}
	if c.s3.op == "" {
		return reply{}, notSimulated(c.req.Method + " " + c.req.URL.RequestURI())
	}
	if name := unknownHeader(c.s3.op, c.req.Header); name != "" {
		return reply{}, headerNotImplemented(name)
	}
	if len(c.s3.key) > maxKey {
		return reply{}, refusal(http.StatusBadRequest, "KeyTooLongError", "Your key is too long",
			Element{"Size", strconv.Itoa(len(c.s3.key))}, Element{"MaxSizeAllowed", strconv.Itoa(maxKey)})
	}
	if creating {
		return c.createBucket(body)
	}
	if !exists {
		return reply{}, noSuchBucket(c.s3.bucket)
	}
	if owner := c.req.Header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" {
		if !accountRE.MatchString(owner) {
			return reply{}, refusal(http.StatusBadRequest, "InvalidBucketOwnerAWSAccountID", "The value of the expected bucket owner parameter must be an AWS Account ID... ["+owner+"]")
		}
		if owner != b.Account {
			return reply{}, accessDeniedPlain()
		}
	}
	switch c.s3.op {
	case "PutObject":
		return c.putObject(b, sent)
	case "GetObject", "HeadObject":
		return c.getObject(b)
	case "DeleteObject":
		return c.deleteObject(b)
	case "ListObjectsV2":
		return c.listObjects(b)
	case "DeleteBucket":
		return c.deleteBucket(b)
	default:
		return c.headBucket(b)
	}
}

func (c *call) getObject(b Bucket) (reply, error) {
	if err := c.authorizeS3(b, "s3:GetObject", c.s3.key, nil); err != nil {
		return reply{}, err
	}
	o, err := c.sim.objects.get(b.Name, c.s3.key)
	if errors.Is(err, errNoObject) {
		// Who may not list learns not even that the key does not exist.
		if err := c.authorizeS3(b, "s3:ListBucket", "", nil); err != nil {
			return reply{}, err
		}
		return reply{}, noSuchKey(c.s3.key)
	}
	if err != nil {
		return reply{}, err
	}
	rep := c.s3Reply(http.StatusOK, nil)
	if c.s3.op == "GetObject" {
		if o.KMSKeyARN != "" {
			if _, err := c.authorizeKMS(b, "kms:Decrypt", o.KMSKeyARN, objectARN(b, o.Key)); err != nil {
				return reply{}, err
			}
		}
		if rep.body, err = o.Read(); err != nil {
			return reply{}, err
		}
	}
	h := rep.header
	h.Set("Etag", `"`+o.ETag+`"`)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(o.Size, 10)) // for HEAD
	h.Set("Content-Type", cmp.Or(o.ContentType, "binary/octet-stream"))
	if o.ContentEncoding != "" {
		h.Set("Content-Encoding", o.ContentEncoding)
	}
	for name, value := range o.passing {
		h.Set(name, value)
	}
	setEncryption(h, cmp.Or(o.Encryption, "AES256"), o.KMSKeyARN)
	for name, value := range o.Metadata {
		h.Set(metaPrefix+name, value)
	}
	if c.req.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && o.checksum.name != "" {
		h.Set(checksumPrefix+o.checksum.name, o.checksum.value)
		h.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
	return rep, nil
}

func setEncryption(h http.Header, algorithm, keyARN string) {
	h.Set("X-Amz-Server-Side-Encryption", algorithm)
	if keyARN != "" {
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", keyARN)
	}
}

func (c *call) deleteObject(b Bucket) (reply, error) {
	if err := c.authorizeS3(b, "s3:DeleteObject", c.s3.key, nil); err != nil {
		return reply{}, err
	}
	if c.req.Header.Get("X-Amz-Bypass-Governance-Retention") == "true" {
		if err := c.authorizeS3(b, "s3:BypassGovernanceRetention", c.s3.key, nil); err != nil {
			return reply{}, err
		}
	}
	if b.ObjectLock {
		return reply{}, notSimulated("the delete markers of buckets with Object Lock")
	}
	if err := c.sim.objects.remove(b.Name, c.s3.key); err != nil {
		return reply{}, err
	}
	return c.s3Reply(http.StatusNoContent, nil), nil
}

func objectARN(b Bucket, key string) string { return bucketARN(b) + "/" + key }

func noSuchBucket(name string) *Error {
	return refusal(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", Element{"BucketName", name})
}

func noSuchKey(key string) *Error {
	return refusal(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", Element{"Key", key})
}

func invalidArgument(message, name, value string) *Error {
	return refusal(http.StatusBadRequest, "InvalidArgument", message, Element{"ArgumentName", name}, Element{"ArgumentValue", value})
}
