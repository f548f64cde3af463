package awssim

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
		http.MethodPut: "CreateBucket", http.MethodHead: "HeadBucket", http.MethodGet: "ListObjectsV2",
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
		"CreateBucket": {"x-amz-object-ownership"},
		"GetObject":    {"x-amz-checksum-mode"},
		"HeadObject":   {"x-amz-checksum-mode"},
		"PutObject":    {"if-none-match", "x-amz-acl", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"},
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
		digest := strings.HasPrefix(lower, checksumPrefix) && lower != "x-amz-checksum-mode"
		if !digest && !(op == "PutObject" && strings.HasPrefix(lower, metaPrefix)) {
			return name
		}
	}
	return ""
}

func (c *call) doS3() (reply, error) {
	b, exists := c.sim.bucket(c.s3.bucket)
	creating := c.s3.op == "CreateBucket"
	if exists && !creating && c.s3.region != "" && c.s3.region != b.Region {
		_, suffix := partition(b.Region)
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
	body, sent, err := c.readPayload()
	if err != nil {
		return reply{}, err
	}
	if creating {
		return c.createBucket(body)
	}
	if !exists {
		return reply{}, refusal(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", Element{"BucketName", c.s3.bucket})
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
		return c.putObject(b, body, sent)
	case "GetObject", "HeadObject":
		return c.getObject(b)
	case "DeleteObject":
		return c.deleteObject(b)
	case "ListObjectsV2":
		return c.listObjects(b)
	default:
		return c.headBucket(b)
	}
}

func (c *call) headBucket(b Bucket) (reply, error) {
	if err := c.authorizeS3(b, "s3:ListBucket", "", nil); err != nil {
		return reply{}, err
	}
	rep := c.s3Reply(http.StatusOK, nil)
	rep.header.Set("X-Amz-Bucket-Region", b.Region)
	name, _ := partition(b.Region)
	rep.header.Set("X-Amz-Bucket-Arn", "arn:"+name+":s3:::"+b.Name)
	return rep, nil
}

// createBucket adds a bucket to the caller's account. Its configuration is
// that of any new bucket, but for the ownership that the request asks for.
func (c *call) createBucket(body []byte) (reply, error) {
	name := c.s3.bucket
	if !bucketRE.MatchString(name) || strings.Contains(name, "..") || net.ParseIP(name) != nil {
		return reply{}, refusal(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.", Element{"BucketName", name})
	}
	var config struct {
		LocationConstraint string
	}
	if len(body) > 0 {
		if err := xml.Unmarshal(body, &config); err != nil {
			return reply{}, refusal(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		}
	}
	region := cmp.Or(config.LocationConstraint, "us-east-1")
	if endpoint := cmp.Or(c.s3.region, c.scope.region); region != endpoint && endpoint != "us-east-1" {
		which := cmp.Or(config.LocationConstraint, "unspecified")
		return reply{}, refusal(http.StatusBadRequest, "IllegalLocationConstraintException",
			"The "+which+" location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	if !regionRE.MatchString(region) {
		return reply{}, refusal(http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid", Element{"LocationConstraint", region})
	}
	b := Bucket{Name: name, Account: c.who.principal.Account, Region: region}
	switch o := c.req.Header.Get("X-Amz-Object-Ownership"); o {
	case "", "BucketOwnerEnforced":
	case string(BucketOwnerPreferred), string(ObjectWriter):
		b.Ownership = Ownership(o)
	default:
		return reply{}, invalidArgument("Invalid x-amz-object-ownership header: "+o, "x-amz-object-ownership", o)
	}
	if err := c.authorizeS3(b, "s3:CreateBucket", "", map[string][]string{"s3:LocationConstraint": {region}}); err != nil {
		return reply{}, err
	}
	added, err := c.sim.addNewBucket(b)
	if err != nil {
		return reply{}, err
	}
	if !added {
		if old, _ := c.sim.bucket(name); old.Account == b.Account {
			return reply{}, refusal(http.StatusConflict, "BucketAlreadyOwnedByYou",
				"Your previous request to create the named bucket succeeded and you already own it.", Element{"BucketName", name})
		}
		return reply{}, refusal(http.StatusConflict, "BucketAlreadyExists",
			"The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
			Element{"BucketName", name})
	}
	rep := c.s3Reply(http.StatusOK, nil)
	rep.header.Set("Location", "/"+name)
	return rep, nil
}

// addNewBucket adds b unless there is a bucket of its name.
func (s *Sim) addNewBucket(b Bucket) (bool, error) {
	if err := s.objects.addBucket(b.Name); err != nil {
		return false, fmt.Errorf("create bucket: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buckets[b.Name]; ok {
		return false, nil
	}
	s.buckets[b.Name] = b
	return true, nil
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
		return reply{}, refusal(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", Element{"Key", c.s3.key})
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
	if b.ObjectLock {
		return reply{}, notSimulated("the delete markers of buckets with Object Lock")
	}
	if err := c.sim.objects.remove(b.Name, c.s3.key); err != nil {
		return reply{}, err
	}
	return c.s3Reply(http.StatusNoContent, nil), nil
}

func objectARN(b Bucket, key string) string {
	name, _ := partition(b.Region)
	return "arn:" + name + ":s3:::" + b.Name + "/" + key
}

func invalidArgument(message, name, value string) *Error {
	return refusal(http.StatusBadRequest, "InvalidArgument", message, Element{"ArgumentName", name}, Element{"ArgumentValue", value})
}
