package auditdrain

import (
	"fmt"
	"net/url"
)

// SetupQuery is what GET /v1/setup is asked with, in its query: what is known of a drain. All of it may be empty.
type SetupQuery struct {
	Endpoint   string
	Region     string
	RoleARN    string
	Encoding   string
	Encryption string // the drain's serverSideEncryption
	KMSKeyARN  string // the customer managed key that the bucket encrypts with
	ObjectACL  string
}

// setupFields are the names of a SetupQuery's parameters, each with that of the field which Delivery.Validate names.
var setupFields = []struct {
	name, field string
	value       func(*SetupQuery) *string
}{
	{"endpoint", "delivery.endpoint", func(q *SetupQuery) *string { return &q.Endpoint }},
	{"region", "delivery.region", func(q *SetupQuery) *string { return &q.Region }},
	{"roleArn", "delivery.roleArn", func(q *SetupQuery) *string { return &q.RoleARN }},
	{"encoding", "delivery.encoding", func(q *SetupQuery) *string { return &q.Encoding }},
	{"encryption", "delivery.serverSideEncryption", func(q *SetupQuery) *string { return &q.Encryption }},
	{"kmsKeyArn", "kmsKeyArn", func(q *SetupQuery) *string { return &q.KMSKeyARN }},
	{"objectAcl", "delivery.objectAcl", func(q *SetupQuery) *string { return &q.ObjectACL }},
}

// ParseSetupQuery reads q from a URL's query, of which it ignores other parameters.
func ParseSetupQuery(values url.Values) SetupQuery {
	var q SetupQuery
	for _, f := range setupFields {
		*f.value(&q) = values.Get(f.name)
	}
	return q
}

// Values is q as a URL's query, without what is empty.
func (q SetupQuery) Values() url.Values {
	values := url.Values{}
	for _, f := range setupFields {
		if value := *f.value(&q); value != "" {
			values.Set(f.name, value)
		}
	}
	return values
}

// Delivery is what q says of a drain's delivery. A key also tells the region: S3 uses keys of the bucket's own only.
func (q SetupQuery) Delivery() Delivery {
	d := Delivery{
		Type:                 "s3",
		Endpoint:             q.Endpoint,
		Region:               q.Region,
		RoleARN:              q.RoleARN,
		Encoding:             q.Encoding,
		ServerSideEncryption: q.Encryption,
		ObjectACL:            q.ObjectACL,
	}
	if key, ok := ParseKMSKeyARN(q.KMSKeyARN); ok && d.Region == "" {
		d.Region = key.Region
	}
	return d.WithDefaults()
}

// Validate returns every problem with what q has, each naming the parameter. What is empty is no problem. partitionOf is
// as for Delivery.Validate.
func (q SetupQuery) Validate(partitionOf func(region string) (string, bool)) []Problem {
	d := q.Delivery()
	problems := d.Validate(partitionOf)
	if q.KMSKeyARN != "" {
		problems = append(problems, d.ValidateKMSKeyARN(q.KMSKeyARN)...)
	}
	if key, ok := ParseKMSKeyARN(q.KMSKeyARN); ok {
		if partition, known := partitionOf(key.Region); !known || partition != key.Partition {
			problems = append(problems, Problem{Field: "kmsKeyArn", Message: fmt.Sprintf("%q is not in a region that is known here: there is no %q in partition %q", q.KMSKeyARN, key.Region, key.Partition)})
		}
	}
	var ps []Problem
	for _, p := range problems {
		for _, f := range setupFields {
			if p.Field == f.field && *f.value(&q) != "" {
				ps = append(ps, Problem{Field: f.name, Message: p.Message})
			}
		}
	}
	return ps
}
