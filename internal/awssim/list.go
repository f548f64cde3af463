package awssim

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var listParams = []string{"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner"}

type listResult struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	Contents              []listEntry
	CommonPrefixes        []listPrefix
}

type listEntry struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

type listPrefix struct{ Prefix string }

// maxListed is how much one ListObjectsV2 answers at most.
const maxListed = 1000

func (c *call) listObjects(b Bucket) (reply, error) {
	q := c.req.URL.Query()
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	context := map[string][]string{}
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if q.Has(name) {
			context["s3:"+name] = []string{q.Get(name)}
		}
	}
	if err := c.authorizeS3(b, "s3:ListBucket", "", context); err != nil {
		return reply{}, err
	}
	limit := maxListed
	if s := q.Get("max-keys"); s != "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 {
			return reply{}, invalidArgument("Provided max-keys not an integer or within integer range", "max-keys", s)
		}
		limit = min(int(n), maxListed)
	}
	encode := func(s string) string { return s }
	switch q.Get("encoding-type") {
	case "":
	case "url":
		encode = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
	default:
		return reply{}, invalidArgument("Invalid Encoding Method specified in Request", "encoding-type", q.Get("encoding-type"))
	}
	after := q.Get("start-after")
	if token := q.Get("continuation-token"); token != "" {
		last, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return reply{}, invalidArgument("The continuation token provided is incorrect", "continuation-token", token)
		}
		after = string(last)
	}

	keys, err := c.sim.objects.list(b.Name)
	if err != nil {
		return reply{}, err
	}
	res := listResult{
		Name: b.Name, Prefix: encode(prefix), Delimiter: encode(delimiter), StartAfter: encode(q.Get("start-after")),
		ContinuationToken: q.Get("continuation-token"), EncodingType: q.Get("encoding-type"), MaxKeys: limit,
	}
	i, _ := slices.BinarySearch(keys, prefix)
	var last string // key or common prefix that was listed last
	for ; i < len(keys) && strings.HasPrefix(keys[i], prefix); i++ {
		key, common := keys[i], ""
		if delimiter != "" {
			if j := strings.Index(key[len(prefix):], delimiter); j >= 0 {
				common = key[:len(prefix)+j+len(delimiter)]
			}
		}
		if key <= after || common != "" && common == last || common != "" && after != "" && strings.HasPrefix(after, common) {
			continue
		}
		if res.KeyCount == limit {
			res.IsTruncated = limit > 0
			break
		}
		if common != "" {
			res.CommonPrefixes = append(res.CommonPrefixes, listPrefix{encode(common)})
			last = common
		} else {
			o, err := c.sim.objects.get(b.Name, key)
			if errors.Is(err, errNoObject) {
				continue // removed since
			}
			if err != nil {
				return reply{}, err
			}
			res.Contents = append(res.Contents, listEntry{
				Key: encode(key), LastModified: iso(o.Modified), ETag: `"` + o.ETag + `"`, Size: o.Size, StorageClass: "STANDARD",
			})
			last = key
		}
		res.KeyCount++
	}
	if res.IsTruncated {
		res.NextContinuationToken = base64.URLEncoding.EncodeToString([]byte(last))
	}
	rep, err := c.xmlReply(res)
	if err == nil {
		rep.header.Set("X-Amz-Bucket-Region", b.Region)
	}
	return rep, err
}
