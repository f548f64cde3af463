package auditdrain_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// keyRE is what is promised of every key under the prefix audit-logs.
var keyRE = regexp.MustCompile(`^audit-logs/schema=audit_log/version=v1/year=\d{4}/month=\d\d/day=\d\d/\d{8}T\d{6}\.\d{3}Z_[A-Za-z0-9_.-]+\.jsonl?$`)

func partitionOf(region string) (string, bool) {
	partition, ok := map[string]string{
		"us-east-1":      "aws",
		"eu-central-1":   "aws",
		"cn-north-1":     "aws-cn",
		"us-gov-west-1":  "aws-us-gov",
		"eusc-de-east-1": "aws-eusc",
	}[region]
	return partition, ok
}

func goodDelivery() auditdrain.Delivery {
	return auditdrain.Delivery{
		Type:          "s3",
		Endpoint:      "s3://acme-audit-archive/audit-logs",
		Encoding:      "ndjson",
		Compression:   "none",
		FileStructure: "hive",
		RoleARN:       "arn:aws:iam::123456789012:role/vercel-drain-writer",
		Region:        "us-east-1",
	}
}

func TestObjectKey(t *testing.T) {
	ms := func(s string) int64 {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMilli()
	}
	const hive = "schema=audit_log/version=v1/"
	tests := []struct {
		name, endpoint, encoding, at, id string
		test                             bool
		want                             string
	}{
		{"ndjson", "s3://b-b/audit-logs", "ndjson", "2026-05-22T10:00:00.123Z", "uev_1", false, "audit-logs/" + hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.jsonl"},
		{"json", "s3://b-b/audit-logs", "json", "2026-05-22T10:00:00.123Z", "uev_1", false, "audit-logs/" + hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.json"},
		{"test", "s3://b-b/audit-logs", "json", "2026-05-22T10:00:00.123Z", "uev_1", true, "audit-logs/test/" + hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.json"},
		{"no prefix", "s3://b-b", "ndjson", "2026-05-22T10:00:00.123Z", "uev_1", false, hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.jsonl"},
		{"no prefix, test", "s3://b-b", "ndjson", "2026-05-22T10:00:00.123Z", "uev_1", true, "test/" + hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.jsonl"},
		{"long prefix", "s3://b-b/a/b c/ü", "ndjson", "2026-05-22T10:00:00.123Z", "uev_1", false, "a/b c/ü/" + hive + "year=2026/month=05/day=22/20260522T100000.123Z_uev_1.jsonl"},
		{"midnight", "s3://b-b", "json", "2026-05-22T00:00:00Z", "e", false, hive + "year=2026/month=05/day=22/20260522T000000.000Z_e.json"},
		{"before midnight", "s3://b-b", "json", "2026-05-21T23:59:59.999Z", "e", false, hive + "year=2026/month=05/day=21/20260521T235959.999Z_e.json"},
		{"other time zone", "s3://b-b", "json", "2026-05-22T01:30:00+02:00", "e", false, hive + "year=2026/month=05/day=21/20260521T233000.000Z_e.json"},
		{"leap day", "s3://b-b", "json", "2024-02-29T12:00:00Z", "e", false, hive + "year=2024/month=02/day=29/20240229T120000.000Z_e.json"},
		{"end of leap day", "s3://b-b", "json", "2024-02-29T23:59:59.999Z", "e", false, hive + "year=2024/month=02/day=29/20240229T235959.999Z_e.json"},
		{"after leap day", "s3://b-b", "json", "2024-03-01T00:00:00Z", "e", false, hive + "year=2024/month=03/day=01/20240301T000000.000Z_e.json"},
		{"year end", "s3://b-b", "json", "2025-12-31T23:59:59.999Z", "e", false, hive + "year=2025/month=12/day=31/20251231T235959.999Z_e.json"},
		{"new year", "s3://b-b", "json", "2026-01-01T00:00:00Z", "e", false, hive + "year=2026/month=01/day=01/20260101T000000.000Z_e.json"},
		{"one millisecond", "s3://b-b", "json", "2026-01-01T00:00:00.001Z", "e", false, hive + "year=2026/month=01/day=01/20260101T000000.001Z_e.json"},
		{"ten milliseconds", "s3://b-b", "json", "2026-01-01T00:00:00.010Z", "e", false, hive + "year=2026/month=01/day=01/20260101T000000.010Z_e.json"},
		{"earliest", "s3://b-b", "json", "2000-01-01T00:00:00Z", "e", false, hive + "year=2000/month=01/day=01/20000101T000000.000Z_e.json"},
		{"id of dots", "s3://b-b", "json", "2026-01-01T00:00:00Z", "..", false, hive + "year=2026/month=01/day=01/20260101T000000.000Z_...json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := auditdrain.Delivery{Endpoint: tt.endpoint, Encoding: tt.encoding}
			got := d.ObjectKey(auditdrain.Event{ID: tt.id, Timestamp: ms(tt.at)}, tt.test)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestObjectBody(t *testing.T) {
	// A body is a slice of a larger buffer, which must not be written to.
	buffer := []byte(`{"n":9007199254740993}{"next":1}`)
	e := auditdrain.Event{Body: buffer[:22]}
	before := string(buffer)
	for encoding, want := range map[string]struct{ body, contentType string }{
		"json":   {`{"n":9007199254740993}`, "application/json"},
		"ndjson": {`{"n":9007199254740993}` + "\n", "application/x-ndjson"},
	} {
		d := auditdrain.Delivery{Encoding: encoding}
		if got := d.ObjectBody(e); string(got) != want.body {
			t.Errorf("%s: got %q, want %q", encoding, got, want.body)
		}
		if got := d.AppendBody([]byte("before "), e); string(got) != "before "+want.body {
			t.Errorf("%s: appended %q, want %q", encoding, got, "before "+want.body)
		}
		if got := d.ContentType(); got != want.contentType {
			t.Errorf("%s: content type %q, want %q", encoding, got, want.contentType)
		}
	}
	if string(buffer) != before {
		t.Errorf("the event has become %q", buffer)
	}
}

func TestSplitEndpoint(t *testing.T) {
	for endpoint, want := range map[string][2]string{
		"s3://bucket":       {"bucket", ""},
		"s3://bucket/a":     {"bucket", "a"},
		"s3://bucket/a/b/c": {"bucket", "a/b/c"},
	} {
		bucket, prefix := auditdrain.Delivery{Endpoint: endpoint}.SplitEndpoint()
		if got := [2]string{bucket, prefix}; got != want {
			t.Errorf("%s: got %q, want %q", endpoint, got, want)
		}
	}
}

func TestDeliveryDefaults(t *testing.T) {
	got := auditdrain.Delivery{Type: "s3"}.WithDefaults()
	want := auditdrain.Delivery{Type: "s3", Compression: "none", FileStructure: "hive"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	for _, empty := range []auditdrain.Delivery{
		{Type: "s3", Headers: []byte("null"), Secret: []byte("null")},
		{Type: "s3", Headers: []byte("{}"), Secret: []byte(`""`)},
	} {
		if diff := cmp.Diff(want, empty.WithDefaults()); diff != "" {
			t.Errorf("what other types have, empty (-want +got):\n%s", diff)
		}
	}
	other := auditdrain.Delivery{Compression: "gzip", FileStructure: "flat"}
	if diff := cmp.Diff(other, other.WithDefaults()); diff != "" {
		t.Errorf("what is set must stay (-want +got):\n%s", diff)
	}
}

// What is optional must be absent from the JSON when it is not set: clients
// validate the values.
func TestDeliveryJSON(t *testing.T) {
	d := goodDelivery()
	const want = `{"type":"s3","endpoint":"s3://acme-audit-archive/audit-logs","encoding":"ndjson","compression":"none","fileStructure":"hive","roleArn":"arn:aws:iam::123456789012:role/vercel-drain-writer","region":"us-east-1"}`
	got, err := json.Marshal(d)
	if err != nil || string(got) != want {
		t.Errorf("got  %s (error %v)\nwant %s", got, err, want)
	}
	d.ServerSideEncryption, d.ObjectACL = "aws:kms", "private"
	got, err = json.Marshal(d)
	if want := strings.TrimSuffix(want, "}") + `,"serverSideEncryption":"aws:kms","objectAcl":"private"}`; err != nil || string(got) != want {
		t.Errorf("got  %s (error %v)\nwant %s", got, err, want)
	}
}

func TestDeliveryValidate(t *testing.T) {
	type change = func(*auditdrain.Delivery)
	all := []string{"delivery.endpoint", "delivery.encoding", "delivery.compression", "delivery.fileStructure", "delivery.region", "delivery.roleArn"}
	tests := []struct {
		name   string
		change change
		want   []string // fields
	}{
		{"good", func(d *auditdrain.Delivery) {}, nil},
		{"json", func(d *auditdrain.Delivery) { d.Encoding = "json" }, nil},
		{"AES256", func(d *auditdrain.Delivery) { d.ServerSideEncryption = "AES256" }, nil},
		{"KMS", func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aws:kms" }, nil},
		{"KMS twice", func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aws:kms:dsse" }, nil},
		{"private", func(d *auditdrain.Delivery) { d.ObjectACL = "private" }, nil},
		{"bucket owner reads", func(d *auditdrain.Delivery) { d.ObjectACL = "bucket-owner-read" }, nil},
		{"bucket owner controls", func(d *auditdrain.Delivery) { d.ObjectACL = "bucket-owner-full-control" }, nil},
		{"China", func(d *auditdrain.Delivery) {
			d.Region, d.RoleARN = "cn-north-1", "arn:aws-cn:iam::123456789012:role/r"
		}, nil},
		{"GovCloud", func(d *auditdrain.Delivery) {
			d.Region, d.RoleARN = "us-gov-west-1", "arn:aws-us-gov:iam::123456789012:role/r"
		}, nil},

		{"nothing but the type", func(d *auditdrain.Delivery) { *d = auditdrain.Delivery{Type: "s3"} }, all},
		{"nothing", func(d *auditdrain.Delivery) { *d = auditdrain.Delivery{} }, []string{"delivery.type"}},
		{"http", func(d *auditdrain.Delivery) { *d = auditdrain.Delivery{Type: "http", Endpoint: "https://x"} }, []string{"delivery.type"}},
		{"other type", func(d *auditdrain.Delivery) { d.Type = "S3" }, []string{"delivery.type"}},
		{"other encoding", func(d *auditdrain.Delivery) { d.Encoding = "csv" }, []string{"delivery.encoding"}},
		{"encoding in upper case", func(d *auditdrain.Delivery) { d.Encoding = "JSON" }, []string{"delivery.encoding"}},
		{"compression", func(d *auditdrain.Delivery) { d.Compression = "gzip" }, []string{"delivery.compression"}},
		{"file structure", func(d *auditdrain.Delivery) { d.FileStructure = "flat" }, []string{"delivery.fileStructure"}},
		{"encryption in lower case", func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aes256" }, []string{"delivery.serverSideEncryption"}},
		{"encryption unknown", func(d *auditdrain.Delivery) { d.ServerSideEncryption = "aws:fsx" }, []string{"delivery.serverSideEncryption"}},
		{"ACL that only readers know", func(d *auditdrain.Delivery) { d.ObjectACL = "public-read" }, []string{"delivery.objectAcl"}},
		{"ACL unknown", func(d *auditdrain.Delivery) { d.ObjectACL = "Private" }, []string{"delivery.objectAcl"}},
		{"unknown region", func(d *auditdrain.Delivery) { d.Region = "us-east-99" }, []string{"delivery.region"}},
		{"unknown region, bad role", func(d *auditdrain.Delivery) { d.Region, d.RoleARN = "", "" }, []string{"delivery.region", "delivery.roleArn"}},
		{"role of another partition", func(d *auditdrain.Delivery) { d.Region = "cn-north-1" }, []string{"delivery.roleArn"}},
		{"all wrong", func(d *auditdrain.Delivery) {
			*d = auditdrain.Delivery{Type: "s3", ServerSideEncryption: "x", ObjectACL: "x"}
		}, slices.Concat(all[:4], []string{"delivery.serverSideEncryption", "delivery.objectAcl"}, all[4:])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := goodDelivery()
			tt.change(&d)
			if diff := cmp.Diff(tt.want, problemFields(t, d.Validate(partitionOf))); diff != "" {
				t.Errorf("fields with problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeliveryValidateSays(t *testing.T) {
	for _, tt := range []struct {
		change func(*auditdrain.Delivery)
		want   string
	}{
		{func(d *auditdrain.Delivery) { d.Type = "http" }, `"http" is not available yet: use "s3"`},
		{func(d *auditdrain.Delivery) { d.Type = "gcs" }, `"gcs" is not allowed: use "s3"`},
		{func(d *auditdrain.Delivery) { d.Encoding = "csv" }, `"csv" is not allowed: use one of ["json" "ndjson"]`},
		{func(d *auditdrain.Delivery) { d.ServerSideEncryption = "kms" }, `"kms" is not allowed: use one of ["AES256" "aws:kms" "aws:kms:dsse"]`},
		{func(d *auditdrain.Delivery) { d.Region = "mars-1" }, `"mars-1" is not a region that is known here: use one such as "us-east-1"`},
		{func(d *auditdrain.Delivery) { d.Region = "cn-north-1" }, `"arn:aws:iam::123456789012:role/vercel-drain-writer" is in partition "aws", but region "cn-north-1" is in partition "aws-cn": role and bucket must be in the same`},
		{func(d *auditdrain.Delivery) { d.RoleARN = "admin" }, `"admin" is not an IAM role ARN: use "arn:aws:iam::" and 12 digits and ":role/" and the role's path and name`},
		{func(d *auditdrain.Delivery) { d.Endpoint = "https://b.s3.amazonaws.com" }, `"https://b.s3.amazonaws.com" is not allowed: use s3://bucket or s3://bucket/prefix`},
	} {
		d := goodDelivery()
		tt.change(&d)
		ps := d.Validate(partitionOf)
		if len(ps) != 1 || ps[0].Message != tt.want {
			t.Errorf("got %+v, want %s", ps, tt.want)
		}
	}
}

func TestEndpointRules(t *testing.T) {
	const (
		form   = "use s3://bucket"
		chars  = "a bucket name has 3 to 63 of a-z, 0-9, . and -"
		slash  = "a prefix must not begin or end with a slash, nor contain two in a row"
		plain  = "a prefix must be UTF-8 without control characters"
		policy = "a prefix must not contain * ? $ { or }"
		folder = `a prefix must not contain "." as a folder`
		dots   = "a prefix must not contain two periods in a row"
	)
	tests := map[string]string{ // endpoint → what is wrong, "" if nothing
		"s3://abc":                             "",
		"s3://" + strings.Repeat("a", 63):      "",
		"s3://1.2.3":                           "",
		"s3://my.bucket-1":                     "",
		"s3://1-2-3-4":                         "",
		"s3://1.2.3.4.5":                       "",
		"s3://256.1.1.1":                       "",
		"s3://abc/audit-logs":                  "",
		"s3://abc/a/b/c":                       "",
		"s3://abc/...":                         dots,
		"s3://abc/日本/ü":                        "",
		"s3://abc/a.b/.c/d.":                   "",
		"s3://abc/a=b/c+d,e;f'(!)&@:":          "",
		"s3://abc/" + strings.Repeat("a", 512): "",
		"s3://abc/" + strings.Repeat("é", 256): "",
		"s3://test":                            "",
		"s3://abc/test":                        "",
		"":                                     form,
		"abc":                                  form,
		"s3:abc":                               form,
		"S3://abc":                             form,
		" s3://abc":                            form,
		"s3a://abc":                            form,
		"https://abc.s3.amazonaws.com":         form,
		"s3://":                                chars,
		"s3:///a":                              chars,
		"s3://ab":                              chars,
		"s3://" + strings.Repeat("a", 64):      chars,
		"s3://Abc":                             chars,
		"s3://a_c":                             chars,
		"s3://-bc":                             chars,
		"s3://ab-":                             chars,
		"s3://.bc":                             chars,
		"s3://ab.":                             chars,
		"s3://abc\n":                           chars,
		"s3://abc?x":                           chars,
		"s3://abc#x":                           chars,
		"s3://user@abc":                        chars,
		"s3://abc:443":                         chars,
		"s3://äbc":                             chars,
		"s3://arn:aws:s3:us-east-1:123456789012:ap/x": chars,
		"s3://a..b":                            "a bucket name must not contain two periods in a row",
		"s3://192.168.5.4":                     "a bucket name must not look like an IP address",
		"s3://127.0.0.1/a":                     "a bucket name must not look like an IP address",
		"s3://xn--abc":                         `a bucket name must not begin with "xn--"`,
		"s3://sthree-abc":                      `a bucket name must not begin with "sthree-"`,
		"s3://amzn-s3-demo-abc":                `a bucket name must not begin with "amzn-s3-demo-"`,
		"s3://abc-s3alias":                     `a bucket name must not end with "-s3alias"`,
		"s3://abc--ol-s3":                      `a bucket name must not end with "--ol-s3"`,
		"s3://abc.mrap":                        `a bucket name must not end with ".mrap"`,
		"s3://abc--use1-az4--x-s3":             `a bucket name must not end with "--x-s3"`,
		"s3://abc--table-s3":                   `a bucket name must not end with "--table-s3"`,
		"s3://abc/":                            "leave out the slash after the bucket name",
		"s3://abc//":                           slash,
		"s3://abc//a":                          slash,
		"s3://abc/a/":                          slash,
		"s3://abc/a//b":                        slash,
		"s3://abc/" + strings.Repeat("a", 513): "a prefix has at most 512 bytes",
		"s3://abc/" + strings.Repeat("é", 256) + "a": "a prefix has at most 512 bytes",
		"s3://abc/a\x00b":          plain,
		"s3://abc/a\nb":            plain,
		"s3://abc/a\x7fb":          plain,
		"s3://abc/a\u0085b":        plain,
		"s3://abc/a\xffb":          plain,
		"s3://abc/a*":              policy,
		"s3://abc/a?b":             policy,
		"s3://abc/${aws:username}": policy,
		"s3://abc/{x":              policy,
		"s3://abc/x}":              policy,
		"s3://abc/..":              dots,
		"s3://abc/.":               folder,
		"s3://abc/../other":        dots,
		"s3://abc/a/../b":          dots,
		"s3://abc/a/./b":           folder,
		"s3://abc/a/..":            dots,
	}
	for endpoint, want := range tests {
		d := goodDelivery()
		d.Endpoint = endpoint
		ps := d.Validate(partitionOf)
		switch {
		case want == "" && len(ps) > 0:
			t.Errorf("%q: %+v", endpoint, ps)
		case want != "" && (len(ps) != 1 || ps[0].Field != "delivery.endpoint" || !strings.HasPrefix(ps[0].Message, fmt.Sprintf("%q is not allowed: %s", endpoint, want))):
			t.Errorf("%q: got %+v, want %s", endpoint, ps, want)
		}
	}
}

func TestParseRoleARN(t *testing.T) {
	arn := func(partition, account, name string) auditdrain.RoleARN {
		return auditdrain.RoleARN{Partition: partition, Account: account, Name: name}
	}
	tests := map[string]auditdrain.RoleARN{ // zero if it is not one
		"arn:aws:iam::123456789012:role/r":                               arn("aws", "123456789012", "r"),
		"arn:aws:iam::000000000000:role/A+=,.@-_9":                       arn("aws", "000000000000", "A+=,.@-_9"),
		"arn:aws:iam::123456789012:role/path/r":                          arn("aws", "123456789012", "r"),
		"arn:aws:iam::123456789012:role/a/b!~/c/r":                       arn("aws", "123456789012", "r"),
		"arn:aws:iam::123456789012:role/aws-service-role/x.y/AWSService": arn("aws", "123456789012", "AWSService"),
		"arn:aws:iam::123456789012:role/" + strings.Repeat("r", 64):      arn("aws", "123456789012", strings.Repeat("r", 64)),
		"arn:aws-cn:iam::123456789012:role/r":                            arn("aws-cn", "123456789012", "r"),
		"arn:aws-us-gov:iam::123456789012:role/r":                        arn("aws-us-gov", "123456789012", "r"),
		"arn:aws-iso-b:iam::123456789012:role/r":                         arn("aws-iso-b", "123456789012", "r"),
		"":                                                               {},
		"r":                                                              {},
		"arn:aws:iam::123456789012:role/":                                {},
		"arn:aws:iam::123456789012:role/path/":                           {},
		"arn:aws:iam::123456789012:role":                                 {},
		"arn:aws:iam::123456789012:role/a b":                             {},
		"arn:aws:iam::123456789012:role/a b/r":                           {},
		"arn:aws:iam::123456789012:role/*":                               {},
		"arn:aws:iam::123456789012:role/ä":                               {},
		"arn:aws:iam::123456789012:role/r\n":                             {},
		"arn:aws:iam::123456789012:role/" + strings.Repeat("r", 65):      {},
		"arn:aws:iam::12345678901:role/r":                                {},
		"arn:aws:iam::1234567890123:role/r":                              {},
		"arn:aws:iam::12345678901a:role/r":                               {},
		"arn:aws:iam:us-east-1:123456789012:role/r":                      {},
		"arn:aws:iam::123456789012:user/r":                               {},
		"arn:aws:iam::123456789012:root":                                 {},
		"arn:aws:sts::123456789012:assumed-role/r/session":               {},
		"arn:gcp:iam::123456789012:role/r":                               {},
		"arn:AWS:iam::123456789012:role/r":                               {},
		" arn:aws:iam::123456789012:role/r":                              {},
	}
	for s, want := range tests {
		got, ok := auditdrain.ParseRoleARN(s)
		if got != want || ok != (want != auditdrain.RoleARN{}) {
			t.Errorf("%q: got %+v, %t; want %+v", s, got, ok, want)
		}
	}
	// A path may have 512 characters, and what STS takes is the limit.
	for n, ok := range map[int]bool{512: true, 2048: true, 2049: false} {
		d := goodDelivery()
		d.RoleARN = "arn:aws:iam::123456789012:role/"
		d.RoleARN += strings.Repeat("p", n-len(d.RoleARN)-len("/r")) + "/r"
		if ps := d.Validate(partitionOf); (len(ps) == 0) != ok {
			t.Errorf("ARN of %d characters: %+v", n, ps)
		}
	}
}

func TestDrain(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	d := auditdrain.NewDrain("team_a", "archive", goodDelivery(), now)
	if !strings.HasPrefix(d.ID, "drn_") || len(d.ID) != 28 {
		t.Errorf("id %q", d.ID)
	}
	if ps := d.Validate(partitionOf); len(ps) > 0 {
		t.Errorf("a new drain: %+v", ps)
	}
	d.ID = "drn_1"
	delivery, err := json.Marshal(d.Delivery)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"drn_1","ownerId":"team_a","teamId":"team_a","name":"archive","projects":"all","createdAt":1700000000000,"updatedAt":1700000000000,` +
		`"schemas":{"audit_log":{"version":"v1"}},"delivery":` + string(delivery) + `,"source":{"kind":"self-served"},"status":"enabled","projectAccess":{"access":"all","managedBy":"drain"}}`
	if got, err := json.Marshal(d); err != nil || string(got) != want {
		t.Errorf("got  %s (error %v)\nwant %s", got, err, want)
	}

	for name, ok := range map[string]bool{
		"archive":                true,
		"Ärchiv ✓":               true,
		strings.Repeat("n", 128): true,
		"":                       false,
		strings.Repeat("n", 129): false,
		"a\nb":                   false,
		"\xff":                   false,
	} {
		d.Name = name
		ps := d.Validate(partitionOf)
		if ok && len(ps) > 0 || !ok && (len(ps) != 1 || ps[0].Field != "name") {
			t.Errorf("name %q: %+v", name, ps)
		}
	}
	d.Delivery.Region = ""
	if diff := cmp.Diff([]string{"name", "delivery.region"}, problemFields(t, auditdrain.Drain{Delivery: d.Delivery}.Validate(partitionOf))); diff != "" {
		t.Errorf("fields with problems (-want +got):\n%s", diff)
	}
}

// Whatever passes validation gives keys of the promised form and length, in
// the endpoint's prefix, and each event one of its own.
func FuzzObjectKey(f *testing.F) {
	f.Add("", "uev_1", int64(1779444000123), false, true)
	f.Add("audit-logs", "..", int64(1709251199999), true, false)
	f.Add(strings.Repeat("p/", 255)+"pp", strings.Repeat("i", 128), int64(946684800000), true, true)
	f.Add("a/../b", "a/b", int64(-1), true, true)
	f.Fuzz(func(t *testing.T, prefix, id string, timestamp int64, test, ndjson bool) {
		d := goodDelivery()
		d.Endpoint = "s3://acme-audit-archive"
		root := ""
		if prefix != "" {
			d.Endpoint += "/" + prefix
			root = prefix + "/"
		}
		d.Encoding = "json"
		if ndjson {
			d.Encoding = "ndjson"
		}
		latest := time.Now().Add(auditdrain.MaxTimestampAhead).UnixMilli()
		if len(d.Validate(partitionOf)) > 0 || !auditdrain.ValidEventID(id) || timestamp < auditdrain.MinTimestamp.UnixMilli() || timestamp > latest {
			return
		}
		if test {
			root += "test/"
		}
		e := auditdrain.Event{ID: id, Timestamp: timestamp}
		key := d.ObjectKey(e, test)
		inRoot, ok := strings.CutPrefix(key, root)
		if !ok || !keyRE.MatchString("audit-logs/"+inRoot) {
			t.Fatalf("key %q", key)
		}
		if len(key) > 1024 {
			t.Fatalf("key %q has %d bytes", key, len(key))
		}
		if strings.Contains(key, "//") || strings.Contains(key, "/../") || strings.HasPrefix(key, "/") {
			t.Fatalf("key %q leaves its prefix", key)
		}
		// The event can be read off the key again.
		name := key[strings.LastIndexByte(key, '/')+1:]
		stamp, rest, _ := strings.Cut(name, "_")
		at, err := time.Parse("20060102T150405.000Z", stamp)
		if err != nil || at.UnixMilli() != timestamp || !strings.HasPrefix(rest, id+".json") {
			t.Fatalf("key %q of event %q at %d (error %v)", key, id, timestamp, err)
		}
		if !strings.Contains(key, at.Format("/year=2006/month=01/day=02/")) {
			t.Fatalf("key %q is not in the folder of its day", key)
		}
	})
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"", "s3://", "s3://abc", "s3://abc/a/b", "s3://abc/", "s3://1.2.3.4/a", "s3://abc/../x", "s3://abc/\xff", "s3://abc/*"} {
		f.Add(s, "arn:aws:iam::123456789012:role/p/r")
	}
	f.Fuzz(func(t *testing.T, endpoint, role string) {
		d := goodDelivery()
		d.Endpoint, d.RoleARN = endpoint, role
		for _, p := range d.Validate(partitionOf) {
			if p.Field != "delivery.endpoint" && p.Field != "delivery.roleArn" {
				t.Fatalf("problem %+v", p)
			}
			if _, err := json.Marshal(p); err != nil {
				t.Fatal(err)
			}
			if p.Field == "delivery.endpoint" {
				return
			}
		}
		bucket, prefix := d.SplitEndpoint()
		again := "s3://" + bucket
		if prefix != "" {
			again += "/" + prefix
		}
		if again != endpoint {
			t.Fatalf("endpoint %q has bucket %q and prefix %q", endpoint, bucket, prefix)
		}
		if len(bucket) < 3 || len(bucket) > 63 || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Fatalf("bucket %q", bucket)
		}
		if len(prefix) > auditdrain.MaxPrefixLen || strings.ContainsAny(prefix, "\x00\n*?") || strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") {
			t.Fatalf("prefix %q", prefix)
		}
	})
}
