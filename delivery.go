package auditdrain

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Delivery is where a drain writes, and how. The only type so far is "s3".
type Delivery struct {
	Type          string `json:"type"`
	Endpoint      string `json:"endpoint"` // s3://bucket[/prefix]
	Encoding      string `json:"encoding"`
	Compression   string `json:"compression"`
	FileStructure string `json:"fileStructure"`
	RoleARN       string `json:"roleArn"`
	Region        string `json:"region"`
	// ServerSideEncryption and ObjectACL are sent as headers exactly when
	// they are set.
	ServerSideEncryption string `json:"serverSideEncryption,omitempty"`
	ObjectACL            string `json:"objectAcl,omitempty"`
	// Integrity has signed manifests written beside the objects, which prove that
	// nothing is missing.
	Integrity bool `json:"integrity,omitempty"`

	// Headers and Secret belong to deliveries of type "http", but some clients
	// send them with every type: empty ones are dropped by WithDefaults.
	Headers json.RawMessage `json:"headers,omitempty"`
	Secret  json.RawMessage `json:"secret,omitempty"`
}

// What a delivery's fields may be.
var (
	Encodings   = []string{"json", "ndjson"}
	Encryptions = []string{"AES256", "aws:kms", "aws:kms:dsse"}
	ObjectACLs  = []string{"private", "bucket-owner-read", "bucket-owner-full-control"}
)

var (
	bucketRE  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	roleARNRE = regexp.MustCompile(`^arn:(aws[a-z0-9-]*):iam::(\d{12}):role/([\x21-\x7E]+/)?([A-Za-z0-9+=,.@_-]{1,64})$`)
)

// maxRoleARNLen is what sts:AssumeRole takes.
const maxRoleARNLen = 2048

// WithDefaults fills in the fields that clients may leave out.
func (d Delivery) WithDefaults() Delivery {
	switch string(d.Headers) {
	case "null", "{}":
		d.Headers = nil
	}
	switch string(d.Secret) {
	case "null", `""`:
		d.Secret = nil
	}
	if d.Compression == "" {
		d.Compression = "none"
	}
	if d.FileStructure == "" {
		d.FileStructure = "hive"
	}
	return d
}

// Validate returns every problem with d, each naming the field as it is
// called in a request, the value and what is allowed. partitionOf tells the
// AWS partition of a region, and false for a region that it does not know.
func (d Delivery) Validate(partitionOf func(region string) (string, bool)) []Problem {
	var ps []Problem
	bad := func(field, format string, args ...any) {
		ps = append(ps, Problem{Field: "delivery." + field, Message: fmt.Sprintf(format, args...)})
	}
	oneOf := func(field, value string, allowed []string) {
		if !slices.Contains(allowed, value) {
			bad(field, "%q is not allowed: use one of %s", value, quoted(allowed))
		}
	}
	if d.Type == "http" {
		bad("type", `"http" is not available yet: use "s3"`)
		return ps
	}
	if d.Type != "s3" {
		bad("type", `%q is not allowed: use "s3"`, d.Type)
		return ps
	}
	if d.Headers != nil {
		bad("headers", `not available for type "s3": leave it out`)
	}
	if d.Secret != nil {
		bad("secret", `not available for type "s3": leave it out`)
	}
	if err := validEndpoint(d.Endpoint); err != "" {
		bad("endpoint", "%q is not allowed: %s", d.Endpoint, err)
	}
	oneOf("encoding", d.Encoding, Encodings)
	oneOf("compression", d.Compression, []string{"none"})
	oneOf("fileStructure", d.FileStructure, []string{"hive"})
	if d.ServerSideEncryption != "" {
		oneOf("serverSideEncryption", d.ServerSideEncryption, Encryptions)
	}
	if d.ObjectACL != "" {
		oneOf("objectAcl", d.ObjectACL, ObjectACLs)
	}

	partition, known := partitionOf(d.Region)
	if !known {
		bad("region", `%q is not a region that is known here: use one such as "us-east-1"`, d.Region)
	}
	switch arn, ok := ParseRoleARN(d.RoleARN); {
	case !ok || len(d.RoleARN) > maxRoleARNLen:
		bad("roleArn", `%q is not an IAM role ARN: use "arn:aws:iam::" and 12 digits and ":role/" and the role's path and name`, d.RoleARN)
	case known && arn.Partition != partition:
		bad("roleArn", "%q is in partition %q, but region %q is in partition %q: role and bucket must be in the same", d.RoleARN, arn.Partition, d.Region, partition)
	}
	return ps
}

// ValidateWriter returns the problem of a region in another partition than the
// identity that would write there: neither AWS knows the other. An empty
// writerARN, or a region that partitionOf does not know, has none.
func (d Delivery) ValidateWriter(writerARN string, partitionOf func(region string) (string, bool)) []Problem {
	ours, _, _ := strings.Cut(strings.TrimPrefix(writerARN, "arn:"), ":")
	theirs, known := partitionOf(d.Region)
	if writerARN == "" || !known || ours == theirs {
		return nil
	}
	return []Problem{{Field: "delivery.region", Message: fmt.Sprintf(
		"%q is in partition %q, but the platform writes as %s of partition %q: use a bucket and a role in that partition", d.Region, theirs, writerARN, ours)}}
}

// RoleARN is an IAM role's ARN in its parts.
type RoleARN struct {
	Partition string
	Account   string // 12 digits
	Name      string // without the path
}

// ParseRoleARN splits s, and reports whether it is the ARN of an IAM role.
func ParseRoleARN(s string) (RoleARN, bool) {
	m := roleARNRE.FindStringSubmatch(s)
	if m == nil {
		return RoleARN{}, false
	}
	return RoleARN{Partition: m[1], Account: m[2], Name: m[4]}, true
}

// SplitEndpoint returns bucket and key prefix of an endpoint that has been
// validated. The prefix has no slash at either end and may be empty.
func (d Delivery) SplitEndpoint() (bucket, prefix string) {
	bucket, prefix, _ = strings.Cut(strings.TrimPrefix(d.Endpoint, "s3://"), "/")
	return bucket, prefix
}

// validEndpoint says what is wrong with an S3 endpoint, or "".
// The bucket rules are those for general purpose buckets:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func validEndpoint(s string) string {
	rest, ok := strings.CutPrefix(s, "s3://")
	if !ok {
		return "use s3://bucket or s3://bucket/prefix"
	}
	bucket, prefix, hasPrefix := strings.Cut(rest, "/")
	switch {
	case !bucketRE.MatchString(bucket):
		return "a bucket name has 3 to 63 of a-z, 0-9, . and -, and begins and ends with a letter or digit"
	case strings.Contains(bucket, ".."):
		return "a bucket name must not contain two periods in a row"
	case isIPv4(bucket):
		return "a bucket name must not look like an IP address"
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(bucket, p) {
			return fmt.Sprintf("a bucket name must not begin with %q", p)
		}
	}
	for _, p := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(bucket, p) {
			return fmt.Sprintf("a bucket name must not end with %q", p)
		}
	}
	if !hasPrefix {
		return ""
	}
	switch {
	case prefix == "":
		return "leave out the slash after the bucket name"
	case len(prefix) > MaxPrefixLen:
		return fmt.Sprintf("a prefix has at most %d bytes", MaxPrefixLen)
	case strings.HasPrefix(prefix, "/"), strings.HasSuffix(prefix, "/"), strings.Contains(prefix, "//"):
		return "a prefix must not begin or end with a slash, nor contain two in a row"
	case strings.Contains(prefix, ".."):
		return "a prefix must not contain two periods in a row"
	case !printable(prefix):
		return "a prefix must be UTF-8 without control characters"
	case strings.ContainsAny(prefix, "*?${}"):
		return "a prefix must not contain * ? $ { or }, which IAM policies give a meaning to"
	case slices.Contains(strings.Split(prefix, "/"), "."):
		return `a prefix must not contain "." as a folder`
	}
	return ""
}

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

// ContentType is the media type of the objects that d writes.
func (d Delivery) ContentType() string {
	if d.Encoding == "ndjson" {
		return "application/x-ndjson"
	}
	return "application/json"
}

// ObjectBody returns the bytes of e's object: a pure function of its
// arguments, so that a retry writes the identical object. It may share memory
// with e.Body.
func (d Delivery) ObjectBody(e Event) []byte {
	if d.Encoding == "ndjson" {
		return d.AppendBody(make([]byte, 0, len(e.Body)+1), e)
	}
	return e.Body
}

// AppendBody appends what ObjectBody returns to b.
func (d Delivery) AppendBody(b []byte, e Event) []byte {
	b = append(b, e.Body...)
	if d.Encoding == "ndjson" {
		b = append(b, '\n')
	}
	return b
}

// ObjectKey returns the key of e's object, a pure function of its arguments:
//
//	[prefix/][test/]schema=audit_log/version=v1/year=YYYY/month=MM/day=DD/YYYYMMDDTHHMMSS.mmmZ_ID.json
//
// All dates are UTC, from the event's own timestamp. See docs/bucket-format.md.
func (d Delivery) ObjectKey(e Event, test bool) string {
	_, prefix := d.SplitEndpoint()
	b := make([]byte, 0, 256) // most keys are shorter
	if prefix != "" {
		b = append(append(b, prefix...), '/')
	}
	if test {
		b = append(b, "test/"...)
	}
	b = appendTime(append(b, "schema=audit_log/version=v1/"...), time.UnixMilli(e.Timestamp).UTC())
	b = append(b, e.ID...)
	if d.Encoding == "ndjson" {
		b = append(b, ".jsonl"...)
	} else {
		b = append(b, ".json"...)
	}
	return string(b)
}

// appendTime is t.AppendFormat(b, "year=2006/month=01/day=02/20060102T150405.000Z_"),
// of four-digit years, in a fifth of the time: each event's key has it.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(append(b, "year="...), year, 4)
	b = appendDigits(append(b, "/month="...), int(month), 2)
	b = appendDigits(append(b, "/day="...), day, 2)
	b = appendDigits(append(b, '/'), year*10_000+int(month)*100+day, 8)
	b = appendDigits(append(b, 'T'), hour*10_000+minute*100+second, 6)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1_000_000, 3)
	return append(b, "Z_"...)
}

// appendDigits appends the last digits of n.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "00000000"[:digits]...)
	for i := range digits {
		b[len(b)-1-i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
